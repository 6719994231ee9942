/* What one upload writes, before the committer takes it. */
#include "snapshot/stage.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/zip.h"
#include "snapshot/pack.h"
#include "snapshot/stage_internal.h"

struct stage {
    struct store *s;
    uint32_t city;
    uint8_t city_key[32];
    uint64_t upload; /* its row's number */
    uint64_t began;  /* commit */
    pthread_mutex_t lock;
    struct rows now;         /* not handed over */
    struct handover *handed; /* the last one handed over, NULL when it was done and taken back */
    struct buf objects;      /* bytes of objects that are not in a blob yet */
    size_t waiting;          /* first row of `now` whose blob is not known yet (they are the last ones) */
    uint64_t bytes;
    enum err_kind failed; /* a hand-over failed: nothing more is taken */
    struct err err;
};

void
rows_free(struct rows *r)
{
    free(r->blobs);
    free(r->objects);
    free(r->slots);
    memset(r, 0, sizeof *r);
}

void
rows_blob(struct rows *r, const struct blob_place *p)
{
    if (r->blob_count == r->blob_room) {
        r->blob_room = r->blob_room ? 2 * r->blob_room : 64;
        r->blobs = mem_grow(r->blobs, r->blob_room, sizeof *r->blobs);
    }
    r->blobs[r->blob_count++] = *p;
}

/* Keys are HMACs: any eight bytes of one are a good hash. */
static size_t
slot_of(const struct rows *r, const uint8_t *key)
{
    return (size_t)le64_get(key + OBJECT_KEY_BYTES - 8) & (r->slot_room - 1);
}

static void
slots_grow(struct rows *r)
{
    free(r->slots);
    r->slot_room = r->slot_room ? 2 * r->slot_room : 256;
    r->slots = mem_zero(r->slot_room, sizeof *r->slots);
    for (size_t i = 0; i < r->object_count; i++) {
        size_t n = slot_of(r, r->objects[i].key);

        while (r->slots[n] != 0)
            n = (n + 1) & (r->slot_room - 1);
        r->slots[n] = (uint32_t)i + 1;
    }
}

void
rows_object(struct rows *r, const uint8_t key[OBJECT_KEY_BYTES], const struct object_place *p)
{
    if (r->object_count == r->object_room) {
        r->object_room = r->object_room ? 2 * r->object_room : 256;
        r->objects = mem_grow(r->objects, r->object_room, sizeof *r->objects);
    }
    memcpy(r->objects[r->object_count].key, key, OBJECT_KEY_BYTES);
    r->objects[r->object_count++].place = *p;
    if (2 * r->object_count >= r->slot_room) {
        slots_grow(r);
        return;
    }
    size_t n = slot_of(r, key);
    while (r->slots[n] != 0)
        n = (n + 1) & (r->slot_room - 1);
    r->slots[n] = (uint32_t)r->object_count;
}

const struct row_object *
rows_find(const struct rows *r, const uint8_t key[OBJECT_KEY_BYTES])
{
    if (r->slot_room == 0)
        return NULL;
    for (size_t n = slot_of(r, key); r->slots[n] != 0; n = (n + 1) & (r->slot_room - 1)) {
        const struct row_object *const o = &r->objects[r->slots[n] - 1];

        if (memcmp(o->key, key, OBJECT_KEY_BYTES) == 0)
            return o;
    }
    return NULL;
}

struct begin {
    const struct index_upload *u;
    uint64_t number, began;
};

static enum err_kind
begin_put(void *arg, struct kv_txn *t, struct err *err)
{
    struct begin *const b = arg;
    struct index_upload u = *b->u;
    enum err_kind kind = index_meta_get(t, META_UPLOAD_NEXT, &b->number, err);

    if (kind == ERR_OK)
        kind = index_meta_get(t, META_COMMITS, &b->began, err);
    if (kind == ERR_OK)
        kind = index_meta_put(t, META_UPLOAD_NEXT, b->number + 1, err);
    u.began = b->began;
    return kind != ERR_OK ? kind : index_upload_put(t, b->number, &u, err);
}

enum err_kind
stage_new(struct store *s, const struct index_upload *u, struct stage **ret, struct err *err)
{
    struct begin b = { .u = u };
    const enum err_kind kind = commit_change(s, begin_put, &b, NULL, err);

    if (kind != ERR_OK)
        return kind;
    struct stage *const st = mem_zero(1, sizeof *st);
    st->s = s;
    st->city = u->city;
    st->upload = b.number;
    st->began = b.began;
    store_city_key(s, u->city, st->city_key);
    (void)pthread_mutex_init(&st->lock, NULL);
    *ret = st;
    return ERR_OK;
}

static enum err_kind
begin_del(void *arg, struct kv_txn *t, struct err *err)
{
    const enum err_kind kind = index_upload_del(t, *(const uint64_t *)arg, err);

    return kind == ERR_ABSENT ? ERR_OK : kind;
}

