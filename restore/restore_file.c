/* The workers: contents of files. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/hash.h"
#include "common/mem.h"
#include "restore/restore.h"
#include "restore/restore_part.h"
#include "snapshot/map.h"
#include "snapshot/merkle.h"
#include "snapshot/walk.h"

#define BATCH_ITEMS 128u
#define HOLE_BYTES 4096u /* what a file system makes holes of */

/* What a worker thread keeps. */
struct worker {
    struct ring *ring;
    uint8_t *buffer;     /* [MAP_BYTES] */
    struct ring_op *ops; /* [ops_room] */
    size_t ops_count, ops_room;
};
static pthread_key_t worker_key;
static pthread_once_t worker_once = PTHREAD_ONCE_INIT;

static void
worker_free(void *at)
{
    struct worker *const w = at;

    ring_free(&w->ring);
    free(w->buffer);
    free(w->ops);
    free(w);
}

static void
worker_key_make(void)
{
    if (pthread_key_create(&worker_key, worker_free) != 0)
        abort();
}

static struct worker *
worker_get(struct run *r)
{
    (void)pthread_once(&worker_once, worker_key_make);
    struct worker *w = pthread_getspecific(worker_key);

    if (w == NULL) {
        struct err err;

        w = mem_zero(1, sizeof *w);
        /* The engine was tried at start; a ring that cannot be had now (locked memory) is no reason to stop. */
        if (ring_new(r->o->engine, &w->ring, &err) != ERR_OK &&
            ring_new(RING_PLAIN, &w->ring, &err) != ERR_OK)
            abort();
        w->buffer = mem_alloc(MAP_BYTES);
        (void)pthread_setspecific(worker_key, w);
    }
    return w;
}

static void
op_add(struct worker *w, struct ring_op op)
{
    if (w->ops_count == w->ops_room) {
        w->ops_room = w->ops_room ? 2 * w->ops_room : 256;
        w->ops = mem_grow(w->ops, w->ops_room, sizeof *w->ops);
    }
    w->ops[w->ops_count++] = op;
}

static void
write_add(struct worker *w, int fd, uint8_t *bytes, size_t size, uint64_t offset)
{
    op_add(w, (struct ring_op){
                  .kind = RING_WRITE, .fd = fd, .bytes = bytes, .size = (uint32_t)size, .offset = offset });
}

/* A file with holes gets them back where its bytes are zero; any other is written whole, so that its space is its own. */
static void
content_add(struct worker *w, const struct item *it, uint8_t *bytes, size_t size, uint64_t offset)
{
    size_t from = 0, at = 0;

    if (!it->e.sparse) {
        if (size > 0)
            write_add(w, it->fd, bytes, size, offset);
        return;
    }
    while (at < size) {
        const size_t n = size - at < HOLE_BYTES ? size - at : HOLE_BYTES;

        if (merkle_zero_bytes(bytes + at, n)) {
            if (at > from)
                write_add(w, it->fd, bytes + from, at - from, offset + from);
            from = at + n;
        }
        at += n;
    }
    if (at > from)
        write_add(w, it->fd, bytes + from, at - from, offset + from);
}

/* Run what was added; the first failure is said of this item.  All operations belong to it unless items is given, one an operation. */
static void
ops_run(struct run *r, struct worker *w, struct item *const *items, const char *what)
{
    ring_run(w->ring, w->ops, w->ops_count);
    for (size_t i = 0; i < w->ops_count; i++) {
        const struct ring_op *const op = &w->ops[i];
        const bool good = op->kind == RING_WRITE ? op->result == (int64_t)op->size : op->result >= 0;
        struct item *const it = items[i];

        if (good || it->bad)
            continue;
        errno = op->result < 0 ? (int)-op->result : ENOSPC;
        report_target(r, it->dir, &it->e, what);
        it->bad = true;
    }
}

