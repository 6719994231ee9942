/* Frames: header, sending, receiving, errors, tokens.  Their payloads are in wire_open.c, wire_data.c and wire_item.c. */
#include "replicator/wire.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/conf.h"
#include "replicator/wire_internal.h"

static const char *const names[WIRE_TYPES] = {
    [WIRE_HELLO] = "HELLO",     [WIRE_WELCOME] = "WELCOME", [WIRE_BEGIN] = "BEGIN",
    [WIRE_BEGUN] = "BEGUN",     [WIRE_QUERY] = "QUERY",     [WIRE_ANSWER] = "ANSWER",
    [WIRE_WANT] = "WANT",       [WIRE_SUMS] = "SUMS",       [WIRE_GET] = "GET",
    [WIRE_GOT] = "GOT",         [WIRE_BLOB] = "BLOB",       [WIRE_ITEMS] = "ITEMS",
    [WIRE_OBJECTS] = "OBJECTS", [WIRE_MARK] = "MARK",       [WIRE_RECEIPT] = "RECEIPT",
    [WIRE_MISSING] = "MISSING", [WIRE_BYE] = "BYE",         [WIRE_ERROR] = "ERROR",
    [WIRE_JOIN] = "JOIN",       [WIRE_JOINED] = "JOINED",
};

const char *
wire_name(uint8_t type)
{
    return type < WIRE_TYPES ? names[type] : NULL;
}

enum err_kind
wire_send(struct channel *ch, enum wire_type type, const struct buf *payload, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    static const uint8_t zero[3];

    assert(payload->size <= FRAME_BYTES_MAX && wire_name((uint8_t)type) != NULL);
    buf_reserve(&b, WIRE_FRAME_HEADER + payload->size);
    buf_u32(&b, (uint32_t)payload->size);
    buf_u8(&b, (uint8_t)type);
    buf_put(&b, zero, sizeof zero);
    buf_put(&b, payload->at, payload->size);
    return channel_write(ch, b.at, b.size, err);
}

enum err_kind
wire_header(const uint8_t at[WIRE_FRAME_HEADER], enum wire_type *ret_type, uint32_t *ret_size,
            struct err *err)
{
    const uint32_t size = le32_get(at);
    const char *const name = wire_name(at[4]);

    if (name == NULL)
        return err_set(err, ERR_PROTOCOL, "a frame of unknown type %u", at[4]);
    if (size > FRAME_BYTES_MAX)
        return err_set(err, ERR_PROTOCOL, "%s of %u bytes: a frame has at most %u", name, size,
                       FRAME_BYTES_MAX);
    if (at[5] != 0 || at[6] != 0 || at[7] != 0)
        return err_set(err, ERR_PROTOCOL, "%s: the padding of its header is not zero", name);
    *ret_type = at[4];
    *ret_size = size;
    return ERR_OK;
}

/* An end in the middle of a frame is not the polite one that code 0 stands for. */
static enum err_kind
read_rest(struct channel *ch, void *ret, size_t size, struct err *err)
{
    struct err mine = { 0 };
    const enum err_kind kind = channel_read(ch, ret, size, &mine);

    if (kind == ERR_OK)
        return ERR_OK;
    if (kind == ERR_CLOSED && mine.code == 0)
        mine.code = ECONNRESET;
    if (err != NULL)
        *err = mine;
    return kind;
}

static enum err_kind
receive(struct channel *ch, const uint8_t header[WIRE_FRAME_HEADER], struct wire_frame *ret, struct err *err)
{
    struct wire_frame f = { 0 };
    uint32_t size = 0;
    enum err_kind kind = wire_header(header, &f.type, &size, err);

    if (kind != ERR_OK)
        return kind;
    buf_reserve(&f.payload, size);
    kind = size == 0 ? ERR_OK : read_rest(ch, f.payload.at, size, err);
    f.payload.size = size;
    if (kind == ERR_OK)
        *ret = f;
    else
        buf_free(&f.payload);
    return kind;
}

enum err_kind
wire_receive(struct channel *ch, struct wire_frame *ret, struct err *err)
{
    uint8_t header[WIRE_FRAME_HEADER];
    const enum err_kind kind = channel_read(ch, header, sizeof header, err);

    return kind != ERR_OK ? kind : receive(ch, header, ret, err);
}

enum err_kind
wire_receive_idle(struct channel *ch, struct wire_frame *ret, struct err *err)
{
    uint8_t header[WIRE_FRAME_HEADER];

    channel_stall(ch, -1);
    enum err_kind kind = channel_read(ch, header, 1, err);
    channel_stall(ch, SESSION_STALL_MS_MAX);
    if (kind == ERR_OK)
        kind = read_rest(ch, header + 1, sizeof header - 1, err);
    return kind != ERR_OK ? kind : receive(ch, header, ret, err);
}

