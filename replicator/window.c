/* window.c - the sums of an old file around 64 MiB of the new one, fetched once for all its units. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "replicator/pass.h"

#define AROUND (8u * MIB) /* looked at beyond both ends of the window */

enum window_state { WINDOW_NEW, WINDOW_ASKED, WINDOW_HERE };

struct window_ask { /* one WANT */
    struct window *window;
    struct wire_want want;
    struct wire_frame frame;
};

struct window {
    struct pass *pass;
    uint8_t state; /* under lock */
    bool known;    /* the site has the base; no later change once here */
    _Atomic bool barren;
    unsigned asks, came;
    struct window_ask ask[2];
    struct delta_piece pieces[2];
    struct delta_base *base[AGENT_WORKERS_MAX]; /* one a worker: librsync counts in it */
    struct unit **waiters;
    size_t waiter_count;
};

struct range {
    uint64_t at, end;
};

static struct range
range_of(int64_t at, uint64_t size)
{
    int64_t from = at - (int64_t)AROUND, to = at + (int64_t)(WINDOW_BYTES + AROUND);
    struct range r = { from < 0 ? 0 : (uint64_t)from, to < 0 ? 0 : (uint64_t)to };
    r.at -= r.at % DELTA_BLOCK_BYTES;
    r.end += (DELTA_BLOCK_BYTES - r.end % DELTA_BLOCK_BYTES) % DELTA_BLOCK_BYTES;
    if (r.end > size)
        r.end = size;
    if (r.at >= r.end)
        r.at = r.end = 0;
    return r;
}

/* The place itself, and the place where it was if the file grew or shrank before it.  Rising, apart, so that only the last
 * can be of an odd length. */
static unsigned
ranges_of(uint32_t index, uint64_t old_size, uint64_t new_size, struct range ret[2])
{
    int64_t at = (int64_t)index * WINDOW_BYTES;
    struct range a = range_of(at, old_size);
    struct range b = range_of(at - ((int64_t)new_size - (int64_t)old_size), old_size);
    if (b.at < a.at || a.end == 0) {
        struct range swap = a;
        a = b;
        b = swap;
    }
    if (a.end == 0) {
        a = b;
        b = (struct range){ 0 };
    }
    if (b.end != 0 && b.at <= a.end) { /* joined where one WANT can hold both */
        uint64_t end = b.end > a.end ? b.end : a.end;
        b = (struct range){ 0 };
        if (end - a.at <= 2 * (uint64_t)WINDOW_BYTES)
            a.end = end;
        else
            b = (struct range){ a.end, end };
    }
    ret[0] = a;
    ret[1] = b;
    return (a.end != 0 ? 1u : 0u) + (b.end != 0 ? 1u : 0u);
}

struct window *
window_of(struct file *f, const struct part *part)
{
    struct pass *p = f->pass;
    uint32_t index = (uint32_t)(part->map * MAP_BYTES / WINDOW_BYTES);
    pthread_mutex_lock(&p->lock);
    assert(index < f->window_count);
    struct window *win = f->windows[index];
    if (win == NULL) {
        win = mem_zero(1, sizeof(*win));
        win->pass = p;
        struct range ranges[2];
        win->asks = ranges_of(index, f->base.size, part->file_size, ranges);
        for (unsigned i = 0; i < win->asks; i++) {
            win->ask[i].window = win;
            win->ask[i].want.base = f->base;
            win->ask[i].want.off = ranges[i].at;
            win->ask[i].want.len = ranges[i].end - ranges[i].at;
        }
        f->windows[index] = win;
    }
    pthread_mutex_unlock(&p->lock);
    return win;
}

bool
window_asked(const struct window *win)
{
    return win->state == WINDOW_ASKED;
}

static void
wake(struct window *win)
{
    win->state = WINDOW_HERE;
    for (size_t i = 0; i < win->waiter_count; i++)
        if (--win->waiters[i]->waits == 0)
            work_ready(win->waiters[i]);
    win->waiter_count = 0;
}

