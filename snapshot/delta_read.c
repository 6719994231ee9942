#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "snapshot/delta.h"
#include "snapshot/delta_internal.h"

/* librsync's commands, from its prototab.h. */
enum {
    OP_END = 0x00,
    OP_LITERAL_1 = 0x01,
    OP_LITERAL_64 = 0x40,
    OP_LITERAL_N1 = 0x41,
    OP_COPY_N1_N1 = 0x45,
    OP_COPY_N8_N8 = 0x54,
};
#define MAGIC 0x72730236u
#define MAGIC_BYTES 4u

void
delta_ops_free(struct delta_ops *ops)
{
    free(ops->at);
    *ops = (struct delta_ops){ 0 };
}

void
delta_ops_add(struct delta_ops *ops, struct delta_op op)
{
    struct delta_op *const last = ops->count == 0 ? NULL : &ops->at[ops->count - 1];

    assert(op.len > 0 && (op.kind == DELTA_COPY || op.kind == DELTA_LITERAL || op.kind == DELTA_ZERO));
    assert(op.kind != DELTA_ZERO || op.off == 0);
    if (last != NULL && last->kind == op.kind && (op.kind == DELTA_ZERO || last->off + last->len == op.off) &&
        last->len <= UINT32_MAX - op.len) {
        last->len += op.len;
        return;
    }
    if (ops->count == ops->room) {
        ops->room = ops->room == 0 ? 16 : 2 * ops->room;
        ops->at = mem_grow(ops->at, ops->room, sizeof *ops->at);
    }
    ops->at[ops->count++] = op;
}

/* Widths of the two numbers that follow a command; 0: none. */
static void
widths(uint8_t command, unsigned *ret_first, unsigned *ret_second)
{
    *ret_first = *ret_second = 0;
    if (command >= OP_COPY_N1_N1 && command <= OP_COPY_N8_N8) {
        *ret_first = 1u << ((command - OP_COPY_N1_N1) / 4);
        *ret_second = 1u << ((command - OP_COPY_N1_N1) % 4);
    } else if (command >= OP_LITERAL_N1 && command < OP_COPY_N1_N1) {
        *ret_first = 1u << (command - OP_LITERAL_N1);
    }
}

static uint64_t
number(const uint8_t *at, unsigned width)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < width; i++)
        v = v << 8 | at[i];
    return v;
}

static enum err_kind
bad(const struct delta_reader *r, struct err *err, const char *what)
{
    return err_set(err, ERR_PROTOCOL, "delta is damaged at byte %" PRIu64 ": %s", r->at, what);
}

/* The command in r->head is whole. */
static enum err_kind
execute(struct delta_reader *r, unsigned first, unsigned second, struct err *err)
{
    const uint8_t command = r->head[0];
    struct delta_op op = { .kind = second > 0 ? DELTA_COPY : DELTA_LITERAL };
    uint64_t len;

    r->have = 0;
    if (command == OP_END) {
        r->ended = true;
        return ERR_OK;
    }
    if (second > 0) {
        op.off = number(r->head + 1, first);
        len = number(r->head + 1 + first, second);
    } else {
        op.off = r->at;
        len = first > 0 ? number(r->head + 1, first) : command;
    }
    if (len == 0 || len > UINT32_MAX || len > r->new_bytes_max - r->made)
        return bad(r, err, "a length is out of range");
    if (op.off > (uint64_t)INT64_MAX - len)
        return bad(r, err, "an offset is out of range");
    op.len = (uint32_t)len;
    const enum err_kind k = r->op(r, &op, err);

    r->made += len;
    if (op.kind == DELTA_LITERAL)
        r->skip = len;
    return k;
}

/* One more byte that is not a literal's. */
static enum err_kind
take(struct delta_reader *r, uint8_t byte, struct err *err)
{
    unsigned first, second;

    if (r->ended)
        return bad(r, err, "bytes follow its end");
    r->head[r->have++] = byte;
    r->at++;
    if (!r->begun) {
        if (r->have < MAGIC_BYTES)
            return ERR_OK;
        if (number(r->head, MAGIC_BYTES) != MAGIC)
            return bad(r, err, "it does not begin as one");
        r->begun = true;
        r->have = 0;
        return ERR_OK;
    }
    if (r->head[0] > OP_COPY_N8_N8)
        return bad(r, err, "a command is not known");
    widths(r->head[0], &first, &second);
    return r->have < 1 + first + second ? ERR_OK : execute(r, first, second, err);
}

enum err_kind
delta_read(struct delta_reader *r, const uint8_t *bytes, size_t size, struct err *err)
{
    while (size > 0) {
        if (r->skip > 0) {
            const size_t n = r->skip < size ? (size_t)r->skip : size;

            r->skip -= n;
            r->at += n;
            bytes += n;
            size -= n;
            continue;
        }
        const enum err_kind k = take(r, *bytes, err);

        if (k != ERR_OK)
            return k;
        bytes++;
        size--;
    }
    return ERR_OK;
}

enum err_kind
delta_read_end(const struct delta_reader *r, struct err *err)
{
    return r->ended ? ERR_OK : bad(r, err, "it is cut off");
}

static enum err_kind
keep(struct delta_reader *r, const struct delta_op *op, struct err *err)
{
    struct delta_ops *const ops = r->arg;

    (void)err;
    delta_ops_add(ops, *op);
    return ERR_OK;
}

enum err_kind
delta_parse(const void *commands, size_t size, uint64_t new_bytes_max, struct delta_ops *ret, struct err *err)
{
    struct delta_ops ops = { 0 };
    struct delta_reader r = { .op = keep, .arg = &ops, .new_bytes_max = new_bytes_max };
    enum err_kind k = delta_read(&r, commands, size, err);

    if (k == ERR_OK)
        k = delta_read_end(&r, err);
    if (k == ERR_OK)
        for (size_t i = 0; i < ops.count; i++)
            delta_ops_add(ret, ops.at[i]);
    delta_ops_free(&ops);
    return k;
}
