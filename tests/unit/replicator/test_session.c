/* A connection from its greeting to its end.  Method: a site in this process over real TLS, agents that say what they should not.
 * After each refusal the site must serve the next one. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/replicator/site_fixture.h"

static void
a_pass_gets_a_receipt_and_the_next_one_the_next(void **state)
{
    struct rig r = { 0 };
    struct peer p;
    struct receipt receipt;

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    peer_hello(&r, "chengdu", &p);
    peer_pass(&p, "pension", "the first", &receipt);
    assert_int_equal(receipt.number, 1);
    assert_int_equal(receipt.sequence, 1);
    assert_string_equal(receipt.agent, "chengdu");
    peer_pass(&p, "pension", "the second", &receipt);
    assert_int_equal(receipt.number, 2);
    assert_int_equal(receipt.sequence, 2);
    peer_pass(&p, "other", "the first of another", &receipt);
    assert_int_equal(receipt.number, 3);
    assert_int_equal(receipt.sequence, 1);
    assert_int_equal(receipt.size, receipt.leaf + 1);
    peer_close(&p);
    rig_free(&r);
}

/* Who is not let in, and is told why. */
static void
strangers_are_refused_and_told_why(void **state)
{
    struct rig r = { 0 };
    struct peer p;
    struct receipt receipt;
    struct buf b = { 0 };
    struct wire_hello h = peer_hello_of("chengdu");

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    peer_join(&r, "mianyang");

    peer_connect(&r, NULL, &p);
    wire_put_hello(&h, &b);
    peer_send(&p, WIRE_HELLO, &b);
    peer_expect_error(&p, ERR_REFUSED, "without a certificate");
    peer_close(&p);

    peer_connect(&r, "mianyang", &p);
    wire_put_hello(&h, &b);
    peer_send(&p, WIRE_HELLO, &b);
    peer_expect_error(&p, ERR_REFUSED, "not the certificate");
    peer_close(&p);

    peer_connect(&r, "mianyang", &p);
    h = peer_hello_of("leshan");
    wire_put_hello(&h, &b);
    peer_send(&p, WIRE_HELLO, &b);
    peer_expect_error(&p, ERR_REFUSED, "\"leshan\" is not enrolled");
    peer_close(&p);

    peer_connect(&r, "chengdu", &p);
    peer_send(&p, WIRE_BYE, &b);
    peer_expect_error(&p, ERR_PROTOCOL, "BYE cannot be the first frame");
    peer_close(&p);

    peer_hello(&r, "chengdu", &p);
    peer_pass(&p, "pension", "still served", &receipt);
    peer_close(&p);
    rig_free(&r);
}

static void
send_raw(struct peer *p, const void *bytes, size_t size)
{
    (void)!channel_write(p->ch, bytes, size, NULL);
}

static void
frames_out_of_place_or_broken_end_the_connection_and_are_named(void **state)
{
    static const struct {
        const char *what;
        bool begun;
        uint8_t bytes[64];
        size_t size;
        const char *says;
    } cases[] = {
        { "an unknown type", false, { 0, 0, 0, 0, 99 }, 8, "unknown type 99" },
        { "too long", false, { 0xff, 0xff, 0xff, 0x7f, WIRE_BEGIN }, 8, "BEGIN of 2147483647 bytes" },
        { "padding", false, { 0, 0, 0, 0, WIRE_BYE, 0, 0, 1 }, 8, "padding" },
        { "QUERY before BEGIN", false, { 0, 0, 0, 0, WIRE_QUERY }, 8, "QUERY before BEGIN" },
        { "MARK before BEGIN", false, { 0, 0, 0, 0, WIRE_MARK }, 8, "MARK before BEGIN" },
        { "a second HELLO", true, { 0, 0, 0, 0, WIRE_HELLO }, 8, "HELLO is not a frame" },
        { "the site's own frame", true, { 0, 0, 0, 0, WIRE_RECEIPT }, 8, "RECEIPT is not a frame" },
        { "JOIN with a certificate", true, { 0, 0, 0, 0, WIRE_JOIN }, 8, "JOIN is not a frame" },
        { "an empty QUERY", true, { 0, 0, 0, 0, WIRE_QUERY }, 8, "QUERY: the field \"unit\"" },
        { "an empty WANT", true, { 0, 0, 0, 0, WIRE_WANT }, 8, "WANT: the field \"id\"" },
        { "an empty GET", true, { 0, 0, 0, 0, WIRE_GET }, 8, "GET: the field \"id\"" },
        { "an empty BLOB", true, { 0, 0, 0, 0, WIRE_BLOB }, 8, "BLOB 0" },
        { "a BLOB out of order",
          true,
          { 4, 0, 0, 0, WIRE_BLOB, 0, 0, 0, 1 },
          12,
          "BLOB 1 where 0 should come" },
        { "an empty MARK", true, { 0, 0, 0, 0, WIRE_MARK }, 8, "MARK: the field \"mark\"" },
        { "a bad name",
          false,
          { 3, 0, 0, 0, WIRE_BEGIN, 0, 0, 0, 2, '.', '.' },
          11,
          "BEGIN: the field \"source\"" },
        { "a cut item",
          true,
          { 2, 0, 0, 0, WIRE_ITEMS, 0, 0, 0, 'M', 1 },
          10,
          "ITEMS: the field \"digest\"" },
    };
    struct rig r = { 0 };
    struct receipt receipt;
    struct peer p;

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_frame f = { 0 };

        print_message("%s\n", cases[i].what);
        peer_hello(&r, "chengdu", &p);
        if (cases[i].begun)
            peer_begin(&p, "pension", &f);
        buf_free(&f.payload);
        send_raw(&p, cases[i].bytes, cases[i].size);
        peer_expect_error(&p, ERR_PROTOCOL, cases[i].says);
        peer_close(&p);
    }
    peer_hello(&r, "chengdu", &p);
    peer_pass(&p, "pension", "still served", &receipt);
    assert_int_equal(receipt.sequence, 1);
    peer_close(&p);
    rig_free(&r);
}

