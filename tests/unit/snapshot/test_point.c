/* A POINT names the mark that its text says, or is refused; nothing is guessed.
 * Method: three marks at 1, 2 and 3 seconds after 1970; a table of texts. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/point.h"
#include "tests/unit/snapshot/store_fixture.h"

static void
a_point_names_what_its_text_says(void **state)
{
    static const struct {
        const char *text;
        enum err_kind kind;
        uint64_t sequence;
    } table[] = {
        { "chengdu/pension", ERR_OK, 3 },
        { "chengdu/pension@latest", ERR_OK, 3 },
        { "chengdu/pension@1970-01-01T00:00:02Z", ERR_OK, 2 },
        { "chengdu/pension@1970-01-01T08:00:02.5+08:00", ERR_OK, 2 },
        { "chengdu/pension@2026-11-23T02:00:00+08:00", ERR_OK, 3 },
        { "@1970-01-01T00:00:01Z", ERR_OK, 1 },
        { "chengdu/pension@1970-01-01T00:00:00Z", ERR_ABSENT, 0 },
        { "chengdu/pension@1970-01-01T00:00:02", ERR_USAGE, 0 }, /* no offset */
        { "chengdu/labour", ERR_ABSENT, 0 },
        { "chengdu", ERR_USAGE, 0 },
        { "chengdu/", ERR_USAGE, 0 },
        { "../etc", ERR_USAGE, 0 },
        { "@", ERR_USAGE, 0 },
        { "@latest", ERR_USAGE, 0 },
        { "@abc", ERR_USAGE, 0 },
        { "@xyzw", ERR_USAGE, 0 },
        { "", ERR_ABSENT, 0 },
    };
    struct fixture f;
    struct index_mark m[4], found;
    uint32_t city = 0;
    struct err err;

    fixture_new(state, &f);
    for (int i = 1; i <= 3; i++) {
        char text[16];

        (void)snprintf(text, sizeof text, "night %d", i);
        assert_int_equal(fixture_mark(&f, text, &m[i], NULL), ERR_OK);
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0] - 1; i++) {
        const enum err_kind kind = point_find(f.s, table[i].text, &city, &found, &err);

        if (kind != table[i].kind || (kind == ERR_OK && found.mark.sequence != table[i].sequence))
            fail_msg("\"%s\": kind %d", table[i].text, (int)kind);
    }
    for (int i = 1; i <= 3; i++) {
        char text[80] = "@", hex[HASH_HEX_ROOM];

        hash_hex(&m[i].id, hex);
        (void)snprintf(text, sizeof text, "@%.12s", hex);
        assert_int_equal(point_find(f.s, text, &city, &found, &err), ERR_OK);
        assert_int_equal(found.mark.sequence, i);
        assert_int_equal(city, FIXTURE_CITY);
    }
    fixture_free(&f);
}

static void
a_pin_is_shared_and_names_the_mark(void **state)
{
    struct fixture f;
    struct index_mark m;
    int a = -1, b = -1;

    fixture_new(state, &f);
    assert_int_equal(fixture_mark(&f, "one", &m, NULL), ERR_OK);
    assert_int_equal(point_pin(f.s, &m.id, &a, NULL), ERR_OK);
    assert_int_equal(point_pin(f.s, &m.id, &b, NULL), ERR_OK);
    (void)close(a);
    (void)close(b);
    fixture_free(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_point_names_what_its_text_says),
        unit_test_in_dir(a_pin_is_shared_and_names_the_mark),
    };
    return cmocka_run_group_tests_name("snapshot/point", tests, NULL, NULL);
}
