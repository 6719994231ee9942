/* A walk gives the entries of a directory that were put in, in their order, whatever pages they fell into; two walks pass over what is
 * the same; a page that is lost costs its own names alone.
 * Method: directories of some thousand names, staged in a fresh store, read through the stage. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "snapshot/merkle.h"
#include "snapshot/walk.h"
#include "tests/unit/snapshot/store_fixture.h"

#define NAMES 3000

struct world {
    struct fixture f;
    struct stage *stage;
    struct reader *reader;
    int lose; /* the n-th page is not kept; -1 none */
    int pages;
    struct digest lost;
};

static void
world_new(void **state, struct world *w)
{
    memset(w, 0, sizeof *w);
    w->lose = -1;
    fixture_new(state, &w->f);
    w->stage = fixture_stage(&w->f);
    w->reader = reader_new(w->f.s, FIXTURE_CITY, 1 << 20);
    reader_stage(w->reader, w->stage);
}

static void
world_free(struct world *w)
{
    reader_free(&w->reader);
    stage_free(&w->stage);
    fixture_free(&w->f);
}

static enum err_kind
emit(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err)
{
    struct world *const w = arg;

    if (w->pages++ == w->lose) {
        w->lost = *digest;
        return ERR_OK;
    }
    return stage_object(w->stage, OBJECT_PAGE, digest, page, (uint32_t)size, err);
}

static void
name_of(int i, char ret[16])
{
    (void)snprintf(ret, 16, "f%06d", i);
}

/* What is staged is found once it is committed; what is handed over before is committed with it. */
static void
settle(struct world *w)
{
    struct json *none = NULL;

    assert_int_equal(stage_checkpoint(w->stage, NULL), ERR_OK);
    assert_int_equal(commit_change(w->f.s, NULL, NULL, &none, NULL), ERR_OK);
}

/* A directory of NAMES files, of which number odd has another mode (-1: none). */
static struct digest
directory(struct world *w, int odd)
{
    struct tree_builder *b = tree_builder_new(emit, w);
    struct tree_sum sum;

    for (int i = 0; i < NAMES; i++) {
        char name[16];
        struct tree_entry e = { .name = name, .type = TREE_FILE, .mode = i == odd ? 0600 : 0644 };

        name_of(i, name);
        e.name_bytes = (uint16_t)strlen(name);
        merkle_root(NULL, 0, &e.digest);
        assert_int_equal(tree_builder_add(b, &e, NULL), ERR_OK);
    }
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    tree_builder_free(&b);
    settle(w);
    return sum.digest;
}

static void
all_names_come_in_order(void **state)
{
    struct world w;
    struct tree_entry e;
    struct err err = { 0 };
    char name[16];

    world_new(state, &w);
    const struct digest d = directory(&w, -1);
    assert_true(w.pages > 5);
    struct walk *walk = walk_new(w.reader, &d);
    for (int i = 0; i < NAMES; i++) {
        name_of(i, name);
        assert_int_equal(walk_next(walk, &e, &err), ERR_OK);
        assert_int_equal(e.name_bytes, strlen(name));
        assert_memory_equal(e.name, name, e.name_bytes);
    }
    assert_int_equal(walk_next(walk, &e, &err), ERR_ABSENT);
    assert_int_equal(walk_next(walk, &e, &err), ERR_ABSENT);
    walk_free(&walk);
    world_free(&w);
}

static void
what_is_the_same_is_passed_over(void **state)
{
    struct world w;
    struct tree_entry e;
    int left = 0;
    bool met = false;

    world_new(state, &w);
    const struct digest a = directory(&w, -1), b = directory(&w, 1234);
    struct walk *x = walk_new(w.reader, &a), *y = walk_new(w.reader, &b);
    for (;;) {
        assert_int_equal(walk_skip_same(x, y, NULL), ERR_OK);
        if (walk_next(y, &e, NULL) != ERR_OK)
            break;
        met = met || (e.mode == 0600 && memcmp(e.name, "f001234", 7) == 0);
        assert_int_equal(walk_next(x, &e, NULL), ERR_OK);
        left++;
    }
    assert_true(met);
    assert_true(left < NAMES / 2); /* one page of names about */
    assert_int_equal(walk_next(x, &e, NULL), ERR_ABSENT);
    walk_free(&x);
    walk_free(&y);
    world_free(&w);
}

static void
a_lost_page_costs_its_own_names_alone(void **state)
{
    struct world w;
    struct tree_entry e;
    struct err err = { 0 };
    int found = 0, errors = 0;

    world_new(state, &w);
    w.lose = 2;
    const struct digest d = directory(&w, -1);
    struct walk *walk = walk_new(w.reader, &d);
    for (enum err_kind kind; (kind = walk_next(walk, &e, &err)) != ERR_ABSENT;) {
        if (kind == ERR_OK)
            found++;
        else
            errors++;
    }
    assert_int_equal(errors, 1);
    assert_true(found > NAMES / 2 && found < NAMES);
    walk_free(&walk);
    world_free(&w);
}

