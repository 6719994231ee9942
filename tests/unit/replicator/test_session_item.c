/* Items: what the site makes of ops and old bytes, and what it refuses.  Method: random files made of a random old one, read back from
 * the store; then one lie at a time. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/replicator/site_fixture.h"
#include "snapshot/merkle.h"
#include "snapshot/read.h"

#define OLD_BYTES (5u * MIB + 12345)
#define BLOB_BYTES (200u * KIB)

/* An agent in an upload, and an old file of two maps at the site. */
struct work {
    struct rig r;
    struct peer p;
    struct wire_frame f;
    uint8_t *old; /* [OLD_BYTES] */
    struct wire_base base;
    uint32_t blobs; /* sent so far */
    uint64_t seed;
};

static void
map_of(const uint8_t *bytes, uint32_t size, struct digest *blocks, struct digest *ret)
{
    for (uint32_t n = 0; n < merkle_blocks(size); n++)
        merkle_leaf(bytes + n * BLOCK_BYTES,
                    size - n * BLOCK_BYTES < BLOCK_BYTES ? size - n * BLOCK_BYTES : BLOCK_BYTES, &blocks[n]);
    merkle_root(blocks, merkle_blocks(size), ret);
}

static void
send_item(struct work *w, const struct wire_item *it)
{
    struct buf b = { 0 };

    wire_put_item(it, &b);
    peer_send(&w->p, WIRE_ITEMS, &b);
}

/* QUERY for one object; the answer comes after the jobs before it have at least begun, so ask until it is there. */
static void
wait_for(struct work *w, uint8_t kind, const struct digest *d)
{
    struct wire_question q = { .kind = kind, .digest = *d };
    const struct wire_query query = { 1, &q, 1 };

    for (uint8_t status = 0; status != WIRE_HAVE;) {
        struct wire_answer a;
        struct wire_frame f = { 0 };
        struct buf b = { 0 };

        wire_put_query(&query, &b);
        peer_send(&w->p, WIRE_QUERY, &b);
        peer_expect(&w->p, WIRE_ANSWER, &f);
        assert_int_equal(wire_get_answer(f.payload.at, f.payload.size, &a, NULL), ERR_OK);
        status = a.at[0].status;
        free(a.at);
        buf_free(&f.payload);
    }
}

/* All of size bytes as literals. */
static void
send_map_plain(struct work *w, const uint8_t *bytes, uint32_t size, struct digest *ret)
{
    struct wire_item *const it = calloc(1, sizeof *it);
    struct wire_op *const ops = calloc(MAP_BYTES / BLOB_BYTES + 1, sizeof *ops);

    for (uint32_t off = 0; off < size; off += BLOB_BYTES) {
        const uint32_t n = size - off < BLOB_BYTES ? size - off : BLOB_BYTES;

        peer_blob(&w->p, w->blobs, bytes + off, n);
        ops[it->op_count++] = (struct wire_op){ .kind = DELTA_LITERAL, .len = n, .blob = w->blobs++ };
    }
    it->kind = OBJECT_MAP;
    it->bytes = size;
    it->ops = ops;
    map_of(bytes, size, it->blocks, &it->digest);
    send_item(w, it);
    *ret = it->digest;
    free(ops);
    free(it);
}

static void
work_begin(struct work *w)
{
    w->blobs = 0;
    peer_hello(&w->r, "chengdu", &w->p);
    peer_begin(&w->p, "pension", &w->f);
    buf_free(&w->f.payload);
}

static void
work_new(void **state, struct work *w)
{
    struct digest maps[2];
    struct wire_object node = { .kind = OBJECT_NODE, .bytes = maps[0].at, .size = sizeof maps };
    struct buf b = { 0 };

    rig_new(state, &w->r);
    peer_join(&w->r, "chengdu");
    w->seed = unit_seed();
    w->old = malloc(OLD_BYTES);
    for (size_t i = 0; i < OLD_BYTES; i++)
        w->old[i] = (uint8_t)unit_random(&w->seed);
    memset(w->old + 3 * BLOCK_BYTES, 0, 2 * BLOCK_BYTES); /* a hole */
    work_begin(w);
    send_map_plain(w, w->old, MAP_BYTES, &maps[0]);
    send_map_plain(w, w->old + MAP_BYTES, OLD_BYTES - MAP_BYTES, &maps[1]);
    wire_put_object(&node, &b);
    merkle_root(maps, 2, &w->base.digest);
    w->base.size = OLD_BYTES;
    peer_send(&w->p, WIRE_OBJECTS, &b);
    wait_for(w, OBJECT_MAP, &maps[0]);
    wait_for(w, OBJECT_MAP, &maps[1]);
    wait_for(w, OBJECT_NODE, &w->base.digest);
    /* A base is looked for in what is committed. */
    peer_close(&w->p);
    rig_restart(&w->r);
    work_begin(w);
}

