#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <liburing.h>

#include "common/mem.h"
#include "common/ring.h"

#define IN_FLIGHT_MAX 128u

struct ring {
    bool uring;
    struct io_uring io; /* when uring */
};

/* Bytes that a READ or WRITE has still to move; result counts those moved so far. */
static uint32_t
left_of(const struct ring_op *op)
{
    return op->size - (uint32_t)op->result;
}

/* Take one outcome of the kernel (n: bytes or a descriptor, or -errno).  Returns true when the operation is done. */
static bool
take(struct ring_op *op, int64_t n)
{
    if (op->kind != RING_READ && op->kind != RING_WRITE) {
        /* The descriptor is gone after EINTR too (close(2)). */
        op->result = op->kind == RING_CLOSE && n == -EINTR ? 0 : n;
        return true;
    }
    if (n < 0) {
        op->result = n;
        return true;
    }
    if (n == 0 && op->kind == RING_WRITE && left_of(op) > 0) {
        op->result = -EIO;
        return true;
    }
    op->result += n;
    return n == 0 || left_of(op) == 0;
}

static int64_t
plain_call(struct ring_op *op)
{
    uint8_t *const at = (uint8_t *)op->bytes + op->result;
    const off_t offset = (off_t)(op->offset + (uint64_t)op->result);
    int64_t n = -1;

    switch (op->kind) {
    case RING_OPEN:
        n = openat(op->fd, op->name, op->flags, op->mode);
        break;
    case RING_STAT:
        n = statx(op->fd, op->name, op->flags, STATX_BASIC_STATS, op->st);
        break;
    case RING_READ:
        n = pread(op->fd, at, left_of(op), offset);
        break;
    case RING_WRITE:
        n = pwrite(op->fd, at, left_of(op), offset);
        break;
    case RING_CLOSE:
        n = close(op->fd);
        break;
    }
    return n < 0 ? -errno : n;
}

/* Go on with op from where its result stands, to its end. */
static void
plain_run(struct ring_op *op)
{
    for (;;) {
        const int64_t n = plain_call(op);

        if (n == -EINTR && op->kind != RING_CLOSE)
            continue;
        if (take(op, n))
            return;
    }
}

