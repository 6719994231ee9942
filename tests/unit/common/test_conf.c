/* A configuration is taken exactly as written, and everything doubtful is an error with file and line.
 * Method: one good file, a table of bad ones with the text of each error, random damage to the good one. */
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/conf.h"
#include "common/fs.h"
#include "common/limits.h"
#include "common/mem.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

static const struct conf_kind kinds[] = { { "site", false }, { "source", true } };
static const struct conf_key keys[] = {
    { .section = "site", .name = "name", .type = CONF_TEXT, .needed = true },
    { .section = "site", .name = "workers", .type = CONF_COUNT, .min = 1, .max = 64 },
    { .section = "source", .name = "path", .type = CONF_PATH, .needed = true },
    { .section = "source", .name = "note", .type = CONF_TEXT },
    { .section = "source", .name = "rate.day", .type = CONF_SIZE, .max = 1ull << 30 },
    { .section = "source", .name = "interval", .type = CONF_DURATION, .min = 1000000000 },
    { .section = "source", .name = "read-all", .type = CONF_BOOL },
    { .section = "source", .name = "exclude", .type = CONF_LIST },
};
static const struct conf_schema schema = { kinds, sizeof kinds / sizeof kinds[0], keys,
                                           sizeof keys / sizeof keys[0] };

static const char good[] = "# the site of the province\n"
                           "[site]   # one\n"
                           "name = dr-1\n"
                           "workers=8\r\n"
                           "\n"
                           "[source pension]\n"
                           "path = /srv/pension data # of 1999\n"
                           "note = a;b ;c = d: e#f\n"
                           "rate.day = 10MiB\n"
                           "interval = 90s\n"
                           "exclude = *.tmp\n"
                           "  # a comment between\n"
                           "\n"
                           "   cache/; =:\n"
                           "\t[ab]*\n"
                           "exclude = last\n"
                           "read-all = yes\n"
                           "[source health.2]\n"
                           "path\t=\t/srv/h\n"
                           "exclude =\n"
                           " one\n"
                           "read-all = no"; /* no newline at the end */

