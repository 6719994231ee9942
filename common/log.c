#include "common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/mem.h"
#include "common/when.h"

/* The one state outside of a context struct: a library deep down must be able to warn.  Set before threads start. */
static struct {
    char program[64];
    bool quiet;
    bool stamps;
    atomic_bool bar;
} state = { .program = "farshore" };

void
log_setup(const char *program, bool quiet, bool stamps)
{
    (void)snprintf(state.program, sizeof state.program, "%s", program);
    state.quiet = quiet;
    state.stamps = stamps;
}

void
log_bar(bool shown)
{
    atomic_store(&state.bar, shown);
}

/* File names reach messages: a control character could end the line early or command the terminal. */
static void
put_clean(struct buf *b, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        char escape[8];

        if (*at >= 0x20 && *at != 0x7f) {
            buf_put(b, at, 1);
            continue;
        }
        (void)snprintf(escape, sizeof escape, "\\x%02x", *at);
        buf_put(b, escape, 4);
    }
}

static void
put_raw(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

static void
put_head(struct buf *b, const char *level)
{
    if (atomic_load(&state.bar))
        put_raw(b, "\r\033[K");
    if (state.stamps) {
        char stamp[WHEN_ROOM];
        when_format(when_now_ns(), stamp);
        put_raw(b, stamp);
        put_raw(b, " ");
    }
    put_raw(b, state.program);
    put_raw(b, level);
}

/* One write, so that lines of several threads and processes stay whole.  Where standard error is gone there is nobody to
 * tell. */
static void
send(const struct buf *b)
{
    const ssize_t n = write(STDERR_FILENO, b->at, b->size);

    (void)n;
}

static void line(const char *level, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

static void
line(const char *level, const char *fmt, va_list args)
{
    AUTO(buf_free) struct buf b = { 0 };
    AUTO(auto_free) char *text = NULL;

    if (vasprintf(&text, fmt, args) < 0)
        text = mem_text("out of memory");
    put_head(&b, level);
    put_clean(&b, text);
    put_raw(&b, "\n");
    send(&b);
}

void
log_info(const char *fmt, ...)
{
    va_list args;

    if (state.quiet)
        return;
    va_start(args, fmt);
    line(": ", fmt, args);
    va_end(args);
}

void
log_warn(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    line(": warning: ", fmt, args);
    va_end(args);
}

void
log_error(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    line(": error: ", fmt, args);
    va_end(args);
}

int
log_fail(const struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };

    put_head(&b, ": ");
    put_clean(&b, err->text);
    put_raw(&b, "\n");
    if (err->hint[0] != '\0') {
        put_raw(&b, "  hint: ");
        put_clean(&b, err->hint);
        put_raw(&b, "\n");
    }
    send(&b);
    return err_exit(err->kind);
}
