#include "snapshot/owner.h"

#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "common/mem.h"

#define OWNER_TEXT_BYTES (64u * KIB) /* of a passwd or group entry: a group may have thousands of members */
#define OWNER_NAMES_MAX 4096u        /* kept; a tree with more owners is looked up again and again */

struct owner_name {
    char text[USER_BYTES_MAX + 1];
    bool group;
    bool known; /* by this machine */
    uint32_t number;
};
struct owners {
    bool numeric;
    pthread_mutex_t lock;
    struct owner_name *names; /* [count]; trees have a handful of owners, the last one found first */
    size_t count;
};

struct owners *
owners_new(bool numeric)
{
    struct owners *const o = mem_zero(1, sizeof *o);

    o->numeric = numeric;
    if (pthread_mutex_init(&o->lock, NULL) != 0)
        abort();
    return o;
}

void
owners_free(struct owners **o)
{
    if (*o == NULL)
        return;
    (void)pthread_mutex_destroy(&(*o)->lock);
    free((*o)->names);
    free(*o);
    *o = NULL;
}

static void
look_up(struct owner_name *n)
{
    char *const text = mem_alloc(OWNER_TEXT_BYTES);
    struct passwd user, *found_user = NULL;
    struct group group, *found_group = NULL;

    if (n->group) {
        n->known = getgrnam_r(n->text, &group, text, OWNER_TEXT_BYTES, &found_group) == 0 &&
                   found_group != NULL;
        n->number = n->known ? group.gr_gid : 0;
    } else {
        n->known = getpwnam_r(n->text, &user, text, OWNER_TEXT_BYTES, &found_user) == 0 && found_user != NULL;
        n->number = n->known ? user.pw_uid : 0;
    }
    free(text);
}

/* Under the lock. */
static uint32_t
find(struct owners *o, bool group, const char *text, size_t bytes, uint32_t number)
{
    struct owner_name n = { .group = group };

    if (o->numeric || bytes == 0 || bytes > USER_BYTES_MAX)
        return number;
    for (size_t i = 0; i < o->count; i++) {
        const struct owner_name *const at = &o->names[i];

        if (at->group == group && strlen(at->text) == bytes && memcmp(at->text, text, bytes) == 0)
            return at->known ? at->number : number;
    }
    memcpy(n.text, text, bytes);
    look_up(&n);
    if (o->count < OWNER_NAMES_MAX) {
        o->names = mem_grow(o->names, o->count + 1, sizeof *o->names);
        o->names[o->count++] = n;
    }
    return n.known ? n.number : number;
}

void
owners_find(struct owners *o, const struct tree_entry *e, uint32_t *ret_uid, uint32_t *ret_gid)
{
    (void)pthread_mutex_lock(&o->lock);
    *ret_uid = find(o, false, e->user, e->user_bytes, e->uid);
    *ret_gid = find(o, true, e->group, e->group_bytes, e->gid);
    (void)pthread_mutex_unlock(&o->lock);
}
