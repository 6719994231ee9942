/* fs.h - durable and contained file operations; the only module that calls fsync, fdatasync and rename. */
#ifndef COMMON_FS_H
#define COMMON_FS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "common/bytes.h"
#include "common/err.h"

#define FS_NAME_BYTES_MAX 250 /* NAME_MAX, less ".tmp" */

/*
 * Replace a small file whole: after a crash a reader finds the old or the new bytes, never a mix.
 *
 *   dir_fd  open directory, borrowed; the caller holds its lock (one writer per directory)
 *   name    one path component, 1..FS_NAME_BYTES_MAX bytes, no '/', borrowed
 *   bytes   [size] bytes, borrowed; NULL only if size == 0
 *   mode    permission bits of the new file
 *
 * Errors: ERR_IO, ERR_FULL.  If the directory sync fails, the new bytes are visible but not yet durable.
 * Source: rename(2), fsync(2); Pillai et al., OSDI 2014 (why the directory is synced as well).
 */
struct fs_file {
    const void *bytes;
    size_t size;
    mode_t mode;
};
ERR_CHECK enum err_kind fs_replace(int dir_fd, const char *name, const struct fs_file *file, struct err *err);

/* The same without any sync: for what can be made again (ledger/head). */
ERR_CHECK enum err_kind fs_replace_lazy(int dir_fd, const char *name, const struct fs_file *file, struct err *err);

/* Read a small file whole.  Errors: ERR_ABSENT when it does not exist, ERR_LIMIT when larger than size_max. */
ERR_CHECK enum err_kind fs_read(int dir_fd, const char *name, size_t size_max, struct buf *ret, struct err *err);

ERR_CHECK enum err_kind fs_sync(int fd, const char *what, struct err *err);      /* fsync */
ERR_CHECK enum err_kind fs_sync_data(int fd, const char *what, struct err *err); /* fdatasync */

/* Make a directory; one that is there already is fine.  ret_fd may be NULL.  path is relative to dir_fd. */
ERR_CHECK enum err_kind fs_dir_make(int dir_fd, const char *path, mode_t mode, int *ret_fd, struct err *err);
ERR_CHECK enum err_kind fs_dir_open(const char *path, int *ret_fd, struct err *err);
/* 1 when the directory has no entries, 0 when it has, -1 on error (errno). */
int fs_dir_empty(int dir_fd);

/* Open below dir_fd: no "..", no absolute path, no symbolic link on the way leads out (openat2, RESOLVE_BENEATH |
 * RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS).  Returns a descriptor or -1 with errno; path may be longer than PATH_MAX
 * only in pieces. */
int fs_open_beneath(int dir_fd, const char *path, int flags, mode_t mode);

/* Take the exclusive lock of a directory (flock on "lock" inside it).  *ret_fd holds it until closed.
 * Errors: ERR_REFUSED when another process holds it; the text says who (the pid that the file holds). */
ERR_CHECK enum err_kind fs_lock(int dir_fd, const char *name, int *ret_fd, struct err *err);

#endif
