/* HELLO with its verdict on the receipts, and MARK with the receipt that it earns. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/when.h"
#include "replicator/session_internal.h"
#include "snapshot/mark.h"

#define CLOCK_AHEAD_NS (600ll * 1000000000)

/* --- Receipts: all of one follows from the index and the ledger. */

struct root_at {
    const struct ledger *ledger;
    uint64_t size;
    struct digest root;
};

/* On the committer's thread, between two of its appends: the ledger stands still. */
static enum err_kind
root_find(void *arg, struct kv_txn *t, struct err *err)
{
    struct root_at *const r = arg;

    (void)t;
    return ledger_root_at(r->ledger, r->size, &r->root, err);
}

static void
receipt_make(const struct store *store, const struct index_mark *m, const struct digest *root,
             struct buf *ret_text, uint8_t ret_signature[SIGN_BYTES])
{
    struct receipt r = { .number = m->receipt,
                         .sequence = m->mark.sequence,
                         .mark = m->id,
                         .leaf = m->leaf,
                         .size = m->leaf + 1,
                         .root = *root,
                         .time_ns = m->received_ns };

    (void)snprintf(r.site, sizeof r.site, "%s", store->name);
    (void)snprintf(r.agent, sizeof r.agent, "%s", m->mark.agent);
    (void)snprintf(r.source, sizeof r.source, "%s", m->mark.source);
    receipt_encode(&r, ret_text);
    sign_make(store->site_key, ret_text->at, ret_text->size, ret_signature);
}

/* Within one source receipts rise with the sequence. */
static enum err_kind
in_source(struct kv_txn *t, const struct index_mark *last, uint32_t city, uint64_t receipt,
          struct index_mark *ret, struct err *err)
{
    uint64_t low = 1, high = last->mark.sequence;

