/* What a buffer writes a cursor reads back, and a cursor never reads past its end.
 * Method: known encodings, random round trips, and every truncation of a good text. */
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/mem.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

static void
numbers_lie_in_the_order_their_name_says(void **state)
{
    static const uint8_t le[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    uint8_t at[9];

    (void)state;
    assert_int_equal(le16_get(le), 0x0201);
    assert_int_equal(le32_get(le), 0x04030201);
    assert_true(le64_get(le) == UINT64_C(0x0807060504030201));
    assert_int_equal(be32_get(le), 0x01020304);
    assert_true(be64_get(le) == UINT64_C(0x0102030405060708));
    le16_put(at + 1, 0x0201); /* unaligned, as in a format */
    assert_memory_equal(at + 1, le, 2);
    le32_put(at + 1, 0x04030201);
    assert_memory_equal(at + 1, le, 4);
    le64_put(at + 1, UINT64_C(0x0807060504030201));
    assert_memory_equal(at + 1, le, 8);
    be32_put(at + 1, 0x01020304);
    assert_memory_equal(at + 1, le, 4);
    be64_put(at + 1, UINT64_C(0x0102030405060708));
    assert_memory_equal(at + 1, le, 8);
}

static void
varints_have_the_form_of_leb128(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        uint64_t value;
        bool bad;
    } table[] = {
        { "\x00", 1, 0, false },
        { "\x7f", 1, 127, false },
        { "\x80\x01", 2, 128, false },
        { "\xe5\x8e\x26", 3, 624485, false },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, UINT64_MAX, false },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, 0, true },     /* 65 bits */
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11, 0, true }, /* 11 bytes */
        { "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11, 0, true },
        { "\x80", 1, 0, true }, /* cut off */
        { "", 0, 0, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(buf_free) struct buf b = { 0 };
        struct cut c = cut_of(table[i].bytes, table[i].size);
        assert_true(cut_varint(&c) == table[i].value);
        assert_int_equal(c.bad, table[i].bad);
        if (table[i].bad)
            continue;
        assert_true(cut_done(&c));
        buf_varint(&b, table[i].value);
        assert_int_equal(b.size, table[i].size);
        assert_memory_equal(b.at, table[i].bytes, b.size);
    }
}

static void
put_all(struct buf *b)
{
    buf_u8(b, 0xfe);
    buf_u16(b, 0xfedc);
    buf_u32(b, 0xfedcba98);
    buf_u64(b, UINT64_C(0xfedcba9876543210));
    buf_varint(b, 300);
    buf_block(b, "\0bytes", 6);
    buf_text(b, "chengdu");
    buf_text(b, "");
}

/* Whether all of it was there. */
static bool
cut_all(struct cut *c)
{
    char text[8], empty[1];
    size_t size = 99;
    const uint8_t u8 = cut_u8(c);
    const uint16_t u16 = cut_u16(c);
    const uint32_t u32 = cut_u32(c);
    const uint64_t u64 = cut_u64(c);
    const uint64_t number = cut_varint(c);
    const uint8_t *const block = cut_block(c, 6, &size);

    (void)cut_text(c, text, sizeof text);
    (void)cut_text(c, empty, sizeof empty);
    if (c->bad)
        return false;
    assert_int_equal(u8, 0xfe);
    assert_int_equal(u16, 0xfedc);
    assert_int_equal(u32, 0xfedcba98);
    assert_true(u64 == UINT64_C(0xfedcba9876543210));
    assert_int_equal(number, 300);
    assert_int_equal(size, 6);
    assert_memory_equal(block, "\0bytes", 6);
    assert_string_equal(text, "chengdu");
    assert_string_equal(empty, "");
    return true;
}

