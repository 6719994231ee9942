/* read.h - opening and hashing, shared by unit.c, read.c and settle.c. */
#ifndef REPLICATOR_READ_H
#define REPLICATOR_READ_H

#include "replicator/pass.h"

#define READ_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
/* Open a file for reading without moving its atime where that is allowed. -1 and errno. */
int read_open(int dir_fd, const char *name);
/* Hash the part's bytes in the unit's buffer: blocks, masks of zero and of same blocks, digest. */
void read_hash(struct worker *w, struct unit *u, struct part *part);

#endif
