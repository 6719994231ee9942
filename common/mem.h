/* mem.h - memory that is there.  Running out of it ends the process: sizes from outside are bounded by limits.h before
 * they reach here, and a process that dies is recovered from at start (DESIGN section 6). */
#ifndef COMMON_MEM_H
#define COMMON_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);                 /* never NULL; size 0 gives a pointer that can be freed */
void *mem_zero(size_t count, size_t size);    /* zeroed, overflow checked */
void *mem_grow(void *at, size_t count, size_t size); /* realloc, overflow checked */
void *mem_copy(const void *bytes, size_t size);
char *mem_text(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* asprintf; free() it */

#endif
