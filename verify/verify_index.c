/* The index child: the file of the index by its own bytes, then each row against the rows that it names. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/index.h"
#include "verify/verify.h"

struct rows {
    struct sink *sink;
    struct kv_txn *txn;
    uint64_t packs, blobs, objects, marks, agents;
    uint64_t pack; /* the row looked at last */
    enum err_kind pack_kind;
    struct index_pack pack_row;
    struct blob_place blob; /* alike; blob 0 is never given out */
    enum err_kind blob_kind;
};

static void
page_found(void *arg, uint64_t page, const char *what)
{
    struct rows *const r = arg;

    sink_text(r->sink, "index", "page %llu: %s", (unsigned long long)page, what);
}

static void
row_bad(void *arg, const char *what)
{
    struct rows *const r = arg;

    sink_text(r->sink, "index", "%s", what);
}

static enum err_kind
pack_row(void *arg, uint64_t pack, const struct index_pack *p, struct err *err)
{
    struct rows *const r = arg;

    (void)pack;
    (void)p;
    (void)err;
    r->packs++;
    return ERR_OK;
}

static enum err_kind
blob_row(void *arg, const struct blob_place *p, struct err *err)
{
    struct rows *const r = arg;
    struct err inner = { 0 };

    (void)err;
    r->blobs++;
    if (r->blobs == 1 || r->pack != p->pack) {
        r->pack = p->pack;
        r->pack_kind = index_pack_get(r->txn, p->pack, &r->pack_row, &inner);
    }
    if (r->pack_kind != ERR_OK)
        sink_text(r->sink, "index", "blob %llu lies in pack %llu, which has no row",
                  (unsigned long long)p->blob, (unsigned long long)p->pack);
    else if (p->off < PACK_HEADER_BYTES ||
             (uint64_t)p->off + sizeof(struct blob_header) + p->stored > r->pack_row.committed)
        sink_text(r->sink, "index",
                  "blob %llu lies outside of what pack %llu has committed (offset %u, %llu bytes)",
                  (unsigned long long)p->blob, (unsigned long long)p->pack, p->off,
                  (unsigned long long)r->pack_row.committed);
    return ERR_OK;
}

static enum err_kind
object_row(void *arg, const uint8_t *key, const struct object_place *p, struct err *err)
{
    struct rows *const r = arg;
    struct err inner = { 0 };

    (void)err;
    r->objects++;
    if (r->objects == 1 || r->blob.blob != p->blob) {
        r->blob_kind = index_blob_get(r->txn, p->blob, &r->blob, &inner);
        r->blob.blob = p->blob;
    }
    const uint8_t kind = key[4] == OBJECT_BLOCK ? BLOB_DATA : BLOB_OBJECTS;
    if (r->blob_kind != ERR_OK)
        sink_text(r->sink, "index", "an object of kind '%c' lies in blob %llu, which has no row", key[4],
                  (unsigned long long)p->blob);
    else if (p->len > r->blob.raw || p->off > r->blob.raw - p->len || r->blob.kind != kind)
        sink_text(r->sink, "index",
                  "an object of kind '%c' lies outside of blob %llu, or in one of another kind", key[4],
                  (unsigned long long)p->blob);
    return ERR_OK;
}

static enum err_kind
mark_row(void *arg, const struct index_mark *m, struct err *err)
{
    struct rows *const r = arg;

    (void)m;
    (void)err;
    r->marks++;
    return ERR_OK;
}

static enum err_kind
agent_row(void *arg, const struct index_agent *a, struct err *err)
{
    struct rows *const r = arg;

    (void)a;
    (void)err;
    r->agents++;
    return ERR_OK;
}

/* One read transaction, so that rows are compared with rows of the same moment; it takes a second for a million of them. */
static enum err_kind
rows_verify(struct rows *r, const char *path, const struct kv_options *o, struct err *err)
{
    AUTO(kv_close) struct kv *kv = NULL;
    const struct index_bad bad = { row_bad, r };
    enum err_kind kind = kv_open(path, o, &kv, err);

    if (kind == ERR_OK)
        kind = kv_begin(kv, false, &r->txn, err);
    if (kind == ERR_OK)
        kind = index_packs(r->txn, pack_row, r, &bad, err);
    if (kind == ERR_OK)
        kind = index_blobs(r->txn, blob_row, r, &bad, err);
    if (kind == ERR_OK)
        kind = index_objects(r->txn, object_row, r, &bad, err);
    if (kind == ERR_OK)
        kind = index_marks(r->txn, mark_row, r, &bad, err);
    if (kind == ERR_OK)
        kind = index_agents(r->txn, agent_row, r, &bad, err);
    kv_abort(&r->txn);
    return kind;
}

void
index_verify(const char *store, struct sink *sink)
{
    AUTO(auto_free) char *path = mem_text("%s/index", store);
    const struct kv_options o = { index_table_names, INDEX_TABLES, false, INDEX_MAP_BYTES };
    struct rows r = { .sink = sink };
    struct err err = { 0 };
    uint64_t rows = 0;
    struct json *counts = json_new();
    enum err_kind kind = kv_check(path, &o, page_found, &r, &rows, &err);

    if (kind == ERR_ABSENT)
        err_hint(&err, "farshore-snapshot reindex --store %s makes it anew", store);
    if (kind == ERR_CORRUPT)
        sink_text(sink, "index", "%s", err.text);
    else if (kind != ERR_OK)
        sink_error(sink, &err);
    if (kind == ERR_OK || kind == ERR_CORRUPT) {
        kind = rows_verify(&r, path, &o, &err);
        if (kind == ERR_CORRUPT || kind == ERR_ABSENT)
            sink_text(sink, "index", "%s", err.text);
        else if (kind != ERR_OK)
            sink_error(sink, &err);
    }
    json_number(counts, "rows", (int64_t)rows);
    json_number(counts, "pack_rows", (int64_t)r.packs);
    json_number(counts, "blob_rows", (int64_t)r.blobs);
    json_number(counts, "object_rows", (int64_t)r.objects);
    json_number(counts, "mark_rows", (int64_t)r.marks);
    sink_counts(sink, &counts);
}
