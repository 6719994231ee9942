/* Marks and receipts are texts of which each content has one, since what is signed must not be read in two ways.
 * Method: the text word for word, tables of texts that are almost right, and every byte of a text changed. */
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "snapshot/mark.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define ONES "1111111111111111111111111111111111111111111111111111111111111111"
#define AS "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const char mark_text[] = "farshore-mark-v1\n"
                                "source chengdu/pension\n"
                                "sequence 17\n"
                                "previous " ONES "\n"
                                "started 1790000000000000000\n"
                                "position -\n"
                                "root " AS "\n"
                                "bytes 0\n"
                                "files 45\n";
static const char receipt_text[] = "farshore-receipt-v1\n"
                                   "site province\n"
                                   "agent chengdu\n"
                                   "number 123\n"
                                   "source pension\n"
                                   "sequence 17\n"
                                   "mark " ONES "\n"
                                   "leaf 456\n"
                                   "size 457\n"
                                   "root " AS "\n"
                                   "time 1790000000000000000\n";

static void
a_mark_has_the_text_that_the_manual_shows(void **state)
{
    AUTO(buf_free) struct buf b = { 0 };
    struct mark m;
    struct digest id, expected;

    (void)state;
    assert_int_equal(mark_parse(mark_text, sizeof mark_text - 1, &m, NULL), ERR_OK);
    assert_string_equal(m.agent, "chengdu");
    assert_string_equal(m.source, "pension");
    assert_int_equal(m.sequence, 17);
    assert_int_equal(m.previous.at[31], 0x11);
    assert_int_equal(m.started_ns, INT64_C(1790000000000000000));
    assert_string_equal(m.position, "-");
    assert_int_equal(m.root.at[0], 0xaa);
    assert_int_equal(m.bytes, 0);
    assert_int_equal(m.files, 45);
    mark_encode(&m, &b);
    assert_int_equal(b.size, sizeof mark_text - 1);
    assert_memory_equal(b.at, mark_text, b.size);
    mark_id(b.at, b.size, &id);
    hash_sha256(mark_text, sizeof mark_text - 1, &expected);
    assert_memory_equal(&id, &expected, sizeof id);
}

static void
a_receipt_has_the_text_that_the_manual_shows(void **state)
{
    AUTO(buf_free) struct buf b = { 0 };
    struct receipt r;

    (void)state;
    assert_int_equal(receipt_parse(receipt_text, sizeof receipt_text - 1, &r, NULL), ERR_OK);
    assert_string_equal(r.site, "province");
    assert_string_equal(r.agent, "chengdu");
    assert_int_equal(r.number, 123);
    assert_string_equal(r.source, "pension");
    assert_int_equal(r.sequence, 17);
    assert_int_equal(r.mark.at[0], 0x11);
    assert_int_equal(r.leaf, 456);
    assert_int_equal(r.size, 457);
    assert_int_equal(r.root.at[31], 0xaa);
    assert_int_equal(r.time_ns, INT64_C(1790000000000000000));
    receipt_encode(&r, &b);
    assert_int_equal(b.size, sizeof receipt_text - 1);
    assert_memory_equal(b.at, receipt_text, b.size);
}

/* The text with the first occurrence of what replaced. */
static void
replaced(const char *text, const char *what, const char *with, struct buf *ret)
{
    const char *const at = strstr(text, what);

    assert_non_null(at);
    buf_put(ret, text, (size_t)(at - text));
    buf_put(ret, with, strlen(with));
    buf_put(ret, at + strlen(what), strlen(at + strlen(what)));
}

struct row {
    const char *what, *with;
    enum err_kind kind;
};