static void
work_free(struct work *w)
{
    peer_close(&w->p);
    rig_free(&w->r);
    free(w->old);
}

static uint32_t
below(struct work *w, uint32_t bound)
{
    return (uint32_t)(unit_random(&w->seed) % bound);
}

/* The next op: some of the old file, new bytes, or zeros. */
static uint32_t
random_op(struct work *w, uint8_t *bytes, uint32_t room, struct wire_op *op)
{
    uint32_t len = 1 + below(w, below(w, 2) ? 300000 : 3000);

    if (len > room)
        len = room;
    *op = (struct wire_op){ .len = len };
    switch (below(w, 4)) {
    case 0:
        op->kind = DELTA_LITERAL;
        if (op->len > BLOB_RAW_MAX)
            op->len = BLOB_RAW_MAX;
        for (uint32_t i = 0; i < op->len; i++)
            bytes[i] = (uint8_t)unit_random(&w->seed);
        op->blob = w->blobs++;
        peer_blob(&w->p, op->blob, bytes, op->len);
        break;
    case 1:
        op->kind = DELTA_ZERO;
        memset(bytes, 0, len);
        break;
    default:
        op->kind = DELTA_COPY;
        op->off = below(w, OLD_BYTES - len);
        memcpy(bytes, w->old + op->off, len);
    }
    return op->len;
}

static uint32_t
in_block(uint32_t size, uint32_t n)
{
    return size - n * BLOCK_BYTES < BLOCK_BYTES ? size - n * BLOCK_BYTES : BLOCK_BYTES;
}

/* A new map of blocks that are the base's, zero, or made of ops. */
static uint32_t
random_map(struct work *w, uint8_t *bytes, struct wire_item *it)
{
    static struct wire_op ops[WIRE_OPS_MAX];
    const uint32_t size = below(w, 2) ? MAP_BYTES : 1 + below(w, MAP_BYTES);
    const uint32_t old_size = OLD_BYTES - MAP_BYTES;

    memset(it, 0, sizeof *it);
    *it = (struct wire_item){
        .kind = OBJECT_MAP, .bytes = size, .based = true, .base = w->base, .base_map = 1, .ops = ops
    };
    for (uint32_t n = 0; n < merkle_blocks(size); n++) {
        const uint32_t len = in_block(size, n);
        uint8_t *const at = bytes + n * BLOCK_BYTES;
        const unsigned what = below(w, 3);

        if (what == 0 && n * BLOCK_BYTES < old_size && in_block(old_size, n) == len) {
            it->same |= 1ull << n;
            memcpy(at, w->old + MAP_BYTES + n * BLOCK_BYTES, len);
        } else if (what == 1) {
            it->zero |= 1ull << n;
            memset(at, 0, len);
        } else {
            for (uint32_t done = 0; done < len;)
                done += random_op(w, at + done, len - done, &ops[it->op_count++]);
        }
    }
    map_of(bytes, size, it->blocks, &it->digest);
    return size;
}

static void
maps_made_of_old_and_new_bytes_read_back_right(void **state)
{
    struct work w = { 0 };
    uint8_t *const bytes = malloc(MAP_BYTES), *const back = malloc(MAP_BYTES);
    struct wire_item *const it = calloc(1, sizeof *it);
    struct digest digests[40];
    uint8_t *kept[40];
    uint32_t sizes[40];

    work_new(state, &w);
    for (int i = 0; i < 40; i++) {
        sizes[i] = random_map(&w, bytes, it);
        digests[i] = it->digest;
        kept[i] = malloc(sizes[i]);
        memcpy(kept[i], bytes, sizes[i]);
        send_item(&w, it);
    }
    for (int i = 0; i < 40; i++)
        wait_for(&w, OBJECT_MAP, &digests[i]);
    peer_close(&w.p);
    rig_restart(&w.r);
    struct reader *reader = reader_new(w.r.site.store, 1, 16u * MIB);
    for (int i = 0; i < 40; i++) {
        struct map m = { 0 };

        assert_int_equal(reader_map(reader, &digests[i], sizes[i], &m, NULL), ERR_OK);
        for (uint32_t n = 0; n < merkle_blocks(sizes[i]); n++)
            assert_int_equal(reader_block(reader, &m, n, back + n * BLOCK_BYTES, NULL), ERR_OK);
        assert_memory_equal(back, kept[i], sizes[i]);
        map_free(&m);
        free(kept[i]);
    }
    reader_free(&reader);
    rig_free(&w.r);
    free(w.old);
    free(bytes);
    free(back);
    free(it);
}

