/* unit.c - files become units of at most 4 MiB; the scanner packs them in its own order, which is the order of directories. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/when.h"
#include "replicator/read.h"
#include "replicator/scan.h"

void
file_new(struct pass *p, struct file *like)
{
    struct file *f = mem_copy(like, sizeof(*like));
    f->pass = p;
    f->fd = dirfd_take(f->dir->fd);
    f->refs = 1;
    pthread_mutex_lock(&p->lock);
    f->slice->pending++;
    f->older = p->all_files;
    if (f->older != NULL)
        f->older->newer = f;
    p->all_files = f;
    pthread_mutex_unlock(&p->lock);
    unit_add(p, f);
}

static void
large_free(struct large **l)
{
    if (*l == NULL)
        return;
    if ((*l)->fd >= 0)
        (void)close((*l)->fd);
    free((*l)->maps);
    free(*l);
    *l = NULL;
}

static void
file_free(struct file *f)
{
    struct pass *p = f->pass;
    if (f->newer != NULL)
        f->newer->older = f->older;
    else
        p->all_files = f->older;
    if (f->older != NULL)
        f->older->newer = f->newer;
    for (uint32_t i = 0; i < f->window_count; i++)
        window_free(&f->windows[i]);
    free(f->windows);
    free(f->window_units);
    large_free(&f->large);
    dirfd_drop(f->fd);
    free(f);
}

void
file_drop(struct file *f)
{
    assert(f->refs > 0);
    if (--f->refs == 0)
        file_free(f);
}

void
file_free_all(struct pass *p)
{
    while (p->all_files != NULL)
        file_free(p->all_files);
}

static struct unit *
unit_new(struct pass *p)
{
    struct unit *u = mem_zero(1, sizeof(*u));
    u->pass = p;
    pthread_mutex_lock(&p->lock);
    u->seq = ++p->seq;
    u->older = p->newest;
    if (p->newest != NULL)
        p->newest->newer = u;
    else
        p->oldest = u;
    p->newest = u;
    pthread_mutex_unlock(&p->lock);
    return u;
}

static void
add_part(struct pass *p, struct unit *u, const struct part *part)
{
    if (u->count == u->room) {
        u->room = u->room == 0 ? 1 : u->room < 32 ? 32 : 2 * u->room;
        u->parts = mem_grow(u->parts, u->room, sizeof(*u->parts));
    }
    struct part *at = &u->parts[u->count++];
    *at = *part;
    at->file_size = part->file->facts.size;
    at->off = u->bytes;
    u->bytes += part->bytes;
    struct file *f = part->file;
    pthread_mutex_lock(&p->lock);
    f->refs++;
    if (f->window_count > 0)
        f->window_units[part->map * MAP_BYTES / WINDOW_BYTES]++;
    pthread_mutex_unlock(&p->lock);
}

void
unit_submit(struct pass *p)
{
    struct unit *u = p->unit;
    if (u == NULL)
        return;
    p->unit = NULL;
    pthread_mutex_lock(&p->lock);
    while (p->fresh_count >= FRESH_MAX && !p->failed)
        pthread_cond_wait(&p->room, &p->lock);
    if (p->fresh == NULL)
        p->fresh = u;
    else
        p->fresh_last->next = u;
    p->fresh_last = u;
    p->fresh_count++;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

/* A file that is read again may have more windows than before; those there are stay. */
static void
make_windows(struct pass *p, struct file *f)
{
    uint32_t count = (uint32_t)((f->facts.size + WINDOW_BYTES - 1) / WINDOW_BYTES);
    if (!f->based || f->facts.size <= BLOCK_BYTES || count <= f->window_count)
        return;
    pthread_mutex_lock(&p->lock);
    f->windows = mem_grow(f->windows, count, sizeof(struct window *));
    f->window_units = mem_grow(f->window_units, count, sizeof(*f->window_units));
    for (uint32_t i = f->window_count; i < count; i++) {
        f->windows[i] = NULL;
        f->window_units[i] = 0;
    }
    f->window_count = count;
    pthread_mutex_unlock(&p->lock);
}

static void
add_small(struct pass *p, struct file *f)
{
    struct unit *u = p->unit;
    uint32_t bytes = (uint32_t)f->facts.size;
    if (u != NULL) {
        bool other = u->last_dir != f->fd;
        if (u->bytes + bytes > MAP_BYTES || u->count == p->unit_files_max ||
            (other && u->dirs == p->unit_dirs_max))
            unit_submit(p);
    }
    if (p->unit == NULL)
        p->unit = unit_new(p);
    u = p->unit;
    if (u->last_dir != f->fd)
        u->dirs++;
    u->last_dir = f->fd;
    struct part part = { .file = f, .bytes = bytes };
    add_part(p, u, &part);
}

