/* ask.c - what of a unit the site may not have. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/answer.h"

uint64_t
answer_needed(const struct part *part, bool based)
{
    uint32_t count = (uint32_t)merkle_blocks(part->bytes);
    uint64_t all = count == MAP_BLOCKS ? UINT64_MAX : (1ull << count) - 1;
    return all & ~part->zero & ~(based ? part->same : 0);
}

bool
answer_run(uint64_t needed, uint32_t from, struct block_run *ret)
{
    while (from < MAP_BLOCKS && (needed >> from & 1) == 0)
        from++;
    if (from == MAP_BLOCKS)
        return false;
    ret->first = from;
    while (from < MAP_BLOCKS && (needed >> from & 1) != 0)
        from++;
    ret->count = from - ret->first;
    return true;
}

/* Blocks that the old file has at this map. */
static uint32_t
old_blocks(const struct part *part)
{
    const struct wire_base *base = &part->file->base;
    return part->map < merkle_maps(base->size)
               ? (uint32_t)merkle_blocks(merkle_map_bytes(base->size, part->map))
               : 0;
}

static void
question_of(struct part *part, struct wire_question *q)
{
    const struct file *f = part->file;
    memset(q, 0, sizeof(*q));
    q->kind = part->block ? OBJECT_BLOCK : OBJECT_MAP;
    q->digest = part->digest;
    uint32_t old = f->based && !part->block ? old_blocks(part) : 0;
    if (old == 0) {
        part->same = 0;
        return;
    }
    uint64_t needed = answer_needed(part, true);
    struct block_run run = { 0 };
    for (uint32_t b = 0; answer_run(needed, b, &run); b = run.first + run.count)
        for (uint32_t n = run.first;
             (run.count < ANSWER_RUN_LONG || !f->printed) && n < run.first + run.count; n++)
            q->sums_of |= n < old ? 1ull << n : 0;
    /* Whether the site knows the base must be told before blocks of it are named. */
    if (q->sums_of == 0 && part->same != 0)
        q->sums_of = part->same & -part->same;
    if (q->sums_of == 0)
        return;
    q->based = true;
    q->base = f->base;
    q->base_map = (uint32_t)part->map;
    part->probed = true;
    part->asked_sums = q->sums_of;
}

/* What the table remembers, under a mark that the site has given a receipt for, need not be asked. */
static bool
known(const struct part *part)
{
    const struct file *f = part->file;
    if (f->base_sequence == 0)
        return false;
    return part->whole_same || (part->file_size <= MAP_BYTES && f->base.size == part->bytes &&
                                hash_same(&part->digest, &f->base.digest));
}

static void
answered(void *arg, struct wire_frame *frame)
{
    struct unit *u = arg;
    pthread_mutex_lock(&u->pass->lock);
    u->frame = *frame;
    frame->payload = (struct buf){ 0 };
    work_ready(u);
    pthread_mutex_unlock(&u->pass->lock);
}

enum err_kind
ask_unit(struct worker *w, struct unit *u, bool *ret_asked, struct err *err)
{
    (void)w;
    AUTO(auto_free) struct wire_question *questions = mem_alloc(u->count * sizeof(*questions));
    size_t count = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        struct part *part = &u->parts[i];
        if (part->dead || known(part))
            continue;
        part->asked = true;
        question_of(part, &questions[count++]);
    }
    *ret_asked = count > 0;
    if (count == 0)
        return ERR_OK;
    struct pass *p = u->pass;
    AUTO(buf_free) struct buf payload = { 0 };
    struct wire_query q = { .unit = link_expect(p->link, answered, u), .at = questions, .count = count };
    wire_put_query(&q, &payload);
    return link_send(p->link, WIRE_QUERY, &payload, err);
}
