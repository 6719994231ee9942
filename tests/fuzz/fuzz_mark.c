/* A mark's or a receipt's text that is read is the only one of its content. */
#include <assert.h>
#include <string.h>

#include "common/auto.h"
#include "snapshot/mark.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    AUTO(buf_free) struct buf again = { 0 };
    struct mark m;
    struct receipt r;
    struct err err;

    if (mark_parse(bytes, size, &m, &err) == ERR_OK)
        mark_encode(&m, &again);
    else if (receipt_parse(bytes, size, &r, &err) == ERR_OK)
        receipt_encode(&r, &again);
    else
        return 0;
    assert(again.size == size && memcmp(again.at, bytes, size) == 0);
    return 0;
}
