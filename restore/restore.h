/* restore.h - a mark becomes a tree again.
 *
 *     walker (one thread):   pages -> directories made and opened, files gathered in batches
 *     workers (pool):        batch: read, check, create, write, metadata; large file: one job a map
 *     the last user of a directory, whoever it is, puts its metadata on: so deepest first, and nothing is kept till the end
 *
 * Invariants: nothing is written that was not checked against the block digests; nothing is written outside of the target: every
 * name is one component, made below the descriptor of a directory that was opened without following a link; memory is bounded by
 * the queue.
 */
#ifndef RESTORE_RESTORE_H
#define RESTORE_RESTORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/err.h"
#include "common/limits.h"
#include "common/pool.h"
#include "common/progress.h"
#include "common/ring.h"
#include "restore/only.h"
#include "snapshot/index.h"
#include "snapshot/owner.h"
#include "snapshot/read.h"
#include "snapshot/store.h"
#include "snapshot/tree.h"

enum overwrite { OVERWRITE_REFUSE /* the target must be fresh */, OVERWRITE_NEVER, OVERWRITE_ALWAYS };

struct restore_options {
    const char *store, *point, *target;
    const char *const *only; /* [only_count] */
    size_t only_count;
    enum overwrite overwrite;
    enum ring_engine engine;
    bool plan, sync, untrusted, no_owner, numeric_owner, json, quiet;
};

/* A directory that is being restored; lives until all beneath it is done. */
struct dir {
    struct dir *parent; /* NULL: the target */
    int fd;
    atomic_uint users;  /* the walker, each item and each directory in it */
    bool existed;       /* before: names may be in the way */
    bool inherits;      /* what is made in it may inherit an ACL */
    bool keep;          /* its own metadata stay as they are */
    struct tree_entry e; /* pointers into bytes */
    char bytes[];
};

/* Anything but a directory. */
struct item {
    struct dir *dir;    /* one user of it */
    int fd;             /* of a regular file that is open already, else -1 */
    bool bad;           /* not restored; said why */
    uint32_t at;        /* of its content in the worker's buffer */
    struct tree_entry e; /* pointers into bytes */
    char bytes[];
};

struct links;
struct run {
    const struct restore_options *o;
    struct store *store;
    struct reader *reader;
    struct pool *pool;
    struct progress *progress;
    struct owners *owners;
    struct links *links;
    struct only only;
    struct index_mark mark;
    char source[2 * SOURCE_NAME_MAX + 2]; /* agent/source */
    char id[13];                          /* first digits of the mark's id */
    int target_fd;
    bool target_existed;

    pthread_mutex_t lock; /* guards err and standard output */
    struct err err;       /* what ended the run */
    atomic_bool stop;     /* err is set: end as soon as possible */
    atomic_uint_fast64_t files, dirs, bytes, findings, skipped, left_out, owners_failed;
    atomic_uint_fast64_t dirs_open;
};

/* restore_run.c */
/* All of it.  ret_findings: not everything is there; each was named.  Errors: ERR_REFUSED: the target is not empty. */
ERR_CHECK enum err_kind restore_run(const struct restore_options *o, bool *ret_findings, struct err *err);
/* End the run with this error; the first one wins. */
void run_stop(struct run *r, const struct err *err);
bool run_stopped(struct run *r);

/* restore_report.c; a name of NULL is the directory itself. */
void report_finding(struct run *r, const struct dir *d, const struct tree_entry *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A block or an object of the file is damaged; offset in it. */
void report_damage(struct run *r, const struct item *it, uint64_t offset, const struct err *why);
/* The same for a path as it is. */
void report_left_out(struct run *r, const void *raw_path, size_t bytes, const char *why);
void report_skipped(struct run *r, const struct dir *d, const struct tree_entry *e, const char *why);
/* A system call on the target failed with errno: what concerns one name is a finding, what concerns the disk ends the run. */
void report_target(struct run *r, const struct dir *d, const struct tree_entry *e, const char *what);
void report_result(struct run *r, double seconds);
/* Path of a name in a directory, escaped; free() it. */
char *report_path(const struct dir *d, const struct tree_entry *e);
/* The same as it is, appended to ret; "" for the target. */
void report_raw_path(const struct dir *d, const struct tree_entry *e, struct buf *ret);

/* restore_plan.c */
ERR_CHECK enum err_kind plan_run(struct run *r, struct err *err);

/* restore_tree.c: the walker. */
ERR_CHECK enum err_kind tree_restore(struct run *r, struct err *err);
struct item *item_new(struct dir *d, const struct tree_entry *e); /* takes a user of d */
void item_free(struct run *r, struct item *it);                   /* gives it back */
void dir_drop(struct run *r, struct dir *d);
/* Is the name free in its directory?  What is in the way is removed if that is allowed (only_dirs: an empty directory; a file is
 * left for a rename to replace); else this says why and returns false. */
bool name_clear(struct run *r, const struct dir *d, const struct tree_entry *e, bool only_dirs);
/* The name of an entry with a NUL behind it. */
#define NAME_ROOM (NAME_BYTES_MAX + 1)
void name_text(const struct tree_entry *e, char ret[NAME_ROOM]);

/* restore_file.c: the workers. */
struct batch;
struct batch *batch_new(struct run *r);
bool batch_full(const struct batch *b, const struct tree_entry *e); /* no room for this one */
void batch_add(struct batch *b, struct item *it);                   /* takes it */
void batch_submit(struct batch **b);                                /* to the pool; accepts NULL */
#define BATCH_FILE_MAX MAP_BYTES /* a larger file is restored map by map */
void file_restore_large(struct run *r, struct item *it);            /* takes it; pushes its jobs */
/* Create an empty regular file in place of what is there. */
int file_create(struct run *r, const struct item *it);

/* restore_special.c: links, FIFOs, sockets, devices. */
bool special_restore(struct run *r, const struct item *it); /* false: nothing was made */

/* restore_meta.c */
struct meta {
    const struct tree_entry *e;
    const struct dir *dir; /* for messages */
    bool existed;          /* xattrs that are not in the mark may be there */
    bool path_only;        /* fd was opened with O_PATH */
};
void meta_apply(struct run *r, int fd, const struct meta *m);
/* What a fresh thing inherited from a default ACL above it goes. */
void meta_disinherit(int fd, bool is_dir);
bool meta_inherits(int fd);

/* restore_link.c: names that are one file. */
struct links *links_new(void);
void links_free(struct links **l);
/* The walker: */
/* Restore it as a further name of a file already made: true.  False: it is the first of its group. */
bool links_join(struct run *r, const struct dir *d, const struct tree_entry *e);
/* The first name of the group is there. */
void links_first(struct run *r, const struct dir *d, const struct tree_entry *e);
/* The content of a group is damaged (fd: its inode): all its names go in links_end.  Any thread. */
void links_damaged(struct run *r, int fd);
ERR_CHECK enum err_kind links_end(struct run *r, struct err *err);

#endif
