/* Modes and times are shown as ls(1) would.  Method: tables. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <time.h>

#include "common/when.h"
#include "snapshot/list.h"

static void
modes_look_like_those_of_ls(void **state)
{
    static const struct {
        uint8_t type;
        uint16_t mode;
        const char *text;
    } table[] = {
        { TREE_FILE, 0644, "-rw-r--r--" },  { TREE_DIR, 01777, "drwxrwxrwt" },
        { TREE_FILE, 04755, "-rwsr-xr-x" }, { TREE_FILE, 04644, "-rwSr--r--" },
        { TREE_DIR, 02750, "drwxr-s---" },  { TREE_FILE, 02640, "-rw-r-S---" },
        { TREE_DIR, 01776, "drwxrwxrwT" },  { TREE_LINK, 0777, "lrwxrwxrwx" },
        { TREE_FIFO, 0, "p---------" },     { TREE_SOCKET, 0700, "srwx------" },
        { TREE_CHAR, 0620, "crw--w----" },  { TREE_DISK, 0660, "brw-rw----" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct tree_entry e = { .type = table[i].type, .mode = table[i].mode };
        char text[11];

        show_mode(&e, text);
        assert_string_equal(text, table[i].text);
    }
}

static void
a_time_that_no_clock_shows_is_seconds(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } table[] = {
        { 0, "1970-01-01T00:00:00+00:00" },
        { -1, "1969-12-31T23:59:59+00:00" },
        { INT64_MAX, "9223372036854775807s" },
        { INT64_MIN, "-9223372036854775808s" },
    };

    (void)state;
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct tree_entry e = { .mtime_s = table[i].seconds };
        char text[WHEN_ROOM];

        show_time(&e, text);
        assert_string_equal(text, table[i].text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_look_like_those_of_ls),
        cmocka_unit_test(a_time_that_no_clock_shows_is_seconds),
    };

    return cmocka_run_group_tests_name("snapshot/show", tests, NULL, NULL);
}
