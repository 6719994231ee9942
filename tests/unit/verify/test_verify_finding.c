/* What one process finds, another counts.  Method: a sink that writes to a file, a report that reads its lines back. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fs.h"
#include "verify/verify_finding.h"

/* Give the report each line of the file; its own output goes nowhere. */
static void
replay(void **state, struct report *r)
{
    struct buf all = { 0 };
    const int out = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

    assert_int_equal(fs_read(unit_dir_fd(state), "head", 1 << 20, &all, NULL), ERR_OK);
    buf_u8(&all, 0);
    (void)fflush(stdout);
    assert_true(dup2(nowhere, STDOUT_FILENO) >= 0);
    for (char *at = (char *)all.at, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        *end = '\0';
        report_line(r, at);
    }
    (void)fflush(stdout);
    assert_true(dup2(out, STDOUT_FILENO) >= 0);
    (void)close(out);
    (void)close(nowhere);
    buf_free(&all);
}

static void
findings_hits_notes_and_numbers_are_told_apart(void **state)
{
    const int fd = openat(unit_dir_fd(state), "head", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct sink *s = sink_new(fd);
    struct report r = { 0 };
    struct json *counts = json_new();

    sink_text(s, "pack", "pack %d: \"quoted\"", 3);
    sink_finding(s,
                 &(struct finding){ .kind = "blob", .text = "x", .placed = true, .pack = 1, .offset = 4096 });
    sink_note(s, "on its way");
    for (int i = 0; i < 30; i++)
        sink_hit(s,
                 &(struct finding){
                     .text = "damaged", .source = "a/b", .mark = "12", .path = "p\\x0A", .at_given = true });
    json_number(counts, "blobs", 41);
    sink_counts(s, &counts);
    counts = json_new();
    json_number(counts, "rows", 7);
    sink_counts(s, &counts);
    assert_int_equal(sink_findings(s), 2);
    sink_free(&s);
    (void)close(fd);
    replay(state, &r);
    assert_int_equal(r.findings, 2);
    assert_int_equal(r.hits, 30);
    assert_int_equal(r.notes, 1);
    assert_false(r.failed);
    assert_int_equal(report_count(&r, "blobs"), 41);
    assert_int_equal(report_count(&r, "rows"), 7);
    assert_int_equal(report_count(&r, "never"), 0);
    report_free(&r);
}

static void
an_error_comes_over_with_its_hint(void **state)
{
    const int fd = openat(unit_dir_fd(state), "head", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct sink *s = sink_new(fd);
    struct report r = { 0 };
    struct err err = { 0 };

    (void)err_set(&err, ERR_CONFIG, "site.conf:3: what");
    err_hint(&err, "look there");
    sink_error(s, &err);
    sink_free(&s);
    (void)close(fd);
    replay(state, &r);
    assert_true(r.failed);
    assert_int_equal(r.err.kind, ERR_CONFIG);
    assert_string_equal(r.err.text, "site.conf:3: what");
    assert_string_equal(r.err.hint, "look there");
    report_free(&r);
}

static void
a_line_cut_off_is_passed_over(void **state)
{
    struct report r = { 0 };

    (void)state;
    report_line(&r, "{\"type\":\"find");
    report_line(&r, "");
    report_line(&r, "{}");
    assert_int_equal(r.findings, 0);
    report_free(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(findings_hits_notes_and_numbers_are_told_apart),
        unit_test_in_dir(an_error_comes_over_with_its_hint),
        cmocka_unit_test(a_line_cut_off_is_passed_over),
    };

    return cmocka_run_group_tests_name("verify/verify_finding", tests, NULL, NULL);
}
