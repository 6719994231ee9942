/* wire_table.h - what holds for the payload of each frame: parsed and written again it is the same, no shorter or longer one is
 * taken, and the error says which frame it was. */
#ifndef TESTS_WIRE_TABLE_H
#define TESTS_WIRE_TABLE_H

#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"
#include "replicator/wire.h"

typedef enum err_kind recode_fn(const void *bytes, size_t size, struct buf *ret, struct err *err);

/* A function that parses a payload and writes it again. */
#define RECODE(name)                                                                              \
    static enum err_kind recode_##name(const void *bytes, size_t size, struct buf *ret, struct err *err) \
    {                                                                                             \
        struct wire_##name m;                                                                     \
        const enum err_kind kind = wire_get_##name(bytes, size, &m, err);                         \
        if (kind == ERR_OK)                                                                       \
            wire_put_##name(&m, ret);                                                             \
        return kind;                                                                              \
    }

static inline void
check_payload(const char *frame, recode_fn *recode, const struct buf *good)
{
    struct buf again = { 0 };
    struct buf longer = { 0 };
    struct err err = { 0 };

    if (recode(good->at, good->size, &again, &err) != ERR_OK)
        fail_msg("%s: %s", frame, err.text);
    assert_int_equal(again.size, good->size);
    assert_memory_equal(again.at, good->at, good->size);
    for (size_t n = 0; n < good->size; n++) {
        /* In memory of its own, so that a read past the end is seen. */
        uint8_t *const part = malloc(n + 1);
        memcpy(part, good->at, n);
        uint8_t *const exact = realloc(part, n > 0 ? n : 1);
        err.text[0] = '\0';
        assert_int_equal(recode(exact, n, &again, &err), ERR_PROTOCOL);
        assert_ptr_equal(strstr(err.text, frame), err.text);
        free(exact);
    }
    buf_put(&longer, good->at, good->size);
    buf_u8(&longer, 0);
    assert_int_equal(recode(longer.at, longer.size, &again, &err), ERR_PROTOCOL);
    assert_ptr_equal(strstr(err.text, frame), err.text);
    buf_free(&again);
    buf_free(&longer);
}

/* A bad payload: refused, and the error names this field. */
static inline void
check_refused(const char *field, recode_fn *recode, const struct buf *bad)
{
    struct buf ignored = { 0 };
    struct err err = { 0 };

    assert_int_equal(recode(bad->at, bad->size, &ignored, &err), ERR_PROTOCOL);
    if (strstr(err.text, field) == NULL)
        fail_msg("\"%s\" does not name \"%s\"", err.text, field);
    buf_free(&ignored);
}

#endif
