/* entry.c - a slice of a directory: what each name is, and whether its bytes must be read. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/scan.h"

#define PROBE_NAMES 8u /* looked at one by one, to see whether the kernel knows them */
#define PROBE_COLD_NS                                                                                        \
    15000 /* each; slower means that disks are waited for, which the ring does for many at once */

uint64_t
entry_dev(const struct statx *st)
{
    return (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
}

static uint8_t
type_of(uint32_t mode)
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
    case S_IFBLK:
        return TREE_DISK;
    default:
        return 0;
    }
}

bool
entry_fill(struct pass *p, const struct statx *st, struct item *it)
{
    struct tree_entry *e = &it->entry;
    e->type = type_of(st->stx_mode);
    e->mode = (uint16_t)(st->stx_mode & 07777);
    e->uid = st->stx_uid;
    e->gid = st->stx_gid;
    e->mtime_s = st->stx_mtime.tv_sec;
    e->mtime_ns = st->stx_mtime.tv_nsec;
    if (e->type == TREE_CHAR || e->type == TREE_DISK)
        e->rdev = (uint64_t)st->stx_rdev_major << 32 | st->stx_rdev_minor;
    if (e->type == TREE_FILE) {
        e->size = st->stx_size;
        e->sparse = st->stx_blocks * 512 < st->stx_size;
    }
    it->inode = st->stx_ino;
    people_name(p->people, e);
    return e->type != 0;
}

/* Inodes that lie together are looked at together: the order of getdents' numbers, not of names. */
static const struct name_ref *ordering; /* the scanner is one thread */

static int
inode_order(const void *a, const void *b)
{
    uint64_t x = ordering[*(const uint32_t *)a].inode, y = ordering[*(const uint32_t *)b].inode;
    return x < y ? -1 : x > y;
}

static void
stat_names(struct dir *d, const struct name_ref *refs, struct statx *st, struct ring_op *ops, uint32_t count)
{
    uint32_t order[SLICE_ITEMS_MAX] = { 0 };
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    ordering = refs;
    qsort(order, count, sizeof(order[0]), inode_order);
    int64_t before = when_tick_ns();
    bool cold = false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = order[i];
        const char *name = d->names.bytes + refs[n].off;
        ops[i] = (struct ring_op){
            .kind = RING_STAT, .fd = d->fd->fd, .name = name, .flags = AT_SYMLINK_NOFOLLOW, .st = &st[n]
        };
        if (!cold)
            ops[i].result = statx(d->fd->fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st[n]) == 0
                                ? 0
                                : -errno;
        if (i + 1 == PROBE_NAMES)
            cold = when_tick_ns() - before > (int64_t)PROBE_NAMES * PROBE_COLD_NS;
    }
    if (cold)
        ring_run(d->pass->ring, ops + PROBE_NAMES, count - PROBE_NAMES);
    /* A result goes where its statx is: the mask tells afterwards. */
    for (uint32_t i = 0; i < count; i++)
        if (ops[i].result < 0) {
            st[order[i]].stx_mask = 0;
            st[order[i]].stx_nlink = (uint32_t)-ops[i].result;
        }
}

enum err_kind
entry_xattrs(struct pass *p, const struct entry_bare *b, struct err *err)
{
    struct table_key key = { p->number.number, b->mount, b->st->stx_ino };
    struct table_row row;
    struct facts now;
    facts_of(b->st, &now);
    bool found = table_find(p->view, &key, &row) == ERR_OK;
    if (found && row_fresh(p, &row, &now)) {
        xattrs_from_row(&row, b->item);
        if (row.epoch == p->number.epoch)
            return ERR_OK;
        row.epoch = p->number.epoch;
        return table_put(p->agent->table, &key, &row, err);
    }
    struct table_row next;
    memset(&next, 0, sizeof(next));
    next.read_ns = when_now_ns();
    AUTO(buf_free) struct buf set = { 0 };
    struct err why = { 0 };
    enum err_kind kind = xattrs_of_name(b->dir_fd, b->name, &set, &why);
    if (kind == ERR_ABSENT) {
        b->item->out = true;
        return ERR_OK;
    }
    if (kind != ERR_OK) {
        pass_finding(p, p->top, b->name, strlen(b->name), why.text);
        set.size = 0;
    }
    xattrs_to_item(p, b->item, &set);
    if (kind != ERR_OK)
        return ERR_OK;
    next.size = now.size;
    next.mtime_s = now.mtime_s;
    next.mtime_ns = now.mtime_ns;
    next.ctime_s = now.ctime_s;
    next.ctime_ns = now.ctime_ns;
    next.sequence = p->sequence;
    next.epoch = p->number.epoch;
    xattrs_to_row(b->item, &next);
    if (found && row_sure(p, &row) && row.xattrs_bytes == next.xattrs_bytes &&
        memcmp(row.xattrs, next.xattrs,
               next.xattrs_bytes > XATTR_INLINE_MAX ? HASH_BYTES : next.xattrs_bytes) == 0)
        next.sequence = row.sequence;
    return table_put(p->agent->table, &key, &next, err);
}

