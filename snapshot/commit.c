/* The committer's thread and queue.  What it does with a group stands in commit_write.c. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "snapshot/stage.h"
#include "snapshot/stage_internal.h"

static void *
commit_thread(void *arg)
{
    struct commit *const c = arg;

    (void)pthread_mutex_lock(&c->lock);
    for (;;) {
        while (c->first == NULL && !c->stop)
            (void)pthread_cond_wait(&c->work, &c->lock);
        if (c->first == NULL)
            break;
        struct handover *const group = c->first;
        c->first = NULL;
        c->last = &c->first;
        (void)pthread_mutex_unlock(&c->lock);
        commit_group(c->s, group);
        (void)pthread_mutex_lock(&c->lock);
        /* A handover may be freed by its owner once it is done: read next before. */
        for (struct handover *h = group, *next; h != NULL; h = next) {
            next = h->next;
            h->done = true;
        }
        (void)pthread_cond_broadcast(&c->finished);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct commit *
commit_start(struct store *s)
{
    struct commit *const c = mem_zero(1, sizeof *c);

    c->s = s;
    c->last = &c->first;
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->work, NULL);
    (void)pthread_cond_init(&c->finished, NULL);
    const int failed = pthread_create(&c->thread, NULL, commit_thread, c);
    assert(failed == 0);
    return c;
}

void
commit_stop(struct commit **commit)
{
    struct commit *const c = *commit;

    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->stop = true;
    (void)pthread_cond_signal(&c->work);
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_join(c->thread, NULL);
    (void)pthread_cond_destroy(&c->work);
    (void)pthread_cond_destroy(&c->finished);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    *commit = NULL;
}

void
commit_hand(struct commit *c, struct handover *h)
{
    h->next = NULL;
    h->done = false;
    (void)pthread_mutex_lock(&c->lock);
    assert(!c->stop);
    *c->last = h;
    c->last = &h->next;
    (void)pthread_cond_signal(&c->work);
    (void)pthread_mutex_unlock(&c->lock);
}

void
commit_wait(struct commit *c, struct handover *h)
{
    (void)pthread_mutex_lock(&c->lock);
    while (!h->done)
        (void)pthread_cond_wait(&c->finished, &c->lock);
    (void)pthread_mutex_unlock(&c->lock);
}

bool
commit_is_done(struct commit *c, const struct handover *h)
{
    (void)pthread_mutex_lock(&c->lock);
    const bool done = h->done;
    (void)pthread_mutex_unlock(&c->lock);
    return done;
}

enum err_kind
commit_change(struct store *s, commit_fn *fn, void *arg, struct json **event, struct err *err)
{
    struct handover h = { .fn = fn, .arg = arg };

    assert(s->writer && s->commit != NULL);
    if (event != NULL) {
        h.event = *event;
        *event = NULL;
    }
    commit_hand(s->commit, &h);
    commit_wait(s->commit, &h);
    json_free(&h.event);
    if (h.kind != ERR_OK && err != NULL)
        *err = h.err;
    return h.kind;
}
