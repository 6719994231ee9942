/* Rows of marks, and walks over whole tables. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "snapshot/index.h"
#include "snapshot/index_internal.h"

#define MARK_KEY_MAX (4 + SOURCE_NAME_MAX + 1 + 8)

/* City, source name, NUL, sequence: one source's marks are neighbours, oldest first. */
static struct kv_bytes
mark_key(uint8_t room[MARK_KEY_MAX], uint32_t city, const char *source, uint64_t sequence)
{
    const size_t n = strlen(source);

    assert(n >= 1 && n <= SOURCE_NAME_MAX);
    be32_put(room, city);
    memcpy(room + 4, source, n);
    room[4 + n] = '\0';
    be64_put(room + 5 + n, sequence);
    return (struct kv_bytes){ room, 5 + n + 8 };
}

static enum err_kind
mark_parse_row(struct kv_bytes value, struct index_mark *ret, struct err *err)
{
    struct cut c = cut_of(value.at, value.size);
    struct index_mark m;
    size_t text_bytes = 0;

    memset(&m, 0, sizeof m);
    const uint8_t *const text = cut_block(&c, MARK_TEXT_MAX, &text_bytes);
    const uint8_t *const signature = cut_bytes(&c, SIGN_BYTES);
    m.blob = cut_u64(&c);
    m.receipt = cut_u64(&c);
    m.leaf = cut_u64(&c);
    m.received_ns = (int64_t)cut_u64(&c);
    if (!cut_done(&c) || text == NULL || signature == NULL)
        return err_set(err, ERR_CORRUPT, "index: a row of table \"mark\" has a bad length");
    const enum err_kind kind = mark_parse(text, text_bytes, &m.mark, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "index: a row of table \"mark\"");
    mark_id(text, text_bytes, &m.id);
    memcpy(m.signature, signature, SIGN_BYTES);
    *ret = m;
    return ERR_OK;
}

enum err_kind
index_mark_get(struct kv_txn *t, uint32_t city, const char *source, uint64_t sequence, struct index_mark *ret,
               struct err *err)
{
    uint8_t key[MARK_KEY_MAX];
    struct kv_bytes value;
    const enum err_kind kind = kv_get(t, INDEX_MARK, mark_key(key, city, source, sequence), &value, err);

    return kind != ERR_OK ? kind : mark_parse_row(value, ret, err);
}

enum err_kind
index_mark_last(struct kv_txn *t, uint32_t city, const char *source, struct index_mark *ret, struct err *err)
{
    uint8_t room[MARK_KEY_MAX];
    AUTO(kv_walk_free) struct kv_walk *w = NULL;
    struct kv_bytes key, value;
    enum err_kind kind = kv_walk_new(t, INDEX_MARK, &w, err);

    if (kind != ERR_OK)
        return kind;
    /* Stand behind the last possible mark of the source and step back. */
    const struct kv_bytes end = mark_key(room, city, source, UINT64_MAX);
    kind = kv_seek(w, end, &key, &value, err);
    if (kind == ERR_OK)
        kind = kv_prev(w, &key, &value, err);
    else if (kind == ERR_ABSENT)
        kind = kv_last(w, &key, &value, err);
    if (kind != ERR_OK)
        return kind;
    if (key.size != end.size || memcmp(key.at, end.at, end.size - 8) != 0)
        return err_set(err, ERR_ABSENT, "source \"%s\" has no mark", source);
    return mark_parse_row(value, ret, err);
}

enum err_kind
index_mark_put(struct kv_txn *t, uint32_t city, const struct index_mark *m, struct err *err)
{
    uint8_t key[MARK_KEY_MAX];
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(buf_free) struct buf value = { 0 };

    mark_encode(&m->mark, &text);
    buf_block(&value, text.at, text.size);
    buf_put(&value, m->signature, SIGN_BYTES);
    buf_u64(&value, m->blob);
    buf_u64(&value, m->receipt);
    buf_u64(&value, m->leaf);
    buf_u64(&value, (uint64_t)m->received_ns);
    return kv_put(t, INDEX_MARK, mark_key(key, city, m->mark.source, m->mark.sequence),
                  (struct kv_bytes){ value.at, value.size }, err);
}

/* One walk for all tables: row parses a pair and hands it to the caller's function. */
struct walk {
    enum index_table table;
    enum err_kind (*row)(const struct walk *w, struct kv_bytes key, struct kv_bytes value, struct err *err);
    union {
        index_mark_fn *mark;
        index_agent_fn *agent;
        index_pack_fn *pack;
        index_blob_fn *blob;
        index_object_fn *object;
    } fn;
    void *arg;
};

static enum err_kind
bad_row(const struct walk *w, const struct index_bad *bad, struct err *damage, struct err *err)
{
    char text[600];

    if (bad == NULL) {
        if (err != NULL)
            *err = *damage;
        return ERR_CORRUPT;
    }
    (void)snprintf(text, sizeof text, "table \"%s\": %s", index_table_names[w->table], damage->text);
    bad->fn(bad->arg, text);
    return ERR_OK;
}

