/* Payloads of the frames that open a session, begin an upload and end it. */
#include <assert.h>
#include <string.h>

#include "replicator/wire.h"
#include "replicator/wire_internal.h"
#include "snapshot/mark.h"

#define PROOF_BYTES_MAX 80u
#define CERT_BYTES_MAX (64u * KIB)

static void
put_signed(const struct wire_signed *s, struct buf *ret)
{
    buf_block(ret, s->text, s->size);
    if (s->size > 0)
        buf_put(ret, s->signature, SIGN_BYTES);
}

static void
parse_signed(struct parse *p, const char *field, struct wire_signed *ret)
{
    ret->text = cut_block(parse_at(p, field), MARK_TEXT_MAX, &ret->size);
    if (!p->c.bad && ret->size > 0)
        parse_bytes(p, "signature", ret->signature, SIGN_BYTES);
}

/* What the other side says reaches a terminal: nothing in it may steer one. */
static void
make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((uint8_t)*text < 0x20 || (uint8_t)*text == 0x7f)
            *text = '?';
}

void
wire_put_hello(const struct wire_hello *m, struct buf *ret)
{
    buf_u16(ret, m->version);
    buf_text(ret, m->agent);
    buf_text(ret, m->program);
    buf_u64(ret, (uint64_t)m->clock_ns);
    put_signed(&m->receipt, ret);
}

enum err_kind
wire_get_hello(const void *bytes, size_t size, struct wire_hello *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_HELLO);
    struct wire_hello m = { 0 };

    m.version = cut_u16(parse_at(&p, "version"));
    if (!p.c.bad && m.version != WIRE_VERSION)
        return err_set(err, ERR_PROTOCOL,
                       "HELLO: the agent speaks version %u of the protocol, this site version %u", m.version,
                       WIRE_VERSION);
    parse_name(&p, "agent", m.agent);
    if (cut_text(parse_at(&p, "program"), m.program, sizeof m.program))
        make_printable(m.program);
    m.clock_ns = (int64_t)cut_u64(parse_at(&p, "clock"));
    parse_signed(&p, "receipt", &m.receipt);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_welcome(const struct wire_welcome *m, struct buf *ret)
{
    buf_u16(ret, m->version);
    buf_text(ret, m->site);
    buf_u64(ret, (uint64_t)m->clock_ns);
    buf_u8(ret, m->verdict);
    put_signed(&m->receipt, ret);
}

enum err_kind
wire_get_welcome(const void *bytes, size_t size, struct wire_welcome *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_WELCOME);
    struct wire_welcome m = { 0 };

    m.version = cut_u16(parse_at(&p, "version"));
    if (!p.c.bad && m.version != WIRE_VERSION)
        return err_set(err, ERR_PROTOCOL,
                       "WELCOME: the site speaks version %u of the protocol, this agent version %u",
                       m.version, WIRE_VERSION);
    parse_name(&p, "site", m.site);
    m.clock_ns = (int64_t)cut_u64(parse_at(&p, "clock"));
    m.verdict = cut_u8(parse_at(&p, "verdict"));
    parse_need(&p, m.verdict <= WIRE_FORK);
    parse_signed(&p, "receipt", &m.receipt);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_begin(const struct wire_begin *m, struct buf *ret)
{
    buf_text(ret, m->source);
}

enum err_kind
wire_get_begin(const void *bytes, size_t size, struct wire_begin *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_BEGIN);
    struct wire_begin m = { 0 };

    parse_name(&p, "source", m.source);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_begun(const struct wire_begun *m, struct buf *ret)
{
    buf_u64(ret, m->upload);
    put_signed(&m->head, ret);
}

enum err_kind
wire_get_begun(const void *bytes, size_t size, struct wire_begun *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_BEGUN);
    struct wire_begun m = { 0 };

    m.upload = cut_u64(parse_at(&p, "upload"));
    parse_signed(&p, "head", &m.head);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_mark(const struct wire_mark *m, struct buf *ret)
{
    put_signed(&m->mark, ret);
}

enum err_kind
wire_get_mark(const void *bytes, size_t size, struct wire_mark *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_MARK);
    struct wire_mark m = { 0 };

    parse_signed(&p, "mark", &m.mark);
    parse_need(&p, m.mark.size > 0);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_receipt(const struct wire_receipt *m, struct buf *ret)
{
    put_signed(&m->receipt, ret);
}

