/* table_sweep.c - the table's sources, and rows that nobody needs any more. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/kv.h"
#include "common/mem.h"
#include "replicator/table_internal.h"

#define DELETE_MAX 4000u                   /* rows a transaction: each may dirty a page of its own */
static const char next_key[] = "\001next"; /* no source is named so */

static void
source_encode(const struct table_source *s, struct buf *ret)
{
    buf_u32(ret, s->number);
    buf_u64(ret, s->pass);
    buf_u8(ret, s->epoch);
}

static enum err_kind
source_get(struct kv_txn *txn, const char *name, struct table_source *ret)
{
    struct kv_bytes value;
    enum err_kind kind = kv_get(txn, TABLE_SOURCES, (struct kv_bytes){ name, strlen(name) }, &value, NULL);
    if (kind != ERR_OK)
        return kind == ERR_CORRUPT ? ERR_ABSENT : kind;
    struct cut c = cut_of(value.at, value.size);
    struct table_source s = { 0 };
    s.number = cut_u32(&c);
    s.pass = cut_u64(&c);
    s.epoch = cut_u8(&c);
    if (!cut_done(&c))
        return ERR_ABSENT;
    *ret = s;
    return ERR_OK;
}

static enum err_kind
source_put(struct kv_txn *txn, const char *name, const struct table_source *s, struct err *err)
{
    AUTO(buf_free) struct buf value = { 0 };
    source_encode(s, &value);
    return kv_put(txn, TABLE_SOURCES, (struct kv_bytes){ name, strlen(name) },
                  (struct kv_bytes){ value.at, value.size }, err);
}

/* A number that no row has, however the table was left: above the counter and above the last row. */
static enum err_kind
number_new(struct kv_txn *txn, uint32_t *ret, struct err *err)
{
    struct table_source counter = { 0 };
    enum err_kind kind = source_get(txn, next_key, &counter);
    if (kind != ERR_OK && kind != ERR_ABSENT)
        return kind;
    struct kv_walk *w = NULL;
    kind = kv_walk_new(txn, TABLE_FILES, &w, err);
    if (kind != ERR_OK)
        return kind;
    struct kv_bytes key, value;
    kind = kv_last(w, &key, &value, NULL);
    if ((kind == ERR_OK || kind == ERR_CORRUPT) && key.size >= 4 && be32_get(key.at) > counter.number)
        counter.number = be32_get(key.at);
    kv_walk_free(&w);
    counter.number++;
    *ret = counter.number;
    return source_put(txn, next_key, &counter, err);
}

enum err_kind
table_begin(struct table *t, const char *source, struct table_source *ret, struct err *err)
{
    table_lock_writes(t);
    AUTO(kv_abort) struct kv_txn *txn = NULL;
    struct table_source s = { 0 };
    enum err_kind kind = kv_begin(table_kv(t), true, &txn, err);
    if (kind == ERR_OK) {
        kind = source_get(txn, source, &s);
        if (kind == ERR_ABSENT)
            kind = number_new(txn, &s.number, err);
    }
    if (kind == ERR_OK) {
        s.pass++;
        s.epoch = (uint8_t)(s.pass / TABLE_SWEEP_PASSES);
        kind = source_put(txn, source, &s, err);
    }
    if (kind == ERR_OK)
        kind = kv_commit(&txn, err);
    table_unlock_writes(t);
    if (kind == ERR_OK)
        *ret = s;
    return kind;
}

/* Which rows go. */
struct doom {
    unsigned table;
    const struct table_source *keep; /* rows of this source and epoch stay; NULL: all of its rows go */
    uint32_t source;
};

static bool
doomed(struct kv_txn *txn, const struct doom *d, struct kv_bytes key, struct kv_bytes value)
{
    if (d->keep == NULL)
        return true;
    struct table_row row;
    if (d->table == TABLE_FILES)
        return table_row_parse(value.at, value.size, &row, NULL) != ERR_OK || row.epoch != d->keep->epoch;
    struct kv_bytes owner;
    return kv_get(txn, TABLE_FILES, (struct kv_bytes){ key.at, TABLE_KEY_BYTES }, &owner, NULL) != ERR_OK;
}

/* Look at the next rows from *from on; gather those that go.  *from is then where to go on, empty at the end. */
static enum err_kind
gather_doomed(struct kv_txn *txn, const struct doom *d, struct buf *from, struct buf *ret)
{
    struct kv_walk *w = NULL;
    enum err_kind kind = kv_walk_new(txn, d->table, &w, NULL);
    if (kind != ERR_OK)
        return kind;
    struct kv_bytes key, value;
    size_t count = 0, seen = 0;
    kind = kv_seek(w, (struct kv_bytes){ from->at, from->size }, &key, &value, NULL);
    from->size = 0;
    while (kind == ERR_OK || kind == ERR_CORRUPT) {
        if (key.size < TABLE_KEY_BYTES || be32_get(key.at) != d->source)
            break;
        if (count == DELETE_MAX || seen++ == 100000) {
            buf_put(from, key.at, key.size);
            break;
        }
        if (kind == ERR_CORRUPT || doomed(txn, d, key, value)) {
            buf_block(ret, key.at, key.size);
            count++;
        }
        kind = kv_next(w, &key, &value, NULL);
    }
    kv_walk_free(&w);
    return kind == ERR_CORRUPT || kind == ERR_ABSENT ? ERR_OK : kind;
}