/* A block of zeros is known by its digest: nothing is read for it. */
static bool
zero_block(const struct digest *d, size_t bytes)
{
    struct digest zero;

    if (bytes != BLOCK_BYTES)
        return false;
    merkle_zero(BLOCK_BYTES, &zero);
    return hash_same(&zero, d) == 1;
}

/* All blocks of a map, checked.  *ret_at: offset in the map of the first that is damaged. */
static enum err_kind
map_load(struct run *r, const struct map *m, uint8_t *ret, uint32_t *ret_at, struct err *err)
{
    for (uint32_t at = 0; at < m->bytes; at += BLOCK_BYTES) {
        const uint32_t n = m->bytes - at < BLOCK_BYTES ? m->bytes - at : BLOCK_BYTES;
        const uint32_t block = at / BLOCK_BYTES;

        if (zero_block(&m->blocks[block], n)) {
            memset(ret + at, 0, n);
            continue;
        }
        const enum err_kind kind = reader_block(r->reader, m, block, ret + at, err);
        if (kind != ERR_OK) {
            *ret_at = at;
            return kind;
        }
    }
    return ERR_OK;
}

/* Items of one job: many small files. */
struct batch {
    struct run *run;
    struct item *items[BATCH_ITEMS];
    size_t count;
    uint64_t bytes;
};

struct batch *
batch_new(struct run *r)
{
    struct batch *const b = mem_zero(1, sizeof *b);

    b->run = r;
    return b;
}

bool
batch_full(const struct batch *b, const struct tree_entry *e)
{
    return b->count == BATCH_ITEMS || (e->type == TREE_FILE && b->bytes + e->size > BATCH_FILE_MAX);
}

void
batch_add(struct batch *b, struct item *it)
{
    assert(!batch_full(b, &it->e));
    it->at = (uint32_t)b->bytes;
    b->items[b->count++] = it;
    if (it->e.type == TREE_FILE)
        b->bytes += it->e.size;
}

static void
item_load(struct run *r, struct worker *w, struct item *it)
{
    AUTO(map_free) struct map m = { 0 };
    const struct reader_file f = { it->e.digest, it->e.size };
    struct err err = { 0 };
    uint32_t at = 0;

    if (it->e.size == 0)
        return;
    enum err_kind kind = reader_file_map(r->reader, &f, 0, &m, &err);
    if (kind == ERR_OK)
        kind = map_load(r, &m, w->buffer + it->at, &at, &err);
    if (kind == ERR_OK)
        return;
    report_damage(r, it, at, &err);
    it->bad = true;
    if (it->fd >= 0)
        links_damaged(r, it->fd);
}

