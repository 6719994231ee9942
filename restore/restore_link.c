/* Hard links.  The first name of a group is restored as a file; its path is kept, and later names are linked to it at once.  Where the
 * content turns out to be damaged, all names of the inode go at the end, in a second walk that only damage pays for. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/mem.h"
#include "restore/restore.h"
#include "snapshot/walk.h"

struct link {
    uint64_t group; /* 0: free slot */
    uint64_t path;  /* offset of its first name's path in paths; ends in NUL */
};
struct inode {
    dev_t dev;
    ino_t ino;
    bool removed; /* its first name, which was never counted as restored */
};
struct links {
    struct link *table; /* [room], a power of two; open addressing */
    size_t room, count;
    struct buf paths;
    char *parent; /* the last parent that was opened, and its descriptor */
    int parent_fd;
    pthread_mutex_t lock; /* guards bad */
    struct inode *bad;
    size_t bad_count;
};

struct links *
links_new(void)
{
    struct links *const l = mem_zero(1, sizeof *l);

    l->parent_fd = -1;
    if (pthread_mutex_init(&l->lock, NULL) != 0)
        abort();
    return l;
}

void
links_free(struct links **l)
{
    if (*l == NULL)
        return;
    auto_close(&(*l)->parent_fd);
    (void)pthread_mutex_destroy(&(*l)->lock);
    buf_free(&(*l)->paths);
    free((*l)->table);
    free((*l)->parent);
    free((*l)->bad);
    free(*l);
    *l = NULL;
}

/* Groups are often inode numbers, neighbours: spread them. */
static struct link *
slot(const struct links *l, uint64_t group)
{
    size_t at = (size_t)((group * 0x9E3779B97F4A7C15u) >> 20) & (l->room - 1);

    while (l->table[at].group != 0 && l->table[at].group != group)
        at = (at + 1) & (l->room - 1);
    return &l->table[at];
}

static void
grow(struct links *l)
{
    struct link *const old = l->table;
    const size_t old_room = l->room;

    l->room = old_room ? 2 * old_room : 256;
    l->table = mem_zero(l->room, sizeof *l->table);
    for (size_t i = 0; i < old_room; i++)
        if (old[i].group != 0)
            *slot(l, old[i].group) = old[i];
    free(old);
}

void
links_first(struct run *r, const struct dir *d, const struct tree_entry *e)
{
    struct links *const l = r->links;

    if (2 * l->count >= l->room)
        grow(l);
    struct link *const at = slot(l, e->link_group);
    if (at->group == 0)
        l->count++;
    *at = (struct link){ e->link_group, l->paths.size };
    report_raw_path(d, e, &l->paths);
    buf_u8(&l->paths, 0);
}

