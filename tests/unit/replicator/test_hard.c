/* An inode of several names is read once, and all its names get what was read.
 * Method: names that come before, while and after the reading; slices counted. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "replicator/pass.h"
#include "tests/unit/unit.h"

static uint32_t released;

void
slice_release(struct slice *s, uint32_t times)
{
    s->pending -= times;
    released += times;
}

static void
start(struct pass *p)
{
    memset(p, 0, sizeof(*p));
    pthread_mutex_init(&p->lock, NULL);
    released = 0;
}

static void
a_name_met_while_the_file_is_read_waits_and_is_told(void **state)
{
    (void)state;
    struct pass p;
    start(&p);
    struct slice s = { .pending = 1 };
    struct item first = { 0 }, second = { 0 }, third = { 0 };
    struct table_key key = { 1, 0, 77 };
    struct hard *h = NULL, *none = NULL;
    struct hard_name names[] = { { &s, &first }, { &s, &second }, { &s, &third } };
    assert_false(hard_known(&p, &key, &names[0], 3, &h));
    assert_true(hard_known(&p, &key, &names[1], 3, &none));
    assert_int_equal(s.pending, 2);
    first.entry.size = 5;
    memset(&first.entry.digest, 9, sizeof(first.entry.digest));
    first.xattrs = mem_copy("xyz", 3);
    first.entry.xattrs = first.xattrs;
    first.entry.xattrs_bytes = 3;
    hard_told(h, &first);
    assert_int_equal(released, 1);
    assert_int_equal(second.entry.size, 5);
    assert_memory_equal(second.entry.xattrs, "xyz", 3);
    assert_true(hard_known(&p, &key, &names[2], 3, &none));
    assert_int_equal(s.pending, 1);
    assert_memory_equal(&third.entry.digest, &first.entry.digest, sizeof(first.entry.digest));
    assert_int_equal(p.hard_count, 0); /* all three names were met */
    free(first.xattrs);
    free(second.xattrs);
    free(third.xattrs);
    hard_free_all(&p);
}

static void
a_file_that_cannot_be_read_is_left_out_under_all_its_names(void **state)
{
    (void)state;
    struct pass p;
    start(&p);
    struct slice s = { .pending = 1 };
    struct item first = { 0 }, second = { 0 }, third = { 0 };
    struct table_key key = { 1, 0, 78 };
    struct hard *h = NULL, *none = NULL;
    struct hard_name names[] = { { &s, &first }, { &s, &second }, { &s, &third } };
    assert_false(hard_known(&p, &key, &names[0], 4, &h));
    assert_true(hard_known(&p, &key, &names[1], 4, &none));
    hard_failed(h);
    assert_true(second.out);
    assert_true(hard_known(&p, &key, &names[2], 4, &none));
    assert_true(third.out);
    hard_free_all(&p);
}

static void
many_inodes_and_equal_ones_of_other_mounts_are_kept_apart(void **state)
{
    (void)state;
    struct pass p;
    start(&p);
    struct slice s = { .pending = 1 };
    struct item item = { 0 };
    struct hard_name name = { &s, &item };
    for (uint64_t i = 0; i < 10000; i++) {
        struct table_key key = { 1, (uint32_t)(i % 2), i / 2 };
        struct hard *h = NULL;
        assert_false(hard_known(&p, &key, &name, 2, &h));
        item.entry.size = i;
        hard_told(h, &item);
    }
    for (uint64_t i = 0; i < 10000; i++) {
        struct table_key key = { 1, (uint32_t)(i % 2), i / 2 };
        struct hard *none = NULL;
        assert_true(hard_known(&p, &key, &name, 2, &none));
        assert_int_equal(item.entry.size, i);
    }
    assert_int_equal(p.hard_count, 0);
    hard_free_all(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_met_while_the_file_is_read_waits_and_is_told),
        cmocka_unit_test(a_file_that_cannot_be_read_is_left_out_under_all_its_names),
        cmocka_unit_test(many_inodes_and_equal_ones_of_other_mounts_are_kept_apart),
    };
    return cmocka_run_group_tests_name("replicator/hard", tests, NULL, NULL);
}
