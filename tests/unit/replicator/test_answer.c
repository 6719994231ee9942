/* What a worker sends of a changed map gives the new bytes, built from the old ones as the site builds them.
 * Method: random old and new files (pages changed, bytes moved, zeros), a site of our own that answers with sums and builds the map
 * from BLOB and ITEMS alone; with and without facts of the table, with and without a base at the site. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/zip.h"
#include "replicator/answer.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

/* The site: what came, and the old file. */
static struct {
    uint8_t *old;
    uint64_t old_size;
    bool knows_base;
    struct buf *blobs;
    uint32_t blob_count;
    struct buf items;
    struct wire_frame answer;
    struct {
        uint32_t id;
        link_answer_fn *fn;
        void *arg;
    } waiting[16];
    uint32_t next_id;
    uint64_t literal;
} site;

static struct pass pass;
static struct unit *ready;
static bool done;

void
work_ready(struct unit *u)
{
    ready = u;
}

void
unit_done(struct unit *u)
{
    (void)u;
    done = true;
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
    uint32_t id = ++site.next_id;
    site.waiting[id % 16].id = id;
    site.waiting[id % 16].fn = fn;
    site.waiting[id % 16].arg = arg;
    return id;
}

static void
give(uint32_t id, enum wire_type type, struct buf *payload)
{
    struct wire_frame f = { .type = type, .payload = *payload };
    assert_int_equal(site.waiting[id % 16].id, id);
    site.waiting[id % 16].fn(site.waiting[id % 16].arg, &f);
    buf_free(&f.payload);
}

static void
answer_query(const struct buf *payload)
{
    struct wire_query q = { 0 };
    assert_int_equal(wire_get_query(payload->at, payload->size, &q, NULL), ERR_OK);
    assert_int_equal(q.count, 1);
    struct wire_reply reply = { .status = WIRE_NEED };
    AUTO(buf_free) struct buf sums = { 0 };
    for (uint32_t b = 0; q.at[0].based && site.knows_base && b < MAP_BLOCKS; b++) {
        uint64_t at = q.at[0].base_map * (uint64_t)MAP_BYTES + (uint64_t)b * BLOCK_BYTES;
        if ((q.at[0].sums_of >> b & 1) == 0 || at >= site.old_size)
            continue;
        uint64_t size = site.old_size - at < BLOCK_BYTES ? site.old_size - at : BLOCK_BYTES;
        assert_int_equal(delta_sums(site.old + at, size, &sums, NULL), ERR_OK);
    }
    if (q.at[0].based && site.knows_base)
        reply = (struct wire_reply){ WIRE_NEED_SUMS, sums.at, sums.size };
    struct wire_answer a = { .unit = q.unit, .at = &reply, .count = 1 };
    struct buf out = { 0 };
    wire_put_answer(&a, &out);
    free(q.at);
    give(a.unit, WIRE_ANSWER, &out);
}

static void
answer_want(const struct buf *payload)
{
    struct wire_want w;
    assert_int_equal(wire_get_want(payload->at, payload->size, &w, NULL), ERR_OK);
    assert_true(w.off + w.len <= site.old_size);
    AUTO(buf_free) struct buf sums = { 0 };
    if (site.knows_base)
        assert_int_equal(delta_sums(site.old + w.off, w.len, &sums, NULL), ERR_OK);
    struct wire_sums m = { .id = w.id, .known = site.knows_base, .sums = sums.at, .sums_bytes = sums.size };
    struct buf out = { 0 };
    wire_put_sums(&m, &out);
    give(w.id, WIRE_SUMS, &out);
}

static void
keep_blob(const struct buf *payload)
{
    struct wire_blob b;
    assert_int_equal(wire_get_blob(payload->at, payload->size, &b, NULL), ERR_OK);
    assert_int_equal(b.number, site.blob_count); /* without a gap */
    site.blobs = mem_grow(site.blobs, site.blob_count + 1, sizeof(*site.blobs));
    struct buf *at = &site.blobs[site.blob_count++];
    *at = (struct buf){ 0 };
    buf_reserve(at, b.raw);
    at->size = b.raw;
    if (b.zip)
        assert_int_equal(zip_unpack(b.bytes, b.stored, at->at, b.raw, NULL), ERR_OK);
    else
        memcpy(at->at, b.bytes, b.raw);
}

