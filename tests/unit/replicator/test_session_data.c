/* What an agent is told: sums of old bytes, pages of its head mark, and nothing else of the past or of another city.
 * Method: sums are held against those of the same bytes here; pages asked for in and out of order. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/replicator/site_fixture.h"
#include "snapshot/delta.h"
#include "snapshot/merkle.h"

#define FILE_BYTES (3 * BLOCK_BYTES + 10000u)

static struct digest
put_map(struct peer *p, uint8_t *bytes, uint32_t number)
{
    struct wire_op op[4];
    struct wire_item *const it = calloc(1, sizeof *it);
    struct buf b = { 0 };

    it->kind = OBJECT_MAP;
    it->bytes = FILE_BYTES;
    it->ops = op;
    for (uint32_t n = 0; n < 4; n++) {
        const uint32_t len = n < 3 ? BLOCK_BYTES : FILE_BYTES - 3 * BLOCK_BYTES;

        peer_blob(p, number + n, bytes + n * BLOCK_BYTES, len);
        op[it->op_count++] = (struct wire_op){ .kind = DELTA_LITERAL, .len = len, .blob = number + n };
        merkle_leaf(bytes + n * BLOCK_BYTES, len, &it->blocks[n]);
    }
    merkle_root(it->blocks, 4, &it->digest);
    wire_put_item(it, &b);
    peer_send(p, WIRE_ITEMS, &b);
    const struct digest d = it->digest;
    free(it);
    return d;
}

/* A mark with one file of four blocks. */
static struct digest
make_mark(struct rig *r, const char *agent, uint8_t *bytes, struct digest *ret_root)
{
    struct peer p;
    struct wire_frame f = { 0 };
    struct wire_begun begun;
    struct tree_made t;
    struct mark m;
    struct buf b = { 0 }, text = { 0 };

    peer_hello(r, agent, &p);
    peer_begin(&p, "pension", &f);
    assert_int_equal(wire_get_begun(f.payload.at, f.payload.size, &begun, NULL), ERR_OK);
    const struct digest d = put_map(&p, bytes, 0);
    peer_tree("file", &d, FILE_BYTES, &b, &t);
    peer_send(&p, WIRE_OBJECTS, &b);
    peer_mark_text(&p, &begun, &t, &m, &text);
    peer_send_mark(&p, &text);
    buf_free(&f.payload);
    peer_expect(&p, WIRE_RECEIPT, &f);
    buf_free(&f.payload);
    buf_free(&text);
    peer_close(&p);
    *ret_root = t.root;
    return d;
}

static uint8_t *
some_bytes(uint64_t seed)
{
    uint8_t *const bytes = malloc(FILE_BYTES);

    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = (uint8_t)unit_random(&seed);
    return bytes;
}

/* WANT: a range that ends with the file, and one of a file that is not there. */
static void
ranges(struct peer *p, const struct wire_base *base, const struct wire_base *other, const uint8_t *bytes)
{
    struct wire_frame f = { 0 };
    struct wire_sums s;
    struct buf b = { 0 }, sums = { 0 };

    const struct wire_want want = { 3, *base, 8192, FILE_BYTES - 8192 }, unknown = { 4, *other, 0, 100 };
    wire_put_want(&want, &b);
    peer_send(p, WIRE_WANT, &b);
    peer_expect(p, WIRE_SUMS, &f);
    assert_int_equal(wire_get_sums(f.payload.at, f.payload.size, &s, NULL), ERR_OK);
    assert_int_equal(delta_sums(bytes + 8192, FILE_BYTES - 8192, &sums, NULL), ERR_OK);
    assert_int_equal(s.id, 3);
    assert_true(s.known);
    assert_int_equal(s.sums_bytes, sums.size);
    assert_memory_equal(s.sums, sums.at, sums.size);
    buf_free(&f.payload);
    wire_put_want(&unknown, &b);
    peer_send(p, WIRE_WANT, &b);
    peer_expect(p, WIRE_SUMS, &f);
    assert_int_equal(wire_get_sums(f.payload.at, f.payload.size, &s, NULL), ERR_OK);
    assert_int_equal(s.id, 4);
    assert_false(s.known);
    buf_free(&f.payload);
    buf_free(&sums);
}

