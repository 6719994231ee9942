#include "common/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *
sure(void *at)
{
    static const char text[] = "farshore: out of memory\n";

    if (at == NULL) {
        /* Nothing may be allocated on the way out, so neither stdio nor log.h. */
        const ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);

        (void)n;
        abort();
    }
    return at;
}

void *
mem_alloc(size_t size)
{
    return sure(malloc(size == 0 ? 1 : size));
}

void *
mem_zero(size_t count, size_t size)
{
    return sure(count == 0 || size == 0 ? calloc(1, 1) : calloc(count, size));
}

void *
mem_grow(void *at, size_t count, size_t size)
{
    /* realloc of 0 bytes may free and return NULL, which would look like a failure. */
    return sure(count == 0 || size == 0 ? realloc(at, 1) : reallocarray(at, count, size));
}

void *
mem_copy(const void *bytes, size_t size)
{
    void *const copy = mem_alloc(size);

    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *
mem_text(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    const int n = vasprintf(&text, fmt, args);
    va_end(args);
    return sure(n < 0 ? NULL : text);
}
