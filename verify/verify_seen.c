#include "verify/verify_seen.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/mem.h"

#define SEEN_STRIPES 64u /* locks: workers rarely meet */

struct seen_key {
    uint64_t at[2]; /* both 0: a free slot */
};
struct seen_stripe {
    pthread_mutex_t lock;
    struct seen_key *keys; /* [room], a power of two; open addressing */
    uint64_t room, count;
};
struct seen {
    uint64_t stripe_max;
    struct seen_stripe stripes[SEEN_STRIPES];
};

struct seen *
seen_new(uint64_t count_max)
{
    struct seen *const s = mem_zero(1, sizeof *s);

    s->stripe_max = count_max / SEEN_STRIPES + 1;
    for (unsigned i = 0; i < SEEN_STRIPES; i++)
        if (pthread_mutex_init(&s->stripes[i].lock, NULL) != 0)
            abort();
    return s;
}

void
seen_free(struct seen **s)
{
    if (*s == NULL)
        return;
    for (unsigned i = 0; i < SEEN_STRIPES; i++) {
        (void)pthread_mutex_destroy(&(*s)->stripes[i].lock);
        free((*s)->stripes[i].keys);
    }
    free(*s);
    *s = NULL;
}

/* A digest is random already; the kind only has to tell two uses of one digest apart. */
static struct seen_key
key_of(uint8_t kind, const struct digest *d)
{
    struct seen_key k = { { le64_get(d->at), le64_get(d->at + 8) ^ ((uint64_t)kind << 32) } };

    if (k.at[0] == 0 && k.at[1] == 0)
        k.at[1] = 1;
    return k;
}

/* The key's slot, or the free one where it belongs.  room > 0. */
static struct seen_key *
slot(const struct seen_stripe *t, const struct seen_key *k)
{
    uint64_t at = (k->at[1] ^ (k->at[0] >> 7)) & (t->room - 1);

    while ((t->keys[at].at[0] != 0 || t->keys[at].at[1] != 0) && memcmp(&t->keys[at], k, sizeof *k) != 0)
        at = (at + 1) & (t->room - 1);
    return &t->keys[at];
}

static void
grow(struct seen_stripe *t)
{
    struct seen_key *const old = t->keys;
    const uint64_t old_room = t->room;

    t->room = old_room ? 2 * old_room : 64;
    t->keys = mem_zero(t->room, sizeof *t->keys);
    for (uint64_t i = 0; i < old_room; i++)
        if (old[i].at[0] != 0 || old[i].at[1] != 0)
            *slot(t, &old[i]) = old[i];
    free(old);
}

static struct seen_stripe *
stripe(struct seen *s, const struct seen_key *k)
{
    return &s->stripes[k->at[0] % SEEN_STRIPES];
}

bool
seen_add(struct seen *s, uint8_t kind, const struct digest *d)
{
    const struct seen_key k = key_of(kind, d);
    struct seen_stripe *const t = stripe(s, &k);
    bool fresh = true;

    (void)pthread_mutex_lock(&t->lock);
    if (4 * (t->count + 1) > 3 * t->room)
        grow(t);
    struct seen_key *const at = slot(t, &k);
    if (at->at[0] != 0 || at->at[1] != 0) {
        fresh = false;
    } else if (t->count < s->stripe_max) {
        *at = k;
        t->count++;
    }
    (void)pthread_mutex_unlock(&t->lock);
    return fresh;
}

bool
seen_has(struct seen *s, uint8_t kind, const struct digest *d)
{
    const struct seen_key k = key_of(kind, d);
    struct seen_stripe *const t = stripe(s, &k);

    (void)pthread_mutex_lock(&t->lock);
    const struct seen_key *const at = t->room > 0 ? slot(t, &k) : NULL;
    const bool has = at != NULL && (at->at[0] != 0 || at->at[1] != 0);
    (void)pthread_mutex_unlock(&t->lock);
    return has;
}
