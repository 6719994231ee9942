/* One group commit, in the order of durability (stage.h).  The committer is the only writer of the index, so what it reads before its
 * transaction still holds inside it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/when.h"
#include "common/zip.h"
#include "snapshot/index_internal.h"
#include "snapshot/pack.h"
#include "snapshot/stage.h"
#include "snapshot/stage_internal.h"

#define ROW_BYTES (OBJECT_KEY_BYTES + 16u) /* of a BLOB_ROWS blob: key, blob 8, off 4, len 4 */

struct pack_state {
    uint64_t pack;
    struct index_pack row;
};
struct round {
    struct store *s;
    struct handover *group;
    uint64_t commit;    /* number of this commit */
    uint64_t pack_next; /* taken before the sync: every pack below it has a row after this commit */
    struct pack_state *packs;
    size_t pack_count;
    struct buf leaf;         /* empty: no event, no leaf */
    struct ledger_head head; /* before; after the append: after */
};

/* After a failed sync or commit nobody knows what is on disk: acknowledge nothing more, recover at start (DESIGN section 6). */
_Noreturn static void
give_up(const struct err *err)
{
    log_error("%s; nothing more is acknowledged, restart the site", err->text);
    _exit(EXIT_FAILED);
}

static void
fail(struct handover *h, enum err_kind kind, const struct err *err)
{
    h->kind = kind;
    h->err = *err;
}

static enum err_kind
put_blob(struct store *s, struct handover *h, enum blob_kind kind, const struct buf *bytes,
         uint64_t *ret_blob, struct err *err)
{
    uint8_t *const zip = mem_alloc(zip_bound(bytes->size));
    const size_t n = zip_pack(1, bytes->at, bytes->size, zip);
    const struct pack_blob b = { h->city, kind, 1, zip, (uint32_t)n, (uint32_t)bytes->size };
    struct blob_place place;
    const enum err_kind failed = packs_put(s->packs, &b, &place, err);

    free(zip);
    if (failed != ERR_OK)
        return failed;
    rows_blob(&h->more, &place);
    *ret_blob = place.blob;
    return ERR_OK;
}

/* The rows themselves go into the pack: this is what reindex reads. */
static enum err_kind
put_rows(struct store *s, struct handover *h, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    uint64_t ignored = 0;

    for (size_t i = 0; i < h->rows.object_count; i++) {
        const struct row_object *const o = &h->rows.objects[i];

        buf_put(&b, o->key, sizeof o->key);
        buf_u64(&b, o->place.blob);
        buf_u32(&b, o->place.off);
        buf_u32(&b, o->place.len);
        if (b.size + ROW_BYTES <= BLOB_RAW_MAX && i + 1 < h->rows.object_count)
            continue;
        const enum err_kind kind = put_blob(s, h, BLOB_ROWS, &b, &ignored, err);
        if (kind != ERR_OK)
            return kind;
        b.size = 0;
    }
    return ERR_OK;
}