    while (low <= high) {
        const uint64_t middle = low + (high - low) / 2;
        const enum err_kind kind = index_mark_get(t, city, last->mark.source, middle, ret, err);

        if (kind != ERR_OK || ret->receipt == receipt)
            return kind;
        if (ret->receipt < receipt)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return err_set(err, ERR_ABSENT, "no mark of this source has receipt %" PRIu64, receipt);
}

/* The city's mark that has this receipt.  Keys are city, source, NUL, sequence: one step a source. */
static enum err_kind
mark_of_receipt(struct kv_txn *t, uint32_t city, uint64_t receipt, struct index_mark *ret, struct err *err)
{
    AUTO(kv_walk_free) struct kv_walk *w = NULL;
    uint8_t place[4 + SOURCE_NAME_MAX + 1];
    size_t size = 4;
    enum err_kind kind = kv_walk_new(t, INDEX_MARK, &w, err);

    be32_put(place, city);
    while (kind == ERR_OK) {
        struct kv_bytes key, value;
        struct index_mark last;
        char source[SOURCE_NAME_MAX + 1];

        kind = kv_seek(w, (struct kv_bytes){ place, size }, &key, &value, err);
        if (kind != ERR_OK)
            break;
        const uint8_t *const at = key.at;
        const uint8_t *const nul = key.size > 4 ? memchr(at + 4, 0, key.size - 4) : NULL;
        if (nul == NULL || nul - at - 4 > (long)SOURCE_NAME_MAX || memcmp(at, place, 4) != 0)
            break;
        memcpy(source, at + 4, (size_t)(nul - at - 4) + 1);
        kind = index_mark_last(t, city, source, &last, err);
        if (kind == ERR_OK && last.receipt >= receipt) {
            kind = in_source(t, &last, city, receipt, ret, err);
            if (kind != ERR_ABSENT)
                return kind;
            kind = ERR_OK;
        }
        /* Behind all marks of this source: no name has a byte 1. */
        size = 4 + strlen(source) + 1;
        memcpy(place + 4, source, strlen(source));
        place[size - 1] = 1;
    }
    if (kind != ERR_OK && kind != ERR_ABSENT)
        return kind;
    return err_set(err, ERR_ABSENT, "no mark has receipt %" PRIu64, receipt);
}

/* --- HELLO. */

struct greeting {
    struct wire_hello hello;
    struct receipt told;     /* by the agent; number 0: none */
    struct index_mark last;  /* the site's; receipt 0: none */
    struct digest told_mark; /* the site's mark under the agent's number */
    uint8_t verdict;
    char alarm[256]; /* "": none */
};

static enum err_kind
check_certificate(struct session *s, struct err *err)
{
    struct digest print;

    if (!channel_peer(s->ch, &print))
        return err_set(err, ERR_REFUSED, "a connection without a certificate may only JOIN");
    if (s->row.revoked)
        return err_set(err, ERR_REFUSED, "agent \"%s\" was revoked at this site", s->agent);
    if (!hash_same(&print, &s->row.certificate))
        return err_set(err, ERR_REFUSED, "this is not the certificate that agent \"%s\" was enrolled with",
                       s->agent);
    return ERR_OK;
}

/* The name is known to the site before the row is read: who revokes it meanwhile finds the session, or the row is revoked. */
static void
take_name(struct session *s, const char *name)
{
    (void)pthread_mutex_lock(&s->site->lock);
    (void)snprintf(s->agent, sizeof s->agent, "%s", name);
    (void)pthread_mutex_unlock(&s->site->lock);
}

/* It is who it says it is: it may push an older connection of its own aside. */
static void
take_place(struct session *s)
{
    struct session *oldest = NULL;
    unsigned count = 0;

    (void)pthread_mutex_lock(&s->site->lock);
    for (struct session *o = s->site->sessions; o != NULL; o = o->next) {
        if (!o->greeted || o->finished || strcmp(o->agent, s->agent) != 0)
            continue;
        count++;
        if (oldest == NULL || o->began_ns < oldest->began_ns)
            oldest = o;
    }
    s->greeted = true;
    if (count >= AGENT_SESSIONS_MAX) {
        struct err err = { 0 };

        (void)err_set(&err, ERR_CLOSED, "a newer connection of this agent took its place");
        session_fail(oldest, &err, true);
    }
    (void)pthread_mutex_unlock(&s->site->lock);
}

static enum err_kind
read_rows(struct session *s, struct greeting *g, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    struct index_mark told;
    enum err_kind kind = kv_begin(s->site->store->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = index_agent_get(t, s->agent, &s->row, err);
    if (kind == ERR_ABSENT)
        return err_set(err, ERR_REFUSED, "agent \"%s\" is not enrolled at this site", s->agent);
    if (kind == ERR_OK)
        kind = check_certificate(s, err);
    if (kind != ERR_OK || s->row.receipts == 0)
        return kind;
    kind = mark_of_receipt(t, s->row.city, s->row.receipts, &g->last, err);
    if (kind != ERR_OK)
        return kind == ERR_ABSENT
                   ? err_set(err, ERR_CORRUPT, "the site's index lacks the mark of receipt %" PRIu64,
                             s->row.receipts)
                   : kind;
    if (g->told.number > 0 && g->told.number <= s->row.receipts) {
        kind = mark_of_receipt(t, s->row.city, g->told.number, &told, err);
        if (kind == ERR_OK)
            g->told_mark = told.id;
    }
    return kind == ERR_ABSENT ? ERR_OK : kind;
}

static enum err_kind
check_receipt(struct session *s, struct greeting *g, struct err *err)
{
    const struct wire_signed *const w = &g->hello.receipt;
    const struct store *const store = s->site->store;
    struct err why = { 0 };

    if (w->size == 0)
        return ERR_OK;
    if (sign_check(store->site_public, w->text, w->size, w->signature) != ERR_OK)
        return err_set(err, ERR_REFUSED, "HELLO: the receipt was not signed by site %s as it is now",
                       store->name);
    if (receipt_parse(w->text, w->size, &g->told, &why) != ERR_OK)
        return err_set(err, ERR_PROTOCOL, "HELLO: %s", why.text);
    if (strcmp(g->told.agent, s->agent) != 0)
        return err_set(err, ERR_PROTOCOL, "HELLO: a receipt for agent \"%s\"", g->told.agent);
    return ERR_OK;
}

/* Who has seen more (DESIGN section 7).  One receipt that the agent lacks may have been lost on the way; it can tell. */
static void
judge(struct session *s, struct greeting *g)
{
    const uint64_t told = g->told.number, ours = s->row.receipts;

    if (told == 0 && (ours == 0 || s->row.enrolled_ns > g->last.received_ns)) {
        g->verdict = WIRE_FIRST; /* enrolled anew: it begins anew */
        g->last.receipt = 0;
    } else if (told > ours) {
        g->verdict = WIRE_SITE_BEHIND;
        (void)snprintf(g->alarm, sizeof g->alarm,
                       "the agent holds receipt %" PRIu64 ", the site's last is %" PRIu64
                       ": the site was rolled back",
                       told, ours);
    } else if (told > 0 && !hash_same(&g->told.mark, &g->told_mark)) {
        g->verdict = WIRE_FORK;
        (void)snprintf(g->alarm, sizeof g->alarm,
                       "receipt %" PRIu64 " is for another mark here: the site was rolled back and went on",
                       told);
    } else if (told == ours) {
        g->verdict = WIRE_SAME;
    } else {
        g->verdict = WIRE_AGENT_BEHIND;
        if (ours - told > 1)
            (void)snprintf(g->alarm, sizeof g->alarm,
                           "the agent's last receipt is %" PRIu64 ", the site's is %" PRIu64
                           ": the agent was rolled back, or cloned",
                           told, ours);
    }
}

static enum err_kind
send_welcome(struct session *s, const struct greeting *g, struct err *err)
{
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct store *const store = s->site->store;
    struct wire_welcome m = { .version = WIRE_VERSION, .clock_ns = when_now_ns(), .verdict = g->verdict };

    (void)snprintf(m.site, sizeof m.site, "%s", store->name);
    if (g->last.receipt > 0) {
        struct root_at r = { .ledger = store->ledger, .size = g->last.leaf + 1 };
        const enum err_kind kind = commit_change(store, root_find, &r, NULL, err);

        if (kind != ERR_OK)
            return kind;
        receipt_make(store, &g->last, &r.root, &text, m.receipt.signature);
        m.receipt.text = text.at;
        m.receipt.size = text.size;
    }
    wire_put_welcome(&m, &b);
    return wire_send(s->ch, WIRE_WELCOME, &b, err);
}

enum err_kind
session_greet(struct session *s, const struct wire_frame *f, struct err *err)
{
    struct greeting g = { 0 };
    enum err_kind kind = wire_get_hello(f->payload.at, f->payload.size, &g.hello, err);

    if (kind != ERR_OK)
        return kind;
    take_name(s, g.hello.agent);
    kind = check_receipt(s, &g, err);
    if (kind == ERR_OK)
        kind = read_rows(s, &g, err);
    if (kind != ERR_OK)
        return kind;
    judge(s, &g);
    log_info("%s connected from %s (%s)", s->agent, channel_peer_address(s->ch), g.hello.program);
    if (g.alarm[0] != '\0')
        site_alarm(s->site->store, s->agent, g.alarm);
    take_place(s);
    return send_welcome(s, &g, err);
}

/* --- MARK. */

static enum err_kind
check_mark(const struct upload *up, const struct wire_signed *w, struct mark *ret, struct err *err)
{
    const struct index_mark *const head = &up->head;
    struct err why = { 0 };

    if (mark_parse(w->text, w->size, ret, &why) != ERR_OK)
        return err_set(err, ERR_PROTOCOL, "MARK: %s", why.text);
    if (strcmp(ret->agent, up->s->agent) != 0 || strcmp(ret->source, up->source) != 0)
        return err_set(err, ERR_PROTOCOL, "MARK: %s/%s in an upload of %s/%s", ret->agent, ret->source,
                       up->s->agent, up->source);
    if (sign_check(up->s->row.mark_public, w->text, w->size, w->signature) != ERR_OK)
        return err_set(err, ERR_REFUSED, "MARK: the signature is not that of the enrolled mark key of %s",
                       ret->agent);
    if (ret->sequence != head->mark.sequence + 1 || !hash_same(&ret->previous, &head->id))
        return err_set(err, ERR_REFUSED,
                       "MARK: %" PRIu64 " of %s/%s does not continue %" PRIu64 ", the last one here",
                       ret->sequence, ret->agent, ret->source, head->mark.sequence);
    return ERR_OK;
}

/* The root must be there, and say what the record says. */
static enum err_kind
check_root(struct upload *up, const struct mark *m, struct err *err)
{
    AUTO(buf_free) struct buf page = { 0 };
    struct tree_entry e = { .size = up->root_bytes, .count = up->root_count };
    enum err_kind kind = ERR_OK;

    if (!up->has_root || !hash_same(&up->root, &m->root))
        kind = reader_root(up->reader, &m->root, &page, &e, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "MARK: its root");
    if (e.size != m->bytes || e.count != m->files)
        return err_set(err, ERR_PROTOCOL,
                       "MARK: %" PRIu64 " bytes in %" PRIu64 " names, its root has %" PRIu64 " in %" PRIu64,
                       m->bytes, m->files, e.size, e.count);
    return ERR_OK;
}

/* A clock that lies is told, not refused: the data is good. */
static void
check_clock(struct session *s, const struct mark *m)
{
    const struct mark *const head = &s->up->head.mark;
    const int64_t ahead = m->started_ns - when_now_ns();
    char what[160];

    if (s->clock_told)
        return;
    if (ahead > CLOCK_AHEAD_NS)
        (void)snprintf(what, sizeof what, "its clock is %" PRId64 " s ahead of the site's",
                       ahead / 1000000000);
    else if (head->sequence > 0 && m->started_ns < head->started_ns)
        (void)snprintf(what, sizeof what,
                       "its clock ran backwards: mark %" PRIu64 " of %s began before mark %" PRIu64,
                       m->sequence, m->source, head->sequence);
    else
        return;
    s->clock_told = true;
    site_alarm(s->site->store, s->agent, what);
}

static enum err_kind
send_missing(struct session *s, const struct wire_missing *m, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    char hex[HASH_HEX_ROOM];

    hash_hex(&m->first, hex);
    log_warn("%s/%s: %" PRIu64 " objects are missing, '%c' %.12s first; the agent reads all again", s->agent,
             s->up->source, m->count, m->kind, hex);
    wire_put_missing(m, &b);
    return wire_send(s->ch, WIRE_MISSING, &b, err);
}

static enum err_kind
admit(struct session *s, const struct mark *m, const struct wire_signed *w, struct err *err)
{
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(buf_free) struct buf b = { 0 };
    struct store *const store = s->site->store;
    struct index_mark row;
    struct ledger_head head;
    struct wire_receipt r = { 0 };
    const enum err_kind kind = stage_mark(s->up->stage, m, w->signature, &row, &head, err);

    if (kind != ERR_OK)
        return kind;
    assert(head.size == row.leaf + 1);
    ++s->site->marks;
    log_info("%s/%s mark %" PRIu64 ": %" PRIu64 " names, %" PRIu64 " bytes", m->agent, m->source, m->sequence,
             m->files, m->bytes);
    receipt_make(store, &row, &head.root, &text, r.receipt.signature);
    r.receipt.text = text.at;
    r.receipt.size = text.size;
    wire_put_receipt(&r, &b);
    return wire_send(s->ch, WIRE_RECEIPT, &b, err);
}

enum err_kind
session_mark(struct session *s, const struct wire_frame *f, struct err *err)
{
    struct upload *const up = s->up;
    struct wire_mark w;
    struct mark m;
    bool known = false;
    enum err_kind kind = wire_get_mark(f->payload.at, f->payload.size, &w, err);

    if (kind == ERR_OK)
        kind = session_wait(s, session_jobs(s), true, &known, err);
    if (kind == ERR_OK)
        kind = objects_run(up, true, err);
    if (kind == ERR_OK)
        kind = check_mark(up, &w.mark, &m, err);
    if (kind == ERR_OK)
        kind = object_known(up, OBJECT_PAGE, &m.root, &known, err);
    if (kind != ERR_OK)
        return kind;
    if (!known && up->missing.count == 0)
        up->missing = (struct wire_missing){ 1, OBJECT_PAGE, m.root };
    if (up->missing.count > 0)
        return send_missing(s, &up->missing, err);
    kind = check_root(up, &m, err);
    if (kind != ERR_OK)
        return kind;
    check_clock(s, &m);
    return admit(s, &m, &w.mark, err);
}