static void
uring_put(struct ring *ring, struct ring_op *op)
{
    struct io_uring_sqe *const sqe = io_uring_get_sqe(&ring->io);
    uint8_t *const at = (uint8_t *)op->bytes + op->result;
    const uint64_t offset = op->offset + (uint64_t)op->result;

    /* As many places as operations in flight, and every submit empties the queue. */
    assert(sqe != NULL);
    switch (op->kind) {
    case RING_OPEN:
        io_uring_prep_openat(sqe, op->fd, op->name, op->flags, op->mode);
        break;
    case RING_STAT:
        io_uring_prep_statx(sqe, op->fd, op->name, op->flags, STATX_BASIC_STATS, op->st);
        break;
    case RING_READ:
        io_uring_prep_read(sqe, op->fd, at, left_of(op), offset);
        break;
    case RING_WRITE:
        io_uring_prep_write(sqe, op->fd, at, left_of(op), offset);
        break;
    case RING_CLOSE:
        io_uring_prep_close(sqe, op->fd);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

/* Take what is complete; what must go on is put in again.  Returns how many operations ended. */
static size_t
uring_reap(struct ring *ring)
{
    struct io_uring_cqe *cqe = NULL;
    size_t ended = 0;

    while (io_uring_peek_cqe(&ring->io, &cqe) == 0) {
        struct ring_op *const op = io_uring_cqe_get_data(cqe);
        const int64_t n = cqe->res;

        io_uring_cqe_seen(&ring->io, cqe);
        if ((n == -EAGAIN || n == -EINTR) && op->kind != RING_CLOSE) {
            /* The kernel would rather not do it in the background. */
            plain_run(op);
            ended++;
        } else if (take(op, n)) {
            ended++;
        } else {
            uring_put(ring, op);
        }
    }
    return ended;
}

static void
uring_run(struct ring *ring, struct ring_op *ops, size_t count)
{
    size_t begun = 0;
    size_t in_flight = 0;

    while (begun < count || in_flight > 0) {
        for (; begun < count && in_flight < IN_FLIGHT_MAX; begun++, in_flight++)
            uring_put(ring, &ops[begun]);
        const int rc = io_uring_submit_and_wait(&ring->io, 1);
        /* The kernel may hold buffers of ours: there is no way back from any other failure. */
        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
            abort();
        in_flight -= uring_reap(ring);
    }
}

void
ring_run(struct ring *ring, struct ring_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ops[i].result = 0;
    if (ring->uring) {
        uring_run(ring, ops, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        plain_run(&ops[i]);
}

static bool
uring_knows(struct io_uring *io)
{
    static const int wanted[] = { IORING_OP_OPENAT, IORING_OP_STATX, IORING_OP_READ, IORING_OP_WRITE,
                                  IORING_OP_CLOSE };
    struct io_uring_probe *const probe = io_uring_get_probe_ring(io);
    bool all = probe != NULL;

    for (size_t i = 0; all && i < sizeof wanted / sizeof wanted[0]; i++)
        all = io_uring_opcode_supported(probe, wanted[i]) != 0;
    io_uring_free_probe(probe);
    return all;
}

/* A kernel may know the operations and a container forbid them: so some are really done.  0 or an errno. */
static int
uring_try(struct ring *ring)
{
    struct statx st = { 0 };
    struct ring_op open_op = { .kind = RING_OPEN, .fd = AT_FDCWD, .name = "/", .flags = O_PATH | O_CLOEXEC };
    struct ring_op stat_op = { .kind = RING_STAT, .name = "", .flags = AT_EMPTY_PATH, .st = &st };
    struct ring_op close_op = { .kind = RING_CLOSE };

    if (!uring_knows(&ring->io))
        return ENOSYS;
    ring_run(ring, &open_op, 1);
    if (open_op.result < 0)
        return (int)-open_op.result;
    stat_op.fd = close_op.fd = (int)open_op.result;
    ring_run(ring, &stat_op, 1);
    ring_run(ring, &close_op, 1);
    if (stat_op.result != 0 || close_op.result != 0)
        return (int)-(stat_op.result != 0 ? stat_op.result : close_op.result);
    return S_ISDIR(st.stx_mode) ? 0 : EIO;
}

static int
uring_start(struct ring *ring)
{
    int code = -io_uring_queue_init(IN_FLIGHT_MAX, &ring->io, 0);

    if (code != 0)
        return code;
    ring->uring = true;
    code = uring_try(ring);
    if (code != 0) {
        io_uring_queue_exit(&ring->io);
        ring->uring = false;
    }
    return code;
}

enum err_kind
ring_new(enum ring_engine engine, struct ring **ret, struct err *err)
{
    const char *const wish = engine == RING_AUTO ? getenv("FARSHORE_IO") : NULL;

    if (wish != NULL && strcmp(wish, "plain") == 0)
        engine = RING_PLAIN;
    else if (wish != NULL && strcmp(wish, "uring") == 0)
        engine = RING_URING;
    else if (wish != NULL && wish[0] != '\0')
        return err_set(err, ERR_CONFIG, "FARSHORE_IO is \"%.32s\", neither plain nor uring", wish);
    struct ring *ring = mem_zero(1, sizeof *ring);
    const int code = engine == RING_PLAIN ? 0 : uring_start(ring);
    if (code != 0 && engine == RING_URING) {
        ring_free(&ring);
        errno = code;
        return err_errno(err, "could not use io_uring");
    }
    *ret = ring;
    return ERR_OK;
}

void
ring_free(struct ring **ring)
{
    if (*ring == NULL)
        return;
    if ((*ring)->uring)
        io_uring_queue_exit(&(*ring)->io);
    free(*ring);
    *ring = NULL;
}

const char *
ring_name(const struct ring *ring)
{
    return ring->uring ? "io_uring" : "plain";
}
