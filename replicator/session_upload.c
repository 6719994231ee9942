/* The life of an upload: its stage, its quota, its checkpoints, and the blobs it has brought so far. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/session_internal.h"
#include "snapshot/mark.h"

static enum err_kind
add_pack(void *arg, uint64_t pack, const struct index_pack *p, struct err *err)
{
    struct upload *const up = arg;

    (void)pack;
    (void)err;
    if (p->city == up->s->row.city)
        up->stored_before += p->committed;
    return ERR_OK;
}

/* What the index knows: the head of the source, what the city has stored. */
static enum err_kind
look_up(struct upload *up, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    struct store *const store = up->s->site->store;
    enum err_kind kind = kv_begin(store->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = index_mark_last(t, up->s->row.city, up->source, &up->head, err);
    if (kind == ERR_ABSENT) {
        memset(&up->head, 0, sizeof up->head);
        kind = ERR_OK;
    }
    up->quota = conf_number(store->conf, "agent", up->s->row.name, "quota", 0);
    if (kind == ERR_OK && up->quota > 0)
        kind = index_packs(t, add_pack, up, NULL, err);
    return kind;
}

static enum err_kind
send_begun(const struct upload *up, struct err *err)
{
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct wire_begun m = { .upload = up->number };

    if (up->head.mark.sequence > 0) {
        mark_encode(&up->head.mark, &text);
        m.head.text = text.at;
        m.head.size = text.size;
        memcpy(m.head.signature, up->head.signature, SIGN_BYTES);
    }
    wire_put_begun(&m, &b);
    return wire_send(up->s->ch, WIRE_BEGUN, &b, err);
}

/* Woken whenever an upload has ended; with the lock of the site. */
static pthread_cond_t upload_ended = PTHREAD_COND_INITIALIZER;

/* An agent that begins anew on another connection has lost the last one: what that one brought is committed first, so that it is found
 * and not sent again. */
static void
take_over(struct session *s, const char *source)
{
    struct timespec until;
    bool waiting = true;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TAKE_OVER_S;
    (void)pthread_mutex_lock(&s->site->lock);
    while (waiting) {
        waiting = false;
        for (struct session *o = s->site->sessions; o != NULL; o = o->next) {
            if (o == s || o->finished || strcmp(o->agent, s->agent) != 0 || strcmp(o->uploading, source) != 0)
                continue;
            (void)shutdown(o->cut_fd, SHUT_RDWR);
            waiting = true;
        }
        if (waiting && pthread_cond_timedwait(&upload_ended, &s->site->lock, &until) != 0)
            break;
    }
    (void)snprintf(s->uploading, sizeof s->uploading, "%s", source);
    (void)pthread_mutex_unlock(&s->site->lock);
}

static void
give_over(struct session *s)
{
    (void)pthread_mutex_lock(&s->site->lock);
    s->uploading[0] = '\0';
    (void)pthread_cond_broadcast(&upload_ended);
    (void)pthread_mutex_unlock(&s->site->lock);
}

enum err_kind
upload_begin(struct session *s, const struct wire_begin *m, struct err *err)
{
    static _Atomic uint64_t numbers;
    struct upload *const up = mem_zero(1, sizeof *up);
    struct index_upload row = { .city = s->row.city, .began_ns = when_now_ns() };

    assert(s->up == NULL);
    take_over(s, m->source);
    up->s = s;
    up->number = ++numbers;
    up->waiting_last = &up->waiting;
    memcpy(up->source, m->source, sizeof up->source);
    memcpy(row.source, m->source, sizeof row.source);
    s->up = up;
    enum err_kind kind = look_up(up, err);
    row.base = up->head.mark.sequence;
    if (kind == ERR_OK)
        kind = stage_new(s->site->store, &row, &up->stage, err);
    if (kind != ERR_OK)
        return kind;
    up->reader = reader_new(s->site->store, s->row.city, READ_CACHE_BYTES);
    reader_stage(up->reader, up->stage);
    up->blobs = mem_zero(BLOB_RING, sizeof *up->blobs);
    up->checkpoint_ns = when_tick_ns();
    return send_begun(up, err);
}

void
upload_end(struct session *s)
{
    struct upload *const up = s->up;

    session_drain(s);
    if (up == NULL)
        return;
    /* What was checked and stored serves the next try, also when this one was cut. */
    if (up->stage != NULL)
        (void)!stage_checkpoint(up->stage, NULL);
    reader_free(&up->reader);
    stage_free(&up->stage);
    objects_free(up);
    for (size_t i = 0; i < RAW_CACHE_SLOTS; i++)
        free(up->raws[i].at);
    free(up->blobs);
    free(up->get_set);
    free(up);
    s->up = NULL;
    give_over(s);
}

enum err_kind
upload_quota(struct upload *up, struct err *err)
{
    char quota[WHEN_ROOM];
    const uint64_t mine = up->stage == NULL ? 0 : stage_bytes(up->stage);

    if (up->quota == 0 || up->stored_before + mine < up->quota)
        return ERR_OK;
    when_bytes(up->quota, quota);
    (void)err_set(err, ERR_FULL, "the quota of %s at the site (%s) is used up", up->s->row.name, quota);
    if (err != NULL)
        err->code = EDQUOT; /* not the disk */
    return ERR_FULL;
}

enum err_kind
upload_checkpoint(struct upload *up, struct err *err)
{
    const uint64_t bytes = stage_bytes(up->stage);
    const int64_t now = when_tick_ns();

    if (bytes == up->checkpoint_bytes ||
        (bytes - up->checkpoint_bytes < CHECKPOINT_BYTES && now - up->checkpoint_ns < CHECKPOINT_NS))
        return ERR_OK;
    up->checkpoint_bytes = bytes;
    up->checkpoint_ns = now;
    return stage_checkpoint(up->stage, err);
}

/* Under the lock of the session. */
static void
raw_drop(struct upload *up, struct raw *r)
{
    up->raw_bytes -= r->size;
    free(r->at);
    *r = (struct raw){ 0 };
}

void
raw_put(struct upload *up, uint64_t blob, uint8_t **at, uint32_t size)
{
    (void)pthread_mutex_lock(&up->s->lock);
    if (up->raw_next - up->raw_oldest == RAW_CACHE_SLOTS)
        raw_drop(up, &up->raws[up->raw_oldest++ % RAW_CACHE_SLOTS]);
    up->raws[up->raw_next++ % RAW_CACHE_SLOTS] = (struct raw){ blob, size, *at };
    *at = NULL;
    up->raw_bytes += size;
    while (up->raw_bytes > RAW_CACHE_BYTES)
        raw_drop(up, &up->raws[up->raw_oldest++ % RAW_CACHE_SLOTS]);
    (void)pthread_mutex_unlock(&up->s->lock);
}

enum err_kind
raw_copy(struct upload *up, const struct extent *e, uint8_t *ret, bool *ret_found, struct err *err)
{
    enum err_kind kind = ERR_OK;

    *ret_found = false;
    (void)pthread_mutex_lock(&up->s->lock);
    for (size_t i = up->raw_next; i > up->raw_oldest && !*ret_found; i--) {
        const struct raw *const r = &up->raws[(i - 1) % RAW_CACHE_SLOTS];

        if (r->blob != e->blob)
            continue;
        *ret_found = true;
        if (e->off > r->size || e->len > r->size - e->off)
            kind = err_set(err, ERR_PROTOCOL, "ITEMS: a literal lies outside of its blob of %u bytes",
                           r->size);
        else
            memcpy(ret, r->at + e->off, e->len);
    }
    (void)pthread_mutex_unlock(&up->s->lock);
    return kind;
}

void
blob_known(struct upload *up, uint32_t number, uint64_t blob)
{
    (void)pthread_mutex_lock(&up->s->lock);
    up->blobs[number % BLOB_RING] = blob;
    (void)pthread_cond_broadcast(&up->s->changed);
    (void)pthread_mutex_unlock(&up->s->lock);
}

enum err_kind
blob_number(struct upload *up, const struct job *j, uint32_t number, uint64_t *ret, struct err *err)
{
    struct session *const s = up->s;
    const uint64_t *const at = &up->blobs[number % BLOB_RING];

    if (number >= j->blob_count || j->blob_count - number > WIRE_BLOBS_BACK)
        return err_set(err, ERR_PROTOCOL, "ITEMS: blob %u was not sent before, or too long ago (%u so far)",
                       number, j->blob_count);
    (void)pthread_mutex_lock(&s->lock);
    while (*at == 0 && s->failed == ERR_OK)
        (void)pthread_cond_wait(&s->changed, &s->lock);
    const uint64_t blob = *at;
    const struct err failed = s->err;
    (void)pthread_mutex_unlock(&s->lock);
    if (blob == 0) {
        if (err != NULL)
            *err = failed;
        return failed.kind;
    }
    *ret = blob;
    return ERR_OK;
}
