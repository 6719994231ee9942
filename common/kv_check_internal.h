/* kv_check_internal.h - LMDB 0.9.24's file as bytes, and the walk over one of its trees.
 *
 * Page: number u64, pad u16, flags u16, then lower u16 and upper u16, or (overflow) pages u32; 16 bytes.  After it the offsets
 * of the nodes, u16 each, up to lower; the nodes from upper to the end, without gaps, each padded to an even size.
 * Node: size or child u32, flags (or the child's high bits) u16, key size u16, key, data.
 * Source: LMDB 0.9.24 mdb.c (MDB_page, MDB_node, MDB_db, MDB_meta). */
#ifndef COMMON_KV_CHECK_INTERNAL_H
#define COMMON_KV_CHECK_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kv.h"

#define PAGE_HEAD 16u
#define NODE_HEAD 8u
#define DB_BYTES 48u
#define DEPTH_MAX 32u /* CURSOR_STACK of mdb.c */
#define NO_PAGE UINT64_MAX

enum page_flag { PAGE_BRANCH = 0x01, PAGE_LEAF = 0x02, PAGE_OVERFLOW = 0x04, PAGE_META = 0x08 };
enum node_flag { NODE_BIG = 0x01, NODE_TABLE = 0x02 };
enum page_state { STATE_NONE = 0, STATE_META, STATE_REACHED, STATE_FREE };

struct check_db { /* MDB_db */
    uint32_t pad; /* of the free tree: the page size */
    uint16_t flags;
    uint16_t depth;
    uint64_t branch_pages;
    uint64_t leaf_pages;
    uint64_t overflow_pages;
    uint64_t entries;
    uint64_t root;
};

struct check {
    int fd; /* of data.mdb */
    uint32_t page_size;
    uint64_t txn; /* the snapshot */
    uint64_t last_page;
    uint8_t *states; /* [last_page + 1], enum page_state */
    const struct kv_options *o;
    struct check_db tables[16]; /* as the main tree names them */
    bool has[16];
    uint64_t last_free_txn; /* largest key of the free tree */
    uint64_t rows;
    kv_check_fn *found;
    void *arg;
};

enum tree_kind { TREE_FREE, TREE_MAIN, TREE_TABLE };

struct tree {
    enum tree_kind kind;
    unsigned table;   /* TREE_TABLE: its number */
    const char *name; /* for messages */
    struct check_db db;
};

struct check_db check_db_of(const uint8_t *at);
void check_found(const struct check *c, uint64_t page, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Read size bytes of the page; false, and a finding, when the file does not have them. */
bool check_read(const struct check *c, uint64_t page, uint8_t *ret_bytes, uint64_t size);
/* Note that a page is in use or free; false, and a finding, when it cannot be or is already something else. */
bool check_claim(const struct check *c, uint64_t page, enum page_state state);
/* Walk the whole tree; the main tree fills c->tables, the free tree claims the free pages. */
void check_tree(struct check *c, const struct tree *t);

#endif
