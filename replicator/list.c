/* list.c - the names of a directory. */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/pass.h"

#define LIST_BYTES (64u * KIB)

bool
list_excluded(const struct agent_source *s, const char *path, const char *name)
{
    for (size_t i = 0; i < s->exclude_count; i++) {
        const char *pattern = s->exclude[i];
        bool hit = strchr(pattern, '/') == NULL
                       ? fnmatch(pattern, name, 0) == 0
                       : path != NULL && fnmatch(pattern + (pattern[0] == '/'), path, FNM_PATHNAME) == 0;
        if (hit)
            return true;
    }
    return false;
}

static uint64_t
prefix_of(const char *name, size_t size)
{
    uint8_t first[8] = { 0 };
    memcpy(first, name, size < 8 ? size : 8);
    return be64_get(first);
}

struct sort {
    const char *bytes;
};

static int
name_order(const void *a, const void *b, void *arg)
{
    const struct name_ref *x = a, *y = b;
    const struct sort *s = arg;
    if (x->prefix != y->prefix)
        return x->prefix < y->prefix ? -1 : 1;
    return tree_name_order(s->bytes + x->off, x->size, s->bytes + y->off, y->size);
}

struct listing {
    struct dir *dir;
    char *path; /* of the directory, relative to the root; NULL where no pattern needs it */
    struct buf bytes;
    struct name_ref *at;
    size_t count, room;
};

static void
take_name(struct listing *l, const char *name, uint64_t inode)
{
    const struct agent_source *s = l->dir->pass->source;
    size_t size = strlen(name);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    if (s->exclude_count > 0) {
        AUTO(auto_free) char *path = l->path == NULL ? NULL : mem_text("%s%s", l->path, name);
        if (list_excluded(s, path, name))
            return;
    }
    if (size > NAME_BYTES_MAX || l->bytes.size > UINT32_MAX - 4096) {
        pass_finding(l->dir->pass, l->dir, name, size, "its name does not fit");
        return;
    }
    if (l->count == l->room) {
        l->room = l->room == 0 ? 64 : 2 * l->room;
        l->at = mem_grow(l->at, l->room, sizeof(*l->at));
    }
    l->at[l->count++] = (struct name_ref){ .prefix = prefix_of(name, size),
                                           .inode = inode,
                                           .off = (uint32_t)l->bytes.size,
                                           .size = (uint16_t)size };
    buf_put(&l->bytes, name, size + 1);
}

static bool
slashed(const struct agent_source *s)
{
    for (size_t i = 0; i < s->exclude_count; i++)
        if (strchr(s->exclude[i], '/') != NULL)
            return true;
    return false;
}

/* getdents64 with a large buffer: readdir's 32 KiB cost more calls, and its order is of no use. */
static enum err_kind
read_names(struct listing *l, struct err *err)
{
    AUTO(auto_free) char *room = mem_alloc(LIST_BYTES);
    for (;;) {
        long got = syscall(SYS_getdents64, l->dir->fd->fd, room, LIST_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            AUTO(auto_free) char *path = pass_path(l->dir, NULL, 0);
            return err_errno(err, "could not list \"%s\"", path);
        }
        if (got == 0)
            return ERR_OK;
        for (long at = 0; at < got;) {
            const struct dirent64 *e = (const struct dirent64 *)(const void *)(room + at);
            take_name(l, e->d_name, e->d_ino);
            at += e->d_reclen;
        }
    }
}

enum err_kind
list_names(struct dir *d, struct names *ret, struct err *err)
{
    struct listing l = { .dir = d };
    AUTO(auto_free) char *path = NULL;
    if (slashed(d->pass->source)) {
        AUTO(auto_free) char *dir = pass_path(d, NULL, 0);
        path = d->parent == NULL ? mem_text("%s", "") : mem_text("%s/", dir);
        l.path = path;
    }
    enum err_kind kind = read_names(&l, err);
    if (kind != ERR_OK) {
        buf_free(&l.bytes);
        free(l.at);
        return kind;
    }
    struct sort sort = { (const char *)l.bytes.at };
    if (l.count > 1)
        qsort_r(l.at, l.count, sizeof(*l.at), name_order, &sort);
    /* A directory that changes while it is listed may show a name twice. */
    size_t kept = 0;
    for (size_t i = 0; i < l.count; i++)
        if (kept == 0 || name_order(&l.at[kept - 1], &l.at[i], &sort) != 0)
            l.at[kept++] = l.at[i];
    *ret = (struct names){ .bytes = (char *)l.bytes.at, .at = l.at, .count = kept };
    return ERR_OK;
}

void
list_free(struct names *n)
{
    free(n->bytes);
    free(n->at);
    *n = (struct names){ 0 };
}
