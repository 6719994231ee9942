/* index.h - the rows of the index: typed keys and values over kv.  farshore-store(5), "Index". */
#ifndef SNAPSHOT_INDEX_H
#define SNAPSHOT_INDEX_H

#include <stdbool.h>
#include <stdint.h>
#include "common/kv.h"
#include "snapshot/format.h"
#include "snapshot/mark.h"
#include "snapshot/store.h"

enum index_table { INDEX_META, INDEX_BLOB, INDEX_OBJECT, INDEX_PACK, INDEX_MARK, INDEX_AGENT, INDEX_UPLOAD, INDEX_TOKEN,
                   INDEX_TABLES };
extern const char *const index_table_names[INDEX_TABLES];

/* META has one row a number. */
enum index_meta { META_VERSION, META_COMMITS /* commits so far */, META_BLOB_CEILING /* numbers below are used or lost */,
                  META_PACK_NEXT, META_CITY_NEXT, META_UPLOAD_NEXT, META_LEAVES /* ledger leaves incl. the one this commit carries */ };
/* And the row "leaf": the bytes of the newest leaf, put in the same transaction. */

struct index_pack {
    uint32_t city;
    uint64_t committed; /* bytes of the file that rows speak of; beyond lies nothing that counts */
    uint8_t closed;     /* 1: no more is written to it */
};
struct index_agent {
    char name[SOURCE_NAME_MAX + 1]; /* key */
    uint32_t city;
    uint8_t revoked;
    struct digest certificate;      /* fingerprint of its TLS certificate */
    uint8_t mark_public[SIGN_PUBLIC_BYTES];
    uint64_t receipts;              /* number of the last receipt */
    struct digest last_mark;        /* its mark's id */
    int64_t enrolled_ns;
};
struct index_mark { /* key: city, source, sequence */
    struct mark mark;
    struct digest id;
    uint8_t signature[SIGN_BYTES];
    uint64_t blob;          /* BLOB_MARK that holds text and signature */
    uint64_t receipt;       /* number */
    uint64_t leaf;
    int64_t received_ns;    /* the site's clock */
};
struct index_upload { /* key: number */
    uint32_t city;
    char source[SOURCE_NAME_MAX + 1];
    uint64_t began;         /* commit */
    int64_t began_ns;
    uint64_t base;          /* sequence of the mark it builds on, 0 none: held */
};

/* Errors of all: ERR_ABSENT, ERR_CORRUPT. */
ERR_CHECK enum err_kind index_meta_get(struct kv_txn *t, enum index_meta which, uint64_t *ret, struct err *err);
ERR_CHECK enum err_kind index_meta_put(struct kv_txn *t, enum index_meta which, uint64_t value, struct err *err);
ERR_CHECK enum err_kind index_blob_get(struct kv_txn *t, uint64_t blob, struct blob_place *ret, struct err *err);
ERR_CHECK enum err_kind index_blob_put(struct kv_txn *t, const struct blob_place *p, struct err *err);
ERR_CHECK enum err_kind index_object_get(struct kv_txn *t, const uint8_t key[OBJECT_KEY_BYTES], struct object_place *ret,
                                         struct err *err);
ERR_CHECK enum err_kind index_object_put(struct kv_txn *t, const uint8_t key[OBJECT_KEY_BYTES],
                                         const struct object_place *p, struct err *err);
ERR_CHECK enum err_kind index_pack_get(struct kv_txn *t, uint64_t pack, struct index_pack *ret, struct err *err);
ERR_CHECK enum err_kind index_pack_put(struct kv_txn *t, uint64_t pack, const struct index_pack *p, struct err *err);
ERR_CHECK enum err_kind index_agent_get(struct kv_txn *t, const char *name, struct index_agent *ret, struct err *err);
ERR_CHECK enum err_kind index_agent_put(struct kv_txn *t, const struct index_agent *a, struct err *err);
ERR_CHECK enum err_kind index_mark_get(struct kv_txn *t, uint32_t city, const char *source, uint64_t sequence,
                                       struct index_mark *ret, struct err *err);
/* The newest of a source. */
ERR_CHECK enum err_kind index_mark_last(struct kv_txn *t, uint32_t city, const char *source, struct index_mark *ret,
                                        struct err *err);
ERR_CHECK enum err_kind index_mark_put(struct kv_txn *t, uint32_t city, const struct index_mark *m, struct err *err);
ERR_CHECK enum err_kind index_upload_put(struct kv_txn *t, uint64_t number, const struct index_upload *u, struct err *err);
ERR_CHECK enum err_kind index_upload_del(struct kv_txn *t, uint64_t number, struct err *err);

/* Walk a table; the callback returns ERR_OK to go on, anything else ends the walk with it.  A bad row is reported to bad (may be
 * NULL: then the walk ends with ERR_CORRUPT). */
typedef enum err_kind index_mark_fn(void *arg, const struct index_mark *m, struct err *err);
typedef enum err_kind index_agent_fn(void *arg, const struct index_agent *a, struct err *err);
typedef enum err_kind index_pack_fn(void *arg, uint64_t pack, const struct index_pack *p, struct err *err);
typedef enum err_kind index_blob_fn(void *arg, const struct blob_place *p, struct err *err);
typedef enum err_kind index_object_fn(void *arg, const uint8_t *key, const struct object_place *p, struct err *err);
typedef void index_bad_fn(void *arg, const char *what);
struct index_bad {
    index_bad_fn *fn;
    void *arg;
};
/* Order: city, source, sequence.  A mark's agent name is inside it. */
ERR_CHECK enum err_kind index_marks(struct kv_txn *t, index_mark_fn *fn, void *arg, const struct index_bad *bad,
                                    struct err *err);
ERR_CHECK enum err_kind index_agents(struct kv_txn *t, index_agent_fn *fn, void *arg, const struct index_bad *bad,
                                     struct err *err);
ERR_CHECK enum err_kind index_packs(struct kv_txn *t, index_pack_fn *fn, void *arg, const struct index_bad *bad,
                                    struct err *err);
ERR_CHECK enum err_kind index_blobs(struct kv_txn *t, index_blob_fn *fn, void *arg, const struct index_bad *bad,
                                    struct err *err);
ERR_CHECK enum err_kind index_objects(struct kv_txn *t, index_object_fn *fn, void *arg, const struct index_bad *bad,
                                      struct err *err);

/* Tokens: key SHA-256 of the secret; one use. */
struct index_token {
    char agent[SOURCE_NAME_MAX + 1];
    int64_t expires_ns;
};
ERR_CHECK enum err_kind index_token_get(struct kv_txn *t, const struct digest *secret, struct index_token *ret,
                                        struct err *err);
ERR_CHECK enum err_kind index_token_put(struct kv_txn *t, const struct digest *secret, const struct index_token *k,
                                        struct err *err);
ERR_CHECK enum err_kind index_token_del(struct kv_txn *t, const struct digest *secret, struct err *err);

#endif
