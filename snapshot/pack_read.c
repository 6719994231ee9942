/* Reading packs: headers, keys, blobs.  Files and their unwrapped keys stay open in a small table. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/io.h"
#include "common/limits.h"
#include "common/mem.h"
#include "common/seal.h"
#include "common/zip.h"
#include "snapshot/pack.h"
#include "snapshot/pack_internal.h"

void
pack_path(uint64_t pack, char ret[PACK_PATH_ROOM])
{
    (void)snprintf(ret, PACK_PATH_ROOM, "packs/%06llu/%012llu.pack", (unsigned long long)(pack / 1000),
                   (unsigned long long)pack);
}

void
pack_nonce(uint64_t seal, uint8_t ret[12])
{
    memset(ret, 0, 12);
    le64_put(ret, seal);
}

void
pack_aad(uint64_t pack, const struct blob_header *h, uint8_t ret[8 + 28])
{
    _Static_assert(offsetof(struct blob_header, tag) == 32, "what is authenticated ends before the tag");
    le64_put(ret, pack);
    /* All before the tag but the magic, which is constant. */
    memcpy(ret + 8, (const uint8_t *)h + 4, 28);
}

void
pack_header_fill(const struct blob_place *p, uint64_t seal, struct blob_header *ret)
{
    memset(ret, 0, sizeof *ret);
    memcpy(ret->magic, BLOB_MAGIC, 4);
    ret->kind = p->kind;
    ret->zip = p->zip;
    le64_put(ret->blob, p->blob);
    le64_put(ret->seal, seal);
    le32_put(ret->stored, p->stored);
    le32_put(ret->raw, p->raw);
}

void
pack_header_check(struct blob_header *h)
{
    le64_put(h->check, hash_check(h, offsetof(struct blob_header, check), 0));
}

enum err_kind
pack_header_parse(const uint8_t bytes[sizeof(struct blob_header)], struct blob_place *ret, uint64_t *ret_seal,
                  struct err *err)
{
    struct blob_header h;

    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.magic, BLOB_MAGIC, 4) != 0)
        return err_set(err, ERR_CORRUPT, "no blob begins here");
    if (hash_check(&h, offsetof(struct blob_header, check), 0) != le64_get(h.check))
        return err_set(err, ERR_CORRUPT, "the blob header does not match its checksum");
    ret->blob = le64_get(h.blob);
    ret->stored = le32_get(h.stored);
    ret->raw = le32_get(h.raw);
    ret->kind = h.kind;
    ret->zip = h.zip;
    *ret_seal = le64_get(h.seal);
    if (ret->stored == 0 || ret->stored > BLOB_STORED_MAX || ret->raw > BLOB_RAW_MAX || h.zip > 1)
        return err_set(err, ERR_CORRUPT, "the blob's lengths are out of bounds");
    return ERR_OK;
}

static enum err_kind
key_unwrap(const struct packs *p, const struct pack_header *h, uint8_t ret_key[32])
{
    const struct seal_text t = { h, offsetof(struct pack_header, wrap_nonce), h->wrapped_key, 32 };

    return seal_open(p->s->seal_key, h->wrap_nonce, &t, h->wrap_tag, ret_key);
}

static enum err_kind
header_read(struct packs *p, struct pack_file *f, struct err *err)
{
    struct pack_header h;
    uint8_t page[PACK_HEADER_BYTES];
    const unsigned long long n = f->pack;
    const enum err_kind kind = io_pread_all(f->fd, page, sizeof page, 0, err);

    if (kind != ERR_OK)
        return err_prefix(err, kind, "pack %llu", n);
    memcpy(&h, page, sizeof h);
    if (memcmp(h.magic, PACK_MAGIC, sizeof h.magic) != 0 || le32_get(h.version) != 1)
        return err_set(err, ERR_CORRUPT, "pack %llu: offset 0: not a pack of version 1", n);
    if (hash_check(&h, offsetof(struct pack_header, check), 0) != le64_get(h.check))
        return err_set(err, ERR_CORRUPT, "pack %llu: offset 0: the header does not match its checksum", n);
    for (size_t i = sizeof h; i < sizeof page; i++)
        if (page[i] != 0)
            return err_set(err, ERR_CORRUPT,
                           "pack %llu: offset %zu: a byte of the header's padding is not zero", n, i);
    if (le64_get(h.pack) != f->pack)
        return err_set(err, ERR_CORRUPT, "pack %llu: its header says pack %llu", n,
                       (unsigned long long)le64_get(h.pack));
    if (memcmp(h.site, p->s->site_id.at, sizeof h.site) != 0)
        return err_set(err, ERR_CORRUPT, "pack %llu: it belongs to another site", n);
    if (key_unwrap(p, &h, f->key) != ERR_OK)
        return err_set(err, ERR_CORRUPT, "pack %llu: its key does not open under the sealing key", n);
    f->city = le32_get(h.city);
    return ERR_OK;
}