static void
marks_that_are_almost_right_are_refused(void **state)
{
    static const struct row table[] = {
        { "bytes 0", "bytes 18446744073709551615", ERR_OK },
        { "sequence 17\nprevious " ONES, "sequence 1\nprevious " ZEROS, ERR_OK },
        { "position -", "position 0/16B3748", ERR_OK },
        { "mark-v1", "mark-v2", ERR_CORRUPT },
        { "bytes 0", "bytes 18446744073709551616", ERR_CORRUPT },
        { "bytes 0", "bytes 00", ERR_CORRUPT },
        { "bytes 0", "bytes ", ERR_CORRUPT },
        { "bytes 0", "bytes  0", ERR_CORRUPT },
        { "bytes 0", "bytes 0 ", ERR_CORRUPT },
        { "bytes 0", "bytes -0", ERR_CORRUPT },
        { "bytes 0", "bytes +0", ERR_CORRUPT },
        { "bytes 0", "bytes 0x0", ERR_CORRUPT },
        { "bytes 0\n", "bytes 0\r\n", ERR_CORRUPT },
        { "bytes 0\n", "", ERR_CORRUPT },
        { "files 45\n", "files 45", ERR_CORRUPT },
        { "files 45\n", "files 45\n\n", ERR_CORRUPT },
        { "files 45\n", "files 45\nmore 1\n", ERR_CORRUPT },
        { "bytes 0\nfiles 45", "files 45\nbytes 0", ERR_CORRUPT },
        { "sequence 17", "sequence 0", ERR_CORRUPT },
        { "sequence 17", "sequence 017", ERR_CORRUPT },
        { "sequence 17", "sequence 1", ERR_CORRUPT },
        { "previous " ONES, "previous " ZEROS, ERR_CORRUPT },
        { "root " AS, "root Aaaa", ERR_CORRUPT },
        { "root a", "root A", ERR_CORRUPT },
        { "root a", "root g", ERR_CORRUPT },
        { "root a", "root aa", ERR_CORRUPT },
        { "started 1790000000000000000", "started 9223372036854775808", ERR_CORRUPT },
        { "started 1790000000000000000", "started -1", ERR_CORRUPT },
        { "chengdu/pension", "chengdu", ERR_CORRUPT },
        { "chengdu/pension", "chengdu/", ERR_CORRUPT },
        { "chengdu/pension", "/pension", ERR_CORRUPT },
        { "chengdu/pension", "chengdu/pension/x", ERR_CORRUPT },
        { "chengdu/pension", "Chengdu/pension", ERR_CORRUPT },
        { "chengdu/pension", "../pension", ERR_CORRUPT },
        { "chengdu/pension", "c/x2345678901234567890123456789012345678901234567890123456789012345",
          ERR_CORRUPT },
        { "position -", "position a b", ERR_CORRUPT },
        { "position -", "position \xc3\xa9", ERR_CORRUPT },
        { "position -", "position 0123456789012345678901234567890123456789012345678901234567890123",
          ERR_CORRUPT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(buf_free) struct buf b = { 0 };
        struct mark m;

        replaced(mark_text, table[i].what, table[i].with, &b);
        if (mark_parse(b.at, b.size, &m, NULL) != table[i].kind)
            fail_msg("row %zu: \"%s\" in place of \"%s\"", i, table[i].with, table[i].what);
    }
}

static void
receipts_that_are_almost_right_are_refused(void **state)
{
    static const struct row table[] = {
        { "leaf 456", "leaf 0", ERR_OK },
        { "leaf 456", "leaf 457", ERR_CORRUPT },
        { "leaf 456\nsize 457", "leaf 18446744073709551615\nsize 0", ERR_CORRUPT },
        { "size 457", "size 0", ERR_CORRUPT },
        { "number 123", "number 0", ERR_CORRUPT },
        { "number 123", "number 0123", ERR_CORRUPT },
        { "sequence 17", "sequence 0", ERR_CORRUPT },
        { "site province", "site Province", ERR_CORRUPT },
        { "agent chengdu", "agent a/b", ERR_CORRUPT },
        { "source pension", "source -", ERR_CORRUPT },
        { "time 1790000000000000000", "time 99999999999999999999", ERR_CORRUPT },
        { "receipt-v1\n", "receipt-v1", ERR_CORRUPT },
        { "farshore-receipt-v1\n", "", ERR_CORRUPT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(buf_free) struct buf b = { 0 };
        struct receipt r;

        replaced(receipt_text, table[i].what, table[i].with, &b);
        if (receipt_parse(b.at, b.size, &r, NULL) != table[i].kind)
            fail_msg("row %zu: \"%s\" in place of \"%s\"", i, table[i].with, table[i].what);
    }
}

/* 1 when it was read. */
static int
refused_or_the_same(const char *text, size_t size)
{
    AUTO(buf_free) struct buf again = { 0 };
    struct mark m;
    struct receipt r;

    if (mark_parse(text, size, &m, NULL) == ERR_OK)
        mark_encode(&m, &again);
    else if (receipt_parse(text, size, &r, NULL) == ERR_OK)
        receipt_encode(&r, &again);
    else
        return 0;
    assert_int_equal(again.size, size);
    assert_memory_equal(again.at, text, size);
    return 1;
}

static void
a_text_that_is_read_is_the_only_one_of_its_content(void **state)
{
    static const char *const texts[] = { mark_text, receipt_text };
    int read = 0;

    (void)state;
    for (size_t t = 0; t < 2; t++) {
        const size_t size = strlen(texts[t]);
        char text[512];

        for (size_t cut = 0; cut < size; cut++)
            assert_int_equal(refused_or_the_same(texts[t], cut), 0);
        for (size_t i = 0; i < size; i++)
            for (int c = 0; c < 256; c++) {
                memcpy(text, texts[t], size);
                text[i] = (char)c;
                read += refused_or_the_same(text, size);
            }
    }
    assert_true(read > 0);
}

static void
extreme_values_are_read_back_and_fit(void **state)
{
    AUTO(buf_free) struct buf a = { 0 }, b = { 0 };
    struct mark m = { .sequence = UINT64_MAX,
                      .previous.at[0] = 1,
                      .started_ns = INT64_MAX,
                      .bytes = UINT64_MAX,
                      .files = UINT64_MAX },
                m_back;
    struct receipt r = { .number = UINT64_MAX,
                         .sequence = UINT64_MAX,
                         .leaf = UINT64_MAX - 1,
                         .size = UINT64_MAX,
                         .time_ns = INT64_MAX },
                   r_back;

    (void)state;
    memset(m.agent, 'a', SOURCE_NAME_MAX);
    memset(m.source, 'b', SOURCE_NAME_MAX);
    memset(m.position, 'c', sizeof m.position - 1);
    mark_encode(&m, &a);
    assert_true(a.size <= MARK_TEXT_MAX);
    assert_int_equal(mark_parse(a.at, a.size, &m_back, NULL), ERR_OK);
    assert_memory_equal(&m, &m_back, sizeof m);
    memset(r.site, 'a', SOURCE_NAME_MAX);
    memset(r.agent, 'b', SOURCE_NAME_MAX);
    memset(r.source, 'c', SOURCE_NAME_MAX);
    receipt_encode(&r, &b);
    assert_true(b.size <= RECEIPT_BYTES_MAX);
    assert_int_equal(receipt_parse(b.at, b.size, &r_back, NULL), ERR_OK);
    assert_memory_equal(&r, &r_back, sizeof r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mark_has_the_text_that_the_manual_shows),
        cmocka_unit_test(a_receipt_has_the_text_that_the_manual_shows),
        cmocka_unit_test(marks_that_are_almost_right_are_refused),
        cmocka_unit_test(receipts_that_are_almost_right_are_refused),
        cmocka_unit_test(a_text_that_is_read_is_the_only_one_of_its_content),
        cmocka_unit_test(extreme_values_are_read_back_and_fit),
    };
    return cmocka_run_group_tests_name("snapshot/mark", tests, NULL, NULL);
}
