#include "common/fs.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/io.h"

static void
assert_name(const char *name)
{
    assert(name[0] != '\0');
    assert(strchr(name, '/') == NULL);
    assert(strlen(name) <= FS_NAME_BYTES_MAX);
}

/* Write the bytes under the temporary name. */
static enum err_kind
write_temp(int dir_fd, const char *temp, const struct fs_file *file, bool sync, struct err *err)
{
    /* O_TRUNC, not O_EXCL: a crash may have left our own temporary behind.  Made with no right for others, since one
     * who opened it then could read a secret on. */
    AUTO(auto_close)
    const int fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(err, "could not create \"%s\"", temp);
    if (fchmod(fd, file->mode) != 0)
        return err_errno(err, "could not set the mode of \"%s\"", temp);
    const enum err_kind kind = io_write_all(fd, file->bytes, file->size, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "could not write \"%s\"", temp);
    return sync ? fs_sync(fd, temp, err) : ERR_OK;
}

static enum err_kind
replace(int dir_fd, const char *name, const struct fs_file *file, bool sync, struct err *err)
{
    char temp[FS_NAME_BYTES_MAX + sizeof ".tmp"];

    assert_name(name);
    assert(file->bytes != NULL || file->size == 0);
    (void)snprintf(temp, sizeof temp, "%s.tmp", name);

    enum err_kind kind = write_temp(dir_fd, temp, file, sync, err);
    if (kind == ERR_OK && renameat(dir_fd, temp, dir_fd, name) != 0)
        kind = err_errno(err, "could not rename \"%s\" to \"%s\"", temp, name);
    if (kind != ERR_OK) {
        /* On a full disk the half of a file would only make things worse. */
        (void)unlinkat(dir_fd, temp, 0);
        return kind;
    }

    /* Bytes before name, name before directory: nothing is visible before its bytes are durable. */
    if (sync && fsync(dir_fd) != 0)
        return err_errno(err, "could not sync the directory of \"%s\"", name);
    return ERR_OK;
}

enum err_kind
fs_replace(int dir_fd, const char *name, const struct fs_file *file, struct err *err)
{
    return replace(dir_fd, name, file, true, err);
}

enum err_kind
fs_replace_lazy(int dir_fd, const char *name, const struct fs_file *file, struct err *err)
{
    return replace(dir_fd, name, file, false, err);
}

/* What does not exist is often no failure to the caller, so it has a kind of its own. */
static enum err_kind
open_failed(const char *path, struct err *err)
{
    const bool absent = errno == ENOENT;
    const enum err_kind kind = err_errno(err, "could not open \"%s\"", path);

    if (!absent)
        return kind;
    if (err != NULL)
        err->kind = ERR_ABSENT;
    return ERR_ABSENT;
}

/* The file's size is not asked for: it may grow while it is read, and files of /proc say 0. */
static enum err_kind
read_rest(int fd, size_t size_max, struct buf *b, struct err *err)
{
    for (size_t step = 4096;; step = b->size < 1u << 20 ? b->size : 1u << 20) {
        const size_t left = size_max - b->size;
        const size_t want = step <= left ? step : left + 1;
        size_t got = 0;

        buf_reserve(b, want);
        const enum err_kind kind = io_pread_upto(fd, b->at + b->size, want, b->size, &got, err);
        if (kind != ERR_OK)
            return kind;
        if (got > left)
            return err_set(err, ERR_LIMIT, "larger than %zu bytes", size_max);
        b->size += got;
        if (got < want)
            return ERR_OK;
    }
}

enum err_kind
fs_read(int dir_fd, const char *name, size_t size_max, struct buf *ret, struct err *err)
{
    AUTO(auto_close) const int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    AUTO(buf_free) struct buf b = { 0 };

    if (fd < 0)
        return open_failed(name, err);
    const enum err_kind kind = read_rest(fd, size_max, &b, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "could not read \"%s\"", name);
    buf_free(ret);
    *ret = b;
    b = (struct buf){ 0 };
    return ERR_OK;
}

enum err_kind
fs_sync(int fd, const char *what, struct err *err)
{
    if (fsync(fd) != 0)
        return err_errno(err, "could not sync \"%s\"", what);
    return ERR_OK;
}

enum err_kind
fs_sync_data(int fd, const char *what, struct err *err)
{
    if (fdatasync(fd) != 0)
        return err_errno(err, "could not sync \"%s\"", what);
    return ERR_OK;
}

enum err_kind
fs_dir_make(int dir_fd, const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    if (mkdirat(dir_fd, path, mode) != 0 && errno != EEXIST)
        return err_errno(err, "could not make the directory \"%s\"", path);

    /* Opened even if nobody wants it: what is there may be no directory. */
    const int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "could not open the directory \"%s\"", path);
    if (ret_fd != NULL)
        *ret_fd = fd;
    else
        (void)close(fd);
    return ERR_OK;
}

enum err_kind
fs_dir_open(const char *path, int *ret_fd, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return open_failed(path, err);
    *ret_fd = fd;
    return ERR_OK;
}

int
fs_dir_empty(int dir_fd)
{
    /* A descriptor of its own: a dup would share, and move, the caller's place in the directory. */
    const int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    DIR *const dir = fdopendir(fd);
    if (dir == NULL) {
        const int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    int empty = 1;
    errno = 0;
    for (const struct dirent *e; empty == 1 && (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            empty = 0;
    const int saved = errno;
    (void)closedir(dir);
    errno = saved;
    return empty == 1 && saved != 0 ? -1 : empty;
}

/* RESOLVE_BENEATH lets "a/../b" pass, which no honest caller says. */
static bool
has_dots(const char *path)
{
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += strspn(at, "/");
        if (at[0] == '.' && at[1] == '.' && (at[2] == '/' || at[2] == '\0'))
            return true;
    }
    return false;
}

int
fs_open_beneath(int dir_fd, const char *path, int flags, mode_t mode)
{
    const bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    const struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .mode = makes ? mode & 07777 : 0, /* openat2 refuses one that has no use */
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    long fd;

    if (has_dots(path)) {
        errno = EXDEV;
        return -1;
    }
    do
        fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
    while (fd < 0 && errno == EINTR);
    return (int)fd;
}

static enum err_kind
lock_held(int fd, const char *name, struct err *err)
{
    char text[24] = "";
    const ssize_t n = pread(fd, text, sizeof text - 1, 0);
    const long pid = n > 0 ? strtol(text, NULL, 10) : 0;

    if (pid > 0)
        return err_set(err, ERR_REFUSED, "\"%s\" is held by process %ld", name, pid);
    return err_set(err, ERR_REFUSED, "\"%s\" is held by another process", name);
}

enum err_kind
fs_lock(int dir_fd, const char *name, int *ret_fd, struct err *err)
{
    char text[24];

    assert_name(name);
    const int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "could not open \"%s\"", name);
    int rc;
    do
        rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        const enum err_kind kind = errno == EWOULDBLOCK ? lock_held(fd, name, err)
                                                        : err_errno(err, "could not lock \"%s\"", name);
        (void)close(fd);
        return kind;
    }

    /* Of fixed width, so that no truncation is needed.  The lock holds without it too: on a full disk it must. */
    const int size = snprintf(text, sizeof text, "%-12ld\n", (long)getpid());
    const enum err_kind told = io_pwrite_all(fd, text, (size_t)size, 0, NULL);
    (void)told;
    *ret_fd = fd;
    return ERR_OK;
}