static enum err_kind
delete_rows(struct table *t, const struct doom *d, struct err *err)
{
    AUTO(buf_free) struct buf from = { 0 };
    AUTO(buf_free) struct buf keys = { 0 };
    buf_u32(&from, 0);
    be32_put(from.at, d->source);
    enum err_kind kind = ERR_OK;
    while (kind == ERR_OK && from.size > 0) {
        AUTO(kv_abort) struct kv_txn *txn = NULL;
        keys.size = 0;
        kind = kv_begin(table_kv(t), true, &txn, err);
        if (kind == ERR_OK)
            kind = gather_doomed(txn, d, &from, &keys);
        struct cut c = cut_of(keys.at, keys.size);
        while (kind == ERR_OK && c.left > 0) {
            size_t size = 0;
            const uint8_t *key = cut_block(&c, KV_KEY_MAX, &size);
            kind = kv_del(txn, d->table, (struct kv_bytes){ key, size }, err);
        }
        if (kind == ERR_OK && keys.size > 0)
            kind = kv_commit(&txn, err);
    }
    return kind;
}

static enum err_kind
delete_source(struct table *t, uint32_t number, const struct table_source *keep, struct err *err)
{
    struct doom d = { .table = TABLE_FILES, .keep = keep, .source = number };
    enum err_kind kind = delete_rows(t, &d, err);
    d.table = TABLE_BLOCKS;
    return kind == ERR_OK ? delete_rows(t, &d, err) : kind;
}

enum err_kind
table_end(struct table *t, const struct table_source *s, struct err *err)
{
    enum err_kind kind = table_flush(t, err);
    /* The last pass of an epoch: every living inode has been put in it. */
    if (kind == ERR_OK && s->pass % TABLE_SWEEP_PASSES == TABLE_SWEEP_PASSES - 1) {
        table_lock_writes(t);
        kind = delete_source(t, s->number, s, err);
        table_unlock_writes(t);
    }
    return kind;
}

/* Names and numbers of all sources, or of one. */
static enum err_kind
list_sources(struct table *t, const char *source, struct buf *ret_names, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *txn = NULL;
    enum err_kind kind = kv_begin(table_kv(t), false, &txn, err);
    if (kind != ERR_OK)
        return kind;
    struct kv_walk *w = NULL;
    kind = kv_walk_new(txn, TABLE_SOURCES, &w, err);
    if (kind != ERR_OK)
        return kind;
    struct kv_bytes key, value;
    for (kind = kv_seek(w, (struct kv_bytes){ NULL, 0 }, &key, &value, NULL);
         kind == ERR_OK || kind == ERR_CORRUPT; kind = kv_next(w, &key, &value, NULL)) {
        bool counter = key.size == strlen(next_key) && memcmp(key.at, next_key, key.size) == 0;
        bool other = source != NULL && (key.size != strlen(source) || memcmp(key.at, source, key.size) != 0);
        if (!counter && !other)
            buf_block(ret_names, key.at, key.size);
    }
    kv_walk_free(&w);
    return kind == ERR_ABSENT ? ERR_OK : kind;
}

/* First the name loses its number, in one transaction: from then on no row of it is ever found.  Then the rows go. */
static enum err_kind
drop_one(struct table *t, struct kv_bytes name, struct err *err)
{
    AUTO(auto_free) char *text = mem_text("%.*s", (int)name.size, (const char *)name.at);
    struct table_source s = { 0 };
    AUTO(kv_abort) struct kv_txn *txn = NULL;
    enum err_kind kind = kv_begin(table_kv(t), true, &txn, err);
    if (kind != ERR_OK)
        return kind;
    enum err_kind found = source_get(txn, text, &s);
    kind = kv_del(txn, TABLE_SOURCES, name, err);
    if (kind == ERR_OK)
        kind = kv_commit(&txn, err);
    if (kind == ERR_OK && found == ERR_OK)
        kind = delete_source(t, s.number, NULL, err);
    return kind;
}

enum err_kind
table_drop(struct table *t, const char *source, struct err *err)
{
    AUTO(buf_free) struct buf names = { 0 };
    enum err_kind kind = table_flush(t, err);
    if (kind == ERR_OK)
        kind = list_sources(t, source, &names, err);
    table_lock_writes(t);
    struct cut c = cut_of(names.at, names.size);
    while (kind == ERR_OK && c.left > 0) {
        size_t size = 0;
        const uint8_t *name = cut_block(&c, KV_KEY_MAX, &size);
        kind = drop_one(t, (struct kv_bytes){ name, size }, err);
    }
    table_unlock_writes(t);
    return kind;
}
