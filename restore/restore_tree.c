/* The walker: pages to directories and items. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/mem.h"
#include "restore/restore.h"
#include "restore/restore_part.h"
#include "snapshot/walk.h"

struct level {
    struct walk *walk;
    struct dir *dir; /* one user of it */
    struct only only;
};
struct walker {
    struct run *run;
    struct level *stack; /* [depth], owned */
    size_t depth, room;
    struct batch *batch;
    uint64_t dirs_max; /* open at once */
};

void
name_text(const struct tree_entry *e, char ret[NAME_ROOM])
{
    memcpy(ret, e->name, e->name_bytes);
    ret[e->name_bytes] = '\0';
}

static size_t
entry_bytes(const struct tree_entry *e)
{
    return (size_t)e->name_bytes + e->user_bytes + e->group_bytes + e->target_bytes +
           (e->xattrs != NULL ? e->xattrs_bytes : 0);
}

static const char *
keep(char **at, const void *bytes, size_t size)
{
    char *const from = *at;

    if (size > 0)
        memcpy(from, bytes, size);
    *at += size;
    return from;
}

/* bytes [entry_bytes(e)] */
static void
entry_copy(const struct tree_entry *e, char *bytes, struct tree_entry *ret)
{
    *ret = *e;
    ret->name = keep(&bytes, e->name, e->name_bytes);
    ret->user = keep(&bytes, e->user, e->user_bytes);
    ret->group = keep(&bytes, e->group, e->group_bytes);
    ret->target = keep(&bytes, e->target, e->target_bytes);
    if (e->xattrs != NULL)
        ret->xattrs = (const uint8_t *)keep(&bytes, e->xattrs, e->xattrs_bytes);
}

struct item *
item_new(struct dir *d, const struct tree_entry *e)
{
    struct item *const it = mem_alloc(sizeof *it + entry_bytes(e));

    memset(it, 0, sizeof *it);
    it->fd = -1;
    it->dir = d;
    atomic_fetch_add(&d->users, 1);
    entry_copy(e, it->bytes, &it->e);
    return it;
}

void
item_free(struct run *r, struct item *it)
{
    auto_close(&it->fd);
    dir_drop(r, it->dir);
    free(it);
}

void
dir_drop(struct run *r, struct dir *d)
{
    while (d != NULL && atomic_fetch_sub(&d->users, 1) == 1) {
        struct dir *const parent = d->parent;

        if (!d->keep && !run_stopped(r)) {
            meta_apply(r, d->fd, &(struct meta){ .e = &d->e, .dir = parent, .existed = d->existed });
            atomic_fetch_add(&r->dirs, 1);
        }
        auto_close(&d->fd);
        atomic_fetch_sub(&r->dirs_open, 1);
        free(d);
        d = parent;
    }
}

bool
name_clear(struct run *r, const struct dir *d, const struct tree_entry *e, bool only_dirs)
{
    char name[NAME_ROOM];
    struct stat st;

    if (!d->existed)
        return true;
    name_text(e, name);
    if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return true;
        report_target(r, d, e, "look at");
        return false;
    }
    if (r->o->overwrite != OVERWRITE_ALWAYS) {
        report_skipped(r, d, e, "it is there already");
        return false;
    }
    if (!S_ISDIR(st.st_mode) && only_dirs)
        return true;
    if (unlinkat(d->fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) == 0)
        return true;
    if (errno == ENOTEMPTY || errno == EEXIST)
        report_finding(r, d, e, "a directory that is not empty is in its place");
    else
        report_target(r, d, e, "replace");
    return false;
}

/* Partial files of a restore that was killed. */
static void
parts_remove(const struct dir *d)
{
    const int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *const dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL)
        return;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        if (strncmp(e->d_name, PART_PREFIX, strlen(PART_PREFIX)) == 0 && strlen(e->d_name) == PART_NAME_BYTES)
            (void)unlinkat(d->fd, e->d_name, 0);
    (void)closedir(dir);
}

static struct dir *
dir_new(struct run *r, struct dir *parent, const struct tree_entry *e, int fd)
{
    struct dir *const d = mem_alloc(sizeof *d + entry_bytes(e));

    memset(d, 0, sizeof *d);
    d->parent = parent;
    d->fd = fd;
    atomic_init(&d->users, 1);
    if (parent != NULL)
        atomic_fetch_add(&parent->users, 1);
    entry_copy(e, d->bytes, &d->e);
    atomic_fetch_add(&r->dirs_open, 1);
    return d;
}

/* What is in an existing directory, or above a new target, must not leak into what is restored. */
static void
dir_settle(struct run *r, struct dir *d)
{
    if (d->existed && r->o->overwrite == OVERWRITE_ALWAYS)
        parts_remove(d);
    if (!meta_inherits(d->fd))
        return;
    if (d->keep)
        d->inherits = true;
    else
        meta_disinherit(d->fd, true);
}

