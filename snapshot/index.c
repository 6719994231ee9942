/* Keys and values of the index: how a typed row is looked up and put.  How rows are walked stands in index_row.c. */
#include "snapshot/index.h"

#include <assert.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "snapshot/index_internal.h"

const char *const index_table_names[INDEX_TABLES] = { "meta", "blob",  "object", "pack",
                                                      "mark", "agent", "upload", "token" };

struct kv_bytes
index_key_number(uint8_t room[8], uint64_t number)
{
    be64_put(room, number);
    return (struct kv_bytes){ room, 8 };
}

static struct kv_bytes
key_text(const char *text)
{
    return (struct kv_bytes){ text, strlen(text) };
}

/* Every value is short: a bad length is damage that the checksum could not see only if we wrote it ourselves. */
static enum err_kind
done(const struct cut *c, const char *what, struct err *err)
{
    if (cut_done(c))
        return ERR_OK;
    return err_set(err, ERR_CORRUPT, "index: a row of table \"%s\" has a bad length", what);
}

enum err_kind
index_meta_get(struct kv_txn *t, enum index_meta which, uint64_t *ret, struct err *err)
{
    uint8_t key[8];
    struct kv_bytes value;
    const enum err_kind kind = kv_get(t, INDEX_META, index_key_number(key, which), &value, err);

    if (kind != ERR_OK)
        return kind;
    if (value.size != 8)
        return err_set(err, ERR_CORRUPT, "index: row %d of table \"meta\" has %zu bytes", (int)which,
                       value.size);
    *ret = le64_get(value.at);
    return ERR_OK;
}

enum err_kind
index_meta_put(struct kv_txn *t, enum index_meta which, uint64_t value, struct err *err)
{
    uint8_t key[8], bytes[8];

    le64_put(bytes, value);
    return kv_put(t, INDEX_META, index_key_number(key, which), (struct kv_bytes){ bytes, sizeof bytes }, err);
}

enum err_kind
index_leaf_get(struct kv_txn *t, struct buf *ret, struct err *err)
{
    struct kv_bytes value;
    const enum err_kind kind = kv_get(t, INDEX_META, key_text("leaf"), &value, err);

    if (kind == ERR_OK)
        buf_put(ret, value.at, value.size);
    return kind;
}

enum err_kind
index_leaf_put(struct kv_txn *t, const void *leaf, size_t size, struct err *err)
{
    return kv_put(t, INDEX_META, key_text("leaf"), (struct kv_bytes){ leaf, size }, err);
}

void
index_blob_value(const struct blob_place *p, struct buf *ret)
{
    buf_u64(ret, p->pack);
    buf_u32(ret, p->off);
    buf_u32(ret, p->stored);
    buf_u32(ret, p->raw);
    buf_u8(ret, p->kind);
    buf_u8(ret, p->zip);
}

enum err_kind
index_blob_parse(uint64_t blob, struct kv_bytes value, struct blob_place *ret, struct err *err)
{
    struct cut c = cut_of(value.at, value.size);
    struct blob_place p = { .blob = blob };

    p.pack = cut_u64(&c);
    p.off = cut_u32(&c);
    p.stored = cut_u32(&c);
    p.raw = cut_u32(&c);
    p.kind = cut_u8(&c);
    p.zip = cut_u8(&c);
    const enum err_kind kind = done(&c, "blob", err);
    if (kind != ERR_OK)
        return kind;
    if (p.raw > BLOB_RAW_MAX || p.stored > BLOB_STORED_MAX || p.zip > 1)
        return err_set(err, ERR_CORRUPT, "index: blob %llu has lengths out of bounds",
                       (unsigned long long)blob);
    *ret = p;
    return ERR_OK;
}

enum err_kind
index_blob_get(struct kv_txn *t, uint64_t blob, struct blob_place *ret, struct err *err)
{
    uint8_t key[8];
    struct kv_bytes value;
    const enum err_kind kind = kv_get(t, INDEX_BLOB, index_key_number(key, blob), &value, err);

    if (kind == ERR_ABSENT)
        return err_set(err, ERR_ABSENT, "index: no blob %llu", (unsigned long long)blob);
    return kind != ERR_OK ? kind : index_blob_parse(blob, value, ret, err);
}

