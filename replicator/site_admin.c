/* Tokens, revocation, alarms: the acts, and the commands that ask a running site for them or do them under the store's lock. */
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/conf.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/pki.h"
#include "common/when.h"
#include "replicator/site.h"
#include "snapshot/stage.h"

#define CA_BYTES_MAX (64u * KIB)
#define OLD_TOKENS_MAX 64u /* expired ones taken away at a time */

struct token_change {
    struct digest secret; /* SHA-256 of it */
    struct index_token row;
};

/* Tokens that nobody used go when a new one comes. */
static enum err_kind
drop_expired(struct kv_txn *t, struct err *err)
{
    struct digest old[OLD_TOKENS_MAX];
    size_t count = 0;
    struct kv_walk *w = NULL;
    struct kv_bytes key, value;
    struct index_token row;
    const int64_t now = when_now_ns();
    enum err_kind kind = kv_walk_new(t, INDEX_TOKEN, &w, err);

    if (kind == ERR_OK)
        kind = kv_seek(w, (struct kv_bytes){ NULL, 0 }, &key, &value, err);
    while (kind == ERR_OK && count < OLD_TOKENS_MAX) {
        if (key.size == HASH_BYTES) {
            memcpy(old[count].at, key.at, HASH_BYTES);
            if (index_token_get(t, &old[count], &row, NULL) == ERR_OK && row.expires_ns < now)
                count++;
        }
        kind = kv_next(w, &key, &value, err);
    }
    kv_walk_free(&w);
    if (kind != ERR_OK && kind != ERR_ABSENT)
        return kind;
    kind = ERR_OK;
    for (size_t i = 0; kind == ERR_OK && i < count; i++)
        kind = index_token_del(t, &old[i], err);
    return kind;
}

static enum err_kind
token_put(void *arg, struct kv_txn *t, struct err *err)
{
    const struct token_change *const c = arg;
    const enum err_kind kind = drop_expired(t, err);

    return kind != ERR_OK ? kind : index_token_put(t, &c->secret, &c->row, err);
}

