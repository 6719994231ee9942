/* farshore-restore files --plan: what would be done, and nothing touched. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/when.h"
#include "restore/restore.h"
#include "snapshot/escape.h"
#include "snapshot/walk.h"

#define PLAN_NAMES_MAX 20u /* names in the way that are printed */
#define PLAN_UNIT 4096u    /* a file takes whole pages of space */

struct plan {
    struct run *run;
    uint64_t files, dirs, others, links; /* links: further names of a file */
    uint64_t bytes, need;
    uint64_t in_way, left_out;
    struct buf path;
    /* Directories on the way down. */
    struct plan_level {
        struct walk *walk;
        struct only only;
        int fd; /* of the directory that is there already; -1: none */
        size_t path_bytes;
    } * stack;
    size_t depth, room;
    uint64_t *groups; /* link groups seen, open addressing; [groups_room] */
    size_t groups_count, groups_room;
};

static void
level_pop(struct plan *p)
{
    struct plan_level *const l = &p->stack[--p->depth];

    p->path.size = l->path_bytes;
    walk_free(&l->walk);
    only_free(&l->only);
    auto_close(&l->fd);
}

static void
plan_free(struct plan *p)
{
    while (p->depth > 0)
        level_pop(p);
    free(p->stack);
    free(p->groups);
    buf_free(&p->path);
}

/* The first name of its group? */
static bool
group_first(struct plan *p, uint64_t group)
{
    if (2 * p->groups_count >= p->groups_room) {
        const size_t old_room = p->groups_room;
        uint64_t *const old = p->groups;

        p->groups_room = old_room ? 2 * old_room : 256;
        p->groups = mem_zero(p->groups_room, sizeof *p->groups);
        p->groups_count = 0;
        for (size_t i = 0; i < old_room; i++)
            if (old[i] != 0)
                (void)group_first(p, old[i]);
        free(old);
    }
    size_t at = (size_t)((group * 0x9E3779B97F4A7C15u) >> 20) & (p->groups_room - 1);
    while (p->groups[at] != 0 && p->groups[at] != group)
        at = (at + 1) & (p->groups_room - 1);
    if (p->groups[at] == group)
        return false;
    p->groups[at] = group;
    p->groups_count++;
    return true;
}

static void
count(struct plan *p, const struct tree_entry *e)
{
    const uint64_t space = (e->size + PLAN_UNIT - 1) / PLAN_UNIT * PLAN_UNIT;

    if (e->type == TREE_DIR) {
        p->dirs++;
        p->need += PLAN_UNIT;
        return;
    }
    if (p->run->o->untrusted && (e->type == TREE_CHAR || e->type == TREE_DISK)) {
        p->left_out++;
        return;
    }
    if (e->link_group != 0 && !group_first(p, e->link_group)) {
        p->links++;
        return;
    }
    if (e->type != TREE_FILE) {
        p->others++;
        return;
    }
    p->files++;
    p->bytes += e->size;
    p->need += space; /* of a file with holes this is the most that it can take */
}

static void
tell_in_way(struct plan *p, const struct tree_entry *e)
{
    const bool keep = p->run->o->overwrite == OVERWRITE_NEVER;
    const size_t size = p->path.size;

    p->in_way++;
    if (p->in_way > PLAN_NAMES_MAX || p->run->o->overwrite == OVERWRITE_REFUSE)
        return;
    buf_put(&p->path, e->name, e->name_bytes);
    AUTO(auto_free) char *path = escape_text(p->path.at, p->path.size);
    p->path.size = size;
    if (p->run->o->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", keep ? "keep" : "replace");
        json_text(out, "path", path);
        json_print(stdout, out);
    } else {
        (void)printf("would %s %s\n", keep ? "keep what is there:" : "replace", path);
    }
}

/* What is in the place of e, in the directory on top?  A directory in the place of a directory is entered: *ret_fd. */
static bool
look(struct plan *p, const struct tree_entry *e, int *ret_fd)
{
    const int dir_fd = p->depth > 0 ? p->stack[p->depth - 1].fd : -1;
    char name[NAME_ROOM];
    struct stat st;

    *ret_fd = -1;
    if (dir_fd < 0)
        return false;
    name_text(e, name);
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (e->type != TREE_DIR || !S_ISDIR(st.st_mode))
        return true;
    *ret_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return false;
}

static void
enter(struct plan *p, const struct tree_entry *e, struct only only, int fd)
{
    const struct plan_level l = { walk_new(p->run->reader, &e->digest), only, fd, p->path.size };

    if (p->depth > 0) {
        buf_put(&p->path, e->name, e->name_bytes);
        buf_put(&p->path, "/", 1);
    }
    if (p->depth == p->room) {
        p->room = p->room ? 2 * p->room : 32;
        p->stack = mem_grow(p->stack, p->room, sizeof *p->stack);
    }
    p->stack[p->depth++] = l;
}

