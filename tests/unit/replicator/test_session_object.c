/* Pages, nodes and xattrs: stored when whole, remembered as missing when not, refused when damaged.  Method: objects by hand, then a
 * QUERY that tells whether they were stored. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/replicator/site_fixture.h"
#include "snapshot/merkle.h"

struct work {
    struct rig r;
    struct peer p;
};

static void
begin(struct work *w)
{
    struct wire_frame f = { 0 };

    peer_hello(&w->r, "chengdu", &w->p);
    peer_begin(&w->p, "pension", &f);
    buf_free(&f.payload);
}

static void
work_new(void **state, struct work *w)
{
    rig_new(state, &w->r);
    peer_join(&w->r, "chengdu");
    begin(w);
}

static void
work_free(struct work *w)
{
    peer_close(&w->p);
    rig_free(&w->r);
}

static void
send_object(struct work *w, uint8_t kind, const void *bytes, size_t size)
{
    const struct wire_object o = { kind, bytes, size };
    struct buf b = { 0 };

    wire_put_object(&o, &b);
    peer_send(&w->p, WIRE_OBJECTS, &b);
}

static bool
known(struct work *w, uint8_t kind, const struct digest *d)
{
    struct wire_question q = { .kind = kind, .digest = *d };
    const struct wire_query query = { 1, &q, 1 };
    struct wire_answer a;
    struct wire_frame f = { 0 };
    struct buf b = { 0 };

    wire_put_query(&query, &b);
    peer_send(&w->p, WIRE_QUERY, &b);
    peer_expect(&w->p, WIRE_ANSWER, &f);
    assert_int_equal(wire_get_answer(f.payload.at, f.payload.size, &a, NULL), ERR_OK);
    const bool have = a.at[0].status == WIRE_HAVE;
    free(a.at);
    buf_free(&f.payload);
    return have;
}

/* Objects wait for the jobs before them, of which the last QUERY may still be one: what was stored is known after a few. */
static bool
stored(struct work *w, uint8_t kind, const struct digest *d)
{
    bool have = false;

    for (int i = 0; i < 50 && !have; i++)
        have = known(w, kind, d);
    return have;
}

/* A root page. */
static struct digest
page_of(const struct tree_entry *e, struct buf *ret)
{
    struct digest d;

    tree_root_encode(e, ret);
    tree_page_digest(ret->at, ret->size, &d);
    return d;
}

static void
a_node_is_stored_when_its_children_are_there_or_are_whole_spans_of_zeros(void **state)
{
    struct work w = { 0 };
    struct digest children[NODE_CHILDREN], d;

    work_new(state, &w);
    for (size_t i = 0; i < NODE_CHILDREN; i++)
        merkle_zero(MAP_BYTES, &children[i]);
    children[5].at[0] ^= 1; /* nobody has this one */
    merkle_root(children, NODE_CHILDREN, &d);
    send_object(&w, OBJECT_NODE, children, sizeof children);
    assert_false(stored(&w, OBJECT_NODE, &d));
    merkle_zero(merkle_span(2), &children[5]);
    merkle_root(children, NODE_CHILDREN, &d);
    send_object(&w, OBJECT_NODE, children, sizeof children);
    assert_true(stored(&w, OBJECT_NODE, &d));
    /* The tail of a file is no whole span, zeros or not. */
    merkle_zero(12345, &children[5]);
    merkle_root(children, 6, &d);
    send_object(&w, OBJECT_NODE, children, 6 * HASH_BYTES);
    assert_false(stored(&w, OBJECT_NODE, &d));
    work_free(&w);
}

