/* The content child: everything but the index's own bytes. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/point.h"
#include "verify/verify.h"

#define SEEN_MAX (1ull << 32)
#define BLOCKS_MAX                                                                                           \
    (1ull << 24) /* 512 MB at the most; beyond, a block that many marks share is hashed again */

static void
verify_free(struct verify *v)
{
    pool_free(&v->pool);
    progress_free(&v->progress);
    seen_free(&v->seen);
    seen_free(&v->block_set);
    seen_free(&v->bad_set);
    reader_free(&v->reader);
    store_close(&v->store);
    free(v->marks);
    free(v->bad);
    free(v->opened);
    (void)pthread_mutex_destroy(&v->lock);
}

/* The one mark that was named. */
static enum err_kind
point_load(struct verify *v, int *ret_pin, struct err *err)
{
    struct index_mark row;
    struct err inner = { 0 };
    char hex[HASH_HEX_ROOM];
    uint32_t city = 0;
    enum err_kind kind = ERR_OK;

    marks_load(v, &inner, &kind); /* for the count of leaves; the marks are taken away again */
    v->mark_count = 0;
    kind = point_find(v->store, v->o->point, &city, &row, err);
    if (kind == ERR_OK)
        kind = point_pin(v->store, &row.id, ret_pin, err);
    if (kind != ERR_OK)
        return kind;
    v->marks = mem_grow(v->marks, 1, sizeof *v->marks);
    v->marks[0] = (struct vmark){ .row = row, .city = city };
    v->mark_count = v->mark_room = 1;
    hash_hex(&row.id, hex);
    (void)snprintf(v->marks[0].id, sizeof v->marks[0].id, "%.12s", hex);
    (void)snprintf(v->marks[0].source, sizeof v->marks[0].source, "%s/%s", row.mark.agent, row.mark.source);
    return ERR_OK;
}

static void
counts_tell(struct verify *v)
{
    struct json *c = json_new();

    if (v->whole) {
        json_number(c, "packs", (int64_t)v->packs[0]);
        json_number(c, "packs_read", (int64_t)v->packs[1]);
        json_number(c, "blobs", (int64_t)v->blob_rows);
        json_number(c, "blobs_read", (int64_t)atomic_load(&v->blobs_read));
        json_number(c, "stored_bytes", (int64_t)v->stored_bytes);
        json_number(c, "stored_bytes_read", (int64_t)atomic_load(&v->bytes_read));
        json_number(c, "unfinished_blobs", (int64_t)v->orphans);
    }
    json_number(c, "leaves", (int64_t)v->leaves);
    json_number(c, "marks", (int64_t)v->mark_count);
    json_number(c, "marks_good", (int64_t)v->marks_good);
    json_number(c, "objects", (int64_t)atomic_load(&v->objects[0]));
    json_number(c, "objects_read", (int64_t)atomic_load(&v->objects[1]));
    json_number(c, "blocks", (int64_t)atomic_load(&v->blocks[0]));
    json_number(c, "blocks_read", (int64_t)atomic_load(&v->blocks[1]));
    json_number(c, "files", (int64_t)atomic_load(&v->files));
    json_number(c, "file_bytes", (int64_t)atomic_load(&v->file_bytes));
    if (!v->whole && v->mark_count == 1) {
        json_text(c, "source", v->marks[0].source);
        json_text(c, "mark", v->marks[0].id);
        json_number(c, "leaf", (int64_t)v->marks[0].row.leaf);
    }
    sink_counts(v->sink, &c);
}

static void
work(struct verify *v)
{
    ledger_verify(v);
    marks_verify(v);
    trees_verify(v);
    if (v->whole)
        packs_verify(v);
    hits_tell(v);
    progress_free(&v->progress);
    counts_tell(v);
}

void
content_verify(const struct verify_options *o, struct sink *sink)
{
    AUTO(verify_free)
    struct verify v = { .o = o, .sink = sink, .whole = o->point == NULL, .lock = PTHREAD_MUTEX_INITIALIZER };
    AUTO(auto_close) int pin = -1;
    struct err err = { 0 };
    enum err_kind kind = store_open(o->store, false, &v.store, &err);

    if (kind == ERR_OK && v.whole)
        marks_load(&v, &err, &kind);
    else if (kind == ERR_OK)
        kind = point_load(&v, &pin, &err);
    if (kind == ERR_CORRUPT || (kind == ERR_ABSENT && v.whole)) {
        sink_text(sink, "store", "%s", err.text); /* damage of what leads to all else */
        return;
    }
    if (kind != ERR_OK) {
        sink_error(sink, &err);
        return;
    }
    v.seen = seen_new(SEEN_MAX);
    v.block_set = seen_new(BLOCKS_MAX);
    v.bad_set = seen_new(SEEN_MAX);
    v.pool = pool_new(pool_cores(), 4 * pool_cores());
    v.progress = progress_new("verify", o->json, o->quiet);
    blobs_expect(&v);
    progress_total(v.progress, v.whole ? v.stored_bytes : 0, 0);
    work(&v);
}
