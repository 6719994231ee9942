/* Large files: one job a map, in whatever order they end; the last one puts the metadata on. */
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
#include "restore/restore_worker.h"
#include "snapshot/map.h"
#include "snapshot/walk.h"

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
