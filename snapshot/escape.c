#include "snapshot/escape.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Length of the well-formed UTF-8 sequence at the start (RFC 3629: no overlong forms, no surrogates), or 0. */
static size_t
utf8_length(const uint8_t *at, size_t left)
{
    static const struct {
        uint8_t first_min, first_max, second_min, second_max, length;
    } forms[] = {
        { 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 }, { 0xE1, 0xEC, 0x80, 0xBF, 3 },
        { 0xED, 0xED, 0x80, 0x9F, 3 }, { 0xEE, 0xEF, 0x80, 0xBF, 3 }, { 0xF0, 0xF0, 0x90, 0xBF, 4 },
        { 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 },
    };

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (at[0] < forms[i].first_min || at[0] > forms[i].first_max)
            continue;
        if (left < forms[i].length || at[1] < forms[i].second_min || at[1] > forms[i].second_max)
            return 0;
        for (size_t n = 2; n < forms[i].length; n++)
            if ((at[n] & 0xC0) != 0x80)
                return 0;
        return forms[i].length;
    }
    return 0;
}

/* Controls beyond ASCII (U+0080..U+009F) steer terminals, and the marks of direction turn a line around. */
static int
steers(const uint8_t *at, size_t length)
{
    if (length == 2 && at[0] == 0xC2 && at[1] < 0xA0)
        return 1;
    if (length != 3 || at[0] != 0xE2)
        return 0;
    return (at[1] == 0x80 && (at[2] >= 0xA8 && at[2] <= 0xAE)) ||
           (at[1] == 0x80 && (at[2] == 0x8E || at[2] == 0x8F)) ||
           (at[1] == 0x81 && at[2] >= 0xA6 && at[2] <= 0xA9);
}

void
escape_put(struct buf *ret, const void *bytes, size_t size)
{
    const uint8_t *const at = bytes;

    for (size_t i = 0; i < size;) {
        char hex[5];
        size_t n = 1;

        if (at[i] == '\\') {
            buf_put(ret, "\\\\", 2);
        } else if (at[i] >= 0x20 && at[i] < 0x7F) {
            buf_put(ret, at + i, 1);
        } else if ((n = utf8_length(at + i, size - i)) > 0 && !steers(at + i, n)) {
            buf_put(ret, at + i, n);
        } else {
            n = 1;
            (void)snprintf(hex, sizeof hex, "\\x%02X", at[i]);
            buf_put(ret, hex, 4);
        }
        i += n;
    }
}

char *
escape_text(const void *bytes, size_t size)
{
    struct buf b = { 0 };

    escape_put(&b, bytes, size);
    buf_put(&b, "", 1);
    return (char *)b.at;
}
