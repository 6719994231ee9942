/* pass.h - one pass over one source, shared by its threads.
 *
 *     scanner (the calling thread)      lists directories, takes rows of the table, packs units, descends depth first
 *     workers                           in this order: answered units, objects to send, finished directories, fresh units
 *     reading thread of the link        hands answers to units, windows and objects
 *
 * All queues, counts and lists below are under `lock`; what a unit or a file holds belongs to the thread that works on it.
 *
 * Order on the wire: a page or node goes out only when every unit that was begun before it was made is done and the literals and
 * items of all workers have been sent, so the site never meets an object before its children. */
#ifndef REPLICATOR_PASS_H
#define REPLICATOR_PASS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/progress.h"
#include "common/ring.h"
#include "replicator/agent.h"
#include "snapshot/delta.h"
#include "snapshot/merkle.h"
#include "snapshot/tree.h"

#define UNIT_BUFFERS 16u  /* x 4 MiB: the memory of all bytes under way */
#define UNIT_DIRS_MAX 32u /* directories that one unit keeps open */
#define OPEN_LEVELS_MAX 128u /* directories above the one that is scanned that stay open */
#define FRESH_MAX 24u     /* units ahead of the workers: 96 MiB of read-ahead */
#define READ_TRIES 3u
#define OBJECTS_BYTES_MAX (8u * MIB)
#define OBJECTS_COUNT_MAX 4096u
#define OBJECTS_ASK 256u              /* in one QUERY */
#define OBJECTS_SEND_BYTES (1u * MIB) /* gathered before the workers' blobs are closed for them */
#define SLICE_ITEMS_MAX 1024u
#define FINDINGS_NAMED_MAX 1000u
#define SETTLED_NS 60000000000ll /* ctime must be so much older than the reading: DESIGN section 4 */

struct dirfd { /* an open directory, kept by the scanner and by units that will open files in it */
    int fd;
    atomic_uint refs;
};

struct item { /* an entry of a directory on its way to a page */
    struct tree_entry entry;
    uint64_t inode;
    uint8_t *xattrs; /* owned; entry.xattrs points here */
    char *target;    /* owned */
    bool descend;    /* a directory that the scanner has yet to visit */
    bool out;        /* could not be read, or vanished: left out */
};

struct slice { /* up to SLICE_ITEMS_MAX entries; fed to the builder when none of them is pending */
    struct slice *next;
    struct dir *dir;
    uint32_t pending; /* files and directories without a digest, and 1 while the scanner is at it */
    uint32_t count;
    struct item at[];
};

struct name_ref {
    uint64_t prefix; /* first 8 bytes big-endian: most comparisons end here */
    uint64_t inode;  /* as getdents says, for the order of statx */
    uint32_t off;
    uint16_t size;
};
struct names { /* of a directory, sorted */
    char *bytes;
    struct name_ref *at;
    size_t count;
};

struct past_page; /* past.c */
struct dir {
    struct pass *pass;
    struct dir *parent;
    struct slice *slice; /* of the parent; NULL: the root */
    struct item *item;   /* this directory in it */
    struct dirfd *fd;
    uint64_t dev;
    uint64_t inode;
    uint32_t mount, depth;
    struct names names;
    size_t next_name;
    struct slice *current; /* the scanner's, and how far it has descended in it */
    uint32_t descend_at;
    struct slice *first, *last; /* not yet fed */
    bool scanned, queued;
    struct tree_builder *builder;
    bool past_known, past_there; /* was it in the head mark? */
    struct digest past;
    struct past_page *past_page;
    struct dir *next_queued;
    struct dir *older, *newer; /* all that live */
};

struct facts { /* of an inode, by statx */
    uint64_t inode, size;
    int64_t mtime_s, ctime_s;
    uint32_t mtime_ns, ctime_ns;
};

struct large { /* of a file of more than one map */
    int fd;
    struct digest *maps; /* [count] */
    uint64_t count;
    uint64_t left; /* maps not hashed yet, and 1 while the scanner packs it */
    bool shrunk;   /* a map met the end of the file */
    int error;     /* errno of a map that could not be read */
};

struct window;         /* window.c */
struct hard;           /* hard.c */
struct file {          /* whose bytes are read in this pass */
    struct pass *pass; /* the directory may be gone before the file is */
    struct dir *dir;
    struct slice *slice;
    struct item *item;
    struct dirfd *fd;
    struct table_key key;
    struct facts facts;
    int64_t read_ns;
    uint32_t refs; /* parts in units, and 1 until it has its digest */
    uint8_t tries;
    bool based; /* the site has, as far as we know, an older version: */
    struct wire_base base;
    bool printed; /* the table has its block digests, of this reading: */
    int64_t base_read_ns;
    uint64_t base_sequence; /* of the row; 0: no row */
    struct large *large;
    struct window **windows; /* [window_count], by 64 MiB */
    uint32_t *window_units;  /* [window_count] units under way in each */
    uint32_t window_count;
    struct hard *hard;
    struct file *next_again;
    struct file *older, *newer; /* all that live */
};