static void
a_directory_that_is_not_there_is_damage(void **state)
{
    struct world w;
    struct tree_entry e;
    const struct digest nowhere = { { 1 } };

    world_new(state, &w);
    struct walk *walk = walk_new(w.reader, &nowhere);
    assert_int_equal(walk_next(walk, &e, NULL), ERR_CORRUPT);
    assert_int_equal(walk_next(walk, &e, NULL), ERR_ABSENT);
    walk_free(&walk);
    world_free(&w);
}

static void
a_path_finds_its_entry(void **state)
{
    static const struct {
        const char *path;
        enum err_kind kind;
        const char *name;
    } table[] = {
        { "", ERR_OK, "." },
        { ".", ERR_OK, "." },
        { "/", ERR_OK, "." },
        { "f000007", ERR_OK, "f000007" },
        { "/f000007", ERR_OK, "f000007" },
        { "./f000007", ERR_OK, "f000007" },
        { "nope", ERR_ABSENT, NULL },
        { "f000007/x", ERR_ABSENT, NULL },
        { "..", ERR_ABSENT, NULL },
    };
    struct tree_entry dot = { .name = ".", .name_bytes = 1, .type = TREE_DIR, .mode = 0755, .count = NAMES };
    struct world w;
    struct buf root = { 0 };
    struct digest top;

    world_new(state, &w);
    dot.digest = directory(&w, -1);
    tree_root_encode(&dot, &root);
    tree_page_digest(root.at, root.size, &top);
    assert_int_equal(stage_object(w.stage, OBJECT_PAGE, &top, root.at, (uint32_t)root.size, NULL), ERR_OK);
    settle(&w);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct buf page = { 0 };
        struct tree_entry e;

        assert_int_equal(walk_find(w.reader, &top, table[i].path, &page, &e, NULL), table[i].kind);
        if (table[i].name != NULL)
            assert_memory_equal(e.name, table[i].name, e.name_bytes);
        buf_free(&page);
    }
    buf_free(&root);
    world_free(&w);
}

struct parts {
    uint64_t at, zeros;
    unsigned count;
};

static enum err_kind
part(void *arg, const struct walk_part *p, struct err *err)
{
    struct parts *const s = arg;

    (void)err;
    assert_int_equal(p->off, s->at);
    s->at += p->bytes;
    s->zeros += p->zero ? p->bytes : 0;
    s->count++;
    return ERR_OK;
}

/* Nothing is stored of it, so nothing may be asked for, and it is told in few pieces. */
static void
a_file_of_zeros_is_one_part_whatever_its_size(void **state)
{
    static const uint64_t sizes[] = { 1,          BLOCK_BYTES,  BLOCK_BYTES + 1, MAP_BYTES,
                                      5ull << 20, 300ull << 20, 1ull << 40 };
    struct world w;

    world_new(state, &w);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct parts s = { 0 };
        struct reader_file f = { .size = sizes[i] };
        const struct walk_parts parts = { .part = part, .arg = &s };

        merkle_zero(sizes[i], &f.digest);
        assert_int_equal(walk_file(w.reader, &f, &parts, NULL), ERR_OK);
        assert_int_equal(s.count, 1);
        assert_true(s.at == sizes[i] && s.zeros == sizes[i]);
    }
    world_free(&w);
}

/* 300 MiB of zeros but for one map: the parts lie side by side, and cover the file. */
static void
parts_cover_a_file_with_a_hole(void **state)
{
    struct world w;
    struct digest maps[64], nodes[2];
    struct parts s = { 0 };
    struct reader_file f = { .size = 300ull << 20 };
    const struct walk_parts parts = { .part = part, .arg = &s };

    world_new(state, &w);
    for (int i = 0; i < 64; i++)
        merkle_zero(MAP_BYTES, &maps[i]);
    memset(&maps[10], 7, sizeof maps[10]);
    merkle_root(maps, 64, &nodes[0]);
    merkle_zero((300ull << 20) - (256ull << 20), &nodes[1]);
    merkle_root(nodes, 2, &f.digest);
    assert_int_equal(stage_object(w.stage, OBJECT_NODE, &nodes[0], maps, sizeof maps, NULL), ERR_OK);
    assert_int_equal(stage_object(w.stage, OBJECT_NODE, &f.digest, nodes, sizeof nodes, NULL), ERR_OK);
    settle(&w);
    assert_int_equal(walk_file(w.reader, &f, &parts, NULL), ERR_OK);
    assert_true(s.at == f.size && s.zeros == f.size - MAP_BYTES);
    assert_int_equal(s.count, 65);
    world_free(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(all_names_come_in_order),
        unit_test_in_dir(what_is_the_same_is_passed_over),
        unit_test_in_dir(a_lost_page_costs_its_own_names_alone),
        unit_test_in_dir(a_directory_that_is_not_there_is_damage),
        unit_test_in_dir(a_path_finds_its_entry),
        unit_test_in_dir(a_file_of_zeros_is_one_part_whatever_its_size),
        unit_test_in_dir(parts_cover_a_file_with_a_hole),
    };

    return cmocka_run_group_tests_name("snapshot/walk", tests, NULL, NULL);
}
