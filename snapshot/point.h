/* point.h - what a user names a mark by: chengdu/pension, chengdu/pension@latest, chengdu/pension@<id prefix>, @<id prefix>,
 * chengdu/pension@<RFC 3339 time with offset> (the newest mark that was not started after it), @<time> where the store has one
 * source only. */
#ifndef SNAPSHOT_POINT_H
#define SNAPSHOT_POINT_H

#include "common/err.h"
#include "snapshot/index.h"
#include "snapshot/store.h"

#define POINT_PREFIX_MIN 4 /* hex digits of an id */
/* Errors: ERR_USAGE (not a POINT), ERR_ABSENT (nothing matches; the text says what there is), ERR_LIMIT (more than one
 * matches; the text names two). ret_city: its city. */
ERR_CHECK enum err_kind point_find(struct store *s, const char *point, uint32_t *ret_city, struct index_mark *ret,
                                   struct err *err);

/* Hold the mark against prune for the life of the descriptor: a shared flock on pins/<id>, which is made. */
ERR_CHECK enum err_kind point_pin(struct store *s, const struct digest *id, int *ret_fd, struct err *err);

#endif
