/* The supervisor: it opens nothing itself, so that no damage can reach it. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/mem.h"
#include "common/when.h"
#include "verify/verify.h"
#include "verify/verify_child.h"

struct job {
    const struct verify_options *o;
    bool index;
};

static void
run_part(void *arg, int fd)
{
    const struct job *const j = arg;
    AUTO(sink_free) struct sink *s = sink_new(fd);

    if (j->index)
        index_verify(j->o->store, s);
    else
        content_verify(j->o, s);
}

static enum err_kind
part(struct report *r, struct job *j, struct err *err)
{
    const struct child c = { run_part, report_line, j, r };
    int signal = 0;
    const enum err_kind kind = child_run(&c, &signal, err);

    if (kind != ERR_OK)
        return kind;
    if (signal != 0) {
        AUTO(auto_free)
        char *text = mem_text(
            "the process that checked %s was ended by signal %d (%s); what it had not reached is not counted",
            j->index ? "the index" : "the contents", signal, strsignal(signal));
        report_finding(r, &(struct finding){ .kind = j->index ? "index" : "store", .text = text });
    }
    if (r->failed) {
        if (err != NULL)
            *err = r->err;
        return r->err.kind;
    }
    return ERR_OK;
}

static enum err_kind
store_there(const char *store, struct err *err)
{
    AUTO(auto_close) int fd = -1;
    const enum err_kind kind = fs_dir_open(store, &fd, err);

    if (kind != ERR_OK)
        return kind;
    if (faccessat(fd, "site.conf", F_OK, 0) != 0)
        return err_set(err, ERR_ABSENT, "\"%s\" is not a store: it has no site.conf", store);
    return ERR_OK;
}

static void
number(int64_t n, char ret[32])
{
    char plain[24];
    size_t at = 0;

    (void)snprintf(plain, sizeof plain, "%" PRId64, n);
    for (size_t i = 0; plain[i] != '\0'; i++) {
        const size_t left = strlen(plain) - i;

        if (i > 0 && left % 3 == 0)
            ret[at++] = ',';
        ret[at++] = plain[i];
    }
    ret[at] = '\0';
}

/* "n of m things" */
static void
n_of_m(const struct report *r, const char *n_name, const char *m_name, const char *what)
{
    char n[32], m[32];

    number(report_count(r, n_name), n);
    number(report_count(r, m_name), m);
    (void)printf("%s %s of %s", what, n, m);
}

static bool
complete(const struct report *r)
{
    static const char *const pairs[][2] = {
        { "packs_read", "packs" },     { "blobs_read", "blobs" },   { "marks_good", "marks" },
        { "objects_read", "objects" }, { "blocks_read", "blocks" }, { "stored_bytes_read", "stored_bytes" }
    };

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (report_count(r, pairs[i][0]) < report_count(r, pairs[i][1]))
            return false;
    return true;
}

static void
verdict(const struct report *r, bool anything)
{
    char n[32];

    number((int64_t)r->findings, n);
    if (r->findings > 0)
        (void)printf("%s finding%s", n, r->findings == 1 ? "" : "s");
    else if (!anything)
        (void)printf("nothing is stored here, so nothing was checked");
    else if (!complete(r))
        (void)printf("not all was read");
    else
        (void)printf("sound");
    if (r->hits > 0)
        (void)printf(", which hit%s %" PRIu64 " place%s in marks", r->findings == 1 ? "s" : "", r->hits,
                     r->hits == 1 ? "" : "s");
    (void)printf("\n");
}

static void
result_lines(const struct report *r, bool whole, bool anything, double seconds)
{
    char bytes[WHEN_ROOM], text[32];

    if (r->hits > FINDING_HITS_MAX)
        (void)printf("  ... and %" PRIu64 " more\n", r->hits - FINDING_HITS_MAX);
    if (whole) {
        n_of_m(r, "packs_read", "packs", "packs");
        n_of_m(r, "blobs_read", "blobs", ", blobs");
        when_bytes((uint64_t)report_count(r, "stored_bytes_read"), bytes);
        number(report_count(r, "rows"), text);
        (void)printf(" (%s), index rows %s, ", bytes, text);
    }
    number(report_count(r, "leaves"), text);
    (void)printf("leaves %s", text);
    n_of_m(r, "marks_good", "marks", ", marks");
    n_of_m(r, "objects_read", "objects", ", objects");
    n_of_m(r, "blocks_read", "blocks", ", blocks");
    when_bytes((uint64_t)report_count(r, "file_bytes"), bytes);
    number(report_count(r, "files"), text);
    (void)printf(" of %s different files (%s), %.2f s: ", text, bytes, seconds);
    verdict(r, anything);
}

static void
result_json(const struct report *r, bool anything, double seconds)
{
    static const char *const names[] = {
        "packs",  "packs_read",   "blobs",  "blobs_read", "stored_bytes", "stored_bytes_read",
        "rows",   "object_rows",  "leaves", "marks",      "marks_good",   "objects",
        "blocks", "objects_read", "files",  "file_bytes", "blocks_read",  "unfinished_blobs"
    };
    AUTO(json_free) struct json *out = json_new();

    json_number(out, "schema", 1);
    json_text(out, "type", "result");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        json_number(out, names[i], report_count(r, names[i]));
    json_number(out, "findings", (int64_t)r->findings);
    json_number(out, "hits", (int64_t)r->hits);
    json_real(out, "seconds", seconds);
    json_bool(out, "sound", r->findings == 0 && anything && complete(r));
    json_print(stdout, out);
}

enum err_kind
verify_run(const struct verify_options *o, bool *ret_findings, struct err *err)
{
    AUTO(report_free) struct report r = { .json = o->json };
    const int64_t began = when_tick_ns();
    const bool whole = o->point == NULL;
    enum err_kind kind = store_there(o->store, err);

    if (kind == ERR_OK && whole)
        kind = part(&r, &(struct job){ o, true }, err);
    if (kind == ERR_OK)
        kind = part(&r, &(struct job){ o, false }, err);
    if (kind != ERR_OK)
        return kind;
    const double seconds = (double)(when_tick_ns() - began) / 1e9;
    const bool anything = report_count(&r, "blobs") > 0 || report_count(&r, "marks") > 0;
    if (o->json)
        result_json(&r, anything, seconds);
    else
        result_lines(&r, whole, anything, seconds);
    *ret_findings = r.findings > 0 || (anything && !complete(&r));
    return ERR_OK;
}
