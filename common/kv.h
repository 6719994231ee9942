/* kv.h - LMDB 0.9.24 made safe: every value carries a checksum of its table, key and bytes (LMDB has none, and 335 of 400
 * flipped bits were silent wrong data); default sync flags only; one environment a process; a 1 TiB sparse map set once; no
 * DUPSORT; readers not tied to threads (MDB_NOTLS).  Keep read transactions short: never across the network or a person. */
#ifndef COMMON_KV_H
#define COMMON_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

struct kv;
struct kv_txn;
struct kv_bytes {
    const void *at; /* into the map: valid until the transaction ends or, in a writer, its next write */
    size_t size;
};
#define KV_KEY_MAX 511u

struct kv_options {
    const char *const *tables; /* [count] names; a table's number in the calls below is its place here */
    size_t count;              /* 1..16 */
    bool write;                /* false: read only; the environment must exist */
    uint64_t map_bytes;        /* INDEX_MAP_BYTES */
};

/* Open the environment in the directory dir (as a path, made if writing).  Stale readers are cleared.
 * Errors: ERR_ABSENT, ERR_CORRUPT (not LMDB, wrong version), ERR_IO. */
ERR_CHECK enum err_kind kv_open(const char *dir, const struct kv_options *o, struct kv **ret, struct err *err);
void kv_close(struct kv **kv);

ERR_CHECK enum err_kind kv_begin(struct kv *kv, bool write, struct kv_txn **ret, struct err *err);
/* Durable when it returns ERR_OK.  Errors: ERR_FULL (aborted, old data whole); anything else is fatal for the process's
 * promises: acknowledge nothing, exit.  The transaction is gone in every case. */
ERR_CHECK enum err_kind kv_commit(struct kv_txn **txn, struct err *err);
void kv_abort(struct kv_txn **txn); /* accepts NULL; for AUTO() */
uint64_t kv_txn_id(const struct kv_txn *txn);

/* Errors: ERR_ABSENT; ERR_CORRUPT when the checksum does not hold. */
ERR_CHECK enum err_kind kv_get(struct kv_txn *txn, unsigned table, struct kv_bytes key, struct kv_bytes *ret,
                               struct err *err);
/* Put or replace.  Errors: ERR_FULL, ERR_IO, ERR_LIMIT (map full). */
ERR_CHECK enum err_kind kv_put(struct kv_txn *txn, unsigned table, struct kv_bytes key, struct kv_bytes value,
                               struct err *err);
ERR_CHECK enum err_kind kv_del(struct kv_txn *txn, unsigned table, struct kv_bytes key, struct err *err); /* ERR_ABSENT */

/* Walk in key order.  kv_seek stands on the first key >= key (NULL at: the first of all); kv_last on the last of all.
 * Then kv_next / kv_prev.  ERR_ABSENT at the end; ERR_CORRUPT for a bad row: ret_key is set, and kv_next goes on. */
struct kv_walk;
ERR_CHECK enum err_kind kv_walk_new(struct kv_txn *txn, unsigned table, struct kv_walk **ret, struct err *err);
void kv_walk_free(struct kv_walk **w); /* before the transaction ends */
ERR_CHECK enum err_kind kv_seek(struct kv_walk *w, struct kv_bytes key, struct kv_bytes *ret_key, struct kv_bytes *ret_value,
                                struct err *err);
ERR_CHECK enum err_kind kv_next(struct kv_walk *w, struct kv_bytes *ret_key, struct kv_bytes *ret_value, struct err *err);
ERR_CHECK enum err_kind kv_prev(struct kv_walk *w, struct kv_bytes *ret_key, struct kv_bytes *ret_value, struct err *err);
ERR_CHECK enum err_kind kv_last(struct kv_walk *w, struct kv_bytes *ret_key, struct kv_bytes *ret_value, struct err *err);

ERR_CHECK enum err_kind kv_count(struct kv_txn *txn, unsigned table, uint64_t *ret, struct err *err);

/*
 * Check a whole environment without LMDB's own code, from the bytes of data.mdb: both meta pages (magic, version, page size,
 * txnids one apart), every page reachable from the newest meta (own number, flags, bounds, node offsets, key order across
 * pages, depth), entry counts, the checksum of each row, and that reachable, free and meta pages are all pages, each once.
 * Run it in a child process that may die: damage can be anything.  Holds a reader slot meanwhile, so a writer may go on.
 *
 *   found   called for each finding: page number and what is wrong
 *
 * ret_rows: rows whose checksum held.  Bytes that are not looked at, because they cannot matter: the gap between a page's
 * lower and upper bound, pages on the free list, mp_pad, the tail of an overflow run, the older meta page beyond its txnid
 * and what LMDB demands of both; the byte that pads a node to an even size; the key of a branch page's first node; what
 * changes a branch page's other keys or a free list's transaction number without leaving the place between their
 * neighbours; the bytes of a free list's record beyond its count.
 * Source: LMDB 0.9.24 mdb.c (MDB_page, MDB_node, MDB_meta).
 */
typedef void kv_check_fn(void *arg, uint64_t page, const char *what);
ERR_CHECK enum err_kind kv_check(const char *dir, const struct kv_options *o, kv_check_fn *found, void *arg,
                                 uint64_t *ret_rows, struct err *err);
#endif
