/* Opening a store, and bringing it into order after a crash. */
#include "snapshot/store.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/mem.h"
#include "common/when.h"
#include "snapshot/index_internal.h"
#include "snapshot/ledger.h"
#include "snapshot/pack.h"
#include "snapshot/stage.h"
#include "snapshot/store_internal.h"

static const struct conf_kind kinds[] = { { "site", false }, { "agent", true } };
static const struct conf_key keys[] = {
    { "site", "name", CONF_TEXT, true, 0, 0 },
    { "site", "address", CONF_TEXT, true, 0, 0 },
    { "site", "listen", CONF_TEXT, false, 0, 0 },
    { "agent", "quota", CONF_SIZE, false, MIB, 0 },
};
const struct conf_schema store_schema = { kinds, sizeof kinds / sizeof kinds[0], keys,
                                          sizeof keys / sizeof keys[0] };

static enum err_kind
read_seal_key(struct store *s, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    const enum err_kind kind = fs_read(s->dir_fd, "seal.key", 64, &b, err);

    if (kind != ERR_OK)
        return kind;
    if (b.size != sizeof s->seal_key)
        return err_set(err, ERR_CORRUPT, "\"seal.key\" has %zu bytes, not %zu", b.size, sizeof s->seal_key);
    memcpy(s->seal_key, b.at, sizeof s->seal_key);
    explicit_bzero(b.at, b.size);
    return ERR_OK;
}

/* Directory, configuration, keys. */
static enum err_kind
open_front(const char *dir, bool write, struct store *s, struct err *err)
{
    s->path = mem_text("%s", dir);
    s->dir_fd = s->lock_fd = -1;
    s->writer = write;
    enum err_kind kind = fs_dir_open(dir, &s->dir_fd, err);
    if (kind != ERR_OK)
        return kind;
    if (faccessat(s->dir_fd, "site.conf", F_OK, 0) != 0)
        return err_set(err, ERR_ABSENT, "\"%s\" is not a store: it has no site.conf", dir);
    kind = conf_load(&store_schema, s->dir_fd, "site.conf", &s->conf, err);
    if (kind != ERR_OK)
        return kind;
    const char *const name = conf_text(s->conf, "site", "", "name", "");
    if (!conf_name_ok(name))
        return err_set(err, ERR_CONFIG, "site.conf:%d: \"%s\" is not a name",
                       conf_line(s->conf, "site", "", "name"), name);
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    if (write)
        kind = fs_lock(s->dir_fd, "lock", &s->lock_fd, err);
    if (kind == ERR_OK)
        kind = read_seal_key(s, err);
    if (kind == ERR_OK)
        kind = sign_public_load(s->dir_fd, "site.pub", s->site_public, err);
    if (kind == ERR_OK && write)
        kind = sign_key_load(s->dir_fd, "site.key", &s->site_key, err);
    if (kind != ERR_OK)
        return kind;
    if (write) {
        uint8_t public[SIGN_PUBLIC_BYTES];

        sign_public(s->site_key, public);
        if (memcmp(public, s->site_public, sizeof public) != 0)
            return err_set(err, ERR_CORRUPT, "\"site.pub\" is not the public half of \"site.key\"");
    }
    hash_sha256(s->site_public, sizeof s->site_public, &s->site_id);
    s->packs = packs_new(s);
    return ERR_OK;
}

enum err_kind
store_open_index(struct store *s, struct err *err)
{
    const struct kv_options o = { index_table_names, INDEX_TABLES, s->writer, INDEX_MAP_BYTES };
    char *const path = mem_text("%s/index", s->path);
    const enum err_kind kind = kv_open(path, &o, &s->kv, err);

    free(path);
    return kind;
}

static enum err_kind
open_ledger(struct store *s, struct err *err)
{
    const struct ledger_open o = { s->dir_fd, s->name, s->site_public, s->site_key };

    return ledger_open(&o, &s->ledger, err);
}