static enum err_kind
file_open(struct packs *p, struct pack_file *f, struct err *err)
{
    char path[PACK_PATH_ROOM];

    pack_path(f->pack, path);
    f->fd = openat(p->s->dir_fd, path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 && errno == ENOENT)
        return err_set(err, ERR_ABSENT, "pack %llu: the file \"%s\" is not there",
                       (unsigned long long)f->pack, path);
    if (f->fd < 0)
        return err_errno(err, "could not open \"%s\"", path);
    const enum err_kind kind = header_read(p, f, err);
    if (kind != ERR_OK) {
        (void)close(f->fd);
        f->fd = -1;
    }
    return kind;
}

/* Under the lock: the least recently used slot that nobody reads from; there are more slots than threads. */
static struct pack_file *
file_slot(struct packs *p)
{
    struct pack_file *best = NULL;

    for (size_t i = 0; i < PACK_FILES_MAX; i++) {
        struct pack_file *const f = &p->files[i];

        if (f->users == 0 && (best == NULL || f->fd < 0 || (best->fd >= 0 && f->used < best->used)))
            best = f;
    }
    assert(best != NULL);
    return best;
}

static enum err_kind
file_take(struct packs *p, uint64_t pack, struct pack_file **ret, struct err *err)
{
    struct pack_file *f = NULL;
    enum err_kind kind = ERR_OK;

    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PACK_FILES_MAX && f == NULL; i++)
        if (p->files[i].fd >= 0 && p->files[i].pack == pack)
            f = &p->files[i];
    if (f == NULL) {
        f = file_slot(p);
        if (f->fd >= 0)
            (void)close(f->fd);
        *f = (struct pack_file){ .pack = pack, .fd = -1 };
        kind = file_open(p, f, err);
    }
    if (kind == ERR_OK) {
        f->used = ++p->tick;
        f->users++;
        *ret = f;
    }
    (void)pthread_mutex_unlock(&p->lock);
    return kind;
}

static void
file_give(struct packs *p, struct pack_file *f)
{
    (void)pthread_mutex_lock(&p->lock);
    assert(f->users > 0);
    f->users--;
    (void)pthread_mutex_unlock(&p->lock);
}

/* bytes: header and ciphertext as they lie. */
static enum err_kind
blob_open(const struct pack_file *f, const struct blob_place *place, uint8_t *bytes, uint8_t *ret_raw,
          struct err *err)
{
    struct blob_place found = { 0 };
    struct blob_header h;
    uint8_t nonce[12], aad[8 + 28];
    uint64_t seal = 0;
    enum err_kind kind = pack_header_parse(bytes, &found, &seal, err);

    if (kind != ERR_OK)
        return kind;
    if (found.blob != place->blob || found.stored != place->stored || found.raw != place->raw ||
        found.kind != place->kind || found.zip != place->zip)
        return err_set(err, ERR_CORRUPT, "the blob there is not what the index says");
    memcpy(&h, bytes, sizeof h);
    pack_nonce(seal, nonce);
    pack_aad(place->pack, &h, aad);
    uint8_t *const text = bytes + sizeof h;
    const struct seal_text t = { aad, sizeof aad, text, place->stored };
    kind = seal_open(f->key, nonce, &t, h.tag, place->zip ? text : ret_raw);
    if (kind != ERR_OK)
        return err_set(err, ERR_CORRUPT, "the seal of blob %llu does not hold",
                       (unsigned long long)place->blob);
    return place->zip ? zip_unpack(text, place->stored, ret_raw, place->raw, err) : ERR_OK;
}

enum err_kind
packs_read(struct packs *p, const struct blob_place *place, uint8_t *ret_raw, struct err *err)
{
    struct pack_file *f = NULL;

    if (place->stored == 0 || place->stored > BLOB_STORED_MAX || place->raw > BLOB_RAW_MAX ||
        (!place->zip && place->stored != place->raw))
        return err_set(err, ERR_CORRUPT, "blob %llu: lengths out of bounds", (unsigned long long)place->blob);
    enum err_kind kind = file_take(p, place->pack, &f, err);
    if (kind != ERR_OK)
        return kind;
    uint8_t *const bytes = mem_alloc(sizeof(struct blob_header) + place->stored);
    kind = io_pread_all(f->fd, bytes, sizeof(struct blob_header) + place->stored, place->off, err);
    if (kind == ERR_OK)
        kind = blob_open(f, place, bytes, ret_raw, err);
    free(bytes);
    file_give(p, f);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "pack %llu: offset %u", (unsigned long long)place->pack, place->off);
    return ERR_OK;
}

