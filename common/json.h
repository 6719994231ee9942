/* json.h - jansson behind the few calls that are used (one .c includes jansson.h).  Output has sorted keys and is compact. */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "common/err.h"

struct json; /* an object or an array */

struct json *json_new(void);   /* {} */
struct json *json_array(void); /* [] */
void json_free(struct json **j);
/* Bytes that are not UTF-8 (file names) are written as text with each bad byte as U+DC80+byte-0x80 is not legal JSON;
 * instead "\xHH" escapes are put in literally and the backslash doubled. */
void json_text(struct json *j, const char *key, const char *text);
void json_bytes(struct json *j, const char *key, const void *bytes, size_t size);
void json_number(struct json *j, const char *key, int64_t value);
void json_real(struct json *j, const char *key, double value);
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
