/* The workers: many small files a job, and what they share with those that restore large ones. */
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
#include "restore/restore_worker.h"
#include "snapshot/map.h"
#include "snapshot/merkle.h"

#define BATCH_ITEMS 128u

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

struct worker *
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

void
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

void
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

enum err_kind
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

void
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
