#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/fs.h"
#include "common/io.h"
#include "common/kv_check_internal.h"
#include "common/mem.h"

#define META_MAGIC 0xBEEFC0DEu
#define META_VERSION 1u
#define META_END (PAGE_HEAD + 136u)
#define PAGE_SIZE_MIN 512u
#define PAGE_SIZE_MAX 32768u
/* A transaction may take pages at the end and give them back unwritten: at most as many as LMDB keeps dirty at once. */
#define UNWRITTEN_MAX 131072u
#define PIN_TRIES 100

struct meta { /* MDB_meta, and the page around it */
    uint64_t page;
    uint16_t flags;
    uint32_t magic;
    uint32_t version;
    uint64_t address;
    uint64_t map_bytes;
    struct check_db free_db;
    struct check_db main_db;
    uint64_t last_page;
    uint64_t txn;
    bool clean; /* the rest of the page is zero */
};

static struct meta
meta_of(const uint8_t *at, uint32_t page_size)
{
    struct meta m = { .page = le64_get(at),
                      .flags = le16_get(at + 10),
                      .magic = le32_get(at + 16),
                      .version = le32_get(at + 20),
                      .address = le64_get(at + 24),
                      .map_bytes = le64_get(at + 32),
                      .free_db = check_db_of(at + 40),
                      .main_db = check_db_of(at + 88),
                      .last_page = le64_get(at + 136),
                      .txn = le64_get(at + 144),
                      .clean = le32_get(at + 12) == 0 };

    for (uint32_t i = META_END; i < page_size && m.clean; i++)
        m.clean = at[i] == 0;
    return m;
}

static bool
metas_read(const struct check *c, struct meta ret[2])
{
    AUTO(auto_free) uint8_t *bytes = mem_alloc(2 * (size_t)c->page_size);

    /* One read, so that the two belong together as nearly as can be. */
    if (!check_read(c, 0, bytes, 2 * (uint64_t)c->page_size))
        return false;
    ret[0] = meta_of(bytes, c->page_size);
    ret[1] = meta_of(bytes + c->page_size, c->page_size);
    return true;
}

/* What LMDB demands of both meta pages before it opens the file. */
static bool
metas_open(const struct check *c, const struct meta m[2])
{
    bool sound = true;

    for (uint64_t i = 0; i < 2; i++) {
        const char *what = NULL;

        if (m[i].magic != META_MAGIC)
            what = "is a meta page with a wrong magic number";
        else if (m[i].version != META_VERSION)
            what = "is a meta page of another version";
        else if (m[i].page != i || m[i].flags != PAGE_META)
            what = "is a meta page with a wrong header";
        else if (m[i].free_db.pad != c->page_size)
            what = "is a meta page with another page size";
        if (what != NULL) {
            check_found(c, i, "%s", what);
            sound = false;
        }
    }
    return sound;
}

/* The page size stands in the first meta page; if that is damaged, in the second, which then has to be searched for. */
static bool
page_size_find(struct check *c)
{
    uint8_t head[PAGE_HEAD + 28];

    c->page_size = PAGE_SIZE_MIN;
    if (!check_read(c, 0, head, sizeof head))
        return false;
    c->page_size = le32_get(head + 40);
    if (c->page_size >= PAGE_SIZE_MIN && c->page_size <= PAGE_SIZE_MAX &&
        (c->page_size & (c->page_size - 1)) == 0)
        return true;
    check_found(c, 0, "is a meta page that tells an impossible page size of %u", c->page_size);
    return false;
}

static bool
size_sound(const struct check *c, const struct meta m[2])
{
    const struct meta *const newest = &m[m[1].txn > m[0].txn];
    struct stat st;

    /* After the meta pages: what they name had been written before them. */
    if (fstat(c->fd, &st) != 0) {
        check_found(c, 0, "could not be examined: %s", strerror(errno));
        return false;
    }
    const uint64_t pages = (uint64_t)st.st_size / c->page_size;
    if (newest->last_page >= 1 && newest->last_page < pages + UNWRITTEN_MAX)
        return true;
    check_found(c, newest == m ? 0 : 1,
                "is a meta page that tells of pages up to %llu, and the file has %llu",
                (unsigned long long)newest->last_page, (unsigned long long)pages);
    return false;
}

struct pin {
    struct kv *kv;
    struct kv_txn *txn;
};

static void
pin_free(struct pin *p)
{
    kv_abort(&p->txn);
    kv_close(&p->kv);
}

/* Find the meta page of the pinned snapshot.  A writer may overwrite it between LMDB's look and ours: then pin anew. */
static enum err_kind
snapshot_find(struct check *c, struct pin *p, struct meta m[2], unsigned *ret, struct err *err)
{
    for (int tries = 0; tries < PIN_TRIES; tries++) {
        const enum err_kind kind = kv_begin(p->kv, false, &p->txn, err);

        if (kind != ERR_OK)
            return kind;
        c->txn = kv_txn_id(p->txn);
        if (!metas_read(c, m))
            break;
        *ret = c->txn & 1;
        if (m[*ret].txn == c->txn)
            return ERR_OK;
        kv_abort(&p->txn);
    }
    check_found(c, 0, "and page 1 are the meta pages of transactions %llu and %llu, and LMDB reads %llu",
                (unsigned long long)m[0].txn, (unsigned long long)m[1].txn, (unsigned long long)c->txn);
    return ERR_ABSENT;
}

