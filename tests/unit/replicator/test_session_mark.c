/* The end of a pass: a mark that is whole and continues the last, or a refusal; and what the receipts tell at the next HELLO.
 * Method: a site in this process; its disk is put back as an operator with an old copy would do it. */
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/replicator/site_fixture.h"
#include "common/mem.h"
#include "common/when.h"
#include "snapshot/ledger.h"
#include "snapshot/merkle.h"

/* A mark that is good but for one thing. */
struct
try {
    struct rig r;
    struct peer p;
    struct wire_frame f;
    struct wire_begun begun;
    struct tree_made tree;
    struct mark m;
    struct buf text;
};

static void
try_begin(struct try *t, bool whole)
{
    static const char text[] = "a file";
    struct wire_op op = { .kind = DELTA_LITERAL, .len = sizeof text };
    struct wire_item it = { .kind = OBJECT_BLOCK, .bytes = sizeof text, .ops = &op, .op_count = 1 };
    struct buf b = { 0 };

    buf_free(&t->f.payload);
    t->text.size = 0;
    peer_hello(&t->r, "chengdu", &t->p);
    peer_begin(&t->p, "pension", &t->f);
    assert_int_equal(wire_get_begun(t->f.payload.at, t->f.payload.size, &t->begun, NULL), ERR_OK);
    merkle_leaf(text, sizeof text, &it.digest);
    if (whole) {
        peer_blob(&t->p, 0, text, sizeof text);
        wire_put_item(&it, &b);
        peer_send(&t->p, WIRE_ITEMS, &b);
    }
    peer_tree("file", &it.digest, sizeof text, &b, &t->tree);
    peer_send(&t->p, WIRE_OBJECTS, &b);
    peer_mark_text(&t->p, &t->begun, &t->tree, &t->m, &t->text);
}

static void
try_send(struct try *t)
{
    t->text.size = 0;
    mark_encode(&t->m, &t->text);
    peer_send_mark(&t->p, &t->text);
}

static void
try_free(struct try *t)
{
    buf_free(&t->f.payload);
    buf_free(&t->text);
    rig_free(&t->r);
}

static void
other_source(struct mark *m)
{
    (void)snprintf(m->source, sizeof m->source, "other");
}
static void
other_agent(struct mark *m)
{
    (void)snprintf(m->agent, sizeof m->agent, "leshan");
}
static void
later_sequence(struct mark *m)
{
    m->sequence++;
}
static void
other_previous(struct mark *m)
{
    m->previous.at[0] ^= 1;
}
static void
other_bytes(struct mark *m)
{
    m->bytes++;
}
static void
other_files(struct mark *m)
{
    m->files++;
}

static void
a_mark_that_lies_is_refused_and_not_listed(void **state)
{
    static const struct {
        void (*lie)(struct mark *m);
        enum err_kind kind;
        const char *says;
    } cases[] = {
        { other_source, ERR_PROTOCOL, "chengdu/other in an upload of chengdu/pension" },
        { other_agent, ERR_PROTOCOL, "leshan/pension in an upload" },
        { later_sequence, ERR_REFUSED, "does not continue" },
        { other_previous, ERR_REFUSED, "does not continue" },
        { other_bytes, ERR_PROTOCOL, "its root has" },
        { other_files, ERR_PROTOCOL, "its root has" },
    };
    struct try t = { 0 };
    struct receipt receipt;

    rig_new(state, &t.r);
    peer_join(&t.r, "chengdu");
    peer_hello(&t.r, "chengdu", &t.p);
    peer_pass(&t.p, "pension", "the first", &receipt);
    peer_close(&t.p);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        try_begin(&t, true);
        cases[i].lie(&t.m);
        try_send(&t);
        peer_expect_error(&t.p, cases[i].kind, cases[i].says);
        peer_close(&t.p);
    }
    peer_hello(&t.r, "chengdu", &t.p);
    peer_pass(&t.p, "pension", "the second", &receipt);
    assert_int_equal(receipt.sequence, 2);
    assert_int_equal(receipt.number, 2);
    peer_close(&t.p);
    try_free(&t);
}

