#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lmdb.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/fs.h"
#include "common/io.h"
#include "common/kv.h"
#include "common/kv_internal.h"
#include "common/mem.h"

#define TABLES_MAX 16u
#define READERS_MAX 512u
/* Of MDB_page and MDB_meta (mdb.c): offset of the page size behind the first page's header, and of magic. */
#define META_MAGIC_AT 16u
#define META_PAGE_SIZE_AT 40u
#define META_MAGIC 0xBEEFC0DEu

struct kv {
    MDB_env *env;
    MDB_dbi tables[TABLES_MAX];
    char *dir; /* for messages */
    size_t count;
    bool write;
};

struct kv_txn {
    struct kv *kv;
    MDB_txn *txn;
    bool write;
    struct buf value; /* of kv_put: what is given may lie in the page that is about to move */
};

struct kv_walk {
    struct kv_txn *txn;
    MDB_cursor *cursor;
    unsigned table;
    bool ended;       /* LMDB lost its way, or went in a circle: the walk is over */
    size_t last_size; /* of the key stood on before; 0: none */
    uint8_t last[KV_KEY_MAX];
};

/* Record what LMDB said.  Call it at once: errno tells a short write (LMDB: EIO, errno untouched) from a broken disk. */
static enum err_kind
fail(struct err *err, int rc, const char *what)
{
    enum err_kind kind = ERR_IO;

    switch (rc) {
    case MDB_NOTFOUND:
        return err_set(err, ERR_ABSENT, "no such row");
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_TXN: /* one that met damage before; nothing else of ours makes one */
        kind = ERR_CORRUPT;
        break;
    case MDB_MAP_FULL:
    case MDB_READERS_FULL:
    case MDB_TXN_FULL:
    case MDB_MAP_RESIZED:
        kind = ERR_LIMIT;
        break;
    case EIO:
        if (errno == 0)
            kind = ERR_FULL;
        break;
    default:
        if (rc > 0) {
            errno = rc;
            kind = rc == ENOENT ? ERR_ABSENT : err_errno(err, "could not %s", what);
        }
        break;
    }
    err_set(err, kind, "could not %s: %s", what,
            kind == ERR_FULL ? "no space left on device" : mdb_strerror(rc));
    if (err != NULL)
        err->code = rc;
    return kind;
}

/* LMDB believes the page size of the file and divides by it, so it is looked at before. */
static enum err_kind
look(int dir_fd, const char *dir, struct err *err)
{
    AUTO(auto_close) const int fd = openat(dir_fd, "data.mdb", O_RDONLY | O_CLOEXEC);
    uint8_t head[META_PAGE_SIZE_AT + 4];
    size_t n = 0;

    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_ABSENT, "there is no index in \"%s\"", dir);
    if (fd < 0)
        return err_errno(err, "could not open \"%s/data.mdb\"", dir);
    const enum err_kind kind = io_pread_upto(fd, head, sizeof head, 0, &n, err);
    if (kind != ERR_OK)
        return kind;
    if (n == 0)
        return err_set(err, ERR_ABSENT, "\"%s/data.mdb\" is empty", dir);
    if (n < sizeof head || le32_get(head + META_MAGIC_AT) != META_MAGIC)
        return err_set(err, ERR_CORRUPT, "\"%s/data.mdb\" is not an LMDB file", dir);
    const uint32_t page = le32_get(head + META_PAGE_SIZE_AT);
    if (page < 512 || page > 32768 || (page & (page - 1)) != 0)
        return err_set(err, ERR_CORRUPT, "\"%s/data.mdb\" has pages of %u bytes", dir, page);
    return ERR_OK;
}

/* A reader must be able to write lock.mdb.  On a read-only mount LMDB would silently do without, and somebody who writes
 * through another mount would then overwrite pages that are being read. */
static enum err_kind
lock_writable(int dir_fd, const char *dir, struct err *err)
{
    const char *name = faccessat(dir_fd, "lock.mdb", F_OK, AT_EACCESS) == 0 ? "lock.mdb" : ".";

    if (faccessat(dir_fd, name, W_OK, AT_EACCESS) == 0)
        return ERR_OK;
    const enum err_kind kind = err_errno(err, "could not lock \"%s\" for reading", dir);
    err_hint(err, "a reader registers itself in lock.mdb, so it needs to write there");
    return kind;
}