static struct conf *
parse_good(void)
{
    struct conf *c = NULL;
    struct err err = { 0 };

    if (conf_parse(&schema, "agent.conf", good, sizeof good - 1, &c, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return c;
}

static void
what_is_written_is_what_is_read(void **state)
{
    AUTO(conf_free) struct conf *c = parse_good();
    const char *const *list;

    (void)state;
    assert_string_equal(conf_section(c, "site", 0), "");
    assert_null(conf_section(c, "site", 1));
    assert_string_equal(conf_section(c, "source", 0), "pension");
    assert_string_equal(conf_section(c, "source", 1), "health.2");
    assert_null(conf_section(c, "source", 2));
    assert_string_equal(conf_text(c, "site", "", "name", NULL), "dr-1");
    assert_int_equal(conf_number(c, "site", "", "workers", 2), 8);
    assert_string_equal(conf_text(c, "source", "pension", "path", NULL), "/srv/pension data");
    assert_string_equal(conf_text(c, "source", "pension", "note", NULL), "a;b ;c = d: e#f");
    assert_int_equal(conf_number(c, "source", "pension", "rate.day", 0), 10485760);
    assert_true(conf_number(c, "source", "pension", "interval", 0) == 90000000000);
    assert_int_equal(conf_number(c, "source", "pension", "read-all", 0), 1);
    assert_int_equal(conf_list(c, "source", "pension", "exclude", &list), 4);
    assert_string_equal(list[0], "*.tmp");
    assert_string_equal(list[1], "cache/; =:");
    assert_string_equal(list[2], "[ab]*");
    assert_string_equal(list[3], "last");
    assert_int_equal(conf_list(c, "source", "health.2", "exclude", &list), 1);
    assert_string_equal(list[0], "one");
    assert_int_equal(conf_line(c, "source", "pension", "interval"), 10);
    assert_int_equal(conf_line(c, "source", "health.2", "path"), 19);
}

static void
a_missing_key_gives_the_fallback(void **state)
{
    AUTO(conf_free) struct conf *c = parse_good();
    const char *const *list;

    (void)state;
    assert_string_equal(conf_text(c, "source", "health.2", "note", "none"), "none");
    assert_int_equal(conf_number(c, "source", "health.2", "rate.day", 5), 5);
    assert_int_equal(conf_number(c, "source", "nobody", "rate.day", 6), 6);
    assert_int_equal(conf_list(c, "source", "nobody", "exclude", &list), 0);
    assert_int_equal(conf_line(c, "source", "health.2", "note"), 0);
}

#define SITE "[site]\nname = a\n"
#define SOURCE "[source a]\npath = /a\n"

static const struct {
    const char *text;
    const char *told;
} bad[] = {
    { "name = a\n", "f:1: a key before the first section" },
    { "[site\nname = a\n", "f:1: a section without its ]" },
    { "[site # x]\nname = a\n", "f:1: a section without its ]" },
    { "[site] x\nname = a\n", "f:1: text after the ] of a section" },
    { "[]\n", "f:1: unknown section []" },
    { SITE "[sit]\n", "f:3: unknown section [sit]" },
    { "[Site]\n", "f:1: unknown section [Site]" },
    { "[site x]\n", "f:1: section [site] takes no name" },
    { SITE "[site]\n", "f:3: section [site] is there already, on line 1" },
    { "[source]\n", "f:1: section [source NAME] needs a name" },
    { "[source a b]\n", "f:1: bad name \"a b\": a-z, 0-9, then also . _ -, at most 64 bytes" },
    { "[source -a]\n", "f:1: bad name \"-a\": a-z, 0-9, then also . _ -, at most 64 bytes" },
    { SOURCE "\n[source  a ]\npath = /b\n", "f:4: section [source a] is there already, on line 1" },
    { "[site]\n", "f:1: section [site] needs \"name\"" },
    { SITE "\n[source a]\nnote = x\n", "f:4: section [source a] needs \"path\"" },
    { SITE "nam = a\n", "f:3: unknown key \"nam\" in section [site]" },
    { SITE "path = /a\n", "f:3: unknown key \"path\" in section [site]" },
    { SITE "rate day = 1\n", "f:3: unknown key \"rate day\" in section [site]" },
    { SITE "\nname = b\n", "f:4: \"name\" is there already, on line 2" },
    { SITE "workers\n", "f:3: expected \"key = value\"" },
    { SITE "workers: 3\n", "f:3: expected \"key = value\"" },
    { SITE "= 3\n", "f:3: expected \"key = value\"" },
    { SITE "; workers = 3\n", "f:3: a comment begins with #" },
    { SITE "workers =\n", "f:3: \"workers\" has no value" },
    { SITE "workers = # none\n", "f:3: \"workers\" has no value" },
    { SITE "workers = 0\n", "f:3: \"workers\" is too small: \"0\"" },
    { SITE "workers = 65\n", "f:3: \"workers\" is too large: \"65\"" },
    { SITE "workers = 3KiB\n", "f:3: \"workers\" is not a number: \"3KiB\"" },
    { SITE "workers = -1\n", "f:3: \"workers\" is not a number: \"-1\"" },
    { "[site]\n  name = a\n", "f:2: an indented line, and no key before it to go on with" },
    { "  [site]\n", "f:1: an indented line, and no key before it to go on with" },
    { SITE "  workers = 3\n",
      "f:3: \"name\" takes one line only: a line that begins with white space belongs to it" },
    { "[source a]\npath = a\n", "f:2: \"path\" is not an absolute path: \"a\"" },
    { SOURCE "interval = 90\n",
      "f:3: \"interval\" is not a duration such as 250ms, 30s, 5m, 1h or 90d: \"90\"" },
    { SOURCE "interval = 1ms\n", "f:3: \"interval\" is too small: \"1ms\"" },
    { SOURCE "rate.day = 10M\n", "f:3: \"rate.day\" is not a size such as 4096, 64KiB or 2GiB: \"10M\"" },
    { SOURCE "rate.day = 2GiB\n", "f:3: \"rate.day\" is too large: \"2GiB\"" },
    { SOURCE "read-all = true\n", "f:3: \"read-all\" is neither yes nor no: \"true\"" },
    { SITE "\x01\n", "f:3: a control character (0x01) at byte 1" },
    { SITE "# a\rb\n", "f:3: a control character (0x0d) at byte 4" },
};

static void
everything_doubtful_is_told_with_its_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct conf *c = NULL;
        struct err err = { 0 };
        assert_int_equal(conf_parse(&schema, "f", bad[i].text, strlen(bad[i].text), &c, &err), ERR_CONFIG);
        assert_string_equal(err.text, bad[i].told);
        assert_null(c);
        assert_int_equal(conf_parse(&schema, "f", bad[i].text, strlen(bad[i].text), &c, NULL), ERR_CONFIG);
    }
}

static void
a_nul_is_no_end_of_the_text(void **state)
{
    static const char text[] = SITE "workers = 3\0\n[nonsense";
    struct conf *c = NULL;
    struct err err = { 0 };

    (void)state;
    assert_int_equal(conf_parse(&schema, "f", text, sizeof text - 1, &c, &err), ERR_CONFIG);
    assert_string_equal(err.text, "f:3: a control character (0x00) at byte 12");
}

static void
lines_are_taken_whole_up_to_their_limit(void **state)
{
    static const size_t more[] = { 0, 1, 100 };
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        AUTO(conf_free) struct conf *c = NULL;
        const int width = (int)(CONF_LINE_BYTES_MAX - strlen("name = ") + more[i]);
        AUTO(auto_free) char *value = mem_text("%0*d", width, 7);
        AUTO(auto_free) char *text = mem_text("[site]\nname = %s\nworkers = 2\n", value);
        const enum err_kind kind = conf_parse(&schema, "f", text, strlen(text), &c, &err);
        assert_int_equal(kind, more[i] == 0 ? ERR_OK : ERR_CONFIG);
        if (kind != ERR_OK) {
            assert_string_equal(err.text, "f:2: longer than 8191 bytes");
            continue;
        }
        assert_string_equal(conf_text(c, "site", "", "name", NULL), value);
        assert_int_equal(conf_line(c, "site", "", "workers"), 3);
    }
}

