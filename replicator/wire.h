/* wire.h - the frames of the protocol, both ends.  farshore-wire(5) is canonical.
 *
 *     agent                          site
 *       HELLO  ------------------->        version, last receipt
 *              <-------------------  WELCOME   verdict on the receipts, the site's last
 *       BEGIN  ------------------->        source
 *              <-------------------  BEGUN     its head mark
 *       QUERY  ------------------->        does the site have these digests? else sums of old blocks, please
 *              <-------------------  ANSWER
 *       WANT   ------------------->        sums of a range of an old file
 *              <-------------------  SUMS
 *       GET    ------------------->        a page of the head mark (only after the agent's table was lost)
 *              <-------------------  GOT
 *       BLOB ITEMS OBJECTS ------->        literals; how maps and blocks are made of them; pages, nodes, xattrs
 *       MARK   ------------------->        signed record
 *              <-------------------  RECEIPT, or MISSING (some object is not there: drop the table, pass again)
 *       BEGIN ... or BYE
 *              <-------------------  ERROR     at any time; the connection ends
 *
 *     JOIN   ------------------->   (no client certificate)   token secret, public keys, proofs
 *              <-------------------  JOINED    certificates
 *
 * Everything but BEGIN, MARK, HELLO, JOIN, GET is pipelined: the agent never waits for one answer before it sends the next question.
 * There is no verb that deletes, overwrites or reads history.  Frame: u32 payload length, u8 type, u8 zero[3], payload.
 * Integers little-endian; "block" is a varint length and bytes. */
#ifndef REPLICATOR_WIRE_H
#define REPLICATOR_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/channel.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/limits.h"
#include "common/pki.h"
#include "common/sign.h"
#include "snapshot/delta.h"
#include "snapshot/format.h"

#define WIRE_VERSION 1u
#define WIRE_FRAME_HEADER 8u
#define WIRE_SUMS_MAX 16384u      /* sums in an answer: 2 * WINDOW_BYTES of old bytes, 576 KiB, within FRAME_BYTES_MAX */
#define WIRE_OPS_MAX 8192u        /* of an item: a page of 512 bytes each */
#define WIRE_BLOBS_BACK 65536u    /* an item may name a BLOB until so many later ones were sent: the site remembers no more */
#define WIRE_GET_MAX (1u << 20)   /* pages of the head mark that one session may ask for */

enum wire_type {
    WIRE_HELLO = 1, WIRE_WELCOME, WIRE_BEGIN, WIRE_BEGUN, WIRE_QUERY, WIRE_ANSWER, WIRE_WANT, WIRE_SUMS, WIRE_GET, WIRE_GOT,
    WIRE_BLOB, WIRE_ITEMS, WIRE_OBJECTS, WIRE_MARK, WIRE_RECEIPT, WIRE_MISSING, WIRE_BYE, WIRE_ERROR, WIRE_JOIN, WIRE_JOINED,
    WIRE_TYPES
};
const char *wire_name(uint8_t type); /* "QUERY", or "type 99" is not known: NULL */

/* Header and payload in one write; thread-safe (channel.h). */
ERR_CHECK enum err_kind wire_send(struct channel *ch, enum wire_type type, const struct buf *payload, struct err *err);
struct wire_frame {
    enum wire_type type;
    struct buf payload; /* owned by the frame; buf_free() or take it */
};
/* Errors: ERR_PROTOCOL (unknown type, longer than FRAME_BYTES_MAX, padding not zero), ERR_CLOSED. */
ERR_CHECK enum err_kind wire_receive(struct channel *ch, struct wire_frame *ret, struct err *err);
/* The same, but the first byte may come whenever it likes (TCP keepalive tells a dead peer); what follows it must not stall. */
ERR_CHECK enum err_kind wire_receive_idle(struct channel *ch, struct wire_frame *ret, struct err *err);
/* A pure parse of the 8 header bytes, for the fuzzer. */
ERR_CHECK enum err_kind wire_header(const uint8_t at[WIRE_FRAME_HEADER], enum wire_type *ret_type, uint32_t *ret_size,
                                    struct err *err);

