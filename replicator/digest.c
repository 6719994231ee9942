/* digest.c - the digests of what was read, and which blocks are zero or as they were. */
#include <string.h>

#include "replicator/pass.h"

/* Blocks that are as the table remembers them. */
static void
compare(struct worker *w, struct unit *u, struct part *part)
{
    const struct file *f = part->file;
    struct table_prints prints;
    struct table_key key = f->key;
    if (!f->printed || part->bytes == 0 || w->view == NULL)
        return;
    if (f->base.size <= BLOCK_BYTES) {
        /* A file of one block has its print in its digest. */
        if (part->map == 0 && part->bytes == f->base.size && hash_same(&part->digest, &f->base.digest))
            part->same = 1;
        return;
    }
    if (table_find_prints(w->view, &key, part->map, f->base_read_ns, &prints) != ERR_OK)
        return;
    const struct digest *blocks = u->blocks + part->first_block;
    uint32_t count = (uint32_t)merkle_blocks(part->bytes);
    for (uint32_t b = 0; b < count && b < prints.count; b++)
        if (memcmp(blocks[b].at, prints.at[b], TABLE_PRINT_BYTES) == 0)
            part->same |= 1ull << b;
    part->whole_same = prints.count == count &&
                       part->same == (count == 64 ? UINT64_MAX : (1ull << count) - 1);
}

void
digest_part(struct worker *w, struct unit *u, struct part *part)
{
    const uint8_t *bytes = u->buffer + part->off;
    struct digest *blocks = u->blocks + part->first_block;
    uint32_t count = (uint32_t)merkle_blocks(part->bytes);
    part->zero = part->same = 0;
    for (uint32_t b = 0; b < count; b++) {
        uint32_t at = b * BLOCK_BYTES, size = part->bytes - at < BLOCK_BYTES ? part->bytes - at : BLOCK_BYTES;
        if (merkle_zero_bytes(bytes + at, size)) {
            part->zero |= 1ull << b;
            merkle_zero(size, &blocks[b]);
        } else {
            merkle_leaf(bytes + at, size, &blocks[b]);
        }
    }
    merkle_root(blocks, count, &part->digest);
    compare(w, u, part);
    part->all_zero = count > 0 && part->zero == (count == 64 ? UINT64_MAX : (1ull << count) - 1);
}