/* Open a directory below the target whose path may be longer than PATH_MAX.  -1 with errno. */
static int
open_below(int target_fd, const char *path)
{
    AUTO(auto_free) char *rest = mem_copy(path, strlen(path) + 1);
    char *at = rest;
    int fd = openat(target_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    while (fd >= 0 && *at != '\0') {
        size_t n = strlen(at);

        if (n >= PATH_MAX)
            for (n = PATH_MAX - 1; at[n] != '/'; n--)
                ;
        char *const next = at[n] == '/' ? at + n + 1 : at + n;
        at[n] = '\0';
        const int below = fs_open_beneath(fd, at, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        auto_close(&fd);
        fd = below;
        at = next;
    }
    return fd;
}

/* The directory of a path, opened; *ret_name is the last component. */
static int
parent_open(struct run *r, const char *path, const char **ret_name)
{
    struct links *const l = r->links;
    const char *const last = strrchr(path, '/');
    const size_t n = last == NULL ? 0 : (size_t)(last - path);

    *ret_name = last == NULL ? path : last + 1;
    if (l->parent_fd >= 0 && strlen(l->parent) == n && memcmp(l->parent, path, n) == 0)
        return l->parent_fd;
    auto_close(&l->parent_fd);
    free(l->parent);
    l->parent = mem_alloc(n + 1);
    memcpy(l->parent, path, n);
    l->parent[n] = '\0';
    l->parent_fd = open_below(r->target_fd, l->parent);
    return l->parent_fd;
}

bool
links_join(struct run *r, const struct dir *d, const struct tree_entry *e)
{
    struct links *const l = r->links;
    char name[NAME_ROOM];
    const char *first = NULL;

    if (l->room == 0 || slot(l, e->link_group)->group == 0)
        return false;
    if (!name_clear(r, d, e, false))
        return true;
    name_text(e, name);
    const int fd = parent_open(r, (const char *)l->paths.at + slot(l, e->link_group)->path, &first);
    if (fd < 0 || linkat(fd, first, d->fd, name, 0) != 0) {
        report_target(r, d, e, "link");
    } else {
        atomic_fetch_add(&r->files, 1);
        progress_add(r->progress, e->size, 1);
    }
    return true;
}

void
links_damaged(struct run *r, int fd)
{
    struct links *const l = r->links;
    struct stat st;

    if (fstat(fd, &st) != 0)
        return;
    (void)pthread_mutex_lock(&l->lock);
    l->bad = mem_grow(l->bad, l->bad_count + 1, sizeof *l->bad);
    l->bad[l->bad_count++] = (struct inode){ st.st_dev, st.st_ino, false };
    (void)pthread_mutex_unlock(&l->lock);
}

/* The second walk: one directory on the way. */
struct place {
    struct walk *walk;
    int fd;
    size_t path_bytes; /* of the path, when this directory is done */
};
struct places {
    struct place *at; /* [depth], owned */
    size_t depth, room;
    struct buf path; /* of the directory on top, raw */
};

static void
places_pop(struct places *p)
{
    struct place *const top = &p->at[--p->depth];

    p->path.size = top->path_bytes;
    walk_free(&top->walk);
    auto_close(&top->fd);
}

static void
places_free(struct places *p)
{
    while (p->depth > 0)
        places_pop(p);
    free(p->at);
    buf_free(&p->path);
}

static void
places_push(struct places *p, const struct tree_entry *e, struct place one)
{
    one.path_bytes = p->path.size;
    if (p->depth > 0) {
        buf_put(&p->path, e->name, e->name_bytes);
        buf_put(&p->path, "/", 1);
    }
    if (p->depth == p->room) {
        p->room = p->room ? 2 * p->room : 32;
        p->at = mem_grow(p->at, p->room, sizeof *p->at);
    }
    p->at[p->depth++] = one;
}

static void
name_report(struct run *r, struct places *p, const struct tree_entry *e)
{
    const size_t keep = p->path.size;

    buf_put(&p->path, e->name, e->name_bytes);
    report_left_out(r, p->path.at, p->path.size, "it is a further name of a damaged file; it is left out");
    p->path.size = keep;
}

/* Remove the name if it is of a damaged inode; the directory keeps its time. */
static void
name_remove(struct run *r, struct places *p, const struct tree_entry *e)
{
    const struct links *const l = r->links;
    const int dir_fd = p->at[p->depth - 1].fd;
    char name[NAME_ROOM];
    struct stat st, dir;

    name_text(e, name);
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || fstat(dir_fd, &dir) != 0)
        return;
    for (size_t i = 0; i < l->bad_count; i++) {
        const struct timespec times[2] = { { 0, UTIME_OMIT }, dir.st_mtim };

        if (l->bad[i].dev != st.st_dev || l->bad[i].ino != st.st_ino)
            continue;
        if (unlinkat(dir_fd, name, 0) != 0)
            report_target(r, NULL, e, "remove");
        (void)futimens(dir_fd, times);
        if (l->bad[i].removed) {
            atomic_fetch_sub(&r->files, 1);
            name_report(r, p, e);
        }
        l->bad[i].removed = true;
        return;
    }
}

enum err_kind
links_end(struct run *r, struct err *err)
{
    AUTO(places_free) struct places p = { 0 };
    AUTO(buf_free) struct buf page = { 0 };
    struct tree_entry e;

    if (r->links->bad_count == 0)
        return ERR_OK;
    enum err_kind kind = reader_root(r->reader, &r->mark.mark.root, &page, &e, err);
    if (kind != ERR_OK)
        return kind;
    places_push(&p, &e,
                (struct place){ walk_new(r->reader, &e.digest), fcntl(r->target_fd, F_DUPFD_CLOEXEC, 0), 0 });
    while (p.depth > 0) {
        struct place *const at = &p.at[p.depth - 1];
        char name[NAME_ROOM];

        kind = walk_next(at->walk, &e, err);
        if (kind == ERR_ABSENT)
            places_pop(&p);
        if (kind != ERR_OK)
            continue; /* damage was said in the first walk */
        if (e.type != TREE_DIR) {
            if (e.link_group != 0)
                name_remove(r, &p, &e);
            continue;
        }
        name_text(&e, name);
        const int fd = openat(at->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            places_push(&p, &e, (struct place){ walk_new(r->reader, &e.digest), fd, 0 });
    }
    return ERR_OK;
}
