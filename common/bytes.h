/* bytes.h - little-endian accessors, a growing buffer to write formats into, and a bounded cursor to parse them from. */
#ifndef COMMON_BYTES_H
#define COMMON_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint16_t le16_get(const uint8_t *at);
uint32_t le32_get(const uint8_t *at);
uint64_t le64_get(const uint8_t *at);
void le16_put(uint8_t *at, uint16_t value);
void le32_put(uint8_t *at, uint32_t value);
void le64_put(uint8_t *at, uint64_t value);
uint32_t be32_get(const uint8_t *at); /* index keys sort by number when big-endian */
uint64_t be64_get(const uint8_t *at);
void be32_put(uint8_t *at, uint32_t value);
void be64_put(uint8_t *at, uint64_t value);

/* A growing buffer; {0} is empty and valid. */
struct buf {
    uint8_t *at; /* [room], owned */
    size_t size; /* bytes in use */
    size_t room;
};
void buf_free(struct buf *b); /* also for AUTO(buf_free); leaves it empty */
void buf_reserve(struct buf *b, size_t more);
void buf_put(struct buf *b, const void *bytes, size_t size);
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);                     /* LEB128 */
void buf_block(struct buf *b, const void *bytes, size_t size);  /* varint length, then the bytes */
void buf_text(struct buf *b, const char *text);                 /* buf_block of a C string, without its NUL */

/* A cursor that never reads past its end; once bad it stays bad, and every getter then returns 0 or NULL.  Check once,
 * after a whole structure. */
struct cut {
    const uint8_t *at; /* borrowed */
    size_t left;
    bool bad;
};
struct cut cut_of(const void *bytes, size_t size);
uint8_t cut_u8(struct cut *c);
uint16_t cut_u16(struct cut *c);
uint32_t cut_u32(struct cut *c);
uint64_t cut_u64(struct cut *c);
uint64_t cut_varint(struct cut *c);                     /* bad on more than 10 bytes, or a value of more than 64 bits */
const uint8_t *cut_bytes(struct cut *c, size_t size);   /* pointer into the input */
const uint8_t *cut_block(struct cut *c, size_t size_max, size_t *ret_size); /* what buf_block wrote */
bool cut_text(struct cut *c, char *ret_text, size_t room);  /* what buf_text wrote; bad if too long or with a NUL inside */
bool cut_done(const struct cut *c);                     /* not bad and nothing left */

#endif
