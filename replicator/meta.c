/* meta.c - owners' names, and xattrs (ACLs among them: system.posix_acl_access is one). */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/pass.h"

struct owner {
    struct owner *next;
    uint32_t id;
    uint8_t bytes;
    char name[USER_BYTES_MAX];
};
struct people {
    pthread_mutex_t lock;
    struct owner *users[64], *groups[64];
};

struct people *
people_new(void)
{
    struct people *o = mem_zero(1, sizeof(struct people));
    pthread_mutex_init(&o->lock, NULL);
    return o;
}

void
people_free(struct people **o)
{
    if (*o == NULL)
        return;
    for (size_t i = 0; i < 64; i++)
        for (int which = 0; which < 2; which++)
            for (struct owner *at = which == 0 ? (*o)->users[i] : (*o)->groups[i], *next; at != NULL;
                 at = next) {
                next = at->next;
                free(at);
            }
    pthread_mutex_destroy(&(*o)->lock);
    free(*o);
    *o = NULL;
}

/* An id without a name has none in the mark either: 0 bytes. */
static void
look_up(struct owner *o, bool group)
{
    char room[16384];
    const char *name = NULL;
    struct passwd user, *user_found = NULL;
    struct group grp, *group_found = NULL;
    if (group && getgrgid_r(o->id, &grp, room, sizeof(room), &group_found) == 0 && group_found != NULL)
        name = grp.gr_name;
    if (!group && getpwuid_r(o->id, &user, room, sizeof(room), &user_found) == 0 && user_found != NULL)
        name = user.pw_name;
    if (name != NULL && strlen(name) <= USER_BYTES_MAX) {
        o->bytes = (uint8_t)strlen(name);
        memcpy(o->name, name, o->bytes);
    }
}

static const struct owner *
find(struct owner **table, uint32_t id, bool group)
{
    struct owner **at = &table[id % 64];
    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    if (*at == NULL) {
        *at = mem_zero(1, sizeof(**at));
        (*at)->id = id;
        look_up(*at, group);
    }
    return *at;
}

void
people_name(struct people *o, struct tree_entry *e)
{
    pthread_mutex_lock(&o->lock);
    const struct owner *user = find(o->users, e->uid, false);
    const struct owner *group = find(o->groups, e->gid, true);
    pthread_mutex_unlock(&o->lock);
    e->user = user->name;
    e->user_bytes = user->bytes;
    e->group = group->name;
    e->group_bytes = group->bytes;
}

/* Where xattrs are read from: an open file, or a path that is not followed. */
struct holder {
    int fd;
    const char *path;
};

static ssize_t
list_of(const struct holder *h, char *room, size_t size)
{
    return h->path != NULL ? llistxattr(h->path, room, size) : flistxattr(h->fd, room, size);
}

static ssize_t
value_of(const struct holder *h, const char *name, void *room, size_t size)
{
    return h->path != NULL ? lgetxattr(h->path, name, room, size) : fgetxattr(h->fd, name, room, size);
}

static int
text_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum err_kind
encode_set(const struct holder *h, char *list, size_t size, struct buf *ret, struct err *err)
{
    size_t count = 0;
    for (size_t at = 0; at < size; at += strlen(list + at) + 1)
        count++;
    AUTO(auto_free) const char **names = mem_alloc(count * sizeof(*names));
    count = 0;
    for (size_t at = 0; at < size; at += strlen(list + at) + 1)
        names[count++] = list + at;
    qsort(names, count, sizeof(*names), text_order);
    AUTO(auto_free) char *value = mem_alloc(XATTRS_BYTES_MAX);
    size_t start = ret->size;
    for (size_t i = 0; i < count; i++) {
        ssize_t got = value_of(h, names[i], value, XATTRS_BYTES_MAX);
        if (got < 0 && (errno == ENODATA || errno == EPERM || errno == EOPNOTSUPP))
            continue; /* gone since, or not for us */
        if (got < 0)
            return err_errno(err, "could not read xattr %s", names[i]);
        buf_text(ret, names[i]);
        buf_block(ret, value, (size_t)got);
        if (ret->size - start > XATTRS_BYTES_MAX)
            return err_set(err, ERR_LIMIT, "its xattrs have more than %u bytes", XATTRS_BYTES_MAX);
    }
    return ERR_OK;
}

static enum err_kind
xattrs_of(const struct holder *h, struct buf *ret, struct err *err)
{
    char room[1024];
    ssize_t size = list_of(h, room, sizeof(room));
    if (size == 0 || (size < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)))
        return ERR_OK;
    if (size > 0)
        return encode_set(h, room, (size_t)size, ret, err);
    AUTO(auto_free) char *list = NULL;
    if (errno == ERANGE) {
        list = mem_alloc(XATTRS_BYTES_MAX);
        size = list_of(h, list, XATTRS_BYTES_MAX);
    }
    if (size < 0 && errno == ENOENT)
        return err_set(err, ERR_ABSENT, "vanished");
    if (size < 0)
        return err_errno(err, "could not list its xattrs");
    return encode_set(h, list, (size_t)size, ret, err);
}

enum err_kind
xattrs_of_fd(int fd, struct buf *ret, struct err *err)
{
    struct holder h = { .fd = fd };
    return xattrs_of(&h, ret, err);
}

/* A link or a device cannot be opened for this, so the name is reached through /proc, beneath the open directory. */
enum err_kind
xattrs_of_name(int dir_fd, const char *name, struct buf *ret, struct err *err)
{
    char path[NAME_BYTES_MAX + 40];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, name);
    struct holder h = { .fd = -1, .path = path };
    return xattrs_of(&h, ret, err);
}

void
xattrs_to_item(struct pass *p, struct item *it, const struct buf *set)
{
    free(it->xattrs);
    it->xattrs = NULL;
    it->entry.xattrs = NULL;
    it->entry.xattrs_bytes = (uint32_t)set->size;
    if (set->size == 0)
        return;
    if (set->size <= XATTR_INLINE_MAX) {
        it->xattrs = mem_copy(set->at, set->size);
        it->entry.xattrs = it->xattrs;
        return;
    }
    tree_xattrs_digest(set->at, set->size, &it->entry.xattrs_digest);
    object_add(p, OBJECT_XATTRS, &it->entry.xattrs_digest, set->at, set->size);
}

void
xattrs_to_row(const struct item *it, struct table_row *row)
{
    row->xattrs_bytes = it->entry.xattrs_bytes;
    if (row->xattrs_bytes > XATTR_INLINE_MAX)
        memcpy(row->xattrs, it->entry.xattrs_digest.at, HASH_BYTES);
    else if (row->xattrs_bytes > 0)
        memcpy(row->xattrs, it->xattrs, row->xattrs_bytes);
}

void
xattrs_from_row(const struct table_row *row, struct item *it)
{
    it->entry.xattrs_bytes = row->xattrs_bytes;
    if (row->xattrs_bytes > XATTR_INLINE_MAX) {
        memcpy(it->entry.xattrs_digest.at, row->xattrs, HASH_BYTES);
    } else if (row->xattrs_bytes > 0) {
        it->xattrs = mem_copy(row->xattrs, row->xattrs_bytes);
        it->entry.xattrs = it->xattrs;
    }
}
