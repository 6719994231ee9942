/* The agent's table gives back what was put, never rows of another source, reading or time, and loses rows that nobody needs.
 * Method: random rows against an array of the same, passes that end and that do not, damage to an encoded row. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "replicator/table.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

static struct table *
open_table(void **state)
{
    struct table *t = NULL;
    assert_int_equal(table_open(unit_dir_fd(state), unit_dir_path(state), &t, NULL), ERR_OK);
    return t;
}

static void
random_row(struct table_row *r)
{
    memset(r, 0, sizeof(*r));
    r->size = seed_next() >> seed_below(64);
    r->mtime_s = (int64_t)seed_next();
    r->ctime_s = (int64_t)seed_next();
    r->mtime_ns = (uint32_t)seed_below(1000000000);
    r->ctime_ns = (uint32_t)seed_below(1000000000);
    r->read_ns = (int64_t)seed_next();
    r->sequence = seed_next() >> seed_below(64);
    r->epoch = (uint8_t)seed_next();
    seed_fill(&r->digest, sizeof(r->digest));
    r->xattrs_bytes = (uint32_t)seed_below(3 * XATTR_INLINE_MAX);
    seed_fill(r->xattrs, r->xattrs_bytes > XATTR_INLINE_MAX ? HASH_BYTES : r->xattrs_bytes);
}

static enum err_kind
find(struct table *t, const struct table_key *key, struct table_row *ret)
{
    struct table_view *v = NULL;
    assert_int_equal(table_view_new(t, &v, NULL), ERR_OK);
    enum err_kind kind = table_find(v, key, ret);
    table_view_free(&v);
    return kind;
}

static void
a_row_is_parsed_as_it_was_encoded_and_a_cut_one_is_refused(void **state)
{
    (void)state;
    seed_start();
    for (int i = 0; i < 500; i++) {
        struct table_row row, back;
        AUTO(buf_free) struct buf b = { 0 };
        random_row(&row);
        table_row_encode(&row, &b);
        assert_int_equal(table_row_parse(b.at, b.size, &back, NULL), ERR_OK);
        assert_memory_equal(&row, &back, sizeof(row));
        size_t cut = (size_t)seed_below(b.size);
        assert_int_equal(table_row_parse(b.at, cut, &back, NULL), ERR_CORRUPT);
        buf_u8(&b, 0);
        assert_int_equal(table_row_parse(b.at, b.size, &back, NULL), ERR_CORRUPT);
    }
}

#define ROWS 20000u
struct putter {
    struct table *t;
    struct table_row *rows;
    uint32_t first;
};

static void *
put_half(void *arg)
{
    const struct putter *p = arg;
    for (uint32_t i = p->first; i < ROWS; i += 2) {
        struct table_key key = { 1, i % 3, i };
        if (table_put(p->t, &key, &p->rows[i], NULL) != ERR_OK)
            return arg;
    }
    return NULL;
}

static void
what_two_threads_put_is_found_after_a_flush_and_after_reopening(void **state)
{
    seed_start();
    struct table *t = open_table(state);
    struct table_row *rows = calloc(ROWS, sizeof(*rows));
    for (uint32_t i = 0; i < ROWS; i++)
        random_row(&rows[i]);
    struct putter halves[2] = { { t, rows, 0 }, { t, rows, 1 } };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_half, &halves[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *bad = NULL;
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    assert_int_equal(table_flush(t, NULL), ERR_OK);
    table_close(&t);
    t = open_table(state);
    struct table_view *v = NULL;
    assert_int_equal(table_view_new(t, &v, NULL), ERR_OK);
    for (uint32_t i = 0; i < ROWS; i++) {
        struct table_row row;
        struct table_key key = { 1, i % 3, i }, other = { 2, i % 3, i };
        assert_int_equal(table_find(v, &key, &row), ERR_OK);
        assert_memory_equal(&row, &rows[i], sizeof(row));
        assert_int_equal(table_find(v, &other, &row), ERR_ABSENT);
    }
    table_view_free(&v);
    table_close(&t);
    free(rows);
}

static void
the_later_of_two_rows_in_one_commit_counts(void **state)
{
    struct table *t = open_table(state);
    struct table_key key = { 1, 0, 7 };
    struct table_row row, found;
    seed_start();
    for (int i = 0; i < 20; i++) {
        random_row(&row);
        assert_int_equal(table_put(t, &key, &row, NULL), ERR_OK);
    }
    assert_int_equal(table_flush(t, NULL), ERR_OK);
    assert_int_equal(find(t, &key, &found), ERR_OK);
    assert_memory_equal(&row, &found, sizeof(row));
    table_close(&t);
}

static void
prints_count_only_with_the_reading_that_made_them(void **state)
{
    struct table *t = open_table(state);
    struct table_key key = { 1, 0, 9 };
    struct digest blocks[MAP_BLOCKS];
    struct table_prints prints;
    seed_start();
    seed_fill(blocks, sizeof(blocks));
    assert_int_equal(table_put_prints(t, &key, 3, 1000, blocks, 40, NULL), ERR_OK);
    assert_int_equal(table_flush(t, NULL), ERR_OK);
    struct table_view *v = NULL;
    assert_int_equal(table_view_new(t, &v, NULL), ERR_OK);
    assert_int_equal(table_find_prints(v, &key, 3, 1000, &prints), ERR_OK);
    assert_int_equal(prints.count, 40);
    for (int i = 0; i < 40; i++)
        assert_memory_equal(prints.at[i], blocks[i].at, TABLE_PRINT_BYTES);
    assert_int_equal(table_find_prints(v, &key, 3, 1001, &prints), ERR_ABSENT);
    assert_int_equal(table_find_prints(v, &key, 2, 1000, &prints), ERR_ABSENT);
    table_view_free(&v);
    table_close(&t);
}

static void
a_dropped_source_gets_a_number_that_no_row_has(void **state)
{
    struct table *t = open_table(state);
    struct table_source a, b, again;
    struct table_row row;
    seed_start();
    assert_int_equal(table_begin(t, "a", &a, NULL), ERR_OK);
    assert_int_equal(table_begin(t, "b", &b, NULL), ERR_OK);
    assert_int_not_equal(a.number, b.number);
    struct table_key in_a = { a.number, 0, 1 }, in_b = { b.number, 0, 1 };
    random_row(&row);
    assert_int_equal(table_put(t, &in_a, &row, NULL), ERR_OK);
    assert_int_equal(table_put(t, &in_b, &row, NULL), ERR_OK);
    assert_int_equal(table_drop(t, "a", NULL), ERR_OK);
    assert_int_equal(find(t, &in_a, &row), ERR_ABSENT);
    assert_int_equal(find(t, &in_b, &row), ERR_OK);
    assert_int_equal(table_begin(t, "a", &again, NULL), ERR_OK);
    assert_int_not_equal(again.number, a.number);
    assert_int_not_equal(again.number, b.number);
    assert_int_equal(table_drop(t, NULL, NULL), ERR_OK);
    assert_int_equal(find(t, &in_b, &row), ERR_ABSENT);
    table_close(&t);
}

/* Ten inodes live, thousands come and go: at the end of an epoch only rows of the living are left. */
static void
rows_of_vanished_inodes_are_swept_and_others_stay(void **state)
{
    struct table *t = open_table(state);
    struct table_source s;
    struct table_row row, found;
    struct digest block;
    seed_start();
    random_row(&row);
    memset(&block, 1, sizeof(block));
    for (uint64_t pass = 1; pass < 2 * TABLE_SWEEP_PASSES; pass++) {
        assert_int_equal(table_begin(t, "s", &s, NULL), ERR_OK);
        assert_int_equal(s.pass, pass);
        row.epoch = s.epoch;
        for (uint64_t inode = 0; inode < 10; inode++) {
            struct table_key key = { s.number, 0, inode };
            assert_int_equal(table_put(t, &key, &row, NULL), ERR_OK);
            assert_int_equal(table_put_prints(t, &key, 0, row.read_ns, &block, 1, NULL), ERR_OK);
        }
        for (uint64_t n = 0; pass < 4 && n < 3000; n++) {
            struct table_key key = { s.number, 0, 1000 + pass * 10000 + n };
            assert_int_equal(table_put(t, &key, &row, NULL), ERR_OK);
            assert_int_equal(table_put_prints(t, &key, 0, row.read_ns, &block, 1, NULL), ERR_OK);
        }
        assert_int_equal(table_end(t, &s, NULL), ERR_OK);
    }
    struct table_prints prints;
    struct table_view *v = NULL;
    assert_int_equal(table_view_new(t, &v, NULL), ERR_OK);
    for (uint64_t inode = 0; inode < 10; inode++) {
        struct table_key key = { s.number, 0, inode };
        assert_int_equal(table_find(v, &key, &found), ERR_OK);
        assert_int_equal(table_find_prints(v, &key, 0, row.read_ns, &prints), ERR_OK);
    }
    for (uint64_t pass = 1; pass < 4; pass++)
        for (uint64_t n = 0; n < 3000; n += 37) {
            struct table_key key = { s.number, 0, 1000 + pass * 10000 + n };
            assert_int_equal(table_find(v, &key, &found), ERR_ABSENT);
            assert_int_equal(table_find_prints(v, &key, 0, row.read_ns, &prints), ERR_ABSENT);
        }
    table_view_free(&v);
    table_close(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_parsed_as_it_was_encoded_and_a_cut_one_is_refused),
        unit_test_in_dir(what_two_threads_put_is_found_after_a_flush_and_after_reopening),
        unit_test_in_dir(the_later_of_two_rows_in_one_commit_counts),
        unit_test_in_dir(prints_count_only_with_the_reading_that_made_them),
        unit_test_in_dir(a_dropped_source_gets_a_number_that_no_row_has),
        unit_test_in_dir(rows_of_vanished_inodes_are_swept_and_others_stay),
    };
    return cmocka_run_group_tests_name("replicator/table", tests, NULL, NULL);
}
