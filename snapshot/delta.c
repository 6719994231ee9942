#include "snapshot/delta.h"

#include <assert.h>
#include <librsync.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/delta_internal.h"
#include "snapshot/merkle.h"

#define SIG_HEADER 12u          /* magic, block length, strong length */
#define FEED_BYTES (256u * KIB) /* librsync moves what it has not read at each call */
#define OUT_BYTES (128u * KIB)
#define ZERO_BYTES 4096u /* shorter runs of zeros stay in their literal */
#define BASE_SUMS_MAX (2 * WINDOW_BYTES / DELTA_BLOCK_BYTES)

_Static_assert(DELTA_SUM_ENTRY == 4 + DELTA_SUM_BYTES, "weak and strong sum");

static pthread_once_t ready_once = PTHREAD_ONCE_INIT;
static bool too_old;

struct delta_base {
    rs_signature_t *sig; /* NULL when there are no sums */
    struct piece {
        uint64_t start; /* in the pieces one after another, which is what librsync knows */
        uint64_t old_off;
        uint64_t bytes;
    } * pieces; /* [count] */
    size_t count;
    uint64_t bytes; /* of all pieces */
};

static void
say_nothing(rs_loglevel level, const char *msg)
{
    (void)level;
    (void)msg;
}

static void
make_ready(void)
{
    unsigned part[3] = { 0 };
    const char *at = rs_librsync_version + strcspn(rs_librsync_version, "0123456789"); /* "librsync 2.3.2" */

    for (size_t i = 0; i < 3; i++) {
        char *end;

        part[i] = (unsigned)strtoul(at, &end, 10);
        at = *end == '.' ? end + 1 : end;
    }
    too_old = part[0] * 10000 + part[1] * 100 + part[2] < 20302;
    rs_trace_to(say_nothing); /* libraries do not print */
}

/* Before 2.3.2 a zero-length COPY hung it, and a small signature corrupted its heap. */
static enum err_kind
ready(struct err *err)
{
    (void)pthread_once(&ready_once, make_ready);
    if (too_old)
        return err_set(err, ERR_REFUSED, "%s is too old: 2.3.2 is needed", rs_librsync_version);
    return ERR_OK;
}

static void
job_free(rs_job_t **job)
{
    if (*job != NULL)
        (void)rs_job_free(*job);
}

/* Its buffers are not const, though it only reads what is in next_in. */
static char *
readable(const void *bytes)
{
    return (char *)(uintptr_t)bytes;
}

static enum err_kind
failed(rs_result result, const char *what, struct err *err)
{
    const enum err_kind k = err_set(err, ERR_PROTOCOL, "could not %s: %s", what, rs_strerror(result));

    if (err != NULL)
        err->code = (int)result;
    return k;
}

enum err_kind
delta_sums(const void *bytes, size_t size, struct buf *ret, struct err *err)
{
    const size_t count = (size + DELTA_BLOCK_BYTES - 1) / DELTA_BLOCK_BYTES;
    const size_t room = SIG_HEADER + count * DELTA_SUM_ENTRY;
    AUTO(auto_free) uint8_t *out = NULL;
    AUTO(job_free) rs_job_t *job = NULL;
    rs_result result;
    enum err_kind k;

    assert(size <= 2 * (size_t)WINDOW_BYTES);
    if ((k = ready(err)) != ERR_OK)
        return k;
    out = mem_alloc(room);
    job = rs_sig_begin(DELTA_BLOCK_BYTES, DELTA_SUM_BYTES, RS_RK_BLAKE2_SIG_MAGIC);
    rs_buffers_t io = {
        .next_in = readable(bytes), .avail_in = size, .eof_in = 1, .next_out = (char *)out, .avail_out = room
    };

    result = rs_job_iter(job, &io);
    if (result != RS_DONE)
        return failed(result, "sum old bytes", err);
    assert(io.avail_in == 0 && io.avail_out == 0);
    buf_put(ret, out + SIG_HEADER, room - SIG_HEADER);
    return ERR_OK;
}

enum err_kind
delta_same(const void *bytes, size_t size, const uint8_t *sums, size_t count, uint8_t *ret_same,
           struct err *err)
{
    AUTO(buf_free) struct buf ours = { 0 };
    enum err_kind k;

    assert(size <= MAP_BYTES);
    if ((k = delta_sums(bytes, size, &ours, err)) != ERR_OK)
        return k;
    memset(ret_same, 0, (count + 7) / 8);
    for (size_t n = 0; n < count && n < ours.size / DELTA_SUM_ENTRY; n++)
        if (memcmp(ours.at + n * DELTA_SUM_ENTRY, sums + n * DELTA_SUM_ENTRY, DELTA_SUM_ENTRY) == 0)
            ret_same[n / 8] |= (uint8_t)(1u << n % 8);
    return ERR_OK;
}

