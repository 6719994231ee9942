/* A directory is pages: what goes in comes out, one content has one digest, and one change makes few new pages.
 * Method: random directories are built into a list of pages in memory and read back; pages are damaged bit by bit. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/tree.h"
#include "snapshot/tree_internal.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

/* The pages of a directory, as they were emitted. */
struct pages {
    struct page {
        struct digest digest;
        struct buf bytes;
    } * at; /* [count] */
    size_t count, room;
    size_t fail_at; /* the page whose emission fails, from 1; 0: none */
};

static enum err_kind
emit(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err)
{
    struct pages *const p = arg;
    struct digest again;

    if (p->fail_at != 0 && p->count + 1 == p->fail_at)
        return err_set(err, ERR_FULL, "no room");
    if (p->count == p->room) {
        p->room = p->room == 0 ? 64 : 2 * p->room;
        p->at = mem_grow(p->at, p->room, sizeof *p->at);
    }
    tree_page_digest(page, size, &again);
    assert_memory_equal(digest, &again, sizeof again);
    assert_true(size <= OBJECT_BYTES_MAX);
    p->at[p->count] = (struct page){ .digest = *digest };
    buf_put(&p->at[p->count++].bytes, page, size);
    return ERR_OK;
}

static void
pages_free(struct pages *p)
{
    for (size_t i = 0; i < p->count; i++)
        buf_free(&p->at[i].bytes);
    free(p->at);
    *p = (struct pages){ 0 };
}

static const struct page *
find(const struct pages *p, const struct digest *d)
{
    for (size_t i = 0; i < p->count; i++)
        if (memcmp(&p->at[i].digest, d, sizeof *d) == 0)
            return &p->at[i];
    return NULL;
}

/* Random entries; their texts lie in one block of memory that they own together. */
struct dir {
    struct tree_entry *at; /* [count], sorted */
    size_t count;
    void **owned; /* [owned_count] */
    size_t owned_count, owned_room;
};

static void *
own(struct dir *d, void *p)
{
    if (d->owned_count == d->owned_room) {
        d->owned_room = d->owned_room == 0 ? 64 : 2 * d->owned_room;
        d->owned = mem_grow(d->owned, d->owned_room, sizeof *d->owned);
    }
    return d->owned[d->owned_count++] = p;
}

static void
dir_free(struct dir *d)
{
    for (size_t i = 0; i < d->owned_count; i++)
        free(d->owned[i]);
    free(d->owned);
    free(d->at);
    *d = (struct dir){ 0 };
}

static int
by_name(const void *a, const void *b)
{
    const struct tree_entry *const x = a, *const y = b;

    return tree_name_order(x->name, x->name_bytes, y->name, y->name_bytes);
}

static void
sort(struct dir *d)
{
    size_t kept = 0;

    if (d->count > 0)
        qsort(d->at, d->count, sizeof *d->at, by_name);
    for (size_t i = 0; i < d->count; i++)
        if (kept == 0 || by_name(&d->at[kept - 1], &d->at[i]) != 0)
            d->at[kept++] = d->at[i];
    d->count = kept;
}

/* Bytes that are no NUL and no slash. */
static char *
text(struct dir *d, size_t bytes)
{
    char *const t = own(d, mem_alloc(bytes));

    for (size_t i = 0; i < bytes; i++)
        do
            t[i] = (char)(seed_below(4) ? 'a' + (int)seed_below(26) : 1 + (int)seed_below(255));
        while (t[i] == '/' || t[i] == '\0');
    return t;
}

