/* cargo.c - a worker's open blob: literals of many files in the order in which they are met, and the items that refer to them.
 * A blob gets its number when it goes out, so that numbers rise without a gap; the items wait for it here. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/zip.h"
#include "replicator/pass.h"

#define OPEN_BLOB UINT32_MAX /* in an op: the blob that is being filled */
#define HELD_MAX 1024u
#define FRAME_SEND_BYTES (256u * KIB)
#define ZIP_LEVEL 1

struct held {               /* a file of one block, or the item of a map */
    struct wire_item *item; /* NULL: a block */
    struct digest digest;
    uint32_t off, bytes;
};

struct cargo {
    struct pass *pass;
    pthread_mutex_t lock;
    uint8_t *raw; /* [BLOB_RAW_MAX] */
    uint8_t *zip; /* [zip_bound(BLOB_RAW_MAX)] */
    uint32_t used;
    struct held *held; /* [HELD_MAX] */
    uint32_t count;
    struct wire_item *item; /* being built */
    size_t op_room;
    struct buf frame;
};

struct cargo *
cargo_new(struct pass *p)
{
    struct cargo *c = mem_zero(1, sizeof(*c));
    c->pass = p;
    pthread_mutex_init(&c->lock, NULL);
    c->raw = mem_alloc(BLOB_RAW_MAX);
    c->zip = mem_alloc(zip_bound(BLOB_RAW_MAX));
    c->held = mem_alloc(HELD_MAX * sizeof(*c->held));
    return c;
}

static void
item_free(struct wire_item **it)
{
    if (*it == NULL)
        return;
    wire_item_free(*it);
    free(*it);
    *it = NULL;
}

void
cargo_free(struct cargo **c)
{
    struct cargo *at = *c;
    if (at == NULL)
        return;
    for (uint32_t i = 0; i < at->count; i++)
        item_free(&at->held[i].item);
    item_free(&at->item);
    buf_free(&at->frame);
    free(at->held);
    free(at->zip);
    free(at->raw);
    pthread_mutex_destroy(&at->lock);
    free(at);
    *c = NULL;
}

static enum err_kind
send_blob(struct cargo *c, const uint8_t *raw, uint32_t size, uint32_t *ret_number, struct err *err)
{
    struct pass *p = c->pass;
    size_t stored = zip_pack(ZIP_LEVEL, raw, size, c->zip);
    bool zipped = stored < size;
    struct wire_blob b = {
        .raw = size, .zip = zipped, .bytes = zipped ? c->zip : raw, .stored = zipped ? stored : size
    };
    struct buf payload = { 0 };
    buf_reserve(&payload, b.stored + 64);
    pthread_mutex_lock(&p->blob_lock);
    b.number = p->next_blob++;
    wire_put_blob(&b, &payload);
    enum err_kind kind = link_send(p->link, WIRE_BLOB, &payload, err);
    pthread_mutex_unlock(&p->blob_lock);
    buf_free(&payload);
    *ret_number = b.number;
    return kind;
}

static void
number_ops(struct wire_item *it, uint32_t blob)
{
    for (size_t i = 0; i < it->op_count; i++)
        if (it->ops[i].kind == DELTA_LITERAL && it->ops[i].blob == OPEN_BLOB)
            it->ops[i].blob = blob;
}

static void
put_block(const struct held *h, uint32_t blob, struct buf *ret)
{
    struct wire_op op = { .kind = DELTA_LITERAL, .len = h->bytes, .off = h->off, .blob = blob };
    struct wire_item *it = mem_zero(1, sizeof(*it));
    it->kind = OBJECT_BLOCK;
    it->digest = h->digest;
    it->bytes = h->bytes;
    it->ops = &op;
    it->op_count = 1;
    wire_put_item(it, ret);
    free(it);
}

static enum err_kind
send_held(struct cargo *c, uint32_t blob, struct err *err)
{
    enum err_kind kind = ERR_OK;
    for (uint32_t i = 0; i < c->count; i++) {
        struct held *h = &c->held[i];
        if (h->item != NULL) {
            number_ops(h->item, blob);
            wire_put_item(h->item, &c->frame);
            item_free(&h->item);
        } else {
            put_block(h, blob, &c->frame);
        }
        if (kind == ERR_OK && (c->frame.size >= FRAME_SEND_BYTES || i + 1 == c->count)) {
            kind = link_send(c->pass->link, WIRE_ITEMS, &c->frame, err);
            c->frame.size = 0;
        }
    }
    c->count = 0;
    return kind;
}

