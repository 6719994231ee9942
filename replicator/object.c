/* object.c - pages, nodes and sets of xattrs: asked for, and sent when the site has them not, children first. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/pass.h"

#define FRAME_SEND_BYTES (512u * KIB)

struct object_batch { /* one QUERY */
    struct object_batch *next;
    struct pass *pass;
    uint32_t count;
    struct object *at[OBJECTS_ASK];
};

void
object_add(struct pass *p, enum object_kind kind, const struct digest *digest, const void *bytes, size_t size)
{
    assert(size <= OBJECT_BYTES_MAX);
    struct object *o = mem_alloc(sizeof(*o) + size);
    *o = (struct object){ .digest = *digest, .size = (uint32_t)size, .kind = (uint8_t)kind };
    memcpy(o->bytes, bytes, size);
    pthread_mutex_lock(&p->lock);
    o->after = p->seq;
    if (p->objects == NULL)
        p->objects = o;
    else
        p->objects_last->next = o;
    p->objects_last = o;
    if (p->unasked == NULL)
        p->unasked = o;
    p->unasked_count++;
    p->object_count++;
    p->object_bytes += size;
    if (object_ask_due(p, true))
        pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

/* Few questions at a time would be many frames: a worker with nothing better to do asks only when no answer is on its way. */
bool
object_ask_due(const struct pass *p, bool idle)
{
    return p->unasked_count >= OBJECTS_ASK ||
           (idle && p->unasked_count > 0 && (p->batches == NULL || p->draining));
}

bool
object_send_due(const struct pass *p)
{
    if (p->sending_objects || p->outbox == NULL)
        return false;
    return p->draining || p->outbox_bytes >= OBJECTS_SEND_BYTES || p->object_bytes > OBJECTS_BYTES_MAX / 2 ||
           p->object_count > OBJECTS_COUNT_MAX / 2;
}

static void
answered(void *arg, struct wire_frame *frame)
{
    struct object_batch *b = arg;
    struct pass *p = b->pass;
    struct err err = { 0 };
    struct wire_answer a = { 0 };
    enum err_kind kind = wire_get_answer(frame->payload.at, frame->payload.size, &a, &err);
    if (kind == ERR_OK && a.count != b->count)
        kind = err_set(&err, ERR_PROTOCOL, "ANSWER has %zu replies to %u questions", a.count, b->count);
    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; i < b->count && kind == ERR_OK; i++)
        b->at[i]->state = a.at[i].status == WIRE_HAVE ? OBJECT_HAVE : OBJECT_NEEDED;
    struct object_batch **at = &p->batches;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    object_trim(p);
    pthread_cond_broadcast(&p->room);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    free(a.at);
    free(b);
    if (kind != ERR_OK)
        pass_fail(p, &err);
}

enum err_kind
object_ask(struct pass *p, struct err *err)
{
    struct wire_question questions[OBJECTS_ASK];
    struct object_batch *b = mem_zero(1, sizeof(*b));
    memset(questions, 0, sizeof(questions));
    b->pass = p;
    pthread_mutex_lock(&p->lock);
    while (p->unasked != NULL && b->count < OBJECTS_ASK) {
        struct object *o = p->unasked;
        p->unasked = o->next;
        p->unasked_count--;
        o->state = OBJECT_ASKED;
        questions[b->count].kind = o->kind;
        questions[b->count].digest = o->digest;
        b->at[b->count++] = o;
    }
    b->next = p->batches;
    p->batches = b;
    uint32_t count = b->count; /* the batch is gone once its answer is here */
    pthread_mutex_unlock(&p->lock);
    if (count == 0) {
        pthread_mutex_lock(&p->lock);
        p->batches = b->next;
        pthread_mutex_unlock(&p->lock);
        free(b);
        return ERR_OK;
    }
    struct wire_query q = { .unit = link_expect(p->link, answered, b), .at = questions, .count = count };
    AUTO(buf_free) struct buf payload = { 0 };
    wire_put_query(&q, &payload);
    return link_send(p->link, WIRE_QUERY, &payload, err);
}

void
object_trim(struct pass *p)
{
    uint64_t done = p->oldest != NULL ? p->oldest->seq - 1 : UINT64_MAX;
    while (p->objects != NULL) {
        struct object *o = p->objects;
        if (o->state != OBJECT_HAVE && (o->state != OBJECT_NEEDED || o->after > done))
            return;
        p->objects = o->next;
        if (o->state == OBJECT_HAVE) {
            p->object_count--;
            p->object_bytes -= o->size;
            free(o);
            continue;
        }
        o->next = NULL;
        if (p->outbox == NULL)
            p->outbox = o;
        else
            p->outbox_last->next = o;
        p->outbox_last = o;
        p->outbox_bytes += o->size;
    }
}

static enum err_kind
send_list(struct pass *p, const struct object *at, struct err *err)
{
    AUTO(buf_free) struct buf payload = { 0 };
    enum err_kind kind = ERR_OK;
    for (; at != NULL && kind == ERR_OK; at = at->next) {
        struct wire_object o = { .kind = at->kind, .bytes = at->bytes, .size = at->size };
        wire_put_object(&o, &payload);
        if (payload.size >= FRAME_SEND_BYTES || at->next == NULL) {
            kind = link_send(p->link, WIRE_OBJECTS, &payload, err);
            payload.size = 0;
        }
    }
    return kind;
}

enum err_kind
object_send(struct pass *p, struct err *err)
{
    pthread_mutex_lock(&p->lock);
    struct object *list = p->outbox;
    p->outbox = p->outbox_last = NULL;
    p->outbox_bytes = 0;
    pthread_mutex_unlock(&p->lock);
    /* What they are made of goes first. */
    enum err_kind kind = work_flush(p, err);
    if (kind == ERR_OK)
        kind = send_list(p, list, err);
    size_t bytes = 0, count = 0;
    while (list != NULL) {
        struct object *next = list->next;
        bytes += list->size;
        count++;
        free(list);
        list = next;
    }
    pthread_mutex_lock(&p->lock);
    p->object_bytes -= bytes;
    p->object_count -= count;
    p->sending_objects = false;
    object_trim(p);
    pthread_cond_broadcast(&p->room);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    return kind;
}

void
object_free_all(struct pass *p)
{
    struct object *lists[] = { p->objects, p->outbox };
    for (size_t i = 0; i < 2; i++)
        for (struct object *o = lists[i], *next; o != NULL; o = next) {
            next = o->next;
            free(o);
        }
    for (struct object_batch *b = p->batches, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    p->objects = p->outbox = p->unasked = NULL;
    p->batches = NULL;
}
