/* The reading thread of a connection: greeting, frames, end. */
#include "replicator/session.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/session_internal.h"

static enum err_kind
on_begin(struct session *s, const struct wire_frame *f, struct err *err)
{
    struct wire_begin m;
    const enum err_kind kind = wire_get_begin(f->payload.at, f->payload.size, &m, err);

    if (kind != ERR_OK)
        return kind;
    upload_end(s);
    return upload_begin(s, &m, err);
}

static enum err_kind
on_blob(struct session *s, struct wire_frame *f, struct err *err)
{
    struct upload *const up = s->up;
    const uint32_t number = f->payload.size < 4 ? 0 : le32_get(f->payload.at);

    if (f->payload.size < 4 || number != up->blob_count || number == UINT32_MAX)
        return err_set(err, ERR_PROTOCOL, "BLOB %u where %u should come", number, up->blob_count);
    blob_known(up, number, 0);
    up->blob_count++;
    return session_push(s, job_blob, &f->payload, err);
}

/* Frames of an upload that is open. */
static enum err_kind
on_upload(struct session *s, struct wire_frame *f, struct err *err)
{
    enum err_kind kind = ERR_OK;

    switch (f->type) {
    case WIRE_QUERY:
        kind = session_push(s, job_query, &f->payload, err);
        break;
    case WIRE_WANT:
        kind = session_push(s, job_want, &f->payload, err);
        break;
    case WIRE_ITEMS:
        kind = session_push(s, job_items, &f->payload, err);
        break;
    case WIRE_BLOB:
        kind = on_blob(s, f, err);
        break;
    case WIRE_GET:
        return session_get(s->up, &f->payload, err);
    case WIRE_OBJECTS:
        objects_keep(s->up, &f->payload);
        break;
    case WIRE_MARK:
        kind = session_mark(s, f, err);
        if (kind == ERR_OK)
            upload_end(s);
        return kind;
    default:
        return err_set(err, ERR_PROTOCOL, "%s is not a frame that an agent sends here",
                       wire_name((uint8_t)f->type));
    }
    if (kind == ERR_OK)
        kind = objects_run(s->up, false, err);
    return kind != ERR_OK ? kind : upload_checkpoint(s->up, err);
}

static enum err_kind
on_frame(struct session *s, struct wire_frame *f, bool *ret_bye, struct err *err)
{
    if (f->type == WIRE_BYE) {
        *ret_bye = true;
        return ERR_OK;
    }
    if (f->type == WIRE_BEGIN)
        return on_begin(s, f, err);
    if (s->up == NULL)
        return err_set(err, ERR_PROTOCOL, "%s before BEGIN", wire_name((uint8_t)f->type));
    return on_upload(s, f, err);
}

static enum err_kind
greet(struct session *s, bool *ret_bye, struct err *err)
{
    struct wire_frame f = { 0 };
    struct digest print;
    enum err_kind kind = wire_receive(s->ch, &f, err);

    if (kind != ERR_OK)
        return kind;
    channel_stall(s->ch, SESSION_STALL_MS_MAX);
    if (f.type == WIRE_HELLO) {
        kind = session_greet(s, &f, err);
    } else if (f.type == WIRE_JOIN && !channel_peer(s->ch, &print)) {
        kind = session_join(s, &f, err);
        *ret_bye = true;
    } else {
        kind = err_set(err, ERR_PROTOCOL, "%s cannot be the first frame of this connection",
                       wire_name((uint8_t)f.type));
    }
    buf_free(&f.payload);
    return kind;
}

static void
serve(struct session *s)
{
    struct err err = { 0 };
    bool bye = false;
    enum err_kind kind = greet(s, &bye, &err);

    while (kind == ERR_OK && !bye && !session_failed(s, NULL)) {
        struct wire_frame f = { 0 };

        kind = wire_receive_idle(s->ch, &f, &err);
        if (kind == ERR_OK)
            kind = on_frame(s, &f, &bye, &err);
        buf_free(&f.payload);
    }
    if (kind != ERR_OK)
        session_fail(s, &err, kind != ERR_CLOSED && kind != ERR_CRYPTO);
}

static void
log_end(struct session *s)
{
    const char *const who = s->agent[0] != '\0' ? s->agent : "a stranger";
    struct err err = { 0 };

    if (!session_failed(s, &err)) {
        if (s->agent[0] != '\0')
            log_info("%s at %s: the connection is done", who, channel_peer_address(s->ch));
    } else if (err.kind == ERR_CLOSED && !s->tell) {
        log_info("%s at %s: %s", who, channel_peer_address(s->ch), err.text);
    } else {
        log_warn("%s at %s: %s", who, channel_peer_address(s->ch), err.text);
    }
}