enum err_kind
link_send(struct link *l, enum wire_type type, const struct buf *payload, struct err *err)
{
    (void)l;
    (void)err;
    if (type == WIRE_QUERY)
        answer_query(payload);
    else if (type == WIRE_WANT)
        answer_want(payload);
    else if (type == WIRE_BLOB)
        keep_blob(payload);
    else if (type == WIRE_ITEMS)
        buf_put(&site.items, payload->at, payload->size);
    else
        fail_msg("frame %d", (int)type);
    return ERR_OK;
}

enum err_kind
table_find_prints(struct table_view *v, const struct table_key *key, uint64_t map, int64_t read_ns,
                  struct table_prints *ret)
{
    (void)v;
    (void)key;
    (void)read_ns;
    uint64_t at = map * MAP_BYTES;
    ret->count = 0;
    for (; at < site.old_size && ret->count < MAP_BLOCKS; at += BLOCK_BYTES) {
        struct digest d;
        uint64_t size = site.old_size - at < BLOCK_BYTES ? site.old_size - at : BLOCK_BYTES;
        if (merkle_zero_bytes(site.old + at, size))
            merkle_zero(size, &d);
        else
            merkle_leaf(site.old + at, size, &d);
        memcpy(ret->at[ret->count++], d.at, TABLE_PRINT_BYTES);
    }
    return ret->count > 0 ? ERR_OK : ERR_ABSENT;
}

/* What the site would build of one op. */
static uint32_t
put_op(const struct wire_item *it, const struct wire_op *op, uint32_t done_bytes, uint8_t *to, uint32_t room)
{
    uint32_t len = op->len - done_bytes < room ? op->len - done_bytes : room;
    if (op->kind == DELTA_ZERO) {
        memset(to, 0, len);
    } else if (op->kind == DELTA_COPY) {
        assert_true(it->based && op->off + op->len <= site.old_size);
        memcpy(to, site.old + op->off + done_bytes, len);
    } else {
        assert_true(op->blob < site.blob_count && op->off + op->len <= site.blobs[op->blob].size);
        memcpy(to, site.blobs[op->blob].at + op->off + done_bytes, len);
        site.literal += len;
    }
    return len;
}

static void
build(const struct wire_item *it, uint8_t *to)
{
    size_t op = 0;
    uint32_t used = 0;
    for (uint32_t b = 0; b < merkle_blocks(it->bytes); b++) {
        uint32_t at = b * BLOCK_BYTES, size = it->bytes - at < BLOCK_BYTES ? it->bytes - at : BLOCK_BYTES;
        if (it->zero >> b & 1) {
            memset(to + at, 0, size);
        } else if (it->based && (it->same >> b & 1)) {
            uint64_t from = it->base_map * (uint64_t)MAP_BYTES + at;
            assert_true(from + size <= site.old_size);
            memcpy(to + at, site.old + from, size);
        } else {
            for (uint32_t n = 0; n < size;) {
                assert_true(op < it->op_count);
                uint32_t some = put_op(it, &it->ops[op], used, to + at + n, size - n);
                n += some;
                used += some;
                if (used == it->ops[op].len) {
                    op++;
                    used = 0;
                }
            }
        }
    }
    assert_int_equal(op, it->op_count);
}

struct trial {
    const uint8_t *bytes; /* the new file */
    uint64_t size;
    uint64_t map;
    bool based, printed;
};

