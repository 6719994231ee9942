/* farshore-verify mark POINT --against TREE: the mark and a tree side by side, names, metadata, contents, links between names. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/when.h"
#include "snapshot/escape.h"
#include "snapshot/point.h"
#include "snapshot/walk.h"
#include "verify/verify.h"
#include "verify/verify_live.h"

#define AGAINST_CACHE_BYTES (32u * MIB)
#define NAME_ROOM (NAME_BYTES_MAX + 1)

/* A directory of both. */
struct against_level {
    struct walk *walk;
    struct tree_entry next;
    bool has, ended;
    int fd;
    char **names; /* [count] of the live directory, sorted, owned */
    size_t count, at;
    size_t path_bytes; /* of the path, when this directory is done */
};
/* An inode of the live tree and the link group that its first name has in the mark. */
struct inode {
    dev_t dev;
    ino_t ino;
    uint64_t group;
    bool used;
};
struct inodes {
    struct inode *at; /* [room], open addressing */
    size_t room, count;
};
struct against {
    const struct verify_options *o;
    struct reader *reader;
    struct owners *owners;
    struct pool *pool;
    struct progress *progress;
    struct report report;
    pthread_mutex_t lock; /* guards report: workers compare contents */
    char source[2 * SOURCE_NAME_MAX + 2];
    char id[13];
    struct against_level *stack; /* [depth], owned */
    size_t depth, room;
    struct buf path;
    struct inodes by_inode, by_group; /* by_group: dev 0, ino the group, group the slot's inode */
    uint64_t names;
    atomic_uint_fast64_t files, bytes;
};

static void
tell(struct against *a, const char *path, const char *text, const uint64_t *offset)
{
    const struct finding f = { .kind = "difference",
                               .text = text,
                               .source = a->source,
                               .mark = a->id,
                               .path = path,
                               .at_given = offset != NULL,
                               .file_offset = offset != NULL ? *offset : 0 };

    (void)pthread_mutex_lock(&a->lock);
    report_finding(&a->report, &f);
    (void)pthread_mutex_unlock(&a->lock);
}

/* Path of a name in the directory on top, escaped; free() it. */
static char *
path_of(struct against *a, const char *name, size_t bytes)
{
    const size_t keep = a->path.size;

    buf_put(&a->path, name, bytes);
    char *const text = escape_text(a->path.at, a->path.size);
    a->path.size = keep;
    return text;
}

static void
tell_name(struct against *a, const char *name, size_t bytes, const char *text)
{
    AUTO(auto_free) char *path = path_of(a, name, bytes);

    tell(a, path, text, NULL);
}

/* A file whose content a worker compares. */
struct content {
    struct against *a;
    int fd;
    char *path;
    struct tree_entry e; /* size and digest are used */
};

static void
content_run(void *arg)
{
    struct content *const c = arg;
    struct live_content got = { 0 };
    struct err err = { 0 };

    if (live_content(c->fd, &c->e, c->a->reader, &got, &err) != ERR_OK)
        tell(c->a, c->path, err.text, NULL);
    else if (!got.same)
        tell(c->a, c->path, "content", got.placed ? &got.offset : NULL);
    atomic_fetch_add(&c->a->files, 1);
    atomic_fetch_add(&c->a->bytes, c->e.size);
    progress_add(c->a->progress, c->e.size, 1);
    auto_close(&c->fd);
    free(c->path);
    free(c);
}

static struct inode *
inode_slot(struct inodes *t, dev_t dev, ino_t ino)
{
    if (2 * t->count >= t->room) {
        struct inode *const old = t->at;
        const size_t old_room = t->room;

        t->room = old_room ? 2 * old_room : 256;
        t->at = mem_zero(t->room, sizeof *t->at);
        t->count = 0;
        for (size_t i = 0; i < old_room; i++)
            if (old[i].used)
                *inode_slot(t, old[i].dev, old[i].ino) = old[i];
        free(old);
    }
    size_t at = (size_t)((((uint64_t)ino ^ ((uint64_t)dev << 40)) * 0x9E3779B97F4A7C15u) >> 20) &
                (t->room - 1);
    while (t->at[at].used && (t->at[at].dev != dev || t->at[at].ino != ino))
        at = (at + 1) & (t->room - 1);
    if (!t->at[at].used)
        t->count++;
    return &t->at[at];
}