enum err_kind
index_blob_put(struct kv_txn *t, const struct blob_place *p, struct err *err)
{
    uint8_t key[8];
    AUTO(buf_free) struct buf value = { 0 };

    index_blob_value(p, &value);
    return kv_put(t, INDEX_BLOB, index_key_number(key, p->blob), (struct kv_bytes){ value.at, value.size },
                  err);
}

enum err_kind
index_object_parse(struct kv_bytes value, struct object_place *ret, struct err *err)
{
    struct cut c = cut_of(value.at, value.size);
    struct object_place p = { 0 };

    p.blob = cut_u64(&c);
    p.off = cut_u32(&c);
    p.len = cut_u32(&c);
    p.generation = cut_u64(&c);
    const enum err_kind kind = done(&c, "object", err);
    if (kind != ERR_OK)
        return kind;
    if (p.len > BLOB_RAW_MAX || p.off > BLOB_RAW_MAX - p.len)
        return err_set(err, ERR_CORRUPT, "index: an object lies outside of blob %llu",
                       (unsigned long long)p.blob);
    *ret = p;
    return ERR_OK;
}

enum err_kind
index_object_get(struct kv_txn *t, const uint8_t key[OBJECT_KEY_BYTES], struct object_place *ret,
                 struct err *err)
{
    struct kv_bytes value;
    const enum err_kind kind = kv_get(t, INDEX_OBJECT, (struct kv_bytes){ key, OBJECT_KEY_BYTES }, &value,
                                      err);

    return kind != ERR_OK ? kind : index_object_parse(value, ret, err);
}

enum err_kind
index_object_put(struct kv_txn *t, const uint8_t key[OBJECT_KEY_BYTES], const struct object_place *p,
                 struct err *err)
{
    uint8_t value[24];

    le64_put(value, p->blob);
    le32_put(value + 8, p->off);
    le32_put(value + 12, p->len);
    le64_put(value + 16, p->generation);
    return kv_put(t, INDEX_OBJECT, (struct kv_bytes){ key, OBJECT_KEY_BYTES },
                  (struct kv_bytes){ value, sizeof value }, err);
}

enum err_kind
index_pack_parse(struct kv_bytes value, struct index_pack *ret, struct err *err)
{
    struct cut c = cut_of(value.at, value.size);
    struct index_pack p = { 0 };

    p.city = cut_u32(&c);
    p.committed = cut_u64(&c);
    p.closed = cut_u8(&c);
    const enum err_kind kind = done(&c, "pack", err);
    if (kind == ERR_OK)
        *ret = p;
    return kind;
}

enum err_kind
index_pack_get(struct kv_txn *t, uint64_t pack, struct index_pack *ret, struct err *err)
{
    uint8_t key[8];
    struct kv_bytes value;
    const enum err_kind kind = kv_get(t, INDEX_PACK, index_key_number(key, pack), &value, err);

    return kind != ERR_OK ? kind : index_pack_parse(value, ret, err);
}

enum err_kind
index_pack_put(struct kv_txn *t, uint64_t pack, const struct index_pack *p, struct err *err)
{
    uint8_t key[8], value[13];

    le32_put(value, p->city);
    le64_put(value + 4, p->committed);
    value[12] = p->closed;
    return kv_put(t, INDEX_PACK, index_key_number(key, pack), (struct kv_bytes){ value, sizeof value }, err);
}

enum err_kind
index_agent_parse(struct kv_bytes key, struct kv_bytes value, struct index_agent *ret, struct err *err)
{
    struct cut c = cut_of(value.at, value.size);
    struct index_agent a = { .city = cut_u32(&c) };

    if (key.size > SOURCE_NAME_MAX)
        return err_set(err, ERR_CORRUPT, "index: an agent's name is too long");
    memcpy(a.name, key.at, key.size);
    a.revoked = cut_u8(&c);
    const uint8_t *const bytes = cut_bytes(&c, HASH_BYTES + SIGN_PUBLIC_BYTES + HASH_BYTES);
    if (bytes != NULL) {
        memcpy(a.certificate.at, bytes, HASH_BYTES);
        memcpy(a.mark_public, bytes + HASH_BYTES, SIGN_PUBLIC_BYTES);
        memcpy(a.last_mark.at, bytes + HASH_BYTES + SIGN_PUBLIC_BYTES, HASH_BYTES);
    }
    a.receipts = cut_u64(&c);
    a.enrolled_ns = (int64_t)cut_u64(&c);
    const enum err_kind kind = done(&c, "agent", err);
    if (kind == ERR_OK)
        *ret = a;
    return kind;
}