struct part { /* what a unit holds of a file */
    struct file *file;
    uint64_t map;
    uint64_t file_size;   /* as it was taken: the file may be read again meanwhile */
    uint32_t off, bytes;  /* in the unit's buffer */
    uint32_t first_block; /* in the unit's digests */
    struct digest digest;
    uint64_t zero, same; /* by block */
    uint64_t asked_sums; /* blocks whose sums were asked for */
    bool whole_same;     /* all of it is what the table remembers */
    bool all_zero;
    bool shrunk;         /* it met the end of the file; what was missing is zeros */
    bool block;          /* the whole of a file of at most one block */
    bool asked;          /* in the QUERY */
    bool probed;         /* with a base, whose sums were asked for */
    bool sums_known;     /* they came: the site has the base */
    uint8_t status;      /* enum wire_status of its reply */
    const uint8_t *sums; /* in the unit's frame */
    size_t sums_bytes;
    uint8_t place[MAP_BLOCKS]; /* by block: which 8 KiB are those of the base at this place */
    bool dead;                 /* not to be sent: zeros, unreadable, or read again elsewhere */
};

struct unit {
    struct unit *next;          /* in a queue */
    struct unit *older, *newer; /* in order of creation, until done */
    struct pass *pass;
    uint64_t seq;
    uint8_t *buffer; /* [MAP_BYTES], while under work */
    uint32_t bytes, count, room, dirs;
    struct part *parts;    /* [count] */
    struct digest *blocks; /* of all parts */
    struct dirfd *last_dir;
    bool answered;
    struct wire_frame frame; /* ANSWER */
    uint32_t waits;          /* windows that it waits for */
};

struct cargo; /* cargo.c: a worker's open blob */
struct worker {
    struct pass *pass;
    pthread_t thread;
    struct ring *ring;
    struct cargo *cargo;
    struct table_view *view; /* while a unit is under work */
    unsigned index;
};

struct object { /* a page, a node or a set of xattrs, in order of creation */
    struct object *next;
    struct digest digest;
    uint64_t after; /* units up to this one come before it */
    uint32_t size;
    uint8_t kind;
    uint8_t state; /* enum object_state */
    uint8_t bytes[];
};
struct object_batch; /* object.c */
enum object_state { OBJECT_NEW, OBJECT_ASKED, OBJECT_HAVE, OBJECT_NEEDED };

struct finding {
    char *path;
    char *what;
};

struct pass {
    struct agent *agent;
    const struct agent_source *source;
    struct link *link;
    struct progress *progress;
    struct table_source number;
    uint64_t sequence; /* of the mark to be */
    bool read_all;
    bool whole;  /* no older version is used as a base */
    bool headed; /* there is a head mark: */
    struct digest head_root;
    uint64_t head_files;

    pthread_mutex_t lock;
    pthread_cond_t work; /* for workers */
    pthread_cond_t room; /* for the scanner: room in queues, a unit or the root done, an object gone */
    struct unit *fresh, *fresh_last, *ready, *ready_last;
    uint32_t fresh_count;
    struct unit *oldest, *newest; /* under way */
    uint64_t seq;
    struct file *again;           /* changed while they were read */
    struct dir *dirs, *dirs_last; /* queued: some slice can be fed, or the directory is finished */
    struct dir *all_dirs;
    struct file *all_files;
    uint8_t *buffers[UNIT_BUFFERS]; /* free ones */
    uint32_t buffers_free, buffers_made;
    struct object *objects, *objects_last, *unasked, *outbox, *outbox_last;
    struct object_batch *batches; /* QUERYs of objects without an answer */
    size_t object_bytes, object_count, unasked_count, outbox_bytes;
    bool sending_objects, draining;
    struct tree_builder *builders[16];
    uint32_t builder_count;
    struct hard **hard; /* hash table */
    size_t hard_room, hard_count;
    bool root_done, failed, over;
    struct err err;

    struct worker workers[AGENT_WORKERS_MAX];
    size_t worker_count;
    pthread_mutex_t blob_lock; /* BLOBs are numbered as they go out */
    uint32_t next_blob;

    /* What the limit on open files allows. */
    uint32_t unit_files_max, unit_dirs_max, open_levels_max;

