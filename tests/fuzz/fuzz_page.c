/* A page that is read is the only encoding of what it says: read, written again, compared. */
#include <assert.h>
#include <string.h>

#include "common/auto.h"
#include "snapshot/tree.h"
#include "snapshot/tree_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    AUTO(tree_page_free) struct tree_page p = { 0 };
    AUTO(buf_free) struct buf again = { 0 };
    struct err err;

    if (tree_page_parse(bytes, size, &p, &err) != ERR_OK) {
        assert(err.kind == ERR_CORRUPT && err.text[0] != '\0');
        return 0;
    }
    tree_put_header(&again, p.level, p.count);
    for (uint32_t i = 0; i < p.count; i++)
        if (p.level > 0)
            tree_put_child(&again, &p.children[i]);
        else
            tree_put_entry(&again, &p.entries[i]);
    assert(again.size == size && memcmp(again.at, bytes, size) == 0);
    return 0;
}
