/* Payloads of HELLO to JOINED.  Method: one good payload of each, cut at every byte (wire_table.h), then fields out of bounds. */
#include "tests/unit/replicator/wire_table.h"

RECODE(hello)
RECODE(welcome)
RECODE(begin)
RECODE(begun)
RECODE(mark)
RECODE(receipt)
RECODE(missing)
RECODE(error)
RECODE(join)
RECODE(joined)

static const uint8_t text[] = "farshore-mark-v1\nand so on";
static struct wire_signed
sample_signed(void)
{
    struct wire_signed s = { .text = text, .size = sizeof text - 1 };

    memset(s.signature, 0x5a, sizeof s.signature);
    return s;
}

static void
payloads_are_read_as_they_were_written_and_no_other_way(void **state)
{
    const struct wire_hello hello = { 1, "chengdu", "farshore-agent 0.1.0", 1790000000000000000,
                                      sample_signed() };
    const struct wire_hello first = { 1, "chengdu", "x", -5, { 0 } };
    const struct wire_welcome welcome = { 1, "sichuan", 7, WIRE_FORK, sample_signed() };
    const struct wire_begin begin = { "pension" };
    const struct wire_begun begun = { 1ull << 63, sample_signed() };
    const struct wire_mark mark = { sample_signed() };
    const struct wire_receipt receipt = { sample_signed() };
    const struct wire_missing missing = { 3, OBJECT_PAGE, { { 9 } } };
    const struct wire_error error = { ERR_FULL, "the disk is full" };
    struct wire_join join = { .agent = "chengdu", .tls_proof = text, .tls_proof_bytes = 20 };
    const struct wire_joined joined = { "sichuan", { 1 }, text, 3, text, 5 };
    struct buf b[11] = { 0 };

    (void)state;
    memset(join.secret, 7, sizeof join.secret);
    wire_put_hello(&hello, &b[0]);
    check_payload("HELLO", recode_hello, &b[0]);
    wire_put_hello(&first, &b[1]);
    check_payload("HELLO", recode_hello, &b[1]);
    wire_put_welcome(&welcome, &b[2]);
    check_payload("WELCOME", recode_welcome, &b[2]);
    wire_put_begin(&begin, &b[3]);
    check_payload("BEGIN", recode_begin, &b[3]);
    wire_put_begun(&begun, &b[4]);
    check_payload("BEGUN", recode_begun, &b[4]);
    wire_put_mark(&mark, &b[5]);
    check_payload("MARK", recode_mark, &b[5]);
    wire_put_receipt(&receipt, &b[6]);
    check_payload("RECEIPT", recode_receipt, &b[6]);
    wire_put_missing(&missing, &b[7]);
    check_payload("MISSING", recode_missing, &b[7]);
    wire_put_error(&error, &b[8]);
    check_payload("ERROR", recode_error, &b[8]);
    wire_put_join(&join, &b[9]);
    check_payload("JOIN", recode_join, &b[9]);
    wire_put_joined(&joined, &b[10]);
    check_payload("JOINED", recode_joined, &b[10]);
    for (size_t i = 0; i < 11; i++)
        buf_free(&b[i]);
}

static void
another_version_is_named_before_anything_else_is_read(void **state)
{
    static const uint8_t hello[] = { 2, 0, 0xff, 0xff };
    struct wire_hello h;
    struct wire_welcome w;
    struct err err = { 0 };

    (void)state;
    assert_int_equal(wire_get_hello(hello, sizeof hello, &h, &err), ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "version 2"));
    assert_int_equal(wire_get_welcome(hello, sizeof hello, &w, &err), ERR_PROTOCOL);
    assert_non_null(strstr(err.text, "version 2"));
}

static void
names_that_could_be_paths_are_refused(void **state)
{
    static const char *const bad[] = { "", "..", ".", "/etc", "a/b", "Chengdu", "a b", "-a", "a\n", "\xff" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf b = { 0 };

        buf_text(&b, bad[i]);
        check_refused("source", recode_begin, &b);
        buf_free(&b);
    }
    struct buf b = { 0 };
    buf_block(&b, "a\0b", 3);
    check_refused("source", recode_begin, &b);
    b.size = 0;
    buf_text(&b, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    check_refused("source", recode_begin, &b);
    buf_free(&b);
}

static void
fields_out_of_bounds_are_named(void **state)
{
    static const uint8_t big[2000];
    const struct wire_welcome welcome = { 1, "sichuan", 7, WIRE_FORK + 1, { 0 } };
    const struct wire_missing none = { 0, OBJECT_PAGE, { { 0 } } };
    const struct wire_missing kind = { 1, 'z', { { 0 } } };
    const struct wire_mark unsigned_mark = { { 0 } };
    const struct wire_receipt unsigned_receipt = { { 0 } };
    struct buf b = { 0 };

    (void)state;
    wire_put_welcome(&welcome, &b);
    check_refused("verdict", recode_welcome, &b);
    b.size = 0;
    wire_put_missing(&none, &b);
    check_refused("count", recode_missing, &b);
    b.size = 0;
    wire_put_missing(&kind, &b);
    check_refused("kind", recode_missing, &b);
    b.size = 0;
    wire_put_mark(&unsigned_mark, &b);
    check_refused("mark", recode_mark, &b);
    b.size = 0;
    wire_put_receipt(&unsigned_receipt, &b);
    check_refused("receipt", recode_receipt, &b);
    b.size = 0;
    buf_block(&b, big, sizeof big);
    check_refused("mark", recode_mark, &b);
    b.size = 0;
    /* A length of 2^64 - 1. */
    for (int i = 0; i < 9; i++)
        buf_u8(&b, 0xff);
    buf_u8(&b, 1);
    check_refused("mark", recode_mark, &b);
    buf_free(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_are_read_as_they_were_written_and_no_other_way),
        cmocka_unit_test(another_version_is_named_before_anything_else_is_read),
        cmocka_unit_test(names_that_could_be_paths_are_refused),
        cmocka_unit_test(fields_out_of_bounds_are_named),
    };

    return cmocka_run_group_tests_name("replicator/wire_open", tests, NULL, NULL);
}