    /* The scanner's own. */
    struct ring *ring;
    struct table_view *view;
    struct unit *unit; /* being packed */
    struct item root;
    struct mount *mounts; /* devices within the source, by number */
    size_t mount_count;
    struct people *people;
    struct dir *top;

    pthread_mutex_t finding_lock;
    struct finding *findings; /* [min(finding_count, FINDINGS_NAMED_MAX)] */
    uint64_t finding_count;
    _Atomic uint64_t read_bytes, files;
};

/* pass.c */
struct pass_result {
    uint64_t sequence, files, bytes, read, sent;
    struct digest id;
    int64_t started_ns, received_ns;
    double seconds;
    uint64_t finding_count;
    struct finding *findings; /* owned */
    size_t named;
    bool missing; /* it failed since the site misses objects: ask again */
};
void pass_result_free(struct pass_result *r);
struct pass_ask {
    const struct agent_source *source;
    struct progress *progress;
    bool again; /* the site missed objects in the pass before: the source's rows are dropped first */
    bool whole; /* what the site built of old bytes was not what was meant: none are built upon */
};
/* One pass on the open link, to a receipt.  On any error the link is cut.  *ret is filled in every case. */
ERR_CHECK enum err_kind pass_run(struct agent *a, const struct pass_ask *ask, struct pass_result *ret,
                                 struct err *err);
/* First failure counts; wakes everyone.  Any thread. */
void pass_fail(struct pass *p, const struct err *err);
bool pass_failed(struct pass *p);
/* Name something that was skipped or unsure.  name may be NULL: the directory itself. */
void pass_finding(struct pass *p, const struct dir *d, const char *name, size_t size, const char *what);
char *pass_path(const struct dir *d, const char *name, size_t size); /* relative to the root; free() it */

/* work.c */
ERR_CHECK enum err_kind work_start(struct pass *p, struct err *err);
void work_stop(struct pass *p);     /* joins the workers */
void work_throttle(struct pass *p); /* the scanner waits here while too much is under way */
ERR_CHECK enum err_kind work_flush(struct pass *p,
                                   struct err *err); /* all workers' literals and items go out */
void work_ready(struct unit *u); /* its answer, or the last window it waits for, has come; lock held */

/* scan.c: the whole tree, until the root has its digest. */
ERR_CHECK enum err_kind scan_tree(struct pass *p, struct err *err);

/* list.c: names of a directory, sorted, each once; excluded ones are left out. */
ERR_CHECK enum err_kind list_names(struct dir *d, struct names *ret, struct err *err);
void list_free(struct names *n);
bool list_excluded(const struct agent_source *s, const char *path, const char *name);

/* dir.c: the life of directories and slices. */
struct dir *dir_new(struct pass *p, struct dir *parent, struct slice *s, struct item *item);
void dir_free(struct dir *d);
struct slice *slice_new(struct dir *d, uint32_t count);
void slice_release(struct slice *s, uint32_t times); /* lock held */
void dir_scanned(struct dir *d);                     /* lock held: the scanner leaves it */
void dir_advance(struct dir *d); /* a worker: feed what can be fed, finish what is finished */
struct dirfd *dirfd_new(int fd);
struct dirfd *dirfd_take(struct dirfd *d);
void dirfd_drop(struct dirfd *d);

/* meta.c: what statx does not tell. */
struct people;
struct people *people_new(void);
void people_free(struct people **o);
void people_name(struct people *o, struct tree_entry *e); /* user and group of e's numbers */
/* Encoded set of the xattrs of an open file, or of a name in a directory (not followed), appended to ret.
 * Errors: ERR_IO, ERR_ABSENT (vanished), ERR_LIMIT (larger than XATTRS_BYTES_MAX). */
ERR_CHECK enum err_kind xattrs_of_fd(int fd, struct buf *ret, struct err *err);
ERR_CHECK enum err_kind xattrs_of_name(int dir_fd, const char *name, struct buf *ret, struct err *err);
void xattrs_to_item(struct pass *p, struct item *it,
                    const struct buf *set); /* a large set becomes an object */
void xattrs_to_row(const struct item *it, struct table_row *row);
void xattrs_from_row(const struct table_row *row, struct item *it);

/* hard.c: inodes of more than one name. */
struct hard_name {
    struct slice *slice;
    struct item *item;
};
/* The scanner meets a name: true when its content is known or on its way by another name (then the item is filled, or will be and
 * its slice has one more pending); else *ret is where the content shall be told. */
bool hard_known(struct pass *p, const struct table_key *key, const struct hard_name *name, uint32_t links,
                struct hard **ret);
