/* The header of a blob in a pack, as damage or a stranger may leave it: with the checksum that it has, then with the right one, so that
 * what lies behind the checksum is reached too. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/limits.h"
#include "snapshot/pack_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What was accepted keeps the bounds that readers rely on, and is written again as the same bytes. */
static void
parse(const struct blob_header *h)
{
    struct blob_place place = { 0 };
    struct blob_header again;
    uint64_t seal = 0;
    struct err err = { 0 };
    const enum err_kind kind = pack_header_parse((const uint8_t *)h, &place, &seal, &err);

    if (kind != ERR_OK) {
        assert(kind == ERR_CORRUPT && err.text[0] != '\0');
        return;
    }
    assert(place.stored > 0 && place.stored <= BLOB_STORED_MAX && place.raw <= BLOB_RAW_MAX &&
           place.zip <= 1);
    memset(&again, 0, sizeof again);
    pack_header_fill(&place, seal, &again);
    assert(memcmp(again.blob, h->blob, sizeof h->blob) == 0 &&
           memcmp(again.stored, h->stored, sizeof h->stored) == 0);
    assert(memcmp(again.seal, h->seal, sizeof h->seal) == 0 && memcmp(again.raw, h->raw, sizeof h->raw) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct blob_header h;

    if (size < sizeof h)
        return 0;
    memcpy(&h, bytes, sizeof h);
    parse(&h);
    pack_header_check(&h);
    parse(&h);
    return 0;
}