static enum err_kind
take_sums(struct window_ask *a, bool *ret_known, struct err *err)
{
    struct wire_sums m = { 0 };
    enum err_kind kind = wire_get_sums(a->frame.payload.at, a->frame.payload.size, &m, err);
    if (kind != ERR_OK)
        return kind;
    size_t count = (size_t)((a->want.len + DELTA_BLOCK_BYTES - 1) / DELTA_BLOCK_BYTES);
    if (m.known && m.sums_bytes != count * DELTA_SUM_ENTRY)
        return err_set(err, ERR_PROTOCOL, "SUMS has %zu bytes where %zu were due", m.sums_bytes,
                       count * DELTA_SUM_ENTRY);
    struct delta_piece *piece = &a->window->pieces[a - a->window->ask];
    *piece = (struct delta_piece){ .old_off = a->want.off, .old_bytes = a->want.len, .sums = m.sums };
    *ret_known = m.known;
    return ERR_OK;
}

static void
answered(void *arg, struct wire_frame *frame)
{
    struct window_ask *a = arg;
    struct window *win = a->window;
    struct pass *p = win->pass;
    struct err err = { 0 };
    bool known = false;
    a->frame = *frame;
    frame->payload = (struct buf){ 0 };
    enum err_kind kind = take_sums(a, &known, &err);
    if (kind != ERR_OK) {
        pass_fail(p, &err);
        return;
    }
    pthread_mutex_lock(&p->lock);
    win->known = (win->came == 0 || win->known) && known;
    if (++win->came == win->asks)
        wake(win);
    pthread_mutex_unlock(&p->lock);
}

enum err_kind
window_want(struct window *win, struct unit *u, struct err *err)
{
    struct pass *p = win->pass;
    pthread_mutex_lock(&p->lock);
    bool ask = win->state == WINDOW_NEW && win->asks > 0;
    if (win->state == WINDOW_NEW)
        win->state = win->asks > 0 ? WINDOW_ASKED : WINDOW_HERE;
    if (win->state == WINDOW_ASKED) {
        win->waiters = mem_grow(win->waiters, win->waiter_count + 1, sizeof(struct unit *));
        win->waiters[win->waiter_count++] = u;
        u->waits++;
    }
    pthread_mutex_unlock(&p->lock);
    if (!ask)
        return ERR_OK;
    unsigned asks = win->asks;
    enum err_kind kind = ERR_OK;
    for (unsigned i = 0; i < asks && kind == ERR_OK; i++) {
        struct buf payload = { 0 };
        struct wire_want want = win->ask[i].want;
        want.id = link_expect(p->link, answered, &win->ask[i]);
        wire_put_want(&want, &payload);
        kind = link_send(p->link, WIRE_WANT, &payload, err);
        buf_free(&payload);
    }
    return kind;
}

struct delta_base *
window_base(struct window *win, unsigned worker)
{
    if (!win->known || atomic_load(&win->barren))
        return NULL;
    if (win->base[worker] == NULL &&
        delta_base_new(win->pieces, win->asks, &win->base[worker], NULL) != ERR_OK) {
        /* Sums that would make librsync's table quadratic, by a hostile site or a hostile row: sent as literals. */
        win->base[worker] = NULL;
        window_barren(win);
    }
    return win->base[worker];
}

void
window_barren(struct window *win)
{
    atomic_store(&win->barren, true);
}

void
window_free(struct window **w)
{
    struct window *at = *w;
    if (at == NULL)
        return;
    for (unsigned i = 0; i < AGENT_WORKERS_MAX; i++)
        delta_base_free(&at->base[i]);
    for (unsigned i = 0; i < 2; i++)
        buf_free(&at->ask[i].frame.payload);
    free(at->waiters);
    free(at);
    *w = NULL;
}
