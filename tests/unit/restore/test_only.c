/* --only takes what it names, all beneath it and the way to it, and nothing else.
 * Method: a table of path lists, and paths that are or are not wanted; each is walked name by name as the restore does. */
#include "tests/unit/unit.h"

#include <string.h>

#include "restore/only.h"

/* Would the walk come to this path? */
static bool
wanted(const struct only *top, const char *path)
{
    const struct only *from = top;
    struct only at = { 0 };
    bool yes = true;

    while (*path != '\0' && yes) {
        const size_t n = strcspn(path, "/");
        struct only below = { 0 };

        yes = only_enter(from, path, n, &below);
        only_free(&at);
        at = below;
        from = &at;
        path += n;
        path += *path == '/';
    }
    only_free(&at);
    return yes;
}

static void
paths_select_themselves_and_what_is_beneath(void **state)
{
    static const struct {
        const char *only[3];
        size_t count;
        const char *path;
        bool yes;
    } table[] = {
        { { NULL }, 0, "any/thing", true },
        { { "a/b" }, 1, "a", true },
        { { "a/b" }, 1, "a/b", true },
        { { "a/b" }, 1, "a/b/c/d", true },
        { { "a/b" }, 1, "a/c", false },
        { { "a/b" }, 1, "a/bb", false },
        { { "a/b" }, 1, "ab", false },
        { { "a/b" }, 1, "b", false },
        { { "/a//b/" }, 1, "a/b/c", true },
        { { "./a/./b" }, 1, "a/b", true },
        { { "a", "a/b" }, 2, "a/x", true },
        { { "a/b", "a/c", "d" }, 3, "a/c/x", true },
        { { "a/b", "a/c", "d" }, 3, "a/d", false },
        { { "a/b", "a/c", "d" }, 3, "d/d", true },
        { { "/" }, 1, "x/y", true },
        { { "..." }, 1, "...", true },
        { { "a\xff" }, 1, "a\xff/x", true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct only o = { 0 };

        assert_int_equal(only_parse(table[i].only, table[i].count, &o, NULL), ERR_OK);
        if (wanted(&o, table[i].path) != table[i].yes)
            fail_msg("line %zu: \"%s\"", i, table[i].path);
        only_free(&o);
    }
}

static void
a_path_that_climbs_or_is_empty_is_refused(void **state)
{
    static const char *const table[] = { "..", "../x", "a/..", "a/../b", "/..", "" };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct only o = { 0 };
        const char *const both[2] = { "good", table[i] };

        assert_int_equal(only_parse(both, 2, &o, NULL), ERR_USAGE);
        assert_int_equal(o.count, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_select_themselves_and_what_is_beneath),
        cmocka_unit_test(a_path_that_climbs_or_is_empty_is_refused),
    };

    return cmocka_run_group_tests_name("restore/only", tests, NULL, NULL);
}