/* Under the lock.  Take back what was handed over, waiting for it if wait. */
static void
handed_take(struct stage *st, bool wait)
{
    struct handover *const h = st->handed;

    if (h == NULL || (!wait && !commit_is_done(st->s->commit, h)))
        return;
    commit_wait(st->s->commit, h);
    if (h->kind != ERR_OK && st->failed == ERR_OK) {
        st->failed = h->kind;
        st->err = h->err;
    }
    rows_free(&h->rows);
    free(h);
    st->handed = NULL;
}

void
stage_free(struct stage **stage)
{
    struct stage *const st = *stage;
    struct err ignored;

    if (st == NULL)
        return;
    handed_take(st, true);
    (void)!commit_change(st->s, begin_del, &st->upload, NULL, &ignored);
    rows_free(&st->now);
    buf_free(&st->objects);
    explicit_bzero(st->city_key, sizeof st->city_key);
    (void)pthread_mutex_destroy(&st->lock);
    free(st);
    *stage = NULL;
}

static enum err_kind
still_good(const struct stage *st, struct err *err)
{
    if (st->failed != ERR_OK && err != NULL)
        *err = st->err;
    return st->failed;
}

enum err_kind
stage_blob(struct stage *st, const struct stage_blob *b, uint64_t *ret_blob, struct err *err)
{
    const struct pack_blob pb = { st->city, BLOB_DATA, b->zip, b->bytes, b->stored, b->raw };
    struct blob_place place;
    const enum err_kind kind = packs_put(st->s->packs, &pb, &place, err);

    if (kind != ERR_OK)
        return kind;
    (void)pthread_mutex_lock(&st->lock);
    rows_blob(&st->now, &place);
    st->bytes += place.stored + sizeof(struct blob_header);
    (void)pthread_mutex_unlock(&st->lock);
    *ret_blob = place.blob;
    return ERR_OK;
}

/* Under the lock: write the gathered objects as one blob and tell their rows its number. */
static enum err_kind
objects_flush(struct stage *st, struct err *err)
{
    struct blob_place place;

    if (st->objects.size == 0)
        return ERR_OK;
    uint8_t *const zip = mem_alloc(zip_bound(st->objects.size));
    const size_t n = zip_pack(1, st->objects.at, st->objects.size, zip);
    const struct pack_blob b = { st->city, BLOB_OBJECTS, 1, zip, (uint32_t)n, (uint32_t)st->objects.size };
    const enum err_kind kind = packs_put(st->s->packs, &b, &place, err);
    free(zip);
    if (kind != ERR_OK)
        return kind;
    rows_blob(&st->now, &place);
    st->bytes += place.stored + sizeof(struct blob_header);
    for (size_t i = st->waiting; i < st->now.object_count; i++)
        if (st->now.objects[i].place.blob == 0)
            st->now.objects[i].place.blob = place.blob;
    st->objects.size = 0;
    st->waiting = st->now.object_count;
    return ERR_OK;
}

/* Under the lock. */
static bool
staged(const struct stage *st, const uint8_t key[OBJECT_KEY_BYTES])
{
    return rows_find(&st->now, key) != NULL ||
           (st->handed != NULL && rows_find(&st->handed->rows, key) != NULL);
}

static enum err_kind
index_find(const struct stage *st, const uint8_t key[OBJECT_KEY_BYTES], struct object_place *ret,
           struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const enum err_kind kind = kv_begin(st->s->kv, false, &t, err);

    return kind != ERR_OK ? kind : index_object_get(t, key, ret, err);
}

enum err_kind
stage_object(struct stage *st, enum object_kind what, const struct digest *digest, const void *bytes,
             uint32_t size, struct err *err)
{
    uint8_t key[OBJECT_KEY_BYTES];
    struct object_place place;

    assert(size > 0 && size <= OBJECT_BYTES_MAX);
    store_object_key(st->city_key, st->city, what, digest, key);
    enum err_kind kind = index_find(st, key, &place, err);
    if (kind != ERR_ABSENT && kind != ERR_CORRUPT)
        return kind;
    (void)pthread_mutex_lock(&st->lock);
    kind = still_good(st, err);
    if (kind == ERR_OK && !staged(st, key)) {
        if (st->objects.size + size > BLOB_RAW_MAX)
            kind = objects_flush(st, err);
        place = (struct object_place){ .blob = 0, .off = (uint32_t)st->objects.size, .len = size };
        if (kind == ERR_OK) {
            buf_put(&st->objects, bytes, size);
            rows_object(&st->now, key, &place);
        }
    }
    (void)pthread_mutex_unlock(&st->lock);
    return kind;
}

