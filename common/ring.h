/* ring.h - batches of file operations, through io_uring where the kernel allows it, else by plain system calls with the
 * same results.  One ring belongs to one thread.  No ordering inside a batch; nothing here is for durability. */
#ifndef COMMON_RING_H
#define COMMON_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include "common/err.h"

enum ring_engine { RING_AUTO, RING_URING, RING_PLAIN };
enum ring_kind { RING_OPEN, RING_STAT, RING_READ, RING_WRITE, RING_CLOSE };

struct ring_op {
    enum ring_kind kind;
    int fd;            /* OPEN, STAT: the directory; else the file */
    const char *name;  /* OPEN, STAT: borrowed; STAT with "" and AT_EMPTY_PATH in flags stats fd itself */
    int flags;         /* OPEN: open(2) flags; STAT: AT_* flags, AT_SYMLINK_NOFOLLOW among them */
    mode_t mode;       /* OPEN with O_CREAT */
    struct statx *st;  /* STAT: filled (mask STATX_BASIC_STATS) */
    void *bytes;       /* READ, WRITE: [size] */
    uint32_t size;
    uint64_t offset;
    int64_t result;    /* out: descriptor, bytes moved, 0; or -errno.  READ goes on to size bytes or end of file, WRITE to
                          size bytes or an error */
};

struct ring;

/* engine RING_AUTO: io_uring if a probe succeeds, else plain.  RING_URING fails where it is not allowed.
 * Environment FARSHORE_IO=plain|uring overrides AUTO. */
ERR_CHECK enum err_kind ring_new(enum ring_engine engine, struct ring **ret, struct err *err);
void ring_free(struct ring **ring);
const char *ring_name(const struct ring *ring); /* "io_uring" or "plain" */

/* Run all operations and return when each has its result.  count is any number; at most 128 are in flight. */
void ring_run(struct ring *ring, struct ring_op *ops, size_t count);

#endif
