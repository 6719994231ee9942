/* Payloads of QUERY to BLOB.  Method: as in test_wire_open.c. */
#include "tests/unit/replicator/wire_table.h"

RECODE(want)
RECODE(sums)
RECODE(get)
RECODE(got)
RECODE(blob)

static enum err_kind
recode_query(const void *bytes, size_t size, struct buf *ret, struct err *err)
{
    struct wire_query m;
    const enum err_kind kind = wire_get_query(bytes, size, &m, err);

    if (kind != ERR_OK)
        return kind;
    wire_put_query(&m, ret);
    free(m.at);
    return ERR_OK;
}

static enum err_kind
recode_answer(const void *bytes, size_t size, struct buf *ret, struct err *err)
{
    struct wire_answer m;
    const enum err_kind kind = wire_get_answer(bytes, size, &m, err);

    if (kind != ERR_OK)
        return kind;
    wire_put_answer(&m, ret);
    free(m.at);
    return ERR_OK;
}

static uint8_t sums[4 * DELTA_SUM_ENTRY];

static void
payloads_are_read_as_they_were_written_and_no_other_way(void **state)
{
    const struct wire_base base = { { { 3 } }, 9u * MIB };
    struct wire_question questions[] = {
        { .kind = OBJECT_BLOCK, .digest = { { 1 } } },
        { .kind = OBJECT_MAP,
          .digest = { { 2 } },
          .based = true,
          .base = base,
          .base_map = 2,
          .sums_of = 0x8000000000000001 },
        { .kind = OBJECT_PAGE, .digest = { { 4 } } },
    };
    struct wire_reply replies[] = {
        { .status = WIRE_HAVE },
        { .status = WIRE_NEED_SUMS, .sums = sums, .sums_bytes = sizeof sums },
        { .status = WIRE_NEED_SUMS, .sums = sums, .sums_bytes = 0 },
        { .status = WIRE_NEED },
    };
    const struct wire_query query = { 77, questions, 3 };
    const struct wire_answer answer = { 77, replies, 4 };
    const struct wire_want want = { 5, base, 8192, 9u * MIB - 8192 };
    const struct wire_sums known = { 5, true, sums, sizeof sums }, unknown = { 5, false, NULL, 0 };
    const struct wire_get get = { 6, { { 8 } } };
    const struct wire_got got = { 6, true, sums, 10 }, not_got = { 6, false, NULL, 0 };
    const struct wire_blob blob = { 4, 5000, 1, sums, 40 }, plain = { 4, 40, 0, sums, 40 };
    struct buf b[10] = { 0 };

    (void)state;
    wire_put_query(&query, &b[0]);
    check_payload("QUERY", recode_query, &b[0]);
    wire_put_answer(&answer, &b[1]);
    check_payload("ANSWER", recode_answer, &b[1]);
    wire_put_want(&want, &b[2]);
    check_payload("WANT", recode_want, &b[2]);
    wire_put_sums(&known, &b[3]);
    check_payload("SUMS", recode_sums, &b[3]);
    wire_put_sums(&unknown, &b[4]);
    check_payload("SUMS", recode_sums, &b[4]);
    wire_put_get(&get, &b[5]);
    check_payload("GET", recode_get, &b[5]);
    wire_put_got(&got, &b[6]);
    check_payload("GOT", recode_got, &b[6]);
    wire_put_got(&not_got, &b[7]);
    check_payload("GOT", recode_got, &b[7]);
    wire_put_blob(&blob, &b[8]);
    check_payload("BLOB", recode_blob, &b[8]);
    wire_put_blob(&plain, &b[9]);
    check_payload("BLOB", recode_blob, &b[9]);
    for (size_t i = 0; i < 10; i++)
        buf_free(&b[i]);
}