/* Open it here: what it is now counts, and its holes can be seen before any byte is read. */
static bool
open_large(struct pass *p, struct file *f)
{
    int fd = read_open(f->fd->fd, f->item->entry.name);
    struct statx st;
    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) != 0) {
        int code = errno;
        if (fd >= 0)
            (void)close(fd);
        settle_lost(p, f, code);
        return false;
    }
    struct facts now;
    facts_of(&st, &now);
    if (!S_ISREG(st.stx_mode) || now.inode != f->facts.inode || now.size <= MAP_BYTES) {
        /* Something else by now: take it as the small one it may be; the worker will see. */
        (void)close(fd);
        settle_lost(p, f, ESTALE);
        return false;
    }
    f->facts = now;
    (void)entry_fill(p, &st, f->item);
    struct large *l = mem_zero(1, sizeof(*l));
    l->fd = fd;
    l->count = merkle_maps(now.size);
    l->maps = mem_zero(l->count, sizeof(*l->maps));
    l->left = l->count + 1;
    pthread_mutex_lock(&p->lock);
    large_free(&f->large);
    f->large = l;
    pthread_mutex_unlock(&p->lock);
    return true;
}

static void
add_map(struct pass *p, struct file *f, uint64_t map)
{
    struct part part = { .file = f, .map = map, .bytes = merkle_map_bytes(f->facts.size, map) };
    (void)posix_fadvise(f->large->fd, (off_t)(map * MAP_BYTES), part.bytes, POSIX_FADV_WILLNEED);
    p->unit = unit_new(p);
    p->unit->last_dir = f->fd;
    add_part(p, p->unit, &part);
    unit_submit(p);
}

static void
add_large(struct pass *p, struct file *f)
{
    if (!open_large(p, f))
        return;
    f->read_ns = when_now_ns();
    make_windows(p, f);
    unit_submit(p);
    struct large *l = f->large;
    bool sparse = f->item->entry.sparse != 0;
    uint64_t size = f->facts.size, data = 0;
    uint32_t settled = 1; /* the scanner's own */
    for (uint64_t m = 0; m < l->count && !pass_failed(p); m++) {
        uint64_t at = m * MAP_BYTES, bytes = merkle_map_bytes(size, m);
        if (sparse && data < at + 1) {
            off_t next = lseek(l->fd, (off_t)at, SEEK_DATA);
            data = next >= 0 ? (uint64_t)next : errno == ENXIO ? UINT64_MAX : at;
        }
        /* A last map that is short has an object of its own even where it is a hole. */
        if (data >= at + bytes && bytes == MAP_BYTES) {
            merkle_zero(bytes, &l->maps[m]);
            progress_add(p->progress, bytes, 0);
            settled++;
            continue;
        }
        add_map(p, f, m);
    }
    struct err err = { 0 };
    if (!pass_failed(p) && settle_map(p, f, settled, &err) != ERR_OK)
        pass_fail(p, &err);
}

void
unit_add(struct pass *p, struct file *f)
{
    if (f->facts.size > MAP_BYTES) {
        add_large(p, f);
        return;
    }
    pthread_mutex_lock(&p->lock);
    large_free(&f->large);
    pthread_mutex_unlock(&p->lock);
    make_windows(p, f);
    add_small(p, f);
}

void
unit_free(struct unit *u)
{
    free(u->parts);
    free(u->blocks);
    buf_free(&u->frame.payload);
    free(u->buffer);
    free(u);
}

/* The last unit of a window is done: its sums (half a MiB) go. */
static void
leave_window(struct file *f, uint64_t map)
{
    if (f->window_count == 0)
        return;
    uint32_t w = (uint32_t)(map * MAP_BYTES / WINDOW_BYTES);
    assert(f->window_units[w] > 0);
    if (--f->window_units[w] == 0 && f->windows[w] != NULL && !window_asked(f->windows[w]))
        window_free(&f->windows[w]);
}

void
unit_done(struct unit *u)
{
    struct pass *p = u->pass;
    pthread_mutex_lock(&p->lock);
    if (u->older != NULL)
        u->older->newer = u->newer;
    else
        p->oldest = u->newer;
    if (u->newer != NULL)
        u->newer->older = u->older;
    else
        p->newest = u->older;
    if (u->buffer != NULL)
        p->buffers[p->buffers_free++] = u->buffer;
    u->buffer = NULL;
    for (uint32_t i = 0; i < u->count; i++) {
        leave_window(u->parts[i].file, u->parts[i].map);
        file_drop(u->parts[i].file);
    }
    object_trim(p);
    pthread_cond_broadcast(&p->room);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    unit_free(u);
}