/* As many pieces as a map may have are kept; in the second map each op straddles two extents of the old one, which gives more: it is
 * written anew. */
static void
a_map_in_too_many_pieces_is_written_anew(void **state)
{
    struct work w = { 0 };
    struct wire_item *const it = calloc(1, sizeof *it);
    struct wire_op *const ops = calloc(WIRE_OPS_MAX, sizeof *ops);
    uint8_t *const bytes = malloc(MAP_BYTES);
    struct map m = { 0 };
    struct digest first;

    work_new(state, &w);
    *it = (struct wire_item){
        .kind = OBJECT_MAP, .bytes = WIRE_OPS_MAX * 16, .based = true, .base = w.base, .ops = ops
    };
    for (uint32_t i = 0; i < WIRE_OPS_MAX; i++) {
        ops[it->op_count++] = (struct wire_op){ .kind = DELTA_COPY,
                                                .len = 16,
                                                .off = (i + 1) * BLOB_BYTES % (20 * BLOB_BYTES) };
        memcpy(bytes + i * 16, w.old + ops[i].off, 16);
    }
    map_of(bytes, it->bytes, it->blocks, &it->digest);
    first = it->digest;
    send_item(&w, it);
    wait_for(&w, OBJECT_MAP, &first);
    it->op_count = 0;
    for (uint32_t i = 0; i < WIRE_OPS_MAX; i++) {
        const uint32_t off = 8 + (i % 5) * BLOB_BYTES;

        ops[it->op_count++] = (struct wire_op){ .kind = DELTA_COPY,
                                                .len = 16,
                                                .off = (off + BLOB_BYTES - 16) % (20 * BLOB_BYTES) };
        memcpy(bytes + i * 16, w.old + ops[i].off, 16);
    }
    map_of(bytes, it->bytes, it->blocks, &it->digest);
    send_item(&w, it);
    wait_for(&w, OBJECT_MAP, &it->digest);
    peer_close(&w.p);
    rig_restart(&w.r);
    struct reader *reader = reader_new(w.r.site.store, 1, 16u * MIB);
    assert_int_equal(reader_map(reader, &first, it->bytes, &m, NULL), ERR_OK);
    assert_int_equal(m.extent_count, WIRE_OPS_MAX);
    map_free(&m);
    assert_int_equal(reader_map(reader, &it->digest, it->bytes, &m, NULL), ERR_OK);
    assert_int_equal(m.extent_count, 1);
    uint8_t *const back = malloc(BLOCK_BYTES);
    assert_int_equal(reader_block(reader, &m, 0, back, NULL), ERR_OK);
    assert_memory_equal(back, bytes, BLOCK_BYTES);
    free(back);
    map_free(&m);
    reader_free(&reader);
    rig_free(&w.r);
    free(w.old);
    free(bytes);
    free(ops);
    free(it);
}

/* A good item of two blocks, each lie changes it. */
struct lie {
    struct wire_item it;
    struct wire_op ops[2];
};
static void
lie_block_digest(struct lie *l)
{
    l->it.blocks[0].at[5] ^= 1;
}
static void
lie_map_digest(struct lie *l)
{
    l->it.digest.at[31] ^= 0x80;
}
static void
lie_other_bytes(struct lie *l)
{
    l->ops[0].off++;
}
static void
lie_outside_blob(struct lie *l)
{
    l->ops[0].off = 40;
}
static void
lie_far_outside_blob(struct lie *l)
{
    l->ops[0].off = BLOB_RAW_MAX - BLOCK_BYTES;
}
static void
lie_blob_to_come(struct lie *l)
{
    l->ops[0].blob = 1;
}
static void
lie_blob_never(struct lie *l)
{
    l->ops[0].blob = UINT32_MAX;
}
static void
lie_base_unknown(struct lie *l)
{
    l->it.base.digest.at[0] ^= 1;
}
static void
lie_base_size(struct lie *l)
{
    l->it.base.size--;
    l->ops[1].off = MAP_BYTES + 999;
}
static void
lie_base_shape(struct lie *l)
{
    l->it.base.size = 100;
    l->ops[1].off = 0;
    l->ops[1].len = 100;
    l->it.bytes = BLOCK_BYTES + 100;
}
static void
lie_copy_other(struct lie *l)
{
    l->ops[1].off += 77;
}
static void
lie_same_short(struct lie *l)
{
    l->it.op_count = 1;
    l->it.bytes = BLOCK_BYTES + 100;
    l->it.same = 2;
}