/* lock held */
static enum err_kind
flush(struct cargo *c, struct err *err)
{
    uint32_t blob = OPEN_BLOB;
    enum err_kind kind = ERR_OK;
    if (c->used > 0)
        kind = send_blob(c, c->raw, c->used, &blob, err);
    if (kind == ERR_OK)
        kind = send_held(c, blob, err);
    if (c->item != NULL)
        number_ops(c->item, blob);
    c->used = 0;
    return kind;
}

enum err_kind
cargo_flush(struct cargo *c, struct err *err)
{
    pthread_mutex_lock(&c->lock);
    enum err_kind kind = flush(c, err);
    pthread_mutex_unlock(&c->lock);
    return kind;
}

enum err_kind
cargo_block(struct cargo *c, const struct digest *digest, const uint8_t *bytes, uint32_t size,
            struct err *err)
{
    enum err_kind kind = ERR_OK;
    pthread_mutex_lock(&c->lock);
    /* A block lies in one blob. */
    if (c->used + size > BLOB_RAW_MAX || c->count == HELD_MAX)
        kind = flush(c, err);
    if (kind == ERR_OK) {
        memcpy(c->raw + c->used, bytes, size);
        c->held[c->count++] = (struct held){ .digest = *digest, .off = c->used, .bytes = size };
        c->used += size;
    }
    pthread_mutex_unlock(&c->lock);
    return kind;
}

void
cargo_begin(struct cargo *c, struct wire_item *it)
{
    pthread_mutex_lock(&c->lock);
    assert(c->item == NULL);
    c->item = it;
    c->op_room = 0;
}

static struct wire_op *
add_op(struct cargo *c)
{
    struct wire_item *it = c->item;
    if (it->op_count == c->op_room) {
        c->op_room = c->op_room == 0 ? 16 : 2 * c->op_room;
        it->ops = mem_grow(it->ops, c->op_room, sizeof(*it->ops));
    }
    return &it->ops[it->op_count++];
}

void
cargo_op(struct cargo *c, uint8_t kind, uint64_t off, uint32_t len)
{
    struct wire_op *last = c->item->op_count > 0 ? &c->item->ops[c->item->op_count - 1] : NULL;
    if (last != NULL && last->kind == kind && (kind == DELTA_ZERO || last->off + last->len == off))
        last->len += len;
    else
        *add_op(c) = (struct wire_op){ .kind = kind, .len = len, .off = off };
}

enum err_kind
cargo_literal(struct cargo *c, const uint8_t *bytes, uint32_t size, struct err *err)
{
    while (size > 0) {
        if (c->used == BLOB_RAW_MAX) {
            enum err_kind kind = flush(c, err);
            if (kind != ERR_OK)
                return kind;
        }
        if (c->used == 0 && size >= BLOB_RAW_MAX) { /* a whole blob needs no gathering */
            struct wire_op op = { .kind = DELTA_LITERAL, .len = BLOB_RAW_MAX };
            enum err_kind kind = send_blob(c, bytes, BLOB_RAW_MAX, &op.blob, err);
            if (kind != ERR_OK)
                return kind;
            *add_op(c) = op;
            bytes += BLOB_RAW_MAX;
            size -= BLOB_RAW_MAX;
            continue;
        }
        uint32_t some = BLOB_RAW_MAX - c->used < size ? BLOB_RAW_MAX - c->used : size;
        memcpy(c->raw + c->used, bytes, some);
        struct wire_op *last = c->item->op_count > 0 ? &c->item->ops[c->item->op_count - 1] : NULL;
        if (last != NULL && last->kind == DELTA_LITERAL && last->blob == OPEN_BLOB &&
            last->off + last->len == c->used)
            last->len += some;
        else
            *add_op(c) =
                (struct wire_op){ .kind = DELTA_LITERAL, .len = some, .off = c->used, .blob = OPEN_BLOB };
        c->used += some;
        bytes += some;
        size -= some;
    }
    return ERR_OK;
}

enum err_kind
cargo_end(struct cargo *c, struct err *err)
{
    enum err_kind kind = ERR_OK;
    if (c->count == HELD_MAX)
        kind = flush(c, err);
    if (kind == ERR_OK) {
        c->held[c->count++] = (struct held){ .item = c->item };
        c->item = NULL;
        /* With no blob open there is nothing to wait for: what a cut link would lose is sent again. */
        if (c->used == 0)
            kind = flush(c, err);
    }
    item_free(&c->item);
    pthread_mutex_unlock(&c->lock);
    return kind;
}