/* The commit carries its leaf: one that the ledger lacks was cut off by a crash between the two, and is written now. */
static enum err_kind
mend_ledger(struct store *s, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    AUTO(buf_free) struct buf leaf = { 0 };
    struct ledger_head head = ledger_head(s->ledger);
    uint64_t known = 0;
    enum err_kind kind = kv_begin(s->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = index_meta_get(t, META_LEAVES, &known, err);
    if (kind != ERR_OK || known == head.size)
        return kind;
    if (known != head.size + 1) {
        kind = err_set(err, ERR_REFUSED, "the index knows %llu ledger leaves, the ledger has %llu",
                       (unsigned long long)known, (unsigned long long)head.size);
        err_hint(err,
                 known > head.size
                     ? "the ledger was cut or replaced; bring back the newest copy of \"%s/ledger\""
                     : "the index is older than the ledger; farshore-snapshot reindex --store %s rebuilds it",
                 s->path);
        return kind;
    }
    kind = index_leaf_get(t, &leaf, err);
    if (kind == ERR_OK)
        kind = ledger_reserve(s->ledger, leaf.size, err);
    return kind != ERR_OK ? kind : ledger_append(s->ledger, leaf.at, leaf.size, &head, err);
}

/* Packs that were open go back to what rows speak of, and are closed: a restart must not seal under their keys again. */
struct mend {
    struct store *s;
    uint64_t *open;
    size_t open_count;
};

static enum err_kind
mend_pack(void *arg, uint64_t pack, const struct index_pack *p, struct err *err)
{
    struct mend *const m = arg;

    if (p->closed)
        return ERR_OK;
    m->open = mem_grow(m->open, m->open_count + 1, sizeof *m->open);
    m->open[m->open_count++] = pack;
    return packs_cut(m->s->packs, pack, p->committed, err);
}

/* A commit counts every pack that it has seen: one from that number on was begun by sessions whose rows were never committed.  One below
 * it without a row is damage of the index, and not ours to remove. */
static enum err_kind
drop_unknown(struct store *s, struct kv_txn *t, uint64_t *pack_next, struct err *err)
{
    AUTO(auto_free) uint64_t *list = NULL;
    const uint64_t begun = *pack_next;
    size_t count = 0;
    enum err_kind kind = packs_list(s->packs, &list, &count, err);

    for (size_t i = 0; kind == ERR_OK && i < count; i++) {
        struct index_pack row;

        kind = index_pack_get(t, list[i], &row, err);
        if (kind != ERR_ABSENT)
            continue;
        if (list[i] < begun) {
            kind = err_set(err, ERR_CORRUPT, "the index does not know pack %llu",
                           (unsigned long long)list[i]);
            err_hint(err, "farshore-snapshot reindex --store %s rebuilds the index", s->path);
            return kind;
        }
        *pack_next = list[i] + 1;
        kind = packs_remove(s->packs, list[i], err);
    }
    return kind;
}

static enum err_kind
drop_uploads(struct kv_txn *t, struct err *err)
{
    struct kv_bytes key, value;
    enum err_kind kind;

    /* No upload outlives the process that served it. */
    for (;;) {
        AUTO(kv_walk_free) struct kv_walk *w = NULL;
        uint8_t copy[8];

        kind = kv_walk_new(t, INDEX_UPLOAD, &w, err);
        if (kind == ERR_OK)
            kind = kv_seek(w, (struct kv_bytes){ NULL, 0 }, &key, &value, err);
        if (kind != ERR_OK)
            return kind == ERR_ABSENT ? ERR_OK : kind;
        if (key.size != sizeof copy)
            return err_set(err, ERR_CORRUPT, "index: an upload's key has %zu bytes", key.size);
        memcpy(copy, key.at, sizeof copy);
        kind = kv_del(t, INDEX_UPLOAD, (struct kv_bytes){ copy, sizeof copy }, err);
        if (kind != ERR_OK)
            return kind;
    }
}

static enum err_kind
mend_packs(struct store *s, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    struct mend m = { .s = s };
    uint64_t pack_next = 0, blob_next = 0;
    enum err_kind kind = kv_begin(s->kv, true, &t, err);

    if (kind == ERR_OK)
        kind = index_packs(t, mend_pack, &m, NULL, err);
    if (kind == ERR_OK)
        kind = index_meta_get(t, META_PACK_NEXT, &pack_next, err);
    if (kind == ERR_OK)
        kind = index_meta_get(t, META_BLOB_CEILING, &blob_next, err);
    if (kind == ERR_OK)
        kind = drop_unknown(s, t, &pack_next, err);
    for (size_t i = 0; kind == ERR_OK && i < m.open_count; i++) {
        struct index_pack row;

        kind = index_pack_get(t, m.open[i], &row, err);
        row.closed = 1;
        if (kind == ERR_OK)
            kind = index_pack_put(t, m.open[i], &row, err);
    }
    if (kind == ERR_OK)
        kind = drop_uploads(t, err);
    /* Numbers that a crash threw away are not used again: what lay under them may have been read. */
    blob_next += STORE_BLOB_SKIP;
    if (kind == ERR_OK)
        kind = index_meta_put(t, META_BLOB_CEILING, blob_next, err);
    if (kind == ERR_OK)
        kind = index_meta_put(t, META_PACK_NEXT, pack_next, err);
    if (kind == ERR_OK)
        kind = kv_commit(&t, err);
    free(m.open);
    if (kind == ERR_OK)
        packs_start(s->packs, pack_next, blob_next);
    return kind;
}

enum err_kind
store_start(struct store *s, struct err *err)
{
    enum err_kind kind = mend_packs(s, err);

    if (kind == ERR_OK)
        s->commit = commit_start(s);
    return kind;
}

enum err_kind
store_open(const char *dir, bool write, struct store **ret, struct err *err)
{
    AUTO(store_close) struct store *s = mem_zero(1, sizeof *s);
    enum err_kind kind = open_front(dir, write, s, err);

    if (kind == ERR_OK)
        kind = store_open_index(s, err);
    if (kind == ERR_OK && write)
        kind = open_ledger(s, err);
    if (kind == ERR_OK && write)
        kind = mend_ledger(s, err);
    if (kind == ERR_OK && write)
        kind = store_start(s, err);
    if (kind != ERR_OK)
        return kind;
    *ret = s;
    s = NULL;
    return ERR_OK;
}

enum err_kind
store_open_bare(const char *dir, struct store **ret, struct err *err)
{
    AUTO(store_close) struct store *s = mem_zero(1, sizeof *s);
    char aside[64], stamp[WHEN_ROOM];
    enum err_kind kind = open_front(dir, true, s, err);

    if (kind == ERR_OK)
        kind = open_ledger(s, err);
    if (kind != ERR_OK)
        return kind;
    when_format(when_now_ns(), stamp);
    (void)snprintf(aside, sizeof aside, "index.old-%s", stamp);
    if (faccessat(s->dir_fd, "index", F_OK, 0) == 0 && renameat(s->dir_fd, "index", s->dir_fd, aside) != 0)
        return err_errno(err, "could not move \"%s/index\" aside", dir);
    kind = fs_dir_make(s->dir_fd, "index", 0700, NULL, err);
    if (kind == ERR_OK)
        kind = store_open_index(s, err);
    if (kind != ERR_OK)
        return kind;
    *ret = s;
    s = NULL;
    return ERR_OK;
}

void
store_close(struct store **store)
{
    struct store *const s = *store;

    if (s == NULL)
        return;
    commit_stop(&s->commit);
    packs_free(&s->packs);
    ledger_close(&s->ledger);
    kv_close(&s->kv);
    sign_key_free(&s->site_key);
    conf_free(&s->conf);
    explicit_bzero(s->seal_key, sizeof s->seal_key);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    if (s->dir_fd >= 0)
        (void)close(s->dir_fd);
    free(s->path);
    free(s);
    *store = NULL;
}

void
store_city_key(const struct store *s, uint32_t city, uint8_t ret_key[32])
{
    char label[48];

    (void)snprintf(label, sizeof label, "farshore index key of city %u", city);
    hash_derive(s->seal_key, label, ret_key);
}

void
store_object_key(const uint8_t city_key[32], uint32_t city, enum object_kind kind,
                 const struct digest *digest, uint8_t ret_key[OBJECT_KEY_BYTES])
{
    uint8_t text[1 + HASH_BYTES];
    struct digest mac;

    text[0] = (uint8_t)kind;
    memcpy(text + 1, digest->at, HASH_BYTES);
    hash_hmac(city_key, text, sizeof text, &mac);
    be32_put(ret_key, city);
    ret_key[4] = (uint8_t)kind;
    memcpy(ret_key + 5, mac.at, OBJECT_KEY_BYTES - 5);
}