static enum err_kind
open_tables(struct kv *kv, const struct kv_options *o, struct err *err)
{
    MDB_txn *txn = NULL;
    unsigned flags = 0;
    int rc = mdb_txn_begin(kv->env, NULL, o->write ? 0 : MDB_RDONLY, &txn);

    if (rc != 0)
        return fail(err, rc, "begin a transaction of the index");
    for (size_t i = 0; i < o->count && rc == 0; i++) {
        kv_in_lmdb = 1;
        rc = mdb_dbi_open(txn, o->tables[i], o->write ? MDB_CREATE : 0, &kv->tables[i]);
        kv_in_lmdb = 0;
        if (rc == 0)
            rc = mdb_dbi_flags(txn, kv->tables[i], &flags);
        /* A table of another kind is damage: nobody here makes one. */
        if (rc == 0 && flags != 0)
            rc = MDB_INCOMPATIBLE;
        if (rc == MDB_NOTFOUND) {
            mdb_txn_abort(txn);
            return err_set(err, ERR_CORRUPT, "the index in \"%s\" lacks its table \"%s\"", kv->dir,
                           o->tables[i]);
        }
    }
    if (rc != 0) {
        const enum err_kind kind = fail(err, rc, "open a table of the index");

        mdb_txn_abort(txn);
        return kind;
    }
    errno = 0;
    rc = mdb_txn_commit(txn);
    return rc == 0 ? ERR_OK : fail(err, rc, "make the tables of the index");
}

static void
map_asserted(MDB_env *env, const char *text)
{
    (void)env;
    (void)text;
    kv_watch_failed();
}