enum err_kind
wire_get_receipt(const void *bytes, size_t size, struct wire_receipt *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_RECEIPT);
    struct wire_receipt m = { 0 };

    parse_signed(&p, "receipt", &m.receipt);
    parse_need(&p, m.receipt.size > 0);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_missing(const struct wire_missing *m, struct buf *ret)
{
    buf_u64(ret, m->count);
    buf_u8(ret, m->kind);
    buf_put(ret, m->first.at, sizeof m->first.at);
}

enum err_kind
wire_get_missing(const void *bytes, size_t size, struct wire_missing *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_MISSING);
    struct wire_missing m = { 0 };

    m.count = cut_u64(parse_at(&p, "count"));
    parse_need(&p, m.count > 0);
    m.kind = cut_u8(parse_at(&p, "kind"));
    parse_need(&p, wire_kind_ok(m.kind));
    parse_digest(&p, "first", &m.first);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_error(const struct wire_error *m, struct buf *ret)
{
    buf_u8(ret, m->kind);
    buf_text(ret, m->text);
}

enum err_kind
wire_get_error(const void *bytes, size_t size, struct wire_error *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_ERROR);
    struct wire_error m = { 0 };

    m.kind = cut_u8(parse_at(&p, "kind"));
    parse_need(&p, m.kind != ERR_OK && m.kind <= ERR_USAGE);
    if (cut_text(parse_at(&p, "text"), m.text, sizeof m.text))
        make_printable(m.text);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_join(const struct wire_join *m, struct buf *ret)
{
    buf_put(ret, m->secret, sizeof m->secret);
    buf_text(ret, m->agent);
    buf_put(ret, m->tls_point, sizeof m->tls_point);
    buf_put(ret, m->mark_public, sizeof m->mark_public);
    buf_block(ret, m->tls_proof, m->tls_proof_bytes);
    buf_put(ret, m->mark_proof, sizeof m->mark_proof);
}

enum err_kind
wire_get_join(const void *bytes, size_t size, struct wire_join *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_JOIN);
    struct wire_join m = { 0 };

    parse_bytes(&p, "secret", m.secret, sizeof m.secret);
    parse_name(&p, "agent", m.agent);
    parse_bytes(&p, "tls point", m.tls_point, sizeof m.tls_point);
    parse_bytes(&p, "mark key", m.mark_public, sizeof m.mark_public);
    m.tls_proof = cut_block(parse_at(&p, "tls proof"), PROOF_BYTES_MAX, &m.tls_proof_bytes);
    parse_bytes(&p, "mark proof", m.mark_proof, sizeof m.mark_proof);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_put_joined(const struct wire_joined *m, struct buf *ret)
{
    buf_text(ret, m->site);
    buf_put(ret, m->site_public, sizeof m->site_public);
    buf_block(ret, m->cert, m->cert_bytes);
    buf_block(ret, m->ca, m->ca_bytes);
}

enum err_kind
wire_get_joined(const void *bytes, size_t size, struct wire_joined *ret, struct err *err)
{
    struct parse p = parse_of(bytes, size, WIRE_JOINED);
    struct wire_joined m = { 0 };

    parse_name(&p, "site", m.site);
    parse_bytes(&p, "site key", m.site_public, sizeof m.site_public);
    m.cert = cut_block(parse_at(&p, "certificate"), CERT_BYTES_MAX, &m.cert_bytes);
    m.ca = cut_block(parse_at(&p, "ca"), CERT_BYTES_MAX, &m.ca_bytes);
    const enum err_kind kind = parse_end(&p, err);
    if (kind == ERR_OK)
        *ret = m;
    return kind;
}

void
wire_join_text(const struct wire_join *j, struct buf *ret)
{
    static const char head[] = "farshore-join-v1\n";

    buf_put(ret, head, sizeof head - 1);
    buf_put(ret, j->secret, sizeof j->secret);
    buf_put(ret, j->tls_point, sizeof j->tls_point);
    buf_put(ret, j->mark_public, sizeof j->mark_public);
}
