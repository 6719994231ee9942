/* The sweep: blobs that no mark's block asked for, and what each pack says of itself. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/limits.h"
#include "common/mem.h"
#include "snapshot/pack.h"
#include "verify/verify.h"

#define SWEEP_BLOBS 64u /* a job */
#define BLOB_BITS_MAX                                                                                        \
    (1ull << 36)         /* a number above is read again rather than remembered: 8 GiB of bits are enough */
#define PACK_TRAILER 16u /* bytes behind the table of a closed pack: farshore-store(5) */

struct pack {
    uint64_t number;
    struct index_pack row;
    uint64_t rows;    /* blobs that the index says lie in it */
    uint64_t headers; /* of these, met from header to header */
    uint64_t bytes;   /* of its file */
    bool lost;        /* it cannot be opened: said once, and none of its blobs is tried */
};
struct sweep {
    struct verify *v;
    struct pack *packs; /* [pack_count], in order of numbers */
    size_t pack_count, pack_room;
    struct blob_place *todo; /* [todo_count]: not opened yet */
    size_t todo_count, todo_room;
    /* The pack that is walked. */
    struct kv_txn *txn;
    struct pack *at;
    uint64_t chain, tables; /* headers in it; of these, parts of its table */
    uint64_t listed;        /* in its table */
    uint8_t last_kind;
};

static void
finding(struct verify *v, const char *kind, uint64_t pack, uint64_t offset, const char *text)
{
    sink_finding(v->sink, &(struct finding){
                              .kind = kind, .text = text, .placed = true, .pack = pack, .offset = offset });
}

static enum err_kind
blob_expect(void *arg, const struct blob_place *p, struct err *err)
{
    struct verify *const v = arg;

    (void)err;
    v->blob_rows++;
    v->stored_bytes += p->stored;
    if (p->blob < BLOB_BITS_MAX && p->blob > v->blob_last)
        v->blob_last = p->blob;
    return ERR_OK;
}

static void
row_passed(void *arg, const char *what)
{
    (void)arg;
    (void)what; /* the index child says it */
}

void
blobs_expect(struct verify *v)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const struct index_bad bad = { row_passed, v };
    struct err err = { 0 };
    enum err_kind kind = kv_begin(v->store->kv, false, &t, &err);

    if (kind == ERR_OK)
        kind = index_blobs(t, blob_expect, v, &bad, &err);
    if (kind != ERR_OK)
        sink_text(v->sink, "index", "%s", err.text);
    v->opened = mem_zero(v->blob_last / 64 + 1, sizeof *v->opened);
}

bool
blob_is_opened(const struct verify *v, uint64_t blob)
{
    return blob <= v->blob_last && (atomic_load(&v->opened[blob / 64]) >> (blob % 64) & 1);
}

void
blob_opened(void *verify, const struct blob_place *p)
{
    struct verify *const v = verify;
    const uint64_t bit = 1ull << (p->blob % 64);

    if (p->blob > v->blob_last || (atomic_fetch_or(&v->opened[p->blob / 64], bit) & bit) == 0)
        progress_add(v->progress, p->stored, 0);
}

static struct pack *
pack_find(const struct sweep *s, uint64_t number)
{
    size_t from = 0, to = s->pack_count;

    while (from < to) {
        const size_t mid = from + (to - from) / 2;

        if (s->packs[mid].number == number)
            return &s->packs[mid];
        if (number < s->packs[mid].number)
            to = mid;
        else
            from = mid + 1;
    }
    return NULL;
}

static enum err_kind
pack_row(void *arg, uint64_t number, const struct index_pack *row, struct err *err)
{
    struct sweep *const s = arg;

    (void)err;
    if (s->pack_count == s->pack_room) {
        s->pack_room = s->pack_room ? 2 * s->pack_room : 64;
        s->packs = mem_grow(s->packs, s->pack_room, sizeof *s->packs);
    }
    s->packs[s->pack_count++] = (struct pack){ .number = number, .row = *row };
    return ERR_OK;
}

static enum err_kind
blob_row(void *arg, const struct blob_place *p, struct err *err)
{
    struct sweep *const s = arg;
    struct pack *const pack = pack_find(s, p->pack);

    (void)err;
    s->v->blob_rows++;
    s->v->stored_bytes += p->stored;
    if (pack != NULL)
        pack->rows++;
    if (blob_is_opened(s->v, p->blob)) {
        atomic_fetch_add(&s->v->blobs_read, 1);
        atomic_fetch_add(&s->v->bytes_read, p->stored);
        return ERR_OK;
    }
    if (s->todo_count == s->todo_room) {
        s->todo_room = s->todo_room ? 2 * s->todo_room : 1024;
        s->todo = mem_grow(s->todo, s->todo_room, sizeof *s->todo);
    }
    s->todo[s->todo_count++] = *p;
    return ERR_OK;
}

