/* One restore from opening the store to the last line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/when.h"
#include "restore/restore.h"
#include "snapshot/point.h"
#include "snapshot/walk.h"

#define RESTORE_CACHE_BYTES (64u * MIB)
#define RESTORE_QUEUE_A_THREAD                                                                               \
    4u /* jobs waiting: each holds at most 4 MiB of a file to come, but no bytes of it yet */

void
run_stop(struct run *r, const struct err *err)
{
    (void)pthread_mutex_lock(&r->lock);
    if (!atomic_load(&r->stop))
        r->err = *err;
    atomic_store(&r->stop, true);
    (void)pthread_mutex_unlock(&r->lock);
}

bool
run_stopped(struct run *r)
{
    return atomic_load(&r->stop);
}

/* The directory that everything goes below. */
static enum err_kind
target_open(struct run *r, struct err *err)
{
    const char *const path = r->o->target;
    const bool made = mkdir(path, 0700) == 0;

    if (!made && errno != EEXIST)
        return err_errno(err, "could not create \"%s\"", path);
    r->target_existed = !made;
    r->target_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->target_fd < 0 && errno == ENOTDIR)
        return err_set(err, ERR_REFUSED, "\"%s\" is not a directory", path);
    if (r->target_fd < 0)
        return err_errno(err, "could not open \"%s\"", path);
    if (made || r->o->overwrite != OVERWRITE_REFUSE)
        return ERR_OK;
    const int empty = fs_dir_empty(r->target_fd);
    if (empty < 0)
        return err_errno(err, "could not read \"%s\"", path);
    if (empty)
        return ERR_OK;
    (void)err_set(err, ERR_REFUSED, "\"%s\" is not empty", path);
    err_hint(err, "name a new directory, or say --overwrite never or --overwrite always");
    return ERR_REFUSED;
}

/* Every --only must name something, before anything is touched.  *ret_bytes, *ret_names: what they hold together. */
static enum err_kind
only_check(struct run *r, uint64_t *ret_bytes, uint64_t *ret_names, struct err *err)
{
    uint64_t bytes = 0, names = 0;

    for (size_t i = 0; i < r->only.count; i++) {
        AUTO(buf_free) struct buf page = { 0 };
        struct tree_entry e;
        const enum err_kind kind = walk_find(r->reader, &r->mark.mark.root, r->only.rests[i], &page, &e, err);

        if (kind != ERR_OK)
            return kind;
        bytes += e.size;
        names += e.count + 1;
    }
    *ret_bytes = r->only.all ? r->mark.mark.bytes : bytes;
    *ret_names = r->only.all ? r->mark.mark.files : names;
    return ERR_OK;
}

static enum err_kind
run_open(struct run *r, int *ret_pin, struct err *err)
{
    const struct restore_options *const o = r->o;
    char hex[HASH_HEX_ROOM];
    uint32_t city = 0;
    enum err_kind kind = only_parse(o->only, o->only_count, &r->only, err);

    if (kind == ERR_OK)
        kind = store_open(o->store, false, &r->store, err);
    if (kind == ERR_OK)
        kind = point_find(r->store, o->point, &city, &r->mark, err);
    if (kind == ERR_OK)
        kind = point_pin(r->store, &r->mark.id, ret_pin, err);
    if (kind != ERR_OK)
        return kind;
    (void)snprintf(r->source, sizeof r->source, "%s/%s", r->mark.mark.agent, r->mark.mark.source);
    hash_hex(&r->mark.id, hex);
    (void)snprintf(r->id, sizeof r->id, "%.12s", hex);
    r->reader = reader_new(r->store, city, RESTORE_CACHE_BYTES);
    return ERR_OK;
}

static void
run_close(struct run *r)
{
    pool_free(&r->pool);
    progress_free(&r->progress);
    only_free(&r->only);
    links_free(&r->links);
    owners_free(&r->owners);
    reader_free(&r->reader);
    store_close(&r->store);
    auto_close(&r->target_fd);
    (void)pthread_mutex_destroy(&r->lock);
}

/* Said once, not for each of a million files. */
static void
owners_report(struct run *r)
{
    const unsigned long long n = atomic_load(&r->owners_failed);

    if (n == 0)
        return;
    log_warn("the owner of %llu names could not be set: not permitted; run as root, or say --no-owner", n);
    atomic_fetch_add(&r->findings, 1);
}

static enum err_kind
restore_all(struct run *r, struct err *err)
{
    const size_t threads = 2 * pool_cores();
    const int64_t began = when_tick_ns();
    enum err_kind kind = target_open(r, err);

    if (kind != ERR_OK)
        return kind;
    (void)umask(077); /* until its metadata is on, nobody else reads what is restored */
    r->owners = owners_new(r->o->numeric_owner);
    r->links = links_new();
    r->pool = pool_new(threads, RESTORE_QUEUE_A_THREAD * threads);
    kind = tree_restore(r, err);
    if (kind == ERR_OK && !run_stopped(r))
        kind = links_end(r, err);
    pool_free(&r->pool);
    if (kind == ERR_OK && run_stopped(r)) {
        if (err != NULL)
            *err = r->err;
        kind = r->err.kind;
    }
    if (kind == ERR_OK && r->o->sync && syncfs(r->target_fd) != 0)
        kind = err_errno(err, "could not sync \"%s\"", r->o->target);
    progress_free(&r->progress);
    if (kind != ERR_OK)
        return kind;
    owners_report(r);
    report_result(r, (double)(when_tick_ns() - began) / 1e9);
    return ERR_OK;
}

enum err_kind
restore_run(const struct restore_options *o, bool *ret_findings, struct err *err)
{
    AUTO(run_close) struct run r = { .o = o, .target_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER };
    struct ring *ring = NULL;
    AUTO(auto_close) int pin = -1;
    uint64_t bytes = 0, names = 0;
    /* An engine that was asked for and is not there is told before anything is made. */
    enum err_kind kind = ring_new(o->engine, &ring, err);

    if (kind != ERR_OK)
        return kind;
    ring_free(&ring);
    kind = run_open(&r, &pin, err);
    if (kind == ERR_OK)
        kind = only_check(&r, &bytes, &names, err);
    if (kind != ERR_OK)
        return kind;
    if (o->plan)
        return plan_run(&r, err);
    r.progress = progress_new("restore", o->json, o->quiet);
    progress_total(r.progress, bytes, names);
    kind = restore_all(&r, err);
    if (kind == ERR_OK)
        *ret_findings = atomic_load(&r.findings) > 0 || atomic_load(&r.skipped) > 0;
    return kind;
}