static enum err_kind
agent_known(struct store *s, const char *agent, struct index_agent *ret, bool *ret_known, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    enum err_kind kind = kv_begin(s->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = index_agent_get(t, agent, ret, err);
    *ret_known = kind == ERR_OK;
    return kind == ERR_ABSENT ? ERR_OK : kind;
}

enum err_kind
site_token_make(struct store *s, const char *agent, struct site_token *ret, struct err *err)
{
    AUTO(buf_free) struct buf ca = { 0 };
    struct wire_token t = { 0 };
    struct token_change c = { 0 };
    struct index_agent row;
    struct site_token made = { 0 };

    if (!conf_name_ok(agent))
        return err_set(err, ERR_USAGE,
                       "\"%s\" is not a name: small letters, digits, and . _ - after the first", agent);
    enum err_kind kind = agent_known(s, agent, &row, &made.known, err);
    if (kind == ERR_OK)
        kind = fs_read(s->dir_fd, "ca.crt", CA_BYTES_MAX, &ca, err);
    if (kind == ERR_OK)
        kind = pki_fingerprint(ca.at, ca.size, &t.ca, err);
    if (kind != ERR_OK)
        return kind;
    const char *const address = conf_text(s->conf, "site", "", "address", "");
    if (strlen(address) >= sizeof t.address)
        return err_set(err, ERR_CONFIG, "site.conf: the address is longer than %zu bytes",
                       sizeof t.address - 1);
    (void)snprintf(t.agent, sizeof t.agent, "%s", agent);
    (void)snprintf(t.address, sizeof t.address, "%s", address);
    hash_random(t.secret, sizeof t.secret);
    hash_sha256(t.secret, sizeof t.secret, &c.secret);
    (void)snprintf(c.row.agent, sizeof c.row.agent, "%s", agent);
    c.row.expires_ns = when_now_ns() + TOKEN_LIFE_S * 1000000000ll;
    kind = commit_change(s, token_put, &c, NULL, err);
    if (kind != ERR_OK)
        return kind;
    wire_token_write(&t, made.text);
    made.expires_ns = c.row.expires_ns;
    *ret = made;
    return ERR_OK;
}

static enum err_kind
revoke_put(void *arg, struct kv_txn *t, struct err *err)
{
    struct index_agent row;
    enum err_kind kind = index_agent_get(t, arg, &row, err);

    row.revoked = 1;
    return kind != ERR_OK ? kind : index_agent_put(t, &row, err);
}

enum err_kind
site_revoke(struct store *s, const char *agent, struct err *err)
{
    char name[SOURCE_NAME_MAX + 1];
    struct index_agent row;
    bool known = false;
    enum err_kind kind = ERR_OK;

    if (!conf_name_ok(agent))
        return err_set(err, ERR_USAGE, "\"%s\" is not a name", agent);
    (void)snprintf(name, sizeof name, "%s", agent);
    kind = agent_known(s, name, &row, &known, err);
    if (kind == ERR_OK && !known)
        return err_set(err, ERR_ABSENT, "agent \"%s\" is not enrolled here", name);
    if (kind != ERR_OK || row.revoked)
        return kind;
    AUTO(json_free) struct json *event = json_new();
    json_text(event, "type", "revoke");
    json_text(event, "agent", name);
    return commit_change(s, revoke_put, name, &event, err);
}

void
site_alarm(struct store *s, const char *agent, const char *what)
{
    AUTO(json_free) struct json *event = json_new();
    struct err err = { 0 };

    log_warn("ALARM: %s: %s", agent, what);
    json_text(event, "type", "alarm");
    json_text(event, "agent", agent);
    json_text(event, "what", what);
    if (commit_change(s, NULL, NULL, &event, &err) != ERR_OK)
        log_error("the alarm is not in the ledger: %s", err.text);
}

/* Ask the site that runs; where none does, *ret_store is open for writing instead. */
static enum err_kind
reach(const char *dir, const char *what, const char *agent, struct json **ret_answer,
      struct store **ret_store, struct err *err)
{
    AUTO(json_free) struct json *q = json_new();
    bool running = false;

    json_text(q, "do", what);
    json_text(q, "agent", agent);
    const enum err_kind kind = control_ask(dir, q, &running, ret_answer, err);
    return kind != ERR_OK || running ? kind : store_open(dir, true, ret_store, err);
}

static void
print_token(const struct opt *o, const char *agent, const struct site_token *t)
{
    AUTO(json_free) struct json *j = json_new();
    char until[WHEN_ROOM];

    if (t->known)
        log_warn("%s is enrolled here: this token replaces its certificate and its mark key", agent);
    when_format(t->expires_ns, until);
    if (!o->json) {
        (void)printf("%s\n", t->text);
        return;
    }
    json_number(j, "schema", 1);
    json_text(j, "agent", agent);
    json_text(j, "token", t->text);
    json_text(j, "expires", until);
    json_bool(j, "enrolled", t->known);
    json_print(stdout, j);
}

enum err_kind
site_token_command(const struct opt *o, struct err *err)
{
    AUTO(json_free) struct json *answer = NULL;
    AUTO(store_close) struct store *s = NULL;
    struct site_token t = { 0 };
    const char *const agent = o->operands[0];
    const char *dir = NULL;
    enum err_kind kind = opt_place(o, "store", "FARSHORE_STORE", &dir, err);

    if (kind == ERR_OK)
        kind = reach(dir, "token", agent, &answer, &s, err);
    if (kind != ERR_OK)
        return kind;
    if (s != NULL) {
        kind = site_token_make(s, agent, &t, err);
    } else {
        const char *const text = json_get_text(answer, "token");

        (void)snprintf(t.text, sizeof t.text, "%s", text == NULL ? "" : text);
        t.expires_ns = json_get_number(answer, "expires");
        t.known = json_get_bool(answer, "known");
    }
    if (kind == ERR_OK)
        print_token(o, agent, &t);
    return kind;
}

enum err_kind
site_revoke_command(const struct opt *o, struct err *err)
{
    AUTO(json_free) struct json *answer = NULL;
    AUTO(store_close) struct store *s = NULL;
    AUTO(json_free) struct json *j = json_new();
    const char *const agent = o->operands[0];
    const char *dir = NULL;
    enum err_kind kind = opt_place(o, "store", "FARSHORE_STORE", &dir, err);

    if (kind == ERR_OK)
        kind = reach(dir, "revoke", agent, &answer, &s, err);
    if (kind == ERR_OK && s != NULL)
        kind = site_revoke(s, agent, err);
    if (kind != ERR_OK)
        return kind;
    if (o->json) {
        json_number(j, "schema", 1);
        json_text(j, "agent", agent);
        json_bool(j, "revoked", true);
        json_print(stdout, j);
    } else if (!o->quiet) {
        (void)printf("%s is revoked; what it stored stays\n", agent);
    }
    return ERR_OK;
}