static void
add_xattrs(struct dir *d, struct tree_entry *e)
{
    if (seed_below(3) == 0) {
        e->xattrs_bytes = XATTR_INLINE_MAX + 1 + (uint32_t)seed_below(XATTRS_BYTES_MAX - XATTR_INLINE_MAX);
        seed_fill(&e->xattrs_digest, sizeof e->xattrs_digest);
        return;
    }
    AUTO(buf_free) struct buf set = { 0 };
    const size_t value = (size_t)seed_below(200);

    buf_block(&set, "user.a", 6);
    buf_block(&set, text(d, value), value);
    buf_block(&set, "user.b", 6);
    buf_block(&set, "", 0);
    e->xattrs = own(d, mem_copy(set.at, set.size));
    e->xattrs_bytes = (uint32_t)set.size;
}

static void
make_content(struct dir *d, struct tree_entry *e)
{
    if (e->type == TREE_FILE) {
        e->size = seed_next() >> (18 + seed_below(46));
        e->sparse = (uint8_t)seed_below(2);
    } else if (e->type == TREE_DIR) {
        e->count = seed_below(1000);
        e->size = e->count == 0 ? 0 : seed_below(UINT64_C(1) << 40);
    } else if (e->type == TREE_LINK) {
        e->target_bytes = (uint16_t)(1 + seed_below(seed_below(20) ? 40 : TARGET_BYTES_MAX));
        e->target = text(d, e->target_bytes);
    } else if (e->type == TREE_CHAR || e->type == TREE_DISK) {
        e->rdev = seed_next() >> seed_below(64);
    }
    if (e->type == TREE_FILE || e->type == TREE_DIR)
        seed_fill(&e->digest, sizeof e->digest);
}

static void
make_entry(struct dir *d, struct tree_entry *e)
{
    static const char types[] = "fffffddlpscb";

    *e = (struct tree_entry){ .type = (uint8_t)types[seed_below(sizeof types - 1)],
                              .mode = (uint16_t)seed_below(07777 + 1) };
    do {
        e->name_bytes = (uint16_t)(1 + seed_below(seed_below(10) ? 20 : NAME_BYTES_MAX));
        e->name = text(d, e->name_bytes);
    } while (!tree_name_ok(e->name, e->name_bytes));
    if (seed_below(2)) {
        e->uid = (uint32_t)seed_next();
        e->gid = (uint32_t)seed_next() >> 20;
    }
    if (seed_below(2)) {
        e->user_bytes = (uint8_t)seed_below(USER_BYTES_MAX + 1);
        e->user = text(d, e->user_bytes);
        e->group_bytes = (uint8_t)seed_below(20);
        e->group = text(d, e->group_bytes);
    }
    e->mtime_s = (int64_t)(seed_next() >> seed_below(64)) * (seed_below(2) ? 1 : -1);
    e->mtime_ns = seed_below(2) ? (uint32_t)seed_below(1000000000) : 0;
    if (e->type != TREE_DIR && seed_below(5) == 0)
        e->link_group = seed_next() >> seed_below(64);
    make_content(d, e);
    if (seed_below(4) == 0)
        add_xattrs(d, e);
}

static void
make(struct dir *d, size_t count)
{
    *d = (struct dir){ .at = mem_zero(count, sizeof *d->at), .count = count };
    for (size_t i = 0; i < count; i++)
        make_entry(d, &d->at[i]);
    sort(d);
}

static struct tree_sum
build(struct tree_builder *b, const struct dir *d, size_t without)
{
    struct tree_sum sum = { 0 };

    for (size_t i = 0; i < d->count; i++)
        if (i != without)
            assert_int_equal(tree_builder_add(b, &d->at[i], NULL), ERR_OK);
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    return sum;
}
#define ALL SIZE_MAX

static bool
same_text(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return a_bytes == b_bytes && (a_bytes == 0 || memcmp(a, b, a_bytes) == 0);
}

