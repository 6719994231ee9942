/* read.c - a worker reads the bytes of a unit and hashes them: what is hashed here is what is sent. */
#include "replicator/read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/when.h"

int
read_open(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, READ_FLAGS | O_NOATIME);
    return fd >= 0 || errno != EPERM ? fd : openat(dir_fd, name, READ_FLAGS);
}

/* What was learned of the files of a unit, one for each part. */
struct batch {
    struct ring_op *ops;
    struct statx *st;
    int *fds;
    int *errors; /* errno, 0: none */
};

static void
open_batch(struct worker *w, struct unit *u, struct batch *b)
{
    for (uint32_t i = 0; i < u->count; i++)
        b->ops[i] = (struct ring_op){ .kind = RING_OPEN,
                                      .fd = u->parts[i].file->fd->fd,
                                      .name = u->parts[i].file->item->entry.name,
                                      .flags = READ_FLAGS | O_NOATIME };
    ring_run(w->ring, b->ops, u->count);
    for (uint32_t i = 0; i < u->count; i++) {
        b->fds[i] = b->ops[i].result >= 0 ? (int)b->ops[i].result : -1;
        b->errors[i] = b->ops[i].result >= 0 ? 0 : (int)-b->ops[i].result;
        if (b->errors[i] == EPERM) {
            b->fds[i] = read_open(b->ops[i].fd, b->ops[i].name);
            b->errors[i] = b->fds[i] >= 0 ? 0 : errno;
        }
    }
}

static void
read_batch(struct worker *w, struct unit *u, struct batch *b)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        if (b->fds[i] < 0)
            continue;
        b->ops[count++] = (struct ring_op){ .kind = RING_READ,
                                            .fd = b->fds[i],
                                            .bytes = u->buffer + u->parts[i].off,
                                            .size = u->parts[i].bytes };
    }
    ring_run(w->ring, b->ops, count);
    for (uint32_t i = 0, n = 0; i < u->count; i++) {
        if (b->fds[i] < 0)
            continue;
        struct part *part = &u->parts[i];
        int64_t got = b->ops[n++].result;
        if (got < 0) {
            b->errors[i] = (int)-got;
            continue;
        }
        if (got < part->bytes) {
            memset(u->buffer + part->off + got, 0, part->bytes - (size_t)got);
            part->shrunk = true;
        }
        if (statx(b->fds[i], "", AT_EMPTY_PATH, STATX_BASIC_STATS, &b->st[i]) != 0)
            b->errors[i] = errno;
    }
}

static enum err_kind
settle_batch(struct worker *w, struct unit *u, struct batch *b, struct err *err)
{
    struct pass *p = u->pass;
    enum err_kind kind = ERR_OK;
    for (uint32_t i = 0; i < u->count && kind == ERR_OK; i++) {
        struct part *part = &u->parts[i];
        if (b->errors[i] != 0) {
            part->dead = true;
            settle_lost(p, part->file, b->errors[i]);
            continue;
        }
        part->block = part->bytes <= BLOCK_BYTES;
        digest_part(w, u, part);
        uint32_t count = (uint32_t)merkle_blocks(part->bytes);
        if (count > 1)
            kind = table_put_prints(p->agent->table, &part->file->key, 0, part->file->read_ns,
                                    u->blocks + part->first_block, count, err);
        struct settle s = { part->file, &b->st[i], part->shrunk, &part->digest, b->fds[i] };
        bool settled = false;
        if (kind == ERR_OK)
            kind = settle_file(p, &s, &settled, err);
        part->dead = !settled || part->all_zero || part->bytes == 0;
    }
    return kind;
}

static enum err_kind
read_small(struct worker *w, struct unit *u, struct err *err)
{
    AUTO(auto_free) struct ring_op *ops = mem_alloc(u->count * sizeof(*ops));
    AUTO(auto_free) struct statx *st = mem_alloc(u->count * sizeof(*st));
    AUTO(auto_free) int *fds = mem_alloc(u->count * sizeof(*fds));
    AUTO(auto_free) int *errors = mem_zero(u->count, sizeof(*errors));
    struct batch b = { ops, st, fds, errors };
    int64_t now = when_now_ns();
    for (uint32_t i = 0; i < u->count; i++)
        u->parts[i].file->read_ns = now;
    open_batch(w, u, &b);
    read_batch(w, u, &b);
    enum err_kind kind = settle_batch(w, u, &b, err);
    for (uint32_t i = 0; i < u->count; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    return kind;
}

static enum err_kind
read_large(struct worker *w, struct unit *u, struct err *err)
{
    struct pass *p = u->pass;
    struct part *part = &u->parts[0];
    struct file *f = part->file;
    size_t got = 0;
    int code = 0;
    while (got < part->bytes) {
        ssize_t n = pread(f->large->fd, u->buffer + got, part->bytes - got,
                          (off_t)(part->map * MAP_BYTES + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            code = n < 0 ? errno : 0;
            break;
        }
        got += (size_t)n;
    }
    if (got < part->bytes) {
        memset(u->buffer + got, 0, part->bytes - got);
        pthread_mutex_lock(&p->lock);
        f->large->error = code != 0 ? code : f->large->error;
        f->large->shrunk = true;
        pthread_mutex_unlock(&p->lock);
    }
    digest_part(w, u, part);
    f->large->maps[part->map] = part->digest;
    /* Of a map that is whole and zero nothing is sent or kept; a short last one is an object all the same. */
    part->dead = code != 0 || (part->all_zero && part->bytes == MAP_BYTES);
    enum err_kind kind = table_put_prints(p->agent->table, &f->key, part->map, f->read_ns, u->blocks,
                                          merkle_blocks(part->bytes), err);
    return kind == ERR_OK ? settle_map(p, f, 1, err) : kind;
}

enum err_kind
read_unit(struct worker *w, struct unit *u, struct err *err)
{
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        u->parts[i].first_block = blocks;
        blocks += (uint32_t)merkle_blocks(u->parts[i].bytes);
    }
    u->blocks = mem_alloc(blocks * sizeof(*u->blocks));
    enum err_kind kind = table_view_new(u->pass->agent->table, &w->view, err);
    if (kind == ERR_OK)
        kind = u->parts[0].file->large != NULL ? read_large(w, u, err) : read_small(w, u, err);
    table_view_free(&w->view);
    atomic_fetch_add(&u->pass->read_bytes, u->bytes);
    progress_add(u->pass->progress, u->bytes, 0);
    return kind;
}
