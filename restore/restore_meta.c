/* Owner, mode, xattrs, times.  The order matters: a change of owner clears setuid bits and file capabilities, an ACL must come after the
 * mode that it refines, and times come last. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/mem.h"
#include "restore/restore.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define XATTR_NAME_ROOM 256 /* XATTR_NAME_MAX and a NUL */

/* O_PATH descriptors serve no f*xattr call: their name in /proc does, and it leads to the thing itself, a symbolic link too. */
static void
self_path(int fd, char ret[32])
{
    (void)snprintf(ret, 32, "/proc/self/fd/%d", fd);
}

static bool
starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool
is_acl(const char *name)
{
    return starts(name, "system.posix_acl_");
}

static bool
untrusted(const char *name)
{
    return starts(name, "trusted.") || starts(name, "security.");
}

bool
meta_inherits(int fd)
{
    return fgetxattr(fd, ACL_DEFAULT, NULL, 0) > 0;
}

void
meta_disinherit(int fd, bool is_dir)
{
    /* ENODATA and ENOTSUP are the usual answers, and good ones. */
    (void)!fremovexattr(fd, ACL_ACCESS);
    if (is_dir)
        (void)!fremovexattr(fd, ACL_DEFAULT);
}

static int
xattr_set(int fd, const struct meta *m, const char *name, const struct tree_xattr *x)
{
    char path[32];

    if (!m->path_only)
        return fsetxattr(fd, name, x->value, x->value_bytes, 0);
    self_path(fd, path);
    return setxattr(path, name, x->value, x->value_bytes, 0);
}

/* Those of the set that are ACLs, or those that are not. */
static void
xattrs_apply(struct run *r, int fd, const struct meta *m, struct cut set, bool acls)
{
    struct tree_xattr x;
    char name[XATTR_NAME_ROOM];

    while (tree_xattr_next(&set, &x) == 1) {
        if (x.name_bytes >= sizeof name)
            continue;
        memcpy(name, x.name, x.name_bytes);
        name[x.name_bytes] = '\0';
        if (is_acl(name) != acls)
            continue;
        if (r->o->untrusted && untrusted(name)) {
            atomic_fetch_add(&r->left_out, 1);
            continue;
        }
        if (xattr_set(fd, m, name, &x) != 0) {
            char what[XATTR_NAME_ROOM + 32];

            (void)snprintf(what, sizeof what, "set attribute %s of", name);
            report_target(r, m->dir, m->e, what);
        }
    }
}

static bool
in_set(struct cut set, const char *name)
{
    struct tree_xattr x;

    while (tree_xattr_next(&set, &x) == 1)
        if (strlen(name) == x.name_bytes && memcmp(name, x.name, x.name_bytes) == 0)
            return true;
    return false;
}

/* A directory that was there before may have attributes that the mark has not. */
static void
xattrs_remove(int fd, struct cut set)
{
    const ssize_t room = flistxattr(fd, NULL, 0);

    if (room <= 0)
        return;
    AUTO(auto_free) char *names = mem_alloc((size_t)room);
    const ssize_t size = flistxattr(fd, names, (size_t)room);
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1)
        if (!in_set(set, names + at) && !starts(names + at, "security."))
            (void)!fremovexattr(fd, names + at);
}

static void
owner_apply(struct run *r, int fd, const struct meta *m)
{
    uint32_t uid = 0, gid = 0;

    if (r->o->no_owner)
        return;
    owners_find(r->owners, m->e, &uid, &gid);
    if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0)
        return;
    if (errno == EPERM)
        atomic_fetch_add(&r->owners_failed, 1); /* said once, at the end */
    else
        report_target(r, m->dir, m->e, "change the owner of");
}

static void
mode_apply(struct run *r, int fd, const struct meta *m)
{
    mode_t mode = m->e->mode;
    char path[32];

    if (m->e->type == TREE_LINK)
        return;
    if (r->o->untrusted && (mode & (S_ISUID | S_ISGID))) {
        mode &= (mode_t) ~(S_ISUID | S_ISGID);
        atomic_fetch_add(&r->left_out, 1);
    }
    self_path(fd, path);
    if ((m->path_only ? chmod(path, mode) : fchmod(fd, mode)) != 0)
        report_target(r, m->dir, m->e, "change the mode of");
}

void
meta_apply(struct run *r, int fd, const struct meta *m)
{
    AUTO(buf_free) struct buf set = { 0 };
    struct err err = { 0 };
    const struct timespec times[2] = { { 0, UTIME_OMIT }, { m->e->mtime_s, m->e->mtime_ns } };

    if (m->e->xattrs_bytes > 0 && reader_xattrs(r->reader, m->e, &set, &err) != ERR_OK) {
        report_finding(r, m->dir, m->e, "its extended attributes are damaged: %s", err.text);
        set.size = 0;
    }
    const struct cut all = cut_of(set.at, set.size);
    owner_apply(r, fd, m);
    if (m->existed)
        xattrs_remove(fd, all);
    if (set.size > 0)
        xattrs_apply(r, fd, m, all, false);
    mode_apply(r, fd, m);
    if (set.size > 0)
        xattrs_apply(r, fd, m, all, true);
    if ((m->path_only ? utimensat(fd, "", times, AT_EMPTY_PATH) : futimens(fd, times)) != 0)
        report_target(r, m->dir, m->e, "set the time of");
}
