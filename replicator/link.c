#include "replicator/link.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/auto.h"
#include "common/channel.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/agent.h"

#define SLOTS                                                                                                \
    4096u /* questions without an answer: far more than the units and windows that can be under way */
#define WATCH_NS 1000000000ll

struct slot {
    uint32_t id;
    link_answer_fn *fn; /* NULL: free */
    void *arg;
};

struct link {
    struct channel_context *context;
    struct channel *channel;
    pthread_t reader, watch;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* mail, death, a free slot, closing */
    struct slot slots[SLOTS];
    uint32_t next_id;
    uint32_t awaited; /* questions and calls without an answer */
    uint32_t writing; /* threads inside a write */
    bool mailed;      /* mail holds a frame for link_call */
    struct wire_frame mail;
    bool dead, closing;
    struct err err;            /* why it is dead */
    pthread_mutex_t hand_lock; /* held while an asker's function runs: link_on_end(NULL) waits for it */
    link_end_fn *end;
    void *end_arg;
};

static void
die(struct link *l, const struct err *err)
{
    pthread_mutex_lock(&l->lock);
    bool first = !l->dead;
    if (first) {
        l->dead = true;
        l->err = *err;
    }
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    channel_cut(l->channel);
}

/* An answer goes to whoever asked.  Its number is the first field of ANSWER and SUMS. */
static enum err_kind
deliver(struct link *l, struct wire_frame *f, struct err *err)
{
    if (f->payload.size < 4)
        return err_set(err, ERR_PROTOCOL, "%s is too short", wire_name((uint8_t)f->type));
    uint32_t id = le32_get(f->payload.at);
    pthread_mutex_lock(&l->hand_lock);
    pthread_mutex_lock(&l->lock);
    struct slot *s = &l->slots[id % SLOTS];
    link_answer_fn *fn = s->id == id ? s->fn : NULL;
    void *arg = s->arg;
    if (fn != NULL) {
        s->fn = NULL;
        l->awaited--;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    if (fn != NULL)
        fn(arg, f);
    pthread_mutex_unlock(&l->hand_lock);
    if (fn == NULL)
        return err_set(err, ERR_PROTOCOL, "%s has number %u, which nobody asked for",
                       wire_name((uint8_t)f->type), id);
    return ERR_OK;
}

static enum err_kind
post(struct link *l, struct wire_frame *f, struct err *err)
{
    enum err_kind kind = ERR_OK;
    pthread_mutex_lock(&l->lock);
    if (l->mailed) {
        kind = err_set(err, ERR_PROTOCOL, "%s came where nothing was asked", wire_name((uint8_t)f->type));
    } else {
        l->mail = *f;
        l->mailed = true;
        f->payload = (struct buf){ 0 };
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return kind;
}

static void *
reader_main(void *arg)
{
    struct link *l = arg;
    struct err err = { 0 };
    enum err_kind kind = ERR_OK;
    while (kind == ERR_OK) {
        struct wire_frame f = { 0 };
        kind = wire_receive(l->channel, &f, &err);
        if (kind == ERR_OK) {
            if (f.type == WIRE_ERROR)
                kind = wire_take_error(&f, &err);
            else if (f.type == WIRE_ANSWER || f.type == WIRE_SUMS)
                kind = deliver(l, &f, &err);
            else
                kind = post(l, &f, &err);
        }
        buf_free(&f.payload);
    }
    die(l, &err);
    pthread_mutex_lock(&l->hand_lock);
    if (l->end != NULL)
        l->end(l->end_arg, &l->err);
    l->end = NULL;
    pthread_mutex_unlock(&l->hand_lock);
    return NULL;
}

/* A dead peer is told by bytes that do not move while something is awaited; an idle connection may stay so for ever. */
static void *
watch_main(void *arg)
{
    struct link *l = arg;
    uint64_t moved = 0;
    int64_t since = when_tick_ns();
    pthread_mutex_lock(&l->lock);
    while (!l->dead && !l->closing) {
        struct timespec at;
        clock_gettime(CLOCK_MONOTONIC, &at);
        at.tv_sec += WATCH_NS / 1000000000ll;
        (void)pthread_cond_timedwait(&l->changed, &l->lock, &at);
        uint64_t now = channel_bytes_in(l->channel) + channel_bytes_out(l->channel);
        if (now != moved || (l->awaited == 0 && l->writing == 0)) {
            moved = now;
            since = when_tick_ns();
        }
        if (when_tick_ns() - since > SESSION_STALL_MS_MAX * 1000000ll && !l->dead) {
            l->dead = true;
            (void)err_set(&l->err, ERR_CLOSED, "the site sent nothing for %d s", SESSION_STALL_MS_MAX / 1000);
            channel_cut(l->channel);
            pthread_cond_broadcast(&l->changed);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static struct link *
link_new(struct channel_context **context, struct channel **channel)
{
    struct link *l = mem_zero(1, sizeof(*l));
    l->context = *context;
    l->channel = *channel;
    *context = NULL;
    *channel = NULL;
    channel_stall(l->channel, -1); /* the watch does it, since it knows what is awaited */
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->hand_lock, NULL);
    pthread_cond_init(&l->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    l->next_id = 1;
    int rc = pthread_create(&l->reader, NULL, reader_main, l);
    assert(rc == 0);
    rc = pthread_create(&l->watch, NULL, watch_main, l);
    assert(rc == 0);
    return l;
}

enum err_kind
link_open(const struct agent *a, struct link **ret, struct err *err)
{
    struct channel_identity id = { .dir_fd = a->dir_fd, .cert = "tls.crt", .key = "tls.key", .ca = "ca.crt" };
    AUTO(channel_context_free) struct channel_context *context = NULL;
    enum err_kind kind = channel_context_new(&id, 0, &context, err);
    if (kind != ERR_OK)
        return kind;
    struct channel *channel = NULL;
    kind = channel_connect(context, a->address, &channel, err);
    if (kind != ERR_OK)
        return kind;
    *ret = link_new(&context, &channel);
    return ERR_OK;
}

enum err_kind
link_open_join(const char *address, const struct digest *ca, struct channel **ret,
               struct channel_context **ret_context, struct err *err)
{
    struct channel_identity id = { .dir_fd = -1, .ca_print = ca };
    AUTO(channel_context_free) struct channel_context *context = NULL;
    enum err_kind kind = channel_context_new(&id, 0, &context, err);
    if (kind == ERR_OK)
        kind = channel_connect(context, address, ret, err);
    if (kind == ERR_OK) {
        *ret_context = context;
        context = NULL;
    }
    return kind;
}

void
link_cut(struct link *l)
{
    struct err err = { 0 };
    (void)err_set(&err, ERR_CLOSED, "the connection was ended here");
    die(l, &err);
}

void
link_close(struct link **l)
{
    struct link *at = *l;
    if (at == NULL)
        return;
    struct buf none = { 0 };
    if (link_alive(at))
        (void)!link_send(at, WIRE_BYE, &none, NULL);
    pthread_mutex_lock(&at->lock);
    at->closing = true;
    pthread_cond_broadcast(&at->changed);
    pthread_mutex_unlock(&at->lock);
    channel_cut(at->channel);
    pthread_join(at->reader, NULL);
    pthread_join(at->watch, NULL);
    channel_close(&at->channel);
    channel_context_free(&at->context);
    buf_free(&at->mail.payload);
    pthread_cond_destroy(&at->changed);
    pthread_mutex_destroy(&at->lock);
    pthread_mutex_destroy(&at->hand_lock);
    free(at);
    *l = NULL;
}

bool
link_alive(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    bool alive = !l->dead;
    pthread_mutex_unlock(&l->lock);
    return alive;
}

uint32_t
link_expect(struct link *l, link_answer_fn *fn, void *arg)
{
    pthread_mutex_lock(&l->lock);
    while (l->slots[l->next_id % SLOTS].fn != NULL)
        l->next_id++;
    uint32_t id = l->next_id++;
    l->slots[id % SLOTS] = (struct slot){ id, fn, arg };
    l->awaited++;
    pthread_mutex_unlock(&l->lock);
    return id;
}

void
link_on_end(struct link *l, link_end_fn *fn, void *arg)
{
    pthread_mutex_lock(&l->hand_lock);
    l->end = fn;
    l->end_arg = arg;
    pthread_mutex_lock(&l->lock);
    bool dead = l->dead;
    if (fn == NULL) {
        /* Answers of a pass that was given up find nobody. */
        for (uint32_t i = 0; i < SLOTS; i++)
            l->slots[i].fn = NULL;
        l->awaited = 0;
    }
    pthread_mutex_unlock(&l->lock);
    if (dead && fn != NULL) {
        fn(arg, &l->err);
        l->end = NULL;
    }
    pthread_mutex_unlock(&l->hand_lock);
}

enum err_kind
link_send(struct link *l, enum wire_type type, const struct buf *payload, struct err *err)
{
    pthread_mutex_lock(&l->lock);
    bool dead = l->dead;
    if (dead && err != NULL)
        *err = l->err;
    enum err_kind kind = dead ? l->err.kind : ERR_OK;
    if (!dead)
        l->writing++;
    pthread_mutex_unlock(&l->lock);
    if (dead)
        return kind;
    kind = wire_send(l->channel, type, payload, err);
    pthread_mutex_lock(&l->lock);
    l->writing--;
    pthread_mutex_unlock(&l->lock);
    return kind;
}

enum err_kind
link_call(struct link *l, const struct link_want *w, const struct buf *payload, struct wire_frame *ret,
          struct err *err)
{
    pthread_mutex_lock(&l->lock);
    l->awaited++;
    pthread_mutex_unlock(&l->lock);
    enum err_kind kind = link_send(l, w->send, payload, err);
    pthread_mutex_lock(&l->lock);
    while (kind == ERR_OK && !l->mailed && !l->dead)
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->mailed && (l->mail.type == w->type || (w->other != 0 && l->mail.type == w->other))) {
        *ret = l->mail;
        l->mail.payload = (struct buf){ 0 };
        l->mailed = false;
        kind = ERR_OK;
    } else if (l->mailed) {
        kind = err_set(err, ERR_PROTOCOL, "the site answered %s with %s", wire_name((uint8_t)w->send),
                       wire_name((uint8_t)l->mail.type));
    } else {
        /* What the site said last explains a failed write better than the write does. */
        kind = l->dead ? l->err.kind : kind;
        if (l->dead && err != NULL)
            *err = l->err;
    }
    if (l->awaited > 0)
        l->awaited--;
    pthread_mutex_unlock(&l->lock);
    return kind;
}

uint64_t
link_bytes_out(const struct link *l)
{
    return channel_bytes_out(l->channel);
}
