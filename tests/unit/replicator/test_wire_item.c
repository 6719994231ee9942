/* Items and objects.  Method: as in test_wire_open.c, several in a payload; a table of items that break one rule each. */
#include "tests/unit/replicator/wire_table.h"

static enum err_kind
recode_items(const void *bytes, size_t size, struct buf *ret, struct err *err)
{
    struct wire_item *const it = calloc(1, sizeof *it);
    struct cut c = cut_of(bytes, size);
    enum err_kind kind = size == 0 ? wire_next_item(&c, it, err) : ERR_OK;

    while (kind == ERR_OK && c.left > 0) {
        kind = wire_next_item(&c, it, err);
        if (kind == ERR_OK)
            wire_put_item(it, ret);
        wire_item_free(it);
    }
    free(it);
    return kind;
}

static struct wire_op ops_sample[] = {
    { .kind = DELTA_COPY, .len = 60000, .off = 5000000 },
    { .kind = DELTA_LITERAL, .len = 5000, .off = 1000, .blob = 7 },
    { .kind = DELTA_ZERO, .len = 536 },
    { .kind = DELTA_LITERAL, .len = 100, .off = 0, .blob = 300000 },
};

/* Four blocks, the last of 100 bytes: the base's, new, zero, new. */
static struct wire_item
sample(void)
{
    struct wire_item it = { .kind = OBJECT_MAP,
                            .digest = { { 1 } },
                            .bytes = 3 * BLOCK_BYTES + 100,
                            .based = true,
                            .base = { { { 2 } }, 9u * MIB },
                            .base_map = 1,
                            .same = 1,
                            .zero = 4,
                            .ops = ops_sample,
                            .op_count = 4 };

    it.blocks[1].at[0] = 3;
    it.blocks[3].at[0] = 4;
    return it;
}

static void
items_are_read_as_they_were_written_and_no_other_way(void **state)
{
    struct wire_op literal = { .kind = DELTA_LITERAL, .len = 1234, .off = 99, .blob = 5 };
    const struct wire_item block = {
        .kind = OBJECT_BLOCK, .digest = { { 9 } }, .bytes = 1234, .ops = &literal, .op_count = 1
    };
    struct wire_item all = { .kind = OBJECT_MAP, .bytes = MAP_BYTES, .zero = UINT64_MAX };
    const struct wire_item map = sample();
    struct buf b = { 0 }, again = { 0 };

    (void)state;
    wire_put_item(&map, &b);
    check_payload("ITEMS", recode_items, &b);
    b.size = 0;
    wire_put_item(&block, &b);
    check_payload("ITEMS", recode_items, &b);
    b.size = 0;
    wire_put_item(&all, &b);
    check_payload("ITEMS", recode_items, &b);
    wire_put_item(&map, &b);
    wire_put_item(&block, &b);
    assert_int_equal(recode_items(b.at, b.size, &again, NULL), ERR_OK);
    assert_int_equal(again.size, b.size);
    assert_memory_equal(again.at, b.at, b.size);
    buf_free(&b);
    buf_free(&again);
}

static void
what_was_read_is_what_was_meant(void **state)
{
    const struct wire_item it = sample();
    struct wire_item *const got = calloc(1, sizeof *got);
    struct buf b = { 0 };

    (void)state;
    wire_put_item(&it, &b);
    struct cut c = cut_of(b.at, b.size);
    assert_int_equal(wire_next_item(&c, got, NULL), ERR_OK);
    assert_int_equal(c.left, 0);
    assert_int_equal(got->bytes, it.bytes);
    assert_int_equal(got->same, 1);
    assert_int_equal(got->zero, 4);
    assert_int_equal(got->blocks[1].at[0], 3);
    assert_int_equal(got->blocks[3].at[0], 4);
    assert_int_equal(got->op_count, 4);
    assert_int_equal(got->ops[3].blob, 300000);
    assert_int_equal(got->ops[0].off, 5000000);
    wire_item_free(got);
    free(got);
    buf_free(&b);
}

/* Each breaks one rule of a sample that is good otherwise. */
static void
break_same_without_block(struct wire_item *it)
{
    it->same |= 1ull << 4;
}
static void
break_zero_without_block(struct wire_item *it)
{
    it->zero |= 1ull << 63;
}
static void
break_same_and_zero(struct wire_item *it)
{
    it->same |= 4;
}
static void
break_base_map(struct wire_item *it)
{
    it->base_map = 3;
}
static void
break_base_size(struct wire_item *it)
{
    it->base.size = 0;
}
static void
break_copy_outside(struct wire_item *it)
{
    it->ops[0].off = 9u * MIB - 59999;
}
static void
break_copy_far_outside(struct wire_item *it)
{
    it->ops[0].off = UINT64_MAX;
}
static void
break_literal_outside(struct wire_item *it)
{
    it->ops[1].off = BLOB_RAW_MAX - 4999;
}
static void
break_kind_of_op(struct wire_item *it)
{
    it->ops[2].kind = 4;
}
static void
break_too_few(struct wire_item *it)
{
    it->ops[3].len = 99;
}
static void
break_too_many(struct wire_item *it)
{
    it->ops[3].len = 101;
}
static void
break_empty_op(struct wire_item *it)
{
    it->ops[2].len = 0;
}
static void
break_last_op_missing(struct wire_item *it)
{
    it->op_count = 3;
}
static void
break_copy_without_base(struct wire_item *it)
{
    it->based = false;
    it->blocks[0].at[0] = 1;
    it->same = 0;
}

