/* mark.h - the record of a recovery point, signed by the city; and receipts, signed by the site.  farshore-store(5), "Marks".
 *
 * A mark's text, of which each line ends in \n:
 *     farshore-mark-v1
 *     source chengdu/pension
 *     sequence 17                 from 1, no gap
 *     previous <64 hex>           SHA-256 of the text of the mark before; zeros for the first
 *     started 1790000000000000000 the agent's clock at the start of the pass, ns since 1970
 *     position -                  log position; "-" for a file tree
 *     root <64 hex>               digest of the root page
 *     bytes 123                   size of the root entry
 *     files 45                    its count
 * The mark's id is SHA-256 of the text.  The signature is Ed25519 over the text by the agent's mark key. */
#ifndef SNAPSHOT_MARK_H
#define SNAPSHOT_MARK_H

#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/limits.h"
#include "common/sign.h"

struct mark {
    char agent[SOURCE_NAME_MAX + 1];
    char source[SOURCE_NAME_MAX + 1];
    uint64_t sequence;
    struct digest previous;
    int64_t started_ns;
    char position[64];
    struct digest root;
    uint64_t bytes;
    uint64_t files;
};
#define MARK_TEXT_MAX 1024u
void mark_encode(const struct mark *m, struct buf *ret);
/* Strict: mark_encode of the result gives the same bytes.  Errors: ERR_CORRUPT. */
ERR_CHECK enum err_kind mark_parse(const void *text, size_t size, struct mark *ret, struct err *err);
void mark_id(const void *text, size_t size, struct digest *ret);

/* A receipt's text:
 *     farshore-receipt-v1
 *     site <name>
 *     agent <name>
 *     number 123                  counts the receipts to this agent, from 1, no gap
 *     source pension
 *     sequence 17
 *     mark <64 hex>               the mark's id
 *     leaf 456                    index of the ledger leaf that holds the mark
 *     size 457                    size of the ledger at the signed head
 *     root <64 hex>               its root
 *     time 1790000000000000000    the site's clock
 * Signed by the site's key over the text.  All of it follows from the index and the ledger, and Ed25519 is deterministic: the site
 * can give the same receipt again. */
struct receipt {
    char site[SOURCE_NAME_MAX + 1];
    char agent[SOURCE_NAME_MAX + 1];
    uint64_t number;
    char source[SOURCE_NAME_MAX + 1];
    uint64_t sequence;
    struct digest mark;
    uint64_t leaf, size;
    struct digest root;
    int64_t time_ns;
};
void receipt_encode(const struct receipt *r, struct buf *ret);
ERR_CHECK enum err_kind receipt_parse(const void *text, size_t size, struct receipt *ret, struct err *err);

#endif
