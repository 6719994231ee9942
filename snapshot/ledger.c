/* The append-only log of events.  The hashes of all leaves are kept in memory (32 bytes each: a million group commits are 32 MB), so that
 * the root at any size follows without reading the file again. */
#include "snapshot/ledger.h"

#include <assert.h>
#include <fcntl.h>
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
#include "snapshot/merkle.h"

#define LEDGER_MAGIC "FSLEDG1\n"
#define LEDGER_MAGIC_BYTES 8u
#define LEDGER_RECORD_HEAD 12u /* u32 length, u64 check */
#define LEDGER_RESERVE_BYTES (256u * KIB)

struct ledger {
    struct ledger_open o;
    char site[64 + 1];
    int fd;                /* ledger/log */
    int dir_fd;            /* ledger/ */
    uint64_t end;          /* of the last whole record */
    uint64_t reserved;     /* file offset up to which space is allocated */
    struct digest *leaves; /* [size] RFC 6962 leaf hashes */
    uint64_t size, room;
    struct digest
        peaks[64]; /* bit n of size set: [n] is the root of the complete subtree of 2^n leaves there */
    bool torn;     /* bytes follow the last whole record: cut away before the next append, not before */
};

void
ledger_head_text(const char *site, const struct ledger_head *h, struct buf *ret)
{
    char root[48], text[256];

    hash_base64(h->root.at, HASH_BYTES, root);
    const int n = snprintf(text, sizeof text, "farshore/%s\n%llu\n%s\n", site, (unsigned long long)h->size,
                           root);
    assert(n > 0 && (size_t)n < sizeof text);
    buf_put(ret, text, (size_t)n);
}

/* C2SP signed-note: key id = first 4 bytes of SHA-256(name || '\n' || 0x01 (Ed25519) || public key). */
void
ledger_note(const char *site, const struct ledger_head *h, const uint8_t public[SIGN_PUBLIC_BYTES],
            const uint8_t signature[SIGN_BYTES], struct buf *ret)
{
    AUTO(buf_free) struct buf id = { 0 };
    uint8_t bytes[4 + SIGN_BYTES];
    char text[128], line[256];
    struct digest d;

    (void)snprintf(text, sizeof text, "farshore/%s\n", site);
    buf_put(&id, text, strlen(text));
    buf_u8(&id, 0x01);
    buf_put(&id, public, SIGN_PUBLIC_BYTES);
    hash_sha256(id.at, id.size, &d);
    memcpy(bytes, d.at, 4);
    memcpy(bytes + 4, signature, SIGN_BYTES);
    ledger_head_text(site, h, ret);
    hash_base64(bytes, sizeof bytes, text);
    const int n = snprintf(line, sizeof line, "\n\xe2\x80\x94 farshore/%s %s\n", site, text);
    assert(n > 0 && (size_t)n < sizeof line);
    buf_put(ret, line, (size_t)n);
}

enum err_kind
ledger_make(int dir_fd, struct err *err)
{
    AUTO(auto_close) int fd = -1;
    const struct fs_file file = { LEDGER_MAGIC, LEDGER_MAGIC_BYTES, 0600 };
    const enum err_kind kind = fs_dir_make(dir_fd, "ledger", 0700, &fd, err);

    return kind != ERR_OK ? kind : fs_replace(fd, "log", &file, err);
}

/* One record of the file. */
struct record {
    struct buf leaf;
    uint8_t signature[SIGN_BYTES];
    uint64_t bytes; /* of the whole record; 0: the file ends before its end (a torn tail) */
};

static void
record_free(struct record *r)
{
    buf_free(&r->leaf);
}

static enum err_kind
record_read(int fd, uint64_t at, uint64_t file_bytes, struct record *ret, struct err *err)
{
    uint8_t head[LEDGER_RECORD_HEAD];
    enum err_kind kind;

    ret->bytes = 0;
    ret->leaf.size = 0;
    if (file_bytes - at < LEDGER_RECORD_HEAD)
        return ERR_OK;
    kind = io_pread_all(fd, head, sizeof head, at, err);
    if (kind != ERR_OK)
        return kind;
    const uint32_t n = le32_get(head);
    if (n == 0 && le64_get(head + 4) == 0)
        return ERR_OK; /* reserved space that was never written */
    if (n == 0 || n > LEAF_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, "ledger/log: offset %llu: a leaf of %u bytes",
                       (unsigned long long)at, n);
    if (file_bytes - at - LEDGER_RECORD_HEAD < (uint64_t)n + SIGN_BYTES)
        return ERR_OK;
    buf_reserve(&ret->leaf, (size_t)n + 4);
    memcpy(ret->leaf.at, head, 4);
    kind = io_pread_all(fd, ret->leaf.at + 4, n, at + LEDGER_RECORD_HEAD, err);
    if (kind == ERR_OK)
        kind = io_pread_all(fd, ret->signature, SIGN_BYTES, at + LEDGER_RECORD_HEAD + n, err);
    if (kind != ERR_OK)
        return kind;
    if (hash_check(ret->leaf.at, (size_t)n + 4, 0) != le64_get(head + 4))
        return err_set(err, ERR_CORRUPT, "ledger/log: offset %llu: the leaf does not match its checksum",
                       (unsigned long long)at);
    memmove(ret->leaf.at, ret->leaf.at + 4, n);
    ret->leaf.size = n;
    ret->bytes = (uint64_t)LEDGER_RECORD_HEAD + n + SIGN_BYTES;
    return ERR_OK;
}