/* The largest key of a snapshot's free tree; 0 if the way there is not sound. */
static uint64_t
newest_free(const struct check *c, const struct meta *m)
{
    AUTO(auto_free) uint8_t *page = mem_alloc(c->page_size);
    uint64_t number = m->free_db.root;
    size_t n = 0;

    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        if (number < 2 || number > m->last_page ||
            io_pread_upto(c->fd, page, c->page_size, number * c->page_size, &n, NULL) != ERR_OK ||
            n != c->page_size || le64_get(page) != number)
            return 0;
        const uint32_t lower = le16_get(page + 12);
        if (lower < PAGE_HEAD + 2 || lower > c->page_size)
            return 0;
        const uint32_t at = le16_get(page + lower - 2);
        if (at + NODE_HEAD + 8 > c->page_size)
            return 0;
        if (le16_get(page + 10) == PAGE_LEAF)
            return le64_get(page + at + NODE_HEAD);
        number = le32_get(page + at) | (uint64_t)le16_get(page + at + 4) << 32;
    }
    return 0;
}

/*
 * A changed bit of a meta page's transaction number can make LMDB take the older snapshot, whole in itself, for the newest.
 * Every transaction after the first replaces a page, hence leaves a free list under its own number: so each snapshot
 * tells which transaction made it.
 */
static void
metas_check(const struct check *c, const struct meta m[2], unsigned mine)
{
    const struct meta *const own = &m[mine];
    const struct meta *const other = &m[mine ^ 1];

    if (own->address != 0 || !own->clean)
        check_found(c, mine, "is a meta page with bytes where none should be");
    if (own->map_bytes != c->o->map_bytes)
        check_found(c, mine, "is a meta page with a map of %llu bytes", (unsigned long long)own->map_bytes);
    if (own->txn == 0 && other->txn == 0)
        return;
    if (other->txn + 1 != own->txn && own->txn + 1 != other->txn)
        check_found(c, mine ^ 1, "is the meta page of transaction %llu beside that of %llu",
                    (unsigned long long)other->txn, (unsigned long long)own->txn);
    if (own->txn >= 2 && newest_free(c, own) != own->txn)
        check_found(c, mine, "is the meta page of another transaction than it says");
    /* The older one's pages stand as long as its successor is pinned, so this holds while somebody writes. */
    if (other->txn + 1 == own->txn && other->txn >= 2) {
        const uint64_t made = newest_free(c, other);

        if (made != 0 && made != other->txn)
            check_found(c, mine ^ 1, "is the meta page of another transaction than it says");
    }
}

static void
trees_check(struct check *c, const struct meta *m)
{
    const struct tree free_tree = { .kind = TREE_FREE, .name = "free pages", .db = m->free_db };
    const struct tree main_tree = { .kind = TREE_MAIN, .name = "tables", .db = m->main_db };

    check_tree(c, &main_tree);
    for (unsigned i = 0; i < c->o->count; i++) {
        const struct tree t = { .kind = TREE_TABLE, .table = i, .name = c->o->tables[i], .db = c->tables[i] };

        if (c->has[i])
            check_tree(c, &t);
        else
            check_found(c, 0, "does not lead to the table \"%s\"", c->o->tables[i]);
    }
    check_tree(c, &free_tree);
}

/* Pages that are nothing, in runs. */
static void
pages_check(const struct check *c)
{
    uint64_t from = 0;

    for (uint64_t p = 2; p <= c->last_page + 1; p++) {
        const bool lost = p <= c->last_page && c->states[p] == STATE_NONE;

        if (lost && from == 0)
            from = p;
        if (lost || from == 0)
            continue;
        check_found(c, from, "to page %llu: neither in use nor free", (unsigned long long)(p - 1));
        from = 0;
    }
}

/* Findings that leave nothing to walk end it early, with ERR_OK: damage is a result. */
static enum err_kind
check_all(struct check *c, const char *dir, struct err *err)
{
    const struct kv_options bare = { .map_bytes =
                                         c->o->map_bytes }; /* no tables: LMDB sees the meta pages only */
    AUTO(pin_free) struct pin pin = { 0 };
    AUTO(auto_free) uint8_t *states = NULL;
    struct meta m[2];
    unsigned mine = 0;

    if (!page_size_find(c) || !metas_read(c, m) || !metas_open(c, m) || !size_sound(c, m))
        return ERR_OK;
    enum err_kind kind = kv_open(dir, &bare, &pin.kv, err);
    if (kind == ERR_OK)
        kind = snapshot_find(c, &pin, m, &mine, err);
    if (kind == ERR_ABSENT)
        return ERR_OK;
    if (kind != ERR_OK)
        return kind;
    if (!metas_open(c, m) || !size_sound(c, m))
        return ERR_OK;
    c->last_page = m[mine].last_page;
    c->states = states = mem_zero(c->last_page + 1, 1);
    states[0] = states[1] = STATE_META;
    metas_check(c, m, mine);
    trees_check(c, &m[mine]);
    pages_check(c);
    return ERR_OK;
}

enum err_kind
kv_check(const char *dir, const struct kv_options *o, kv_check_fn *found, void *arg, uint64_t *ret_rows,
         struct err *err)
{
    AUTO(auto_close) int dir_fd = -1;
    AUTO(auto_close) int fd = -1;
    struct check c = { .o = o, .found = found, .arg = arg };
    enum err_kind kind = fs_dir_open(dir, &dir_fd, err);

    assert(o->count >= 1 && o->count <= sizeof c.tables / sizeof c.tables[0]);
    if (kind != ERR_OK)
        return kind;
    fd = openat(dir_fd, "data.mdb", O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_ABSENT, "there is no index in \"%s\"", dir);
    if (fd < 0)
        return err_errno(err, "could not open \"%s/data.mdb\"", dir);
    c.fd = fd;
    kind = check_all(&c, dir, err);
    if (kind != ERR_OK)
        return kind;
    *ret_rows = c.rows;
    return ERR_OK;
}
