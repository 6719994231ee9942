#include "replicator/table.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/fs.h"
#include "common/kv.h"
#include "common/mem.h"
#include "replicator/table_internal.h"

#define PUT_BYTES_MAX (2u * MIB)
#define PUT_ROWS_MAX 6000u /* dirty pages of a transaction stay below COMMIT_ROWS_MAX */

static const char *const table_names[] = { "sources", "files", "blocks" };

struct put { /* a row that waits for its commit; bytes lie in the gathering buffer */
    uint32_t table;
    uint32_t key_size, value_size;
    size_t off;
};

struct gather {
    struct buf bytes;
    struct put *puts;
    size_t count, room;
};

struct table {
    struct kv *kv;
    pthread_mutex_t lock;       /* the gathering */
    pthread_mutex_t write_lock; /* one commit at a time */
    struct gather now, other;   /* filled; being written */
};

struct kv *
table_kv(struct table *t)
{
    return t->kv;
}

void
table_lock_writes(struct table *t)
{
    pthread_mutex_lock(&t->write_lock);
}

void
table_unlock_writes(struct table *t)
{
    pthread_mutex_unlock(&t->write_lock);
}

enum err_kind
table_open(int dir_fd, const char *state, struct table **ret, struct err *err)
{
    enum err_kind kind = fs_dir_make(dir_fd, "table", 0700, NULL, err);
    if (kind != ERR_OK)
        return kind;
    AUTO(auto_free) char *path = mem_text("%s/table", state);
    struct kv_options o = { .tables = table_names,
                            .count = sizeof(table_names) / sizeof(table_names[0]),
                            .write = true,
                            .map_bytes = TABLE_MAP_BYTES };
    struct kv *kv = NULL;
    kind = kv_open(path, &o, &kv, err);
    if (kind != ERR_OK)
        return kind;
    struct table *t = mem_zero(1, sizeof(*t));
    t->kv = kv;
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->write_lock, NULL);
    *ret = t;
    return ERR_OK;
}

void
table_close(struct table **t)
{
    if (*t == NULL)
        return;
    kv_close(&(*t)->kv);
    struct gather *both[] = { &(*t)->now, &(*t)->other };
    for (size_t i = 0; i < 2; i++) {
        buf_free(&both[i]->bytes);
        free(both[i]->puts);
    }
    pthread_mutex_destroy(&(*t)->lock);
    pthread_mutex_destroy(&(*t)->write_lock);
    free(*t);
    *t = NULL;
}

size_t
table_key_bytes(const struct table_key *key, uint8_t ret[TABLE_KEY_BYTES])
{
    be32_put(ret, key->source);
    be32_put(ret + 4, key->mount);
    be64_put(ret + 8, key->inode);
    return TABLE_KEY_BYTES;
}

#define ROW_VERSION 1u

void
table_row_encode(const struct table_row *r, struct buf *ret)
{
    buf_u8(ret, ROW_VERSION);
    buf_u8(ret, r->epoch);
    buf_varint(ret, r->size);
    buf_u64(ret, (uint64_t)r->mtime_s);
    buf_u32(ret, r->mtime_ns);
    buf_u64(ret, (uint64_t)r->ctime_s);
    buf_u32(ret, r->ctime_ns);
    buf_u64(ret, (uint64_t)r->read_ns);
    buf_varint(ret, r->sequence);
    buf_put(ret, r->digest.at, HASH_BYTES);
    buf_varint(ret, r->xattrs_bytes);
    buf_put(ret, r->xattrs, r->xattrs_bytes > XATTR_INLINE_MAX ? HASH_BYTES : r->xattrs_bytes);
}

enum err_kind
table_row_parse(const void *bytes, size_t size, struct table_row *ret, struct err *err)
{
    struct cut c = cut_of(bytes, size);
    struct table_row r;
    memset(&r, 0, sizeof(r));
    uint8_t version = cut_u8(&c);
    r.epoch = cut_u8(&c);
    r.size = cut_varint(&c);
    r.mtime_s = (int64_t)cut_u64(&c);
    r.mtime_ns = cut_u32(&c);
    r.ctime_s = (int64_t)cut_u64(&c);
    r.ctime_ns = cut_u32(&c);
    r.read_ns = (int64_t)cut_u64(&c);
    r.sequence = cut_varint(&c);
    const uint8_t *digest = cut_bytes(&c, HASH_BYTES);
    uint64_t xattrs = cut_varint(&c);
    size_t held = xattrs > XATTR_INLINE_MAX ? HASH_BYTES : (size_t)xattrs;
    const uint8_t *set = cut_bytes(&c, held);
    if (version != ROW_VERSION || !cut_done(&c) || xattrs > XATTRS_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, "a row of the table is damaged");
    memcpy(r.digest.at, digest, HASH_BYTES);
    r.xattrs_bytes = (uint32_t)xattrs;
    if (held > 0)
        memcpy(r.xattrs, set, held);
    *ret = r;
    return ERR_OK;
}

struct table_view {
    struct kv_txn *txn;
};

enum err_kind
table_view_new(struct table *t, struct table_view **ret, struct err *err)
{
    struct kv_txn *txn = NULL;
    enum err_kind kind = kv_begin(t->kv, false, &txn, err);
    if (kind != ERR_OK)
        return kind;
    struct table_view *v = mem_zero(1, sizeof(*v));
    v->txn = txn;
    *ret = v;
    return ERR_OK;
}

void
table_view_free(struct table_view **v)
{
    if (*v == NULL)
        return;
    kv_abort(&(*v)->txn);
    free(*v);
    *v = NULL;
}