static void
leaves_add(struct ledger *l, const void *leaf, size_t size)
{
    if (l->size == l->room) {
        l->room = l->room ? 2 * l->room : 256;
        l->leaves = mem_grow(l->leaves, l->room, sizeof *l->leaves);
    }
    struct digest d;
    unsigned n = 0;
    hash_prefixed(0x00, leaf, size, &d);
    l->leaves[l->size] = d;
    for (; (l->size >> n & 1) != 0; n++)
        hash_pair(&l->peaks[n], &d, &d);
    l->peaks[n] = d;
    l->size++;
}

static enum err_kind
file_open(struct ledger *l, uint64_t *ret_bytes, struct err *err)
{
    struct stat st;
    char magic[LEDGER_MAGIC_BYTES];

    l->dir_fd = openat(l->o.dir_fd, "ledger", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (l->dir_fd < 0)
        return err_errno(err, "could not open \"ledger\"");
    l->fd = openat(l->dir_fd, "log", (l->o.key != NULL ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (l->fd < 0)
        return err_errno(err, "could not open \"ledger/log\"");
    if (fstat(l->fd, &st) != 0)
        return err_errno(err, "could not stat \"ledger/log\"");
    const enum err_kind kind = io_pread_all(l->fd, magic, sizeof magic, 0, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "ledger/log");
    if (memcmp(magic, LEDGER_MAGIC, sizeof magic) != 0)
        return err_set(err, ERR_CORRUPT, "ledger/log: offset 0: not a ledger");
    *ret_bytes = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err_kind
head_check(const struct ledger *l, const uint8_t signature[SIGN_BYTES])
{
    AUTO(buf_free) struct buf text = { 0 };
    const struct ledger_head head = ledger_head(l);

    ledger_head_text(l->site, &head, &text);
    return sign_check(l->o.public, text.at, text.size, signature);
}

/* Only once the caller has seen that no leaf is missing: a damaged length can look like a torn tail. */
static enum err_kind
tail_cut(struct ledger *l, struct err *err)
{
    if (!l->torn)
        return ERR_OK;
    if (ftruncate(l->fd, (off_t)l->end) != 0)
        return err_errno(err, "could not cut \"ledger/log\" to %llu bytes", (unsigned long long)l->end);
    l->torn = false;
    return fs_sync(l->fd, "ledger/log", err);
}

static struct ledger *
ledger_new(const struct ledger_open *o)
{
    struct ledger *const l = mem_zero(1, sizeof *l);

    l->o = *o;
    (void)snprintf(l->site, sizeof l->site, "%s", o->site);
    l->fd = l->dir_fd = -1;
    l->end = LEDGER_MAGIC_BYTES;
    return l;
}

enum err_kind
ledger_open(const struct ledger_open *o, struct ledger **ret, struct err *err)
{
    AUTO(ledger_close) struct ledger *l = ledger_new(o);
    AUTO(record_free) struct record r = { 0 };
    uint64_t bytes = 0;
    uint8_t last[SIGN_BYTES];
    enum err_kind kind = file_open(l, &bytes, err);

    while (kind == ERR_OK) {
        kind = record_read(l->fd, l->end, bytes, &r, err);
        if (kind != ERR_OK || r.bytes == 0)
            break;
        leaves_add(l, r.leaf.at, r.leaf.size);
        memcpy(last, r.signature, SIGN_BYTES);
        l->end += r.bytes;
    }
    if (kind == ERR_OK && l->size > 0 && head_check(l, last) != ERR_OK)
        kind = err_set(err, ERR_CORRUPT, "ledger/log: the head after leaf %llu is not signed by this site",
                       (unsigned long long)(l->size - 1));
    if (kind != ERR_OK)
        return kind;
    l->torn = l->end != bytes;
    *ret = l;
    l = NULL;
    return ERR_OK;
}

void
ledger_close(struct ledger **l)
{
    if (*l == NULL)
        return;
    if ((*l)->fd >= 0)
        (void)close((*l)->fd);
    if ((*l)->dir_fd >= 0)
        (void)close((*l)->dir_fd);
    free((*l)->leaves);
    free(*l);
    *l = NULL;
}

struct ledger_head
ledger_head(const struct ledger *l)
{
    struct ledger_head h = { .size = l->size };
    bool first = true;

    if (l->size == 0)
        merkle_root(NULL, 0, &h.root);
    for (unsigned n = 0; n < 64; n++) {
        if ((l->size >> n & 1) == 0)
            continue;
        if (first)
            h.root = l->peaks[n];
        else
            hash_pair(&l->peaks[n], &h.root, &h.root);
        first = false;
    }
    return h;
}

enum err_kind
ledger_root_at(const struct ledger *l, uint64_t size, struct digest *ret, struct err *err)
{
    if (size > l->size)
        return err_set(err, ERR_ABSENT, "the ledger has %llu leaves, not %llu", (unsigned long long)l->size,
                       (unsigned long long)size);
    merkle_root(l->leaves, size, ret);
    return ERR_OK;
}

enum err_kind
ledger_reserve(struct ledger *l, size_t leaf_bytes, struct err *err)
{
    const uint64_t need = l->end + LEDGER_RECORD_HEAD + leaf_bytes + SIGN_BYTES;

    assert(l->o.key != NULL);
    const enum err_kind kind = tail_cut(l, err);
    if (kind != ERR_OK || need <= l->reserved)
        return kind;
    const uint64_t upto = need + LEDGER_RESERVE_BYTES;
    if (fallocate(l->fd, FALLOC_FL_KEEP_SIZE, (off_t)l->end, (off_t)(upto - l->end)) != 0)
        return err_errno(err, "could not reserve %llu bytes for \"ledger/log\"",
                         (unsigned long long)(upto - l->end));
    l->reserved = upto;
    return ERR_OK;
}

enum err_kind
ledger_append(struct ledger *l, const void *leaf, size_t size, struct ledger_head *ret, struct err *err)
{
    AUTO(buf_free) struct buf record = { 0 };
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(buf_free) struct buf note = { 0 };
    uint8_t signature[SIGN_BYTES];

    assert(l->o.key != NULL);
    assert(size > 0 && size <= LEAF_BYTES_MAX);
    leaves_add(l, leaf, size);
    const struct ledger_head head = ledger_head(l);
    ledger_head_text(l->site, &head, &text);
    sign_make(l->o.key, text.at, text.size, signature);

    buf_u32(&record, (uint32_t)size);
    buf_put(&record, leaf, size);
    const uint64_t check = hash_check(record.at, record.size, 0);
    record.size = 4;
    buf_u64(&record, check);
    buf_put(&record, leaf, size);
    buf_put(&record, signature, SIGN_BYTES);
    enum err_kind kind = io_pwrite_all(l->fd, record.at, record.size, l->end, err);
    if (kind == ERR_OK)
        kind = fs_sync(l->fd, "ledger/log", err);
    if (kind != ERR_OK)
        return kind; /* the caller ends the process: what is in memory no longer counts */
    l->end += record.size;
    /* The head file is a convenience for people and witnesses; the record is what counts. */
    ledger_note(l->site, &head, l->o.public, signature, &note);
    const struct fs_file file = { note.at, note.size, 0644 };
    struct err lazy;
    (void)!fs_replace_lazy(l->dir_fd, "head", &file, &lazy);
    *ret = head;
    return ERR_OK;
}

/* Damage is told and, where the next record can still be found, passed over. */
static enum err_kind
scan_records(struct ledger *l, const struct ledger_scan *scan, uint64_t bytes, struct err *err)
{
    AUTO(record_free) struct record r = { 0 };
    enum err_kind kind;

    for (;;) {
        struct err damage = { 0 };

        kind = record_read(l->fd, l->end, bytes, &r, &damage);
        if (kind == ERR_CORRUPT && scan->bad != NULL) {
            scan->bad(scan->arg, l->end, damage.text);
            return ERR_OK;
        }
        if (kind != ERR_OK && err != NULL)
            *err = damage;
        if (kind != ERR_OK || r.bytes == 0)
            return kind;
        leaves_add(l, r.leaf.at, r.leaf.size);
        if (head_check(l, r.signature) != ERR_OK) {
            if (scan->bad == NULL)
                return err_set(err, ERR_CORRUPT,
                               "ledger/log: offset %llu: the head is not signed by this site",
                               (unsigned long long)l->end);
            scan->bad(scan->arg, l->end, "the head after this leaf is not signed by this site");
        }
        l->end += r.bytes;
        kind = scan->leaf(scan->arg, l->size - 1, r.leaf.at, r.leaf.size, err);
        if (kind != ERR_OK)
            return kind;
    }
}

enum err_kind
ledger_scan(const struct ledger_open *o, const struct ledger_scan *scan, struct ledger_head *ret,
            struct err *err)
{
    const struct ledger_open read_only = { o->dir_fd, o->site, o->public, NULL };
    AUTO(ledger_close) struct ledger *l = ledger_new(&read_only);
    uint64_t bytes = 0;
    struct stat st;
    enum err_kind kind = file_open(l, &bytes, err);

    if (kind == ERR_OK)
        kind = scan_records(l, scan, bytes, err);
    if (kind != ERR_OK)
        return kind;
    /* A site that is running may have appended meanwhile: what is behind the size seen first is not ours to judge. */
    if (l->end < bytes && scan->bad != NULL && fstat(l->fd, &st) == 0 && (uint64_t)st.st_size == bytes)
        scan->bad(scan->arg, l->end, "bytes after the last whole leaf");
    *ret = ledger_head(l);
    return ERR_OK;
}
