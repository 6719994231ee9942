/* hard.c - inodes with more than one name: read once, told to all names. */
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/mem.h"
#include "replicator/pass.h"

enum hard_state { HARD_READING, HARD_KNOWN, HARD_OUT };

struct hard {
    struct hard *next;
    uint64_t inode;
    uint32_t mount;
    uint32_t left; /* names that may still be met: when there are none, the row goes */
    uint8_t state;
    struct digest digest;
    uint64_t size;
    uint8_t *xattrs; /* of a small set */
    uint32_t xattrs_bytes;
    struct digest xattrs_digest;
    struct hard_name *waiters;
    size_t waiter_count;
};

static struct hard **
place(struct pass *p, const struct table_key *key)
{
    uint64_t at[2] = { key->inode, key->mount };
    struct hard **h = &p->hard[hash_check(at, sizeof(at), 0) & (p->hard_room - 1)];
    while (*h != NULL && ((*h)->inode != key->inode || (*h)->mount != key->mount))
        h = &(*h)->next;
    return h;
}

static void
grow(struct pass *p)
{
    struct hard **old = p->hard;
    size_t old_room = p->hard_room;
    p->hard_room = old_room == 0 ? 1024 : old_room * 4;
    p->hard = mem_zero(p->hard_room, sizeof(struct hard *));
    for (size_t i = 0; i < old_room; i++)
        for (struct hard *h = old[i], *next; h != NULL; h = next) {
            next = h->next;
            h->next = NULL;
            struct table_key key = { .mount = h->mount, .inode = h->inode };
            *place(p, &key) = h;
        }
    free(old);
}

static void
fill(const struct hard *h, struct item *it)
{
    it->out = h->state == HARD_OUT;
    it->entry.digest = h->digest;
    it->entry.size = h->size;
    it->entry.xattrs_bytes = h->xattrs_bytes;
    it->entry.xattrs_digest = h->xattrs_digest;
    if (h->xattrs != NULL) {
        it->xattrs = mem_copy(h->xattrs, h->xattrs_bytes);
        it->entry.xattrs = it->xattrs;
    }
}

static void
hard_free(struct hard *h)
{
    free(h->xattrs);
    free(h->waiters);
    free(h);
}

bool
hard_known(struct pass *p, const struct table_key *key, const struct hard_name *name, uint32_t links,
           struct hard **ret)
{
    pthread_mutex_lock(&p->lock);
    if (p->hard_count >= p->hard_room)
        grow(p);
    struct hard **at = place(p, key);
    struct hard *h = *at;
    bool known = h != NULL;
    if (!known) {
        h = mem_zero(1, sizeof(*h));
        h->inode = key->inode;
        h->mount = key->mount;
        h->left = links - 1;
        *at = h;
        p->hard_count++;
        *ret = h;
    } else if (h->state == HARD_READING) {
        h->waiters = mem_grow(h->waiters, h->waiter_count + 1, sizeof(h->waiters[0]));
        h->waiters[h->waiter_count++] = *name;
        name->slice->pending++;
        h->left = h->left > 0 ? h->left - 1 : 0;
    } else {
        fill(h, name->item);
        h->left = h->left > 0 ? h->left - 1 : 0;
        /* Met all its names: with millions of linked files the table would else hold them all. */
        if (h->left == 0) {
            *at = h->next;
            p->hard_count--;
            hard_free(h);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return known;
}

static void
tell(struct hard *h)
{
    for (size_t i = 0; i < h->waiter_count; i++) {
        fill(h, h->waiters[i].item);
        slice_release(h->waiters[i].slice, 1);
    }
    free(h->waiters);
    h->waiters = NULL;
    h->waiter_count = 0;
}

void
hard_told(struct hard *h, const struct item *from)
{
    h->state = HARD_KNOWN;
    h->digest = from->entry.digest;
    h->size = from->entry.size;
    h->xattrs_bytes = from->entry.xattrs_bytes;
    h->xattrs_digest = from->entry.xattrs_digest;
    if (from->xattrs != NULL)
        h->xattrs = mem_copy(from->xattrs, h->xattrs_bytes);
    tell(h);
}

void
hard_failed(struct hard *h)
{
    h->state = HARD_OUT;
    tell(h);
}

void
hard_free_all(struct pass *p)
{
    for (size_t i = 0; i < p->hard_room; i++)
        for (struct hard *h = p->hard[i], *next; h != NULL; h = next) {
            next = h->next;
            hard_free(h);
        }
    free(p->hard);
    p->hard = NULL;
    p->hard_room = p->hard_count = 0;
}
