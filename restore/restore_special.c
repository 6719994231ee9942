/* Symbolic links, FIFOs, sockets, devices. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/limits.h"
#include "restore/restore.h"

static int
make(const struct dir *d, const char *name, const struct tree_entry *e)
{
    char target[TARGET_BYTES_MAX + 1];
    const dev_t dev = makedev((unsigned)(e->rdev >> 32), (unsigned)(e->rdev & UINT32_MAX));

    switch (e->type) {
    case TREE_LINK:
        memcpy(target, e->target, e->target_bytes);
        target[e->target_bytes] = '\0';
        return symlinkat(target, d->fd, name);
    case TREE_FIFO:
        return mknodat(d->fd, name, S_IFIFO | 0600, 0);
    case TREE_SOCKET:
        return mknodat(d->fd, name, S_IFSOCK | 0600, 0);
    case TREE_CHAR:
        return mknodat(d->fd, name, S_IFCHR | 0600, dev);
    default:
        return mknodat(d->fd, name, S_IFBLK | 0600, dev);
    }
}

bool
special_restore(struct run *r, const struct item *it)
{
    const struct tree_entry *const e = &it->e;
    char name[NAME_ROOM];

    name_text(e, name);
    if (r->o->untrusted && (e->type == TREE_CHAR || e->type == TREE_DISK)) {
        atomic_fetch_add(&r->left_out, 1);
        return false;
    }
    if (!name_clear(r, it->dir, e, false))
        return false;
    if (make(it->dir, name, e) != 0) {
        report_target(r, it->dir, e, "create");
        return false;
    }
    AUTO(auto_close) const int fd = openat(it->dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        report_target(r, it->dir, e, "open");
        return false;
    }
    meta_apply(r, fd, &(struct meta){ .e = e, .dir = it->dir, .path_only = true });
    atomic_fetch_add(&r->files, 1);
    progress_add(r->progress, 0, 1);
    return true;
}
