/* greet.c - the opening of a session: HELLO, WELCOME, and what the receipts of both sides tell. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/when.h"
#include "replicator/agent.h"

#define CLOCK_APART_NS 600000000000ll

/* What the two newest receipts say, without the site's own verdict. */
static enum wire_verdict
compare(const struct receipt *ours, const struct receipt *theirs)
{
    if (ours->number != theirs->number)
        return ours->number < theirs->number ? WIRE_AGENT_BEHIND : WIRE_SITE_BEHIND;
    if (ours->number == 0)
        return WIRE_FIRST;
    return ours->sequence == theirs->sequence && strcmp(ours->source, theirs->source) == 0 &&
                   hash_same(&ours->mark, &theirs->mark)
               ? WIRE_SAME
               : WIRE_FORK;
}

static enum err_kind
site_behind(const struct receipt *ours, const struct receipt *theirs, enum wire_verdict verdict,
            struct err *err)
{
    enum err_kind kind =
        verdict == WIRE_FORK
            ? err_set(err, ERR_REFUSED,
                      "the site's history is not ours: its receipt %" PRIu64 " is for another mark",
                      ours->number)
            : err_set(err, ERR_REFUSED,
                      "the site was rolled back: its last receipt is %" PRIu64 ", ours is %" PRIu64,
                      theirs->number, ours->number);
    err_hint(err, "what it has lost since cannot be trusted to be there; if that is known and meant: "
                  "farshore-agent accept");
    return kind;
}

/* The site has a receipt that we have not: one that was lost on the way, or somebody else's. */
static enum err_kind
catch_up(struct agent *a, const struct signed_text *theirs, const struct receipt *r, struct err *err)
{
    AUTO(signed_text_free) struct signed_text mark = { 0 };
    enum err_kind kind = state_pending_find(a, &r->mark, &mark, err);
    if (kind == ERR_OK) {
        log_info("the receipt of %s, mark %" PRIu64 ", was lost on the way; taken now", r->source,
                 r->sequence);
        return state_receipt_keep(a, theirs, &mark, err);
    }
    if (kind != ERR_ABSENT)
        return kind;
    bool accepted = state_has(a, "adopt");
    kind = table_drop(a->table, NULL, err);
    if (kind == ERR_OK)
        kind = state_save(a, "receipt", theirs, err);
    if (kind == ERR_OK)
        kind = state_remove(a, "pending", err);
    if (kind != ERR_OK || accepted)
        return kind;
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "this agent was cloned or rolled back: the site has given receipt %" PRIu64
                   " (%s, mark %" PRIu64 ") to another one of its name; all is read again",
                   r->number, r->source, r->sequence);
    log_warn("%s", text);
    a->cloned = true;
    status_alarm(a, text);
    return ERR_OK;
}

static enum err_kind
judge(struct agent *a, const struct wire_welcome *w, const struct signed_text *ours, struct err *err)
{
    struct receipt mine, site;
    memset(&mine, 0, sizeof(mine));
    memset(&site, 0, sizeof(site));
    AUTO(signed_text_free) struct signed_text theirs = { 0 };
    enum err_kind kind = ERR_OK;
    if (ours->text.size > 0)
        kind = state_receipt_check(a, ours, &mine, err);
    if (kind == ERR_OK && w->receipt.size > 0) {
        buf_put(&theirs.text, w->receipt.text, w->receipt.size);
        memcpy(theirs.signature, w->receipt.signature, SIGN_BYTES);
        kind = state_receipt_check(a, &theirs, &site, err);
    }
    if (kind != ERR_OK)
        return kind;
    int64_t apart = when_now_ns() - w->clock_ns;
    if (apart > CLOCK_APART_NS || apart < -CLOCK_APART_NS)
        log_warn("our clock and the site's are %" PRId64 " s apart", apart / 1000000000);
    enum wire_verdict verdict = compare(&mine, &site);
    /* Two branches of one history may differ in length: only the site sees that ours is not a part of its own.  Its word is enough
     * to stop, never to go on. */
    if (verdict == WIRE_AGENT_BEHIND && w->verdict == WIRE_FORK)
        verdict = WIRE_FORK;
    if (verdict == WIRE_SITE_BEHIND || verdict == WIRE_FORK)
        return site_behind(&mine, &site, verdict, err);
    if (verdict == WIRE_AGENT_BEHIND)
        kind = catch_up(a, &theirs, &site, err);
    if (kind == ERR_OK && state_has(a, "adopt"))
        kind = state_remove(a, "adopt", err);
    return kind;
}

static enum err_kind
greet(struct agent *a, struct link *l, struct err *err)
{
    AUTO(signed_text_free) struct signed_text ours = { 0 };
    AUTO(buf_free) struct buf payload = { 0 };
    enum err_kind kind = state_load(a, "receipt", &ours, err);
    if (kind != ERR_OK && kind != ERR_ABSENT)
        return kind;
    struct wire_hello h = { .version = WIRE_VERSION, .program = AGENT_PROGRAM, .clock_ns = when_now_ns() };
    memcpy(h.agent, a->name, sizeof(h.agent));
    h.receipt.text = ours.text.at;
    h.receipt.size = ours.text.size;
    memcpy(h.receipt.signature, ours.signature, SIGN_BYTES);
    wire_put_hello(&h, &payload);
    struct link_want want = { .send = WIRE_HELLO, .type = WIRE_WELCOME };
    struct wire_frame f = { 0 };
    kind = link_call(l, &want, &payload, &f, err);
    struct wire_welcome w = { 0 };
    if (kind == ERR_OK)
        kind = wire_get_welcome(f.payload.at, f.payload.size, &w, err);
    if (kind == ERR_OK && w.version != WIRE_VERSION)
        kind = err_set(err, ERR_PROTOCOL, "the site speaks version %u of the protocol, we speak %u",
                       w.version, WIRE_VERSION);
    if (kind == ERR_OK)
        kind = judge(a, &w, &ours, err);
    buf_free(&f.payload);
    return kind;
}

enum err_kind
agent_connect(struct agent *a, struct err *err)
{
    if (a->link != NULL && link_alive(a->link))
        return ERR_OK;
    agent_disconnect(a);
    struct link *l = NULL;
    enum err_kind kind = link_open(a, &l, err);
    if (kind != ERR_OK)
        return kind;
    pthread_mutex_lock(&a->link_lock);
    a->link = l;
    bool stop = atomic_load(&a->stop);
    pthread_mutex_unlock(&a->link_lock);
    kind = stop ? err_set(err, ERR_CLOSED, "stopped") : greet(a, l, err);
    if (kind != ERR_OK)
        agent_disconnect(a);
    return kind;
}

void
agent_disconnect(struct agent *a)
{
    pthread_mutex_lock(&a->link_lock);
    struct link *l = a->link;
    a->link = NULL;
    pthread_mutex_unlock(&a->link_lock);
    link_close(&l);
}
