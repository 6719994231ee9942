/* read.h - opening files, shared by unit.c and read.c. */
#ifndef REPLICATOR_READ_H
#define REPLICATOR_READ_H

#include "replicator/pass.h"

#define READ_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
/* Open a file for reading without moving its atime where that is allowed. -1 and errno. */
int read_open(int dir_fd, const char *name);

#endif
