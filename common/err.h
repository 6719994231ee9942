/* err.h - the one error type.  Library code fills it where a failure is detected; only a main.c prints it. */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

enum err_kind {
    ERR_OK = 0,
    ERR_IO,       /* a system call failed; code holds errno */
    ERR_FULL,     /* no space or quota left (ENOSPC, EDQUOT, a city's quota); nothing stored was touched */
    ERR_CORRUPT,  /* bytes on disk break a stated invariant: damage */
    ERR_PROTOCOL, /* the peer broke the protocol, or a limit of it */
    ERR_CLOSED,   /* the connection ended, was reset or stalled; trying again may help */
    ERR_CRYPTO,   /* OpenSSL failed: key, certificate or handshake */
    ERR_ABSENT,   /* what was asked for does not exist */
    ERR_REFUSED,  /* refused for safety (exit status 3) */
    ERR_LIMIT,    /* a named limit of common/limits.h would be passed */
    ERR_CONFIG,   /* bad configuration file; the text names file and line (exit status 78) */
    ERR_USAGE,    /* called wrongly (exit status 64) */
};

struct err {
    enum err_kind kind;
    int code;       /* errno, MDB_*, rs_result or 0; meaning depends on kind */
    char text[512]; /* lower case, no full stop; cut if longer */
    char hint[256]; /* what the user can do, printed on a line of its own; "" when there is none */
};

/* Exit statuses of every program. */
enum { EXIT_SOUND = 0, EXIT_FINDINGS = 1, EXIT_FAILED = 2, EXIT_REFUSED = 3, EXIT_CALL = 64, EXIT_CONF = 78 };

#define ERR_CHECK __attribute__((warn_unused_result))

/* Record errno and the message, ": strerror" appended; return ERR_IO, or ERR_FULL for ENOSPC and EDQUOT.  A NULL err is
 * allowed, here and below. */
enum err_kind err_errno(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Record kind and message; return kind.  kind is not ERR_OK. */
enum err_kind err_set(struct err *err, enum err_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "context: " before the text already there; return err->kind (kind when err is NULL). */
enum err_kind err_prefix(struct err *err, enum err_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Set the hint of an error already recorded. */
void err_hint(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The exit status that a program ends with on this kind. */
int err_exit(enum err_kind kind);

#endif
