/* A name never reaches a terminal as anything but printable text, and two names never look the same.
 * Method: a table of bytes and their text; random bytes, of which the escaped text must have no byte below space. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot/escape.h"

static void
bytes_become_printable_text(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *text;
    } table[] = {
        { "plain.txt", 9, "plain.txt" },
        { "", 0, "" },
        { "a\nb\tc", 5, "a\\x0Ab\\x09c" },
        { "back\\slash", 10, "back\\\\slash" },
        { "\x1b[31m", 5, "\\x1B[31m" },
        { "\x7f", 1, "\\x7F" },
        { "\xe5\x85\xbb\xe8\x80\x81", 6, "\xe5\x85\xbb\xe8\x80\x81" },
        { "\xff\xfe", 2, "\\xFF\\xFE" },
        { "\xc0\xaf", 2, "\\xC0\\xAF" },                   /* overlong */
        { "\xed\xa0\x80", 3, "\\xED\\xA0\\x80" },          /* surrogate */
        { "\xf4\x90\x80\x80", 4, "\\xF4\\x90\\x80\\x80" }, /* beyond U+10FFFF */
        { "\xe5\x85", 2, "\\xE5\\x85" },                   /* cut off */
        { "\xc2\x9b", 2, "\\xC2\\x9B" },                   /* a control of ISO 6429 */
        { "\xe2\x80\xae"
          "gpj",
          6, "\\xE2\\x80\\xAEgpj" }, /* turns the line around */
        { "\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char *const text = escape_text(table[i].bytes, table[i].size);

        assert_string_equal(text, table[i].text);
        free(text);
    }
}

static void
no_random_bytes_give_a_control_character(void **state)
{
    uint64_t seed = unit_seed();

    (void)state;
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[40];

        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)unit_random(&seed);
        char *const text = escape_text(bytes, sizeof bytes);
        for (const char *at = text; *at != '\0'; at++)
            assert_true((uint8_t)*at >= 0x20 && (uint8_t)*at != 0x7f);
        free(text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_become_printable_text),
        cmocka_unit_test(no_random_bytes_give_a_control_character),
    };

    return cmocka_run_group_tests_name("snapshot/escape", tests, NULL, NULL);
}
