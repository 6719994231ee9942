/* work.c - the workers and what they do next. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "replicator/pass.h"

enum job { JOB_END, JOB_ANSWER, JOB_SEND, JOB_DIR, JOB_ASK, JOB_READ };

static struct unit *
pop(struct unit **first, struct unit **last)
{
    struct unit *u = *first;
    *first = u->next;
    if (u->next == NULL)
        *last = NULL;
    u->next = NULL;
    return u;
}

static bool
buffer_there(const struct pass *p)
{
    return p->buffers_free > 0 || p->buffers_made < UNIT_BUFFERS;
}

static void
buffer_take(struct pass *p, struct unit *u)
{
    if (p->buffers_free > 0) {
        u->buffer = p->buffers[--p->buffers_free];
        return;
    }
    p->buffers_made++;
    u->buffer = mem_alloc(MAP_BYTES);
}

/* Answers before reading: an answered unit gives its buffer back. */
static enum job
choose(struct pass *p, struct unit **ret_unit, struct dir **ret_dir)
{
    for (;;) {
        if (p->failed || p->over)
            return JOB_END;
        if (p->ready != NULL) {
            *ret_unit = pop(&p->ready, &p->ready_last);
            return JOB_ANSWER;
        }
        if (object_send_due(p)) {
            p->sending_objects = true;
            return JOB_SEND;
        }
        if (object_ask_due(p, false))
            return JOB_ASK;
        if (p->dirs != NULL) {
            *ret_dir = p->dirs;
            p->dirs = p->dirs->next_queued;
            return JOB_DIR;
        }
        if (p->fresh != NULL && buffer_there(p)) {
            *ret_unit = pop(&p->fresh, &p->fresh_last);
            p->fresh_count--;
            buffer_take(p, *ret_unit);
            pthread_cond_broadcast(&p->room);
            return JOB_READ;
        }
        if (object_ask_due(p, true))
            return JOB_ASK;
        pthread_cond_wait(&p->work, &p->lock);
    }
}

static enum err_kind
do_read(struct worker *w, struct unit *u, struct err *err)
{
    bool asked = false;
    enum err_kind kind = read_unit(w, u, err);
    if (kind == ERR_OK)
        kind = ask_unit(w, u, &asked, err);
    /* From here on an asked unit belongs to whoever gets its answer. */
    if (kind == ERR_OK && !asked)
        unit_done(u);
    return kind;
}

static void *
worker_main(void *arg)
{
    struct worker *w = arg;
    struct pass *p = w->pass;
    for (;;) {
        struct unit *u = NULL;
        struct dir *d = NULL;
        struct err err = { 0 };
        enum err_kind kind = ERR_OK;
        pthread_mutex_lock(&p->lock);
        enum job job = choose(p, &u, &d);
        /* What one worker leaves another may take: a signal wakes only one. */
        if (job != JOB_END && (p->ready != NULL || p->dirs != NULL || p->fresh != NULL))
            pthread_cond_signal(&p->work);
        pthread_mutex_unlock(&p->lock);
        switch (job) {
        case JOB_END:
            return NULL;
        case JOB_ANSWER:
            kind = answer_unit(w, u, &err);
            break;
        case JOB_SEND:
            kind = object_send(p, &err);
            break;
        case JOB_DIR:
            dir_advance(d);
            break;
        case JOB_ASK:
            kind = object_ask(p, &err);
            break;
        case JOB_READ:
            kind = do_read(w, u, &err);
            break;
        }
        if (kind != ERR_OK)
            pass_fail(p, &err);
    }
}

void
work_ready(struct unit *u)
{
    struct pass *p = u->pass;
    u->next = NULL;
    if (p->ready == NULL)
        p->ready = u;
    else
        p->ready_last->next = u;
    p->ready_last = u;
    pthread_cond_signal(&p->work);
}

enum err_kind
work_start(struct pass *p, struct err *err)
{
    for (size_t i = 0; i < p->agent->opt.workers; i++) {
        struct worker *w = &p->workers[i];
        w->pass = p;
        w->index = (unsigned)i;
        enum err_kind kind = ring_new(p->agent->opt.engine, &w->ring, err);
        if (kind != ERR_OK)
            return kind;
        w->cargo = cargo_new(p);
        int rc = pthread_create(&w->thread, NULL, worker_main, w);
        assert(rc == 0);
        p->worker_count++;
    }
    return ERR_OK;
}

void
work_stop(struct pass *p)
{
    pthread_mutex_lock(&p->lock);
    p->over = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->worker_count; i++)
        pthread_join(p->workers[i].thread, NULL);
    for (size_t i = 0; i < AGENT_WORKERS_MAX; i++) {
        ring_free(&p->workers[i].ring);
        cargo_free(&p->workers[i].cargo);
    }
    for (uint32_t i = 0; i < p->buffers_free; i++)
        free(p->buffers[i]);
    p->buffers_free = 0;
}

enum err_kind
work_flush(struct pass *p, struct err *err)
{
    enum err_kind kind = ERR_OK;
    for (size_t i = 0; i < p->worker_count && kind == ERR_OK; i++)
        kind = cargo_flush(p->workers[i].cargo, err);
    return kind;
}

void
work_throttle(struct pass *p)
{
    pthread_mutex_lock(&p->lock);
    bool full = p->object_bytes > OBJECTS_BYTES_MAX || p->object_count > OBJECTS_COUNT_MAX;
    pthread_mutex_unlock(&p->lock);
    if (!full)
        return;
    /* Objects wait for all units begun before them, the one being packed among them. */
    unit_submit(p);
    pthread_mutex_lock(&p->lock);
    while (!p->failed && (p->object_bytes > OBJECTS_BYTES_MAX / 2 || p->object_count > OBJECTS_COUNT_MAX / 2))
        pthread_cond_wait(&p->room, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