enum err_kind
table_find(struct table_view *v, const struct table_key *key, struct table_row *ret)
{
    uint8_t room[TABLE_KEY_BYTES];
    struct kv_bytes value;
    enum err_kind kind = kv_get(v->txn, TABLE_FILES, (struct kv_bytes){ room, table_key_bytes(key, room) },
                                &value, NULL);
    if (kind == ERR_OK)
        kind = table_row_parse(value.at, value.size, ret, NULL);
    return kind == ERR_CORRUPT ? ERR_ABSENT : kind;
}

enum err_kind
table_find_prints(struct table_view *v, const struct table_key *key, uint64_t map, int64_t read_ns,
                  struct table_prints *ret)
{
    uint8_t room[TABLE_KEY_BYTES + 4];
    size_t size = table_key_bytes(key, room);
    be32_put(room + size, (uint32_t)map);
    struct kv_bytes value;
    enum err_kind kind = kv_get(v->txn, TABLE_BLOCKS, (struct kv_bytes){ room, sizeof(room) }, &value, NULL);
    if (kind != ERR_OK)
        return kind == ERR_CORRUPT ? ERR_ABSENT : kind;
    struct cut c = cut_of(value.at, value.size);
    int64_t read = (int64_t)cut_u64(&c);
    size_t count = c.left / TABLE_PRINT_BYTES;
    if (c.bad || read != read_ns || count > MAP_BLOCKS || count * TABLE_PRINT_BYTES != c.left)
        return ERR_ABSENT;
    ret->count = (uint32_t)count;
    if (count > 0)
        memcpy(ret->at, c.at, count * TABLE_PRINT_BYTES);
    return ERR_OK;
}

/* Write what was gathered, in the order of keys: inserts in order cost a third of scattered ones. */
static const struct gather *sorting; /* under write_lock */

static int
put_order(const void *a, const void *b)
{
    const struct put *x = a, *y = b;
    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    size_t common = x->key_size < y->key_size ? x->key_size : y->key_size;
    int order = memcmp(sorting->bytes.at + x->off, sorting->bytes.at + y->off, common);
    if (order == 0)
        order = x->key_size == y->key_size ? 0 : x->key_size < y->key_size ? -1 : 1;
    /* Of two values under one key the later one counts. */
    return order != 0 ? order : x->off < y->off ? -1 : 1;
}

static enum err_kind
write_gathered(struct table *t, struct gather *g, struct err *err)
{
    if (g->count == 0)
        return ERR_OK;
    sorting = g;
    qsort(g->puts, g->count, sizeof(*g->puts), put_order);
    AUTO(kv_abort) struct kv_txn *txn = NULL;
    enum err_kind kind = kv_begin(t->kv, true, &txn, err);
    for (size_t i = 0; i < g->count && kind == ERR_OK; i++) {
        const struct put *p = &g->puts[i];
        const uint8_t *at = g->bytes.at + p->off;
        kind = kv_put(txn, p->table, (struct kv_bytes){ at, p->key_size },
                      (struct kv_bytes){ at + p->key_size, p->value_size }, err);
    }
    if (kind == ERR_OK)
        kind = kv_commit(&txn, err);
    g->bytes.size = 0;
    g->count = 0;
    return kind;
}

enum err_kind
table_flush(struct table *t, struct err *err)
{
    pthread_mutex_lock(&t->write_lock);
    pthread_mutex_lock(&t->lock);
    struct gather full = t->now;
    t->now = t->other;
    t->other = full;
    pthread_mutex_unlock(&t->lock);
    enum err_kind kind = write_gathered(t, &t->other, err);
    pthread_mutex_unlock(&t->write_lock);
    return kind;
}

/* The row's key and value stand one after the other in row. */
static enum err_kind
gather_put(struct table *t, unsigned table, const struct buf *row, size_t key_size, struct err *err)
{
    pthread_mutex_lock(&t->lock);
    struct gather *g = &t->now;
    if (g->count == g->room) {
        g->room = g->room == 0 ? 256 : 2 * g->room;
        g->puts = mem_grow(g->puts, g->room, sizeof(*g->puts));
    }
    g->puts[g->count++] = (struct put){ table, (uint32_t)key_size, (uint32_t)(row->size - key_size),
                                        g->bytes.size };
    buf_put(&g->bytes, row->at, row->size);
    bool full = g->bytes.size >= PUT_BYTES_MAX || g->count >= PUT_ROWS_MAX;
    pthread_mutex_unlock(&t->lock);
    return full ? table_flush(t, err) : ERR_OK;
}

enum err_kind
table_put(struct table *t, const struct table_key *key, const struct table_row *row, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    uint8_t room[TABLE_KEY_BYTES];
    buf_put(&b, room, table_key_bytes(key, room));
    table_row_encode(row, &b);
    return gather_put(t, TABLE_FILES, &b, TABLE_KEY_BYTES, err);
}

enum err_kind
table_put_prints(struct table *t, const struct table_key *key, uint64_t map, int64_t read_ns,
                 const struct digest *blocks, size_t count, struct err *err)
{
    assert(count <= MAP_BLOCKS);
    AUTO(buf_free) struct buf b = { 0 };
    uint8_t room[TABLE_KEY_BYTES + 4];
    size_t size = table_key_bytes(key, room);
    be32_put(room + size, (uint32_t)map);
    buf_put(&b, room, sizeof(room));
    buf_u64(&b, (uint64_t)read_ns);
    for (size_t i = 0; i < count; i++)
        buf_put(&b, blocks[i].at, TABLE_PRINT_BYTES);
    return gather_put(t, TABLE_BLOCKS, &b, sizeof(room), err);
}
