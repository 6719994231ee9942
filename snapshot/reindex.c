/* The index from packs and ledger alone. Packs say where blobs lie and which objects are in them; the ledger says which marks were
 * acknowledged and which agents there are.  A mark without a leaf was never acknowledged and stays out. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/json.h"
#include "common/mem.h"
#include "snapshot/index_internal.h"
#include "snapshot/ledger.h"
#include "snapshot/pack.h"
#include "snapshot/stage.h"
#include "snapshot/store.h"
#include "snapshot/store_internal.h"

#define ROW_BYTES (OBJECT_KEY_BYTES + 16u)

struct rebuild {
    struct store *s;
    store_found_fn *found;
    void *arg;
    struct kv_txn *t;
    size_t puts;        /* in t */
    struct digest *ids; /* [id_count] of marks that the ledger names, sorted after loading */
    size_t id_count, id_room;
    struct index_agent *agents; /* [agent_count] */
    size_t agent_count;
    uint64_t commits, marks, blob_max, pack_max;
    uint32_t city_max;
    struct buf last_leaf;
    struct blob_place *special; /* ROWS and MARK blobs of the pack under work */
    size_t special_count;
    uint64_t end; /* of the last whole blob of it */
};

static struct index_agent *
agent_of(struct rebuild *r, const char *name)
{
    for (size_t i = 0; i < r->agent_count; i++)
        if (strcmp(r->agents[i].name, name) == 0)
            return &r->agents[i];
    r->agents = mem_grow(r->agents, r->agent_count + 1, sizeof *r->agents);
    struct index_agent *const a = &r->agents[r->agent_count++];
    memset(a, 0, sizeof *a);
    (void)snprintf(a->name, sizeof a->name, "%s", name);
    return a;
}

static void
event_mark(struct rebuild *r, const struct json *e, struct index_agent *a)
{
    const char *const id = json_get_text(e, "id");
    const uint64_t receipt = (uint64_t)json_get_number(e, "receipt");
    struct digest d;

    if (id == NULL || hash_from_hex(id, &d) != 0)
        return;
    if (r->id_count == r->id_room) {
        r->id_room = r->id_room ? 2 * r->id_room : 256;
        r->ids = mem_grow(r->ids, r->id_room, sizeof *r->ids);
    }
    r->ids[r->id_count++] = d;
    if (receipt > a->receipts) {
        a->receipts = receipt;
        a->last_mark = d;
    }
}

static void
event_enrol(const struct json *e, struct index_agent *a, int64_t time_ns)
{
    const char *const certificate = json_get_text(e, "certificate");
    const char *const key = json_get_text(e, "mark_key");
    struct digest d;

    a->city = (uint32_t)json_get_number(e, "city");
    a->revoked = 0;
    a->enrolled_ns = time_ns;
    if (certificate != NULL)
        (void)hash_from_hex(certificate, &a->certificate);
    if (key != NULL && hash_from_hex(key, &d) == 0)
        memcpy(a->mark_public, d.at, SIGN_PUBLIC_BYTES);
}

static enum err_kind
leaf_take(void *arg, uint64_t index, const void *leaf, size_t size, struct err *err)
{
    struct rebuild *const r = arg;
    struct json *j = NULL;
    const enum err_kind kind = json_parse(leaf, size, &j, err);

    if (kind != ERR_OK)
        return err_prefix(err, kind, "ledger: leaf %llu", (unsigned long long)index);
    const struct json *const events = json_get(j, "events");
    r->commits = (uint64_t)json_get_number(j, "commit");
    for (size_t i = 0; i < json_size(events); i++) {
        const struct json *const e = json_at(events, i);
        const char *const type = json_get_text(e, "type");
        const char *const agent = json_get_text(e, "agent");

        if (type == NULL || agent == NULL || !conf_name_ok(agent))
            continue;
        if (strcmp(type, "mark") == 0)
            event_mark(r, e, agent_of(r, agent));
        else if (strcmp(type, "enrol") == 0)
            event_enrol(e, agent_of(r, agent), json_get_number(j, "time"));
        else if (strcmp(type, "revoke") == 0)
            agent_of(r, agent)->revoked = 1;
    }
    r->last_leaf.size = 0;
    buf_put(&r->last_leaf, leaf, size);
    json_free(&j);
    return ERR_OK;
}

static int
id_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct digest));
}