static void
each_lie_about_an_item_is_told(void **state)
{
    static const struct {
        const char *name;
        void (*tell)(struct lie *l);
        enum err_kind kind;
        const char *says;
    } cases[] = {
        { "a block's digest", lie_block_digest, ERR_PROTOCOL, "block 0 of map" },
        { "the map's digest", lie_map_digest, ERR_PROTOCOL, "do not have its digest" },
        { "other bytes", lie_other_bytes, ERR_PROTOCOL, "block 0 of map" },
        { "outside of the blob", lie_outside_blob, ERR_PROTOCOL, "outside of its blob" },
        { "far outside of the blob", lie_far_outside_blob, ERR_PROTOCOL, "outside of its blob" },
        { "a blob to come", lie_blob_to_come, ERR_PROTOCOL, "blob 1 was not sent" },
        { "a blob that never was", lie_blob_never, ERR_PROTOCOL, "blob 4294967295 was not sent" },
        { "an unknown base", lie_base_unknown, ERR_ABSENT, "the base of an item" },
        { "a base of another size", lie_base_size, ERR_CORRUPT, "the base of an item" },
        { "a base of another shape", lie_base_shape, ERR_ABSENT, "the base of an item" },
        { "another part of the base", lie_copy_other, ERR_PROTOCOL, "block 1 of map" },
        { "a short block like the base's", lie_same_short, ERR_PROTOCOL, "block 1 is said to be the base's" },
    };
    struct work w = { 0 };
    struct lie *const l = calloc(1, sizeof *l);
    uint8_t *const bytes = malloc(2 * BLOCK_BYTES);

    work_new(state, &w);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("%s\n", cases[i].name);
        memcpy(bytes, w.old + 7, BLOCK_BYTES + 2);
        memcpy(bytes + BLOCK_BYTES, w.old + 999, BLOCK_BYTES);
        memset(l, 0, sizeof *l);
        l->ops[0] = (struct wire_op){ .kind = DELTA_LITERAL, .len = BLOCK_BYTES, .off = 2 };
        l->ops[1] = (struct wire_op){ .kind = DELTA_COPY, .len = BLOCK_BYTES, .off = 999 };
        l->it = (struct wire_item){ .kind = OBJECT_MAP,
                                    .bytes = 2 * BLOCK_BYTES,
                                    .based = true,
                                    .base = w.base,
                                    .ops = l->ops,
                                    .op_count = 2 };
        map_of(bytes, 2 * BLOCK_BYTES, l->it.blocks, &l->it.digest);
        /* Two bytes in front, so that the literal can be moved. */
        uint8_t *const blob = malloc(BLOCK_BYTES + 3);
        blob[0] = blob[1] = blob[BLOCK_BYTES + 2] = 1;
        memcpy(blob + 2, bytes, BLOCK_BYTES);
        peer_blob(&w.p, 0, blob, BLOCK_BYTES + 3);
        free(blob);
        cases[i].tell(l);
        send_item(&w, &l->it);
        peer_expect_error(&w.p, cases[i].kind, cases[i].says);
        peer_close(&w.p);
        work_begin(&w);
    }
    free(l);
    free(bytes);
    work_free(&w);
}

static void
a_file_of_one_block_is_held_to_its_digest(void **state)
{
    static const char text[] = "one small file";
    struct wire_op op = { .kind = DELTA_LITERAL, .len = sizeof text };
    struct wire_item it = { .kind = OBJECT_BLOCK, .bytes = sizeof text, .ops = &op, .op_count = 1 };
    struct work w = { 0 };

    rig_new(state, &w.r);
    peer_join(&w.r, "chengdu");
    for (int lie = 0; lie < 2; lie++) {
        struct wire_frame f = { 0 };

        peer_hello(&w.r, "chengdu", &w.p);
        peer_begin(&w.p, "pension", &f);
        buf_free(&f.payload);
        peer_blob(&w.p, 0, text, sizeof text);
        merkle_leaf(text, sizeof text, &it.digest);
        it.digest.at[0] ^= (uint8_t)lie;
        send_item(&w, &it);
        if (lie)
            peer_expect_error(&w.p, ERR_PROTOCOL, "is not what its digest");
        else
            wait_for(&w, OBJECT_BLOCK, &it.digest);
        peer_close(&w.p);
    }
    rig_free(&w.r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(maps_made_of_old_and_new_bytes_read_back_right),
        unit_test_in_dir(a_map_in_too_many_pieces_is_written_anew),
        unit_test_in_dir(each_lie_about_an_item_is_told),
        unit_test_in_dir(a_file_of_one_block_is_held_to_its_digest),
    };

    return cmocka_run_group_tests_name("replicator/session_item", tests, NULL, NULL);
}
