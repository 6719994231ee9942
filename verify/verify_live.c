#include "verify/verify_live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/io.h"
#include "common/mem.h"
#include "snapshot/map.h"
#include "snapshot/merkle.h"

static void
word(struct buf *ret, const char *text)
{
    if (ret->size > 0)
        buf_put(ret, ", ", 2);
    buf_put(ret, text, strlen(text));
}

static bool
has_name(const char *names, ssize_t size, const char *name)
{
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1)
        if (strcmp(names + at, name) == 0)
            return true;
    return false;
}

/* Every attribute of the set is there with its value, and there is no other. */
static enum err_kind
xattrs_compare(int path_fd, const struct tree_entry *e, struct reader *r, struct buf *ret, struct err *err)
{
    AUTO(buf_free) struct buf set = { 0 };
    AUTO(auto_free) char *names = NULL;
    AUTO(auto_free) uint8_t *value = mem_alloc(XATTRS_BYTES_MAX);
    struct tree_xattr x;
    char path[32], name[256];
    size_t found = 0, want = 0;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
    const enum err_kind kind = reader_xattrs(r, e, &set, err);
    if (kind != ERR_OK)
        return kind;
    ssize_t size = listxattr(path, NULL, 0);
    if (size > 0) {
        names = mem_alloc((size_t)size);
        size = listxattr(path, names, (size_t)size);
    }
    if (size < 0 && errno != ENOTSUP)
        return err_errno(err, "could not list its attributes");
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1)
        found++;
    struct cut c = cut_of(set.at, set.size);
    while (tree_xattr_next(&c, &x) == 1) {
        want++;
        (void)snprintf(name, sizeof name, "%.*s", (int)x.name_bytes, x.name);
        const ssize_t n = has_name(names, size, name) ? getxattr(path, name, value, XATTRS_BYTES_MAX) : -1;
        if (n < 0 || (size_t)n != x.value_bytes || memcmp(value, x.value, x.value_bytes) != 0) {
            word(ret, name);
            return ERR_OK;
        }
    }
    if (found != want)
        word(ret, "attributes");
    return ERR_OK;
}

static enum err_kind
target_compare(int path_fd, const struct tree_entry *e, struct buf *ret, struct err *err)
{
    char target[TARGET_BYTES_MAX + 1];
    const ssize_t n = readlinkat(path_fd, "", target, sizeof target);

    if (n < 0)
        return err_errno(err, "could not read the link");
    if ((size_t)n != e->target_bytes || memcmp(target, e->target, e->target_bytes) != 0)
        word(ret, "target");
    return ERR_OK;
}

static uint8_t
type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return TREE_FILE;
    case S_IFDIR:
        return TREE_DIR;
    case S_IFLNK:
        return TREE_LINK;
    case S_IFIFO:
        return TREE_FIFO;
    case S_IFSOCK:
        return TREE_SOCKET;
    case S_IFCHR:
        return TREE_CHAR;
    default:
        return TREE_DISK;
    }
}

enum err_kind
live_compare(int path_fd, const struct stat *st, const struct tree_entry *e, struct owners *owners,
             struct reader *r, struct buf *ret, struct err *err)
{
    uint32_t uid = 0, gid = 0;

    if (type_of(st->st_mode) != e->type) {
        word(ret, "type");
        return ERR_OK;
    }
    if (e->type != TREE_LINK && (st->st_mode & 07777) != e->mode)
        word(ret, "mode");
    owners_find(owners, e, &uid, &gid);
    if ((st->st_uid != uid && st->st_uid != e->uid) || (st->st_gid != gid && st->st_gid != e->gid))
        word(ret, "owner");
    if (st->st_mtim.tv_sec != e->mtime_s || st->st_mtim.tv_nsec != (long)e->mtime_ns)
        word(ret, "mtime");
    if (e->type == TREE_FILE && (uint64_t)st->st_size != e->size)
        word(ret, "size");
    if ((e->type == TREE_CHAR || e->type == TREE_DISK) &&
        (major(st->st_rdev) != e->rdev >> 32 || minor(st->st_rdev) != (e->rdev & UINT32_MAX)))
        word(ret, "device number");
    enum err_kind kind = ERR_OK;
    if (e->type == TREE_LINK)
        kind = target_compare(path_fd, e, ret, err);
    return kind != ERR_OK ? kind : xattrs_compare(path_fd, e, r, ret, err);
}

/* Digests of a level, of which each 64 are joined into one of the level above when they are full. */
struct tower {
    struct digest level[8][NODE_CHILDREN];
    size_t count[8];
};

