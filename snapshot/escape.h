/* escape.h - bytes from outside (names of files) as text that is safe on a terminal: what is not printable UTF-8 is written as
 * \xHH, a backslash as \\. */
#ifndef SNAPSHOT_ESCAPE_H
#define SNAPSHOT_ESCAPE_H

#include <stddef.h>
#include "common/bytes.h"

/* Appended to ret, without a NUL. */
void escape_put(struct buf *ret, const void *bytes, size_t size);
/* As a C string; free() it. */
char *escape_text(const void *bytes, size_t size);

#endif
