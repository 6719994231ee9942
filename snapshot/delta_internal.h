/* delta_internal.h - librsync's delta commands, read as they come. */
#ifndef SNAPSHOT_DELTA_INTERNAL_H
#define SNAPSHOT_DELTA_INTERNAL_H

#include <stdbool.h>
#include "snapshot/delta.h"

#define DELTA_HEAD_MAX 17u /* a command and two numbers of 8 bytes; the magic is shorter */

/* What takes the commands apart.  Feed it with delta_read; started zeroed but for the first three. */
struct delta_reader {
    /* Told of each COPY and of each LITERAL, whose bytes begin at off of the commands. */
    enum err_kind (*op)(struct delta_reader *r, const struct delta_op *op, struct err *err);
    void *arg;
    uint64_t new_bytes_max;
    uint8_t head[DELTA_HEAD_MAX]; /* of the command that is being read */
    unsigned have;                /* bytes in head */
    bool begun, ended;            /* magic seen, END seen */
    uint64_t skip;                /* bytes of the literal still to come */
    uint64_t at;                  /* in the commands */
    uint64_t made;                /* new bytes so far */
};
/* Read on.  Errors: ERR_PROTOCOL, and what op returns. */
ERR_CHECK enum err_kind delta_read(struct delta_reader *r, const uint8_t *bytes, size_t size, struct err *err);
/* After the last bytes.  Errors: ERR_PROTOCOL when END was not there. */
ERR_CHECK enum err_kind delta_read_end(const struct delta_reader *r, struct err *err);

#endif
