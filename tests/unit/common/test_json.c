/* JSON comes out compact, sorted and legal, whatever bytes go in, and goes in strictly.
 * Method: expected texts; every bad UTF-8 form; random bytes decoded back; texts that must be refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/json.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

static void
output_is_compact_and_sorted(void **state)
{
    AUTO(json_free) struct json *j = json_new();
    struct json *list = json_array(), *child = json_new();

    (void)state;
    json_text(j, "zebra", "a \"b\"\n");
    json_number(j, "max", INT64_MAX);
    json_number(j, "min", INT64_MIN);
    json_real(j, "real", 0.1);
    json_real(j, "nan", (double)NAN);
    json_bool(j, "no", false);
    json_bool(j, "yes", true);
    json_add_text(list, "x");
    json_number(child, "n", 1);
    json_add(list, &child);
    assert_null(child);
    json_put(j, "list", &list);
    assert_null(list);
    json_number(j, "yes", 2); /* the last one stays */
    AUTO(auto_free) char *text = json_dump(j);
    assert_string_equal(
        text, "{\"list\":[\"x\",{\"n\":1}],\"max\":9223372036854775807,\"min\":-9223372036854775808,"
              "\"nan\":null,\"no\":false,\"real\":0.1,\"yes\":2,\"zebra\":\"a \\\"b\\\"\\n\"}");
}

static void
bytes_that_are_no_utf8_are_escaped(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *text; /* as json_get_text sees it */
    } table[] = {
        { "", 0, "" },
        { "plain", 5, "plain" },
        { "a\\b", 3, "a\\\\b" },
        { "\xe5\x9b\x9b\xe5\xb7\x9d", 6, "\xe5\x9b\x9b\xe5\xb7\x9d" },
        { "\xf0\x9f\x92\xbe", 4, "\xf0\x9f\x92\xbe" },
        { "\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf" },
        { "caf\xe9.txt", 8, "caf\\xE9.txt" },
        { "\x80", 1, "\\x80" },
        { "\xc3", 1, "\\xC3" }, /* cut off */
        { "\xe5\x9b", 2, "\\xE5\\x9B" },
        { "\xc0\xaf", 2, "\\xC0\\xAF" }, /* too long a form */
        { "\xe0\x80\xaf", 3, "\\xE0\\x80\\xAF" },
        { "\xf0\x80\x80\xaf", 4, "\\xF0\\x80\\x80\\xAF" },
        { "\xed\xa0\x80", 3, "\\xED\\xA0\\x80" },          /* a surrogate */
        { "\xf4\x90\x80\x80", 4, "\\xF4\\x90\\x80\\x80" }, /* past U+10FFFF */
        { "\xf8\x88\x80\x80\x80", 5, "\\xF8\\x88\\x80\\x80\\x80" },
        { "\xff\xfe", 2, "\\xFF\\xFE" },
        { "\xc3\xa9\xc3", 3, "\xc3\xa9\\xC3" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(json_free) struct json *j = json_new();
        AUTO(json_free) struct json *back = NULL;
        json_bytes(j, "name", table[i].bytes, table[i].size);
        AUTO(auto_free) char *text = json_dump(j);
        assert_int_equal(json_parse(text, strlen(text), &back, NULL), ERR_OK);
        assert_string_equal(json_get_text(back, "name"), table[i].text);
    }
}

static void
text_is_put_as_it_is(void **state)
{
    AUTO(json_free) struct json *j = json_new();

    (void)state;
    json_text(j, "a", "C:\\x");
    json_text(j, "b", "caf\xe9 \\");
    assert_string_equal(json_get_text(j, "a"), "C:\\x");
    assert_string_equal(json_get_text(j, "b"), "caf\\xE9 \\\\");
}

/* The reverse of json_bytes. */
static void
unescape(const char *text, struct buf *ret)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (at[0] == '\\' && at[1] == 'x') {
            const char hex[3] = { at[2], at[3], '\0' };
            buf_u8(ret, (uint8_t)strtoul(hex, NULL, 16));
            at += 3;
        } else {
            buf_u8(ret, (uint8_t)*at);
            at += at[0] == '\\';
        }
    }
}