static bool
link_target(struct dir *d, const char *name, struct item *it)
{
    char room[TARGET_BYTES_MAX + 1];
    ssize_t size = readlinkat(d->fd->fd, name, room, sizeof(room));
    if (size <= 0 || (size_t)size > TARGET_BYTES_MAX) {
        if (size >= 0 || errno != ENOENT)
            pass_finding(d->pass, d, name, strlen(name),
                         size >= 0 ? "its target does not fit" : strerror(errno));
        return false;
    }
    it->target = mem_copy(room, (size_t)size);
    it->entry.target = it->target;
    it->entry.target_bytes = (uint16_t)size;
    return true;
}

/* A file with bytes: known by its row, or read. */
static enum err_kind
take_file(struct dir *d, struct slice *s, struct item *it, const struct statx *st, struct err *err)
{
    struct pass *p = d->pass;
    struct file f;
    memset(&f, 0, sizeof(f));
    f.dir = d;
    f.slice = s;
    f.item = it;
    f.key = (struct table_key){ p->number.number, d->mount, st->stx_ino };
    facts_of(st, &f.facts);
    struct hard_name name = { s, it };
    if (st->stx_nlink > 1 && hard_known(p, &f.key, &name, st->stx_nlink, &f.hard))
        return ERR_OK;
    struct table_row row;
    bool found = table_find(p->view, &f.key, &row) == ERR_OK && row_sure(p, &row);
    if (found && row_fresh(p, &row, &f.facts)) {
        it->entry.digest = row.digest;
        xattrs_from_row(&row, it);
        if (f.hard != NULL) {
            pthread_mutex_lock(&p->lock);
            hard_told(f.hard, it);
            pthread_mutex_unlock(&p->lock);
        }
        progress_add(p->progress, st->stx_size, 1);
        if (row.epoch == p->number.epoch)
            return ERR_OK;
        row.epoch = p->number.epoch;
        return table_put(p->agent->table, &f.key, &row, err);
    }
    enum err_kind kind = ERR_OK;
    if (found) {
        f.based = row.size > 0 && !p->whole;
        f.base = (struct wire_base){ row.digest, row.size };
        f.printed = f.based;
        f.base_read_ns = row.read_ns;
        f.base_sequence = row.sequence;
    } else if (st->stx_size > BLOCK_BYTES && p->headed && !p->whole) {
        kind = past_base(d, it->entry.name, it->entry.name_bytes, &f.based, &f.base, err);
    }
    if (kind == ERR_OK)
        file_new(p, &f);
    return kind;
}

static enum err_kind
take(struct dir *d, struct slice *s, struct item *it, const struct statx *st, struct err *err)
{
    struct pass *p = d->pass;
    const char *name = it->entry.name;
    if (st->stx_mask == 0) {
        it->out = true;
        int code = (int)st->stx_nlink;
        if (code != ENOENT)
            pass_finding(p, d, name, it->entry.name_bytes, strerror(code));
        return ERR_OK;
    }
    if (!entry_fill(p, st, it) || st->stx_size > FILE_BYTES_MAX) {
        it->out = true;
        pass_finding(p, d, name, it->entry.name_bytes, "it is of no known type, or too large");
        return ERR_OK;
    }
    if (it->entry.type != TREE_DIR && st->stx_nlink > 1) {
        uint64_t at[2] = { st->stx_ino, d->mount };
        it->entry.link_group = d->mount == 0 ? st->stx_ino : hash_check(at, sizeof(at), 1);
    }
    if (it->entry.type == TREE_FILE && it->entry.size > 0)
        return take_file(d, s, it, st, err);
    if (it->entry.type == TREE_FILE) {
        merkle_root(NULL, 0, &it->entry.digest);
        progress_add(p->progress, 0, 1);
    }
    if (it->entry.type == TREE_LINK && !link_target(d, name, it)) {
        it->out = true;
        return ERR_OK;
    }
    struct entry_bare bare = { it, st, d->fd->fd, name, d->mount };
    enum err_kind kind = entry_xattrs(p, &bare, err);
    if (kind == ERR_OK && it->entry.type == TREE_DIR && !it->out) {
        it->descend = true;
        pthread_mutex_lock(&p->lock);
        s->pending++;
        pthread_mutex_unlock(&p->lock);
    }
    return kind;
}

enum err_kind
entry_slice(struct dir *d, struct err *err)
{
    struct pass *p = d->pass;
    size_t left = d->names.count - d->next_name;
    uint32_t count = left < SLICE_ITEMS_MAX ? (uint32_t)left : SLICE_ITEMS_MAX;
    const struct name_ref *refs = d->names.at + d->next_name;
    AUTO(auto_free) struct statx *st = mem_alloc(count * sizeof(*st));
    AUTO(auto_free) struct ring_op *ops = mem_alloc(count * sizeof(*ops));
    stat_names(d, refs, st, ops, count);
    struct slice *s = slice_new(d, count);
    d->current = s;
    d->descend_at = 0;
    d->next_name += count;
    table_view_free(&p->view); /* an old view would hold back pages that the workers' commits have freed */
    enum err_kind kind = table_view_new(p->agent->table, &p->view, err);
    for (uint32_t i = 0; i < count && kind == ERR_OK; i++) {
        s->at[i].entry.name = d->names.bytes + refs[i].off;
        s->at[i].entry.name_bytes = refs[i].size;
        kind = take(d, s, &s->at[i], &st[i], err);
    }
    return kind;
}