static enum err_kind
walk_table(struct kv_txn *t, const struct walk *w, const struct index_bad *bad, struct err *err)
{
    AUTO(kv_walk_free) struct kv_walk *at = NULL;
    struct kv_bytes key, value;
    struct err inner = { 0 };
    enum err_kind kind = kv_walk_new(t, w->table, &at, err);

    if (kind != ERR_OK)
        return kind;
    for (kind = kv_seek(at, (struct kv_bytes){ NULL, 0 }, &key, &value, &inner); kind != ERR_ABSENT;
         kind = kv_next(at, &key, &value, &inner)) {
        if (kind == ERR_OK)
            kind = w->row(w, key, value, &inner);
        if (kind == ERR_CORRUPT)
            kind = bad_row(w, bad, &inner, &inner);
        if (kind != ERR_OK) {
            if (err != NULL)
                *err = inner;
            return kind;
        }
    }
    return ERR_OK;
}

static enum err_kind
row_mark(const struct walk *w, struct kv_bytes key, struct kv_bytes value, struct err *err)
{
    struct index_mark m;
    uint8_t room[MARK_KEY_MAX];
    const enum err_kind kind = mark_parse_row(value, &m, err);

    if (kind != ERR_OK)
        return kind;
    if (key.size < 4)
        return err_set(err, ERR_CORRUPT, "index: a mark's key is too short");
    const struct kv_bytes want = mark_key(room, be32_get(key.at), m.mark.source, m.mark.sequence);
    if (want.size != key.size || memcmp(want.at, key.at, key.size) != 0)
        return err_set(err, ERR_CORRUPT, "index: a mark is filed under another's key");
    return w->fn.mark(w->arg, &m, err);
}

static enum err_kind
row_agent(const struct walk *w, struct kv_bytes key, struct kv_bytes value, struct err *err)
{
    struct index_agent a;
    const enum err_kind kind = index_agent_parse(key, value, &a, err);

    return kind != ERR_OK ? kind : w->fn.agent(w->arg, &a, err);
}

static enum err_kind
row_pack(const struct walk *w, struct kv_bytes key, struct kv_bytes value, struct err *err)
{
    struct index_pack p;

    if (key.size != 8)
        return err_set(err, ERR_CORRUPT, "index: a pack's key has %zu bytes", key.size);
    const enum err_kind kind = index_pack_parse(value, &p, err);
    return kind != ERR_OK ? kind : w->fn.pack(w->arg, be64_get(key.at), &p, err);
}

static enum err_kind
row_blob(const struct walk *w, struct kv_bytes key, struct kv_bytes value, struct err *err)
{
    struct blob_place p;

    if (key.size != 8)
        return err_set(err, ERR_CORRUPT, "index: a blob's key has %zu bytes", key.size);
    const enum err_kind kind = index_blob_parse(be64_get(key.at), value, &p, err);
    return kind != ERR_OK ? kind : w->fn.blob(w->arg, &p, err);
}

static enum err_kind
row_object(const struct walk *w, struct kv_bytes key, struct kv_bytes value, struct err *err)
{
    struct object_place p;

    if (key.size != OBJECT_KEY_BYTES)
        return err_set(err, ERR_CORRUPT, "index: an object's key has %zu bytes", key.size);
    const enum err_kind kind = index_object_parse(value, &p, err);
    return kind != ERR_OK ? kind : w->fn.object(w->arg, key.at, &p, err);
}

enum err_kind
index_marks(struct kv_txn *t, index_mark_fn *fn, void *arg, const struct index_bad *bad, struct err *err)
{
    const struct walk w = { INDEX_MARK, row_mark, { .mark = fn }, arg };

    return walk_table(t, &w, bad, err);
}

enum err_kind
index_agents(struct kv_txn *t, index_agent_fn *fn, void *arg, const struct index_bad *bad, struct err *err)
{
    const struct walk w = { INDEX_AGENT, row_agent, { .agent = fn }, arg };

    return walk_table(t, &w, bad, err);
}

enum err_kind
index_packs(struct kv_txn *t, index_pack_fn *fn, void *arg, const struct index_bad *bad, struct err *err)
{
    const struct walk w = { INDEX_PACK, row_pack, { .pack = fn }, arg };

    return walk_table(t, &w, bad, err);
}

enum err_kind
index_blobs(struct kv_txn *t, index_blob_fn *fn, void *arg, const struct index_bad *bad, struct err *err)
{
    const struct walk w = { INDEX_BLOB, row_blob, { .blob = fn }, arg };

    return walk_table(t, &w, bad, err);
}

enum err_kind
index_objects(struct kv_txn *t, index_object_fn *fn, void *arg, const struct index_bad *bad, struct err *err)
{
    const struct walk w = { INDEX_OBJECT, row_object, { .object = fn }, arg };

    return walk_table(t, &w, bad, err);
}
