/* Objects go out in the order in which they were made, never before the units that they are made of, and only when they are needed.
 * Method: random objects and units, answers in random order; what is sent is held against what was made. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "replicator/pass.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

#define OBJECTS 3000u
static struct {
    link_answer_fn *fn;
    void *arg;
    uint32_t id;
    size_t count;
    uint32_t numbers[OBJECTS_ASK];
} asked[OBJECTS];
static size_t asked_count;
static uint32_t next_id;
static bool needed[OBJECTS];
static uint64_t made_after[OBJECTS];
static uint64_t done_up_to; /* units */
static long last_sent;
static size_t sent, flushes;
static bool flushed;

enum err_kind
work_flush(struct pass *p, struct err *err)
{
    (void)p;
    (void)err;
    flushed = true;
    flushes++;
    return ERR_OK;
}

void
pass_fail(struct pass *p, const struct err *err)
{
    (void)p;
    fail_msg("%s", err->text);
}

uint32_t
link_expect(struct link *l, link_answer_fn *fn, void *arg)
{
    (void)l;
    asked[asked_count].fn = fn;
    asked[asked_count].arg = arg;
    asked[asked_count].id = ++next_id;
    return next_id;
}

static uint32_t
number_of(const struct digest *d)
{
    uint32_t n;
    memcpy(&n, d->at, sizeof(n));
    return n;
}

enum err_kind
link_send(struct link *l, enum wire_type type, const struct buf *payload, struct err *err)
{
    (void)l;
    (void)err;
    if (type == WIRE_QUERY) {
        struct wire_query q = { 0 };
        assert_int_equal(wire_get_query(payload->at, payload->size, &q, NULL), ERR_OK);
        asked[asked_count].count = q.count;
        for (size_t i = 0; i < q.count; i++)
            asked[asked_count].numbers[i] = number_of(&q.at[i].digest);
        asked_count++;
        free(q.at);
        return ERR_OK;
    }
    assert_int_equal(type, WIRE_OBJECTS);
    assert_true(flushed);
    struct cut c = cut_of(payload->at, payload->size);
    while (c.left > 0) {
        struct wire_object o;
        uint32_t n;
        assert_int_equal(wire_next_object(&c, &o, NULL), ERR_OK);
        memcpy(&n, o.bytes, sizeof(n));
        assert_true((long)n > last_sent);
        assert_true(needed[n]);
        assert_true(made_after[n] <= done_up_to);
        last_sent = (long)n;
        sent++;
    }
    return ERR_OK;
}

/* One of the questions, picked at random, is answered. */
static void
answer_one(void)
{
    size_t at = (size_t)seed_below(asked_count);
    struct wire_reply replies[OBJECTS_ASK];
    memset(replies, 0, sizeof(replies));
    for (size_t i = 0; i < asked[at].count; i++)
        replies[i].status = needed[asked[at].numbers[i]] ? WIRE_NEED : WIRE_HAVE;
    struct wire_answer a = { .unit = asked[at].id, .at = replies, .count = asked[at].count };
    struct wire_frame f = { .type = WIRE_ANSWER };
    wire_put_answer(&a, &f.payload);
    link_answer_fn *fn = asked[at].fn;
    void *arg = asked[at].arg;
    asked[at] = asked[--asked_count];
    fn(arg, &f);
    buf_free(&f.payload);
}

static void
turn(struct pass *p)
{
    pthread_mutex_lock(&p->lock);
    object_trim(p);
    bool ask = object_ask_due(p, true), send = object_send_due(p);
    p->sending_objects = p->sending_objects || send;
    pthread_mutex_unlock(&p->lock);
    if (ask)
        assert_int_equal(object_ask(p, NULL), ERR_OK);
    flushed = false;
    if (send)
        assert_int_equal(object_send(p, NULL), ERR_OK);
    if (asked_count > 0 && seed_below(3) == 0)
        answer_one();
}

static void
objects_go_out_in_order_after_what_they_are_made_of(void **state)
{
    (void)state;
    struct pass p;
    struct unit living = { 0 };
    uint8_t bytes[5000] = { 0 };
    size_t wanted = 0;
    memset(&p, 0, sizeof(p));
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.work, NULL);
    pthread_cond_init(&p.room, NULL);
    seed_start();
    last_sent = -1;
    p.oldest = &living;
    living.seq = 1;
    p.seq = 1;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        struct digest d = { 0 };
        memcpy(d.at, &i, sizeof(i));
        memcpy(bytes, &i, sizeof(i));
        needed[i] = seed_below(3) != 0;
        wanted += needed[i];
        if (seed_below(4) == 0)
            p.seq++;
        if (seed_below(4) == 0 && living.seq < p.seq)
            done_up_to = living.seq++;
        made_after[i] = p.seq;
        object_add(&p, OBJECT_PAGE, &d, bytes, sizeof(i) + seed_below(sizeof(bytes) - sizeof(i)));
        turn(&p);
    }
    p.oldest = NULL;
    done_up_to = UINT64_MAX;
    p.draining = true;
    while (p.object_count > 0)
        turn(&p);
    assert_int_equal(sent, wanted);
    assert_int_equal(p.object_bytes, 0);
    assert_true(flushes < wanted / 10); /* blobs are not closed for each page */
    object_free_all(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_go_out_in_order_after_what_they_are_made_of),
    };
    return cmocka_run_group_tests_name("replicator/object", tests, NULL, NULL);
}
