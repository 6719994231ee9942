#include <jansson.h>

/* jansson's own functions of two names that json.h gives to others below. */
static json_t *
lib_array(void)
{
    return json_array();
}

static json_t *
lib_real(double value)
{
    return json_real(value);
}

#include "common/json.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/mem.h"

/* struct json is never defined: a pointer to one is a json_t pointer that only this file follows. */

static json_t *
in(struct json *j)
{
    return (json_t *)j;
}

static const json_t *
in_const(const struct json *j)
{
    return (const json_t *)j;
}

/* With mem_alloc beneath, jansson fails only where we call it wrongly. */
static json_t *
sure(json_t *j)
{
    assert(j != NULL);
    return j;
}

static void
setup(void)
{
    json_set_alloc_funcs(mem_alloc, free);
}

static void
ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, setup);
}

static void
put(struct json *j, const char *key, json_t *value)
{
    const int rc = json_object_set_new(in(j), key, sure(value));

    assert(rc == 0); /* an object, and a key in UTF-8 */
}

struct json *
json_new(void)
{
    ready();
    return (struct json *)sure(json_object());
}

struct json *
json_array_new(void)
{
    ready();
    return (struct json *)sure(lib_array());
}

void
json_free(struct json **j)
{
    json_decref(in(*j));
    *j = NULL;
}

/* Bytes of the UTF-8 sequence at the start of [size] bytes; 0 if there is none (RFC 3629: no surrogates, none too long). */
static size_t
utf8_size(const uint8_t *at, size_t size)
{
    static const struct {
        uint8_t mask, lead;
        size_t more;
        uint32_t min;
    } forms[] = {
        { 0x80, 0x00, 0, 0 }, { 0xe0, 0xc0, 1, 0x80 }, { 0xf0, 0xe0, 2, 0x800 }, { 0xf8, 0xf0, 3, 0x10000 }
    };

    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        if ((at[0] & forms[f].mask) != forms[f].lead)
            continue;
        uint32_t code = at[0] & (uint8_t)~forms[f].mask;
        if (forms[f].more >= size)
            return 0;
        for (size_t i = 1; i <= forms[f].more; i++) {
            if ((at[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (at[i] & 0x3f);
        }
        const bool legal = code >= forms[f].min && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        return legal ? forms[f].more + 1 : 0;
    }
    return 0;
}

static bool
utf8_all(const uint8_t *at, size_t size)
{
    for (size_t done = 0; done < size;) {
        const size_t n = utf8_size(at + done, size - done);
        if (n == 0)
            return false;
        done += n;
    }
    return true;
}

static json_t *
from_bytes(const void *bytes, size_t size)
{
    const uint8_t *const at = bytes;
    AUTO(buf_free) struct buf b = { 0 };

    for (size_t done = 0; done < size;) {
        const size_t n = utf8_size(at + done, size - done);
        char escape[8];

        if (n == 0) {
            (void)snprintf(escape, sizeof escape, "\\x%02X", at[done]);
            buf_put(&b, escape, 4);
            done++;
            continue;
        }
        buf_put(&b, at + done, n);
        if (at[done] == '\\')
            buf_u8(&b, '\\');
        done += n;
    }
    return json_stringn(b.size == 0 ? "" : (const char *)b.at, b.size);
}

static json_t *
from_text(const char *text)
{
    const size_t size = strlen(text);

    return utf8_all((const uint8_t *)text, size) ? json_stringn(text, size) : from_bytes(text, size);
}

void
json_text(struct json *j, const char *key, const char *text)
{
    put(j, key, from_text(text));
}

void
json_bytes(struct json *j, const char *key, const void *bytes, size_t size)
{
    put(j, key, from_bytes(bytes, size));
}

void
json_number(struct json *j, const char *key, int64_t value)
{
    put(j, key, json_integer(value));
}

void
json_put_real(struct json *j, const char *key, double value)
{
    json_t *const real = lib_real(value);

    /* JSON has no word for what is not a finite number. */
    put(j, key, real != NULL ? real : json_null());
}

void
json_bool(struct json *j, const char *key, bool value)
{
    put(j, key, json_boolean(value));
}

void
json_put(struct json *j, const char *key, struct json **child)
{
    put(j, key, in(*child));
    *child = NULL;
}

static void
append(struct json *array, json_t *value)
{
    const int rc = json_array_append_new(in(array), sure(value));

    assert(rc == 0);
}

void
json_add(struct json *array, struct json **child)
{
    append(array, in(*child));
    *child = NULL;
}

void
json_add_text(struct json *array, const char *text)
{
    append(array, from_text(text));
}

char *
json_dump(const struct json *j)
{
    /* 15 digits: every one of them is true, and 0.1 stays 0.1. */
    char *const text = json_dumps(in_const(j), JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));

    assert(text != NULL);
    return text;
}

void
json_print(FILE *to, const struct json *j)
{
    AUTO(auto_free) char *text = json_dump(j);

    /* One call, so that lines of several threads stay whole.  The program looks at ferror(to) at its end. */
    (void)fprintf(to, "%s\n", text);
}

enum err_kind
json_parse(const void *text, size_t size, struct json **ret, struct err *err)
{
    json_error_t error;

    ready();
    json_t *const j = json_loadb(size == 0 ? "" : text, size, JSON_REJECT_DUPLICATES, &error);
    if (j == NULL)
        return err_set(err, ERR_CORRUPT, "bad JSON at line %d, column %d: %s",
                       error.line < 0 ? 0 : error.line, error.column < 0 ? 0 : error.column, error.text);
    *ret = (struct json *)j;
    return ERR_OK;
}

const char *
json_get_text(const struct json *j, const char *key)
{
    return json_string_value(json_object_get(in_const(j), key));
}

int64_t
json_get_number(const struct json *j, const char *key)
{
    return json_integer_value(json_object_get(in_const(j), key));
}

bool
json_get_bool(const struct json *j, const char *key)
{
    return json_is_true(json_object_get(in_const(j), key));
}

const struct json *
json_get(const struct json *j, const char *key)
{
    return (const struct json *)json_object_get(in_const(j), key);
}

size_t
json_size(const struct json *array)
{
    return json_array_size(in_const(array));
}

const struct json *
json_at(const struct json *array, size_t n)
{
    return (const struct json *)json_array_get(in_const(array), n);
}