static void
sums_are_those_of_the_old_bytes(void **state)
{
    struct rig r = { 0 };
    struct peer p;
    struct wire_frame f = { 0 };
    struct digest root;
    struct wire_answer a;
    struct buf b = { 0 }, sums = { 0 };
    uint8_t *const bytes = some_bytes(7);

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    const struct wire_base base = { make_mark(&r, "chengdu", bytes, &root), FILE_BYTES },
                           other = { root, FILE_BYTES };
    struct wire_question q[] = {
        { .kind = OBJECT_MAP, .digest = base.digest, .based = true, .base = base, .sums_of = 1 },
        { .kind = OBJECT_MAP,
          .digest = root,
          .based = true,
          .base = base,
          .sums_of = 1 | 1ull << 3 | 1ull << 9 },
        { .kind = OBJECT_MAP, .digest = root, .based = true, .base = base },
        { .kind = OBJECT_MAP, .digest = root, .based = true, .base = other, .sums_of = 1 },
        { .kind = OBJECT_MAP, .digest = root },
        { .kind = OBJECT_PAGE, .digest = root },
    };
    const struct wire_query query = { 9, q, 6 };
    peer_hello(&r, "chengdu", &p);
    peer_begin(&p, "pension", &f);
    buf_free(&f.payload);
    wire_put_query(&query, &b);
    peer_send(&p, WIRE_QUERY, &b);
    peer_expect(&p, WIRE_ANSWER, &f);
    assert_int_equal(wire_get_answer(f.payload.at, f.payload.size, &a, NULL), ERR_OK);
    assert_int_equal(a.unit, 9);
    assert_int_equal(a.at[0].status, WIRE_HAVE);
    assert_int_equal(a.at[1].status, WIRE_NEED_SUMS);
    assert_int_equal(delta_sums(bytes, BLOCK_BYTES, &sums, NULL), ERR_OK);
    assert_int_equal(delta_sums(bytes + 3 * BLOCK_BYTES, 10000, &sums, NULL), ERR_OK);
    assert_int_equal(a.at[1].sums_bytes, sums.size);
    assert_memory_equal(a.at[1].sums, sums.at, sums.size);
    assert_int_equal(a.at[2].status, WIRE_NEED_SUMS);
    assert_int_equal(a.at[2].sums_bytes, 0);
    assert_int_equal(a.at[3].status, WIRE_NEED);
    assert_int_equal(a.at[4].status, WIRE_NEED);
    assert_int_equal(a.at[5].status, WIRE_HAVE);
    free(a.at);
    buf_free(&f.payload);
    ranges(&p, &base, &other, bytes);
    buf_free(&sums);
    peer_close(&p);
    rig_free(&r);
    free(bytes);
}

static bool
get(struct peer *p, const struct digest *d, struct buf *ret)
{
    const struct wire_get m = { 1, *d };
    struct wire_frame f = { 0 };
    struct wire_got got;
    struct buf b = { 0 };

    wire_put_get(&m, &b);
    peer_send(p, WIRE_GET, &b);
    peer_expect(p, WIRE_GOT, &f);
    assert_int_equal(wire_get_got(f.payload.at, f.payload.size, &got, NULL), ERR_OK);
    const bool known = got.known;
    if (known && ret != NULL)
        buf_put(ret, got.bytes, got.size);
    buf_free(&f.payload);
    return known;
}

