/* json.h - jansson behind the few calls that are used (one .c includes jansson.h).  Output has sorted keys and is compact. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "common/err.h"

struct json; /* an object or an array */

/* jansson exports these two names itself. */
#define json_array json_array_new
#define json_real json_put_real

struct json *json_new(void);   /* {} */
struct json *json_array_new(void); /* [] */
void json_free(struct json **j);
/* Text is put as it is.  Bytes (file names) need not be UTF-8, which JSON wants: each byte that is not becomes a literal
 * \xHH, and each backslash is doubled, so that the bytes can be had back.  Text that is not UTF-8 is put like bytes. */
void json_text(struct json *j, const char *key, const char *text);
void json_bytes(struct json *j, const char *key, const void *bytes, size_t size);
void json_number(struct json *j, const char *key, int64_t value);
void json_put_real(struct json *j, const char *key, double value);
void json_bool(struct json *j, const char *key, bool value);
void json_put(struct json *j, const char *key, struct json **child); /* takes child */
void json_add(struct json *array, struct json **child);              /* takes child */
void json_add_text(struct json *array, const char *text);
char *json_dump(const struct json *j);                               /* free() it */
void json_print(FILE *to, const struct json *j);                     /* one line */

/* Parse a whole text.  Errors: ERR_CORRUPT with line and column. */
ERR_CHECK enum err_kind json_parse(const void *text, size_t size, struct json **ret, struct err *err);
/* NULL, 0 or false where the key is missing or of another type. */
const char *json_get_text(const struct json *j, const char *key);
int64_t json_get_number(const struct json *j, const char *key);
bool json_get_bool(const struct json *j, const char *key);
/* Borrowed views. */
const struct json *json_get(const struct json *j, const char *key);
size_t json_size(const struct json *array);
const struct json *json_at(const struct json *array, size_t n);

#endif
