/* A directory is pages: what goes in comes out, one content has one digest, and one change makes few new pages.
 * Method: random directories are built into a list of pages in memory and read back. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/tree_internal.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/snapshot/tree_fixture.h"
#include "tests/unit/unit.h"

/* Read a directory from its top page; *next is the entry that must come. */
struct reading {
    const struct pages *pages;
    const struct dir *dir;
    size_t next;
    uint64_t size;
};

static void
read_back(struct reading *r, const struct digest *top, int level)
{
    const struct page *const page = pages_find(r->pages, top);
    AUTO(tree_page_free) struct tree_page p = { 0 };
    AUTO(buf_free) struct buf again = { 0 };
    struct err err = { 0 };

    assert_non_null(page);
    if (tree_page_parse(page->bytes.at, page->bytes.size, &p, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_true(level < 0 || p.level == level);
    page_encode(&p, &again);
    assert_true(same_text(again.at, again.size, page->bytes.at, page->bytes.size));
    for (uint32_t i = 0; i < p.count; i++) {
        if (p.level == 0) {
            assert_true(r->next < r->dir->count && same_entry(&p.entries[i], &r->dir->at[r->next]));
            r->size += p.entries[i].size;
            r->next++;
            continue;
        }
        const struct tree_child *const c = &p.children[i];
        const size_t next = r->next;
        const uint64_t size = r->size;

        read_back(r, &c->digest, p.level - 1);
        assert_int_equal(r->next - next, c->names);
        assert_int_equal(r->size - size, c->size);
        assert_true(same_text(c->last, c->last_bytes, r->dir->at[r->next - 1].name,
                              r->dir->at[r->next - 1].name_bytes));
    }
}

static void
what_is_built_is_read_back(void **state)
{
    static const size_t counts[] = { 0, 1, 2, 3, 50, 128, 300, 1024, 5000, 20000 };
    AUTO(pages_free) struct pages reused = { 0 };
    AUTO(tree_builder_free) struct tree_builder *builder = tree_builder_new(fixture_emit, &reused);

    (void)state;
    seed_start();
    for (unsigned round = 0; round < 30; round++) {
        AUTO(dir_free) struct dir d;
        AUTO(pages_free) struct pages pages = { 0 };
        AUTO(tree_builder_free) struct tree_builder *fresh = tree_builder_new(fixture_emit, &pages);
        uint64_t count = 0;

        dir_make(&d, round < 10 ? counts[round] : (size_t)seed_below(2000));
        const struct tree_sum sum = dir_build(builder, &d, ALL), again = dir_build(fresh, &d, ALL);
        struct reading r = { .pages = &pages, .dir = &d };

        assert_memory_equal(&sum, &again, sizeof sum);
        read_back(&r, &sum.digest, -1);
        assert_int_equal(r.next, d.count);
        assert_int_equal(r.size, sum.size);
        for (size_t i = 0; i < d.count; i++)
            count += 1 + d.at[i].count;
        assert_int_equal(count, sum.count);
    }
}

static void
an_empty_directory_is_a_page_without_entries(void **state)
{
    static const uint8_t page[] = { 1, 0, 0, 0, 0, 0 };
    AUTO(pages_free) struct pages pages = { 0 };
    AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(fixture_emit, &pages);
    struct tree_sum sum;

    (void)state;
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    assert_int_equal(pages.count, 1);
    assert_int_equal(pages.at[0].bytes.size, sizeof page);
    assert_memory_equal(pages.at[0].bytes.at, page, sizeof page);
    assert_int_equal(sum.size, 0);
    assert_int_equal(sum.count, 0);
}

static size_t
not_in(const struct pages *a, const struct pages *b)
{
    size_t count = 0;

    for (size_t i = 0; i < a->count; i++)
        count += pages_find(b, &a->at[i].digest) == NULL;
    return count;
}

static void
one_name_more_or_less_makes_few_new_pages(void **state)
{
    AUTO(dir_free) struct dir d;
    AUTO(pages_free) struct pages all = { 0 };
    AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(fixture_emit, &all);
    size_t most_in = 0, most_out = 0;

    (void)state;
    seed_start();
    dir_make_names(&d, 100000, -1);
    const struct tree_sum sum = dir_build(b, &d, ALL);
    for (unsigned round = 0; round < 10; round++) {
        AUTO(pages_free) struct pages less = { 0 };
        AUTO(tree_builder_free) struct tree_builder *other = tree_builder_new(fixture_emit, &less);
        const struct tree_sum without = dir_build(other, &d, (size_t)seed_below(d.count));
        const size_t in = not_in(&all, &less), out = not_in(&less, &all);

        assert_int_equal(without.count + 1, sum.count);
        most_in = in > most_in ? in : most_in;
        most_out = out > most_out ? out : most_out;
    }
    print_message("%zu names are %zu pages; a name more makes at most %zu new ones, a name less %zu\n",
                  d.count, all.count, most_in, most_out);
    assert_true(most_in <= 8 && most_out <= 8);
}

static uint32_t
count_of(const struct page *p)
{
    return le32_get(p->bytes.at + 2);
}

static void
pages_end_where_the_rule_says(void **state)
{
    static const struct {
        int want; /* make_names */
        size_t names;
        uint32_t each; /* entries of each full page */
        size_t bottom; /* pages of level 0 */
    } table[] = {
        { 0, PAGE_ENTRIES_MAX, PAGE_ENTRIES_MAX, 1 },
        { 0, PAGE_ENTRIES_MAX + 1, PAGE_ENTRIES_MAX, 2 },
        { 0, 3 * PAGE_ENTRIES_MAX, PAGE_ENTRIES_MAX, 3 },
        { 1, 1, 1, 1 },
        { 1, 2, 1, 2 },
        { 1, 500, 1, 500 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(dir_free) struct dir d;
        AUTO(pages_free) struct pages pages = { 0 };
        AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(fixture_emit, &pages);
        size_t bottom = 0;

        dir_make_names(&d, table[i].names, table[i].want);
        const struct tree_sum sum = dir_build(b, &d, ALL);
        struct reading r = { .pages = &pages, .dir = &d };

        read_back(&r, &sum.digest, -1);
        for (size_t p = 0; p < pages.count; p++)
            if (pages.at[p].bytes.at[1] == 0) {
                bottom++;
                assert_true(count_of(&pages.at[p]) == table[i].each || bottom == table[i].bottom);
            }
        assert_int_equal(bottom, table[i].bottom);
        assert_true(bottom > 1 || pages.count == 1);
    }
}

static void
long_entries_end_a_page_before_it_is_too_large(void **state)
{
    AUTO(dir_free) struct dir d;
    AUTO(pages_free) struct pages pages = { 0 };
    AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(fixture_emit, &pages);
    char target[TARGET_BYTES_MAX];
    size_t large = 0;

    (void)state;
    memset(target, 't', sizeof target);
    dir_make_names(&d, 1000, 0);
    for (size_t i = 0; i < d.count; i++)
        d.at[i] = (struct tree_entry){ .name = d.at[i].name,
                                       .name_bytes = d.at[i].name_bytes,
                                       .type = TREE_LINK,
                                       .mode = 0777,
                                       .target = target,
                                       .target_bytes = sizeof target };
    const struct tree_sum sum = dir_build(b, &d, ALL);
    struct reading r = { .pages = &pages, .dir = &d };

    read_back(&r, &sum.digest, -1);
    for (size_t i = 0; i < pages.count; i++)
        large += pages.at[i].bytes.size > OBJECT_BYTES_MAX - TARGET_BYTES_MAX - 64;
    assert_true(large >= 1000 * TARGET_BYTES_MAX / OBJECT_BYTES_MAX);
}

static void
what_emit_returns_ends_the_building(void **state)
{
    AUTO(dir_free) struct dir d;

    (void)state;
    dir_make_names(&d, 3000, -1);
    for (size_t fail_at = 1; fail_at < 40; fail_at++) {
        AUTO(pages_free) struct pages pages = { .fail_at = fail_at };
        AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(fixture_emit, &pages);
        struct tree_sum sum;
        enum err_kind k = ERR_OK;

        for (size_t i = 0; i < d.count && k == ERR_OK; i++)
            k = tree_builder_add(b, &d.at[i], NULL);
        if (k == ERR_OK)
            k = tree_builder_end(b, &sum, NULL);
        if (k == ERR_OK)
            assert_true(pages.count < fail_at);
        else
            assert_int_equal(k, ERR_FULL);
    }
}

static void
names_are_ordered_by_bytes_then_length(void **state)
{
    static const char *const order[] = { "A", "B", "a", "a.b", "aa", "ab", "b", "\x7f", "\x80", "\xff" };

    (void)state;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        for (size_t j = 0; j < sizeof order / sizeof order[0]; j++) {
            const int got = tree_name_order(order[i], strlen(order[i]), order[j], strlen(order[j]));

            assert_int_equal((got > 0) - (got < 0), (i > j) - (i < j));
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_built_is_read_back),
        cmocka_unit_test(an_empty_directory_is_a_page_without_entries),
        cmocka_unit_test(one_name_more_or_less_makes_few_new_pages),
        cmocka_unit_test(pages_end_where_the_rule_says),
        cmocka_unit_test(long_entries_end_a_page_before_it_is_too_large),
        cmocka_unit_test(what_emit_returns_ends_the_building),
        cmocka_unit_test(names_are_ordered_by_bytes_then_length),
    };
    return cmocka_run_group_tests_name("snapshot/tree", tests, NULL, NULL);
}
