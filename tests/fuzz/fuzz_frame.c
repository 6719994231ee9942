/* A frame as it comes: header, then the payload by its type.  What is read and written again must be the same bytes, but for lengths
 * that were spelled longer than needed: then a second time through must change nothing. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "replicator/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef enum err_kind recode_fn(const void *bytes, size_t size, struct buf *ret);

#define RECODE(name)                                                                                         \
    static enum err_kind recode_##name(const void *bytes, size_t size, struct buf *ret)                      \
    {                                                                                                        \
        struct wire_##name m;                                                                                \
        struct err err;                                                                                      \
        const enum err_kind kind = wire_get_##name(bytes, size, &m, &err);                                   \
        if (kind == ERR_OK)                                                                                  \
            wire_put_##name(&m, ret);                                                                        \
        else                                                                                                 \
            assert(kind == ERR_PROTOCOL);                                                                    \
        return kind;                                                                                         \
    }
RECODE(hello)
RECODE(welcome)
RECODE(begin)
RECODE(begun)
RECODE(want)
RECODE(sums)
RECODE(get)
RECODE(got)
RECODE(blob)
RECODE(mark)
RECODE(receipt)
RECODE(missing)
RECODE(error)
RECODE(join)
RECODE(joined)

static enum err_kind
recode_query(const void *bytes, size_t size, struct buf *ret)
{
    struct wire_query m;

    if (wire_get_query(bytes, size, &m, NULL) != ERR_OK)
        return ERR_PROTOCOL;
    assert(m.count > 0 && m.count <= UNIT_ITEMS_MAX);
    wire_put_query(&m, ret);
    free(m.at);
    return ERR_OK;
}

static enum err_kind
recode_answer(const void *bytes, size_t size, struct buf *ret)
{
    struct wire_answer m;

    if (wire_get_answer(bytes, size, &m, NULL) != ERR_OK)
        return ERR_PROTOCOL;
    wire_put_answer(&m, ret);
    free(m.at);
    return ERR_OK;
}

static recode_fn *const recoders[WIRE_TYPES] = {
    [WIRE_HELLO] = recode_hello,     [WIRE_WELCOME] = recode_welcome, [WIRE_BEGIN] = recode_begin,
    [WIRE_BEGUN] = recode_begun,     [WIRE_QUERY] = recode_query,     [WIRE_ANSWER] = recode_answer,
    [WIRE_WANT] = recode_want,       [WIRE_SUMS] = recode_sums,       [WIRE_GET] = recode_get,
    [WIRE_GOT] = recode_got,         [WIRE_BLOB] = recode_blob,       [WIRE_MARK] = recode_mark,
    [WIRE_RECEIPT] = recode_receipt, [WIRE_MISSING] = recode_missing, [WIRE_ERROR] = recode_error,
    [WIRE_JOIN] = recode_join,       [WIRE_JOINED] = recode_joined,
};

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    AUTO(buf_free) struct buf once = { 0 };
    AUTO(buf_free) struct buf twice = { 0 };
    enum wire_type type = 0;
    uint32_t length = 0;

    if (size < WIRE_FRAME_HEADER || wire_header(bytes, &type, &length, NULL) != ERR_OK)
        return 0;
    assert(wire_name((uint8_t)type) != NULL && length <= FRAME_BYTES_MAX);
    /* The length in the header is not held against the input: the channel gives exactly so many bytes. */
    if (recoders[type] == NULL ||
        recoders[type](bytes + WIRE_FRAME_HEADER, size - WIRE_FRAME_HEADER, &once) != ERR_OK)
        return 0;
    assert(once.size <= size - WIRE_FRAME_HEADER);
    const enum err_kind again = recoders[type](once.at, once.size, &twice);
    assert(again == ERR_OK && twice.size == once.size &&
           (once.size == 0 || memcmp(once.at, twice.at, once.size) == 0));
    return 0;
}