static void
long_names_of_sections_are_told_apart(void **state)
{
    /* libinih alone cuts them at 49 bytes. */
    static const char a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1"; /* 64 */
    static const char b[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2";
    AUTO(conf_free) struct conf *c = NULL;
    AUTO(auto_free) char *text = mem_text("[source %s]\npath = /1\n[source %s]\npath = /2\n", a, b);
    AUTO(auto_free) char *longer = mem_text("[source %s3]\npath = /1\n", a);

    (void)state;
    assert_int_equal(sizeof a - 1, SOURCE_NAME_MAX);
    assert_int_equal(conf_parse(&schema, "f", text, strlen(text), &c, NULL), ERR_OK);
    assert_string_equal(conf_text(c, "source", a, "path", NULL), "/1");
    assert_string_equal(conf_text(c, "source", b, "path", NULL), "/2");
    struct conf *none = NULL;
    assert_int_equal(conf_parse(&schema, "f", longer, strlen(longer), &none, NULL), ERR_CONFIG);
}

static void
empty_texts_and_byte_order_marks_are_fine(void **state)
{
    static const char marked[] = "\xef\xbb\xbf" SITE;
    static const char *const table[] = { "", "\n", "# nothing", "\xef\xbb\xbf", marked, "   \t\n\n" };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(conf_free) struct conf *c = NULL;
        struct err err = { 0 };
        if (conf_parse(&schema, "f", table[i], strlen(table[i]), &c, &err) != ERR_OK)
            fail_msg("%zu: %s", i, err.text);
    }
}

static void
random_damage_is_read_or_told(void **state)
{
    (void)state;
    seed_start();
    for (int i = 0; i < 20000; i++) {
        AUTO(conf_free) struct conf *c = NULL;
        struct err err = { 0 };
        const size_t size = seed_below(sizeof good);
        AUTO(auto_free) char *text = mem_copy(good, size);
        for (size_t n = seed_below(4); n > 0 && size > 0; n--)
            text[seed_below(size)] = seed_below(2) == 0 ? "[]=#; \n\t"[seed_below(8)] : (char)seed_next();
        const enum err_kind kind = conf_parse(&schema, "f", text, size, &c, &err);
        assert_true(kind == ERR_OK || (kind == ERR_CONFIG && strncmp(err.text, "f:", 2) == 0));
        assert_int_equal(kind == ERR_OK, c != NULL);
    }
}

static void
files_are_loaded_by_name(void **state)
{
    const struct fs_file file = { "[site]\nname =\n", 14, 0600 };
    struct conf *c = NULL;
    struct err err = { 0 };

    assert_int_equal(conf_load(&schema, unit_dir_fd(state), "head", &c, &err), ERR_ABSENT);
    assert_int_equal(fs_replace_lazy(unit_dir_fd(state), "head", &file, NULL), ERR_OK);
    assert_int_equal(conf_load(&schema, unit_dir_fd(state), "head", &c, &err), ERR_CONFIG);
    assert_string_equal(err.text, "head:2: \"name\" has no value");
    const struct fs_file whole = { good, sizeof good - 1, 0600 };
    assert_int_equal(fs_replace_lazy(unit_dir_fd(state), "head", &whole, NULL), ERR_OK);
    assert_int_equal(conf_load(&schema, unit_dir_fd(state), "head", &c, &err), ERR_OK);
    conf_free(&c);
    assert_null(c);
    conf_free(&c);
    AUTO(auto_free) char *huge = mem_zero(CONF_FILE_BYTES_MAX + 1, 1);
    const struct fs_file large = { huge, CONF_FILE_BYTES_MAX + 1, 0600 };
    assert_int_equal(fs_replace_lazy(unit_dir_fd(state), "head", &large, NULL), ERR_OK);
    assert_int_equal(conf_load(&schema, unit_dir_fd(state), "head", &c, &err), ERR_CONFIG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_what_is_read),
        cmocka_unit_test(a_missing_key_gives_the_fallback),
        cmocka_unit_test(everything_doubtful_is_told_with_its_line),
        cmocka_unit_test(a_nul_is_no_end_of_the_text),
        cmocka_unit_test(lines_are_taken_whole_up_to_their_limit),
        cmocka_unit_test(long_names_of_sections_are_told_apart),
        cmocka_unit_test(empty_texts_and_byte_order_marks_are_fine),
        cmocka_unit_test(random_damage_is_read_or_told),
        unit_test_in_dir(files_are_loaded_by_name),
    };

    return cmocka_run_group_tests_name("common/conf", tests, NULL, NULL);
}