static void
tower_add(struct tower *t, struct digest d)
{
    for (unsigned i = 0; i < 8; i++) {
        t->level[i][t->count[i]++] = d;
        if (t->count[i] < NODE_CHILDREN)
            return;
        merkle_root(t->level[i], NODE_CHILDREN, &d);
        t->count[i] = 0;
    }
}

/* What is not full is joined from below: full subtrees to the left, the rest to the right, as RFC 6962 has it. */
static void
tower_root(struct tower *t, struct digest *ret)
{
    for (unsigned i = 0; i < 8; i++) {
        bool above = false;

        for (unsigned n = i + 1; n < 8; n++)
            above = above || t->count[n] > 0;
        if (t->count[i] == 0)
            continue;
        struct digest d;
        merkle_root(t->level[i], t->count[i], &d);
        if (!above) {
            *ret = d;
            return;
        }
        t->count[i] = 0;
        t->level[i + 1][t->count[i + 1]++] = d;
    }
    merkle_root(NULL, 0, ret);
}

/* Where do file and mark part?  The blocks of the mark's maps say it; a span whose map cannot be had stays unknown. */
static enum err_kind
first_difference(int fd, const struct tree_entry *e, struct reader *r, struct live_content *ret,
                 struct err *err)
{
    const struct reader_file f = { e->digest, e->size };
    AUTO(auto_free) uint8_t *block = mem_alloc(BLOCK_BYTES);

    for (uint64_t n = 0; n < merkle_maps(e->size); n++) {
        AUTO(map_free) struct map m = { 0 };
        enum err_kind kind = reader_file_map(r, &f, n, &m, err);

        if (kind != ERR_OK)
            return kind;
        for (uint32_t at = 0; at < m.bytes; at += BLOCK_BYTES) {
            const uint32_t want = m.bytes - at < BLOCK_BYTES ? m.bytes - at : BLOCK_BYTES;
            struct digest d;
            size_t got = 0;

            kind = io_pread_upto(fd, block, want, n * MAP_BYTES + at, &got, err);
            if (kind != ERR_OK)
                return kind;
            merkle_leaf(block, got, &d);
            if (got == want && hash_same(&d, &m.blocks[at / BLOCK_BYTES]))
                continue;
            ret->placed = true;
            ret->offset = n * MAP_BYTES + at;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

/* Is all of [at, at+size) a hole?  Then it need not be read: a sparse file of 100 GB is compared in seconds. */
static bool
is_hole(int fd, uint64_t at, uint64_t size)
{
    const off_t data = lseek(fd, (off_t)at, SEEK_DATA);

    return data < 0 ? errno == ENXIO : (uint64_t)data >= at + size;
}

enum err_kind
live_content(int fd, const struct tree_entry *e, struct reader *r, struct live_content *ret, struct err *err)
{
    AUTO(auto_free) uint8_t *bytes = mem_alloc(MIB);
    AUTO(auto_free) struct tower *t = mem_zero(1, sizeof *t);
    struct live_content c = { 0 };
    struct digest found, zero;
    struct stat st;
    enum err_kind kind = ERR_OK;
    uint64_t at = 0;
    size_t n = 1;

    merkle_zero(BLOCK_BYTES, &zero);
    if (fstat(fd, &st) != 0)
        return err_errno(err, "could not look at the file");
    for (; n > 0 && at < e->size; at += n) {
        const uint64_t left = e->size - at;

        /* Holes beyond the end of a file that is too short are none. */
        if (left >= MIB && at + MIB <= (uint64_t)st.st_size && is_hole(fd, at, MIB)) {
            for (size_t i = 0; i < MIB; i += BLOCK_BYTES)
                tower_add(t, zero);
            n = MIB;
            continue;
        }
        kind = io_pread_upto(fd, bytes, left < MIB ? (size_t)left : MIB, at, &n, err);
        if (kind != ERR_OK)
            return kind;
        for (size_t i = 0; i < n; i += BLOCK_BYTES) {
            struct digest d;

            merkle_leaf(bytes + i, n - i < BLOCK_BYTES ? n - i : BLOCK_BYTES, &d);
            tower_add(t, d);
        }
    }
    tower_root(t, &found);
    c.same = at >= e->size && hash_same(&found, &e->digest) == 1;
    if (!c.same)
        kind = first_difference(fd, e, r, &c, err);
    if (kind == ERR_OK)
        *ret = c;
    return kind;
}