static int
order_sums(const void *a, const void *b)
{
    const uint8_t *const *const left = a, *const *const right = b;

    return memcmp(*left, *right, DELTA_SUM_ENTRY);
}

/* librsync's table is quadratic in different strong sums under one weak sum. */
static enum err_kind
check_sums(const uint8_t *sums, size_t count, struct err *err)
{
    AUTO(auto_free) const uint8_t **order = mem_zero(count, sizeof *order);
    unsigned different = 0;

    for (size_t i = 0; i < count; i++)
        order[i] = sums + i * DELTA_SUM_ENTRY;
    qsort(order, count, sizeof *order, order_sums);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || memcmp(order[i - 1], order[i], 4) != 0)
            different = 1;
        else if (memcmp(order[i - 1], order[i], DELTA_SUM_ENTRY) != 0)
            different++;
        if (different > DELTA_WEAK_SAME_MAX)
            return err_set(err, ERR_PROTOCOL, "more than %u blocks that differ share a weak sum",
                           DELTA_WEAK_SAME_MAX);
    }
    return ERR_OK;
}

static enum err_kind
load(const struct buf *stream, rs_signature_t **ret, struct err *err)
{
    AUTO(job_free) rs_job_t *job = rs_loadsig_begin(ret);
    rs_buffers_t io = { .next_in = (char *)stream->at, .avail_in = stream->size, .eof_in = 1 };
    rs_result result = rs_job_iter(job, &io);

    if (result == RS_DONE)
        result = rs_build_hash_table(*ret);
    return result == RS_DONE ? ERR_OK : failed(result, "load sums of old bytes", err);
}

void
delta_base_free(struct delta_base **b)
{
    if (*b == NULL)
        return;
    if ((*b)->sig != NULL)
        rs_free_sumset((*b)->sig);
    free((*b)->pieces);
    free(*b);
    *b = NULL;
}

/* Lay the pieces end to end; their sums go to stream, as librsync would have written them of the whole. */
static enum err_kind
lay_out(const struct delta_piece *pieces, struct delta_base *b, struct buf *stream, struct err *err)
{
    uint8_t header[SIG_HEADER];

    be32_put(header, RS_RK_BLAKE2_SIG_MAGIC);
    be32_put(header + 4, DELTA_BLOCK_BYTES);
    be32_put(header + 8, DELTA_SUM_BYTES);
    buf_put(stream, header, sizeof header);
    for (size_t i = 0; i < b->count; i++) {
        const struct delta_piece *const p = &pieces[i];
        const uint64_t room = (uint64_t)BASE_SUMS_MAX * DELTA_BLOCK_BYTES - b->bytes;

        assert(i + 1 == b->count || p->old_bytes % DELTA_BLOCK_BYTES == 0);
        if (p->old_bytes > room)
            return err_set(err, ERR_PROTOCOL, "sums of more than %u old bytes",
                           BASE_SUMS_MAX * DELTA_BLOCK_BYTES);
        if (p->old_off > (uint64_t)INT64_MAX - p->old_bytes)
            return err_set(err, ERR_PROTOCOL, "sums of old bytes at an offset that is out of range");
        b->pieces[i] = (struct piece){ .start = b->bytes, .old_off = p->old_off, .bytes = p->old_bytes };
        b->bytes += p->old_bytes;
        buf_put(stream, p->sums,
                (size_t)((p->old_bytes + DELTA_BLOCK_BYTES - 1) / DELTA_BLOCK_BYTES * DELTA_SUM_ENTRY));
    }
    return ERR_OK;
}

enum err_kind
delta_base_new(const struct delta_piece *pieces, size_t count, struct delta_base **ret, struct err *err)
{
    AUTO(buf_free) struct buf stream = { 0 };
    AUTO(delta_base_free) struct delta_base *b = NULL;
    enum err_kind k;

    if ((k = ready(err)) != ERR_OK)
        return k;
    b = mem_zero(1, sizeof *b);
    b->pieces = mem_zero(count, sizeof *b->pieces);
    b->count = count;
    if ((k = lay_out(pieces, b, &stream, err)) != ERR_OK)
        return k;
    if (stream.size > SIG_HEADER) {
        k = check_sums(stream.at + SIG_HEADER, (stream.size - SIG_HEADER) / DELTA_SUM_ENTRY, err);
        if (k == ERR_OK)
            k = load(&stream, &b->sig, err);
        if (k != ERR_OK)
            return k;
    }
    *ret = b;
    b = NULL;
    return ERR_OK;
}

