#include "common/bytes.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

/* Each through memcpy, since a format's fields lie unaligned; compilers make one load or store of it. */

uint16_t
le16_get(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return le16toh(v);
}

uint32_t
le32_get(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

uint64_t
le64_get(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return le64toh(v);
}

void
le16_put(uint8_t *at, uint16_t value)
{
    const uint16_t v = htole16(value);
    memcpy(at, &v, sizeof v);
}

void
le32_put(uint8_t *at, uint32_t value)
{
    const uint32_t v = htole32(value);
    memcpy(at, &v, sizeof v);
}

void
le64_put(uint8_t *at, uint64_t value)
{
    const uint64_t v = htole64(value);
    memcpy(at, &v, sizeof v);
}

uint32_t
be32_get(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return be32toh(v);
}

uint64_t
be64_get(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return be64toh(v);
}

void
be32_put(uint8_t *at, uint32_t value)
{
    const uint32_t v = htobe32(value);
    memcpy(at, &v, sizeof v);
}

void
be64_put(uint8_t *at, uint64_t value)
{
    const uint64_t v = htobe64(value);
    memcpy(at, &v, sizeof v);
}

void
buf_free(struct buf *b)
{
    free(b->at);
    *b = (struct buf){ 0 };
}

void
buf_reserve(struct buf *b, size_t more)
{
    size_t room = b->room < 64 ? 64 : b->room;

    if (more <= b->room - b->size)
        return;
    assert(more <= SIZE_MAX / 4 - b->size); /* bounded by limits.h long before */
    while (room < b->size + more)
        room *= 2;
    b->at = mem_grow(b->at, room, 1);
    b->room = room;
}

void
buf_put(struct buf *b, const void *bytes, size_t size)
{
    assert(bytes != NULL || size == 0);
    if (size == 0)
        return;
    buf_reserve(b, size);
    memcpy(b->at + b->size, bytes, size);
    b->size += size;
}

void
buf_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void
buf_u16(struct buf *b, uint16_t v)
{
    uint8_t bytes[2];
    le16_put(bytes, v);
    buf_put(b, bytes, sizeof bytes);
}

void
buf_u32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4];
    le32_put(bytes, v);
    buf_put(b, bytes, sizeof bytes);
}

void
buf_u64(struct buf *b, uint64_t v)
{
    uint8_t bytes[8];
    le64_put(bytes, v);
    buf_put(b, bytes, sizeof bytes);
}

void
buf_varint(struct buf *b, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;

    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    buf_put(b, bytes, n);
}

void
buf_block(struct buf *b, const void *bytes, size_t size)
{
    buf_varint(b, size);
    buf_put(b, bytes, size);
}

void
buf_text(struct buf *b, const char *text)
{
    buf_block(b, text, strlen(text));
}

struct cut
cut_of(const void *bytes, size_t size)
{
    assert(bytes != NULL || size == 0);
    return (struct cut){ .at = bytes, .left = size };
}

const uint8_t *
cut_bytes(struct cut *c, size_t size)
{
    /* What an empty input hands out is never read, but NULL would look like a failure. */
    static const uint8_t nothing[1];

    if (c->bad || size > c->left) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *const at = c->at == NULL ? nothing : c->at;
    if (size > 0)
        c->at += size;
    c->left -= size;
    return at;
}

uint8_t
cut_u8(struct cut *c)
{
    const uint8_t *const at = cut_bytes(c, 1);
    return at == NULL ? 0 : at[0];
}

uint16_t
cut_u16(struct cut *c)
{
    const uint8_t *const at = cut_bytes(c, 2);
    return at == NULL ? 0 : le16_get(at);
}

uint32_t
cut_u32(struct cut *c)
{
    const uint8_t *const at = cut_bytes(c, 4);
    return at == NULL ? 0 : le32_get(at);
}

uint64_t
cut_u64(struct cut *c)
{
    const uint8_t *const at = cut_bytes(c, 8);
    return at == NULL ? 0 : le64_get(at);
}

uint64_t
cut_varint(struct cut *c)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        const uint8_t byte = cut_u8(c);
        const uint64_t bits = byte & 0x7f;

        if (c->bad)
            return 0;
        if (shift == 63 && bits > 1)
            break;
        value |= bits << shift;
        if ((byte & 0x80) != 0)
            continue;
        return value;
    }
    c->bad = true;
    return 0;
}

const uint8_t *
cut_block(struct cut *c, size_t size_max, size_t *ret_size)
{
    const uint64_t size = cut_varint(c);

    if (c->bad || size > size_max) {
        c->bad = true;
        *ret_size = 0; /* a getter's 0, so that a caller that checks once, at the end, reads nothing */
        return NULL;
    }
    const uint8_t *const at = cut_bytes(c, (size_t)size);
    *ret_size = at == NULL ? 0 : (size_t)size;
    return at;
}

bool
cut_text(struct cut *c, char *ret_text, size_t room)
{
    size_t size;
    const uint8_t *const at = cut_block(c, room - 1, &size);

    assert(room > 0);
    ret_text[0] = '\0';
    if (at == NULL || memchr(at, '\0', size) != NULL) {
        c->bad = true;
        return false;
    }
    memcpy(ret_text, at, size);
    ret_text[size] = '\0';
    return true;
}

bool
cut_done(const struct cut *c)
{
    return !c->bad && c->left == 0;
}