enum err_kind
index_agent_get(struct kv_txn *t, const char *name, struct index_agent *ret, struct err *err)
{
    struct kv_bytes value;
    const enum err_kind kind = kv_get(t, INDEX_AGENT, key_text(name), &value, err);

    if (kind == ERR_ABSENT)
        return err_set(err, ERR_ABSENT, "no agent \"%s\" is enrolled", name);
    return kind != ERR_OK ? kind : index_agent_parse(key_text(name), value, ret, err);
}

enum err_kind
index_agent_put(struct kv_txn *t, const struct index_agent *a, struct err *err)
{
    AUTO(buf_free) struct buf value = { 0 };

    assert(a->name[0] != '\0');
    buf_u32(&value, a->city);
    buf_u8(&value, a->revoked);
    buf_put(&value, a->certificate.at, HASH_BYTES);
    buf_put(&value, a->mark_public, SIGN_PUBLIC_BYTES);
    buf_put(&value, a->last_mark.at, HASH_BYTES);
    buf_u64(&value, a->receipts);
    buf_u64(&value, (uint64_t)a->enrolled_ns);
    return kv_put(t, INDEX_AGENT, key_text(a->name), (struct kv_bytes){ value.at, value.size }, err);
}

enum err_kind
index_upload_put(struct kv_txn *t, uint64_t number, const struct index_upload *u, struct err *err)
{
    uint8_t key[8];
    AUTO(buf_free) struct buf value = { 0 };

    buf_u32(&value, u->city);
    buf_text(&value, u->source);
    buf_u64(&value, u->began);
    buf_u64(&value, (uint64_t)u->began_ns);
    buf_u64(&value, u->base);
    return kv_put(t, INDEX_UPLOAD, index_key_number(key, number), (struct kv_bytes){ value.at, value.size },
                  err);
}

enum err_kind
index_upload_del(struct kv_txn *t, uint64_t number, struct err *err)
{
    uint8_t key[8];

    return kv_del(t, INDEX_UPLOAD, index_key_number(key, number), err);
}

enum err_kind
index_token_get(struct kv_txn *t, const struct digest *secret, struct index_token *ret, struct err *err)
{
    struct kv_bytes value;
    struct index_token k = { 0 };
    enum err_kind kind = kv_get(t, INDEX_TOKEN, (struct kv_bytes){ secret->at, HASH_BYTES }, &value, err);

    if (kind != ERR_OK)
        return kind;
    struct cut c = cut_of(value.at, value.size);
    if (!cut_text(&c, k.agent, sizeof k.agent))
        return err_set(err, ERR_CORRUPT, "index: a token's agent name is too long");
    k.expires_ns = (int64_t)cut_u64(&c);
    kind = done(&c, "token", err);
    if (kind == ERR_OK)
        *ret = k;
    return kind;
}

enum err_kind
index_token_put(struct kv_txn *t, const struct digest *secret, const struct index_token *k, struct err *err)
{
    AUTO(buf_free) struct buf value = { 0 };

    buf_text(&value, k->agent);
    buf_u64(&value, (uint64_t)k->expires_ns);
    return kv_put(t, INDEX_TOKEN, (struct kv_bytes){ secret->at, HASH_BYTES },
                  (struct kv_bytes){ value.at, value.size }, err);
}

enum err_kind
index_token_del(struct kv_txn *t, const struct digest *secret, struct err *err)
{
    return kv_del(t, INDEX_TOKEN, (struct kv_bytes){ secret->at, HASH_BYTES }, err);
}