/* Transactions of bounded size: nothing here is acknowledged before the last one. */
static enum err_kind
next_put(struct rebuild *r, struct err *err)
{
    enum err_kind kind = ERR_OK;

    if (r->t != NULL && r->puts >= COMMIT_ROWS_MAX)
        kind = kv_commit(&r->t, err);
    if (kind == ERR_OK && r->t == NULL) {
        kind = kv_begin(r->s->kv, true, &r->t, err);
        r->puts = 0;
    }
    r->puts++;
    return kind;
}

static enum err_kind
blob_take(void *arg, const struct blob_place *p, struct err *err)
{
    struct rebuild *const r = arg;
    enum err_kind kind = next_put(r, err);

    if (kind == ERR_OK)
        kind = index_blob_put(r->t, p, err);
    r->blob_max = p->blob > r->blob_max ? p->blob : r->blob_max;
    const uint64_t end = p->off + sizeof(struct blob_header) + p->stored;
    r->end = end > r->end ? end : r->end;
    if (p->kind == BLOB_ROWS || p->kind == BLOB_MARK) {
        r->special = mem_grow(r->special, r->special_count + 1, sizeof *r->special);
        r->special[r->special_count++] = *p;
    }
    return kind;
}

static enum err_kind
rows_take(struct rebuild *r, const uint8_t *raw, uint32_t size, struct err *err)
{
    for (uint32_t at = 0; at + ROW_BYTES <= size; at += ROW_BYTES) {
        const uint8_t *const row = raw + at;
        const struct object_place place = { le64_get(row + OBJECT_KEY_BYTES),
                                            le32_get(row + OBJECT_KEY_BYTES + 8),
                                            le32_get(row + OBJECT_KEY_BYTES + 12), r->commits };
        struct blob_place blob;
        enum err_kind kind = next_put(r, err);

        if (kind == ERR_OK)
            kind = index_blob_get(r->t, place.blob, &blob, err);
        if (kind == ERR_ABSENT)
            continue; /* its pack is damaged or gone, and was reported */
        if (kind == ERR_OK)
            kind = index_object_put(r->t, row, &place, err);
        if (kind != ERR_OK)
            return kind;
    }
    return ERR_OK;
}

static enum err_kind
mark_take(struct rebuild *r, const struct blob_place *p, const uint8_t *raw, uint32_t city, struct err *err)
{
    struct cut c = cut_of(raw, p->raw);
    struct index_mark m;
    size_t n = 0;

    memset(&m, 0, sizeof m);
    const uint8_t *const text = cut_block(&c, MARK_TEXT_MAX, &n);
    const uint8_t *const signature = cut_bytes(&c, SIGN_BYTES);
    m.receipt = cut_u64(&c);
    m.leaf = cut_u64(&c);
    m.received_ns = (int64_t)cut_u64(&c);
    m.blob = p->blob;
    if (!cut_done(&c))
        return err_set(err, ERR_CORRUPT, "blob %llu is not a mark", (unsigned long long)p->blob);
    enum err_kind kind = mark_parse(text, n, &m.mark, err);
    if (kind != ERR_OK)
        return kind;
    memcpy(m.signature, signature, SIGN_BYTES);
    mark_id(text, n, &m.id);
    if (r->id_count == 0 || bsearch(&m.id, r->ids, r->id_count, sizeof *r->ids, id_order) == NULL)
        return ERR_OK;
    kind = next_put(r, err);
    if (kind == ERR_OK)
        kind = index_mark_put(r->t, city, &m, err);
    r->marks += kind == ERR_OK;
    return kind;
}

static enum err_kind
special_take(struct rebuild *r, uint32_t city, struct err *err)
{
    AUTO(auto_free) uint8_t *raw = mem_alloc(BLOB_RAW_MAX);
    enum err_kind kind = ERR_OK;

    for (size_t i = 0; kind == ERR_OK && i < r->special_count; i++) {
        const struct blob_place *const p = &r->special[i];
        struct err damage = { 0 };

        kind = packs_read(r->s->packs, p, raw, &damage);
        if (kind == ERR_OK)
            kind = p->kind == BLOB_ROWS ? rows_take(r, raw, p->raw, &damage)
                                        : mark_take(r, p, raw, city, &damage);
        if (kind == ERR_CORRUPT) {
            r->found(r->arg, damage.text);
            kind = ERR_OK;
        } else if (kind != ERR_OK && err != NULL) {
            *err = damage;
        }
    }
    return kind;
}