static void
pages_of_the_head_mark_and_no_others_are_given(void **state)
{
    struct rig r = { 0 };
    struct peer p;
    struct wire_frame f = { 0 };
    struct digest old_root, root, dir;
    struct tree_page page;
    struct buf bytes = { 0 };
    uint8_t *const one = some_bytes(1), *const two = some_bytes(2);

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    (void)make_mark(&r, "chengdu", one, &old_root);
    (void)make_mark(&r, "chengdu", two, &root);
    peer_hello(&r, "chengdu", &p);
    peer_begin(&p, "pension", &f);
    buf_free(&f.payload);
    /* Not the past; not what nobody has told it of yet. */
    assert_false(get(&p, &old_root, NULL));
    assert_true(get(&p, &root, &bytes));
    assert_int_equal(tree_page_parse(bytes.at, bytes.size, &page, NULL), ERR_OK);
    dir = page.entries[0].digest;
    tree_page_free(&page);
    bytes.size = 0;
    assert_true(get(&p, &dir, &bytes));
    assert_int_equal(tree_page_parse(bytes.at, bytes.size, &page, NULL), ERR_OK);
    assert_int_equal(page.count, 1);
    assert_false(get(&p, &page.entries[0].digest, NULL)); /* a file */
    tree_page_free(&page);
    assert_false(get(&p, &old_root, NULL));
    peer_close(&p);
    /* Out of order: the page is known, but not how this session came to it. */
    peer_hello(&r, "chengdu", &p);
    peer_begin(&p, "pension", &f);
    buf_free(&f.payload);
    assert_false(get(&p, &dir, NULL));
    /* Another source of the same agent has no head. */
    peer_begin(&p, "other", &f);
    buf_free(&f.payload);
    assert_false(get(&p, &root, NULL));
    peer_close(&p);
    buf_free(&bytes);
    rig_free(&r);
    free(one);
    free(two);
}

static void
another_city_is_told_nothing(void **state)
{
    struct rig r = { 0 };
    struct peer p;
    struct wire_frame f = { 0 };
    struct digest root;
    struct wire_answer a;
    struct buf b = { 0 };
    uint8_t *const bytes = some_bytes(7);

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    peer_join(&r, "leshan");
    const struct wire_base base = { make_mark(&r, "chengdu", bytes, &root), FILE_BYTES };
    struct wire_question q[] = {
        { .kind = OBJECT_MAP, .digest = base.digest },
        { .kind = OBJECT_PAGE, .digest = root },
        { .kind = OBJECT_MAP, .digest = root, .based = true, .base = base, .sums_of = 1 },
    };
    const struct wire_query query = { 9, q, 3 };
    peer_hello(&r, "leshan", &p);
    peer_begin(&p, "pension", &f);
    buf_free(&f.payload);
    wire_put_query(&query, &b);
    peer_send(&p, WIRE_QUERY, &b);
    peer_expect(&p, WIRE_ANSWER, &f);
    assert_int_equal(wire_get_answer(f.payload.at, f.payload.size, &a, NULL), ERR_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(a.at[i].status, WIRE_NEED);
    free(a.at);
    buf_free(&f.payload);
    assert_false(get(&p, &root, NULL));
    peer_close(&p);
    rig_free(&r);
    free(bytes);
}

static void
a_blob_that_does_not_open_is_refused(void **state)
{
    static const uint8_t junk[100] = { 1, 2, 3 };
    const struct wire_blob m = { 0, 5000, 1, junk, sizeof junk };
    struct rig r = { 0 };
    struct peer p;
    struct wire_frame f = { 0 };
    struct buf b = { 0 };

    rig_new(state, &r);
    peer_join(&r, "chengdu");
    peer_hello(&r, "chengdu", &p);
    peer_begin(&p, "pension", &f);
    wire_put_blob(&m, &b);
    peer_send(&p, WIRE_BLOB, &b);
    peer_expect_error(&p, ERR_PROTOCOL, "BLOB 0:");
    buf_free(&f.payload);
    peer_close(&p);
    rig_free(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(sums_are_those_of_the_old_bytes),
        unit_test_in_dir(pages_of_the_head_mark_and_no_others_are_given),
        unit_test_in_dir(another_city_is_told_nothing),
        unit_test_in_dir(a_blob_that_does_not_open_is_refused),
    };

    return cmocka_run_group_tests_name("replicator/session_data", tests, NULL, NULL);
}
