#include "common/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/mem.h"

struct job {
    pool_fn *fn;
    void *arg;
};

struct pool {
    pthread_mutex_t lock; /* guards all below but threads */
    pthread_cond_t filled;
    pthread_cond_t drained; /* room in the queue, or nothing left to do */
    struct job *queue;      /* [room], a ring */
    size_t room;
    size_t first;
    size_t used;
    size_t running;
    bool ending;
    pthread_t *threads; /* [thread_count] */
    size_t thread_count;
};

/* Threads and locks fail only for want of memory or by our own misuse; mem.h says what happens then. */
static void
must(int rc)
{
    if (rc != 0)
        abort();
}

static void *
work(void *arg)
{
    struct pool *const p = arg;

    must(pthread_mutex_lock(&p->lock));
    for (;;) {
        while (p->used == 0 && !p->ending)
            must(pthread_cond_wait(&p->filled, &p->lock));
        if (p->used == 0)
            break;
        const struct job job = p->queue[p->first];
        p->first = (p->first + 1) % p->room;
        p->used--;
        p->running++;
        must(pthread_cond_broadcast(&p->drained));
        must(pthread_mutex_unlock(&p->lock));

        job.fn(job.arg);

        must(pthread_mutex_lock(&p->lock));
        p->running--;
        if (p->running == 0 && p->used == 0)
            must(pthread_cond_broadcast(&p->drained));
    }
    must(pthread_mutex_unlock(&p->lock));
    return NULL;
}

struct pool *
pool_new(size_t threads, size_t queue_max)
{
    struct pool *const p = mem_zero(1, sizeof *p);

    assert(threads > 0 && queue_max > 0);
    p->queue = mem_zero(queue_max, sizeof *p->queue);
    p->room = queue_max;
    p->threads = mem_zero(threads, sizeof *p->threads);
    p->thread_count = threads;
    must(pthread_mutex_init(&p->lock, NULL));
    must(pthread_cond_init(&p->filled, NULL));
    must(pthread_cond_init(&p->drained, NULL));
    for (size_t i = 0; i < threads; i++)
        must(pthread_create(&p->threads[i], NULL, work, p));
    return p;
}

void
pool_push(struct pool *p, pool_fn *fn, void *arg)
{
    must(pthread_mutex_lock(&p->lock));
    assert(!p->ending);
    while (p->used == p->room)
        must(pthread_cond_wait(&p->drained, &p->lock));
    p->queue[(p->first + p->used) % p->room] = (struct job){ .fn = fn, .arg = arg };
    p->used++;
    must(pthread_cond_signal(&p->filled));
    must(pthread_mutex_unlock(&p->lock));
}

void
pool_wait(struct pool *p)
{
    must(pthread_mutex_lock(&p->lock));
    while (p->used > 0 || p->running > 0)
        must(pthread_cond_wait(&p->drained, &p->lock));
    must(pthread_mutex_unlock(&p->lock));
}

void
pool_free(struct pool **p)
{
    struct pool *const gone = *p;

    *p = NULL;
    if (gone == NULL)
        return;
    pool_wait(gone);
    must(pthread_mutex_lock(&gone->lock));
    gone->ending = true;
    must(pthread_cond_broadcast(&gone->filled));
    must(pthread_mutex_unlock(&gone->lock));
    for (size_t i = 0; i < gone->thread_count; i++)
        must(pthread_join(gone->threads[i], NULL));
    must(pthread_cond_destroy(&gone->filled));
    must(pthread_cond_destroy(&gone->drained));
    must(pthread_mutex_destroy(&gone->lock));
    free(gone->threads);
    free(gone->queue);
    free(gone);
}

size_t
pool_cores(void)
{
    cpu_set_t set;

    /* More than CPU_SETSIZE processors give EINVAL: then one worker is slow, but right. */
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);
    return n < 1 ? 1 : (size_t)n;
}
