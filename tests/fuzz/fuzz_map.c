/* A map that is read is the only encoding of what it says, and can be sliced anywhere. */
#include <assert.h>
#include <string.h>

#include "common/auto.h"
#include "snapshot/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    AUTO(map_free) struct map m = { 0 }, half = { 0 };
    AUTO(buf_free) struct buf again = { 0 };
    struct err err;
    struct digest d;

    if (map_parse(bytes, size, &m, &err) != ERR_OK) {
        assert(err.kind == ERR_CORRUPT && err.text[0] != '\0');
        return 0;
    }
    map_encode(&m, &again);
    assert(again.size == size && memcmp(again.at, bytes, size) == 0);
    map_digest(&m, &d);
    map_slice(&half, &m, m.bytes / 2, m.bytes - m.bytes / 2);
    return 0;
}
