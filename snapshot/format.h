/* format.h - names and sizes of what lies in a store.  farshore-store(5) is canonical. */
#ifndef SNAPSHOT_FORMAT_H
#define SNAPSHOT_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/hash.h"

/* Kinds of objects: what an index row is filed under, with the content digest. */
enum object_kind {
    OBJECT_BLOCK = 'K', /* a file of at most one block: the row points at its bytes in a data blob */
    OBJECT_MAP = 'M',
    OBJECT_NODE = 'N',
    OBJECT_PAGE = 'P',
    OBJECT_XATTRS = 'X',
};

/* Kinds of blobs. */
enum blob_kind {
    BLOB_DATA = 'd',    /* bytes of files */
    BLOB_OBJECTS = 'o', /* objects one after another; rows say where */
    BLOB_ROWS = 'r',    /* the index rows of one commit (for reindex) */
    BLOB_MARK = 'm',    /* mark text and signature */
    BLOB_TABLE = 't',   /* last of a closed pack: the headers of all blobs before it */
};

/* Pack header, 4096 bytes at the start of the file, zero padded so that blobs start on a page. */
#define PACK_MAGIC "FSPACK1\n"
struct pack_header {
    uint8_t magic[8];
    uint8_t version[4];      /* 1 */
    uint8_t city[4];
    uint8_t pack[8];         /* number */
    uint8_t site[32];        /* SHA-256 of the site's public key: a pack of another store is told */
    uint8_t wrap_nonce[12];
    uint8_t wrap_tag[16];
    uint8_t wrapped_key[32]; /* AES-256-GCM under the sealing key; AAD: the fields before wrap_nonce */
    uint8_t check[8];        /* hash_check of all before it */
};
_Static_assert(sizeof(struct pack_header) == 124, "the pack header has no padding");
#define PACK_HEADER_BYTES 4096u

/* Before each blob; blobs follow one another without gaps. */
#define BLOB_MAGIC "FSb1"
struct blob_header {
    uint8_t magic[4];
    uint8_t kind;
    uint8_t zip;       /* 0: stored as it is, 1: zstd */
    uint8_t zero[2];
    uint8_t blob[8];   /* number */
    uint8_t seal[8];   /* count of seals under this pack's key: the nonce is it, little-endian, and four zero bytes */
    uint8_t stored[4]; /* bytes of ciphertext that follow */
    uint8_t raw[4];    /* bytes after decompression */
    uint8_t tag[16];   /* GCM tag; AAD: pack number [8] and this header before tag */
    uint8_t check[8];  /* hash_check of the header before it: reindex hops from header to header */
};
_Static_assert(sizeof(struct blob_header) == 56, "the blob header has no padding");

/* Where a blob lies: index row and table entry. */
struct blob_place {
    uint64_t blob;
    uint64_t pack;
    uint32_t off;    /* of the blob header in the pack file */
    uint32_t stored; /* bytes of ciphertext */
    uint32_t raw;
    uint8_t kind;    /* enum blob_kind */
    uint8_t zip;
};

/* Where an object lies. */
struct object_place {
    uint64_t blob;
    uint32_t off; /* in the blob's raw bytes */
    uint32_t len;
    uint64_t generation; /* number of the commit that wrote or claimed it last */
};

#define OBJECT_KEY_BYTES 25u /* city big-endian 4, kind 1, HMAC-SHA-256(city key, kind || digest) cut to 20 */

#endif
