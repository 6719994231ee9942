/* wire_internal.h - the parser's cursor: it knows which frame and which field it stands in, so that a bad one is named. */
#ifndef REPLICATOR_WIRE_INTERNAL_H
#define REPLICATOR_WIRE_INTERNAL_H

#include <stdbool.h>
#include "common/bytes.h"
#include "replicator/wire.h"

struct parse {
    struct cut c;
    const char *frame;
    const char *field; /* the one that is read now, or the first bad one */
};
struct parse parse_of(const void *bytes, size_t size, enum wire_type type);
/* The cursor, to read this field from. */
struct cut *parse_at(struct parse *p, const char *field);
/* The field just read breaks a rule unless ok. */
void parse_need(struct parse *p, bool ok);
void parse_bytes(struct parse *p, const char *field, void *ret, size_t size);
void parse_digest(struct parse *p, const char *field, struct digest *ret);
void parse_name(struct parse *p, const char *field, char ret[SOURCE_NAME_MAX + 1]);
bool parse_bool(struct parse *p, const char *field);
/* ERR_PROTOCOL when a field was bad. */
ERR_CHECK enum err_kind parse_verdict(const struct parse *p, struct err *err);
/* The same, or when something is left over. */
ERR_CHECK enum err_kind parse_end(const struct parse *p, struct err *err);

void wire_put_base(const struct wire_base *b, struct buf *ret);
void wire_parse_base(struct parse *p, struct wire_base *ret);
bool wire_kind_ok(uint8_t kind); /* of an object */

#endif
