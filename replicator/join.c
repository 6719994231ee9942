/* JOIN: a token and two keys become an enrolled agent. */
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/pki.h"
#include "common/when.h"
#include "replicator/session_internal.h"

#define AGENT_DAYS 825 /* the longest that common verifiers accept */
#define CA_BYTES_MAX (64u * KIB)

struct enrolment {
    const struct wire_join *m;
    struct digest token; /* SHA-256 of the secret */
    struct index_agent row;
    bool known; /* enrolled before: keeps its city and its marks */
    uint64_t city_next;
    struct buf cert, ca; /* PEM */
};

static void
enrolment_free(struct enrolment *e)
{
    buf_free(&e->cert);
    buf_free(&e->ca);
}

static enum err_kind
check_token(struct kv_txn *t, const struct enrolment *e, struct err *err)
{
    struct index_token token;
    enum err_kind kind = index_token_get(t, &e->token, &token, err);

    if (kind == ERR_ABSENT)
        return err_set(err, ERR_REFUSED,
                       "JOIN: this token is not known here: it was used, or made by another site");
    if (kind != ERR_OK)
        return kind;
    if (token.expires_ns < when_now_ns())
        return err_set(err, ERR_REFUSED,
                       "JOIN: the token has expired; make a new one with farshore-site token");
    if (strcmp(token.agent, e->m->agent) != 0)
        return err_set(err, ERR_REFUSED, "JOIN: the token is for another agent than \"%s\"", e->m->agent);
    return ERR_OK;
}

static enum err_kind
check_proofs(const struct wire_join *m, struct err *err)
{
    AUTO(buf_free) struct buf text = { 0 };

    wire_join_text(m, &text);
    if (pki_proof_check(m->tls_point, text.at, text.size, m->tls_proof, m->tls_proof_bytes, NULL) != ERR_OK)
        return err_set(err, ERR_REFUSED, "JOIN: the proof of the TLS key does not hold");
    if (sign_check(m->mark_public, text.at, text.size, m->mark_proof) != ERR_OK)
        return err_set(err, ERR_REFUSED, "JOIN: the proof of the mark key does not hold");
    return ERR_OK;
}

/* The row as it will be; one enrolment at a time, so that the city is still the next one when it is written. */
static enum err_kind
plan_row(struct store *s, struct enrolment *e, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    enum err_kind kind = kv_begin(s->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = check_token(t, e, err);
    if (kind == ERR_OK)
        kind = index_meta_get(t, META_CITY_NEXT, &e->city_next, err);
    if (kind != ERR_OK)
        return kind;
    kind = index_agent_get(t, e->m->agent, &e->row, err);
    e->known = kind == ERR_OK;
    if (kind == ERR_ABSENT) {
        memset(&e->row, 0, sizeof e->row);
        (void)snprintf(e->row.name, sizeof e->row.name, "%s", e->m->agent);
        e->row.city = (uint32_t)e->city_next;
        kind = ERR_OK;
    }
    e->row.revoked = 0;
    e->row.enrolled_ns = when_now_ns();
    memcpy(e->row.mark_public, e->m->mark_public, SIGN_PUBLIC_BYTES);
    return kind;
}

static enum err_kind
certify(struct store *s, struct enrolment *e, struct err *err)
{
    const struct pki_subject subject = { e->row.name, NULL, AGENT_DAYS, 0 };
    enum err_kind kind = fs_read(s->dir_fd, "ca.crt", CA_BYTES_MAX, &e->ca, err);

    if (kind == ERR_OK)
        kind = pki_issue(s->dir_fd, "ca.key", "ca.crt", &subject, e->m->tls_point, &e->cert, err);
    if (kind != ERR_OK)
        return kind;
    return pki_fingerprint(e->cert.at, e->cert.size, &e->row.certificate, err);
}

static enum err_kind
enrol_put(void *arg, struct kv_txn *t, struct err *err)
{
    struct enrolment *const e = arg;
    struct index_agent now;
    enum err_kind kind = check_token(t, e, err);

    if (kind == ERR_OK)
        kind = index_token_del(t, &e->token, err);
    if (kind == ERR_OK && !e->known)
        kind = index_meta_put(t, META_CITY_NEXT, e->city_next + 1, err);
    if (kind == ERR_OK && e->known) {
        /* A mark may have come meanwhile. */
        kind = index_agent_get(t, e->row.name, &now, err);
        e->row.receipts = now.receipts;
        e->row.last_mark = now.last_mark;
    }
    return kind != ERR_OK ? kind : index_agent_put(t, &e->row, err);
}

static enum err_kind
enrol(struct store *s, struct enrolment *e, struct err *err)
{
    char hex[HASH_HEX_ROOM];
    struct digest key;
    enum err_kind kind = plan_row(s, e, err);

    if (kind == ERR_OK)
        kind = certify(s, e, err);
    if (kind != ERR_OK)
        return kind;
    AUTO(json_free) struct json *event = json_new();
    json_text(event, "type", "enrol");
    json_text(event, "agent", e->row.name);
    json_number(event, "city", e->row.city);
    hash_hex(&e->row.certificate, hex);
    json_text(event, "certificate", hex);
    memcpy(key.at, e->row.mark_public, sizeof key.at);
    hash_hex(&key, hex);
    json_text(event, "mark_key", hex);
    json_bool(event, "again", e->known);
    json_number(event, "time", e->row.enrolled_ns);
    return commit_change(s, enrol_put, e, &event, err);
}

static enum err_kind
send_joined(struct session *s, const struct enrolment *e, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    const struct store *const store = s->site->store;
    struct wire_joined m = {
        .cert = e->cert.at, .cert_bytes = e->cert.size, .ca = e->ca.at, .ca_bytes = e->ca.size
    };

    (void)snprintf(m.site, sizeof m.site, "%s", store->name);
    memcpy(m.site_public, store->site_public, sizeof m.site_public);
    wire_put_joined(&m, &b);
    return wire_send(s->ch, WIRE_JOINED, &b, err);
}

enum err_kind
session_join(struct session *s, const struct wire_frame *f, struct err *err)
{
    AUTO(enrolment_free) struct enrolment e = { 0 };
    struct site *const site = s->site;
    struct wire_join m;
    enum err_kind kind = wire_get_join(f->payload.at, f->payload.size, &m, err);

    if (kind != ERR_OK)
        return kind;
    e.m = &m;
    hash_sha256(m.secret, sizeof m.secret, &e.token);
    kind = check_proofs(&m, err);
    if (kind != ERR_OK)
        return kind;
    (void)pthread_mutex_lock(&site->join_lock);
    kind = enrol(site->store, &e, err);
    (void)pthread_mutex_unlock(&site->join_lock);
    if (kind != ERR_OK)
        return kind;
    if (e.known)
        site_cut_agent(site, m.agent, "this agent was enrolled anew: these keys are no longer its own");
    log_info("%s enrolled as city %u from %s%s", m.agent, e.row.city, channel_peer_address(s->ch),
             e.known ? ", again" : "");
    return send_joined(s, &e, err);
}