/* One header, at `at`; *ret_more is false at the trailer. */
static enum err_kind
header_at(const struct pack_file *f, uint64_t at, uint64_t end, struct blob_place *ret, bool *ret_more,
          struct err *err)
{
    uint8_t bytes[sizeof(struct blob_header)] = { 0 };
    uint64_t seal = 0;
    size_t n = 0;
    enum err_kind kind = io_pread_upto(f->fd, bytes, sizeof bytes, at, &n, err);

    *ret = (struct blob_place){ .pack = f->pack, .off = (uint32_t)at };
    *ret_more = n != PACK_TRAILER_BYTES || memcmp(bytes, PACK_TRAILER_MAGIC, 8) != 0;
    if (kind != ERR_OK || !*ret_more)
        return kind;
    kind = n < sizeof bytes ? err_set(err, ERR_CORRUPT, "the file ends inside of a blob header")
                            : pack_header_parse(bytes, ret, &seal, err);
    if (kind == ERR_OK && at + sizeof bytes + ret->stored > end)
        kind = err_set(err, ERR_CORRUPT, "the blob there ends behind the pack's end");
    if (kind != ERR_OK)
        return err_prefix(err, kind, "pack %llu: offset %llu", (unsigned long long)f->pack,
                          (unsigned long long)at);
    return ERR_OK;
}

static enum err_kind
walk_headers(const struct pack_file *f, uint64_t at, uint64_t end, packs_header_fn *fn, void *arg,
             struct err *err)
{
    while (at < end) {
        struct blob_place place;
        bool more = false;
        enum err_kind kind = header_at(f, at, end, &place, &more, err);

        if (kind != ERR_OK || !more)
            return kind;
        at += sizeof(struct blob_header) + place.stored;
        kind = fn(arg, &place, err);
        if (kind != ERR_OK)
            return kind;
    }
    return ERR_OK;
}

static enum err_kind
file_bytes(const struct pack_file *f, uint64_t *ret, struct err *err)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0)
        return err_errno(err, "could not stat pack %llu", (unsigned long long)f->pack);
    *ret = (uint64_t)st.st_size;
    return ERR_OK;
}

enum err_kind
packs_headers(struct packs *p, uint64_t pack, uint64_t end, packs_header_fn *fn, void *arg, struct err *err)
{
    struct pack_file *f = NULL;
    enum err_kind kind = file_take(p, pack, &f, err);

    if (kind != ERR_OK)
        return kind;
    if (end == 0)
        kind = file_bytes(f, &end, err);
    if (kind == ERR_OK)
        kind = walk_headers(f, PACK_HEADER_BYTES, end, fn, arg, err);
    file_give(p, f);
    return kind;
}

struct table {
    struct packs *p;
    packs_header_fn *fn;
    void *arg;
};

/* A table blob and what it lists. */
static enum err_kind
table_blob(void *arg, const struct blob_place *place, struct err *err)
{
    const struct table *const t = arg;
    AUTO(auto_free) uint8_t *raw = mem_alloc(BLOB_RAW_MAX);
    enum err_kind kind = packs_read(t->p, place, raw, err);

    if (kind == ERR_OK && (place->kind != BLOB_TABLE || place->raw % PACK_ENTRY_BYTES != 0))
        kind = err_set(err, ERR_CORRUPT, "pack %llu: offset %u: not a table", (unsigned long long)place->pack,
                       place->off);
    for (uint32_t at = 0; kind == ERR_OK && at < place->raw; at += PACK_ENTRY_BYTES) {
        const uint8_t *const e = raw + at;
        const struct blob_place listed = {
            le64_get(e), place->pack, le32_get(e + 8), le32_get(e + 12), le32_get(e + 16), e[20], e[21]
        };

        kind = t->fn(t->arg, &listed, err);
    }
    return kind != ERR_OK ? kind : t->fn(t->arg, place, err);
}

