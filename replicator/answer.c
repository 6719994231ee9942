/* answer.c - the site has answered: what it needs of a unit becomes literals and items (replicator/DESIGN, step 4). */
#include "replicator/answer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"

#define PIECES_PER_BLOCK (BLOCK_BYTES / DELTA_BLOCK_BYTES)

/* One map on its way to an item. */
struct build {
    struct worker *worker;
    struct part *part;
    const uint8_t *bytes;   /* of the map */
    struct window *window;  /* NULL: no long run, or no base */
    bool copied;            /* some op copies from the base */
    uint32_t looked, found; /* bytes given to delta_make, and those it found */
};

static uint32_t
run_bytes(const struct part *part, const struct block_run *run)
{
    uint32_t end = (run->first + run->count) * BLOCK_BYTES;
    return (end < part->bytes ? end : part->bytes) - run->first * BLOCK_BYTES;
}

/* The next stretch of one kind in a run of blocks: 8 KiB pieces that are, or are not, the old ones at their place. */
struct stretch {
    uint32_t off, bytes; /* in the map */
    bool same;
};

static bool
next_stretch(const struct part *part, const struct block_run *run, struct stretch *st)
{
    uint32_t end = run->first * BLOCK_BYTES + run_bytes(part, run), at = st->off + st->bytes;
    if (at >= end)
        return false;
    st->off = at;
    st->same = (part->place[at / BLOCK_BYTES] >> (at % BLOCK_BYTES / DELTA_BLOCK_BYTES) & 1) != 0;
    while (at < end &&
           ((part->place[at / BLOCK_BYTES] >> (at % BLOCK_BYTES / DELTA_BLOCK_BYTES) & 1) != 0) == st->same)
        at += DELTA_BLOCK_BYTES;
    st->bytes = (at < end ? at : end) - st->off;
    return true;
}

/* Is something left that is worth a search around its place? */
static bool
has_long_stretch(const struct part *part)
{
    uint64_t needed = answer_needed(part, true);
    struct block_run run = { 0 };
    for (uint32_t b = 0; answer_run(needed, b, &run); b = run.first + run.count) {
        struct stretch st = { .off = run.first * BLOCK_BYTES };
        while (next_stretch(part, &run, &st))
            if (!st.same && st.bytes >= DELTA_RUN_BYTES)
                return true;
    }
    return false;
}

/* Has the site the base?  Where sums were asked for they tell; else the window will. */
static bool
may_be_based(const struct part *part)
{
    return part->file->based && !part->block && (!part->probed || part->sums_known);
}

/* Where the sums of block b begin among those that came: blocks before it may have given fewer than 8 at the old end only. */
static bool
sums_at(const struct part *part, uint32_t b, const uint8_t **ret, size_t *ret_count)
{
    if (!part->sums_known || (part->asked_sums >> b & 1) == 0)
        return false;
    const uint64_t old = part->file->base.size, at = part->map * MAP_BYTES;
    size_t skip = 0;
    for (uint32_t n = 0; n <= b; n++) {
        if ((part->asked_sums >> n & 1) == 0)
            continue;
        uint64_t start = at + (uint64_t)n * BLOCK_BYTES;
        uint64_t bytes = start >= old ? 0 : old - start < BLOCK_BYTES ? old - start : BLOCK_BYTES;
        size_t sums = (size_t)((bytes + DELTA_BLOCK_BYTES - 1) / DELTA_BLOCK_BYTES);
        if (n == b) {
            *ret = part->sums + skip * DELTA_SUM_ENTRY;
            *ret_count = sums;
            return sums > 0 && (skip + sums) * DELTA_SUM_ENTRY <= part->sums_bytes;
        }
        skip += sums;
    }
    return false;
}

/* Each 8 KiB of the blocks whose sums came, against the same place of the old file. */
static enum err_kind
compare_in_place(const struct unit *u, struct part *part, struct err *err)
{
    const uint8_t *bytes = u->buffer + part->off;
    uint64_t asked = part->asked_sums & answer_needed(part, true);
    enum err_kind kind = ERR_OK;
    for (uint32_t b = 0; b < MAP_BLOCKS && kind == ERR_OK; b++) {
        const struct block_run one = { b, 1 };
        const uint8_t *sums = NULL;
        size_t count = 0;
        if ((asked >> b & 1) == 0 || !sums_at(part, b, &sums, &count))
            continue;
        uint32_t size = run_bytes(part, &one);
        size_t pieces = (size + DELTA_BLOCK_BYTES - 1) / DELTA_BLOCK_BYTES;
        count = count < pieces ? count : pieces;
        assert(count <= PIECES_PER_BLOCK);
        kind = delta_same(bytes + b * BLOCK_BYTES, size, sums, count, &part->place[b], err);
        part->place[b] &= (uint8_t)((1u << count) - 1);
    }
    return kind;
}

static enum err_kind
put_delta(struct build *b, struct delta_base *base, const struct stretch *st, struct err *err)
{
    struct cargo *c = b->worker->cargo;
    const uint8_t *bytes = b->bytes + st->off;
    struct delta_ops ops = { 0 };
    enum err_kind kind = delta_make(base, bytes, st->bytes, &ops, err);
    b->looked += st->bytes;
    for (size_t i = 0; i < ops.count && kind == ERR_OK; i++) {
        const struct delta_op *op = &ops.at[i];
        if (op->kind == DELTA_LITERAL) {
            kind = cargo_literal(c, bytes + op->off, op->len, err);
        } else {
            cargo_op(c, op->kind, op->off, op->len);
            b->copied = b->copied || op->kind == DELTA_COPY;
            b->found += op->kind == DELTA_COPY ? op->len : 0;
        }
    }
    delta_ops_free(&ops);
    return kind;
}

