/* What an agent asks (QUERY, WANT, GET) and the blobs that it brings. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/zip.h"
#include "replicator/session_internal.h"
#include "snapshot/delta.h"
#include "snapshot/tree.h"

#define PIECE_BYTES (1u * MIB) /* of old bytes that are summed at a time */

/* Old bytes that cannot be read are no base: the agent sends what it has.  The damage is for farshore-verify to name. */
static bool
unusable(enum err_kind kind, const struct err *err)
{
    if (kind == ERR_CORRUPT)
        log_warn("a base for new bytes is damaged: %s; run farshore-verify store", err->text);
    return kind == ERR_CORRUPT || kind == ERR_ABSENT;
}

/* The sums of the blocks that are asked for, one block after another. */
static enum err_kind
question_sums(struct upload *up, const struct wire_question *q, struct buf *ret, struct err *err)
{
    AUTO(map_free) struct map m = { 0 };
    AUTO(auto_free) uint8_t *bytes = mem_alloc(BLOCK_BYTES);
    const struct reader_file f = { q->base.digest, q->base.size };
    enum err_kind kind = reader_file_map(up->reader, &f, q->base_map, &m, err);

    for (uint32_t n = 0; kind == ERR_OK && n < MAP_BLOCKS; n++) {
        const uint32_t off = n * BLOCK_BYTES;

        if ((q->sums_of >> n & 1) == 0 || off >= m.bytes)
            continue;
        const uint32_t len = m.bytes - off < BLOCK_BYTES ? m.bytes - off : BLOCK_BYTES;
        kind = reader_raw(up->reader, &m, off, len, bytes, err);
        if (kind == ERR_OK)
            kind = delta_sums(bytes, len, ret, err);
    }
    return kind;
}

static enum err_kind
question(struct upload *up, const struct wire_question *q, struct wire_reply *r, struct buf *sums,
         struct err *err)
{
    const size_t before = sums->size;
    struct err mine = { 0 };
    bool known = false;
    enum err_kind kind = object_known(up, q->kind, &q->digest, &known, err);

    if (kind != ERR_OK)
        return kind;
    r->status = known ? WIRE_HAVE : WIRE_NEED;
    if (known || !q->based)
        return ERR_OK;
    kind = question_sums(up, q, sums, &mine);
    if (kind == ERR_OK) {
        r->status = WIRE_NEED_SUMS;
        r->sums_bytes = sums->size - before;
        return ERR_OK;
    }
    sums->size = before;
    if (unusable(kind, &mine))
        return ERR_OK;
    if (err != NULL)
        *err = mine;
    return kind;
}

static void
query_free(struct wire_query *q)
{
    free(q->at);
}

enum err_kind
job_query(struct upload *up, struct job *j, struct err *err)
{
    AUTO(query_free) struct wire_query q = { 0 };
    AUTO(buf_free) struct buf sums = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    enum err_kind kind = wire_get_query(j->payload.at, j->payload.size, &q, err);

    if (kind != ERR_OK)
        return kind;
    AUTO(auto_free) struct wire_reply *replies = mem_zero(q.count, sizeof *replies);
    for (size_t i = 0; kind == ERR_OK && i < q.count; i++)
        kind = question(up, &q.at[i], &replies[i], &sums, err);
    if (kind != ERR_OK)
        return kind;
    for (size_t i = 0, at = 0; i < q.count; at += replies[i++].sums_bytes)
        replies[i].sums = sums.size == 0 ? NULL : sums.at + at;
    const struct wire_answer a = { .unit = q.unit, .at = replies, .count = q.count };
    wire_put_answer(&a, &b);
    session_reply(up->s, WIRE_ANSWER, &b);
    return ERR_OK;
}

static enum err_kind
want_sums(struct upload *up, const struct wire_want *w, struct buf *ret, struct err *err)
{
    AUTO(auto_free) uint8_t *bytes = mem_alloc(PIECE_BYTES);
    const struct reader_file f = { w->base.digest, w->base.size };
    const uint64_t end = w->off + w->len;
    enum err_kind kind = ERR_OK;

    for (uint64_t off = w->off; kind == ERR_OK && off < end;) {
        AUTO(map_free) struct map m = { 0 };

        kind = reader_file_map(up->reader, &f, off / MAP_BYTES, &m, err);
        for (uint32_t in = (uint32_t)(off % MAP_BYTES); kind == ERR_OK && in < m.bytes && off < end;) {
            uint32_t len = m.bytes - in < PIECE_BYTES ? m.bytes - in : PIECE_BYTES;

            if (end - off < len)
                len = (uint32_t)(end - off);
            kind = reader_raw(up->reader, &m, in, len, bytes, err);
            if (kind == ERR_OK)
                kind = delta_sums(bytes, len, ret, err);
            in += len;
            off += len;
        }
    }
    return kind;
}