void hard_told(struct hard *h, const struct item *from); /* lock held */
void hard_failed(struct hard *h);                        /* lock held: all names are left out */
void hard_free_all(struct pass *p);

/* unit.c: packing, by the scanner. */
void unit_add(struct pass *p, struct file *f);
void unit_submit(struct pass *p); /* the unit being packed, if any */
void unit_done(struct unit *u);   /* a worker: all of it is sent */
void unit_free(struct unit *u);
void file_new(struct pass *p, struct file *like); /* copies *like, adds it to the pass and to a unit */
void file_drop(struct file *f);                   /* lock held: one reference less */
void file_free_all(struct pass *p);

/* read.c: a worker reads a unit, hashes it, settles its files and asks the site. */
ERR_CHECK enum err_kind read_unit(struct worker *w, struct unit *u, struct err *err);
/* digest.c: of the part's bytes in the unit's buffer: blocks, masks of zero and of same blocks, the part's own. */
void digest_part(struct worker *w, struct unit *u, struct part *part);
/* settle.c: after a file was read, is it still what it was?  True: its digest counts. */
struct settle {
    struct file *file;
    const struct statx *now; /* after the reading; NULL: it could not be had */
    bool shrunk;             /* fewer bytes came than it had */
    const struct digest *digest;
    int fd; /* open file, for the xattrs */
};
ERR_CHECK enum err_kind settle_file(struct pass *p, const struct settle *s, bool *ret_settled,
                                    struct err *err);
void settle_lost(struct pass *p, struct file *f, int error); /* it could not be opened or read */
/* One more map of a large file is hashed (or skipped, as a hole). */
ERR_CHECK enum err_kind settle_map(struct pass *p, struct file *f, uint32_t maps, struct err *err);
void facts_of(const struct statx *st, struct facts *ret);
bool facts_same(const struct facts *a, const struct facts *b);
bool row_fresh(const struct pass *p, const struct table_row *row, const struct facts *now);
bool row_sure(const struct pass *p, const struct table_row *row);

/* ask.c, answer.c */
ERR_CHECK enum err_kind ask_unit(struct worker *w, struct unit *u, bool *ret_asked, struct err *err);
ERR_CHECK enum err_kind answer_unit(struct worker *w, struct unit *u, struct err *err);

/* window.c: sums of 64 MiB of an old file and around. */
struct window;
struct window *window_of(struct file *f, const struct part *part);
/* Ask for it unless that was done; u->waits is raised when it is not here yet. */
ERR_CHECK enum err_kind window_want(struct window *win, struct unit *u, struct err *err);
/* The base for a worker's delta_make; NULL: none can be had, or nothing is found in it. */
struct delta_base *window_base(struct window *win, unsigned worker);
void window_barren(struct window *win); /* a whole unit found nothing in it: the rest of it is literal */
void window_free(struct window **w);
bool window_asked(const struct window *win); /* lock held: its sums are on their way */

/* cargo.c: literals and items on their way out. */
struct cargo *cargo_new(struct pass *p);
void cargo_free(struct cargo **c);
ERR_CHECK enum err_kind cargo_block(struct cargo *c, const struct digest *digest, const uint8_t *bytes,
                                    uint32_t size, struct err *err);
/* Between begin and end one item of a map is built; literals are added to its ops. */
void cargo_begin(struct cargo *c, struct wire_item *it);
ERR_CHECK enum err_kind cargo_literal(struct cargo *c, const uint8_t *bytes, uint32_t size, struct err *err);
void cargo_op(struct cargo *c, uint8_t kind, uint64_t off, uint32_t len);
ERR_CHECK enum err_kind cargo_end(struct cargo *c, struct err *err); /* takes the item */
ERR_CHECK enum err_kind cargo_flush(struct cargo *c, struct err *err);

/* object.c: pages, nodes, sets of xattrs. */
void object_add(struct pass *p, enum object_kind kind, const struct digest *digest, const void *bytes,
                size_t size);
ERR_CHECK enum err_kind object_ask(struct pass *p, struct err *err); /* a QUERY for those not asked for */
ERR_CHECK enum err_kind object_send(struct pass *p,
                                    struct err *err); /* those that are needed and whose turn it is */
bool object_ask_due(const struct pass *p, bool idle); /* lock held, and the next */
bool object_send_due(const struct pass *p);
void object_trim(struct pass *p); /* lock held: move what is at its turn to the outbox */
void object_free_all(struct pass *p);

/* past.c: the head mark, as a place to look for bases.  The scanner's. */
ERR_CHECK enum err_kind past_base(struct dir *d, const char *name, size_t size, bool *ret_found,
                                  struct wire_base *ret, struct err *err);
void past_free(struct past_page **p);

#endif
