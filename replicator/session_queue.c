/* Jobs and answers of one session: what is under work, what waits for the socket, and the first failure. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/session_internal.h"

_Static_assert(SITE_QUEUE_MAX <= 64, "job_done has 64 bits");

/* Under the lock. */
static void
fail(struct session *s, const struct err *err, bool tell)
{
    if (s->failed != ERR_OK)
        return;
    s->failed = err->kind;
    s->err = *err;
    /* What a full disk is called depends on where it was met; the agent is told in one way. */
    if (err->kind == ERR_FULL && err->code != EDQUOT) {
        log_warn("%s", err->text);
        (void)err_set(&s->err, ERR_FULL, "the site's disk is full");
    }
    s->tell = tell;
    s->failed_ns = when_tick_ns();
    (void)pthread_cond_broadcast(&s->changed);
    if (!tell)
        (void)shutdown(s->cut_fd, SHUT_RDWR);
}

void
session_fail(struct session *s, const struct err *err, bool tell)
{
    (void)pthread_mutex_lock(&s->lock);
    fail(s, err, tell);
    (void)pthread_mutex_unlock(&s->lock);
}

bool
session_failed(struct session *s, struct err *ret)
{
    (void)pthread_mutex_lock(&s->lock);
    const bool failed = s->failed != ERR_OK;
    if (failed && ret != NULL)
        *ret = s->err;
    (void)pthread_mutex_unlock(&s->lock);
    return failed;
}

/* Under the lock: what the session failed with. */
static enum err_kind
failure(const struct session *s, struct err *err)
{
    if (s->failed != ERR_OK && err != NULL)
        *err = s->err;
    return s->failed;
}

static void
reply_free(struct reply *r)
{
    buf_free(&r->payload);
    free(r);
}

/* A thread of its own, so that a peer that takes nothing holds up nobody but itself. */
static void *
sender_main(void *arg)
{
    struct session *const s = arg;

    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->reply_first == NULL && !s->ended && s->failed == ERR_OK)
            (void)pthread_cond_wait(&s->changed, &s->lock);
        if (s->failed != ERR_OK || s->reply_first == NULL)
            break;
        struct reply *const r = s->reply_first;
        s->reply_first = r->next;
        if (r->next == NULL)
            s->reply_last = &s->reply_first;
        (void)pthread_mutex_unlock(&s->lock);
        struct err err = { 0 };
        const enum err_kind kind = wire_send(s->ch, r->type, &r->payload, &err);
        (void)pthread_mutex_lock(&s->lock);
        s->reply_bytes -= r->payload.size;
        reply_free(r);
        if (kind != ERR_OK)
            fail(s, &err, false);
        (void)pthread_cond_broadcast(&s->changed);
    }
    const bool tell = s->failed != ERR_OK && s->tell;
    const struct err err = s->err;
    (void)pthread_mutex_unlock(&s->lock);
    if (tell) {
        wire_send_error(s->ch, &err);
        /* Nothing follows an ERROR; what the peer still sends is read away by the other thread. */
        (void)shutdown(s->cut_fd, SHUT_WR);
    }
    return NULL;
}

void
queue_start(struct session *s)
{
    s->reply_last = &s->reply_first;
    const int failed = pthread_create(&s->sender, NULL, sender_main, s);
    assert(failed == 0);
}

void
queue_stop(struct session *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->ended = true;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->sender, NULL);
    for (struct reply *r = s->reply_first, *next; r != NULL; r = next) {
        next = r->next;
        reply_free(r);
    }
    s->reply_first = NULL;
}

void
session_reply(struct session *s, enum wire_type type, struct buf *payload)
{
    struct reply *const r = mem_zero(1, sizeof *r);

    r->type = type;
    r->payload = *payload;
    *payload = (struct buf){ 0 };
    (void)pthread_mutex_lock(&s->lock);
    s->reply_bytes += r->payload.size;
    *s->reply_last = r;
    s->reply_last = &r->next;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

/* What arrived whole before the peer was lost is stored all the same, so that it need not be sent again; after any other failure nothing
 * of this session counts any more. */
static bool
worthless(struct session *s)
{
    (void)pthread_mutex_lock(&s->lock);
    const bool lost = s->failed == ERR_CLOSED && !s->tell;
    const bool none = s->failed != ERR_OK && !lost;
    (void)pthread_mutex_unlock(&s->lock);
    return none;
}

static void
job_run(void *arg)
{
    struct job *const j = arg;
    struct session *const s = j->s;
    struct err err = { 0 };
    const enum err_kind kind = worthless(s) ? ERR_OK : j->fn(s->up, j, &err);

    (void)pthread_mutex_lock(&s->lock);
    if (kind != ERR_OK)
        fail(s, &err, true);
    s->job_bytes -= j->payload.size;
    s->job_done |= 1ull << j->number % 64;
    while (s->job_low < s->job_next && (s->job_done >> s->job_low % 64 & 1) != 0)
        s->job_done &= ~(1ull << s->job_low++ % 64);
    (void)pthread_cond_broadcast(&s->changed);
    /* From here on the session may be gone. */
    (void)pthread_mutex_unlock(&s->lock);
    buf_free(&j->payload);
    free(j);
}

enum err_kind
session_push(struct session *s, job_fn *fn, struct buf *payload, struct err *err)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->failed == ERR_OK &&
           (s->job_next - s->job_low >= SITE_QUEUE_MAX || s->reply_bytes > REPLY_BYTES_MAX ||
            (s->job_bytes > 0 && s->job_bytes + payload->size > JOB_BYTES_MAX)))
        (void)pthread_cond_wait(&s->changed, &s->lock);
    const enum err_kind kind = failure(s, err);
    if (kind != ERR_OK) {
        (void)pthread_mutex_unlock(&s->lock);
        return kind;
    }
    struct job *const j = mem_zero(1, sizeof *j);
    *j = (struct job){ s, fn, s->job_next++, s->up->blob_count, *payload };
    *payload = (struct buf){ 0 };
    s->job_bytes += j->payload.size;
    (void)pthread_mutex_unlock(&s->lock);
    pool_push(s->site->pool, job_run, j);
    return ERR_OK;
}

uint64_t
session_jobs(struct session *s)
{
    (void)pthread_mutex_lock(&s->lock);
    const uint64_t n = s->job_next;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

enum err_kind
session_wait(struct session *s, uint64_t number, bool wait, bool *ret_done, struct err *err)
{
    (void)pthread_mutex_lock(&s->lock);
    while (wait && s->failed == ERR_OK && s->job_low < number)
        (void)pthread_cond_wait(&s->changed, &s->lock);
    const enum err_kind kind = failure(s, err);
    *ret_done = kind == ERR_OK && s->job_low >= number;
    (void)pthread_mutex_unlock(&s->lock);
    return kind;
}

void
session_drain(struct session *s)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->job_low < s->job_next)
        (void)pthread_cond_wait(&s->changed, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
}
