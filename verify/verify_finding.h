/* verify_finding.h - what is wrong, as lines of JSON on a pipe to the parent process, or straight to standard output. */
#ifndef VERIFY_FINDING_H
#define VERIFY_FINDING_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/json.h"

#define FINDING_HITS_MAX 20u /* names that a damage hits, printed; all are counted */

struct finding {
    const char *kind;   /* ledger, index, pack, blob, object, mark, tree, difference */
    const char *text;
    const char *source; /* agent/source, NULL none */
    const char *mark;   /* first digits of its id */
    const char *path;   /* escaped */
    bool placed;        /* pack and offset are given */
    uint64_t pack, offset;
    bool at_given;      /* file_offset is given: in the file that path names */
    uint64_t file_offset;
};

/* Where a child says what it found.  Any thread. */
struct sink;
struct sink *sink_new(int fd);
void sink_free(struct sink **s);
void sink_finding(struct sink *s, const struct finding *f);
void sink_text(struct sink *s, const char *kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A name that some damage hits: source, mark, path, file_offset and text are used. */
void sink_hit(struct sink *s, const struct finding *f);
/* What is worth saying and no damage. */
void sink_note(struct sink *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sink_error(struct sink *s, const struct err *err);
/* Numbers for the last line; takes the object. */
void sink_counts(struct sink *s, struct json **counts);
uint64_t sink_findings(struct sink *s);

/* The parent's end. */
#define REPORT_CHILDREN_MAX 4u
struct report {
    bool json;
    uint64_t findings, hits, notes;
    bool failed;         /* err is set: could not find out */
    struct err err;
    struct json *counts[REPORT_CHILDREN_MAX]; /* [counts_count], owned: what each child counted */
    size_t counts_count;
};
void report_line(void *report, const char *line); /* a child_line_fn */
void report_finding(struct report *r, const struct finding *f); /* the parent's own */
void report_free(struct report *r);
int64_t report_count(const struct report *r, const char *name); /* 0 where no child said it */

#endif