enum err_kind
stage_block(struct stage *st, const struct digest *digest, uint64_t blob, uint32_t off, uint32_t len,
            struct err *err)
{
    uint8_t key[OBJECT_KEY_BYTES];
    const struct object_place place = { .blob = blob, .off = off, .len = len };

    assert(blob != 0 && len > 0 && len <= BLOCK_BYTES);
    store_object_key(st->city_key, st->city, OBJECT_BLOCK, digest, key);
    (void)pthread_mutex_lock(&st->lock);
    const enum err_kind kind = still_good(st, err);
    if (kind == ERR_OK && !staged(st, key))
        rows_object(&st->now, key, &place);
    (void)pthread_mutex_unlock(&st->lock);
    return kind;
}

enum err_kind
stage_have(struct stage *st, enum object_kind what, const struct digest *digest, bool *ret, struct err *err)
{
    uint8_t key[OBJECT_KEY_BYTES];
    struct object_place place;

    store_object_key(st->city_key, st->city, what, digest, key);
    (void)pthread_mutex_lock(&st->lock);
    handed_take(st, false);
    enum err_kind kind = still_good(st, err);
    bool have = kind == ERR_OK && staged(st, key);
    (void)pthread_mutex_unlock(&st->lock);
    if (kind == ERR_OK && !have) {
        kind = index_find(st, key, &place, err);
        have = kind == ERR_OK;
        /* A damaged row is as good as none: what it spoke of is sent again. */
        if (kind == ERR_ABSENT || kind == ERR_CORRUPT)
            kind = ERR_OK;
        if (have && place.generation < st->began) {
            (void)pthread_mutex_lock(&st->lock);
            if (!staged(st, key))
                rows_object(&st->now, key, &place);
            (void)pthread_mutex_unlock(&st->lock);
        }
    }
    if (kind == ERR_OK)
        *ret = have;
    return kind;
}

static bool
blob_in(const struct rows *r, uint64_t blob, struct blob_place *ret)
{
    for (size_t i = r->blob_count; i-- > 0;)
        if (r->blobs[i].blob == blob) {
            *ret = r->blobs[i];
            return true;
        }
    return false;
}

enum err_kind
stage_blob_place(struct stage *st, uint64_t blob, struct blob_place *ret, struct err *err)
{
    (void)pthread_mutex_lock(&st->lock);
    const bool found = blob_in(&st->now, blob, ret) ||
                       (st->handed != NULL && blob_in(&st->handed->rows, blob, ret));
    (void)pthread_mutex_unlock(&st->lock);
    if (found)
        return ERR_OK;
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const enum err_kind kind = kv_begin(st->s->kv, false, &t, err);
    return kind != ERR_OK ? kind : index_blob_get(t, blob, ret, err);
}

uint64_t
stage_bytes(struct stage *st)
{
    (void)pthread_mutex_lock(&st->lock);
    const uint64_t bytes = st->bytes;
    (void)pthread_mutex_unlock(&st->lock);
    return bytes;
}

/* Under the lock. */
static enum err_kind
hand_over(struct stage *st, struct handover *h, struct err *err)
{
    handed_take(st, true);
    enum err_kind kind = still_good(st, err);
    if (kind == ERR_OK)
        kind = objects_flush(st, err);
    if (kind != ERR_OK)
        return kind;
    h->city = st->city;
    h->rows = st->now;
    memset(&st->now, 0, sizeof st->now);
    st->waiting = 0;
    st->handed = h;
    commit_hand(st->s->commit, h);
    return ERR_OK;
}

enum err_kind
stage_checkpoint(struct stage *st, struct err *err)
{
    enum err_kind kind = ERR_OK;

    (void)pthread_mutex_lock(&st->lock);
    if (st->now.object_count > 0 || st->now.blob_count > 0) {
        struct handover *const h = mem_zero(1, sizeof *h);

        kind = hand_over(st, h, err);
        if (kind != ERR_OK)
            free(h);
    }
    (void)pthread_mutex_unlock(&st->lock);
    return kind;
}

enum err_kind
stage_mark(struct stage *st, const struct mark *m, const uint8_t signature[SIGN_BYTES],
           struct index_mark *ret, struct ledger_head *ret_head, struct err *err)
{
    struct handover *const h = mem_zero(1, sizeof *h);

    h->has_mark = true;
    h->upload = st->upload;
    h->mark.mark = *m;
    memcpy(h->mark.signature, signature, SIGN_BYTES);
    (void)pthread_mutex_lock(&st->lock);
    enum err_kind kind = hand_over(st, h, err);
    if (kind != ERR_OK) {
        free(h);
    } else {
        commit_wait(st->s->commit, h);
        kind = h->kind;
        if (kind == ERR_OK) {
            *ret = h->mark;
            *ret_head = h->head;
        } else if (err != NULL) {
            *err = h->err;
        }
        handed_take(st, true);
    }
    (void)pthread_mutex_unlock(&st->lock);
    return kind;
}