/* All encoders append to a buf; all parsers are pure, check every bound, and return ERR_PROTOCOL naming frame and field. Texts are
 * NUL-terminated in the structs; pointers are borrowed from the payload. */

struct wire_signed { /* a text and its signature; size 0: none */
    const uint8_t *text;
    size_t size; /* <= MARK_TEXT_MAX */
    uint8_t signature[SIGN_BYTES];
};
struct wire_hello {
    uint16_t version;
    char agent[SOURCE_NAME_MAX + 1];
    char program[65]; /* "farshore-agent 0.1.0" */
    int64_t clock_ns;
    struct wire_signed receipt; /* last one, of whatever source */
};
enum wire_verdict { WIRE_FIRST, WIRE_SAME, WIRE_AGENT_BEHIND, WIRE_SITE_BEHIND, WIRE_FORK };
struct wire_welcome {
    uint16_t version;
    char site[SOURCE_NAME_MAX + 1];
    int64_t clock_ns;
    uint8_t verdict;
    struct wire_signed receipt; /* the site's last for this agent */
};
struct wire_begin { char source[SOURCE_NAME_MAX + 1]; };
struct wire_begun {
    uint64_t upload;         /* a number for the logs of both sides */
    struct wire_signed head; /* the source's newest mark as the agent signed it; none: first */
};

struct wire_base { /* an old file of this city, named by what it holds */
    struct digest digest;
    uint64_t size;
};
struct wire_question {
    uint8_t kind;           /* enum object_kind */
    struct digest digest;
    bool based;
    struct wire_base base;
    uint32_t base_map;      /* which 4 MiB of it */
    uint64_t sums_of;       /* bit b: block b of that map: the sums of its bytes are wanted, unless HAVE; of all questions of a QUERY
                               at most WIRE_SUMS_MAX sums, 8 a block */
};
struct wire_query {
    uint32_t unit;
    struct wire_question *at; /* [count <= UNIT_ITEMS_MAX], owned by the parsed struct: free(at) */
    size_t count;
};
/* NEED_SUMS: the base is known here and may be named in the item; NEED in answer to a question with a base: it may not. */
enum wire_status { WIRE_HAVE = 1, WIRE_NEED = 2, WIRE_NEED_SUMS = 3 };
struct wire_reply {
    uint8_t status;
    const uint8_t *sums; /* WIRE_NEED_SUMS: for each block asked for, in order, ceil(old bytes there / 8 KiB) entries of 36
                            bytes; a block past the old end gives none */
    size_t sums_bytes;
};
struct wire_answer {
    uint32_t unit;
    struct wire_reply *at; /* [count], owned: free(at) */
    size_t count;
};
struct wire_want {
    uint32_t id;
    struct wire_base base;
    uint64_t off; /* multiple of DELTA_BLOCK_BYTES */
    uint64_t len; /* <= 2 * WINDOW_BYTES, off + len <= base.size */
};
struct wire_sums {
    uint32_t id;
    bool known; /* false: no such base here; the agent sends literals */
    const uint8_t *sums;
    size_t sums_bytes;
};
struct wire_get { uint32_t id; struct digest digest; };
struct wire_got { uint32_t id; bool known; const uint8_t *bytes; size_t size; };

