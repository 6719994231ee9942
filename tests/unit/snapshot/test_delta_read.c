/* Commands of a delta that are damaged or hostile are refused; whole ones are read alike however they come in.
 * Method: tables; each text is also read byte by byte. */
#include <string.h>

#include "common/auto.h"
#include "snapshot/delta.h"
#include "snapshot/delta_internal.h"
#include "tests/unit/unit.h"

static enum err_kind
keep(struct delta_reader *r, const struct delta_op *op, struct err *err)
{
    (void)err;
    delta_ops_add(r->arg, *op);
    return ERR_OK;
}

/* As delta_parse, but one byte at a time. */
static enum err_kind
read_slowly(const uint8_t *bytes, size_t size, uint64_t max, struct delta_ops *ret)
{
    struct delta_reader r = { .op = keep, .arg = ret, .new_bytes_max = max };

    for (size_t i = 0; i < size; i++) {
        const enum err_kind k = delta_read(&r, bytes + i, 1, NULL);

        if (k != ERR_OK)
            return k;
    }
    return delta_read_end(&r, NULL);
}

static void
bad_commands_are_refused(void **state)
{
#define MAGIC 0x72, 0x73, 0x02, 0x36
    static const struct {
        const char *what;
        uint8_t bytes[24];
        size_t size;
        uint64_t max;
        enum err_kind kind;
        size_t ops;
    } table[] = {
        { "nothing made", { MAGIC, 0 }, 5, 0, ERR_OK, 0 },
        { "a literal", { MAGIC, 2, 'a', 'b', 0 }, 8, 2, ERR_OK, 1 },
        { "a literal with a length", { MAGIC, 0x42, 0, 2, 'a', 'b', 0 }, 10, 2, ERR_OK, 1 },
        { "a copy", { MAGIC, 0x45, 7, 9, 0 }, 8, 9, ERR_OK, 1 },
        { "copies that continue", { MAGIC, 0x45, 7, 9, 0x45, 16, 1, 0 }, 11, 10, ERR_OK, 1 },
        { "a copy with long numbers",
          { MAGIC, 0x54, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0 },
          22,
          5,
          ERR_OK,
          1 },
        { "an empty text", { 0 }, 0, 9, ERR_PROTOCOL, 0 },
        { "another magic", { 0x72, 0x73, 0x02, 0x35, 0 }, 5, 9, ERR_PROTOCOL, 0 },
        { "a magic alone", { MAGIC }, 4, 9, ERR_PROTOCOL, 0 },
        { "no end", { MAGIC, 1, 'a' }, 6, 9, ERR_PROTOCOL, 0 },
        { "a literal cut off", { MAGIC, 2, 'a' }, 6, 9, ERR_PROTOCOL, 0 },
        { "a copy cut off", { MAGIC, 0x45, 7 }, 6, 9, ERR_PROTOCOL, 0 },
        { "bytes after the end", { MAGIC, 0, 0 }, 6, 9, ERR_PROTOCOL, 0 },
        { "a command that is not known", { MAGIC, 0x55, 0 }, 6, 9, ERR_PROTOCOL, 0 },
        { "a copy of nothing", { MAGIC, 0x45, 7, 0, 0 }, 8, 9, ERR_PROTOCOL, 0 },
        { "a literal of nothing", { MAGIC, 0x41, 0, 0 }, 7, 9, ERR_PROTOCOL, 0 },
        { "more than is announced", { MAGIC, 0x45, 7, 9, 0 }, 8, 8, ERR_PROTOCOL, 0 },
        { "more in sum", { MAGIC, 0x45, 7, 9, 1, 'a', 0 }, 10, 9, ERR_PROTOCOL, 0 },
        { "a length past 32 bits",
          { MAGIC, 0x48, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0 },
          15,
          UINT64_MAX,
          ERR_PROTOCOL,
          0 },
        { "an offset past 63 bits",
          { MAGIC, 0x51, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 0 },
          15,
          9,
          ERR_PROTOCOL,
          0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(delta_ops_free) struct delta_ops ops = { 0 }, slow = { 0 };
        struct err err = { 0 };

        if (delta_parse(table[i].bytes, table[i].size, table[i].max, &ops, &err) != table[i].kind ||
            ops.count != table[i].ops)
            fail_msg("%s: %s", table[i].what, err.text);
        assert_int_equal(read_slowly(table[i].bytes, table[i].size, table[i].max, &slow), table[i].kind);
        if (table[i].kind == ERR_OK && ops.count > 0)
            assert_memory_equal(&ops.at[0].off, &slow.at[0].off, sizeof ops.at[0].off);
    }
}

static void
operations_that_continue_are_joined(void **state)
{
    static const struct {
        struct delta_op first, second;
        size_t count;
    } table[] = {
        { { .kind = DELTA_COPY, .off = 5, .len = 3 }, { .kind = DELTA_COPY, .off = 8, .len = 1 }, 1 },
        { { .kind = DELTA_COPY, .off = 5, .len = 3 }, { .kind = DELTA_COPY, .off = 9, .len = 1 }, 2 },
        { { .kind = DELTA_COPY, .off = 5, .len = 3 }, { .kind = DELTA_LITERAL, .off = 8, .len = 1 }, 2 },
        { { .kind = DELTA_LITERAL, .off = 5, .len = 3 }, { .kind = DELTA_LITERAL, .off = 8, .len = 1 }, 1 },
        { { .kind = DELTA_ZERO, .len = 3 }, { .kind = DELTA_ZERO, .len = 4 }, 1 },
        { { .kind = DELTA_ZERO, .len = UINT32_MAX }, { .kind = DELTA_ZERO, .len = 1 }, 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(delta_ops_free) struct delta_ops ops = { 0 };

        delta_ops_add(&ops, table[i].first);
        delta_ops_add(&ops, table[i].second);
        assert_int_equal(ops.count, table[i].count);
        if (ops.count == 1)
            assert_int_equal(ops.at[0].len, table[i].first.len + table[i].second.len);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_commands_are_refused),
        cmocka_unit_test(operations_that_continue_are_joined),
    };
    return cmocka_run_group_tests_name("snapshot/delta_read", tests, NULL, NULL);
}
