/* dir.c - directories and their slices, from the first name to the page. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "replicator/pass.h"

struct dirfd *
dirfd_new(int fd)
{
    struct dirfd *d = mem_alloc(sizeof(*d));
    d->fd = fd;
    atomic_init(&d->refs, 1);
    return d;
}

struct dirfd *
dirfd_take(struct dirfd *d)
{
    atomic_fetch_add(&d->refs, 1);
    return d;
}

void
dirfd_drop(struct dirfd *d)
{
    if (d != NULL && atomic_fetch_sub(&d->refs, 1) == 1) {
        (void)close(d->fd);
        free(d);
    }
}

struct dir *
dir_new(struct pass *p, struct dir *parent, struct slice *s, struct item *item)
{
    struct dir *d = mem_zero(1, sizeof(*d));
    d->pass = p;
    d->parent = parent;
    d->slice = s;
    d->item = item;
    d->depth = parent == NULL ? 0 : parent->depth + 1;
    d->mount = parent == NULL ? 0 : parent->mount;
    pthread_mutex_lock(&p->lock);
    d->older = p->all_dirs;
    if (d->older != NULL)
        d->older->newer = d;
    p->all_dirs = d;
    pthread_mutex_unlock(&p->lock);
    return d;
}

static void
slice_free(struct slice *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        free(s->at[i].xattrs);
        free(s->at[i].target);
    }
    free(s);
}

void
dir_free(struct dir *d)
{
    struct pass *p = d->pass;
    pthread_mutex_lock(&p->lock);
    if (d->newer != NULL)
        d->newer->older = d->older;
    else
        p->all_dirs = d->older;
    if (d->older != NULL)
        d->older->newer = d->newer;
    pthread_mutex_unlock(&p->lock);
    while (d->first != NULL) {
        struct slice *s = d->first;
        d->first = s->next;
        slice_free(s);
    }
    tree_builder_free(&d->builder);
    dirfd_drop(d->fd);
    list_free(&d->names);
    past_free(&d->past_page);
    free(d);
}

struct slice *
slice_new(struct dir *d, uint32_t count)
{
    struct slice *s = mem_zero(1, sizeof(*s) + count * sizeof(s->at[0]));
    s->dir = d;
    s->count = count;
    s->pending = 1;
    pthread_mutex_lock(&d->pass->lock);
    if (d->first == NULL)
        d->first = s;
    else
        d->last->next = s;
    d->last = s;
    pthread_mutex_unlock(&d->pass->lock);
    return s;
}

static void
queue_dir(struct dir *d)
{
    struct pass *p = d->pass;
    if (d->queued)
        return;
    d->queued = true;
    d->next_queued = NULL;
    if (p->dirs == NULL)
        p->dirs = d;
    else
        p->dirs_last->next_queued = d;
    p->dirs_last = d;
    pthread_cond_signal(&p->work);
}

void
slice_release(struct slice *s, uint32_t times)
{
    assert(s->pending >= times);
    s->pending -= times;
    if (s->pending == 0 && s->dir->first == s)
        queue_dir(s->dir);
}

void
dir_scanned(struct dir *d)
{
    d->scanned = true;
    if (d->first == NULL)
        queue_dir(d);
}

static enum err_kind
emit_page(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err)
{
    (void)err;
    object_add(arg, OBJECT_PAGE, digest, page, size);
    return ERR_OK;
}

static struct tree_builder *
builder_take(struct pass *p)
{
    struct tree_builder *b = NULL;
    pthread_mutex_lock(&p->lock);
    if (p->builder_count > 0)
        b = p->builders[--p->builder_count];
    pthread_mutex_unlock(&p->lock);
    return b != NULL ? b : tree_builder_new(emit_page, p);
}

static void
builder_give(struct pass *p, struct tree_builder **b)
{
    pthread_mutex_lock(&p->lock);
    if (p->builder_count < sizeof(p->builders) / sizeof(p->builders[0])) {
        p->builders[p->builder_count++] = *b;
        *b = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    tree_builder_free(b);
}

static enum err_kind
feed(struct dir *d, const struct slice *s, struct err *err)
{
    if (d->builder == NULL)
        d->builder = builder_take(d->pass);
    enum err_kind kind = ERR_OK;
    for (uint32_t i = 0; i < s->count && kind == ERR_OK; i++)
        if (!s->at[i].out)
            kind = tree_builder_add(d->builder, &s->at[i].entry, err);
    return kind;
}

static enum err_kind
finish(struct dir *d, struct err *err)
{
    struct pass *p = d->pass;
    struct tree_sum sum;
    if (d->builder == NULL)
        d->builder = builder_take(p);
    enum err_kind kind = tree_builder_end(d->builder, &sum, err);
    if (kind != ERR_OK)
        return kind;
    builder_give(p, &d->builder);
    d->item->entry.digest = sum.digest;
    d->item->entry.size = sum.size;
    d->item->entry.count = sum.count;
    pthread_mutex_lock(&p->lock);
    if (d->slice != NULL) {
        slice_release(d->slice, 1);
    } else {
        p->root_done = true;
        pthread_cond_broadcast(&p->room);
    }
    pthread_mutex_unlock(&p->lock);
    dir_free(d);
    return ERR_OK;
}

void
dir_advance(struct dir *d)
{
    struct pass *p = d->pass;
    struct err err = { 0 };
    enum err_kind kind = ERR_OK;
    while (kind == ERR_OK) {
        pthread_mutex_lock(&p->lock);
        struct slice *s = d->first;
        bool whole = s != NULL && s->pending == 0;
        bool finished = s == NULL && d->scanned;
        if (!whole && !finished)
            d->queued = false;
        pthread_mutex_unlock(&p->lock);
        if (finished) {
            kind = finish(d, &err);
            break;
        }
        if (!whole)
            return;
        kind = feed(d, s, &err);
        pthread_mutex_lock(&p->lock);
        d->first = s->next;
        if (d->first == NULL)
            d->last = NULL;
        pthread_mutex_unlock(&p->lock);
        slice_free(s);
    }
    if (kind != ERR_OK)
        pass_fail(p, &err);
}