/* A mark must continue the last one, also when two sessions of one agent race. */
static enum err_kind
mark_continues(const struct round *r, const struct handover *h, struct index_agent *ret_agent,
               struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    struct index_mark last = { 0 };
    const struct mark *const m = &h->mark.mark;
    enum err_kind kind = kv_begin(r->s->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = index_agent_get(t, m->agent, ret_agent, err);
    if (kind != ERR_OK)
        return kind;
    kind = index_mark_last(t, h->city, m->source, &last, err);
    if (kind != ERR_OK && kind != ERR_ABSENT)
        return kind;
    for (const struct handover *o = r->group; o != h; o = o->next) {
        if (!o->has_mark || o->kind != ERR_OK || o->city != h->city)
            continue;
        ret_agent->receipts++;
        if (strcmp(o->mark.mark.source, m->source) == 0)
            last = o->mark;
    }
    if (m->sequence != last.mark.sequence + 1 || !hash_same(&m->previous, &last.id))
        return err_set(err, ERR_REFUSED, "mark %llu of %s/%s does not continue mark %llu",
                       (unsigned long long)m->sequence, m->agent, m->source,
                       (unsigned long long)last.mark.sequence);
    return ERR_OK;
}

static enum err_kind
put_mark(struct round *r, struct handover *h, struct err *err)
{
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct index_agent agent;
    enum err_kind kind = mark_continues(r, h, &agent, err);

    if (kind != ERR_OK)
        return kind;
    h->mark.receipt = agent.receipts + 1;
    h->mark.leaf = r->head.size;
    h->mark.received_ns = when_now_ns();
    mark_encode(&h->mark.mark, &text);
    mark_id(text.at, text.size, &h->mark.id);
    buf_block(&b, text.at, text.size);
    buf_put(&b, h->mark.signature, SIGN_BYTES);
    buf_u64(&b, h->mark.receipt);
    buf_u64(&b, h->mark.leaf);
    buf_u64(&b, (uint64_t)h->mark.received_ns);
    return put_blob(r->s, h, BLOB_MARK, &b, &h->mark.blob, err);
}

static void
state_note(void *arg, uint64_t pack, uint32_t city, uint64_t end, bool closed)
{
    struct round *const r = arg;

    r->packs = mem_grow(r->packs, r->pack_count + 1, sizeof *r->packs);
    r->packs[r->pack_count++] = (struct pack_state){ pack, { city, end, closed } };
}

/* A blob behind a failed write of its pack is not part of the store, although it was written. */
static enum err_kind
blobs_count(const struct round *r, const struct rows *rows, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    enum err_kind kind = kv_begin(r->s->kv, false, &t, err);

    for (size_t i = 0; kind == ERR_OK && i < rows->blob_count; i++) {
        const struct blob_place *const b = &rows->blobs[i];
        struct index_pack row = { 0 };
        size_t n = 0;

        while (n < r->pack_count && r->packs[n].pack != b->pack)
            n++;
        if (n < r->pack_count)
            row = r->packs[n].row;
        else
            kind = index_pack_get(t, b->pack, &row, err);
        if (kind == ERR_OK && b->off + sizeof(struct blob_header) + b->stored > row.committed)
            kind = err_set(err, ERR_FULL, "pack %llu was closed after a failed write",
                           (unsigned long long)b->pack);
    }
    return kind;
}

static void
make_leaf(struct round *r)
{
    struct json *leaf = json_new();
    struct json *events = json_array();
    size_t count = 0;

    for (struct handover *h = r->group; h != NULL; h = h->next) {
        if (h->kind != ERR_OK)
            continue;
        if (h->has_mark) {
            struct json *e = json_new();
            char id[HASH_HEX_ROOM];

            hash_hex(&h->mark.id, id);
            json_text(e, "type", "mark");
            json_text(e, "agent", h->mark.mark.agent);
            json_text(e, "source", h->mark.mark.source);
            json_number(e, "sequence", (int64_t)h->mark.mark.sequence);
            json_text(e, "id", id);
            json_number(e, "receipt", (int64_t)h->mark.receipt);
            json_add(events, &e);
            count++;
        }
        if (h->event != NULL) {
            /* A copy by its text: a failed transaction is tried again without the one that failed. */
            char *const text = json_dump(h->event);
            struct json *e = NULL;
            const enum err_kind kind = json_parse(text, strlen(text), &e, NULL);

            assert(kind == ERR_OK);
            free(text);
            json_add(events, &e);
            count++;
        }
    }
    json_number(leaf, "commit", (int64_t)r->commit);
    json_number(leaf, "time", when_now_ns());
    json_put(leaf, "events", &events);
    r->leaf.size = 0;
    if (count > 0) {
        char *const text = json_dump(leaf);

        buf_put(&r->leaf, text, strlen(text));
        free(text);
    }
    json_free(&leaf);
}

/* What each transaction of a round carries, so that a crash between two of them leaves no row behind a pack's committed end. */
static enum err_kind
write_states(const struct round *r, struct kv_txn *t, struct err *err)
{
    enum err_kind kind = index_meta_put(t, META_BLOB_CEILING, packs_blob_ceiling(r->s->packs), err);

    if (kind == ERR_OK)
        kind = index_meta_put(t, META_PACK_NEXT, r->pack_next, err);
    if (kind == ERR_OK)
        kind = index_meta_put(t, META_COMMITS, r->commit, err);
    for (size_t i = 0; kind == ERR_OK && i < r->pack_count; i++)
        kind = index_pack_put(t, r->packs[i].pack, &r->packs[i].row, err);
    return kind;
}

static int
object_order(const void *a, const void *b)
{
    return memcmp((*(const struct row_object *const *)a)->key, (*(const struct row_object *const *)b)->key,
                  OBJECT_KEY_BYTES);
}

static enum err_kind
write_blobs(struct kv_txn *t, const struct rows *rows, struct err *err)
{
    enum err_kind kind = ERR_OK;

    for (size_t i = 0; kind == ERR_OK && i < rows->blob_count; i++)
        kind = index_blob_put(t, &rows->blobs[i], err);
    return kind;
}

/* Rows of [from, from + count) objects, in key order within the transaction: fewer pages are touched twice.  Children still come in no
 * later a transaction than their parents. */
static enum err_kind
write_objects(const struct round *r, struct kv_txn *t, const struct rows *rows, size_t from, size_t count,
              struct err *err)
{
    const struct row_object **const sorted = mem_zero(count + 1, sizeof *sorted);
    enum err_kind kind = ERR_OK;

    for (size_t i = 0; i < count; i++)
        sorted[i] = &rows->objects[from + i];
    qsort(sorted, count, sizeof *sorted, object_order);
    for (size_t i = 0; kind == ERR_OK && i < count; i++) {
        struct object_place place = sorted[i]->place;

        place.generation = r->commit;
        kind = index_object_put(t, sorted[i]->key, &place, err);
    }
    free(sorted);
    return kind;
}

static enum err_kind
finish(struct kv_txn **t, enum err_kind kind, struct err *err)
{
    if (kind == ERR_OK)
        kind = kv_commit(t, err);
    else
        kv_abort(t);
    if (kind != ERR_OK && kind != ERR_FULL && kind != ERR_LIMIT)
        give_up(err);
    return kind;
}

/* All rows but those of the last transaction, so that none is larger than LMDB 0.9.24 bears. */
static enum err_kind
write_early(const struct round *r, const struct handover *h, struct err *err)
{
    enum err_kind kind = ERR_OK;
    size_t at = 0;

    do {
        struct kv_txn *t = NULL;
        size_t n = h->rows.object_count - at;

        if (n > COMMIT_ROWS_MAX)
            n = COMMIT_ROWS_MAX;
        kind = kv_begin(r->s->kv, true, &t, err);
        if (kind != ERR_OK)
            give_up(err);
        kind = write_states(r, t, err);
        if (kind == ERR_OK && at == 0)
            kind = write_blobs(t, &h->rows, err);
        if (kind == ERR_OK && at == 0)
            kind = write_blobs(t, &h->more, err);
        if (kind == ERR_OK)
            kind = write_objects(r, t, &h->rows, at, n, err);
        kind = finish(&t, kind, err);
        at += n;
    } while (kind == ERR_OK && at < h->rows.object_count);
    return kind;
}

static enum err_kind
write_mark(struct kv_txn *t, const struct handover *h, struct err *err)
{
    struct index_agent a;
    enum err_kind kind = index_mark_put(t, h->city, &h->mark, err);

    if (kind == ERR_OK)
        kind = index_agent_get(t, h->mark.mark.agent, &a, err);
    if (kind != ERR_OK)
        return kind;
    a.receipts = h->mark.receipt;
    a.last_mark = h->mark.id;
    kind = index_agent_put(t, &a, err);
    if (kind == ERR_OK)
        kind = index_upload_del(t, h->upload, err);
    return kind == ERR_ABSENT ? ERR_OK : kind;
}

static bool
small(const struct handover *group)
{
    size_t rows = 0;

    for (const struct handover *h = group; h != NULL; h = h->next)
        if (h->kind == ERR_OK)
            rows += h->rows.object_count + h->rows.blob_count;
    return rows <= COMMIT_ROWS_MAX;
}

/* The transaction that makes marks and changes true and carries the leaf.  *ret_culprit: whose change failed, if it was one. */
static enum err_kind
write_last(const struct round *r, bool with_rows, struct handover **ret_culprit, struct err *err)
{
    struct kv_txn *t = NULL;
    enum err_kind kind = kv_begin(r->s->kv, true, &t, err);

    *ret_culprit = NULL;
    if (kind != ERR_OK)
        give_up(err);
    kind = write_states(r, t, err);
    for (struct handover *h = r->group; kind == ERR_OK && h != NULL; h = h->next) {
        if (h->kind != ERR_OK)
            continue;
        if (with_rows)
            kind = write_blobs(t, &h->rows, err);
        if (with_rows && kind == ERR_OK)
            kind = write_blobs(t, &h->more, err);
        if (with_rows && kind == ERR_OK)
            kind = write_objects(r, t, &h->rows, 0, h->rows.object_count, err);
        if (kind == ERR_OK && h->has_mark)
            kind = write_mark(t, h, err);
        if (kind == ERR_OK && h->fn != NULL) {
            kind = h->fn(h->arg, t, err);
            if (kind != ERR_OK) {
                kv_abort(&t);
                *ret_culprit = h;
                return kind;
            }
        }
    }
    if (kind == ERR_OK && r->leaf.size > 0) {
        kind = index_leaf_put(t, r->leaf.at, r->leaf.size, err);
        if (kind == ERR_OK)
            kind = index_meta_put(t, META_LEAVES, r->head.size + 1, err);
    }
    return finish(&t, kind, err);
}

static void
prepare(struct round *r)
{
    struct err err = { 0 };

    for (struct handover *h = r->group; h != NULL; h = h->next) {
        h->kind = ERR_OK;
        enum err_kind kind = put_rows(r->s, h, &err);

        if (kind == ERR_OK && h->has_mark)
            kind = put_mark(r, h, &err);
        if (kind != ERR_OK)
            fail(h, kind, &err);
    }
    r->pack_next = packs_pack_next(r->s->packs);
    if (packs_sync(r->s->packs, state_note, r, &err) != ERR_OK)
        give_up(&err);
    for (struct handover *h = r->group; h != NULL; h = h->next) {
        if (h->kind != ERR_OK)
            continue;
        enum err_kind kind = blobs_count(r, &h->rows, &err);
        if (kind == ERR_OK)
            kind = blobs_count(r, &h->more, &err);
        if (kind != ERR_OK)
            fail(h, kind, &err);
    }
}

static enum err_kind
write_index(struct round *r, struct err *err)
{
    const bool with_rows = small(r->group);
    enum err_kind kind = ERR_OK;

    for (struct handover *h = r->group; !with_rows && kind == ERR_OK && h != NULL; h = h->next)
        if (h->kind == ERR_OK)
            kind = write_early(r, h, err);
    while (kind == ERR_OK) {
        struct handover *culprit = NULL;

        make_leaf(r);
        if (r->leaf.size > LEAF_BYTES_MAX)
            kind = err_set(err, ERR_LIMIT, "a ledger leaf of %zu bytes", r->leaf.size);
        if (kind == ERR_OK && r->leaf.size > 0)
            kind = ledger_reserve(r->s->ledger, r->leaf.size, err);
        if (kind == ERR_OK)
            kind = write_last(r, with_rows, &culprit, err);
        if (culprit == NULL)
            return kind;
        fail(culprit, kind, err);
        kind = ERR_OK;
    }
    return kind;
}

void
commit_group(struct store *s, struct handover *group)
{
    struct round r = { .s = s, .group = group, .head = ledger_head(s->ledger) };
    struct err err = { 0 };
    struct kv_txn *t = NULL;

    if (kv_begin(s->kv, false, &t, &err) != ERR_OK ||
        index_meta_get(t, META_COMMITS, &r.commit, &err) != ERR_OK)
        give_up(&err);
    kv_abort(&t);
    r.commit++;
    prepare(&r);
    const enum err_kind kind = write_index(&r, &err);
    if (kind == ERR_OK && r.leaf.size > 0 &&
        ledger_append(s->ledger, r.leaf.at, r.leaf.size, &r.head, &err) != ERR_OK)
        give_up(&err);
    for (struct handover *h = group; h != NULL; h = h->next) {
        if (h->kind == ERR_OK && kind != ERR_OK)
            fail(h, kind, &err);
        h->head = r.head;
        rows_free(&h->more);
    }
    free(r.packs);
    buf_free(&r.leaf);
}