static bool
same(const struct tree_entry *a, const struct tree_entry *b)
{
    const bool in = a->xattrs_bytes <= XATTR_INLINE_MAX;

    return same_text(a->name, a->name_bytes, b->name, b->name_bytes) && a->type == b->type &&
           a->sparse == b->sparse && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
           same_text(a->user, a->user_bytes, b->user, b->user_bytes) &&
           same_text(a->group, a->group_bytes, b->group, b->group_bytes) && a->mtime_s == b->mtime_s &&
           a->mtime_ns == b->mtime_ns && a->rdev == b->rdev && a->link_group == b->link_group &&
           a->size == b->size && a->count == b->count &&
           memcmp(&a->digest, &b->digest, sizeof a->digest) == 0 &&
           same_text(a->target, a->target_bytes, b->target, b->target_bytes) &&
           a->xattrs_bytes == b->xattrs_bytes &&
           (in ? same_text(a->xattrs, a->xattrs_bytes, b->xattrs, b->xattrs_bytes)
               : memcmp(&a->xattrs_digest, &b->xattrs_digest, sizeof a->xattrs_digest) == 0);
}

/* What a parsed page encodes to. */
static void
encode(const struct tree_page *p, struct buf *ret)
{
    tree_put_header(ret, p->level, p->count);
    for (uint32_t i = 0; i < p->count; i++)
        if (p->level > 0)
            tree_put_child(ret, &p->children[i]);
        else
            tree_put_entry(ret, &p->entries[i]);
}

/* Read a directory from its top page; *next is the entry that must come. */
struct reading {
    const struct pages *pages;
    const struct dir *dir;
    size_t next;
    uint64_t size;
};