static void
run(const struct trial *t)
{
    struct cargo *cargo = cargo_new(&pass);
    struct worker w = { .pass = &pass, .cargo = cargo, .view = (struct table_view *)&pass };
    struct file f = {
        .pass = &pass, .based = t->based, .printed = t->printed, .base = { .size = site.old_size }
    };
    f.window_count = (uint32_t)((t->size + WINDOW_BYTES - 1) / WINDOW_BYTES);
    f.windows = mem_zero(f.window_count, sizeof(*f.windows));
    struct part part = {
        .file = &f, .map = t->map, .file_size = t->size, .bytes = merkle_map_bytes(t->size, t->map)
    };
    struct digest blocks[MAP_BLOCKS];
    uint8_t *buffer = mem_copy(t->bytes + t->map * MAP_BYTES, part.bytes);
    struct unit u = { .pass = &pass, .buffer = buffer, .parts = &part, .count = 1, .blocks = blocks };
    bool asked = false;
    site.items.size = 0;
    site.literal = 0;
    done = false;
    ready = NULL;
    digest_part(&w, &u, &part);
    assert_int_equal(ask_unit(&w, &u, &asked, NULL), ERR_OK);
    assert_true(asked);
    for (int i = 0; !done; i++) {
        assert_true(i < 3 && ready == &u);
        assert_int_equal(answer_unit(&w, &u, NULL), ERR_OK);
    }
    assert_int_equal(cargo_flush(cargo, NULL), ERR_OK);
    struct cut c = cut_of(site.items.at, site.items.size);
    struct wire_item it;
    struct err err = { 0 };
    if (wire_next_item(&c, &it, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_true(cut_done(&c));
    uint8_t *back = mem_alloc(part.bytes);
    build(&it, back);
    assert_memory_equal(back, buffer, part.bytes);
    wire_item_free(&it);
    free(back);
    free(buffer);
    for (uint32_t i = 0; i < f.window_count; i++)
        window_free(&f.windows[i]);
    free(f.windows);
    buf_free(&u.frame.payload);
    cargo_free(&cargo);
    for (uint32_t i = 0; i < site.blob_count; i++)
        buf_free(&site.blobs[i]);
    free(site.blobs);
    site.blobs = NULL;
    site.blob_count = 0;
    pass.next_blob = 0;
}

static uint8_t *
change(uint64_t *ret_size)
{
    uint64_t size = 1 + seed_below(9u * MIB);
    uint8_t *new = mem_zero(size, 1);
    uint64_t shift = seed_below(3) == 0 ? seed_below(100000) : 0;
    for (uint64_t i = 0; i < size && i < site.old_size + shift; i++)
        new[i] = i < shift ? (uint8_t)seed_next() : site.old[i - shift];
    uint64_t edits = seed_below(60);
    for (uint64_t n = 0; n < edits; n++) {
        uint64_t at = seed_below(size), len = seed_below(seed_below(4) == 0 ? 400000 : 5000);
        int value = seed_below(4) == 0 ? 0 : -1;
        for (uint64_t i = at; i < size && i < at + len; i++)
            new[i] = value == 0 ? 0 : (uint8_t)seed_next();
    }
    *ret_size = size;
    return new;
}

static void
what_is_sent_gives_the_new_bytes(void **state)
{
    (void)state;
    seed_start();
    for (int round = 0; round < 40; round++) {
        site.old_size = 1 + seed_below(9u * MIB);
        site.old = mem_alloc(site.old_size);
        seed_fill(site.old, site.old_size);
        if (seed_below(2) == 0)
            memset(site.old, 0, seed_below(site.old_size));
        struct trial t = { .based = seed_below(4) != 0 };
        uint8_t *new = change(&t.size);
        t.bytes = new;
        t.printed = t.based && seed_below(2) == 0;
        site.knows_base = seed_below(4) != 0;
        for (t.map = 0; t.map < merkle_maps(t.size); t.map++)
            run(&t);
        free(new);
        free(site.old);
    }
}

/* DESIGN section 4: a changed page costs about a page, moved bytes cost nothing. */
static void
a_changed_page_costs_a_page_and_inserted_bytes_their_own_size(void **state)
{
    (void)state;
    seed_start();
    site.old_size = 2 * MAP_BYTES;
    site.old = mem_alloc(site.old_size);
    seed_fill(site.old, site.old_size);
    site.knows_base = true;
    uint8_t *new = mem_copy(site.old, site.old_size);
    new[300000] ^= 1;
    struct trial t = { .bytes = new, .size = site.old_size, .based = true, .printed = true };
    run(&t);
    assert_int_equal(site.literal, DELTA_BLOCK_BYTES);
    t.printed = false; /* the table was lost */
    run(&t);
    assert_int_equal(site.literal, DELTA_BLOCK_BYTES);
    memmove(new + 1000, new, site.old_size - 1000);
    seed_fill(new, 1000);
    t.printed = true;
    run(&t);
    assert_true(site.literal < 1000 + 3 * DELTA_BLOCK_BYTES);
    free(new);
    free(site.old);
}

int
main(void)
{
    pthread_mutex_init(&pass.lock, NULL);
    pthread_mutex_init(&pass.blob_lock, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_gives_the_new_bytes),
        cmocka_unit_test(a_changed_page_costs_a_page_and_inserted_bytes_their_own_size),
    };
    int failed = cmocka_run_group_tests_name("replicator/answer", tests, NULL, NULL);
    buf_free(&site.items);
    return failed;
}