static enum err_kind
pack_take(struct rebuild *r, uint64_t pack, struct err *err)
{
    struct err damage = { 0 };
    uint32_t city = 0;
    uint64_t bytes = 0;
    enum err_kind kind = packs_check(r->s->packs, pack, &city, &bytes, &damage);

    r->pack_max = pack > r->pack_max ? pack : r->pack_max;
    if (kind != ERR_OK) {
        r->found(r->arg, damage.text);
        return ERR_OK;
    }
    r->city_max = city > r->city_max ? city : r->city_max;
    r->special_count = 0;
    r->end = PACK_HEADER_BYTES;
    /* The table of a closed pack is one read; without it, from header to header. */
    kind = packs_table(r->s->packs, pack, blob_take, r, &damage);
    if (kind == ERR_ABSENT || kind == ERR_CORRUPT)
        kind = packs_headers(r->s->packs, pack, 0, blob_take, r, &damage);
    if (kind == ERR_CORRUPT) {
        r->found(r->arg, damage.text);
        kind = ERR_OK;
    }
    if (kind == ERR_OK)
        kind = special_take(r, city, &damage);
    if (kind == ERR_OK)
        kind = next_put(r, &damage);
    const struct index_pack row = { city, r->end, 1 };
    if (kind == ERR_OK)
        kind = index_pack_put(r->t, pack, &row, &damage);
    if (kind != ERR_OK && err != NULL)
        *err = damage;
    return kind;
}

static enum err_kind
finish(struct rebuild *r, uint64_t leaves, struct err *err)
{
    enum err_kind kind = next_put(r, err);

    for (size_t i = 0; kind == ERR_OK && i < r->agent_count; i++) {
        if (r->agents[i].city > r->city_max)
            r->city_max = r->agents[i].city;
        kind = index_agent_put(r->t, &r->agents[i], err);
    }
    const struct {
        enum index_meta which;
        uint64_t value;
    } meta[] = { { META_COMMITS, r->commits },
                 { META_BLOB_CEILING, r->blob_max + STORE_BLOB_SKIP },
                 { META_PACK_NEXT, r->pack_max + 1 },
                 { META_CITY_NEXT, r->city_max + 1u },
                 { META_LEAVES, leaves } };
    for (size_t i = 0; kind == ERR_OK && i < sizeof meta / sizeof meta[0]; i++)
        kind = index_meta_put(r->t, meta[i].which, meta[i].value, err);
    if (kind == ERR_OK && r->last_leaf.size > 0)
        kind = index_leaf_put(r->t, r->last_leaf.at, r->last_leaf.size, err);
    return kind != ERR_OK ? kind : kv_commit(&r->t, err);
}

static void
rebuild_free(struct rebuild *r)
{
    kv_abort(&r->t);
    free(r->ids);
    free(r->agents);
    free(r->special);
    buf_free(&r->last_leaf);
}

enum err_kind
store_reindex(struct store *s, store_found_fn *found, void *arg, uint64_t *ret_marks, struct err *err)
{
    AUTO(rebuild_free) struct rebuild r = { .s = s, .found = found, .arg = arg };
    AUTO(auto_free) uint64_t *packs = NULL;
    const struct ledger_open o = { s->dir_fd, s->name, s->site_public, NULL };
    const struct ledger_scan scan = { leaf_take, NULL, &r };
    struct ledger_head head;
    size_t count = 0;
    enum err_kind kind = store_first_rows(s, err);

    assert(s->writer && s->commit == NULL);
    if (kind == ERR_OK)
        kind = ledger_scan(&o, &scan, &head, err);
    if (kind == ERR_OK)
        kind = packs_list(s->packs, &packs, &count, err);
    if (kind == ERR_OK && r.id_count > 0)
        qsort(r.ids, r.id_count, sizeof *r.ids, id_order);
    for (size_t i = 0; kind == ERR_OK && i < count; i++)
        kind = pack_take(&r, packs[i], err);
    if (kind == ERR_OK)
        kind = finish(&r, head.size, err);
    if (kind != ERR_OK)
        return kind;
    if (r.marks != r.id_count) {
        char text[96];

        (void)snprintf(text, sizeof text, "the ledger names %zu marks, %llu were found in packs", r.id_count,
                       (unsigned long long)r.marks);
        found(arg, text);
    }
    *ret_marks = r.marks;
    return ERR_OK;
}