/* Names that are one file in the mark must be one here, and the other way round. */
static void
links_compare(struct against *a, const struct tree_entry *e, const struct stat *st)
{
    if (e->link_group == 0 && st->st_nlink < 2)
        return;
    struct inode *const i = inode_slot(&a->by_inode, st->st_dev, st->st_ino);
    if (i->used && (i->group != e->link_group || e->link_group == 0))
        tell_name(a, e->name, e->name_bytes, "it is one file with another name here, and not in the mark");
    if (!i->used)
        *i = (struct inode){ st->st_dev, st->st_ino, e->link_group, true };
    if (e->link_group == 0)
        return;
    struct inode *const g = inode_slot(&a->by_group, 0, (ino_t)e->link_group);
    if (g->used && g->group != (uint64_t)st->st_ino)
        tell_name(a, e->name, e->name_bytes, "it is one file with another name in the mark, and not here");
    if (!g->used)
        *g = (struct inode){ 0, (ino_t)e->link_group, st->st_ino, true };
}

static void
content_compare(struct against *a, int dir_fd, const struct tree_entry *e, const char *name)
{
    struct content *const c = mem_zero(1, sizeof *c);

    c->a = a;
    c->e = *e;
    c->path = path_of(a, e->name, e->name_bytes);
    c->fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (c->fd >= 0) {
        pool_push(a->pool, content_run, c);
        return;
    }
    AUTO(auto_free) char *text = mem_text("could not open it: %s", strerror(errno));
    tell(a, c->path, text, NULL);
    free(c->path);
    free(c);
}

/* Everything but what is beneath.  True: both are directories. */
static bool
name_compare(struct against *a, int dir_fd, const struct tree_entry *e, const char *name)
{
    AUTO(buf_free) struct buf words = { 0 };
    AUTO(auto_close) const int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    struct err err = { 0 };

    a->names++;
    if (fd < 0 || fstat(fd, &st) != 0) {
        tell_name(a, e->name, e->name_bytes, errno == ENOENT ? "only in the mark" : strerror(errno));
        return false;
    }
    if (live_compare(fd, &st, e, a->owners, a->reader, &words, &err) != ERR_OK)
        tell_name(a, e->name, e->name_bytes, err.text);
    buf_u8(&words, 0);
    if (words.size > 1)
        tell_name(a, e->name, e->name_bytes, (const char *)words.at);
    if (e->type != TREE_DIR)
        links_compare(a, e, &st);
    if (e->type == TREE_FILE && S_ISREG(st.st_mode) && (uint64_t)st.st_size == e->size && e->size > 0)
        content_compare(a, dir_fd, e, name);
    return e->type == TREE_DIR && S_ISDIR(st.st_mode);
}

static int
text_order(const void *x, const void *y)
{
    const char *const a = *(char *const *)x, *const b = *(char *const *)y;

    return tree_name_order(a, strlen(a), b, strlen(b));
}

/* Names of a directory, sorted as pages are. */
static enum err_kind
list(int fd, char ***ret, size_t *ret_count, struct err *err)
{
    char **names = NULL;
    size_t count = 0, room = 0;
    const int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *const dir = again < 0 ? NULL : fdopendir(again);

    if (dir == NULL)
        return err_errno(err, "could not read it");
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (count == room) {
            room = room ? 2 * room : 64;
            names = mem_grow(names, room, sizeof(char *));
        }
        names[count++] = mem_copy(e->d_name, strlen(e->d_name) + 1);
    }
    (void)closedir(dir);
    if (count > 0)
        qsort(names, count, sizeof(char *), text_order);
    *ret = names;
    *ret_count = count;
    return ERR_OK;
}

static void
leave(struct against *a)
{
    struct against_level *const l = &a->stack[--a->depth];

    a->path.size = l->path_bytes;
    walk_free(&l->walk);
    auto_close(&l->fd);
    for (size_t i = 0; i < l->count; i++)
        free(l->names[i]);
    free(l->names);
}

static void
enter(struct against *a, const struct tree_entry *e, int fd)
{
    struct against_level l = { .fd = fd, .path_bytes = a->path.size };
    struct err err = { 0 };

    if (fd < 0) {
        tell_name(a, e->name, e->name_bytes, strerror(errno));
        return;
    }
    if (list(fd, &l.names, &l.count, &err) != ERR_OK)
        tell_name(a, e->name, e->name_bytes, err.text);
    if (a->depth > 0) {
        buf_put(&a->path, e->name, e->name_bytes);
        buf_put(&a->path, "/", 1);
    }
    l.walk = walk_new(a->reader, &e->digest);
    if (a->depth == a->room) {
        a->room = a->room ? 2 * a->room : 32;
        a->stack = mem_grow(a->stack, a->room, sizeof *a->stack);
    }
    a->stack[a->depth++] = l;
}