static void
a_structure_is_read_back_or_bad_when_cut_anywhere(void **state)
{
    AUTO(buf_free) struct buf b = { 0 };

    (void)state;
    put_all(&b);
    for (size_t size = 0; size <= b.size; size++) {
        /* A copy of that size, so that a sanitizer sees one byte too many. */
        AUTO(auto_free) uint8_t *exact = mem_copy(b.at, size);
        struct cut c = cut_of(exact, size);
        assert_int_equal(cut_all(&c), size == b.size);
        assert_int_equal(cut_done(&c), size == b.size);
    }
}

static void
a_bad_cursor_stays_bad(void **state)
{
    struct cut c = cut_of("\1\2\3", 3);
    size_t size = 99;
    char text[4] = "old";

    (void)state;
    assert_int_equal(cut_u32(&c), 0);
    assert_true(c.bad);
    assert_int_equal(cut_u8(&c), 0);
    assert_int_equal(cut_u16(&c), 0);
    assert_true(cut_u64(&c) == 0);
    assert_true(cut_varint(&c) == 0);
    assert_null(cut_bytes(&c, 0));
    assert_null(cut_block(&c, 9, &size));
    assert_int_equal(size, 0);
    assert_false(cut_text(&c, text, sizeof text));
    assert_string_equal(text, "");
    assert_false(cut_done(&c));
}

static void
blocks_and_texts_keep_to_their_bounds(void **state)
{
    static const struct {
        const char *bytes;
        size_t size, room; /* of the text */
        const char *text;  /* NULL: bad */
    } table[] = {
        { "\3abc", 4, 4, "abc" },
        { "\3abc", 4, 3, NULL },  /* too long */
        { "\3a\0c", 4, 8, NULL }, /* a NUL inside */
        { "\4abc", 4, 8, NULL },  /* longer than the input */
        { "\0", 1, 1, "" },       /* nothing fits into the smallest room */
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, 8, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct cut c = cut_of(table[i].bytes, table[i].size);
        char text[8];
        assert_int_equal(cut_text(&c, text, table[i].room), table[i].text != NULL);
        assert_int_equal(c.bad, table[i].text == NULL);
        assert_string_equal(text, table[i].text == NULL ? "" : table[i].text);
    }
    struct cut empty = cut_of(NULL, 0);
    assert_true(cut_done(&empty));
    assert_non_null(cut_bytes(&empty, 0));
    assert_true(cut_done(&empty));
}

static void
random_numbers_and_blocks_come_back(void **state)
{
    enum { COUNT = 2000 };
    AUTO(buf_free) struct buf b = { 0 };
    uint64_t numbers[COUNT];
    uint8_t block[300];

    (void)state;
    seed_start();
    for (size_t i = 0; i < COUNT; i++) {
        numbers[i] = seed_next() >> seed_below(64);
        buf_varint(&b, numbers[i]);
        memset(block, (int)(numbers[i] & 0xff), sizeof block);
        buf_block(&b, block, numbers[i] % sizeof block);
    }
    struct cut c = cut_of(b.at, b.size);
    for (size_t i = 0; i < COUNT; i++) {
        size_t size;
        assert_true(cut_varint(&c) == numbers[i]);
        const uint8_t *const at = cut_block(&c, sizeof block, &size);
        assert_non_null(at);
        assert_int_equal(size, numbers[i] % sizeof block);
        memset(block, (int)(numbers[i] & 0xff), sizeof block);
        assert_memory_equal(at, block, size);
    }
    assert_true(cut_done(&c));
    buf_free(&b);
    assert_null(b.at);
    assert_int_equal(b.size, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_lie_in_the_order_their_name_says),
        cmocka_unit_test(varints_have_the_form_of_leb128),
        cmocka_unit_test(a_structure_is_read_back_or_bad_when_cut_anywhere),
        cmocka_unit_test(a_bad_cursor_stays_bad),
        cmocka_unit_test(blocks_and_texts_keep_to_their_bounds),
        cmocka_unit_test(random_numbers_and_blocks_come_back),
    };

    return cmocka_run_group_tests_name("common/bytes", tests, NULL, NULL);
}