static void
a_page_is_stored_when_all_that_it_names_is_there(void **state)
{
    struct work w = { 0 };
    struct buf page = { 0 };
    struct tree_entry dir = { .name = ".", .name_bytes = 1, .type = TREE_DIR, .mode = 0755 };
    struct tree_entry file = { .name = "f", .name_bytes = 1, .type = TREE_FILE, .mode = 0644 };
    struct tree_made t;
    static const uint64_t zeros[] = { 1,         1000,          BLOCK_BYTES, BLOCK_BYTES + 1,
                                      MAP_BYTES, MAP_BYTES + 1, 1ull << 33 };

    work_new(state, &w);
    memset(dir.digest.at, 0x77, sizeof dir.digest.at);
    struct digest d = page_of(&dir, &page);
    send_object(&w, OBJECT_PAGE, page.at, page.size);
    assert_false(stored(&w, OBJECT_PAGE, &d));
    dir.digest = d; /* of a page that was not stored */
    page.size = 0;
    d = page_of(&dir, &page);
    send_object(&w, OBJECT_PAGE, page.at, page.size);
    assert_false(stored(&w, OBJECT_PAGE, &d));
    /* Files of zeros need nothing, whatever their size. */
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++) {
        struct buf objects = { 0 };

        merkle_zero(zeros[i], &file.digest);
        peer_tree("f", &file.digest, zeros[i], &objects, &t);
        peer_send(&w.p, WIRE_OBJECTS, &objects);
        assert_true(stored(&w, OBJECT_PAGE, &t.root));
        file.digest.at[3] ^= 1;
        peer_tree("f", &file.digest, zeros[i], &objects, &t);
        peer_send(&w.p, WIRE_OBJECTS, &objects);
        assert_false(stored(&w, OBJECT_PAGE, &t.root));
    }
    buf_free(&page);
    work_free(&w);
}

static void
large_xattrs_are_an_object_that_the_page_waits_for(void **state)
{
    struct work w = { 0 };
    struct buf set = { 0 }, page = { 0 };
    struct tree_entry dir = { .name = ".", .name_bytes = 1, .type = TREE_DIR, .mode = 0755 };
    uint8_t value[400] = { 0 };

    work_new(state, &w);
    buf_text(&set, "user.a");
    buf_block(&set, value, sizeof value);
    struct buf objects = { 0 };
    struct tree_made t;
    struct digest zero;
    merkle_zero(1, &zero);
    peer_tree("f", &zero, 1, &objects, &t);
    peer_send(&w.p, WIRE_OBJECTS, &objects);
    assert_true(stored(&w, OBJECT_PAGE, &t.root));
    dir.digest = t.root;
    dir.xattrs_bytes = (uint32_t)set.size;
    tree_xattrs_digest(set.at, set.size, &dir.xattrs_digest);
    const struct digest d = page_of(&dir, &page);
    send_object(&w, OBJECT_PAGE, page.at, page.size);
    assert_false(stored(&w, OBJECT_PAGE, &d));
    send_object(&w, OBJECT_XATTRS, set.at, set.size);
    send_object(&w, OBJECT_PAGE, page.at, page.size);
    assert_true(stored(&w, OBJECT_XATTRS, &dir.xattrs_digest));
    assert_true(stored(&w, OBJECT_PAGE, &d));
    buf_free(&set);
    buf_free(&page);
    work_free(&w);
}

static void
damaged_objects_are_refused(void **state)
{
    static const uint8_t junk[300] = { 0xff, 1, 2 };
    static const struct {
        uint8_t kind;
        size_t size;
        const char *says;
    } cases[] = {
        { OBJECT_PAGE, 300, "OBJECTS: a page:" },
        { OBJECT_NODE, 31, "OBJECTS: a node of 31 bytes" },
        { OBJECT_NODE, 300, "OBJECTS: a node of 300 bytes" },
        { OBJECT_XATTRS, 10, "extended attributes of 10 bytes" },
        { OBJECT_XATTRS, 300, "damaged set of extended attributes" },
    };
    struct work w = { 0 };

    work_new(state, &w);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        send_object(&w, cases[i].kind, junk, cases[i].size);
        peer_expect_error(&w.p, ERR_PROTOCOL, cases[i].says);
        peer_close(&w.p);
        begin(&w);
    }
    work_free(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_node_is_stored_when_its_children_are_there_or_are_whole_spans_of_zeros),
        unit_test_in_dir(a_page_is_stored_when_all_that_it_names_is_there),
        unit_test_in_dir(large_xattrs_are_an_object_that_the_page_waits_for),
        unit_test_in_dir(damaged_objects_are_refused),
    };

    return cmocka_run_group_tests_name("replicator/session_object", tests, NULL, NULL);
}
