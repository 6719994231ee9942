/* scan.c - the walk: depth first, names in order, by descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/mem.h"
#include "replicator/scan.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)

/* Reading a directory need not move its atime; only its owner may ask for that. */
static int
open_dir(int at, const char *name, int flags)
{
    int fd = openat(at, name, DIR_FLAGS | O_NOATIME | flags);
    return fd >= 0 || errno != EPERM ? fd : openat(at, name, DIR_FLAGS | flags);
}

static uint32_t
mount_number(struct pass *p, uint64_t dev)
{
    for (size_t i = 0; i < p->mount_count; i++)
        if (p->mounts[i].dev == dev)
            return (uint32_t)i;
    p->mounts = mem_grow(p->mounts, p->mount_count + 1, sizeof(*p->mounts));
    p->mounts[p->mount_count].dev = dev;
    return (uint32_t)p->mount_count++;
}

static enum err_kind
open_root(struct pass *p, struct err *err)
{
    const char *path = p->source->path;
    int fd = open_dir(AT_FDCWD, path, 0);
    if (fd < 0)
        return err_errno(err, "could not open \"%s\"", path);
    struct dir *d = dir_new(p, NULL, NULL, &p->root);
    d->fd = dirfd_new(fd);
    p->top = d;
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) != 0)
        return err_errno(err, "could not look at \"%s\"", path);
    p->root.entry.name = ".";
    p->root.entry.name_bytes = 1;
    (void)entry_fill(p, &st, &p->root);
    p->root.inode = st.stx_ino;
    d->dev = entry_dev(&st);
    d->inode = st.stx_ino;
    d->mount = mount_number(p, d->dev);
    struct buf set = { 0 };
    enum err_kind kind = xattrs_of_fd(fd, &set, err);
    if (kind == ERR_OK)
        xattrs_to_item(p, &p->root, &set);
    buf_free(&set);
    if (kind == ERR_OK)
        kind = list_names(d, &d->names, err);
    /* A file system that is not mounted looks like an empty directory; a mark of it would read as "all deleted". */
    if (kind == ERR_OK && d->names.count == 0 && p->headed && !p->agent->opt.allow_empty &&
        p->head_files > 0) {
        kind = err_set(err, ERR_REFUSED, "\"%s\" is empty, but its newest mark has %llu files", path,
                       (unsigned long long)p->head_files);
        err_hint(err, "is the file system mounted? if all was deleted: farshore-agent once --allow-empty %s",
                 p->source->name);
    }
    return kind;
}

/* It could not be entered: left out, named unless it just vanished. */
static void
refuse_dir(struct dir *d, struct item *it, const char *why)
{
    struct pass *p = d->pass;
    if (why != NULL)
        pass_finding(p, d, it->entry.name, it->entry.name_bytes, why);
    it->out = true;
    pthread_mutex_lock(&p->lock);
    slice_release(d->current, 1);
    pthread_mutex_unlock(&p->lock);
}

/* Far above, descriptors are given back; ".." brings them again on the way up. */
static void
let_go_above(const struct dir *d)
{
    struct dir *above = d->parent;
    for (unsigned i = 0; above != NULL && i < d->pass->open_levels_max; i++)
        above = above->parent;
    if (above != NULL && above->parent != NULL && above->fd != NULL) {
        dirfd_drop(above->fd);
        above->fd = NULL;
    }
}

static void
take_again(struct dir *parent, const struct dir *child)
{
    struct statx st;
    int fd = open_dir(child->fd->fd, "..", 0);
    if (fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) == 0 && st.stx_ino == parent->inode &&
        entry_dev(&st) == parent->dev) {
        parent->fd = dirfd_new(fd);
        return;
    }
    if (fd >= 0)
        (void)close(fd);
    struct err err = { 0 };
    AUTO(auto_free) char *path = pass_path(parent, NULL, 0);
    (void)err_set(&err, ERR_IO, "\"%s\" was moved while it was scanned", path);
    pass_fail(parent->pass, &err);
}