static void
random_names_can_be_had_back(void **state)
{
    static const char alphabet[] = "\\x8A0\xe5\x9b\xc3\xa9\xff";

    (void)state;
    seed_start();
    for (int i = 0; i < 5000; i++) {
        AUTO(json_free) struct json *j = json_new();
        AUTO(json_free) struct json *back = NULL;
        AUTO(buf_free) struct buf found = { 0 };
        uint8_t name[24];
        const size_t size = seed_below(sizeof name);
        for (size_t n = 0; n < size; n++)
            name[n] = seed_below(3) == 0 ? (uint8_t)(1 + seed_below(255)) : (uint8_t)alphabet[seed_below(10)];
        json_bytes(j, "name", name, size);
        AUTO(auto_free) char *text = json_dump(j);
        assert_int_equal(json_parse(text, strlen(text), &back, NULL), ERR_OK);
        unescape(json_get_text(back, "name"), &found);
        assert_int_equal(found.size, size);
        if (size > 0)
            assert_memory_equal(found.at, name, size);
    }
}

static void
bad_texts_are_refused_with_their_place(void **state)
{
    static const char *const table[] = {
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\":1}x",
        "{\"a\":1,\"a\":2}",
        "1",
        "\"a\"",
        "null",
        "{'a':1}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":9223372036854775808}",
        "{\"a\":1e999}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":NaN}",
        "[01]",
        "{a:1}",
        "// x\n{}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct json *j = NULL;
        struct err err = { 0 };
        if (json_parse(table[i], strlen(table[i]), &j, &err) != ERR_CORRUPT)
            fail_msg("taken: %s", table[i]);
        assert_null(j);
        assert_non_null(strstr(err.text, "bad JSON at line "));
    }
    struct json *j = NULL;
    struct err err = { 0 };
    assert_int_equal(json_parse("{\n \"a\": x}", 10, &j, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "bad JSON at line 2, column 7: "));
    assert_int_equal(json_parse(NULL, 0, &j, NULL), ERR_CORRUPT);
}

static void
getters_give_nothing_where_the_type_is_another(void **state)
{
    static const char text[] = "{\"t\":\"x\",\"n\":-5,\"b\":true,\"l\":[{\"n\":1},2],\"r\":1.5}garbage";
    AUTO(json_free) struct json *j = NULL;

    (void)state;
    assert_int_equal(json_parse(text, sizeof text - 1 - strlen("garbage"), &j, NULL), ERR_OK);
    assert_string_equal(json_get_text(j, "t"), "x");
    assert_int_equal(json_get_number(j, "n"), -5);
    assert_true(json_get_bool(j, "b"));
    assert_null(json_get_text(j, "n"));
    assert_null(json_get_text(j, "none"));
    assert_int_equal(json_get_number(j, "t"), 0);
    assert_int_equal(json_get_number(j, "r"), 0);
    assert_false(json_get_bool(j, "n"));
    assert_false(json_get_bool(j, "none"));
    const struct json *const list = json_get(j, "l");
    assert_int_equal(json_size(list), 2);
    assert_int_equal(json_get_number(json_at(list, 0), "n"), 1);
    assert_int_equal(json_get_number(json_at(list, 1), "n"), 0);
    assert_null(json_at(list, 2));
    assert_null(json_get(j, "none"));
    assert_int_equal(json_size(NULL), 0);
    assert_null(json_at(j, 0));
    assert_null(json_get_text(json_get(j, "none"), "t"));
}

static void
a_line_is_printed_whole(void **state)
{
    AUTO(json_free) struct json *j = json_array();
    AUTO(auto_free) char *text = NULL;
    size_t size = 0;
    FILE *const to = open_memstream(&text, &size);

    (void)state;
    assert_non_null(to);
    json_print(to, j);
    assert_int_equal(fclose(to), 0);
    assert_string_equal(text, "[]\n");
    json_free(&j);
    assert_null(j);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_is_compact_and_sorted),
        cmocka_unit_test(bytes_that_are_no_utf8_are_escaped),
        cmocka_unit_test(text_is_put_as_it_is),
        cmocka_unit_test(random_names_can_be_had_back),
        cmocka_unit_test(bad_texts_are_refused_with_their_place),
        cmocka_unit_test(getters_give_nothing_where_the_type_is_another),
        cmocka_unit_test(a_line_is_printed_whole),
    };

    return cmocka_run_group_tests_name("common/json", tests, NULL, NULL);
}
