/* list.h - what farshore-snapshot shows of a store: its marks, one mark, a directory of a mark, what two marks differ in. */
#ifndef SNAPSHOT_LIST_H
#define SNAPSHOT_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/json.h"
#include "snapshot/index.h"
#include "snapshot/store.h"
#include "snapshot/tree.h"

/* All print to standard output: lines for people, or JSON. */
struct list {
    struct store *store;
    bool json;
};

/* Marks, in the order in which the ledger took them (oldest first).  source: NULL all, "AGENT", or "AGENT/SOURCE".
 * Errors: ERR_ABSENT when a source was named and has no mark. */
ERR_CHECK enum err_kind list_marks(const struct list *l, const char *source, struct err *err);
/* Everything known of one mark.  *ret_sound is false when its signature does not hold. */
ERR_CHECK enum err_kind show_mark(const struct list *l, const char *point, bool *ret_sound, struct err *err);
/* A directory of a mark, or one entry. path may be NULL: its root. */
ERR_CHECK enum err_kind show_dir(const struct list *l, const char *point, const char *path, struct err *err);
/* What is different in b.  *ret_differences counts the lines. */
struct diff_points {
    const char *a, *b;
};
ERR_CHECK enum err_kind diff_marks(const struct list *l, const struct diff_points *points, uint64_t *ret_differences,
                                   struct err *err);

/* The fields that every listing gives of a mark. */
void list_mark_json(const struct index_mark *m, struct json *ret);
/* A time of a file as text; WHEN_ROOM. Times out of the range of 64-bit nanoseconds are seconds with "s" behind. */
void show_time(const struct tree_entry *e, char *ret);
/* "drwxr-xr-x" of a type and a mode; 11 bytes. */
void show_mode(const struct tree_entry *e, char ret[11]);

/* diff: how two entries of one name differ. */
enum diff_kind { DIFF_NONE, DIFF_TYPE, DIFF_CONTENT, DIFF_METADATA };
/* *ret_what: names of what differs, joined by ", "; 128 bytes.  Directories are compared without what is beneath them. */
enum diff_kind diff_entries(const struct tree_entry *a, const struct tree_entry *b, char ret_what[128]);

#endif
