/* Enrolment: a token is good once, for one name, for an hour, and only with both keys proved.  Method: one thing wrong at a time. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/replicator/site_fixture.h"
#include "common/pki.h"
#include "common/when.h"
#include "snapshot/stage.h"

struct joiner {
    struct rig r;
    struct wire_join j;
    struct wire_token token;
    struct sign_key *key;
    struct buf proof;
};

static void
prove(struct joiner *jo)
{
    struct buf text = { 0 };

    wire_join_text(&jo->j, &text);
    jo->proof.size = 0;
    assert_int_equal(pki_prove(jo->r.dir_fd, "j.key", text.at, text.size, &jo->proof, NULL), ERR_OK);
    jo->j.tls_proof = jo->proof.at;
    jo->j.tls_proof_bytes = jo->proof.size;
    sign_make(jo->key, text.at, text.size, jo->j.mark_proof);
    buf_free(&text);
}

static void
take_token(struct joiner *jo, const char *name)
{
    struct site_token t;

    assert_int_equal(site_token_make(jo->r.site.store, name, &t, NULL), ERR_OK);
    assert_int_equal(wire_token_read(t.text, &jo->token, NULL), ERR_OK);
    assert_string_equal(jo->token.agent, name);
    assert_string_equal(jo->token.address, "127.0.0.1:7420");
    memcpy(jo->j.secret, jo->token.secret, sizeof jo->j.secret);
    (void)snprintf(jo->j.agent, sizeof jo->j.agent, "%s", name);
    prove(jo);
}

static void
joiner_new(void **state, struct joiner *jo)
{
    rig_new(state, &jo->r);
    assert_int_equal(pki_key_make(jo->r.dir_fd, "j.key", NULL), ERR_OK);
    assert_int_equal(pki_key_point(jo->r.dir_fd, "j.key", jo->j.tls_point, NULL), ERR_OK);
    assert_int_equal(sign_key_make(jo->r.dir_fd, "j.mark", NULL), ERR_OK);
    assert_int_equal(sign_key_load(jo->r.dir_fd, "j.mark", &jo->key, NULL), ERR_OK);
    sign_public(jo->key, jo->j.mark_public);
    take_token(jo, "chengdu");
}

static void
joiner_free(struct joiner *jo)
{
    sign_key_free(&jo->key);
    buf_free(&jo->proof);
    rig_free(&jo->r);
}

static void
try_join(struct joiner *jo, const char *refusal)
{
    struct peer p;
    struct wire_frame f = { 0 };
    struct buf b = { 0 };

    peer_connect(&jo->r, NULL, &p);
    wire_put_join(&jo->j, &b);
    peer_send(&p, WIRE_JOIN, &b);
    if (refusal != NULL)
        peer_expect_error(&p, ERR_REFUSED, refusal);
    else
        peer_expect(&p, WIRE_JOINED, &f);
    buf_free(&f.payload);
    peer_close(&p);
}

static void
a_join_with_something_wrong_is_refused_and_leaves_the_token_good(void **state)
{
    struct joiner jo = { 0 };

    joiner_new(state, &jo);
    jo.j.mark_proof[3] ^= 1;
    try_join(&jo, "proof of the mark key");
    prove(&jo);
    jo.proof.at[20] ^= 1;
    try_join(&jo, "proof of the TLS key");
    prove(&jo);
    jo.j.secret[0] ^= 1;
    prove(&jo);
    try_join(&jo, "not known here");
    jo.j.secret[0] ^= 1;
    (void)snprintf(jo.j.agent, sizeof jo.j.agent, "leshan");
    prove(&jo);
    try_join(&jo, "for another agent");
    (void)snprintf(jo.j.agent, sizeof jo.j.agent, "chengdu");
    prove(&jo);
    /* A point that is not on the curve. */
    uint8_t point[PKI_POINT_BYTES];
    memcpy(point, jo.j.tls_point, sizeof point);
    memset(jo.j.tls_point + 1, 0x11, sizeof point - 1);
    try_join(&jo, "proof of the TLS key");
    memcpy(jo.j.tls_point, point, sizeof point);
    try_join(&jo, NULL);
    try_join(&jo, "it was used");
    joiner_free(&jo);
}

static enum err_kind
make_old(void *arg, struct kv_txn *t, struct err *err)
{
    struct digest secret;
    struct index_token row;

    hash_sha256(arg, 16, &secret);
    enum err_kind kind = index_token_get(t, &secret, &row, err);
    row.expires_ns = when_now_ns() - 1;
    return kind != ERR_OK ? kind : index_token_put(t, &secret, &row, err);
}

static void
an_expired_token_is_refused_and_goes_when_the_next_is_made(void **state)
{
    struct joiner jo = { 0 };

    joiner_new(state, &jo);
    assert_int_equal(commit_change(jo.r.site.store, make_old, jo.j.secret, NULL, NULL), ERR_OK);
    try_join(&jo, "has expired");
    struct site_token t;
    assert_int_equal(site_token_make(jo.r.site.store, "leshan", &t, NULL), ERR_OK);
    try_join(&jo, "not known here");
    joiner_free(&jo);
}

static void
row_of(struct joiner *jo, const char *name, struct index_agent *ret)
{
    struct kv_txn *t = NULL;

    assert_int_equal(kv_begin(jo->r.site.store->kv, false, &t, NULL), ERR_OK);
    assert_int_equal(index_agent_get(t, name, ret, NULL), ERR_OK);
    kv_abort(&t);
}

static void
an_agent_that_is_enrolled_anew_keeps_its_city_and_its_receipts(void **state)
{
    struct joiner jo = { 0 };
    struct index_agent first, again, other;
    struct peer p;
    struct receipt receipt;

    joiner_new(state, &jo);
    peer_join(&jo.r, "leshan");
    row_of(&jo, "leshan", &other);
    peer_join(&jo.r, "chengdu");
    peer_hello(&jo.r, "chengdu", &p);
    peer_pass(&p, "pension", "x", &receipt);
    row_of(&jo, "chengdu", &first);
    peer_join(&jo.r, "chengdu");
    /* The connection under the old keys does not outlive them. */
    peer_expect_error(&p, ERR_REFUSED, "enrolled anew");
    peer_close(&p);
    row_of(&jo, "chengdu", &again);
    assert_int_not_equal(first.city, other.city);
    assert_int_equal(again.city, first.city);
    assert_int_equal(again.receipts, 1);
    assert_memory_not_equal(again.mark_public, first.mark_public, SIGN_PUBLIC_BYTES);
    assert_memory_not_equal(&again.certificate, &first.certificate, HASH_BYTES);
    struct site_token t;
    assert_int_equal(site_token_make(jo.r.site.store, "chengdu", &t, NULL), ERR_OK);
    assert_true(t.known);
    assert_int_equal(site_token_make(jo.r.site.store, "mianyang", &t, NULL), ERR_OK);
    assert_false(t.known);
    assert_int_equal(site_token_make(jo.r.site.store, "../x", &t, NULL), ERR_USAGE);
    joiner_free(&jo);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_join_with_something_wrong_is_refused_and_leaves_the_token_good),
        unit_test_in_dir(an_expired_token_is_refused_and_goes_when_the_next_is_made),
        unit_test_in_dir(an_agent_that_is_enrolled_anew_keeps_its_city_and_its_receipts),
    };

    return cmocka_run_group_tests_name("replicator/join", tests, NULL, NULL);
}
