/* index_internal.h - what index.c, index_row.c, commit.c and store.c share of the rows' encoding. */
#ifndef SNAPSHOT_INDEX_INTERNAL_H
#define SNAPSHOT_INDEX_INTERNAL_H

#include "common/bytes.h"
#include "snapshot/index.h"

struct kv_bytes index_key_number(uint8_t room[8], uint64_t number);
void index_blob_value(const struct blob_place *p, struct buf *ret);
ERR_CHECK enum err_kind index_blob_parse(uint64_t blob, struct kv_bytes value, struct blob_place *ret, struct err *err);
ERR_CHECK enum err_kind index_object_parse(struct kv_bytes value, struct object_place *ret, struct err *err);
ERR_CHECK enum err_kind index_pack_parse(struct kv_bytes value, struct index_pack *ret, struct err *err);
ERR_CHECK enum err_kind index_agent_parse(struct kv_bytes key, struct kv_bytes value, struct index_agent *ret,
                                          struct err *err);

/* The newest leaf, as the commit that made it carried it. */
ERR_CHECK enum err_kind index_leaf_get(struct kv_txn *t, struct buf *ret, struct err *err);
ERR_CHECK enum err_kind index_leaf_put(struct kv_txn *t, const void *leaf, size_t size, struct err *err);

#endif
