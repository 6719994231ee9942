/* limits.h - every bound of the system, with its reason. */
#ifndef COMMON_LIMITS_H
#define COMMON_LIMITS_H

#define KIB 1024u
#define MIB (1024u * 1024u)

/* Content: DESIGN sections 1 and 3. */
#define BLOCK_BYTES (64u * KIB)          /* unit of digests */
#define MAP_BLOCKS 64u                   /* blocks of a map */
#define MAP_BYTES (BLOCK_BYTES * MAP_BLOCKS) /* 4 MiB */
#define NODE_CHILDREN 64u
#define BLOB_RAW_MAX (256u * KIB)        /* a blob is opened whole to read any byte of it */
#define OBJECT_BYTES_MAX (256u * KIB)    /* page, node, map, xattrs: fits a blob */
#define WINDOW_BYTES (64u * MIB)         /* librsync's table is quadratic in hostile content beyond */
#define PAGE_ENTRIES_MAX 1024u
#define PAGE_CUT_MOD 128u                /* a page ends after a name whose SHA-256 mod this is 0 */
#define NAME_BYTES_MAX 255u              /* Linux NAME_MAX */
#define TARGET_BYTES_MAX 4095u           /* PATH_MAX less its NUL */
#define XATTR_INLINE_MAX 256u            /* larger sets are an object of their own */
#define XATTRS_BYTES_MAX (128u * KIB)    /* encoded set of one inode; larger is a finding */
#define USER_BYTES_MAX 64u
#define TREE_DEPTH_MAX 4096u             /* directories; deeper is a finding, not a crash */
#define FILE_BYTES_MAX (1ull << 46)      /* 64 TiB: four levels of nodes */

/* Delta: DESIGN section 4. */
#define DELTA_BLOCK_BYTES (8u * KIB)
#define DELTA_SUM_BYTES 32u              /* full BLAKE2; shorter sums can be collided (CVE-2014-8242) */
#define DELTA_RUN_BYTES (256u * KIB)     /* shorter runs of changed blocks are compared in place */
#define DELTA_BARREN_BYTES (4u * MIB)    /* after so much without a COPY the rest of the window is LITERAL */
#define DELTA_WEAK_SAME_MAX 64u          /* different strong sums under one weak sum: more is an attack */

/* Store. */
#define PACK_BYTES_MAX (256u * MIB)
#define SOURCE_NAME_MAX 64u              /* also of an agent and a site: [a-z0-9][a-z0-9._-]* */
#define COMMIT_ROWS_MAX 8000u            /* LMDB 0.9.24 leaks spilled pages: at most 10,000 dirty pages a transaction */
#define INDEX_MAP_BYTES (1ull << 40)     /* sparse, set once: resizing with open transactions is undefined */
#define LEAF_BYTES_MAX (1u * MIB)        /* one ledger leaf: the events of a group commit */

/* Wire. */
#define FRAME_BYTES_MAX (1u * MIB)       /* payload of a frame */
#define UNIT_ITEMS_MAX 1024u             /* files of one unit of work, in one query */
#define BLOB_STORED_MAX (BLOB_RAW_MAX + 4u * KIB) /* zstd never grows a block by more */
#define SESSION_STALL_MS_MAX 60000       /* no byte for so long while one is waited for: the peer is gone */
#define HANDSHAKE_MS_MAX 10000           /* also for the first frame: nobody holds a connection for nothing */
#define SESSIONS_MAX 256u                /* open connections; 21 cities need 21 */
#define SITE_QUEUE_MAX 64u               /* frames of one session under work: 64 x 256 KiB of memory at most */
#define RECEIPT_BYTES_MAX 1024u
#define TOKEN_LIFE_S 3600u

#endif