enum err_kind
packs_table(struct packs *p, uint64_t pack, packs_header_fn *fn, void *arg, struct err *err)
{
    uint8_t trailer[PACK_TRAILER_BYTES];
    struct table t = { p, fn, arg };
    struct pack_file *f = NULL;
    uint64_t end = 0;
    enum err_kind kind = file_take(p, pack, &f, err);

    if (kind != ERR_OK)
        return kind;
    kind = file_bytes(f, &end, err);
    if (kind == ERR_OK && end < PACK_HEADER_BYTES + PACK_TRAILER_BYTES)
        kind = err_set(err, ERR_ABSENT, "pack %llu has no table", (unsigned long long)pack);
    if (kind == ERR_OK)
        kind = io_pread_all(f->fd, trailer, sizeof trailer, end - sizeof trailer, err);
    if (kind == ERR_OK && memcmp(trailer, PACK_TRAILER_MAGIC, 8) != 0)
        kind = err_set(err, ERR_ABSENT, "pack %llu has no table", (unsigned long long)pack);
    if (kind == ERR_OK && (le64_get(trailer + 8) < PACK_HEADER_BYTES || le64_get(trailer + 8) >= end))
        kind = err_set(err, ERR_CORRUPT, "pack %llu: offset %llu: the trailer points outside",
                       (unsigned long long)pack, (unsigned long long)(end - sizeof trailer));
    if (kind == ERR_OK)
        kind = walk_headers(f, le64_get(trailer + 8), end, table_blob, &t, err);
    file_give(p, f);
    return kind;
}

enum err_kind
packs_check(struct packs *p, uint64_t pack, uint32_t *ret_city, uint64_t *ret_bytes, struct err *err)
{
    struct pack_file f = { .pack = pack, .fd = -1 };
    struct stat st;
    /* A descriptor of its own: the table may hold what was read before the damage. */
    const enum err_kind kind = file_open(p, &f, err);

    if (kind != ERR_OK)
        return kind;
    const int failed = fstat(f.fd, &st);
    (void)close(f.fd);
    if (failed != 0)
        return err_errno(err, "could not stat pack %llu", (unsigned long long)pack);
    *ret_city = f.city;
    *ret_bytes = (uint64_t)st.st_size;
    return ERR_OK;
}

static int
number_order(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

struct number_list {
    uint64_t *at;
    size_t count, room;
};

static enum err_kind
list_dir(int packs_fd, const char *name, struct number_list *list, struct err *err)
{
    const int fd = openat(packs_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *const dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL)
        return err_errno(err, "could not read \"packs/%s\"", name);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char *end = NULL;
        const unsigned long long n = strtoull(e->d_name, &end, 10);

        if (e->d_name[0] < '0' || e->d_name[0] > '9' || strcmp(end, ".pack") != 0)
            continue;
        if (list->count == list->room) {
            list->room = list->room ? 2 * list->room : 64;
            list->at = mem_grow(list->at, list->room, sizeof *list->at);
        }
        list->at[list->count++] = n;
    }
    (void)closedir(dir);
    return ERR_OK;
}

enum err_kind
packs_list(struct packs *p, uint64_t **ret, size_t *ret_count, struct err *err)
{
    const int fd = openat(p->s->dir_fd, "packs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *const dir = fd < 0 ? NULL : fdopendir(fd);
    struct number_list list = { 0 };
    enum err_kind kind = ERR_OK;

    if (dir == NULL)
        return err_errno(err, "could not read \"packs\"");
    for (const struct dirent *e = readdir(dir); e != NULL && kind == ERR_OK; e = readdir(dir))
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
            kind = list_dir(dirfd(dir), e->d_name, &list, err);
    (void)closedir(dir);
    if (kind != ERR_OK) {
        free(list.at);
        return kind;
    }
    if (list.count > 0)
        qsort(list.at, list.count, sizeof *list.at, number_order);
    *ret = list.at;
    *ret_count = list.count;
    return ERR_OK;
}

enum err_kind
packs_cut(struct packs *p, uint64_t pack, uint64_t committed, struct err *err)
{
    char path[PACK_PATH_ROOM];
    struct stat st;

    assert(p->s->writer);
    pack_path(pack, path);
    AUTO(auto_close) const int fd = openat(p->s->dir_fd, path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return err_errno(err, "could not open \"%s\"", path);
    if ((uint64_t)st.st_size < committed)
        return err_set(err, ERR_CORRUPT, "pack %llu: it ends at %llu, but %llu bytes are committed",
                       (unsigned long long)pack, (unsigned long long)st.st_size,
                       (unsigned long long)committed);
    if ((uint64_t)st.st_size > committed && ftruncate(fd, (off_t)committed) != 0)
        return err_errno(err, "could not cut \"%s\" to %llu bytes", path, (unsigned long long)committed);
    return ERR_OK;
}

enum err_kind
packs_remove(struct packs *p, uint64_t pack, struct err *err)
{
    char path[PACK_PATH_ROOM];

    assert(p->s->writer);
    pack_path(pack, path);
    if (unlinkat(p->s->dir_fd, path, 0) != 0 && errno != ENOENT)
        return err_errno(err, "could not remove \"%s\"", path);
    return ERR_OK;
}