static void
read_back(struct reading *r, const struct digest *top, int level)
{
    const struct page *const page = find(r->pages, top);
    AUTO(tree_page_free) struct tree_page p = { 0 };
    AUTO(buf_free) struct buf again = { 0 };
    struct err err = { 0 };

    assert_non_null(page);
    if (tree_page_parse(page->bytes.at, page->bytes.size, &p, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_true(level < 0 || p.level == level);
    encode(&p, &again);
    assert_true(same_text(again.at, again.size, page->bytes.at, page->bytes.size));
    for (uint32_t i = 0; i < p.count; i++) {
        if (p.level == 0) {
            assert_true(r->next < r->dir->count && same(&p.entries[i], &r->dir->at[r->next]));
            r->size += p.entries[i].size;
            r->next++;
            continue;
        }
        const struct tree_child *const c = &p.children[i];
        const size_t next = r->next;
        const uint64_t size = r->size;

        read_back(r, &c->digest, p.level - 1);
        assert_int_equal(r->next - next, c->names);
        assert_int_equal(r->size - size, c->size);
        assert_true(same_text(c->last, c->last_bytes, r->dir->at[r->next - 1].name,
                              r->dir->at[r->next - 1].name_bytes));
    }
}

static void
what_is_built_is_read_back(void **state)
{
    static const size_t counts[] = { 0, 1, 2, 3, 50, 128, 300, 1024, 5000, 20000 };
    AUTO(pages_free) struct pages reused = { 0 };
    AUTO(tree_builder_free) struct tree_builder *builder = tree_builder_new(emit, &reused);

    (void)state;
    seed_start();
    for (unsigned round = 0; round < 30; round++) {
        AUTO(dir_free) struct dir d;
        AUTO(pages_free) struct pages pages = { 0 };
        AUTO(tree_builder_free) struct tree_builder *fresh = tree_builder_new(emit, &pages);
        uint64_t count = 0;

        make(&d, round < 10 ? counts[round] : (size_t)seed_below(2000));
        const struct tree_sum sum = build(builder, &d, ALL), again = build(fresh, &d, ALL);
        struct reading r = { .pages = &pages, .dir = &d };

        assert_memory_equal(&sum, &again, sizeof sum);
        read_back(&r, &sum.digest, -1);
        assert_int_equal(r.next, d.count);
        assert_int_equal(r.size, sum.size);
        for (size_t i = 0; i < d.count; i++)
            count += 1 + d.at[i].count;
        assert_int_equal(count, sum.count);
    }
}

static void
an_empty_directory_is_a_page_without_entries(void **state)
{
    static const uint8_t page[] = { 1, 0, 0, 0, 0, 0 };
    AUTO(pages_free) struct pages pages = { 0 };
    AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(emit, &pages);
    struct tree_sum sum;

    (void)state;
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    assert_int_equal(pages.count, 1);
    assert_int_equal(pages.at[0].bytes.size, sizeof page);
    assert_memory_equal(pages.at[0].bytes.at, page, sizeof page);
    assert_int_equal(sum.size, 0);
    assert_int_equal(sum.count, 0);
}

/* Names "file 000001" and so on; those for which want is 1 must be cut names, 0 must not, -1 either. */
static void
make_names(struct dir *d, size_t count, int want)
{
    *d = (struct dir){ .at = mem_zero(count, sizeof *d->at) };
    for (unsigned n = 0; d->count < count; n++) {
        char *const name = own(d, mem_text("file %08u", n));

        if (want >= 0 && tree_cut_after(name, strlen(name), 0) != (want == 1))
            continue;
        d->at[d->count++] = (struct tree_entry){ .name = name,
                                                 .name_bytes = (uint16_t)strlen(name),
                                                 .type = TREE_FILE,
                                                 .mode = 0644,
                                                 .size = n,
                                                 .digest.at[0] = (uint8_t)n };
    }
}

static size_t
not_in(const struct pages *a, const struct pages *b)
{
    size_t count = 0;

    for (size_t i = 0; i < a->count; i++)
        count += find(b, &a->at[i].digest) == NULL;
    return count;
}

static void
one_name_more_or_less_makes_few_new_pages(void **state)
{
    AUTO(dir_free) struct dir d;
    AUTO(pages_free) struct pages all = { 0 };
    AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(emit, &all);
    size_t most_in = 0, most_out = 0;

    (void)state;
    seed_start();
    make_names(&d, 100000, -1);
    const struct tree_sum sum = build(b, &d, ALL);
    for (unsigned round = 0; round < 10; round++) {
        AUTO(pages_free) struct pages less = { 0 };
        AUTO(tree_builder_free) struct tree_builder *other = tree_builder_new(emit, &less);
        const struct tree_sum without = build(other, &d, (size_t)seed_below(d.count));
        const size_t in = not_in(&all, &less), out = not_in(&less, &all);

        assert_int_equal(without.count + 1, sum.count);
        most_in = in > most_in ? in : most_in;
        most_out = out > most_out ? out : most_out;
    }
    print_message("%zu names are %zu pages; a name more makes at most %zu new ones, a name less %zu\n",
                  d.count, all.count, most_in, most_out);
    assert_true(most_in <= 8 && most_out <= 8);
}

static uint32_t
count_of(const struct page *p)
{
    return le32_get(p->bytes.at + 2);
}

static void
pages_end_where_the_rule_says(void **state)
{
    static const struct {
        int want; /* make_names */
        size_t names;
        uint32_t each; /* entries of each full page */
        size_t bottom; /* pages of level 0 */
    } table[] = {
        { 0, PAGE_ENTRIES_MAX, PAGE_ENTRIES_MAX, 1 },
        { 0, PAGE_ENTRIES_MAX + 1, PAGE_ENTRIES_MAX, 2 },
        { 0, 3 * PAGE_ENTRIES_MAX, PAGE_ENTRIES_MAX, 3 },
        { 1, 1, 1, 1 },
        { 1, 2, 1, 2 },
        { 1, 500, 1, 500 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(dir_free) struct dir d;
        AUTO(pages_free) struct pages pages = { 0 };
        AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(emit, &pages);
        size_t bottom = 0;

        make_names(&d, table[i].names, table[i].want);
        const struct tree_sum sum = build(b, &d, ALL);
        struct reading r = { .pages = &pages, .dir = &d };

        read_back(&r, &sum.digest, -1);
        for (size_t p = 0; p < pages.count; p++)
            if (pages.at[p].bytes.at[1] == 0) {
                bottom++;
                assert_true(count_of(&pages.at[p]) == table[i].each || bottom == table[i].bottom);
            }
        assert_int_equal(bottom, table[i].bottom);
        assert_true(bottom > 1 || pages.count == 1);
    }
}

static void
long_entries_end_a_page_before_it_is_too_large(void **state)
{
    AUTO(dir_free) struct dir d;
    AUTO(pages_free) struct pages pages = { 0 };
    AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(emit, &pages);
    char target[TARGET_BYTES_MAX];
    size_t large = 0;

    (void)state;
    memset(target, 't', sizeof target);
    make_names(&d, 1000, 0);
    for (size_t i = 0; i < d.count; i++)
        d.at[i] = (struct tree_entry){ .name = d.at[i].name,
                                       .name_bytes = d.at[i].name_bytes,
                                       .type = TREE_LINK,
                                       .mode = 0777,
                                       .target = target,
                                       .target_bytes = sizeof target };
    const struct tree_sum sum = build(b, &d, ALL);
    struct reading r = { .pages = &pages, .dir = &d };

    read_back(&r, &sum.digest, -1);
    for (size_t i = 0; i < pages.count; i++)
        large += pages.at[i].bytes.size > OBJECT_BYTES_MAX - TARGET_BYTES_MAX - 64;
    assert_true(large >= 1000 * TARGET_BYTES_MAX / OBJECT_BYTES_MAX);
}

static void
what_emit_returns_ends_the_building(void **state)
{
    AUTO(dir_free) struct dir d;

    (void)state;
    make_names(&d, 3000, -1);
    for (size_t fail_at = 1; fail_at < 40; fail_at++) {
        AUTO(pages_free) struct pages pages = { .fail_at = fail_at };
        AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(emit, &pages);
        struct tree_sum sum;
        enum err_kind k = ERR_OK;

        for (size_t i = 0; i < d.count && k == ERR_OK; i++)
            k = tree_builder_add(b, &d.at[i], NULL);
        if (k == ERR_OK)
            k = tree_builder_end(b, &sum, NULL);
        if (k == ERR_OK)
            assert_true(pages.count < fail_at);
        else
            assert_int_equal(k, ERR_FULL);
    }
}

/* A page that is read back must be the only encoding of what it says. */
static void
refused_or_the_only_one(const uint8_t *bytes, size_t size)
{
    AUTO(tree_page_free) struct tree_page p = { 0 };
    AUTO(buf_free) struct buf again = { 0 };
    struct err err;
    const enum err_kind k = tree_page_parse(bytes, size, &p, &err);

    if (k != ERR_OK) {
        assert_int_equal(k, ERR_CORRUPT);
        assert_non_null(strstr(err.text, "page is damaged"));
        return;
    }
    encode(&p, &again);
    assert_true(same_text(again.at, again.size, bytes, size));
}

static void
damage_is_refused_or_gives_another_page_that_is_sound(void **state)
{
    (void)state;
    seed_start();
    for (unsigned round = 0; round < 20; round++) {
        AUTO(dir_free) struct dir d;
        AUTO(pages_free) struct pages pages = { 0 };
        AUTO(tree_builder_free) struct tree_builder *b = tree_builder_new(emit, &pages);
        AUTO(tree_page_free) struct tree_page none = { 0 };

        if (round % 2)
            make(&d, 1 + (size_t)seed_below(10));
        else
            make_names(&d, 8, 1);
        (void)build(b, &d, ALL);
        struct buf *const page = &pages.at[pages.count - 1].bytes;

        for (size_t size = 0; size < page->size; size++)
            assert_int_equal(tree_page_parse(page->at, size, &none, NULL), ERR_CORRUPT);
        for (size_t i = 0; i < page->size * 8; i++) {
            page->at[i / 8] ^= (uint8_t)(1u << i % 8);
            refused_or_the_only_one(page->at, page->size);
            page->at[i / 8] ^= (uint8_t)(1u << i % 8);
        }
        buf_u8(page, 0);
        assert_int_equal(tree_page_parse(page->at, page->size, &none, NULL), ERR_CORRUPT);
    }
}

static const char *
parse_two(const struct tree_entry *a, const struct tree_entry *b, struct err *err)
{
    AUTO(buf_free) struct buf page = { 0 };
    AUTO(tree_page_free) struct tree_page p = { 0 };

    tree_put_header(&page, 0, b == NULL ? 1 : 2);
    tree_put_entry(&page, a);
    if (b != NULL)
        tree_put_entry(&page, b);
    return tree_page_parse(page.at, page.size, &p, err) == ERR_OK ? "sound" : err->text;
}

static void
entries_that_break_a_rule_are_refused(void **state)
{
#define NAMED(n) .name = (n), .name_bytes = sizeof(n) - 1
    static const uint8_t unsorted[] = { 1, 'b', 0, 1, 'a', 0 }, cut[] = { 1, 'b', 9 },
                         twice[] = { 1, 'b', 0, 1, 'b', 0 };
    static const struct {
        const char *says;
        struct tree_entry e;
    } table[] = {
        { "sound", { NAMED("a"), .type = TREE_FILE } },
        { "sound", { NAMED("."), .type = TREE_DIR } },
        { "sound", { NAMED("..."), .type = TREE_FIFO } },
        { "sound", { NAMED("a"), .type = TREE_CHAR, .rdev = UINT64_MAX } },
        { "name is not allowed", { NAMED("."), .type = TREE_FILE } },
        { "name is not allowed", { NAMED(".."), .type = TREE_DIR } },
        { "name is not allowed", { NAMED("a/b"), .type = TREE_FILE } },
        { "name is not allowed", { NAMED("a\0b"), .type = TREE_FILE } },
        { "type is not known", { NAMED("a"), .type = 'x' } },
        { "type is not known", { NAMED("a"), .type = 0 } },
        { "mode is out of range", { NAMED("a"), .type = TREE_FILE, .mode = 010000 } },
        { "time is out of range", { NAMED("a"), .type = TREE_FILE, .mtime_ns = 1000000000 } },
        { "only a file is sparse", { NAMED("a"), .type = TREE_DIR, .sparse = 1 } },
        { "a directory has one name", { NAMED("a"), .type = TREE_DIR, .link_group = 1 } },
        { "size is out of range", { NAMED("a"), .type = TREE_FILE, .size = FILE_BYTES_MAX + 1 } },
        { "size is out of range", { NAMED("a"), .type = TREE_DIR, .count = 1, .size = UINT64_MAX } },
        { "count is out of range", { NAMED("a"), .type = TREE_DIR, .size = 1 } },
        { "count is out of range", { NAMED("a"), .type = TREE_DIR, .count = INT64_MAX } },
        { "out of range", { NAMED("a"), .type = TREE_LINK } },
        { "NUL", { NAMED("a"), .type = TREE_LINK, .target = "\0", .target_bytes = 1 } },
        { "NUL", { NAMED("a"), .type = TREE_FILE, .user = "\0", .user_bytes = 1 } },
        { "too long",
          { NAMED("a"), .type = TREE_FILE, .user_bytes = USER_BYTES_MAX + 1,
            .user = "0123456789012345678901234567890123456789012345678901234567890123456789" } },
        { "xattrs are damaged",
          { NAMED("a"), .type = TREE_FILE, .xattrs = unsorted, .xattrs_bytes = sizeof unsorted } },
        { "xattrs are damaged",
          { NAMED("a"), .type = TREE_FILE, .xattrs = twice, .xattrs_bytes = sizeof twice } },
        { "xattrs are damaged",
          { NAMED("a"), .type = TREE_FILE, .xattrs = cut, .xattrs_bytes = sizeof cut } },
        { "out of range", { NAMED("a"), .type = TREE_FILE, .xattrs_bytes = XATTRS_BYTES_MAX + 1 } },
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *const says = parse_two(&table[i].e, NULL, &err);

        if (strstr(says, table[i].says) == NULL)
            fail_msg("row %zu: \"%s\" instead of \"%s\"", i, says, table[i].says);
    }
}

static void
entries_that_do_not_go_together_are_refused(void **state)
{
    AUTO(dir_free) struct dir plain, cuts;
    struct tree_entry dot = { .name = ".", .name_bytes = 1, .type = TREE_DIR },
                      z = { NAMED("z"), .type = TREE_FIFO };
    struct tree_entry half = { NAMED("y"), .type = TREE_DIR, .count = 1, .size = INT64_MAX };
    struct tree_entry more = { NAMED("z"), .type = TREE_FILE, .size = 1 };
    struct err err;

    (void)state;
    make_names(&plain, 2, 0);
    make_names(&cuts, 1, 1);
    assert_string_equal(parse_two(&plain.at[0], &plain.at[1], &err), "sound");
    assert_non_null(strstr(parse_two(&plain.at[1], &plain.at[0], &err), "not after the one before"));
    assert_non_null(strstr(parse_two(&plain.at[1], &plain.at[1], &err), "not after the one before"));
    assert_string_equal(parse_two(&cuts.at[0], NULL, &err), "sound");
    assert_non_null(strstr(parse_two(&cuts.at[0], &z, &err), "should have ended"));
    assert_non_null(strstr(parse_two(&dot, &z, &err), "stands alone"));
    assert_non_null(strstr(parse_two(&half, &more, &err), "sums are out of range"));
}

static void
the_root_page_holds_the_directory_as_dot(void **state)
{
    const struct tree_entry e = { NAMED("anything"), .type = TREE_DIR, .mode = 0755, .count = 3, .size = 9 };
    AUTO(buf_free) struct buf b = { 0 };
    AUTO(tree_page_free) struct tree_page p = { 0 };

    (void)state;
    tree_root_encode(&e, &b);
    assert_int_equal(tree_page_parse(b.at, b.size, &p, NULL), ERR_OK);
    assert_int_equal(p.count, 1);
    assert_true(same_text(p.entries[0].name, p.entries[0].name_bytes, ".", 1));
    assert_int_equal(p.entries[0].size, 9);
}

static void
names_are_ordered_by_bytes_then_length(void **state)
{
    static const char *const order[] = { "A", "B", "a", "a.b", "aa", "ab", "b", "\x7f", "\x80", "\xff" };

    (void)state;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        for (size_t j = 0; j < sizeof order / sizeof order[0]; j++) {
            const int got = tree_name_order(order[i], strlen(order[i]), order[j], strlen(order[j]));

            assert_int_equal((got > 0) - (got < 0), (i > j) - (i < j));
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_built_is_read_back),
        cmocka_unit_test(an_empty_directory_is_a_page_without_entries),
        cmocka_unit_test(one_name_more_or_less_makes_few_new_pages),
        cmocka_unit_test(pages_end_where_the_rule_says),
        cmocka_unit_test(long_entries_end_a_page_before_it_is_too_large),
        cmocka_unit_test(what_emit_returns_ends_the_building),
        cmocka_unit_test(damage_is_refused_or_gives_another_page_that_is_sound),
        cmocka_unit_test(entries_that_break_a_rule_are_refused),
        cmocka_unit_test(entries_that_do_not_go_together_are_refused),
        cmocka_unit_test(the_root_page_holds_the_directory_as_dot),
        cmocka_unit_test(names_are_ordered_by_bytes_then_length),
    };
    return cmocka_run_group_tests_name("snapshot/tree", tests, NULL, NULL);
}
