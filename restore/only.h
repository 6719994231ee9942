/* only.h - which part of a tree is asked for: paths, each with all that is beneath it, and the directories on the way to them. */
#ifndef RESTORE_ONLY_H
#define RESTORE_ONLY_H

#include <stdbool.h>
#include <stddef.h>
#include "common/err.h"

/* What is still to be matched at one directory: rests of paths, without a '/' in front. */
struct only {
    bool all;     /* everything beneath */
    char **rests; /* [count], owned, each a copy */
    size_t count;
};
/* From the paths as given; none: all.  Slashes in front and doubled ones do not count, nor does ".".
 * Errors: ERR_USAGE for "..". */
ERR_CHECK enum err_kind only_parse(const char *const *paths, size_t count, struct only *ret, struct err *err);
void only_free(struct only *o); /* also for AUTO() */
/* Is this name of the directory wanted?  ret: what is wanted beneath it. */
bool only_enter(const struct only *o, const char *name, size_t name_bytes, struct only *ret);

#endif
