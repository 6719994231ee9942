/* scan.h - what scan.c (the walk) and entry.c (one slice of it) share. */
#ifndef REPLICATOR_SCAN_H
#define REPLICATOR_SCAN_H

#include <sys/stat.h>
#include "replicator/pass.h"

struct mount { /* a file system within the source */
    uint64_t dev;
};

/* The next names of a directory become a slice: statx, rows of the table, units.  Sets d->current. */
ERR_CHECK enum err_kind entry_slice(struct dir *d, struct err *err);
/* Fill type, mode, owner, times from st; false when the type is unknown. */
bool entry_fill(struct pass *p, const struct statx *st, struct item *it);
/* Xattrs of what is not read: out of its row, or from the inode. */
struct entry_bare {
    struct item *item;
    const struct statx *st;
    int dir_fd;
    const char *name;
    uint32_t mount;
};
ERR_CHECK enum err_kind entry_xattrs(struct pass *p, const struct entry_bare *b, struct err *err);
uint64_t entry_dev(const struct statx *st);

#endif