/* The peer reads why before it sees the end; what it still sends is thrown away.  session_reap() ends this when it takes too long. */
static void
linger(struct session *s)
{
    uint8_t away[4096];

    while (channel_read(s->ch, away, sizeof away, NULL) == ERR_OK)
        ;
}

static void
finish(struct session *s)
{
    (void)pthread_mutex_lock(&s->site->lock);
    s->finished = true;
    (void)pthread_mutex_unlock(&s->site->lock);
    (void)!eventfd_write(s->site->wake_fd, 1);
}

static void *
session_main(void *arg)
{
    struct session *const s = arg;
    struct err err = { 0 };

    const enum err_kind kind = channel_accept(s->site->tls, s->fd, &s->ch, &err);
    s->fd = -1;
    if (kind != ERR_OK) {
        log_info("a connection was refused: %s", err.text);
        finish(s);
        return NULL;
    }
    queue_start(s);
    serve(s);
    upload_end(s);
    queue_stop(s);
    log_end(s);
    if (session_failed(s, NULL) && s->tell)
        linger(s);
    channel_close(&s->ch);
    finish(s);
    return NULL;
}

/* Under the site's lock. */
static void
make_room(struct site *site)
{
    struct session *oldest = NULL;
    size_t strangers = 0;

    for (struct session *o = site->sessions; o != NULL; o = o->next) {
        if (o->greeted || o->finished)
            continue;
        strangers++;
        if (oldest == NULL || o->began_ns < oldest->began_ns)
            oldest = o;
    }
    if (strangers >= STRANGERS_MAX)
        (void)shutdown(oldest->cut_fd, SHUT_RDWR);
}

void
session_start(struct site *site, int fd)
{
    const int cut_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    (void)pthread_mutex_lock(&site->lock);
    make_room(site);
    const bool full = site->session_count >= SESSIONS_MAX || cut_fd < 0;
    if (full) {
        (void)pthread_mutex_unlock(&site->lock);
        log_warn("a connection was refused: %u are open", SESSIONS_MAX);
        (void)close(fd);
        if (cut_fd >= 0)
            (void)close(cut_fd);
        return;
    }
    struct session *const s = mem_zero(1, sizeof *s);
    s->site = site;
    s->fd = fd;
    s->cut_fd = cut_fd;
    s->began_ns = when_tick_ns();
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->changed, NULL);
    s->next = site->sessions;
    site->sessions = s;
    site->session_count++;
    ++site->served;
    const int failed = pthread_create(&s->thread, NULL, session_main, s);
    assert(failed == 0);
    (void)pthread_mutex_unlock(&site->lock);
}

/* Whether a session has had its time: to greet, or to take the reason of its end. */
static bool
overdue(struct session *s, int64_t now)
{
    (void)pthread_mutex_lock(&s->lock);
    const bool late = s->failed != ERR_OK && now - s->failed_ns > GRACE_NS;
    (void)pthread_mutex_unlock(&s->lock);
    return late || (!s->greeted && now - s->began_ns > GREETING_NS);
}

size_t
session_reap(struct site *site)
{
    const int64_t now = when_tick_ns();
    struct session *gone = NULL;

    (void)pthread_mutex_lock(&site->lock);
    for (struct session **at = &site->sessions; *at != NULL;) {
        struct session *const s = *at;

        if (s->finished) {
            *at = s->next;
            s->next = gone;
            gone = s;
            site->session_count--;
            continue;
        }
        if (overdue(s, now))
            (void)shutdown(s->cut_fd, SHUT_RDWR);
        at = &s->next;
    }
    const size_t left = site->session_count;
    (void)pthread_mutex_unlock(&site->lock);
    for (struct session *s = gone, *next; s != NULL; s = next) {
        next = s->next;
        (void)pthread_join(s->thread, NULL);
        (void)close(s->cut_fd);
        (void)pthread_cond_destroy(&s->changed);
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
    }
    return left;
}

void
session_stop_all(struct site *site)
{
    struct err err = { 0 };

    (void)err_set(&err, ERR_CLOSED, "the site is stopping");
    (void)pthread_mutex_lock(&site->lock);
    for (struct session *s = site->sessions; s != NULL; s = s->next) {
        session_fail(s, &err, true);
        if (!s->greeted)
            (void)shutdown(s->cut_fd, SHUT_RDWR);
    }
    (void)pthread_mutex_unlock(&site->lock);
}

void
site_cut_agent(struct site *site, const char *agent, const char *why)
{
    struct err err = { 0 };

    (void)err_set(&err, ERR_REFUSED, "%s", why);
    (void)pthread_mutex_lock(&site->lock);
    for (struct session *s = site->sessions; s != NULL; s = s->next)
        if (strcmp(s->agent, agent) == 0 && !s->finished)
            session_fail(s, &err, true);
    (void)pthread_mutex_unlock(&site->lock);
}
