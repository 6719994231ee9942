/* Appending to packs.  A writer takes number, offset and count of seals under the lock, then seals and writes without it, so that all
 * cores work; the table of a pack is written when no write to it is under way. */
#include "snapshot/pack.h"

#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/io.h"
#include "common/limits.h"
#include "common/mem.h"
#include "common/seal.h"
#include "common/zip.h"
#include "snapshot/pack_internal.h"

struct packs *
packs_new(struct store *s)
{
    struct packs *const p = mem_zero(1, sizeof *p);

    p->s = s;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->idle, NULL);
    for (size_t i = 0; i < PACK_FILES_MAX; i++)
        p->files[i].fd = -1;
    return p;
}

static void
open_free(struct pack_open *o)
{
    if (o->fd >= 0)
        (void)close(o->fd);
    buf_free(&o->table);
    explicit_bzero(o->key, sizeof o->key);
    free(o);
}

void
packs_free(struct packs **packs)
{
    struct packs *const p = *packs;

    if (p == NULL)
        return;
    while (p->open != NULL) {
        struct pack_open *const o = p->open;

        p->open = o->next;
        open_free(o);
    }
    for (size_t i = 0; i < PACK_FILES_MAX; i++) {
        assert(p->files[i].users == 0);
        if (p->files[i].fd >= 0)
            (void)close(p->files[i].fd);
    }
    (void)pthread_cond_destroy(&p->idle);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    *packs = NULL;
}

void
packs_start(struct packs *p, uint64_t pack_next, uint64_t blob_next)
{
    p->pack_next = pack_next;
    p->blob_next = blob_next;
}