/* Make the directory, or take the one that is there.  -1: said why. */
static int
dir_make(struct run *r, struct dir *parent, const struct tree_entry *e, bool *ret_existed)
{
    char name[NAME_ROOM];
    struct stat st;

    name_text(e, name);
    *ret_existed = parent->existed && fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                   S_ISDIR(st.st_mode);
    if (!*ret_existed) {
        if (!name_clear(r, parent, e, false))
            return -1;
        if (mkdirat(parent->fd, name, 0700) != 0) {
            report_target(r, parent, e, "create");
            return -1;
        }
    }
    const int fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        report_target(r, parent, e, "open");
    else if (!*ret_existed && parent->inherits)
        meta_disinherit(fd, true);
    return fd;
}

static void
level_push(struct walker *w, struct dir *d, struct only only)
{
    if (w->depth == w->room) {
        w->room = w->room ? 2 * w->room : 32;
        w->stack = mem_grow(w->stack, w->room, sizeof *w->stack);
    }
    w->stack[w->depth++] = (struct level){ walk_new(w->run->reader, &d->e.digest), d, only };
}

static void
level_pop(struct walker *w)
{
    struct level *const l = &w->stack[--w->depth];

    walk_free(&l->walk);
    only_free(&l->only);
    dir_drop(w->run, l->dir);
}

static void
walker_free(struct walker *w)
{
    while (w->depth > 0)
        level_pop(w);
    free(w->stack);
}

static void
dir_enter(struct walker *w, struct dir *parent, const struct tree_entry *e, struct only *only)
{
    bool existed = false;

    if (w->depth >= TREE_DEPTH_MAX) {
        report_finding(w->run, parent, e, "deeper than %u directories", TREE_DEPTH_MAX);
        only_free(only);
        return;
    }
    const int fd = dir_make(w->run, parent, e, &existed);
    if (fd < 0) {
        only_free(only);
        return;
    }
    struct dir *const d = dir_new(w->run, parent, e, fd);
    d->existed = existed;
    d->keep = existed && w->run->o->overwrite == OVERWRITE_NEVER;
    dir_settle(w->run, d);
    level_push(w, d, *only);
    progress_add(w->run->progress, 0, 1);
}

static void
give(struct walker *w, struct item *it)
{
    if (w->batch != NULL && batch_full(w->batch, &it->e))
        batch_submit(&w->batch);
    if (w->batch == NULL)
        w->batch = batch_new(w->run);
    batch_add(w->batch, it);
}

/* A name that others may be linked to must be there before the walker goes on. */
static void
first_enter(struct walker *w, struct item *it)
{
    struct run *const r = w->run;

    if (it->e.type != TREE_FILE) {
        if (special_restore(r, it))
            links_first(r, it->dir, &it->e);
        item_free(r, it);
        return;
    }
    it->fd = file_create(r, it);
    if (it->fd < 0) {
        item_free(r, it);
        return;
    }
    links_first(r, it->dir, &it->e);
    if (it->e.size > BATCH_FILE_MAX)
        file_restore_large(r, it);
    else
        give(w, it);
}

static void
other_enter(struct walker *w, struct dir *d, const struct tree_entry *e)
{
    if (e->link_group != 0) {
        if (!links_join(w->run, d, e))
            first_enter(w, item_new(d, e));
    } else if (e->type == TREE_FILE && e->size > BATCH_FILE_MAX) {
        file_restore_large(w->run, item_new(d, e));
    } else {
        give(w, item_new(d, e));
    }
}

/* One entry, or the end of a directory. */
static void
step(struct walker *w)
{
    struct level *const top = &w->stack[w->depth - 1];
    struct err err = { 0 };
    struct tree_entry e;
    struct only below = { 0 };
    const enum err_kind kind = walk_next(top->walk, &e, &err);

    if (kind == ERR_ABSENT) {
        level_pop(w);
    } else if (kind != ERR_OK) {
        report_finding(w->run, top->dir, NULL, "some of its names cannot be read: %s", err.text);
    } else if (only_enter(&top->only, e.name, e.name_bytes, &below)) {
        if (e.type == TREE_DIR) {
            dir_enter(w, top->dir, &e, &below);
        } else {
            only_free(&below);
            other_enter(w, top->dir, &e);
        }
    }
    if (atomic_load(&w->run->dirs_open) > w->dirs_max && w->depth < w->dirs_max / 2) {
        batch_submit(&w->batch);
        pool_wait(w->run->pool);
    }
}

/* Descriptors are held for the directories on the way down and for those that workers are still in. */
static uint64_t
descriptors(void)
{
    struct rlimit limit = { 0 };

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

enum err_kind
tree_restore(struct run *r, struct err *err)
{
    AUTO(walker_free) struct walker w = { .run = r };
    AUTO(buf_free) struct buf page = { 0 };
    struct tree_entry e;
    const enum err_kind kind = reader_root(r->reader, &r->mark.mark.root, &page, &e, err);

    if (kind != ERR_OK)
        return kind;
    w.dirs_max = descriptors() / 2;
    const int fd = fcntl(r->target_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, "could not open the target again");
    struct dir *const root = dir_new(r, NULL, &e, fd);
    root->existed = r->target_existed;
    root->keep = r->target_existed && r->o->overwrite == OVERWRITE_NEVER;
    dir_settle(r, root);
    level_push(&w, root, r->only);
    r->only = (struct only){ 0 };
    while (w.depth > 0 && !run_stopped(r))
        step(&w);
    batch_submit(&w.batch);
    pool_wait(r->pool);
    return ERR_OK;
}
