#include "common/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct err *err, enum err_kind kind, int code, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

static void
fill(struct err *err, enum err_kind kind, int code, const char *fmt, va_list args)
{
    char text[sizeof err->text];

    /* Through a copy: an argument may be the text that is there already. */
    (void)vsnprintf(text, sizeof text, fmt, args);
    memcpy(err->text, text, sizeof text);
    err->hint[0] = '\0';
    err->kind = kind;
    err->code = code;
}

enum err_kind
err_errno(struct err *err, const char *fmt, ...)
{
    const int saved = errno;
    const enum err_kind kind = saved == ENOSPC || saved == EDQUOT ? ERR_FULL : ERR_IO;

    if (err == NULL)
        return kind;
    va_list args;
    va_start(args, fmt);
    fill(err, kind, saved, fmt, args);
    va_end(args);

    char room[128];
    const size_t used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof err->text - used, ": %s", strerror_r(saved, room, sizeof room));
    errno = saved;
    return kind;
}

enum err_kind
err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
    assert(kind != ERR_OK);
    if (err == NULL)
        return kind;
    va_list args;
    va_start(args, fmt);
    fill(err, kind, 0, fmt, args);
    va_end(args);
    return kind;
}

enum err_kind
err_prefix(struct err *err, enum err_kind kind, const char *fmt, ...)
{
    char text[sizeof err->text];

    if (err == NULL)
        return kind;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);

    /* In three pieces, each cut to what is left: a long context must not overflow, a long text is cut at its end. */
    const size_t used = strlen(text);
    if (used + 2 < sizeof text) {
        text[used] = ':';
        text[used + 1] = ' ';
        const size_t old = strnlen(err->text, sizeof text - used - 3);
        memcpy(text + used + 2, err->text, old);
        text[used + 2 + old] = '\0';
    }
    memcpy(err->text, text, sizeof text);
    return err->kind;
}

void
err_hint(struct err *err, const char *fmt, ...)
{
    if (err == NULL)
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(err->hint, sizeof err->hint, fmt, args);
    va_end(args);
}

int
err_exit(enum err_kind kind)
{
    switch (kind) {
    case ERR_OK:
        return EXIT_SOUND;
    case ERR_REFUSED:
        return EXIT_REFUSED;
    case ERR_CONFIG:
        return EXIT_CONF;
    case ERR_USAGE:
        return EXIT_CALL;
    case ERR_IO:
    case ERR_FULL:
    case ERR_CORRUPT:
    case ERR_PROTOCOL:
    case ERR_CLOSED:
    case ERR_CRYPTO:
    case ERR_ABSENT:
    case ERR_LIMIT:
        break;
    }
    return EXIT_FAILED;
}
