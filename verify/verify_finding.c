#include "verify/verify_finding.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/io.h"
#include "common/mem.h"

struct sink {
    int fd;
    pthread_mutex_t lock;
    uint64_t findings; /* guarded */
};

struct sink *
sink_new(int fd)
{
    struct sink *const s = mem_zero(1, sizeof *s);

    s->fd = fd;
    if (pthread_mutex_init(&s->lock, NULL) != 0)
        abort();
    return s;
}

void
sink_free(struct sink **s)
{
    if (*s == NULL)
        return;
    (void)pthread_mutex_destroy(&(*s)->lock);
    free(*s);
    *s = NULL;
}

static void
put(struct sink *s, struct json *j)
{
    AUTO(auto_free) char *text = json_dump(j);
    AUTO(auto_free) char *line = mem_text("%s\n", text);
    struct err err;

    (void)pthread_mutex_lock(&s->lock);
    /* A parent that is gone reads nothing: then nobody is told, and the child is about to be killed. */
    (void)!io_write_all(s->fd, line, strlen(line), &err);
    (void)pthread_mutex_unlock(&s->lock);
}

static struct json *
finding_json(const char *type, const struct finding *f)
{
    struct json *const j = json_new();

    json_number(j, "schema", 1);
    json_text(j, "type", type);
    if (f->kind != NULL)
        json_text(j, "kind", f->kind);
    json_text(j, "text", f->text);
    if (f->source != NULL)
        json_text(j, "source", f->source);
    if (f->mark != NULL)
        json_text(j, "mark", f->mark);
    if (f->path != NULL)
        json_text(j, "path", f->path);
    if (f->placed) {
        json_number(j, "pack", (int64_t)f->pack);
        json_number(j, "offset", (int64_t)f->offset);
    }
    if (f->at_given)
        json_number(j, "file_offset", (int64_t)f->file_offset);
    return j;
}

void
sink_finding(struct sink *s, const struct finding *f)
{
    AUTO(json_free) struct json *j = finding_json("finding", f);

    (void)pthread_mutex_lock(&s->lock);
    s->findings++;
    (void)pthread_mutex_unlock(&s->lock);
    put(s, j);
}

void
sink_text(struct sink *s, const char *kind, const char *fmt, ...)
{
    char text[768];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    sink_finding(s, &(struct finding){ .kind = kind, .text = text });
}

void
sink_hit(struct sink *s, const struct finding *f)
{
    AUTO(json_free) struct json *j = finding_json("hit", f);

    put(s, j);
}

void
sink_note(struct sink *s, const char *fmt, ...)
{
    char text[768];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    AUTO(json_free) struct json *j = finding_json("note", &(struct finding){ .text = text });
    put(s, j);
}

void
sink_error(struct sink *s, const struct err *err)
{
    AUTO(json_free) struct json *j = json_new();

    json_text(j, "type", "error");
    json_number(j, "kind", err->kind);
    json_text(j, "text", err->text);
    json_text(j, "hint", err->hint);
    put(s, j);
}

void
sink_counts(struct sink *s, struct json **counts)
{
    json_text(*counts, "type", "counts");
    put(s, *counts);
    json_free(counts);
}

uint64_t
sink_findings(struct sink *s)
{
    (void)pthread_mutex_lock(&s->lock);
    const uint64_t n = s->findings;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

static void
print_text(const struct json *j, const char *type)
{
    const char *const kind = json_get_text(j, "kind"), *const text = json_get_text(j, "text");
    const char *const source = json_get_text(j, "source"), *const path = json_get_text(j, "path");
    const char *const mark = json_get_text(j, "mark");

    if (strcmp(type, "hit") == 0)
        (void)printf("  hits ");
    else
        (void)printf("%s: ", type);
    if (kind != NULL)
        (void)printf("%s: ", kind);
    if (source != NULL)
        (void)printf("%s%s%s: ", source, mark != NULL ? "@" : "", mark != NULL ? mark : "");
    if (path != NULL)
        (void)printf("%s: ", path);
    if (json_get(j, "file_offset") != NULL)
        (void)printf("offset %" PRId64 ": ", json_get_number(j, "file_offset"));
    (void)printf("%s\n", text != NULL ? text : "");
}

int64_t
report_count(const struct report *r, const char *name)
{
    int64_t n = 0;

    for (size_t i = 0; i < r->counts_count; i++)
        n += json_get_number(r->counts[i], name);
    return n;
}

static void
counts_take(struct report *r, struct json **j)
{
    if (r->counts_count == REPORT_CHILDREN_MAX)
        return;
    r->counts[r->counts_count++] = *j;
    *j = NULL;
}

static void
error_take(struct report *r, const struct json *j)
{
    const char *const text = json_get_text(j, "text"), *const hint = json_get_text(j, "hint");

    if (r->failed)
        return;
    r->failed = true;
    (void)err_set(&r->err, (enum err_kind)json_get_number(j, "kind"), "%s", text != NULL ? text : "");
    if (hint != NULL && hint[0] != '\0')
        err_hint(&r->err, "%s", hint);
}

static void
tell(struct report *r, const struct json *j, const char *type)
{
    if (strcmp(type, "finding") == 0)
        r->findings++;
    else if (strcmp(type, "hit") == 0)
        r->hits++;
    else
        r->notes++;
    if (strcmp(type, "hit") == 0 && r->hits > FINDING_HITS_MAX)
        return;
    if (r->json) {
        json_print(stdout, j);
        /* The child's progress goes to the same place: a buffer that fills in the middle of a line would be cut in two by it. */
        (void)fflush(stdout);
    } else {
        print_text(j, type);
    }
}

void
report_line(void *report, const char *line)
{
    AUTO(json_free) struct json *j = NULL;
    struct report *const r = report;
    struct err err;

    if (json_parse(line, strlen(line), &j, &err) != ERR_OK)
        return; /* the last line of a child that died */
    const char *const type = json_get_text(j, "type");
    if (type == NULL)
        return;
    if (strcmp(type, "counts") == 0)
        counts_take(r, &j);
    else if (strcmp(type, "error") == 0)
        error_take(r, j);
    else
        tell(r, j, type);
}

void
report_finding(struct report *r, const struct finding *f)
{
    AUTO(json_free) struct json *j = finding_json("finding", f);

    tell(r, j, "finding");
}

void
report_free(struct report *r)
{
    for (size_t i = 0; i < r->counts_count; i++)
        json_free(&r->counts[i]);
}