static void
questions_out_of_bounds_are_named(void **state)
{
    static const struct {
        struct wire_question q;
        const char *field;
    } cases[] = {
        { { .kind = 'Q' }, "kind" },
        { { .kind = OBJECT_PAGE, .based = true, .base.size = 1 }, "based" },
        { { .kind = OBJECT_MAP, .based = true, .base.size = 0 }, "base size" },
        { { .kind = OBJECT_MAP, .based = true, .base.size = FILE_BYTES_MAX + 1 }, "base size" },
        { { .kind = OBJECT_MAP, .based = true, .base.size = MAP_BYTES, .base_map = 1 }, "base map" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_question q = cases[i].q;
        const struct wire_query m = { 1, &q, 1 };
        struct buf b = { 0 };

        wire_put_query(&m, &b);
        check_refused(cases[i].field, recode_query, &b);
        buf_free(&b);
    }
}

static void
a_query_cannot_ask_for_more_sums_than_a_frame_holds(void **state)
{
    struct wire_question *const q = calloc(33, sizeof *q);
    struct wire_query m = { 1, q, 32 };
    struct buf b = { 0 };

    (void)state;
    for (size_t i = 0; i < 33; i++)
        q[i] = (struct wire_question){
            .kind = OBJECT_MAP, .based = true, .base.size = MAP_BYTES, .sums_of = i < 32 ? UINT64_MAX : 1
        };
    struct buf again = { 0 };
    wire_put_query(&m, &b);
    assert_int_equal(recode_query(b.at, b.size, &again, NULL), ERR_OK);
    m.count = 33;
    b.size = 0;
    wire_put_query(&m, &b);
    check_refused("sums of", recode_query, &b);
    buf_free(&again);
    buf_free(&b);
    free(q);
}

static void
counts_are_checked_before_memory_is_taken(void **state)
{
    static const uint64_t counts[] = { 0, UNIT_ITEMS_MAX + 1, UINT32_MAX, UINT64_MAX, 1000 };

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct buf b = { 0 };

        buf_u32(&b, 1);
        buf_varint(&b, counts[i]);
        buf_u8(&b, OBJECT_MAP);
        check_refused("count", recode_query, &b);
        check_refused("count", recode_answer, &b);
        buf_free(&b);
    }
}

static void
ranges_and_sizes_out_of_bounds_are_named(void **state)
{
    static const struct {
        uint64_t size, off, len;
        const char *field;
    } wants[] = {
        { 100, 0, 101, "length" },        { 100, 0, 0, "length" },
        { 100, 0, UINT64_MAX, "length" }, { 1ull << 40, 0, 2ull * WINDOW_BYTES + 1, "length" },
        { 1ull << 40, 1, 10, "offset" },  { 8192, 8192, 1, "offset" },
        { 0, 0, 1, "base size" },
    };
    static const struct {
        uint32_t raw;
        uint8_t zip;
        size_t stored;
        const char *field;
    } blobs[] = {
        { 0, 1, 40, "raw" },    { BLOB_RAW_MAX + 1, 1, 40, "raw" },
        { 40, 2, 40, "zip" },   { 40, 1, 0, "bytes" },
        { 41, 0, 40, "bytes" }, { 40, 1, BLOB_STORED_MAX + 1, "bytes" },
    };
    uint8_t *const bytes = calloc(1, BLOB_STORED_MAX + 1);

    (void)state;
    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++) {
        const struct wire_want m = { 1, { { { 0 } }, wants[i].size }, wants[i].off, wants[i].len };
        struct buf b = { 0 };

        wire_put_want(&m, &b);
        check_refused(wants[i].field, recode_want, &b);
        buf_free(&b);
    }
    for (size_t i = 0; i < sizeof blobs / sizeof blobs[0]; i++) {
        const struct wire_blob m = { 1, blobs[i].raw, blobs[i].zip, bytes, blobs[i].stored };
        struct buf b = { 0 };

        wire_put_blob(&m, &b);
        check_refused(blobs[i].field, recode_blob, &b);
        buf_free(&b);
    }
    free(bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_are_read_as_they_were_written_and_no_other_way),
        cmocka_unit_test(questions_out_of_bounds_are_named),
        cmocka_unit_test(a_query_cannot_ask_for_more_sums_than_a_frame_holds),
        cmocka_unit_test(counts_are_checked_before_memory_is_taken),
        cmocka_unit_test(ranges_and_sizes_out_of_bounds_are_named),
    };

    return cmocka_run_group_tests_name("replicator/wire_data", tests, NULL, NULL);
}
