/* The names of a directory come sorted by bytes, each once, without what is excluded.
 * Method: a table of patterns; a directory of random names against qsort of the same. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "replicator/pass.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

void
pass_finding(struct pass *p, const struct dir *d, const char *name, size_t size, const char *what)
{
    (void)p;
    (void)d;
    (void)name;
    (void)size;
    fail_msg("no finding is due: %s", what);
}

char *
pass_path(const struct dir *d, const char *name, size_t size)
{
    (void)d;
    return mem_text("sub%.*s", (int)size, name != NULL ? name : "");
}

static void
patterns_without_a_slash_match_names_and_with_one_match_paths(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path, *name;
        bool excluded;
    } cases[] = {
        { "*.tmp", "a/b/c.tmp", "c.tmp", true },
        { "*.tmp", "a/b/c.tmpx", "c.tmpx", false },
        { "*.tmp", "a.tmp/b", "b", false },
        { "cache", "a/cache", "cache", true },
        { "cache/*", "cache/x", "x", true },
        { "cache/*", "a/cache/x", "x", false },
        { "cache/*", "cache/x/y", "y", false },
        { "/top", "top", "top", true },
        { "/top", "a/top", "top", false },
        { "a/*/c", "a/b/c", "c", true },
        { "a/*/c", "a/b/b/c", "c", false },
        { "[ab]?", "x/b1", "b1", true },
        { "", "a", "a", false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct agent_source s = { .exclude = &cases[i].pattern, .exclude_count = 1 };
        if (list_excluded(&s, cases[i].path, cases[i].name) != cases[i].excluded)
            fail_msg("pattern \"%s\", path \"%s\"", cases[i].pattern, cases[i].path);
    }
}

static int
text_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

#define NAMES 700
static void
names_are_sorted_by_bytes_and_excluded_ones_left_out(void **state)
{
    static char room[NAMES][40];
    const char *made[NAMES];
    size_t kept = 0;
    seed_start();
    for (size_t i = 0; i < NAMES; i++) {
        size_t size = 1 + seed_below(30);
        for (size_t n = 0; n < size; n++)
            do
                room[i][n] = (char)(seed_below(4) == 0 ? 1 + seed_below(255) : 'a' + seed_below(2));
            while (room[i][n] == '/');
        (void)snprintf(room[i] + size, 8, "%zu", i);
        int fd = openat(unit_dir_fd(state), room[i], O_CREAT | O_EXCL | O_WRONLY, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
        if (strchr(room[i], 'a') == NULL)
            made[kept++] = room[i];
    }
    qsort(made, kept, sizeof(made[0]), text_order);
    const char *patterns[] = { "*a*" };
    struct agent_source s = { .exclude = patterns, .exclude_count = 1 };
    struct pass p = { .source = &s };
    struct dirfd fd = { .fd = unit_dir_fd(state) };
    struct dir d = { .pass = &p, .fd = &fd };
    struct names names = { 0 };
    assert_int_equal(list_names(&d, &names, NULL), ERR_OK);
    assert_int_equal(names.count, kept);
    for (size_t i = 0; i < kept; i++)
        assert_string_equal(names.bytes + names.at[i].off, made[i]);
    list_free(&names);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_without_a_slash_match_names_and_with_one_match_paths),
        unit_test_in_dir(names_are_sorted_by_bytes_and_excluded_ones_left_out),
    };
    return cmocka_run_group_tests_name("replicator/list", tests, NULL, NULL);
}
