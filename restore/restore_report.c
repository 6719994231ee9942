/* What a restore says. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/when.h"
#include "restore/restore.h"
#include "snapshot/escape.h"

void
report_raw_path(const struct dir *d, const struct tree_entry *e, struct buf *ret)
{
    const struct tree_entry **names = NULL;
    size_t count = 0, room = 0;

    /* Directories above a living one live too, and their entries never change. */
    for (const struct dir *at = d; at != NULL && at->parent != NULL; at = at->parent) {
        if (count == room) {
            room = room ? 2 * room : 32;
            names = mem_grow(names, room, sizeof *names);
        }
        names[count++] = &at->e;
    }
    while (count > 0) {
        count--;
        buf_put(ret, names[count]->name, names[count]->name_bytes);
        if (count > 0 || e != NULL)
            buf_put(ret, "/", 1);
    }
    free(names);
    if (e != NULL)
        buf_put(ret, e->name, e->name_bytes);
}

char *
report_path(const struct dir *d, const struct tree_entry *e)
{
    AUTO(buf_free) struct buf raw = { 0 };

    report_raw_path(d, e, &raw);
    return raw.size == 0 ? escape_text(".", 1) : escape_text(raw.at, raw.size);
}

struct line {
    const char *type, *path, *text;
    bool placed;
    uint64_t offset;
};

static void
line_put(struct run *r, const struct line *l)
{
    (void)pthread_mutex_lock(&r->lock);
    if (r->o->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", l->type);
        json_text(out, "source", r->source);
        json_text(out, "mark", r->id);
        json_text(out, "path", l->path);
        if (l->placed)
            json_number(out, "offset", (int64_t)l->offset);
        json_text(out, "text", l->text);
        json_print(stdout, out);
    } else if (l->placed) {
        (void)printf("%s: %s@%s: %s: offset %" PRIu64 ": %s\n", l->type, r->source, r->id, l->path, l->offset,
                     l->text);
    } else {
        (void)printf("%s: %s@%s: %s: %s\n", l->type, r->source, r->id, l->path, l->text);
    }
    (void)pthread_mutex_unlock(&r->lock);
}

void
report_finding(struct run *r, const struct dir *d, const struct tree_entry *e, const char *fmt, ...)
{
    AUTO(auto_free) char *path = report_path(d, e);
    char text[640];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    atomic_fetch_add(&r->findings, 1);
    line_put(r, &(struct line){ .type = "finding", .path = path, .text = text });
}

void
report_left_out(struct run *r, const void *raw_path, size_t bytes, const char *why)
{
    AUTO(auto_free) char *path = escape_text(raw_path, bytes);

    atomic_fetch_add(&r->findings, 1);
    line_put(r, &(struct line){ .type = "finding", .path = path, .text = why });
}

void
report_damage(struct run *r, const struct item *it, uint64_t offset, const struct err *why)
{
    AUTO(auto_free) char *path = report_path(it->dir, &it->e);
    AUTO(auto_free) char *text = mem_text("%s; the file is left out", why->text);

    atomic_fetch_add(&r->findings, 1);
    line_put(r, &(struct line){ "finding", path, text, true, offset });
}

void
report_skipped(struct run *r, const struct dir *d, const struct tree_entry *e, const char *why)
{
    AUTO(auto_free) char *path = report_path(d, e);

    atomic_fetch_add(&r->skipped, 1);
    line_put(r, &(struct line){ .type = "skipped", .path = path, .text = why });
}

void
report_target(struct run *r, const struct dir *d, const struct tree_entry *e, const char *what)
{
    const int code = errno;
    AUTO(auto_free) char *path = report_path(d, e);
    struct err err = { 0 };

    switch (code) {
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EROFS:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        errno = code;
        (void)err_errno(&err, "could not %s \"%s\"", what, path);
        if (code == EMFILE)
            err_hint(&err, "raise the limit of open files (ulimit -n)");
        run_stop(r, &err);
        break;
    default:
        report_finding(r, d, e, "could not %s it: %s", what, strerror(code));
    }
}

void
report_result(struct run *r, double seconds)
{
    const uint64_t files = atomic_load(&r->files), bytes = atomic_load(&r->bytes),
                   dirs = atomic_load(&r->dirs);
    const uint64_t findings = atomic_load(&r->findings), skipped = atomic_load(&r->skipped);
    const uint64_t left_out = atomic_load(&r->left_out);

    if (r->o->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", "result");
        json_text(out, "source", r->source);
        json_text(out, "mark", r->id);
        json_number(out, "files", (int64_t)files);
        json_number(out, "directories", (int64_t)dirs);
        json_number(out, "bytes", (int64_t)bytes);
        json_number(out, "findings", (int64_t)findings);
        json_number(out, "skipped", (int64_t)skipped);
        json_number(out, "left_out", (int64_t)left_out);
        json_real(out, "seconds", seconds);
        json_print(stdout, out);
        return;
    }
    char size[WHEN_ROOM];
    when_bytes(bytes, size);
    (void)printf("restored %s@%s: %" PRIu64 " files, %" PRIu64
                 " directories, %s in %.2f s: every block checked\n",
                 r->source, r->id, files, dirs, size, seconds);
    if (left_out > 0)
        (void)printf("left out as untrusted: %" PRIu64
                     " devices, setuid or setgid bits, security attributes\n",
                     left_out);
    if (skipped > 0)
        (void)printf("skipped, for they were there already: %" PRIu64 "\n", skipped);
    if (findings > 0)
        (void)printf("%" PRIu64 " finding%s: not all of the mark is there\n", findings,
                     findings == 1 ? "" : "s");
}
