/* tree_fixture.h - directories and pages in memory, for the tests of trees. */
#ifndef TESTS_UNIT_SNAPSHOT_TREE_FIXTURE_H
#define TESTS_UNIT_SNAPSHOT_TREE_FIXTURE_H

#include <stdbool.h>

#include "snapshot/tree.h"
#include "tests/unit/unit.h"

/* The pages of a directory, as they were emitted. */
struct pages {
    struct page {
        struct digest digest;
        struct buf bytes;
    } *at; /* [count] */
    size_t count, room;
    size_t fail_at; /* the page whose emission fails, from 1; 0: none */
};

/* Entries, and the texts that they point to. */
struct dir {
    struct tree_entry *at; /* [count], sorted */
    size_t count;
    void **owned; /* [owned_count] */
    size_t owned_count, owned_room;
};

/* Emit for a builder; arg is a struct pages. */
enum err_kind fixture_emit(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err);
void pages_free(struct pages *p);
/* The page of that digest, or NULL. */
const struct page *pages_find(const struct pages *p, const struct digest *d);
void dir_free(struct dir *d);
/* Random entries of all types, sorted. */
void dir_make(struct dir *d, size_t count);
/* Build d, but for one entry (ALL: none is left out). */
#define ALL SIZE_MAX
struct tree_sum dir_build(struct tree_builder *b, const struct dir *d, size_t without);
bool same_text(const void *a, size_t a_bytes, const void *b, size_t b_bytes);
bool same_entry(const struct tree_entry *a, const struct tree_entry *b);
/* What a parsed page encodes to. */
void page_encode(const struct tree_page *p, struct buf *ret);
/* Files named "file 00000001" and so on; want 1: only names that end a page, 0: only others, -1: all. */
void dir_make_names(struct dir *d, size_t count, int want);

#endif
