/* The cache of opened blobs. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/pack.h"
#include "snapshot/read.h"
#include "snapshot/read_internal.h"
#include "snapshot/stage.h"

struct reader *
reader_new(struct store *s, uint32_t city, size_t cache_bytes)
{
    struct reader *const r = mem_zero(1, sizeof *r);

    r->s = s;
    r->city = city;
    r->bytes_max = cache_bytes;
    store_city_key(s, city, r->city_key);
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->loaded, NULL);
    return r;
}

void
reader_free(struct reader **reader)
{
    struct reader *const r = *reader;

    if (r == NULL)
        return;
    for (struct cached *c = r->newest, *older; c != NULL; c = older) {
        assert(c->users == 0);
        older = c->older;
        free(c->bytes);
        free(c);
    }
    explicit_bzero(r->city_key, sizeof r->city_key);
    (void)pthread_cond_destroy(&r->loaded);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
    *reader = NULL;
}

void
reader_stage(struct reader *r, struct stage *st)
{
    r->stage = st;
}

void
reader_on_blob(struct reader *r, reader_blob_fn *fn, void *arg)
{
    r->on_blob = fn;
    r->on_blob_arg = arg;
}

static enum err_kind
locate(struct reader *r, uint64_t blob, struct blob_place *ret, struct err *err)
{
    if (r->stage != NULL)
        return stage_blob_place(r->stage, blob, ret, err);
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const enum err_kind kind = kv_begin(r->s->kv, false, &t, err);
    return kind != ERR_OK ? kind : index_blob_get(t, blob, ret, err);
}

static enum err_kind
load(struct reader *r, struct cached *c, struct err *err)
{
    struct blob_place place;
    enum err_kind kind = locate(r, c->blob, &place, err);

    if (kind != ERR_OK)
        return kind;
    c->raw = place.raw;
    c->bytes = mem_alloc(place.raw);
    kind = packs_read(r->s->packs, &place, c->bytes, err);
    if (kind == ERR_ABSENT) {
        /* Its pack went while we looked (compaction): the index says where it is now. */
        const uint64_t before = place.pack;

        kind = locate(r, c->blob, &place, err);
        if (kind == ERR_OK && place.pack == before)
            kind = err_set(err, ERR_CORRUPT, "pack %llu: the file is missing", (unsigned long long)before);
        else if (kind == ERR_OK)
            kind = packs_read(r->s->packs, &place, c->bytes, err);
    }
    if (kind == ERR_OK && r->on_blob != NULL)
        r->on_blob(r->on_blob_arg, &place);
    return kind;
}

static struct cached **
bucket(struct reader *r, uint64_t blob)
{
    return &r->buckets[(blob * 0x9E3779B97F4A7C15ull) >> 52];
}

static void
list_out(struct reader *r, struct cached *c)
{
    *(c->newer != NULL ? &c->newer->older : &r->newest) = c->older;
    *(c->older != NULL ? &c->older->newer : &r->oldest) = c->newer;
}

static void
list_front(struct reader *r, struct cached *c)
{
    c->newer = NULL;
    c->older = r->newest;
    *(r->newest != NULL ? &r->newest->newer : &r->oldest) = c;
    r->newest = c;
}

static void
drop(struct reader *r, struct cached *c)
{
    struct cached **at = bucket(r, c->blob);

    while (*at != c)
        at = &(*at)->chain;
    *at = c->chain;
    list_out(r, c);
    r->bytes -= c->raw;
    free(c->bytes);
    free(c);
}

static void
shrink(struct reader *r)
{
    for (struct cached *c = r->oldest, *newer; c != NULL && r->bytes > r->bytes_max; c = newer) {
        newer = c->newer;
        if (c->users == 0 && c->state != CACHED_LOADING)
            drop(r, c);
    }
}

enum err_kind
reader_take(struct reader *r, uint64_t blob, struct cached **ret, struct err *err)
{
    struct cached **const at = bucket(r, blob);

    (void)pthread_mutex_lock(&r->lock);
    struct cached *c = *at;
    while (c != NULL && c->blob != blob)
        c = c->chain;
    if (c == NULL) {
        c = mem_zero(1, sizeof *c);
        c->blob = blob;
        c->users = 1;
        c->chain = *at;
        *at = c;
        list_front(r, c);
        (void)pthread_mutex_unlock(&r->lock);
        const enum err_kind kind = load(r, c, &c->err);
        (void)pthread_mutex_lock(&r->lock);
        c->state = kind == ERR_OK ? CACHED_GOOD : CACHED_BAD;
        c->kind = kind;
        r->bytes += c->raw;
        (void)pthread_cond_broadcast(&r->loaded);
        shrink(r);
    } else {
        c->users++;
        list_out(r, c);
        list_front(r, c);
        while (c->state == CACHED_LOADING)
            (void)pthread_cond_wait(&r->loaded, &r->lock);
    }
    const enum err_kind kind = c->kind;
    if (kind != ERR_OK) {
        if (err != NULL)
            *err = c->err;
        /* A failure is told to all who wait, and tried again by who comes later. */
        if (--c->users == 0)
            drop(r, c);
    }
    (void)pthread_mutex_unlock(&r->lock);
    if (kind == ERR_OK)
        *ret = c;
    return kind;
}

void
reader_give(struct reader *r, struct cached *c)
{
    (void)pthread_mutex_lock(&r->lock);
    assert(c->users > 0);
    c->users--;
    (void)pthread_mutex_unlock(&r->lock);
}

enum err_kind
reader_blob(struct reader *r, uint64_t blob, struct buf *ret, struct err *err)
{
    struct cached *c = NULL;
    const enum err_kind kind = reader_take(r, blob, &c, err);

    if (kind != ERR_OK)
        return kind;
    buf_put(ret, c->bytes, c->raw);
    reader_give(r, c);
    return ERR_OK;
}