/* The next name of either side. */
static void
step(struct against *a)
{
    struct against_level *const l = &a->stack[a->depth - 1];
    const char *const live = l->at < l->count ? l->names[l->at] : NULL;
    struct err err = { 0 };
    char name[NAME_ROOM];
    int order = 0;

    if (!l->has && !l->ended) {
        const enum err_kind kind = walk_next(l->walk, &l->next, &err);

        l->has = kind == ERR_OK;
        l->ended = kind == ERR_ABSENT;
        if (kind != ERR_OK && kind != ERR_ABSENT) {
            tell_name(a, ".", 1, err.text);
            return;
        }
    }
    if (!l->has && live == NULL) {
        leave(a);
        return;
    }
    order = !l->has        ? 1
            : live == NULL ? -1
                           : tree_name_order(l->next.name, l->next.name_bytes, live, strlen(live));
    if (order > 0) {
        tell_name(a, live, strlen(live), "only in the tree");
        l->at++;
        return;
    }
    const struct tree_entry e = l->next;
    l->has = false;
    if (order < 0) {
        tell_name(a, e.name, e.name_bytes, "only in the mark");
        return;
    }
    l->at++;
    memcpy(name, e.name, e.name_bytes);
    name[e.name_bytes] = '\0';
    if (name_compare(a, l->fd, &e, name))
        enter(a, &e, openat(l->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

static void
against_free(struct against *a)
{
    pool_free(&a->pool);
    while (a->depth > 0)
        leave(a);
    progress_free(&a->progress);
    owners_free(&a->owners);
    reader_free(&a->reader);
    report_free(&a->report);
    buf_free(&a->path);
    free(a->stack);
    free(a->by_inode.at);
    free(a->by_group.at);
    (void)pthread_mutex_destroy(&a->lock);
}

static void
result(struct against *a, double seconds)
{
    const uint64_t bytes = atomic_load(&a->bytes), files = atomic_load(&a->files),
                   findings = a->report.findings;
    char size[WHEN_ROOM];

    progress_free(&a->progress);
    if (a->o->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", "result");
        json_text(out, "source", a->source);
        json_text(out, "mark", a->id);
        json_number(out, "names", (int64_t)a->names);
        json_number(out, "files_read", (int64_t)files);
        json_number(out, "bytes_read", (int64_t)bytes);
        json_number(out, "findings", (int64_t)findings);
        json_real(out, "seconds", seconds);
        json_bool(out, "same", findings == 0);
        json_print(stdout, out);
        return;
    }
    when_bytes(bytes, size);
    (void)printf("%s@%s against the tree: %" PRIu64 " names, contents of %" PRIu64
                 " files read (%s), %.2f s: ",
                 a->source, a->id, a->names, files, size, seconds);
    if (findings == 0)
        (void)printf("the same\n");
    else
        (void)printf("%" PRIu64 " difference%s\n", findings, findings == 1 ? "" : "s");
}

static enum err_kind
compare_all(struct against *a, const struct index_mark *m, struct err *err)
{
    AUTO(buf_free) struct buf page = { 0 };
    struct rlimit limit = { 0 };
    struct tree_entry root;
    int fd = -1;
    enum err_kind kind = reader_root(a->reader, &m->mark.root, &page, &root, err);

    if (kind == ERR_OK) {
        fd = open(a->o->against, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            kind = err_errno(err, "could not open \"%s\"", a->o->against);
    }
    if (kind != ERR_OK)
        return kind;
    /* A descriptor a directory on the way down: as many as may be had. */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    (void)name_compare(a, fd, &root, ".");
    enter(a, &root, fd);
    while (a->depth > 0)
        step(a);
    pool_wait(a->pool);
    return ERR_OK;
}

enum err_kind
against_run(const struct verify_options *o, bool *ret_findings, struct err *err)
{
    AUTO(store_close) struct store *store = NULL;
    AUTO(against_free) struct against a = { .o = o, .lock = PTHREAD_MUTEX_INITIALIZER };
    AUTO(auto_close) int pin = -1;
    const int64_t began = when_tick_ns();
    struct index_mark m;
    char hex[HASH_HEX_ROOM];
    uint32_t city = 0;
    enum err_kind kind = store_open(o->store, false, &store, err);

    if (kind == ERR_OK)
        kind = point_find(store, o->point, &city, &m, err);
    if (kind == ERR_OK)
        kind = point_pin(store, &m.id, &pin, err);
    if (kind != ERR_OK)
        return kind;
    hash_hex(&m.id, hex);
    (void)snprintf(a.id, sizeof a.id, "%.12s", hex);
    (void)snprintf(a.source, sizeof a.source, "%s/%s", m.mark.agent, m.mark.source);
    a.report.json = o->json;
    a.reader = reader_new(store, city, AGAINST_CACHE_BYTES);
    a.owners = owners_new(false);
    a.pool = pool_new(pool_cores(), 4 * pool_cores());
    a.progress = progress_new("compare", o->json, o->quiet);
    progress_total(a.progress, m.mark.bytes, 0);
    kind = compare_all(&a, &m, err);
    if (kind != ERR_OK)
        return kind;
    result(&a, (double)(when_tick_ns() - began) / 1e9);
    *ret_findings = a.report.findings > 0;
    return ERR_OK;
}
