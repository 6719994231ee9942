/* The records of marks: signature, sequence, chain, and the copy in the pack that reindex would read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/limits.h"
#include "common/mem.h"
#include "verify/verify.h"

static void
tell(struct verify *v, const struct vmark *m, const char *text)
{
    sink_finding(v->sink,
                 &(struct finding){ .kind = "mark", .text = text, .source = m->source, .mark = m->id });
}

static enum err_kind
mark_keep(void *arg, const struct index_mark *m, struct err *err)
{
    struct verify *const v = arg;
    struct vmark one = { .row = *m };
    char hex[HASH_HEX_ROOM];

    (void)err;
    if (v->mark_count == v->mark_room) {
        v->mark_room = v->mark_room ? 2 * v->mark_room : 64;
        v->marks = mem_grow(v->marks, v->mark_room, sizeof *v->marks);
    }
    hash_hex(&m->id, hex);
    (void)snprintf(one.id, sizeof one.id, "%.12s", hex);
    (void)snprintf(one.source, sizeof one.source, "%s/%s", m->mark.agent, m->mark.source);
    v->marks[v->mark_count++] = one;
    return ERR_OK;
}

/* A bad row of a mark is a finding of the index child; the others are gone on with. */
static void
row_passed(void *arg, const char *what)
{
    (void)arg;
    (void)what;
}

void
marks_load(struct verify *v, struct err *err, enum err_kind *ret_kind)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const struct index_bad bad = { row_passed, v };
    enum err_kind kind = kv_begin(v->store->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = index_meta_get(t, META_LEAVES, &v->leaves_known, err);
    if (kind == ERR_OK)
        kind = index_marks(t, mark_keep, v, &bad, err);
    *ret_kind = kind;
}

static bool
copy_check(struct verify *v, const struct vmark *m, const struct buf *text)
{
    AUTO(reader_free) struct reader *r = reader_new(v->store, m->city, 2 * BLOB_RAW_MAX);
    AUTO(buf_free) struct buf want = { 0 };
    AUTO(buf_free) struct buf found = { 0 };
    struct err err = { 0 };

    reader_on_blob(r, blob_opened, v);
    buf_block(&want, text->at, text->size);
    buf_put(&want, m->row.signature, SIGN_BYTES);
    buf_u64(&want, m->row.receipt);
    buf_u64(&want, m->row.leaf);
    buf_u64(&want, (uint64_t)m->row.received_ns);
    if (reader_blob(r, m->row.blob, &found, &err) != ERR_OK) {
        AUTO(auto_free) char *why = mem_text("its record in the pack cannot be read: %s", err.text);
        /* Of the whole store, the sweep says what is wrong with the blob; what it hits is said here. */
        if (v->whole)
            sink_hit(v->sink, &(struct finding){ .text = why, .source = m->source, .mark = m->id });
        else
            tell(v, m, why);
        return false;
    }
    if (found.size != want.size || memcmp(found.at, want.at, want.size) != 0) {
        tell(v, m, "its record in the pack is not the one in the index");
    }
    return true;
}

static bool
record_check(struct verify *v, struct vmark *m, const struct vmark *before)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    AUTO(buf_free) struct buf text = { 0 };
    const uint64_t findings = sink_findings(v->sink);
    struct index_agent a = { 0 };
    struct err err = { 0 };
    enum err_kind kind = kv_begin(v->store->kv, false, &t, &err);

    if (kind == ERR_OK)
        kind = index_agent_get(t, m->row.mark.agent, &a, &err);
    kv_abort(&t);
    if (kind != ERR_OK) {
        AUTO(auto_free) char *why = mem_text("the key of its agent cannot be had: %s", err.text);
        tell(v, m, why);
        return false;
    }
    m->city = a.city;
    m->city_known = true;
    mark_encode(&m->row.mark, &text);
    if (sign_check(a.mark_public, text.at, text.size, m->row.signature) != ERR_OK)
        tell(v, m, "the signature of its record does not hold under the agent's mark key");
    const bool first = before == NULL || strcmp(before->source, m->source) != 0;
    const struct digest none = { { 0 } };
    if (v->whole) {
        if (m->row.mark.sequence != (first ? 1 : before->row.mark.sequence + 1))
            tell(v, m, "a mark before it is missing: its sequence has a gap");
        else if (!hash_same(&m->row.mark.previous, first ? &none : &before->row.id))
            tell(v, m, "it does not name the mark before it");
    }
    return copy_check(v, m, &text) && sink_findings(v->sink) == findings;
}

void
marks_verify(struct verify *v)
{
    for (size_t i = 0; i < v->mark_count; i++)
        v->marks_good += record_check(v, &v->marks[i], i > 0 ? &v->marks[i - 1] : NULL);
}
