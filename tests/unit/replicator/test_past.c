/* The head mark gives a base for a file by its name, or by the newest name that differs in digits only.
 * Method: a directory of thousands of files, built to pages that a site of our own hands out by digest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "replicator/pass.h"
#include "tests/unit/unit.h"

static struct {
    struct digest digest;
    struct buf bytes;
} pages[256];
static size_t page_count, got;

static enum err_kind
keep(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err)
{
    (void)arg;
    (void)err;
    assert_true(page_count < 256);
    pages[page_count].digest = *digest;
    buf_put(&pages[page_count++].bytes, page, size);
    return ERR_OK;
}

enum err_kind
link_call(struct link *l, const struct link_want *w, const struct buf *payload, struct wire_frame *ret,
          struct err *err)
{
    (void)l;
    (void)err;
    struct wire_get get;
    assert_int_equal(w->send, WIRE_GET);
    assert_int_equal(wire_get_get(payload->at, payload->size, &get, NULL), ERR_OK);
    struct wire_got reply = { .id = get.id };
    for (size_t i = 0; i < page_count; i++)
        if (hash_same(&pages[i].digest, &get.digest))
            reply = (struct wire_got){ get.id, true, pages[i].bytes.at, pages[i].bytes.size };
    got++;
    ret->type = WIRE_GOT;
    wire_put_got(&reply, &ret->payload);
    return ERR_OK;
}

static struct tree_entry
file(const char *name, uint64_t size, int64_t mtime)
{
    struct tree_entry e = { .name = name, .type = TREE_FILE, .mode = 0644, .size = size, .mtime_s = mtime };
    e.name_bytes = (uint16_t)strlen(name);
    memcpy(e.digest.at, &size, sizeof(size));
    return e;
}

/* A root with 3,000 files, three dumps and a directory with one file. */
static void
make(struct pass *p)
{
    struct tree_builder *b = tree_builder_new(keep, NULL);
    struct tree_sum sum;
    struct tree_entry inner = file("inner.bin", 700000, 1);
    assert_int_equal(tree_builder_add(b, &inner, NULL), ERR_OK);
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    const struct {
        const char *name;
        uint64_t size;
        int64_t mtime;
    } dumps[] = { { "dump-20261120.sql", 100001, 50 },
                  { "dump-20261121.sql", 100002, 90 },
                  { "dump-9.sql", 100003, 70 } };
    for (size_t i = 0; i < 3; i++) {
        struct tree_entry e = file(dumps[i].name, dumps[i].size, dumps[i].mtime);
        assert_int_equal(tree_builder_add(b, &e, NULL), ERR_OK);
    }
    for (unsigned i = 0; i < 3000; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "file%05u", i);
        struct tree_entry e = file(name, 200000 + i, i);
        assert_int_equal(tree_builder_add(b, &e, NULL), ERR_OK);
    }
    struct tree_entry sub = {
        .name = "sub", .name_bytes = 3, .type = TREE_DIR, .mode = 0755, .digest = sum.digest
    };
    sub.size = sum.size;
    sub.count = sum.count;
    assert_int_equal(tree_builder_add(b, &sub, NULL), ERR_OK);
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    struct tree_entry root = {
        .name = ".", .name_bytes = 1, .type = TREE_DIR, .mode = 0755, .digest = sum.digest
    };
    root.size = sum.size;
    root.count = sum.count;
    struct buf page = { 0 };
    tree_root_encode(&root, &page);
    tree_page_digest(page.at, page.size, &p->head_root);
    (void)keep(NULL, &p->head_root, page.at, page.size, NULL);
    buf_free(&page);
    tree_builder_free(&b);
}

static uint64_t
base_of(struct dir *d, const char *name)
{
    struct wire_base base = { 0 };
    bool found = false;
    assert_int_equal(past_base(d, name, strlen(name), &found, &base, NULL), ERR_OK);
    return found ? base.size : 0;
}

static void
a_base_is_found_by_name_or_by_a_name_that_differs_in_digits(void **state)
{
    (void)state;
    struct pass p;
    memset(&p, 0, sizeof(p));
    make(&p);
    struct item root = { 0 }, sub = { .entry = { .name = "sub", .name_bytes = 3 } };
    struct item gone = { .entry = { .name = "gone", .name_bytes = 4 } };
    struct dir top = { .pass = &p, .item = &root };
    struct dir below = { .pass = &p, .parent = &top, .item = &sub };
    struct dir nowhere = { .pass = &p, .parent = &top, .item = &gone };
    assert_int_equal(base_of(&top, "file00007"), 200007);
    assert_int_equal(base_of(&top, "file02999"), 202999);
    assert_int_equal(base_of(&top, "dump-20261120.sql"), 100001);
    assert_int_equal(base_of(&top, "dump-20261122.sql"), 100002); /* the newest of three */
    assert_int_equal(base_of(&top, "dump-x.sql"), 0);
    assert_int_equal(base_of(&top, "dump-2026112.sq"), 0);
    assert_int_equal(base_of(&below, "inner.bin"), 700000);
    assert_int_equal(base_of(&below, "outer.bin"), 0);
    assert_int_equal(base_of(&nowhere, "inner.bin"), 0);
    /* In order of names each page is fetched once. */
    got = 0;
    for (unsigned i = 0; i < 3000; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "file%05u", i);
        assert_int_equal(base_of(&top, name), 200000 + i);
    }
    assert_true(got <= page_count);
    past_free(&top.past_page);
    past_free(&below.past_page);
    past_free(&nowhere.past_page);
    for (size_t i = 0; i < page_count; i++)
        buf_free(&pages[i].bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_base_is_found_by_name_or_by_a_name_that_differs_in_digits),
    };
    return cmocka_run_group_tests_name("replicator/past", tests, NULL, NULL);
}