int
file_create(struct run *r, const struct item *it)
{
    char name[NAME_ROOM];

    if (!name_clear(r, it->dir, &it->e, false))
        return -1;
    name_text(&it->e, name);
    const int fd = openat(it->dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        report_target(r, it->dir, &it->e, "create");
    return fd;
}

/* Contents were checked before: a damaged file never gets a name. */
static void
batch_create(struct batch *b, struct worker *w)
{
    struct item *which[BATCH_ITEMS];
    char names[BATCH_ITEMS][NAME_ROOM];

    w->ops_count = 0;
    for (size_t i = 0; i < b->count; i++) {
        struct item *const it = b->items[i];

        if (it->e.type != TREE_FILE || it->fd >= 0 || it->bad)
            continue;
        if (!name_clear(b->run, it->dir, &it->e, false)) {
            it->bad = true;
            continue;
        }
        name_text(&it->e, names[w->ops_count]);
        which[w->ops_count] = it;
        op_add(w, (struct ring_op){ .kind = RING_OPEN,
                                    .fd = it->dir->fd,
                                    .name = names[w->ops_count],
                                    .flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                                    .mode = 0600 });
    }
    ops_run(b->run, w, which, "create");
    for (size_t i = 0; i < w->ops_count; i++)
        if (w->ops[i].result >= 0)
            which[i]->fd = (int)w->ops[i].result;
}

static void
batch_write(struct batch *b, struct worker *w)
{
    struct item **which = NULL;
    size_t known = 0;

    w->ops_count = 0;
    for (size_t i = 0; i < b->count; i++) {
        struct item *const it = b->items[i];

        if (it->fd < 0 || it->bad)
            continue;
        content_add(w, it, w->buffer + it->at, (size_t)it->e.size, 0);
        if (it->e.sparse && ftruncate(it->fd, (off_t)it->e.size) != 0) {
            report_target(b->run, it->dir, &it->e, "set the size of");
            it->bad = true;
        }
        which = mem_grow(which, w->ops_count + 1, sizeof(struct item *));
        while (known < w->ops_count)
            which[known++] = it;
    }
    if (w->ops_count > 0)
        ops_run(b->run, w, which, "write");
    free(which);
}

/* Metadata of a file that is whole; a file that is not has no name any more. */
static void
file_end(struct run *r, const struct item *it, const char *name)
{
    if (it->bad || run_stopped(r)) {
        /* A damaged file with several names loses them all in links_end. */
        if (it->e.link_group == 0 || run_stopped(r))
            (void)unlinkat(it->dir->fd, name, 0);
        return;
    }
    if (it->dir->inherits)
        meta_disinherit(it->fd, false);
    meta_apply(r, it->fd, &(struct meta){ .e = &it->e, .dir = it->dir });
}

static void
batch_run(void *arg)
{
    struct batch *const b = arg;
    struct run *const r = b->run;
    struct worker *const w = worker_get(r);
    const bool stopped = run_stopped(r);

    for (size_t i = 0; i < b->count && !stopped; i++)
        if (b->items[i]->e.type == TREE_FILE)
            item_load(r, w, b->items[i]);
        else
            (void)special_restore(r, b->items[i]);
    if (!stopped) {
        batch_create(b, w);
        batch_write(b, w);
    }
    for (size_t i = 0; i < b->count; i++) {
        struct item *const it = b->items[i];

        if (it->fd >= 0) {
            char name[NAME_ROOM];

            name_text(&it->e, name);
            file_end(r, it, name);
        }
        if (it->e.type == TREE_FILE && !it->bad && !stopped) {
            atomic_fetch_add(&r->files, 1);
            atomic_fetch_add(&r->bytes, it->e.size);
            progress_add(r->progress, it->e.size, 1);
        }
        item_free(r, it);
    }
    free(b);
}

void
batch_submit(struct batch **b)
{
    if (*b != NULL)
        pool_push((*b)->run->pool, batch_run, *b);
    *b = NULL;
}

/* A file that is restored map by map. */
struct large {
    struct run *run;
    struct item *item;
    char name[NAME_ROOM]; /* what it is called until it is whole */
    bool part;            /* name is not its own */
    atomic_uint users;    /* the walker and each job */
    atomic_bool bad;
};
struct large_job {
    struct large *file;
    struct walk_part part;
};

static void
large_drop(struct large *f)
{
    struct run *const r = f->run;
    struct item *const it = f->item;

    if (atomic_fetch_sub(&f->users, 1) != 1)
        return;
    it->bad = atomic_load(&f->bad);
    if (it->bad && it->e.link_group != 0 && !run_stopped(r))
        links_damaged(r, it->fd);
    file_end(r, it, f->name);
    if (!it->bad && !run_stopped(r)) {
        char name[NAME_ROOM];

        name_text(&it->e, name);
        if (f->part && renameat(it->dir->fd, f->name, it->dir->fd, name) != 0) {
            report_target(r, it->dir, &it->e, "replace");
            (void)unlinkat(it->dir->fd, f->name, 0);
        } else {
            atomic_fetch_add(&r->files, 1);
            atomic_fetch_add(&r->bytes, it->e.size);
            progress_add(r->progress, 0, 1);
        }
    }
    item_free(r, it);
    free(f);
}

static void
large_damage(struct large *f, uint64_t offset, const struct err *why)
{
    if (!atomic_exchange(&f->bad, true))
        report_damage(f->run, f->item, offset, why);
}

static void
part_restore(struct large *f, const struct walk_part *p)
{
    AUTO(map_free) struct map m = { 0 };
    struct worker *const w = worker_get(f->run);
    struct item *which[MAP_BYTES / HOLE_BYTES];
    struct item one = *f->item; /* bad is this job's own until it is told */
    struct err err = { 0 };
    uint32_t at = 0;
    enum err_kind kind = reader_map(f->run->reader, &p->digest, (uint32_t)p->bytes, &m, &err);

    if (kind == ERR_OK)
        kind = map_load(f->run, &m, w->buffer, &at, &err);
    if (kind != ERR_OK) {
        large_damage(f, p->off + at, &err);
        return;
    }
    w->ops_count = 0;
    content_add(w, &one, w->buffer, (size_t)p->bytes, p->off);
    for (size_t i = 0; i < w->ops_count; i++)
        which[i] = &one;
    ops_run(f->run, w, which, "write");
    if (one.bad)
        atomic_store(&f->bad, true);
    progress_add(f->run->progress, p->bytes, 0);
}

static void
part_run(void *arg)
{
    struct large_job *const j = arg;

    if (!atomic_load(&j->file->bad) && !run_stopped(j->file->run))
        part_restore(j->file, &j->part);
    large_drop(j->file);
    free(j);
}

static enum err_kind
part_push(void *arg, const struct walk_part *p, struct err *err)
{
    struct large *const f = arg;

    if (run_stopped(f->run) || atomic_load(&f->bad))
        return err_set(err, ERR_CLOSED, "not needed any more");
    if (p->zero) {
        /* Space of its own, without writing it, for a file that had no holes. */
        if (!f->item->e.sparse && fallocate(f->item->fd, 0, (off_t)p->off, (off_t)p->bytes) != 0 &&
            (errno == ENOSPC || errno == EDQUOT)) {
            report_target(f->run, f->item->dir, &f->item->e, "reserve space for");
            atomic_store(&f->bad, true);
        }
        progress_add(f->run->progress, p->bytes, 0);
        return ERR_OK;
    }
    struct large_job *const j = mem_alloc(sizeof *j);
    *j = (struct large_job){ f, *p };
    atomic_fetch_add(&f->users, 1);
    pool_push(f->run->pool, part_run, j);
    return ERR_OK;
}

/* Under its own name where that is free; else under another until it is whole, so that damage does not cost the file that is there. */
static bool
large_create(struct run *r, struct large *f)
{
    struct item *const it = f->item;
    uint64_t number = 0;

    name_text(&it->e, f->name);
    if (it->fd >= 0)
        return true;
    if (!name_clear(r, it->dir, &it->e, true))
        return false;
    if (it->dir->existed) {
        hash_random(&number, sizeof number);
        (void)snprintf(f->name, sizeof f->name, PART_PREFIX "%016llx", (unsigned long long)number);
        f->part = true;
    }
    it->fd = openat(it->dir->fd, f->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (it->fd < 0)
        report_target(r, it->dir, &it->e, "create");
    return it->fd >= 0;
}

void
file_restore_large(struct run *r, struct item *it)
{
    struct large *const f = mem_zero(1, sizeof *f);
    const struct reader_file file = { it->e.digest, it->e.size };
    const struct walk_parts parts = { .part = part_push, .arg = f };
    struct err err = { 0 };

    f->run = r;
    f->item = it;
    atomic_init(&f->users, 1);
    if (!large_create(r, f)) {
        item_free(r, it);
        free(f);
        return;
    }
    if (ftruncate(it->fd, (off_t)it->e.size) != 0) {
        report_target(r, it->dir, &it->e, "set the size of");
        atomic_store(&f->bad, true);
    } else {
        const enum err_kind kind = walk_file(r->reader, &file, &parts, &err);

        if (kind != ERR_OK && kind != ERR_CLOSED)
            large_damage(f, 0, &err);
    }
    large_drop(f);
}