static void
leave(struct pass *p, struct dir *d)
{
    p->top = d->parent;
    if (d->parent != NULL && d->parent->fd == NULL)
        take_again(d->parent, d);
    dirfd_drop(d->fd); /* its files hold it as long as they need it */
    d->fd = NULL;
    pthread_mutex_lock(&p->lock);
    dir_scanned(d); /* a worker may free it from here on */
    pthread_mutex_unlock(&p->lock);
}

/* Another mount, where one file system is asked for: a directory without entries stands for it. */
static void
enter_mount(struct dir *d, struct item *it)
{
    struct pass *p = d->pass;
    AUTO(auto_free) char *path = pass_path(d, it->entry.name, it->entry.name_bytes);
    log_info("%s: \"%s\" is another file system, and is not entered", p->source->name, path);
    struct dir *child = dir_new(p, d, d->current, it);
    leave(p, child);
}

static void
enter(struct dir *d, struct item *it)
{
    struct pass *p = d->pass;
    if (d->depth + 1 >= TREE_DEPTH_MAX) {
        refuse_dir(d, it, "it lies too deep");
        return;
    }
    /* Names of the list end in NUL. */
    int fd = open_dir(d->fd->fd, it->entry.name, O_NOFOLLOW);
    struct statx st;
    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) != 0) {
        int code = errno;
        if (fd >= 0)
            (void)close(fd);
        refuse_dir(d, it, code == ENOENT ? NULL : strerror(code));
        return;
    }
    uint64_t dev = entry_dev(&st);
    if (dev != d->dev && p->source->one_file_system) {
        (void)close(fd);
        enter_mount(d, it);
        return;
    }
    struct dir *child = dir_new(p, d, d->current, it);
    child->fd = dirfd_new(fd);
    child->dev = dev;
    child->inode = st.stx_ino;
    if (dev != d->dev)
        child->mount = mount_number(p, dev);
    p->top = child;
    let_go_above(child);
    struct err why = { 0 };
    if (list_names(child, &child->names, &why) == ERR_OK)
        return;
    /* It could be opened but not listed: what is beneath is not known, so it is no empty directory. */
    it->out = true;
    pass_finding(p, child, NULL, 0, why.text);
    leave(p, child);
}

/* The files that changed while they were read: once more, with what they are now. */
static void
read_again(struct pass *p)
{
    for (;;) {
        pthread_mutex_lock(&p->lock);
        struct file *f = p->again;
        if (f != NULL)
            p->again = f->next_again;
        pthread_mutex_unlock(&p->lock);
        if (f == NULL)
            return;
        unit_add(p, f);
    }
}

static enum err_kind
step(struct pass *p, struct err *err)
{
    struct dir *d = p->top;
    struct slice *s = d->current;
    while (s != NULL && d->descend_at < s->count) {
        struct item *it = &s->at[d->descend_at++];
        if (it->descend && !it->out) {
            enter(d, it);
            return ERR_OK;
        }
    }
    if (s != NULL) {
        pthread_mutex_lock(&p->lock);
        d->current = NULL;
        slice_release(s, 1);
        pthread_mutex_unlock(&p->lock);
    }
    if (d->next_name < d->names.count) {
        work_throttle(p);
        read_again(p);
        return entry_slice(d, err);
    }
    leave(p, d);
    return ERR_OK;
}

static void
wait_for_root(struct pass *p)
{
    bool over = false;
    while (!over) {
        unit_submit(p);
        pthread_mutex_lock(&p->lock);
        while (!p->failed && p->again == NULL && (!p->root_done || p->oldest != NULL))
            pthread_cond_wait(&p->room, &p->lock);
        over = p->failed || p->again == NULL;
        pthread_mutex_unlock(&p->lock);
        if (!over)
            read_again(p);
    }
}

enum err_kind
scan_tree(struct pass *p, struct err *err)
{
    enum err_kind kind = open_root(p, err);
    while (kind == ERR_OK && p->top != NULL && !pass_failed(p))
        kind = step(p, err);
    if (kind == ERR_OK)
        wait_for_root(p);
    return kind;
}