static void
a_signature_of_another_key_is_refused(void **state)
{
    struct try t = { 0 };

    rig_new(state, &t.r);
    peer_join(&t.r, "chengdu");
    peer_join(&t.r, "leshan");
    try_begin(&t, true);
    (void)snprintf(t.p.name, sizeof t.p.name, "leshan"); /* whose key is used */
    try_send(&t);
    peer_expect_error(&t.p, ERR_REFUSED, "not that of the enrolled mark key");
    peer_close(&t.p);
    try_free(&t);
}

static void
a_mark_with_something_missing_is_not_admitted_until_it_is_there(void **state)
{
    struct try t = { 0 };
    struct wire_missing missing;

    rig_new(state, &t.r);
    peer_join(&t.r, "chengdu");
    try_begin(&t, false);
    try_send(&t);
    buf_free(&t.f.payload);
    peer_expect(&t.p, WIRE_MISSING, &t.f);
    assert_int_equal(wire_get_missing(t.f.payload.at, t.f.payload.size, &missing, NULL), ERR_OK);
    /* The file, then the page that was not stored for want of it. */
    assert_int_equal(missing.kind, OBJECT_BLOCK);
    assert_int_equal(missing.count, 2);
    peer_close(&t.p);
    try_begin(&t, true);
    try_send(&t);
    buf_free(&t.f.payload);
    peer_expect(&t.p, WIRE_RECEIPT, &t.f);
    peer_close(&t.p);
    try_free(&t);
}

static void
a_clock_that_lies_is_an_alarm_and_no_refusal(void **state)
{
    struct try t = { 0 };

    rig_new(state, &t.r);
    peer_join(&t.r, "chengdu");
    for (int i = 0; i < 2; i++) {
        const uint64_t leaves = ledger_head(t.r.site.store->ledger).size;

        try_begin(&t, true);
        t.m.started_ns = when_now_ns() + (i == 0 ? 700ll : -700ll) * 1000000000;
        try_send(&t);
        buf_free(&t.f.payload);
        peer_expect(&t.p, WIRE_RECEIPT, &t.f);
        peer_close(&t.p);
        rig_restart(&t.r);
        assert_int_equal(ledger_head(t.r.site.store->ledger).size, leaves + 2); /* alarm, mark */
    }
    try_free(&t);
}

static struct wire_signed
keep_receipt(struct rig *r, const struct receipt *receipt, struct buf *text)
{
    struct wire_signed s = { 0 };

    text->size = 0;
    receipt_encode(receipt, text);
    s.text = text->at;
    s.size = text->size;
    sign_make(r->site.store->site_key, text->at, text->size, s.signature);
    return s;
}

static void
hello_with(struct rig *r, const struct wire_signed *receipt, uint8_t verdict, uint64_t number)
{
    struct wire_hello h = peer_hello_of("chengdu");
    struct wire_frame f = { 0 };
    struct wire_welcome w;
    struct receipt got = { 0 };
    struct peer p;

    if (receipt != NULL)
        h.receipt = *receipt;
    peer_connect(r, "chengdu", &p);
    peer_say_hello(&p, &h, &w, &f);
    assert_int_equal(w.verdict, verdict);
    assert_int_equal(w.receipt.size > 0, number > 0);
    if (number > 0) {
        assert_int_equal(
            sign_check(r->site.store->site_public, w.receipt.text, w.receipt.size, w.receipt.signature),
            ERR_OK);
        assert_int_equal(receipt_parse(w.receipt.text, w.receipt.size, &got, NULL), ERR_OK);
    }
    assert_int_equal(got.number, number);
    /* The same receipt again, to the byte, is what was given the first time. */
    if (verdict == WIRE_SAME) {
        assert_int_equal(w.receipt.size, receipt->size);
        assert_memory_equal(w.receipt.text, receipt->text, receipt->size);
        assert_memory_equal(w.receipt.signature, receipt->signature, SIGN_BYTES);
    }
    buf_free(&f.payload);
    peer_close(&p);
}

static void
shell(const char *command)
{
    assert_int_equal(system(command), 0);
}

