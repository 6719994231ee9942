/* A line for people is one write, whatever it says; an error ends with its hint and the right status.
 * Method: standard error is a pipe, which keeps what was written. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/when.h"
#include "tests/unit/unit.h"

static int ends[2], stderr_kept;

static int
catch_begin(void **state)
{
    (void)state;
    stderr_kept = dup(STDERR_FILENO);
    return pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int
catch_end(void **state)
{
    (void)state;
    (void)dup2(stderr_kept, STDERR_FILENO);
    (void)close(stderr_kept);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return 0;
}

/* What has been written since the last call.  The pipe is never empty: a byte of ours ends it. */
static void
caught(char *ret_text, size_t room)
{
    assert_int_equal(write(STDERR_FILENO, "|", 1), 1);
    const ssize_t n = read(ends[0], ret_text, room - 1);
    assert_true(n > 0 && ret_text[n - 1] == '|');
    ret_text[n - 1] = '\0';
}

static void
quiet_keeps_warnings_and_errors(void **state)
{
    char text[512];

    (void)state;
    log_setup("farshore-x", false, false);
    log_info("read %d files", 3);
    log_warn("skipped \"%s\"", "a\nb\033[2Jc\x7f");
    log_error("bad");
    caught(text, sizeof text);
    assert_string_equal(text, "farshore-x: read 3 files\n"
                              "farshore-x: warning: skipped \"a\\x0ab\\x1b[2Jc\\x7f\"\n"
                              "farshore-x: error: bad\n");
    log_setup("farshore-x", true, false);
    log_info("read %d files", 3);
    log_warn("w");
    log_error("e");
    caught(text, sizeof text);
    assert_string_equal(text, "farshore-x: warning: w\nfarshore-x: error: e\n");
}

static void
a_daemon_stamps_its_lines(void **state)
{
    char text[256];
    int64_t ns = 0;

    (void)state;
    log_setup("farshore-x", false, true);
    log_info("up");
    caught(text, sizeof text);
    char *const space = strchr(text, ' ');
    assert_non_null(space);
    assert_string_equal(space, " farshore-x: up\n");
    *space = '\0';
    assert_int_equal(when_parse(text, &ns), 0);
}

static void
a_line_takes_the_place_of_a_bar(void **state)
{
    char text[256];

    (void)state;
    log_setup("farshore-x", false, false);
    log_bar(true);
    log_info("up");
    log_bar(false);
    log_info("down");
    caught(text, sizeof text);
    assert_string_equal(text, "\r\033[Kfarshore-x: up\nfarshore-x: down\n");
}

static void
an_error_is_told_with_its_hint_and_status(void **state)
{
    static const struct {
        enum err_kind kind;
        int status;
    } table[] = {
        { ERR_IO, 2 },      { ERR_FULL, 2 },   { ERR_CORRUPT, 2 }, { ERR_PROTOCOL, 2 },
        { ERR_CLOSED, 2 },  { ERR_CRYPTO, 2 }, { ERR_ABSENT, 2 },  { ERR_LIMIT, 2 },
        { ERR_REFUSED, 3 }, { ERR_USAGE, 64 }, { ERR_CONFIG, 78 },
    };
    char text[512];

    (void)state;
    log_setup("farshore-x", true, false);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct err err = { 0 };
        assert_int_equal(err_set(&err, table[i].kind, "could not"), table[i].kind);
        assert_int_equal(log_fail(&err), table[i].status);
        caught(text, sizeof text);
        assert_string_equal(text, "farshore-x: could not\n");
        err_hint(&err, "try \"%s\"", "again");
        assert_int_equal(log_fail(&err), table[i].status);
        caught(text, sizeof text);
        assert_string_equal(text, "farshore-x: could not\n  hint: try \"again\"\n");
    }
    assert_int_equal(err_exit(ERR_OK), 0);
}

static void
errors_grow_from_inside_out(void **state)
{
    struct err err = { 0 };
    char text[600];

    (void)state;
    errno = ENOENT;
    assert_int_equal(err_errno(&err, "could not open \"%s\"", "a"), ERR_IO);
    assert_int_equal(errno, ENOENT);
    err_hint(&err, "h");
    assert_int_equal(err_prefix(&err, ERR_IO, "pack %d", 7), ERR_IO);
    assert_string_equal(err.text, "pack 7: could not open \"a\": No such file or directory");
    assert_string_equal(err.hint, "h");
    assert_int_equal(err_set(&err, ERR_CORRUPT, "again: %s", err.text), ERR_CORRUPT);
    assert_string_equal(err.text, "again: pack 7: could not open \"a\": No such file or directory");
    assert_string_equal(err.hint, ""); /* it was another error's */
    assert_int_equal(err.code, 0);

    errno = ENOSPC;
    assert_int_equal(err_errno(NULL, "x"), ERR_FULL);
    assert_int_equal(err_set(NULL, ERR_LIMIT, "x"), ERR_LIMIT);
    assert_int_equal(err_prefix(NULL, ERR_LIMIT, "x"), ERR_LIMIT);
    err_hint(NULL, "x");

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int size = 500; size < 520; size++) { /* around the end of err.text */
        assert_int_equal(err_set(&err, ERR_LIMIT, "y"), ERR_LIMIT);
        assert_int_equal(err_prefix(&err, ERR_LIMIT, "%.*s", size, text), ERR_LIMIT);
        assert_true(strlen(err.text) < sizeof err.text);
        assert_int_equal(err_set(&err, ERR_LIMIT, "%.*s", size, text), ERR_LIMIT);
        assert_int_equal(err_prefix(&err, ERR_LIMIT, "y"), ERR_LIMIT);
        assert_true(strlen(err.text) < sizeof err.text);
        assert_memory_equal(err.text, "y: xxx", 6);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(quiet_keeps_warnings_and_errors, catch_begin, catch_end),
        cmocka_unit_test_setup_teardown(a_daemon_stamps_its_lines, catch_begin, catch_end),
        cmocka_unit_test_setup_teardown(a_line_takes_the_place_of_a_bar, catch_begin, catch_end),
        cmocka_unit_test_setup_teardown(an_error_is_told_with_its_hint_and_status, catch_begin, catch_end),
        cmocka_unit_test(errors_grow_from_inside_out),
    };

    return cmocka_run_group_tests_name("common/log", tests, NULL, NULL);
}
