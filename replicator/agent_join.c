/* agent_join.c - a new agent: keys made here, certified by the site that the token names. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/channel.h"
#include "common/fs.h"
#include "common/mem.h"
#include "common/pki.h"
#include "replicator/agent.h"

static bool
there(int dir_fd, const char *name)
{
    return faccessat(dir_fd, name, F_OK, 0) == 0;
}

/* The state directory, new or left by a join that did not come to its end. */
static enum err_kind
open_state(const char *state, int *ret_fd, struct err *err)
{
    enum err_kind kind = fs_dir_make(AT_FDCWD, state, 0700, ret_fd, err);
    if (kind != ERR_OK)
        return kind;
    if (there(*ret_fd, "name")) {
        kind = err_set(err, ERR_REFUSED, "\"%s\" is the state of an agent already", state);
        err_hint(err, "a new agent needs a directory of its own");
    }
    return kind;
}

static enum err_kind
make_keys(int dir_fd, struct sign_key **ret, struct err *err)
{
    enum err_kind kind = ERR_OK;
    if (!there(dir_fd, "tls.key"))
        kind = pki_key_make(dir_fd, "tls.key", err);
    if (kind == ERR_OK && !there(dir_fd, "mark.key"))
        kind = sign_key_make(dir_fd, "mark.key", err);
    return kind == ERR_OK ? sign_key_load(dir_fd, "mark.key", ret, err) : kind;
}

static enum err_kind
ask(int dir_fd, struct channel *channel, const struct wire_token *token, struct wire_frame *ret,
    struct err *err)
{
    AUTO(sign_key_free) struct sign_key *mark_key = NULL;
    enum err_kind kind = make_keys(dir_fd, &mark_key, err);
    if (kind != ERR_OK)
        return kind;
    struct wire_join j;
    memset(&j, 0, sizeof(j));
    memcpy(j.secret, token->secret, sizeof(j.secret));
    memcpy(j.agent, token->agent, sizeof(j.agent));
    sign_public(mark_key, j.mark_public);
    kind = pki_key_point(dir_fd, "tls.key", j.tls_point, err);
    if (kind != ERR_OK)
        return kind;
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(buf_free) struct buf proof = { 0 };
    AUTO(buf_free) struct buf payload = { 0 };
    wire_join_text(&j, &text);
    kind = pki_prove(dir_fd, "tls.key", text.at, text.size, &proof, err);
    if (kind != ERR_OK)
        return kind;
    sign_make(mark_key, text.at, text.size, j.mark_proof);
    j.tls_proof = proof.at;
    j.tls_proof_bytes = proof.size;
    wire_put_join(&j, &payload);
    kind = wire_send(channel, WIRE_JOIN, &payload, err);
    /* The site's reason comes as an answer, also where the write has failed. */
    enum err_kind read = wire_receive(channel, ret, kind == ERR_OK ? err : NULL);
    kind = kind == ERR_OK ? read : kind;
    if (read == ERR_OK && ret->type == WIRE_ERROR)
        kind = wire_take_error(ret, err);
    else if (kind == ERR_OK && ret->type != WIRE_JOINED)
        kind = err_set(err, ERR_PROTOCOL, "the site answered JOIN with %s", wire_name((uint8_t)ret->type));
    return kind;
}

static enum err_kind
save(int dir_fd, const char *name, const void *bytes, size_t size, struct err *err)
{
    struct fs_file file = { bytes, size, 0600 };
    return fs_replace(dir_fd, name, &file, err);
}

static enum err_kind
save_line(int dir_fd, const char *name, const char *text, struct err *err)
{
    AUTO(auto_free) char *line = mem_text("%s\n", text);
    return save(dir_fd, name, line, strlen(line), err);
}

/* "name" comes last: with it the state is one. */
static enum err_kind
keep(int dir_fd, const struct wire_token *token, const struct wire_joined *m, struct err *err)
{
    struct digest print;
    enum err_kind kind = pki_fingerprint(m->ca, m->ca_bytes, &print, err);
    if (kind == ERR_OK && !hash_same(&print, &token->ca))
        kind = err_set(err, ERR_CRYPTO, "the site sent another CA's certificate than the token names");
    if (kind == ERR_OK)
        kind = save(dir_fd, "ca.crt", m->ca, m->ca_bytes, err);
    if (kind == ERR_OK)
        kind = save(dir_fd, "tls.crt", m->cert, m->cert_bytes, err);
    if (kind == ERR_OK)
        kind = sign_public_save(dir_fd, "site.pub", m->site_public, err);
    if (kind == ERR_OK)
        kind = save_line(dir_fd, "address", token->address, err);
    if (kind == ERR_OK && !there(dir_fd, "agent.conf"))
        kind = save(dir_fd, "agent.conf", agent_conf_example, strlen(agent_conf_example), err);
    return kind == ERR_OK ? save_line(dir_fd, "name", token->agent, err) : kind;
}

enum err_kind
agent_join(const char *state, const char *token_text, struct err *err)
{
    struct wire_token token;
    AUTO(auto_close) int dir_fd = -1;
    AUTO(auto_close) int lock_fd = -1;
    enum err_kind kind = wire_token_read(token_text, &token, err);
    if (kind == ERR_OK)
        kind = open_state(state, &dir_fd, err);
    if (kind == ERR_OK)
        kind = fs_lock(dir_fd, "lock", &lock_fd, err);
    if (kind != ERR_OK)
        return kind;
    struct channel_context *context = NULL;
    struct channel *channel = NULL;
    struct wire_frame f = { 0 };
    struct wire_joined m = { 0 };
    kind = link_open_join(token.address, &token.ca, &channel, &context, err);
    if (kind == ERR_OK)
        kind = ask(dir_fd, channel, &token, &f, err);
    if (kind == ERR_OK)
        kind = wire_get_joined(f.payload.at, f.payload.size, &m, err);
    if (kind == ERR_OK)
        kind = keep(dir_fd, &token, &m, err);
    buf_free(&f.payload);
    channel_close(&channel);
    channel_context_free(&context);
    return kind;
}