uint64_t
packs_blob_ceiling(struct packs *p)
{
    (void)pthread_mutex_lock(&p->lock);
    const uint64_t n = p->blob_next;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

uint64_t
packs_pack_next(struct packs *p)
{
    (void)pthread_mutex_lock(&p->lock);
    const uint64_t n = p->pack_next;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

/* The header holds the pack's own key, wrapped: the sealing key never touches data. */
static enum err_kind
header_write(struct packs *p, struct pack_open *o, struct err *err)
{
    uint8_t page[PACK_HEADER_BYTES] = { 0 };
    struct pack_header h;

    memset(&h, 0, sizeof h);
    memcpy(h.magic, PACK_MAGIC, sizeof h.magic);
    le32_put(h.version, 1);
    le32_put(h.city, o->city);
    le64_put(h.pack, o->pack);
    memcpy(h.site, p->s->site_id.at, sizeof h.site);
    hash_random(o->key, sizeof o->key);
    hash_random(h.wrap_nonce, sizeof h.wrap_nonce);
    const struct seal_text t = { &h, offsetof(struct pack_header, wrap_nonce), o->key, sizeof o->key };
    seal_close(p->s->seal_key, h.wrap_nonce, &t, h.wrapped_key, h.wrap_tag);
    le64_put(h.check, hash_check(&h, offsetof(struct pack_header, check), 0));
    memcpy(page, &h, sizeof h);
    return io_pwrite_all(o->fd, page, sizeof page, 0, err);
}

static enum err_kind
open_new(struct packs *p, uint32_t city, struct pack_open **ret, struct err *err)
{
    char path[PACK_PATH_ROOM], dir[PACK_PATH_ROOM];
    struct pack_open *const o = mem_zero(1, sizeof *o);

    o->pack = p->pack_next;
    o->city = city;
    o->end = PACK_HEADER_BYTES;
    o->dirty = o->fresh = true;
    pack_path(o->pack, path);
    (void)snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    o->fd = -1;
    enum err_kind kind = fs_dir_make(p->s->dir_fd, dir, 0700, NULL, err);
    if (kind == ERR_OK) {
        o->fd = openat(p->s->dir_fd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (o->fd < 0)
            kind = err_errno(err, "could not create \"%s\"", path);
    }
    if (kind == ERR_OK) {
        p->pack_next++; /* also when the header fails: the name is taken */
        kind = header_write(p, o, err);
        if (kind != ERR_OK)
            (void)unlinkat(p->s->dir_fd, path, 0);
    }
    if (kind != ERR_OK) {
        open_free(o);
        return err_prefix(err, kind, "pack");
    }
    o->next = p->open;
    p->open = o;
    *ret = o;
    return ERR_OK;
}

/* Under the lock.  One slot: number, place, nonce. */
static void
slot_take(struct packs *p, struct pack_open *o, struct blob_place *place, uint64_t *ret_seal)
{
    place->blob = p->blob_next++;
    place->pack = o->pack;
    place->off = (uint32_t)o->end;
    o->end += sizeof(struct blob_header) + place->stored;
    *ret_seal = o->seals++;
    o->in_flight++;
    o->dirty = true;
}

static enum err_kind
slot_write(const struct pack_open *o, const struct blob_place *place, uint64_t seal, const void *bytes,
           struct err *err)
{
    uint8_t nonce[12], aad[8 + 28];
    struct blob_header h;
    uint8_t *const out = mem_alloc(sizeof h + place->stored);

    pack_header_fill(place, seal, &h);
    pack_nonce(seal, nonce);
    pack_aad(place->pack, &h, aad);
    const struct seal_text t = { aad, sizeof aad, bytes, place->stored };
    seal_close(o->key, nonce, &t, out + sizeof h, h.tag);
    pack_header_check(&h);
    memcpy(out, &h, sizeof h);
    const enum err_kind kind = io_pwrite_all(o->fd, out, sizeof h + place->stored, place->off, err);
    free(out);
    return kind;
}

/* Under the lock, after a write. */
static void
slot_done(struct packs *p, struct pack_open *o, const struct blob_place *place, bool good)
{
    assert(o->in_flight > 0);
    if (good) {
        buf_u64(&o->table, place->blob);
        buf_u32(&o->table, place->off);
        buf_u32(&o->table, place->stored);
        buf_u32(&o->table, place->raw);
        buf_u8(&o->table, place->kind);
        buf_u8(&o->table, place->zip);
        buf_u16(&o->table, 0);
    } else {
        if (!o->failed || place->off < o->fail_at)
            o->fail_at = place->off;
        o->failed = o->closing = true;
    }
    if (--o->in_flight == 0)
        (void)pthread_cond_broadcast(&p->idle);
}

/* Under the lock; no write to o is under way and none will begin.  A pack without a table is whole too: reindex hops from header to
 * header, so what fails here is not an error. */
static void
table_write(struct packs *p, struct pack_open *o)
{
    const size_t per_blob = BLOB_RAW_MAX / PACK_ENTRY_BYTES * PACK_ENTRY_BYTES;
    const uint64_t first = o->end;
    uint8_t trailer[PACK_TRAILER_BYTES];
    struct err ignored;

    for (size_t at = 0; at < o->table.size && !o->failed; at += per_blob) {
        const size_t n = o->table.size - at < per_blob ? o->table.size - at : per_blob;
        struct blob_place place = { .stored = (uint32_t)n, .raw = (uint32_t)n, .kind = BLOB_TABLE };
        uint64_t seal = 0;

        slot_take(p, o, &place, &seal);
        const bool good = slot_write(o, &place, seal, o->table.at + at, &ignored) == ERR_OK;
        o->in_flight--;
        if (!good)
            o->fail_at = place.off;
        o->failed = !good;
    }
    if (o->failed)
        return;
    memcpy(trailer, PACK_TRAILER_MAGIC, 8);
    le64_put(trailer + 8, first);
    (void)!io_pwrite_all(o->fd, trailer, sizeof trailer, o->end, &ignored);
}

/* Under the lock: the city's open pack with room for bytes, a new one if need be. */
static enum err_kind
open_find(struct packs *p, uint32_t city, uint64_t bytes, struct pack_open **ret, struct err *err)
{
    struct pack_open *o = p->open;

    while (o != NULL) {
        if (o->city != city || o->closing) {
            o = o->next;
            continue;
        }
        if (o->pausing) { /* brief: until the writes under way are done */
            (void)pthread_cond_wait(&p->idle, &p->lock);
            o = p->open;
            continue;
        }
        if (o->end + bytes <= PACK_BYTES_MAX) {
            *ret = o;
            return ERR_OK;
        }
        o->closing = o->tabling = true;
        while (o->in_flight > 0)
            (void)pthread_cond_wait(&p->idle, &p->lock);
        if (!o->failed)
            table_write(p, o);
        o->tabling = false;
        (void)pthread_cond_broadcast(&p->idle);
        break;
    }
    /* While waiting for the table another thread may have opened the next one. */
    for (o = p->open; o != NULL; o = o->next)
        if (o->city == city && !o->closing) {
            *ret = o;
            return ERR_OK;
        }
    return open_new(p, city, ret, err);
}

enum err_kind
packs_put(struct packs *p, const struct pack_blob *b, struct blob_place *ret, struct err *err)
{
    struct blob_place place = { .stored = b->stored, .raw = b->raw, .kind = (uint8_t)b->kind, .zip = b->zip };
    struct pack_open *o = NULL;
    uint64_t seal = 0;

    assert(p->s->writer);
    assert(b->stored > 0 && b->stored <= BLOB_STORED_MAX && b->raw <= BLOB_RAW_MAX);
    (void)pthread_mutex_lock(&p->lock);
    enum err_kind kind = open_find(p, b->city, sizeof(struct blob_header) + b->stored, &o, err);
    if (kind == ERR_OK)
        slot_take(p, o, &place, &seal);
    (void)pthread_mutex_unlock(&p->lock);
    if (kind != ERR_OK)
        return kind;

    kind = slot_write(o, &place, seal, b->bytes, err);
    (void)pthread_mutex_lock(&p->lock);
    slot_done(p, o, &place, kind == ERR_OK);
    (void)pthread_mutex_unlock(&p->lock);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "pack %llu", (unsigned long long)place.pack);
    *ret = place;
    return ERR_OK;
}

/* One pack made durable.  The lock is not held during the sync: workers go on writing behind what is synced. */
static enum err_kind
sync_one(struct packs *p, struct pack_open *o, bool fresh, struct err *err)
{
    char path[PACK_PATH_ROOM];

    pack_path(o->pack, path);
    enum err_kind kind = fs_sync_data(o->fd, path, err);
    if (kind != ERR_OK || !fresh)
        return kind;
    AUTO(auto_close) int fd = -1;
    *strrchr(path, '/') = '\0';
    fd = openat(p->s->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "could not open \"%s\"", path);
    kind = fs_sync(fd, path, err);
    if (kind != ERR_OK)
        return kind;
    AUTO(auto_close) const int packs_fd = openat(p->s->dir_fd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (packs_fd < 0)
        return err_errno(err, "could not open \"packs\"");
    return fs_sync(packs_fd, "packs", err);
}

enum err_kind
packs_sync(struct packs *p, packs_state_fn *fn, void *arg, struct err *err)
{
    enum err_kind kind = ERR_OK;

    (void)pthread_mutex_lock(&p->lock);
    for (struct pack_open **at = &p->open; *at != NULL && kind == ERR_OK;) {
        struct pack_open *const o = *at;

        if (!o->dirty) {
            at = &o->next;
            continue;
        }
        /* Rows that are handed over name blobs that were written, but a blob before them may be under way: what counts is
         * the prefix without holes, so make a quiet moment. */
        o->pausing = true;
        while (o->in_flight > 0 || o->tabling)
            (void)pthread_cond_wait(&p->idle, &p->lock);
        o->pausing = false;
        (void)pthread_cond_broadcast(&p->idle);
        const bool fresh = o->fresh, closed = o->closing;
        const uint64_t whole = o->failed ? o->fail_at : o->end;
        o->dirty = o->fresh = false;
        (void)pthread_mutex_unlock(&p->lock);
        kind = sync_one(p, o, fresh, err);
        if (kind == ERR_OK)
            fn(arg, o->pack, o->city, whole, closed);
        (void)pthread_mutex_lock(&p->lock);
        /* Only the committer unlinks, and new packs go to the front: find our place again. */
        at = &p->open;
        while (*at != o)
            at = &(*at)->next;
        if (closed && kind == ERR_OK) {
            *at = o->next;
            open_free(o);
        } else {
            at = &o->next;
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
    return kind;
}