enum err_kind
job_want(struct upload *up, struct job *j, struct err *err)
{
    AUTO(buf_free) struct buf sums = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct err mine = { 0 };
    struct wire_want w;
    enum err_kind kind = wire_get_want(j->payload.at, j->payload.size, &w, err);

    if (kind != ERR_OK)
        return kind;
    kind = want_sums(up, &w, &sums, &mine);
    if (kind != ERR_OK && !unusable(kind, &mine)) {
        if (err != NULL)
            *err = mine;
        return kind;
    }
    const struct wire_sums m = {
        .id = w.id, .known = kind == ERR_OK, .sums = sums.at, .sums_bytes = kind == ERR_OK ? sums.size : 0
    };
    wire_put_sums(&m, &b);
    session_reply(up->s, WIRE_SUMS, &b);
    return ERR_OK;
}

enum err_kind
job_blob(struct upload *up, struct job *j, struct err *err)
{
    AUTO(auto_free) uint8_t *raw = NULL;
    struct wire_blob m;
    uint64_t blob = 0;
    enum err_kind kind = wire_get_blob(j->payload.at, j->payload.size, &m, err);

    if (kind == ERR_OK)
        kind = upload_quota(up, err);
    if (kind != ERR_OK)
        return kind;
    raw = mem_alloc(m.raw);
    if (m.zip) {
        struct err why = { 0 };

        if (zip_unpack(m.bytes, m.stored, raw, m.raw, &why) != ERR_OK)
            return err_set(err, ERR_PROTOCOL, "BLOB %u: %s", m.number, why.text);
    } else {
        memcpy(raw, m.bytes, m.raw);
    }
    const struct stage_blob sb = { m.bytes, (uint32_t)m.stored, m.raw, m.zip };
    kind = stage_blob(up->stage, &sb, &blob, err);
    if (kind != ERR_OK)
        return kind;
    raw_put(up, blob, &raw, m.raw);
    blob_known(up, m.number, blob);
    return ERR_OK;
}

static uint64_t *
get_slot(const struct upload *up, uint64_t key)
{
    size_t n = (size_t)(key * 0x9E3779B97F4A7C15ull) & (up->get_room - 1);

    while (up->get_set[n] != 0 && up->get_set[n] != key)
        n = (n + 1) & (up->get_room - 1);
    return &up->get_set[n];
}

static uint64_t
get_key(const struct digest *d)
{
    const uint64_t key = le64_get(d->at);

    return key == 0 ? 1 : key;
}

/* What GET may name: pages beneath the head mark, found one from another.  Past the limit the agent reads its files. */
static void
get_allow(struct upload *up, const struct digest *d)
{
    if (up->get_count >= WIRE_GET_MAX)
        return;
    if (2 * up->get_count >= up->get_room) {
        uint64_t *const old = up->get_set;
        const size_t room = up->get_room;

        up->get_room = room == 0 ? 256 : 2 * room;
        up->get_set = mem_zero(up->get_room, sizeof *up->get_set);
        for (size_t i = 0; i < room; i++)
            if (old[i] != 0)
                *get_slot(up, old[i]) = old[i];
        free(old);
    }
    uint64_t *const slot = get_slot(up, get_key(d));
    up->get_count += *slot == 0;
    *slot = get_key(d);
}

static void
get_allow_beneath(struct upload *up, const struct buf *page)
{
    struct tree_page p = { 0 };

    if (tree_page_parse(page->at, page->size, &p, NULL) != ERR_OK)
        return;
    for (uint32_t i = 0; i < p.count; i++) {
        if (p.level > 0)
            get_allow(up, &p.children[i].digest);
        else if (p.entries[i].type == TREE_DIR)
            get_allow(up, &p.entries[i].digest);
    }
    tree_page_free(&p);
}

enum err_kind
session_get(struct upload *up, const struct buf *payload, struct err *err)
{
    AUTO(buf_free) struct buf page = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct err mine = { 0 };
    struct wire_get m;
    enum err_kind kind = wire_get_get(payload->at, payload->size, &m, err);

    if (kind != ERR_OK)
        return kind;
    if (up->get_room == 0 && up->head.mark.sequence > 0)
        get_allow(up, &up->head.mark.root);
    const bool allowed = up->get_room > 0 && *get_slot(up, get_key(&m.digest)) != 0;
    if (allowed)
        kind = reader_object(up->reader, OBJECT_PAGE, &m.digest, &page, &mine);
    if (kind != ERR_OK && !unusable(kind, &mine)) {
        if (err != NULL)
            *err = mine;
        return kind;
    }
    const struct wire_got got = {
        .id = m.id, .known = allowed && kind == ERR_OK, .bytes = page.at, .size = page.size
    };
    if (got.known)
        get_allow_beneath(up, &page);
    wire_put_got(&got, &b);
    session_reply(up->s, WIRE_GOT, &b);
    return ERR_OK;
}