struct wire_blob {
    uint32_t number; /* of this upload: 0, 1, 2, ... without gap */
    uint32_t raw;    /* 1..BLOB_RAW_MAX */
    uint8_t zip;
    const uint8_t *bytes;
    size_t stored;
};
/* One thing made of literals and old bytes. */
struct wire_op {
    uint8_t kind;  /* DELTA_COPY, DELTA_LITERAL, DELTA_ZERO */
    uint32_t len;
    uint64_t off;  /* COPY: in the base file; LITERAL: in the blob */
    uint32_t blob; /* LITERAL: number of an earlier BLOB */
};
struct wire_item {
    uint8_t kind;          /* OBJECT_BLOCK or OBJECT_MAP */
    struct digest digest;
    uint32_t bytes;        /* BLOCK: 1..BLOCK_BYTES, MAP: 1..MAP_BYTES */
    bool based;
    struct wire_base base; /* for SAME blocks and COPY */
    uint32_t base_map;
    uint64_t same;         /* MAP: bit b: block b is the base map's block b (digest and bytes) */
    uint64_t zero;         /* MAP: bit b: block b is all zero */
    struct digest blocks[MAP_BLOCKS]; /* MAP: of all blocks; on the wire only those neither same nor zero */
    struct wire_op *ops;   /* [op_count], owned; cover the blocks neither same nor zero, in order, end to end.  BLOCK: exactly one
                              LITERAL */
    size_t op_count;
};
void wire_item_free(struct wire_item *it);
struct wire_object { uint8_t kind; const uint8_t *bytes; size_t size; };
struct wire_mark { struct wire_signed mark; };
struct wire_receipt { struct wire_signed receipt; };
struct wire_missing { uint64_t count; uint8_t kind; struct digest first; };
struct wire_error { uint8_t kind; /* enum err_kind as the agent shall take it */ char text[512]; };
struct wire_join {
    uint8_t secret[16];
    char agent[SOURCE_NAME_MAX + 1];
    uint8_t tls_point[PKI_POINT_BYTES];
    uint8_t mark_public[SIGN_PUBLIC_BYTES];
    const uint8_t *tls_proof; size_t tls_proof_bytes; /* ECDSA over wire_join_text */
    uint8_t mark_proof[SIGN_BYTES];                   /* Ed25519 over wire_join_text */
};
struct wire_joined {
    char site[SOURCE_NAME_MAX + 1];
    uint8_t site_public[SIGN_PUBLIC_BYTES];
    const uint8_t *cert; size_t cert_bytes; /* PEM */
    const uint8_t *ca; size_t ca_bytes;
};
/* "farshore-join-v1\n", secret, point, mark key: what both proofs sign. */
void wire_join_text(const struct wire_join *j, struct buf *ret);

/* wire_put_X appends, wire_get_X parses.  Lists of items and objects: one frame holds many, one after another. */
#define WIRE_BOTH(name) \
    void wire_put_##name(const struct wire_##name *m, struct buf *ret); \
    ERR_CHECK enum err_kind wire_get_##name(const void *bytes, size_t size, struct wire_##name *ret, struct err *err)
WIRE_BOTH(hello); WIRE_BOTH(welcome); WIRE_BOTH(begin); WIRE_BOTH(begun); WIRE_BOTH(query); WIRE_BOTH(answer); WIRE_BOTH(want);
WIRE_BOTH(sums); WIRE_BOTH(get); WIRE_BOTH(got); WIRE_BOTH(blob); WIRE_BOTH(mark); WIRE_BOTH(receipt); WIRE_BOTH(missing);
WIRE_BOTH(error); WIRE_BOTH(join); WIRE_BOTH(joined);
#undef WIRE_BOTH
void wire_put_item(const struct wire_item *it, struct buf *ret);
/* Next of an ITEMS payload, until c->left is 0; *ret is for wire_item_free then, whatever came of it.  base blocks' digests (same)
 * are not filled: the site takes them from the base map. */
ERR_CHECK enum err_kind wire_next_item(struct cut *c, struct wire_item *ret, struct err *err);
void wire_put_object(const struct wire_object *o, struct buf *ret);
ERR_CHECK enum err_kind wire_next_object(struct cut *c, struct wire_object *ret, struct err *err);

/* Send ERROR with err's kind and text, best effort. */
void wire_send_error(struct channel *ch, const struct err *err);
/* What an ERROR frame becomes on our side: its kind, "site: text". */
enum err_kind wire_take_error(const struct wire_frame *f, struct err *err);

/* A token: "fs1_" and base64url of: u8 version 1, secret 16, CA fingerprint 32, agent block, address block. */
struct wire_token {
    uint8_t secret[16];
    struct digest ca;
    char agent[SOURCE_NAME_MAX + 1];
    char address[CHANNEL_ADDRESS_ROOM];
};
#define WIRE_TOKEN_ROOM 512
void wire_token_write(const struct wire_token *t, char ret_text[WIRE_TOKEN_ROOM]);
ERR_CHECK enum err_kind wire_token_read(const char *text, struct wire_token *ret, struct err *err); /* ERR_USAGE */

#endif