/* What is to be read is what the index says now: the site may have gone on since the start. */
static enum err_kind
rows_read(struct sweep *s, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const struct index_bad bad = { row_passed, s };
    enum err_kind kind = kv_begin(s->v->store->kv, false, &t, err);

    s->v->blob_rows = s->v->stored_bytes = 0;
    if (kind == ERR_OK)
        kind = index_packs(t, pack_row, s, &bad, err);
    if (kind == ERR_OK)
        kind = index_blobs(t, blob_row, s, &bad, err);
    return kind;
}

static int
place_order(const void *a, const void *b)
{
    const struct blob_place *const x = a, *const y = b;

    if (x->pack != y->pack)
        return x->pack < y->pack ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

/* The row may have gone or moved while we looked. */
static bool
place_again(struct verify *v, struct blob_place *p)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const struct blob_place before = *p;
    struct err err;

    return kv_begin(v->store->kv, false, &t, &err) == ERR_OK &&
           index_blob_get(t, p->blob, p, &err) == ERR_OK && (p->pack != before.pack || p->off != before.off);
}

static void
blob_read(struct verify *v, const struct blob_place *place, uint8_t *room)
{
    struct blob_place p = *place;
    struct err err = { 0 };
    enum err_kind kind = packs_read(v->store->packs, &p, room, &err);

    if (kind != ERR_OK && place_again(v, &p))
        kind = packs_read(v->store->packs, &p, room, &err);
    if (kind != ERR_OK) {
        finding(v, "blob", p.pack, p.off, err.text);
        return;
    }
    atomic_fetch_add(&v->blobs_read, 1);
    atomic_fetch_add(&v->bytes_read, p.stored);
    progress_add(v->progress, p.stored, 0);
}

struct sweep_job {
    struct verify *v;
    const struct blob_place *at;
    size_t count;
};

static void
job_run(void *arg)
{
    struct sweep_job *const j = arg;
    uint8_t *const room = mem_alloc(BLOB_RAW_MAX);

    for (size_t i = 0; i < j->count; i++)
        blob_read(j->v, &j->at[i], room);
    free(room);
    free(j);
}

static void
blobs_read(struct sweep *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->todo_count; i++) {
        const struct pack *const p = pack_find(s, s->todo[i].pack);

        if (p == NULL || !p->lost)
            s->todo[kept++] = s->todo[i];
    }
    s->todo_count = kept;
    if (s->todo_count > 0)
        qsort(s->todo, s->todo_count, sizeof *s->todo, place_order);
    for (size_t from = 0; from < s->todo_count; from += SWEEP_BLOBS) {
        struct sweep_job *const j = mem_alloc(sizeof *j);
        const size_t left = s->todo_count - from;

        *j = (struct sweep_job){ s->v, s->todo + from, left < SWEEP_BLOBS ? left : SWEEP_BLOBS };
        pool_push(s->v->pool, job_run, j);
    }
    pool_wait(s->v->pool);
}

/* One header of the chain.  A blob without a row was written by a session that did not come to its end: its bytes are read all the same. */
static enum err_kind
header_met(void *arg, const struct blob_place *p, struct err *err)
{
    struct sweep *const s = arg;
    struct blob_place row;
    char text[160];

    (void)err;
    s->chain++;
    s->last_kind = p->kind;
    const enum err_kind kind = index_blob_get(s->txn, p->blob, &row, NULL);
    if (kind == ERR_OK && row.pack == p->pack && row.off == p->off) {
        s->at->headers++;
        if (row.stored != p->stored || row.raw != p->raw || row.kind != p->kind || row.zip != p->zip) {
            (void)snprintf(text, sizeof text,
                           "pack %llu: offset %u: the header of blob %llu is not what its row says",
                           (unsigned long long)p->pack, p->off, (unsigned long long)p->blob);
            finding(s->v, "pack", p->pack, p->off, text);
        }
        return ERR_OK;
    }
    if (p->kind == BLOB_TABLE) {
        s->tables++;
        return ERR_OK;
    }
    AUTO(auto_free) uint8_t *room = mem_alloc(BLOB_RAW_MAX);
    struct err inner = { 0 };
    s->v->orphans++;
    if (packs_read(s->v->store->packs, p, room, &inner) != ERR_OK)
        finding(s->v, "blob", p->pack, p->off, inner.text);
    return ERR_OK;
}

static enum err_kind
entry_met(void *arg, const struct blob_place *p, struct err *err)
{
    struct sweep *const s = arg;

    (void)p;
    (void)err;
    s->listed++;
    return ERR_OK;
}