void
wire_send_error(struct channel *ch, const struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    struct wire_error e = { .kind = (uint8_t)err->kind };

    memcpy(e.text, err->text, sizeof e.text);
    e.text[sizeof e.text - 1] = '\0';
    wire_put_error(&e, &b);
    (void)!wire_send(ch, WIRE_ERROR, &b, NULL);
}

enum err_kind
wire_take_error(const struct wire_frame *f, struct err *err)
{
    struct wire_error e;

    assert(f->type == WIRE_ERROR);
    const enum err_kind kind = wire_get_error(f->payload.at, f->payload.size, &e, err);
    return kind != ERR_OK ? kind : err_set(err, (enum err_kind)e.kind, "site: %s", e.text);
}

struct parse
parse_of(const void *bytes, size_t size, enum wire_type type)
{
    return (struct parse){ .c = cut_of(bytes, size), .frame = wire_name((uint8_t)type), .field = "payload" };
}

struct cut *
parse_at(struct parse *p, const char *field)
{
    if (!p->c.bad)
        p->field = field;
    return &p->c;
}

void
parse_need(struct parse *p, bool ok)
{
    if (!ok)
        p->c.bad = true;
}

void
parse_bytes(struct parse *p, const char *field, void *ret, size_t size)
{
    const uint8_t *const at = cut_bytes(parse_at(p, field), size);

    if (at != NULL)
        memcpy(ret, at, size);
    else
        memset(ret, 0, size);
}

void
parse_digest(struct parse *p, const char *field, struct digest *ret)
{
    parse_bytes(p, field, ret->at, sizeof ret->at);
}

void
parse_name(struct parse *p, const char *field, char ret[SOURCE_NAME_MAX + 1])
{
    if (cut_text(parse_at(p, field), ret, SOURCE_NAME_MAX + 1))
        parse_need(p, conf_name_ok(ret));
}

bool
parse_bool(struct parse *p, const char *field)
{
    const uint8_t v = cut_u8(parse_at(p, field));

    parse_need(p, v <= 1);
    return v == 1;
}

enum err_kind
parse_verdict(const struct parse *p, struct err *err)
{
    if (p->c.bad)
        return err_set(err, ERR_PROTOCOL, "%s: the field \"%s\" is cut off or out of its bounds", p->frame,
                       p->field);
    return ERR_OK;
}

enum err_kind
parse_end(const struct parse *p, struct err *err)
{
    const enum err_kind kind = parse_verdict(p, err);

    if (kind == ERR_OK && p->c.left > 0)
        return err_set(err, ERR_PROTOCOL, "%s: %zu bytes too many after \"%s\"", p->frame, p->c.left,
                       p->field);
    return kind;
}

#define TOKEN_PREFIX "fs1_"
#define TOKEN_VERSION 1u

void
wire_token_write(const struct wire_token *t, char ret_text[WIRE_TOKEN_ROOM])
{
    AUTO(buf_free) struct buf b = { 0 };

    buf_u8(&b, TOKEN_VERSION);
    buf_put(&b, t->secret, sizeof t->secret);
    buf_put(&b, t->ca.at, sizeof t->ca.at);
    buf_text(&b, t->agent);
    buf_text(&b, t->address);
    assert(sizeof TOKEN_PREFIX + 4 * ((b.size + 2) / 3) < WIRE_TOKEN_ROOM);
    memcpy(ret_text, TOKEN_PREFIX, sizeof TOKEN_PREFIX);
    hash_base64url(b.at, b.size, ret_text + strlen(TOKEN_PREFIX));
    explicit_bzero(b.at, b.size);
}

static bool
printable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

enum err_kind
wire_token_read(const char *text, struct wire_token *ret, struct err *err)
{
    uint8_t bytes[WIRE_TOKEN_ROOM];
    struct wire_token t;
    const bool ours = strncmp(text, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) == 0;
    const long n = ours ? hash_from_base64url(text + strlen(TOKEN_PREFIX), bytes, sizeof bytes) : -1;

    memset(&t, 0, sizeof t);
    if (n < 0)
        return err_set(err, ERR_USAGE,
                       "this is not a token: one begins with \"" TOKEN_PREFIX "\" and was not cut");
    struct parse p = { .c = cut_of(bytes, (size_t)n), .frame = "token", .field = "version" };
    parse_need(&p, cut_u8(&p.c) == TOKEN_VERSION);
    parse_bytes(&p, "secret", t.secret, sizeof t.secret);
    parse_digest(&p, "ca", &t.ca);
    parse_name(&p, "agent", t.agent);
    if (cut_text(parse_at(&p, "address"), t.address, sizeof t.address))
        parse_need(&p, t.address[0] != '\0' && printable(t.address));
    explicit_bzero(bytes, sizeof bytes);
    if (parse_end(&p, NULL) != ERR_OK)
        return err_set(err, ERR_USAGE, "the token is damaged: its field \"%s\" does not hold", p.field);
    *ret = t;
    return ERR_OK;
}