static enum err_kind
step(struct plan *p, struct err *err)
{
    struct plan_level *const top = &p->stack[p->depth - 1];
    struct only below = { 0 };
    struct tree_entry e;
    int fd = -1;
    const enum err_kind kind = walk_next(top->walk, &e, err);

    if (kind == ERR_ABSENT) {
        level_pop(p);
        return ERR_OK;
    }
    if (kind != ERR_OK || !only_enter(&top->only, e.name, e.name_bytes, &below))
        return kind;
    const bool in_way = look(p, &e, &fd);
    if (in_way)
        tell_in_way(p, &e);
    if (!in_way || p->run->o->overwrite != OVERWRITE_NEVER)
        count(p, &e);
    if (e.type == TREE_DIR && !(in_way && p->run->o->overwrite == OVERWRITE_NEVER))
        enter(p, &e, below, fd);
    else
        only_free(&below);
    return ERR_OK;
}

/* Free bytes where the target is or would be. */
static uint64_t
space_free(const char *target)
{
    AUTO(auto_free) char *path = mem_copy(target, strlen(target) + 1);
    struct statvfs fs;

    while (statvfs(path, &fs) != 0) {
        char *const slash = strrchr(path, '/');

        if (slash == NULL)
            return statvfs(".", &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
        if (slash == path)
            slash[1] = '\0';
        else
            *slash = '\0';
        if (strcmp(path, "/") == 0 && statvfs(path, &fs) != 0)
            return 0;
    }
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static void
result_json(const struct plan *p, bool refused, uint64_t have)
{
    AUTO(json_free) struct json *out = json_new();

    json_number(out, "schema", 1);
    json_text(out, "type", "result");
    json_text(out, "source", p->run->source);
    json_text(out, "mark", p->run->id);
    json_number(out, "files", (int64_t)p->files);
    json_number(out, "directories", (int64_t)p->dirs);
    json_number(out, "others", (int64_t)p->others);
    json_number(out, "further_names", (int64_t)p->links);
    json_number(out, "bytes", (int64_t)p->bytes);
    json_number(out, "space_needed", (int64_t)p->need);
    json_number(out, "space_free", (int64_t)have);
    json_number(out, "in_the_way", (int64_t)p->in_way);
    json_number(out, "left_out", (int64_t)p->left_out);
    json_bool(out, "refused", refused);
    json_print(stdout, out);
}

static void
result_lines(const struct plan *p, bool refused, uint64_t have)
{
    const struct restore_options *const o = p->run->o;
    AUTO(auto_free) char *target = escape_text(o->target, strlen(o->target));
    char bytes[WHEN_ROOM], need[WHEN_ROOM], left[WHEN_ROOM];

    when_bytes(p->bytes, bytes);
    when_bytes(p->need, need);
    when_bytes(have, left);
    if (p->in_way > PLAN_NAMES_MAX && o->overwrite != OVERWRITE_REFUSE)
        (void)printf("... and %" PRIu64 " more\n", p->in_way - PLAN_NAMES_MAX);
    (void)printf("would restore %s@%s into %s: %" PRIu64 " files (%s), %" PRIu64 " further names, %" PRIu64
                 " directories, %" PRIu64 " links and special files\n",
                 p->run->source, p->run->id, target, p->files, bytes, p->links, p->dirs, p->others);
    (void)printf("space: at most %s needed, %s free%s\n", need, left, p->need > have ? ": NOT ENOUGH" : "");
    if (p->left_out > 0)
        (void)printf("would leave out as untrusted: %" PRIu64 " devices\n", p->left_out);
    if (p->in_way > 0)
        (void)printf("in the way: %" PRIu64 " names, which would be %s\n", p->in_way,
                     o->overwrite == OVERWRITE_ALWAYS ? "replaced" : "kept");
    if (refused)
        (void)printf("would be refused: the target is not empty, and --overwrite was not given\n");
    (void)printf("nothing was touched\n");
}

enum err_kind
plan_run(struct run *r, struct err *err)
{
    AUTO(plan_free) struct plan p = { .run = r };
    AUTO(buf_free) struct buf page = { 0 };
    struct tree_entry e;
    const int fd = open(r->o->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool refused = fd >= 0 && r->o->overwrite == OVERWRITE_REFUSE && fs_dir_empty(fd) == 0;
    enum err_kind kind = reader_root(r->reader, &r->mark.mark.root, &page, &e, err);

    if (kind != ERR_OK) {
        auto_close(&fd);
        return kind;
    }
    count(&p, &e);
    enter(&p, &e, r->only, fd);
    r->only = (struct only){ 0 };
    while (kind == ERR_OK && p.depth > 0)
        kind = step(&p, err);
    if (kind != ERR_OK)
        return kind;
    const uint64_t have = space_free(r->o->target);
    if (r->o->json)
        result_json(&p, refused, have);
    else
        result_lines(&p, refused, have);
    return ERR_OK;
}