/* The table of a closed pack, which reindex may read instead of the chain. */
static bool
table_check(struct sweep *s, uint64_t bytes)
{
    struct verify *const v = s->v;
    const struct pack *const p = s->at;
    struct err err = { 0 };
    char text[160] = "";

    /* Closed by a crash, or open: bytes behind what is committed are no part of the store. */
    if (!p->row.closed || s->last_kind != BLOB_TABLE)
        return true;
    s->listed = 0;
    const enum err_kind kind = packs_table(v->store->packs, p->number, entry_met, s, &err);
    if (kind != ERR_OK)
        finding(v, "pack", p->number, p->row.committed, err.text);
    else if (bytes != p->row.committed + PACK_TRAILER || s->listed != s->chain)
        (void)snprintf(text, sizeof text, "pack %llu: its table lists %llu blobs, %llu are there",
                       (unsigned long long)p->number, (unsigned long long)s->listed,
                       (unsigned long long)s->chain);
    if (text[0] != '\0')
        finding(v, "pack", p->number, p->row.committed, text);
    return kind == ERR_OK && text[0] == '\0';
}

/* The file and its own header. */
static void
pack_open(struct sweep *s, struct pack *p)
{
    struct verify *const v = s->v;
    struct err err = { 0 };
    uint32_t city = 0;
    char text[700];

    if (packs_check(v->store->packs, p->number, &city, &p->bytes, &err) != ERR_OK) {
        p->lost = true;
        (void)snprintf(text, sizeof text, "%s; none of its %llu blobs can be read", err.text,
                       (unsigned long long)p->rows);
        finding(v, "pack", p->number, 0, text);
    } else if (city != p->row.city || p->bytes < p->row.committed) {
        (void)snprintf(text, sizeof text,
                       "pack %llu: %llu bytes of city %u, where the index has %llu of city %u",
                       (unsigned long long)p->number, (unsigned long long)p->bytes, city,
                       (unsigned long long)p->row.committed, p->row.city);
        finding(v, "pack", p->number, p->bytes, text);
    }
}

/* From header to header. */
static void
pack_walk(struct sweep *s, struct pack *p)
{
    struct verify *const v = s->v;
    struct err err = { 0 };
    char text[200];

    s->at = p;
    s->chain = s->tables = 0;
    s->last_kind = 0;
    enum err_kind kind = kv_begin(v->store->kv, false, &s->txn, &err);
    if (kind == ERR_OK && p->row.committed > PACK_HEADER_BYTES)
        kind = packs_headers(v->store->packs, p->number, p->row.committed, header_met, s, &err);
    kv_abort(&s->txn);
    if (kind != ERR_OK) {
        finding(v, "pack", p->number, 0, err.text);
    } else if (p->headers < p->rows) {
        (void)snprintf(text, sizeof text,
                       "pack %llu: %llu blobs of the index are not in its chain of headers",
                       (unsigned long long)p->number, (unsigned long long)(p->rows - p->headers));
        finding(v, "pack", p->number, 0, text);
    } else if (table_check(s, p->bytes)) {
        v->packs[1]++;
    }
}

/* Does a process hold the writer's lock?  Asked of the kernel, for taking the lock to look would turn a site away that starts now. */
static bool
site_runs(const struct store *store)
{
    struct stat st;
    char line[256];
    bool found = false;

    if (fstatat(store->dir_fd, "lock", &st, 0) != 0)
        return false;
    FILE *const f = fopen("/proc/locks", "re");
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        unsigned major = 0, minor = 0;
        unsigned long long ino = 0;

        found = sscanf(line, "%*u: FLOCK %*s %*s %*d %x:%x:%llu", &major, &minor, &ino) == 3 &&
                major == major(st.st_dev) && minor == minor(st.st_dev) && ino == st.st_ino;
    }
    if (f != NULL)
        (void)fclose(f);
    return found;
}

/* Files that no row knows: of a session under way, or of one that a crash ended, or somebody's. */
static void
strangers(struct sweep *s)
{
    AUTO(auto_free) uint64_t *list = NULL;
    struct verify *const v = s->v;
    const bool runs = site_runs(v->store);
    struct err err = { 0 };
    size_t count = 0;

    if (packs_list(v->store->packs, &list, &count, &err) != ERR_OK) {
        sink_text(v->sink, "pack", "%s", err.text);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char text[160];

        if (runs || pack_find(s, list[i]) != NULL)
            continue;
        (void)snprintf(text, sizeof text,
                       "pack %llu: no row of the index knows it; a site that was killed leaves one, and "
                       "removes it when it starts",
                       (unsigned long long)list[i]);
        finding(v, "pack", list[i], 0, text);
    }
}

void
packs_verify(struct verify *v)
{
    struct sweep s = { .v = v };
    struct err err = { 0 };

    if (rows_read(&s, &err) != ERR_OK)
        sink_text(v->sink, "index", "%s", err.text);
    v->packs[0] = s.pack_count;
    for (size_t i = 0; i < s.pack_count; i++)
        pack_open(&s, &s.packs[i]);
    blobs_read(&s);
    for (size_t i = 0; i < s.pack_count; i++)
        if (!s.packs[i].lost)
            pack_walk(&s, &s.packs[i]);
    strangers(&s);
    free(s.packs);
    free(s.todo);
}
