/* Two entries of one name differ in what was changed, and in nothing else.
 * Method: a table of one change each, made to a common entry. */
#include "tests/unit/unit.h"

#include <string.h>

#include "snapshot/list.h"

static const struct tree_entry common = {
    .name = "file",
    .name_bytes = 4,
    .type = TREE_FILE,
    .mode = 0644,
    .uid = 1,
    .gid = 2,
    .user = "u",
    .user_bytes = 1,
    .group = "g",
    .group_bytes = 1,
    .mtime_s = 100,
    .mtime_ns = 5,
    .size = 10,
};

static void
each_change_is_named(void **state)
{
    struct tree_entry e[10];
    static const struct {
        enum diff_kind kind;
        const char *what;
    } want[10] = {
        { DIFF_NONE, "" },
        { DIFF_CONTENT, "content" },
        { DIFF_METADATA, "mode" },
        { DIFF_METADATA, "owner" },
        { DIFF_METADATA, "owner" },
        { DIFF_METADATA, "mtime" },
        { DIFF_TYPE, "type" },
        { DIFF_METADATA, "xattrs" },
        { DIFF_METADATA, "links, holes" },
        { DIFF_CONTENT, "content, mode, mtime" },
    };

    (void)state;
    for (size_t i = 0; i < 10; i++)
        e[i] = common;
    e[1].digest.at[0] = 1;
    e[2].mode = 04644;
    e[3].uid = 9;
    e[4].group = "h";
    e[5].mtime_ns = 6;
    e[6].type = TREE_FIFO;
    e[7].xattrs = (const uint8_t *)"x";
    e[7].xattrs_bytes = 1;
    e[8].link_group = 77;
    e[8].sparse = 1;
    e[9].size = 11;
    e[9].mode = 0600;
    e[9].mtime_s = 101;
    for (size_t i = 0; i < 10; i++) {
        char what[128];

        assert_int_equal(diff_entries(&common, &e[i], what), want[i].kind);
        assert_string_equal(what, want[i].what);
    }
}

static void
a_directory_does_not_differ_in_what_is_beneath_it(void **state)
{
    struct tree_entry a = common, b;
    char what[128];

    (void)state;
    a.type = TREE_DIR;
    b = a;
    b.size = 99;
    b.count = 7;
    b.digest.at[0] = 1;
    assert_int_equal(diff_entries(&a, &b, what), DIFF_NONE);
}

static void
a_link_differs_in_its_target(void **state)
{
    struct tree_entry a = common, b;
    char what[128];

    (void)state;
    a.type = TREE_LINK;
    a.target = "x";
    a.target_bytes = 1;
    b = a;
    b.target = "y";
    assert_int_equal(diff_entries(&a, &b, what), DIFF_CONTENT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_change_is_named),
        cmocka_unit_test(a_directory_does_not_differ_in_what_is_beneath_it),
        cmocka_unit_test(a_link_differs_in_its_target),
    };

    return cmocka_run_group_tests_name("snapshot/diff", tests, NULL, NULL);
}