static void
receipts_tell_who_was_rolled_back(void **state)
{
    static const char *const sources[] = { "pension", "a", "pension", "z", "pension" };
    struct rig r = { 0 };
    struct peer p;
    struct receipt receipts[6] = { 0 }, fork;
    struct wire_signed s[6];
    struct buf text[6] = { 0 }, fork_text = { 0 };

    rig_new(state, &r);
    char *const keep = mem_text("cp -a '%s' '%s.old'", r.path, r.path);
    char *const back = mem_text("rm -rf '%s' && mv '%s.old' '%s'", r.path, r.path, r.path);
    peer_join(&r, "chengdu");
    hello_with(&r, NULL, WIRE_FIRST, 0);
    for (int i = 0; i < 5; i++) {
        if (i == 2) {
            rig_stop(&r);
            shell(keep);
            rig_start(&r);
        }
        peer_hello(&r, "chengdu", &p);
        peer_pass(&p, sources[i], i == 1 ? "one" : "another", &receipts[i]);
        peer_close(&p);
        assert_int_equal(receipts[i].number, i + 1);
        s[i] = keep_receipt(&r, &receipts[i], &text[i]);
    }
    hello_with(&r, &s[4], WIRE_SAME, 5);
    hello_with(&r, &s[3], WIRE_AGENT_BEHIND, 5);
    hello_with(&r, &s[0], WIRE_AGENT_BEHIND, 5);
    hello_with(&r, NULL, WIRE_AGENT_BEHIND, 5);
    /* The site's disk as it was after two. */
    rig_stop(&r);
    shell(back);
    rig_start(&r);
    hello_with(&r, &s[4], WIRE_SITE_BEHIND, 2);
    hello_with(&r, &s[1], WIRE_SAME, 2);
    /* It went on from there: the third receipt is for another mark now. */
    peer_hello(&r, "chengdu", &p);
    peer_pass(&p, "pension", "a third that is another", &fork);
    peer_close(&p);
    assert_int_equal(fork.number, 3);
    hello_with(&r, &s[2], WIRE_FORK, 3);
    const struct wire_signed now = keep_receipt(&r, &fork, &fork_text);
    hello_with(&r, &now, WIRE_SAME, 3);
    /* Enrolled anew it begins anew. */
    peer_join(&r, "chengdu");
    hello_with(&r, NULL, WIRE_FIRST, 0);
    for (int i = 0; i < 5; i++)
        buf_free(&text[i]);
    buf_free(&fork_text);
    free(keep);
    free(back);
    rig_free(&r);
}

static void
a_receipt_that_this_site_did_not_sign_is_refused(void **state)
{
    struct rig r = { 0 };
    struct peer p;
    struct receipt receipt;
    struct buf text = { 0 }, b = { 0 };
    struct wire_hello h = peer_hello_of("chengdu");

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    peer_hello(&r, "chengdu", &p);
    peer_pass(&p, "pension", "x", &receipt);
    peer_close(&p);
    h.receipt = keep_receipt(&r, &receipt, &text);
    h.receipt.signature[0] ^= 1;
    peer_connect(&r, "chengdu", &p);
    wire_put_hello(&h, &b);
    peer_send(&p, WIRE_HELLO, &b);
    peer_expect_error(&p, ERR_REFUSED, "not signed by site");
    peer_close(&p);
    (void)snprintf(receipt.agent, sizeof receipt.agent, "leshan");
    h.receipt = keep_receipt(&r, &receipt, &text);
    peer_connect(&r, "chengdu", &p);
    wire_put_hello(&h, &b);
    peer_send(&p, WIRE_HELLO, &b);
    peer_expect_error(&p, ERR_PROTOCOL, "a receipt for agent \"leshan\"");
    peer_close(&p);
    buf_free(&text);
    rig_free(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_mark_that_lies_is_refused_and_not_listed),
        unit_test_in_dir(a_signature_of_another_key_is_refused),
        unit_test_in_dir(a_mark_with_something_missing_is_not_admitted_until_it_is_there),
        unit_test_in_dir(a_clock_that_lies_is_an_alarm_and_no_refusal),
        unit_test_in_dir(receipts_tell_who_was_rolled_back),
        unit_test_in_dir(a_receipt_that_this_site_did_not_sign_is_refused),
    };

    return cmocka_run_group_tests_name("replicator/session_mark", tests, NULL, NULL);
}