static void
an_item_that_breaks_a_rule_is_refused_and_the_field_named(void **state)
{
    static const struct {
        void (*change)(struct wire_item *it);
        const char *field;
    } cases[] = {
        { break_same_without_block, "same" },
        { break_zero_without_block, "zero" },
        { break_same_and_zero, "zero" },
        { break_base_map, "base map" },
        { break_base_size, "base size" },
        { break_copy_outside, "op offset" },
        { break_copy_far_outside, "op offset" },
        { break_literal_outside, "op offset" },
        { break_kind_of_op, "op kind" },
        { break_too_few, "lengths together" },
        { break_too_many, "lengths together" },
        { break_empty_op, "op length" },
        { break_last_op_missing, "lengths together" },
        { break_copy_without_base, "op kind" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_op ops[4];
        struct wire_item it = sample();
        struct buf b = { 0 };

        memcpy(ops, ops_sample, sizeof ops);
        it.ops = ops;
        cases[i].change(&it);
        wire_put_item(&it, &b);
        check_refused(cases[i].field, recode_items, &b);
        buf_free(&b);
    }
}

static void
sizes_and_kinds_out_of_bounds_are_refused(void **state)
{
    static const struct {
        uint8_t kind;
        uint64_t bytes;
        const char *field;
    } cases[] = {
        { OBJECT_BLOCK, 0, "bytes" },
        { OBJECT_BLOCK, BLOCK_BYTES + 1, "bytes" },
        { OBJECT_MAP, MAP_BYTES + 1, "bytes" },
        { OBJECT_MAP, UINT64_MAX, "bytes" },
        { OBJECT_PAGE, 10, "kind" },
    };
    static const uint8_t more[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = { 0 };

        buf_u8(&b, cases[i].kind);
        buf_put(&b, more, HASH_BYTES);
        buf_varint(&b, cases[i].bytes);
        buf_put(&b, more, sizeof more);
        check_refused(cases[i].field, recode_items, &b);
        buf_free(&b);
    }
}

static enum err_kind
recode_objects(const void *bytes, size_t size, struct buf *ret, struct err *err)
{
    struct cut c = cut_of(bytes, size);
    struct wire_object o;
    enum err_kind kind = size == 0 ? wire_next_object(&c, &o, err) : ERR_OK;

    while (kind == ERR_OK && c.left > 0) {
        kind = wire_next_object(&c, &o, err);
        if (kind == ERR_OK)
            wire_put_object(&o, ret);
    }
    return kind;
}

static void
objects_are_read_as_they_were_written_and_no_other_way(void **state)
{
    static const uint8_t bytes[300] = { 1, 2, 3 };
    const struct wire_object page = { OBJECT_PAGE, bytes, sizeof bytes }, node = { OBJECT_NODE, bytes, 64 };
    struct buf b = { 0 }, again = { 0 };

    (void)state;
    wire_put_object(&page, &b);
    check_payload("OBJECTS", recode_objects, &b);
    wire_put_object(&node, &b);
    assert_int_equal(recode_objects(b.at, b.size, &again, NULL), ERR_OK);
    assert_memory_equal(again.at, b.at, b.size);
    b.at[0] = OBJECT_MAP;
    check_refused("kind", recode_objects, &b);
    b.size = 0;
    buf_u8(&b, OBJECT_PAGE);
    buf_varint(&b, OBJECT_BYTES_MAX + 1);
    check_refused("bytes", recode_objects, &b);
    b.size = 1;
    buf_varint(&b, 0);
    check_refused("bytes", recode_objects, &b);
    buf_free(&b);
    buf_free(&again);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_read_as_they_were_written_and_no_other_way),
        cmocka_unit_test(what_was_read_is_what_was_meant),
        cmocka_unit_test(an_item_that_breaks_a_rule_is_refused_and_the_field_named),
        cmocka_unit_test(sizes_and_kinds_out_of_bounds_are_refused),
        cmocka_unit_test(objects_are_read_as_they_were_written_and_no_other_way),
    };

    return cmocka_run_group_tests_name("replicator/wire_item", tests, NULL, NULL);
}