static enum err_kind
put_run(struct build *b, const struct block_run *run, struct err *err)
{
    struct cargo *c = b->worker->cargo;
    struct stretch st = { .off = run->first * BLOCK_BYTES };
    enum err_kind kind = ERR_OK;
    while (kind == ERR_OK && next_stretch(b->part, run, &st)) {
        struct delta_base *base = NULL;
        if (st.same) {
            cargo_op(c, DELTA_COPY, b->part->map * MAP_BYTES + st.off, st.bytes);
            b->copied = true;
            continue;
        }
        if (st.bytes >= DELTA_RUN_BYTES && b->window != NULL)
            base = window_base(b->window, b->worker->index);
        if (base != NULL)
            kind = put_delta(b, base, &st, err);
        else
            kind = cargo_literal(c, b->bytes + st.off, st.bytes, err);
    }
    return kind;
}

static enum err_kind
send_map(struct worker *w, struct unit *u, struct part *part, struct err *err)
{
    const struct file *f = part->file;
    struct build b = { .worker = w, .part = part, .bytes = u->buffer + part->off };
    bool based = may_be_based(part);
    if (based && has_long_stretch(part))
        b.window = window_of(part->file, part);
    struct wire_item *it = mem_zero(1, sizeof(*it));
    it->kind = OBJECT_MAP;
    it->digest = part->digest;
    it->bytes = part->bytes;
    it->zero = part->zero;
    memcpy(it->blocks, u->blocks + part->first_block, merkle_blocks(part->bytes) * sizeof(it->blocks[0]));
    cargo_begin(w->cargo, it);
    uint64_t needed = answer_needed(part, based);
    struct block_run run = { 0 };
    enum err_kind kind = ERR_OK;
    for (uint32_t n = 0; kind == ERR_OK && answer_run(needed, n, &run); n = run.first + run.count)
        kind = put_run(&b, &run, err);
    if (based && (b.copied || part->same != 0)) {
        uint64_t last = merkle_maps(f->base.size) - 1;
        it->based = true;
        it->base = f->base;
        it->base_map = (uint32_t)(part->map < last ? part->map : last);
        it->same = part->same & ~part->zero; /* zeros are named as such alone */
    }
    enum err_kind end = cargo_end(w->cargo, kind == ERR_OK ? err : NULL);
    if (b.window != NULL && b.looked == MAP_BYTES && b.found == 0)
        window_barren(b.window);
    return kind != ERR_OK ? kind : end;
}

static enum err_kind
send_unit(struct worker *w, struct unit *u, struct err *err)
{
    enum err_kind kind = ERR_OK;
    for (uint32_t i = 0; i < u->count && kind == ERR_OK; i++) {
        struct part *part = &u->parts[i];
        if (!part->asked || part->status == WIRE_HAVE)
            continue;
        if (part->block)
            kind = cargo_block(w->cargo, &part->digest, u->buffer + part->off, part->bytes, err);
        else
            kind = send_map(w, u, part, err);
    }
    if (kind == ERR_OK)
        unit_done(u);
    return kind;
}

static enum err_kind
take_replies(struct unit *u, struct err *err)
{
    struct wire_answer a = { 0 };
    enum err_kind kind = wire_get_answer(u->frame.payload.at, u->frame.payload.size, &a, err);
    if (kind != ERR_OK)
        return kind;
    size_t n = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        struct part *part = &u->parts[i];
        if (!part->asked || n >= a.count) {
            n += part->asked; /* counted on, for the message */
            continue;
        }
        const struct wire_reply *r = &a.at[n++];
        part->status = r->status;
        part->sums_known = part->probed && r->status == WIRE_NEED_SUMS;
        part->sums = r->sums;
        part->sums_bytes = r->sums_bytes;
        if (part->sums_known && kind == ERR_OK)
            kind = compare_in_place(u, part, err);
    }
    if (kind == ERR_OK && n != a.count)
        kind = err_set(err, ERR_PROTOCOL, "ANSWER has %zu replies to %zu questions", a.count, n);
    free(a.at);
    return kind;
}

/* All windows that the unit needs are asked for before any is waited for. */
static enum err_kind
want_windows(struct unit *u, struct err *err)
{
    enum err_kind kind = ERR_OK;
    for (uint32_t i = 0; i < u->count && kind == ERR_OK; i++) {
        struct part *part = &u->parts[i];
        if (part->asked && part->status != WIRE_HAVE && may_be_based(part) && has_long_stretch(part))
            kind = window_want(window_of(part->file, part), u, err);
    }
    return kind;
}

enum err_kind
answer_unit(struct worker *w, struct unit *u, struct err *err)
{
    if (u->answered)
        return send_unit(w, u, err);
    u->answered = true;
    u->waits = 1; /* held by us until all are asked for; nobody else knows of the unit yet */
    enum err_kind kind = take_replies(u, err);
    if (kind == ERR_OK)
        kind = want_windows(u, err);
    if (kind != ERR_OK)
        return kind;
    pthread_mutex_lock(&u->pass->lock);
    bool now = --u->waits == 0;
    pthread_mutex_unlock(&u->pass->lock);
    return now ? send_unit(w, u, err) : ERR_OK;
}