static enum err_kind
open_env(struct kv *kv, const struct kv_options *o, struct err *err)
{
    int dead = 0;
    int rc = mdb_env_create(&kv->env);

    if (rc == 0)
        rc = mdb_env_set_mapsize(kv->env, o->map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(kv->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(kv->env, TABLES_MAX);
    errno = 0;
    kv_in_lmdb = 1;
    if (rc == 0)
        rc = mdb_env_set_assert(kv->env, map_asserted);
    if (rc == 0)
        rc = mdb_env_open(kv->env, kv->dir, MDB_NOTLS | (o->write ? 0 : MDB_RDONLY), 0600);
    kv_in_lmdb = 0;
    if (rc == 0)
        rc = mdb_reader_check(kv->env, &dead);
    if (rc == 0)
        return ERR_OK;
    const enum err_kind kind = fail(err, rc, "open the index");
    return err_prefix(err, kind, "\"%s\"", kv->dir);
}

enum err_kind
kv_open(const char *dir, const struct kv_options *o, struct kv **ret, struct err *err)
{
    AUTO(kv_close) struct kv *kv = mem_zero(1, sizeof *kv);
    AUTO(auto_close) int dir_fd = -1;
    struct err none; /* that there is nothing yet is no error of a writer */
    bool made = false;
    enum err_kind kind;

    assert(o->count <= TABLES_MAX && o->map_bytes > 0);
    kv_watch();
    kv->dir = mem_text("%s", dir);
    kv->count = o->count;
    kv->write = o->write;
    if (o->write)
        kind = fs_dir_make(AT_FDCWD, dir, 0700, &dir_fd, err);
    else
        kind = fs_dir_open(dir, &dir_fd, err);
    if (kind == ERR_IO && !o->write && err != NULL && err->code == ENOENT)
        kind = err_set(err, ERR_ABSENT, "there is no index in \"%s\"", dir);
    if (kind != ERR_OK)
        return kind;
    kind = look(dir_fd, dir, o->write ? &none : err);
    if (kind == ERR_ABSENT && o->write) {
        made = true;
        kind = ERR_OK;
    } else if (kind != ERR_OK && o->write && err != NULL) {
        *err = none;
    }
    if (kind == ERR_OK && !o->write)
        kind = lock_writable(dir_fd, dir, err);
    if (kind == ERR_OK)
        kind = open_env(kv, o, err);
    if (kind == ERR_OK && o->count > 0)
        kind = open_tables(kv, o, err);
    /* LMDB syncs the file, never the directory that names it. */
    if (kind == ERR_OK && made)
        kind = fs_sync(dir_fd, dir, err);
    if (kind != ERR_OK)
        return kind;
    *ret = kv;
    kv = NULL;
    return ERR_OK;
}

void
kv_close(struct kv **kv)
{
    if (*kv == NULL)
        return;
    if ((*kv)->env != NULL)
        mdb_env_close((*kv)->env);
    free((*kv)->dir);
    free(*kv);
    *kv = NULL;
}

enum err_kind
kv_begin(struct kv *kv, bool write, struct kv_txn **ret, struct err *err)
{
    MDB_txn *txn = NULL;
    int dead = 0;
    int rc = 0;

    assert(!write || kv->write);
    /* A reader that died keeps its pages from being used again, and the file grows. */
    if (write)
        rc = mdb_reader_check(kv->env, &dead);
    if (rc == 0)
        rc = mdb_txn_begin(kv->env, NULL, write ? 0 : MDB_RDONLY, &txn);
    if (rc != 0)
        return fail(err, rc, "begin a transaction of the index");
    struct kv_txn *const t = mem_zero(1, sizeof *t);
    t->kv = kv;
    t->txn = txn;
    t->write = write;
    *ret = t;
    return ERR_OK;
}

static void
txn_free(struct kv_txn **txn)
{
    buf_free(&(*txn)->value);
    free(*txn);
    *txn = NULL;
}

enum err_kind
kv_commit(struct kv_txn **txn, struct err *err)
{
    enum err_kind kind = ERR_OK;

    errno = 0;
    kv_in_lmdb = 1;
    const int rc = mdb_txn_commit((*txn)->txn);
    kv_in_lmdb = 0;
    if (rc != 0)
        kind = fail(err, rc, "commit to the index");
    txn_free(txn);
    return kind;
}

void
kv_abort(struct kv_txn **txn)
{
    if (*txn == NULL)
        return;
    mdb_txn_abort((*txn)->txn);
    txn_free(txn);
}

uint64_t
kv_txn_id(const struct kv_txn *txn)
{
    return mdb_txn_id(txn->txn);
}

static MDB_dbi
table_of(const struct kv_txn *txn, unsigned table)
{
    assert(table < txn->kv->count);
    return txn->kv->tables[table];
}

/* LMDB takes a mutable pointer, and does not write through it. */
static MDB_val
val_of(struct kv_bytes b)
{
    return (MDB_val){ .mv_size = b.size, .mv_data = (void *)(uintptr_t)b.at };
}

/* A key of the caller's, out of the way of pages that move. */
static MDB_val
key_of(struct kv_bytes key, uint8_t *room)
{
    assert(key.size >= 1 && key.size <= KV_KEY_MAX);
    memcpy(room, key.at, key.size);
    return (MDB_val){ .mv_size = key.size, .mv_data = room };
}

/* The bytes of a stored value, once its checksum held. */
static enum err_kind
unwrap(unsigned table, struct kv_bytes key, const MDB_val *stored, struct kv_bytes *ret, struct err *err)
{
    if (stored->mv_size < KV_SUM_BYTES)
        return err_set(err, ERR_CORRUPT, "a row of table %u of the index is cut short", table);
    const struct kv_bytes value = { stored->mv_data, stored->mv_size - KV_SUM_BYTES };
    const uint8_t *const sum = (const uint8_t *)stored->mv_data + value.size;
    if (le64_get(sum) != kv_sum(table, key, value))
        return err_set(err, ERR_CORRUPT, "a row of table %u of the index does not match its checksum", table);
    *ret = value;
    return ERR_OK;
}

enum err_kind
kv_get(struct kv_txn *txn, unsigned table, struct kv_bytes key, struct kv_bytes *ret, struct err *err)
{
    MDB_val k = val_of(key);
    MDB_val v;

    assert(key.size >= 1 && key.size <= KV_KEY_MAX);
    kv_in_lmdb = 1;
    const int rc = mdb_get(txn->txn, table_of(txn, table), &k, &v);
    kv_in_lmdb = 0;
    if (rc != 0)
        return fail(err, rc, "read the index");
    return unwrap(table, key, &v, ret, err);
}

enum err_kind
kv_put(struct kv_txn *txn, unsigned table, struct kv_bytes key, struct kv_bytes value, struct err *err)
{
    uint8_t room[KV_KEY_MAX];
    MDB_val k = key_of(key, room);

    assert(txn->write && value.size < UINT32_MAX - KV_SUM_BYTES);
    txn->value.size = 0;
    buf_put(&txn->value, value.at, value.size);
    buf_u64(&txn->value, kv_sum(table, key, value));
    MDB_val v = { .mv_size = txn->value.size, .mv_data = txn->value.at };
    errno = 0;
    kv_in_lmdb = 1;
    const int rc = mdb_put(txn->txn, table_of(txn, table), &k, &v, 0);
    kv_in_lmdb = 0;
    return rc == 0 ? ERR_OK : fail(err, rc, "write to the index");
}

enum err_kind
kv_del(struct kv_txn *txn, unsigned table, struct kv_bytes key, struct err *err)
{
    uint8_t room[KV_KEY_MAX];
    MDB_val k = key_of(key, room);

    assert(txn->write);
    errno = 0;
    kv_in_lmdb = 1;
    const int rc = mdb_del(txn->txn, table_of(txn, table), &k, NULL);
    kv_in_lmdb = 0;
    return rc == 0 ? ERR_OK : fail(err, rc, "delete from the index");
}

enum err_kind
kv_walk_new(struct kv_txn *txn, unsigned table, struct kv_walk **ret, struct err *err)
{
    MDB_cursor *cursor = NULL;
    const int rc = mdb_cursor_open(txn->txn, table_of(txn, table), &cursor);

    if (rc != 0)
        return fail(err, rc, "walk the index");
    struct kv_walk *const w = mem_zero(1, sizeof *w);
    w->txn = txn;
    w->cursor = cursor;
    w->table = table;
    *ret = w;
    return ERR_OK;
}

void
kv_walk_free(struct kv_walk **w)
{
    if (*w == NULL)
        return;
    mdb_cursor_close((*w)->cursor);
    free(*w);
    *w = NULL;
}

static enum err_kind
step(struct kv_walk *w, MDB_val k, MDB_cursor_op op, struct kv_bytes *ret_key, struct kv_bytes *ret_value,
     struct err *err)
{
    MDB_val v;

    if (op != MDB_NEXT && op != MDB_PREV) {
        w->ended = false;
        w->last_size = 0;
    }
    if (w->ended)
        return fail(err, MDB_NOTFOUND, "walk the index");
    kv_in_lmdb = 1;
    const int rc = mdb_cursor_get(w->cursor, &k, &v, op);
    kv_in_lmdb = 0;

    w->ended = rc != 0 && rc != MDB_NOTFOUND;
    if (rc != 0)
        return fail(err, rc, "walk the index");
    const struct kv_bytes key = { k.mv_data, k.mv_size };
    const struct kv_bytes last = { w->last, w->last_size };
    w->ended = key.size == 0 || key.size > KV_KEY_MAX || !kv_goes_on(last, key, op != MDB_PREV);
    *ret_key = key;
    if (w->ended)
        return fail(err, MDB_CORRUPTED, "walk the index");
    memcpy(w->last, key.at, key.size);
    w->last_size = key.size;
    return unwrap(w->table, key, &v, ret_value, err);
}

enum err_kind
kv_seek(struct kv_walk *w, struct kv_bytes key, struct kv_bytes *ret_key, struct kv_bytes *ret_value,
        struct err *err)
{
    assert(key.at == NULL || (key.size >= 1 && key.size <= KV_KEY_MAX));
    return step(w, val_of(key), key.at == NULL ? MDB_FIRST : MDB_SET_RANGE, ret_key, ret_value, err);
}

enum err_kind
kv_next(struct kv_walk *w, struct kv_bytes *ret_key, struct kv_bytes *ret_value, struct err *err)
{
    return step(w, (MDB_val){ 0 }, MDB_NEXT, ret_key, ret_value, err);
}

enum err_kind
kv_prev(struct kv_walk *w, struct kv_bytes *ret_key, struct kv_bytes *ret_value, struct err *err)
{
    return step(w, (MDB_val){ 0 }, MDB_PREV, ret_key, ret_value, err);
}

enum err_kind
kv_last(struct kv_walk *w, struct kv_bytes *ret_key, struct kv_bytes *ret_value, struct err *err)
{
    return step(w, (MDB_val){ 0 }, MDB_LAST, ret_key, ret_value, err);
}

enum err_kind
kv_count(struct kv_txn *txn, unsigned table, uint64_t *ret, struct err *err)
{
    MDB_stat st;
    const int rc = mdb_stat(txn->txn, table_of(txn, table), &st);

    if (rc != 0)
        return fail(err, rc, "count the rows of the index");
    *ret = st.ms_entries;
    return ERR_OK;
}