static void
a_third_connection_of_an_agent_ends_its_first(void **state)
{
    struct rig r = { 0 };
    struct peer p[3];
    struct receipt receipt;

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    for (int i = 0; i < 3; i++)
        peer_hello(&r, "chengdu", &p[i]);
    peer_expect_error(&p[0], ERR_CLOSED, "took its place");
    peer_pass(&p[1], "pension", "one", &receipt);
    peer_pass(&p[2], "pension", "two", &receipt);
    for (int i = 0; i < 3; i++)
        peer_close(&p[i]);
    rig_free(&r);
}

static void
revocation_reaches_live_connections(void **state)
{
    struct rig r = { 0 };
    struct peer idle, busy, other;
    struct receipt receipt;
    struct wire_frame f = { 0 };
    struct buf b = { 0 };
    const struct wire_hello h = peer_hello_of("chengdu");

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    peer_join(&r, "leshan");
    peer_hello(&r, "chengdu", &idle);
    peer_hello(&r, "chengdu", &busy);
    peer_hello(&r, "leshan", &other);
    peer_begin(&busy, "pension", &f);
    buf_free(&f.payload);
    assert_int_equal(site_revoke(r.site.store, "chengdu", NULL), ERR_OK);
    site_cut_agent(&r.site, "chengdu", "this agent was revoked at the site");
    peer_expect_error(&idle, ERR_REFUSED, "revoked");
    peer_expect_error(&busy, ERR_REFUSED, "revoked");
    peer_pass(&other, "pension", "not concerned", &receipt);
    peer_close(&idle);
    peer_close(&busy);
    peer_close(&other);
    peer_connect(&r, "chengdu", &idle);
    wire_put_hello(&h, &b);
    peer_send(&idle, WIRE_HELLO, &b);
    peer_expect_error(&idle, ERR_REFUSED, "\"chengdu\" was revoked");
    peer_close(&idle);
    /* Enrolled anew, it goes on where it was. */
    peer_join(&r, "chengdu");
    peer_hello(&r, "chengdu", &idle);
    peer_pass(&idle, "pension", "again", &receipt);
    peer_close(&idle);
    rig_free(&r);
}

static void
what_was_stored_before_a_cut_is_there_after_it(void **state)
{
    static const char text[] = "sent before the connection was cut";
    struct wire_op op = { .kind = DELTA_LITERAL, .len = sizeof text };
    struct wire_item it = { .kind = OBJECT_BLOCK, .bytes = sizeof text, .ops = &op, .op_count = 1 };
    struct wire_question q = { .kind = OBJECT_BLOCK };
    const struct wire_query query = { 5, &q, 1 };
    struct rig r = { 0 };
    struct peer p;
    struct wire_frame f = { 0 };
    struct wire_answer a;
    struct buf b = { 0 };

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    hash_prefixed(0, text, sizeof text, &it.digest);
    q.digest = it.digest;
    for (int restart = 0; restart < 2; restart++) {
        peer_hello(&r, "chengdu", &p);
        peer_begin(&p, "pension", &f);
        buf_free(&f.payload);
        if (restart == 0) {
            peer_blob(&p, 0, text, sizeof text);
            wire_put_item(&it, &b);
            peer_send(&p, WIRE_ITEMS, &b);
        }
        /* The first answers may be given before the item is done; after the restart it is there at once. */
        for (uint8_t status = WIRE_NEED; status != WIRE_HAVE;) {
            wire_put_query(&query, &b);
            peer_send(&p, WIRE_QUERY, &b);
            peer_expect(&p, WIRE_ANSWER, &f);
            assert_int_equal(wire_get_answer(f.payload.at, f.payload.size, &a, NULL), ERR_OK);
            status = a.at[0].status;
            free(a.at);
            buf_free(&f.payload);
            assert_true(restart == 0 || status == WIRE_HAVE);
        }
        channel_cut(p.ch);
        peer_close(&p);
        rig_restart(&r);
    }
    rig_free(&r);
}

static void
a_stopping_site_says_so(void **state)
{
    struct rig r = { 0 };
    struct peer p;

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    peer_hello(&r, "chengdu", &p);
    session_stop_all(&r.site);
    peer_expect_error(&p, ERR_CLOSED, "stopping");
    peer_close(&p);
    rig_free(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_pass_gets_a_receipt_and_the_next_one_the_next),
        unit_test_in_dir(strangers_are_refused_and_told_why),
        unit_test_in_dir(frames_out_of_place_or_broken_end_the_connection_and_are_named),
        unit_test_in_dir(a_third_connection_of_an_agent_ends_its_first),
        unit_test_in_dir(revocation_reaches_live_connections),
        unit_test_in_dir(what_was_stored_before_a_cut_is_there_after_it),
        unit_test_in_dir(a_stopping_site_says_so),
    };

    return cmocka_run_group_tests_name("replicator/session", tests, NULL, NULL);
}
