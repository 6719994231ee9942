#include "restore/only.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

void
only_free(struct only *o)
{
    for (size_t i = 0; i < o->count; i++)
        free(o->rests[i]);
    free(o->rests);
    *o = (struct only){ 0 };
}

static void
rest_add(struct only *o, const char *rest)
{
    if (rest[0] == '\0') {
        o->all = true;
        return;
    }
    o->rests = mem_grow(o->rests, o->count + 1, sizeof *o->rests);
    o->rests[o->count++] = mem_copy(rest, strlen(rest) + 1);
}

/* One '/' between names, none in front or behind, no ".". */
static enum err_kind
path_clean(const char *path, char *ret, struct err *err)
{
    char *to = ret;

    /* More likely a variable that was not set than a wish for everything, which is "." or no path at all. */
    if (path[0] == '\0')
        return err_set(err, ERR_USAGE, "an empty path names nothing in the mark");
    for (const char *at = path; *at != '\0';) {
        at += strspn(at, "/");
        const size_t n = strcspn(at, "/");

        if (n == 2 && memcmp(at, "..", 2) == 0)
            return err_set(err, ERR_USAGE, "\"%s\" is not a path inside of the mark: it has a \"..\"", path);
        if (n > 0 && !(n == 1 && at[0] == '.')) {
            if (to != ret)
                *to++ = '/';
            memcpy(to, at, n);
            to += n;
        }
        at += n;
    }
    *to = '\0';
    return ERR_OK;
}

enum err_kind
only_parse(const char *const *paths, size_t count, struct only *ret, struct err *err)
{
    struct only o = { .all = count == 0 };

    for (size_t i = 0; i < count; i++) {
        char *const clean = mem_alloc(strlen(paths[i]) + 1);
        const enum err_kind kind = path_clean(paths[i], clean, err);

        if (kind == ERR_OK)
            rest_add(&o, clean);
        free(clean);
        if (kind != ERR_OK) {
            only_free(&o);
            return kind;
        }
    }
    *ret = o;
    return ERR_OK;
}

bool
only_enter(const struct only *o, const char *name, size_t name_bytes, struct only *ret)
{
    struct only below = { .all = o->all };

    for (size_t i = 0; i < o->count && !below.all; i++) {
        const char *const rest = o->rests[i];

        if (strncmp(rest, name, name_bytes) != 0)
            continue;
        if (rest[name_bytes] == '\0')
            rest_add(&below, "");
        else if (rest[name_bytes] == '/')
            rest_add(&below, rest + name_bytes + 1);
    }
    if (!below.all && below.count == 0)
        return false;
    *ret = below;
    return true;
}