/* A delta in the making. */
struct making {
    const struct delta_base *base;
    const uint8_t *bytes;
    struct delta_ops ops;
    uint64_t
        literal; /* where the literal that is not yet in ops begins; it ends where the new bytes end so far */
};

/* Put the literal [literal, end) into ops, its pages of zeros as what they are. */
static void
put_literal(struct making *m, uint64_t end)
{
    uint64_t at = m->literal;

    while (at < end) {
        const uint64_t page = at - at % ZERO_BYTES + ZERO_BYTES, stop = page < end ? page : end;
        const uint32_t len = (uint32_t)(stop - at);
        const bool zero = len == ZERO_BYTES && merkle_zero_bytes(m->bytes + at, len);

        delta_ops_add(
            &m->ops,
            (struct delta_op){ .kind = zero ? DELTA_ZERO : DELTA_LITERAL, .off = zero ? 0 : at, .len = len });
        at = stop;
    }
    m->literal = end;
}

/* librsync's offset is one in the pieces end to end. */
static enum err_kind
put_copy(struct making *m, uint64_t off, uint64_t len, struct err *err)
{
    const struct delta_base *const b = m->base;

    if (off > b->bytes || len > b->bytes - off)
        return err_set(err, ERR_PROTOCOL, "the sums match where no old bytes are");
    for (size_t i = 0; i < b->count && len > 0; i++) {
        const struct piece *const p = &b->pieces[i];

        if (off >= p->start + p->bytes)
            continue;
        const uint64_t in = off - p->start, n = p->bytes - in < len ? p->bytes - in : len;

        delta_ops_add(&m->ops,
                      (struct delta_op){ .kind = DELTA_COPY, .off = p->old_off + in, .len = (uint32_t)n });
        off += n;
        len -= n;
    }
    return ERR_OK;
}

static enum err_kind
made_op(struct delta_reader *r, const struct delta_op *op, struct err *err)
{
    struct making *const m = r->arg;

    if (op->kind == DELTA_LITERAL)
        return ERR_OK; /* it is [m->literal, r->made), and goes on growing */
    put_literal(m, r->made);
    m->literal += op->len;
    return put_copy(m, op->off, op->len, err);
}

/* Run the job until all is read, or nothing matched for too long. */
static enum err_kind
run(rs_job_t *job, struct delta_reader *r, size_t size, struct err *err)
{
    const struct making *const m = r->arg;
    AUTO(auto_free) char *out = mem_alloc(OUT_BYTES);
    rs_buffers_t io = { .next_in = readable(m->bytes) };
    rs_result result = RS_BLOCKED;
    size_t fed = 0;
    enum err_kind k;

    while (result != RS_DONE) {
        if (io.avail_in == 0 && fed < size) {
            io.avail_in = size - fed < FEED_BYTES ? size - fed : FEED_BYTES;
            fed += io.avail_in;
        }
        io.eof_in = fed == size;
        io.next_out = out;
        io.avail_out = OUT_BYTES;
        result = rs_job_iter(job, &io);
        if (result != RS_DONE && result != RS_BLOCKED)
            return failed(result, "match old bytes", err);
        if ((k = delta_read(r, (const uint8_t *)out, OUT_BYTES - io.avail_out, err)) != ERR_OK)
            return k;
        if (r->made - m->literal >= DELTA_BARREN_BYTES)
            return ERR_OK;
    }
    if ((k = delta_read_end(r, err)) != ERR_OK)
        return k;
    assert(r->made == size);
    return ERR_OK;
}

enum err_kind
delta_make(struct delta_base *b, const void *bytes, size_t size, struct delta_ops *ret, struct err *err)
{
    struct making m = { .base = b, .bytes = bytes };
    struct delta_reader r = { .op = made_op, .arg = &m, .new_bytes_max = size };
    enum err_kind k = ERR_OK;

    assert(size <= WINDOW_BYTES);
    if (b->sig != NULL && size > 0) {
        AUTO(job_free) rs_job_t *job = rs_delta_begin(b->sig);

        k = run(job, &r, size, err);
    }
    if (k == ERR_OK) {
        put_literal(&m, size);
        for (size_t i = 0; i < m.ops.count; i++)
            delta_ops_add(ret, m.ops.at[i]);
    }
    delta_ops_free(&m.ops);
    return k;
}
