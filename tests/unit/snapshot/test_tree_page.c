/* A page has one encoding, and what breaks a rule of tree.h is refused.
 * Method: pages are damaged bit by bit; tables of entries that are almost right. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/tree_internal.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/snapshot/tree_fixture.h"
#include "tests/unit/unit.h"

/* A page that is read back must be the only encoding of what it says. */
static void
refused_or_the_only_one(const uint8_t *bytes, size_t size)
{
    AUTO(tree_page_free) struct tree_page p = { 0 };
    AUTO(buf_free) struct buf again = { 0 };
    struct err err;
    const enum err_kind k = tree_page_parse(bytes, size, &p, &err);

    if (k != ERR_OK) {
        assert_int_equal(k, ERR_CORRUPT);
        assert_non_null(strstr(err.text, "page is damaged"));
        return;
    }
    page_encode(&p, &again);
    assert_true(same_text(again.at, again.size, bytes, size));
}

static void
damage_is_refused_or_gives_another_page_that_is_sound(void **state)
{
    (void)state;
    seed_start();
    for (unsigned round = 0; round < 20; round++) {
        AUTO(dir_free) struct dir d;
        AUTO(pages_free) struct pages pages = { 0 };
        AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(fixture_emit, &pages);
        AUTO(tree_page_free) struct tree_page none = { 0 };

        if (round % 2)
            dir_make(&d, 1 + (size_t)seed_below(10));
        else
            dir_make_names(&d, 8, 1);
        (void)dir_build(b, &d, ALL);
        struct buf *const page = &pages.at[pages.count - 1].bytes;

        for (size_t size = 0; size < page->size; size++)
            assert_int_equal(tree_page_parse(page->at, size, &none, NULL), ERR_CORRUPT);
        for (size_t i = 0; i < page->size * 8; i++) {
            page->at[i / 8] ^= (uint8_t)(1u << i % 8);
            refused_or_the_only_one(page->at, page->size);
            page->at[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        buf_u8(page, 0);
        assert_int_equal(tree_page_parse(page->at, page->size, &none, NULL), ERR_CORRUPT);
    }
}

static const char *
parse_two(const struct tree_entry *a, const struct tree_entry *b, struct err *err)
{
    AUTO(buf_free) struct buf page = { 0 };
    AUTO(tree_page_free) struct tree_page p = { 0 };

    tree_put_header(&page, 0, b == NULL ? 1 : 2);
    tree_put_entry(&page, a);
    if (b != NULL)
        tree_put_entry(&page, b);
    return tree_page_parse(page.at, page.size, &p, err) == ERR_OK ? "sound" : err->text;
}

static void
entries_that_break_a_rule_are_refused(void **state)
{
#define NAMED(n) .name = (n), .name_bytes = sizeof(n) - 1
    static const uint8_t unsorted[] = { 1, 'b', 0, 1, 'a', 0 }, cut[] = { 1, 'b', 9 },
                         twice[] = { 1, 'b', 0, 1, 'b', 0 };
    static const struct {
        const char *says;
        struct tree_entry e;
    } table[] = {
        { "sound", { NAMED("a"), .type = TREE_FILE } },
        { "sound", { NAMED("."), .type = TREE_DIR } },
        { "sound", { NAMED("..."), .type = TREE_FIFO } },
        { "sound", { NAMED("a"), .type = TREE_CHAR, .rdev = UINT64_MAX } },
        { "name is not allowed", { NAMED("."), .type = TREE_FILE } },
        { "name is not allowed", { NAMED(".."), .type = TREE_DIR } },
        { "name is not allowed", { NAMED("a/b"), .type = TREE_FILE } },
        { "name is not allowed", { NAMED("a\0b"), .type = TREE_FILE } },
        { "type is not known", { NAMED("a"), .type = 'x' } },
        { "type is not known", { NAMED("a"), .type = 0 } },
        { "mode is out of range", { NAMED("a"), .type = TREE_FILE, .mode = 010000 } },
        { "time is out of range", { NAMED("a"), .type = TREE_FILE, .mtime_ns = 1000000000 } },
        { "only a file is sparse", { NAMED("a"), .type = TREE_DIR, .sparse = 1 } },
        { "a directory has one name", { NAMED("a"), .type = TREE_DIR, .link_group = 1 } },
        { "size is out of range", { NAMED("a"), .type = TREE_FILE, .size = FILE_BYTES_MAX + 1 } },
        { "size is out of range", { NAMED("a"), .type = TREE_DIR, .count = 1, .size = UINT64_MAX } },
        { "count is out of range", { NAMED("a"), .type = TREE_DIR, .size = 1 } },
        { "count is out of range", { NAMED("a"), .type = TREE_DIR, .count = INT64_MAX } },
        { "out of range", { NAMED("a"), .type = TREE_LINK } },
        { "NUL", { NAMED("a"), .type = TREE_LINK, .target = "\0", .target_bytes = 1 } },
        { "NUL", { NAMED("a"), .type = TREE_FILE, .user = "\0", .user_bytes = 1 } },
        { "too long",
          { NAMED("a"), .type = TREE_FILE, .user_bytes = USER_BYTES_MAX + 1,
            .user = "0123456789012345678901234567890123456789012345678901234567890123456789" } },
        { "xattrs are damaged",
          { NAMED("a"), .type = TREE_FILE, .xattrs = unsorted, .xattrs_bytes = sizeof unsorted } },
        { "xattrs are damaged",
          { NAMED("a"), .type = TREE_FILE, .xattrs = twice, .xattrs_bytes = sizeof twice } },
        { "xattrs are damaged",
          { NAMED("a"), .type = TREE_FILE, .xattrs = cut, .xattrs_bytes = sizeof cut } },
        { "out of range", { NAMED("a"), .type = TREE_FILE, .xattrs_bytes = XATTRS_BYTES_MAX + 1 } },
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *const says = parse_two(&table[i].e, NULL, &err);

        if (strstr(says, table[i].says) == NULL)
            fail_msg("row %zu: \"%s\" instead of \"%s\"", i, says, table[i].says);
    }
}

static void
entries_that_do_not_go_together_are_refused(void **state)
{
    AUTO(dir_free) struct dir plain, cuts;
    struct tree_entry dot = { .name = ".", .name_bytes = 1, .type = TREE_DIR },
                      z = { NAMED("z"), .type = TREE_FIFO };
    struct tree_entry half = { NAMED("y"), .type = TREE_DIR, .count = 1, .size = INT64_MAX };
    struct tree_entry more = { NAMED("z"), .type = TREE_FILE, .size = 1 };
    struct err err;

    (void)state;
    dir_make_names(&plain, 2, 0);
    dir_make_names(&cuts, 1, 1);
    assert_string_equal(parse_two(&plain.at[0], &plain.at[1], &err), "sound");
    assert_non_null(strstr(parse_two(&plain.at[1], &plain.at[0], &err), "not after the one before"));
    assert_non_null(strstr(parse_two(&plain.at[1], &plain.at[1], &err), "not after the one before"));
    assert_string_equal(parse_two(&cuts.at[0], NULL, &err), "sound");
    assert_non_null(strstr(parse_two(&cuts.at[0], &z, &err), "should have ended"));
    assert_non_null(strstr(parse_two(&dot, &z, &err), "stands alone"));
    assert_non_null(strstr(parse_two(&half, &more, &err), "sums are out of range"));
}

static void
the_root_page_holds_the_directory_as_dot(void **state)
{
    const struct tree_entry e = { NAMED("anything"), .type = TREE_DIR, .mode = 0755, .count = 3, .size = 9 };
    AUTO(buf_free) struct buf b = { 0 };
    AUTO(tree_page_free) struct tree_page p = { 0 };

    (void)state;
    tree_root_encode(&e, &b);
    assert_int_equal(tree_page_parse(b.at, b.size, &p, NULL), ERR_OK);
    assert_int_equal(p.count, 1);
    assert_true(same_text(p.entries[0].name, p.entries[0].name_bytes, ".", 1));
    assert_int_equal(p.entries[0].size, 9);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_is_refused_or_gives_another_page_that_is_sound),
        cmocka_unit_test(entries_that_break_a_rule_are_refused),
        cmocka_unit_test(entries_that_do_not_go_together_are_refused),
        cmocka_unit_test(the_root_page_holds_the_directory_as_dot),
    };
    return cmocka_run_group_tests_name("snapshot/tree_page", tests, NULL, NULL);
}
