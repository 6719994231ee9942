/* pass.c - one pass: BEGIN, the tree, MARK, receipt. */
#include "replicator/pass.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/when.h"

void
pass_fail(struct pass *p, const struct err *err)
{
    pthread_mutex_lock(&p->lock);
    if (!p->failed)
        p->err = *err;
    p->failed = true;
    pthread_cond_broadcast(&p->work);
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->lock);
}

static void
link_ended(void *arg, const struct err *err)
{
    pass_fail(arg, err);
}

bool
pass_failed(struct pass *p)
{
    pthread_mutex_lock(&p->lock);
    bool failed = p->failed;
    pthread_mutex_unlock(&p->lock);
    return failed;
}

char *
pass_path(const struct dir *d, const char *name, size_t size)
{
    size_t total = size + 2;
    for (const struct dir *at = d; at->parent != NULL; at = at->parent)
        total += at->item->entry.name_bytes + 1u;
    char *path = mem_alloc(total), *end = path + total;
    *--end = '\0';
    if (name != NULL) {
        end -= size;
        memcpy(end, name, size);
    }
    for (const struct dir *at = d; at->parent != NULL; at = at->parent) {
        if (*end != '\0')
            *--end = '/';
        end -= at->item->entry.name_bytes;
        memcpy(end, at->item->entry.name, at->item->entry.name_bytes);
    }
    if (*end == '\0')
        *--end = '.';
    memmove(path, end, strlen(end) + 1);
    return path;
}

void
pass_finding(struct pass *p, const struct dir *d, const char *name, size_t size, const char *what)
{
    AUTO(auto_free) char *path = pass_path(d, name, size);
    pthread_mutex_lock(&p->finding_lock);
    if (p->finding_count < FINDINGS_NAMED_MAX) {
        p->findings = mem_grow(p->findings, p->finding_count + 1, sizeof(*p->findings));
        p->findings[p->finding_count].path = mem_text("%s", path);
        p->findings[p->finding_count].what = mem_text("%s", what);
    }
    p->finding_count++;
    pthread_mutex_unlock(&p->finding_lock);
    log_warn("%s: \"%s\": %s", p->source->name, path, what);
}

void
pass_result_free(struct pass_result *r)
{
    for (size_t i = 0; i < r->named; i++) {
        free(r->findings[i].path);
        free(r->findings[i].what);
    }
    free(r->findings);
    r->findings = NULL;
    r->named = 0;
}

/* The head as the site has it must be ours.  A table that belongs to another head is of no use. */
static enum err_kind
check_head(struct pass *p, const struct wire_begun *begun, struct signed_text *ret, struct mark *ret_mark,
           struct err *err)
{
    struct agent *a = p->agent;
    if (begun->head.size == 0)
        return ERR_OK;
    if (sign_check(a->mark_public, begun->head.text, begun->head.size, begun->head.signature) != ERR_OK)
        return err_set(err, ERR_PROTOCOL, "the site's newest mark of %s does not have our signature",
                       p->source->name);
    enum err_kind kind = mark_parse(begun->head.text, begun->head.size, ret_mark, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "the site's newest mark of %s", p->source->name);
    if (strcmp(ret_mark->agent, a->name) != 0 || strcmp(ret_mark->source, p->source->name) != 0)
        return err_set(err, ERR_PROTOCOL, "the site's newest mark of %s is of another source",
                       p->source->name);
    buf_put(&ret->text, begun->head.text, begun->head.size);
    memcpy(ret->signature, begun->head.signature, SIGN_BYTES);
    return ERR_OK;
}

static enum err_kind
begin(struct pass *p, struct mark *ret_head, struct digest *ret_id, struct err *err)
{
    struct agent *a = p->agent;
    AUTO(buf_free) struct buf payload = { 0 };
    struct wire_begin m = { 0 };
    (void)snprintf(m.source, sizeof(m.source), "%s", p->source->name);
    wire_put_begin(&m, &payload);
    struct link_want want = { .send = WIRE_BEGIN, .type = WIRE_BEGUN };
    struct wire_frame f = { 0 };
    enum err_kind kind = link_call(p->link, &want, &payload, &f, err);
    struct wire_begun begun = { 0 };
    if (kind == ERR_OK)
        kind = wire_get_begun(f.payload.at, f.payload.size, &begun, err);
    AUTO(signed_text_free) struct signed_text head = { 0 };
    AUTO(signed_text_free) struct signed_text ours = { 0 };
    if (kind == ERR_OK)
        kind = check_head(p, &begun, &head, ret_head, err);
    buf_free(&f.payload);
    if (kind != ERR_OK)
        return kind;
    char name[SOURCE_NAME_MAX + 8];
    state_head_name(p->source->name, name);
    enum err_kind found = state_load(a, name, &ours, NULL);
    bool same = found == ERR_OK && ours.text.size == head.text.size &&
                (head.text.size == 0 || memcmp(ours.text.at, head.text.at, head.text.size) == 0);
    if (!same && !(found == ERR_ABSENT && head.text.size == 0)) {
        log_info("%s: the site's newest mark is another one than ours; everything is read again",
                 p->source->name);
        kind = table_drop(a->table, p->source->name, err);
        if (kind == ERR_OK)
            kind = head.text.size > 0 ? state_save(a, name, &head, err) : state_remove(a, name, err);
    }
    p->headed = head.text.size > 0;
    if (p->headed) {
        p->head_root = ret_head->root;
        p->head_files = ret_head->files;
        mark_id(head.text.at, head.text.size, ret_id);
    }
    p->sequence = (p->headed ? ret_head->sequence : 0) + 1;
    return kind;
}

static void
add_root(struct pass *p, struct digest *ret)
{
    AUTO(buf_free) struct buf page = { 0 };
    tree_root_encode(&p->root.entry, &page);
    tree_page_digest(page.at, page.size, ret);
    object_add(p, OBJECT_PAGE, ret, page.at, page.size);
}

/* Everything made so far reaches the site. */
static enum err_kind
drain(struct pass *p, struct err *err)
{
    pthread_mutex_lock(&p->lock);
    p->draining = true;
    pthread_cond_broadcast(&p->work);
    while (!p->failed && p->object_count > 0)
        pthread_cond_wait(&p->room, &p->lock);
    bool failed = p->failed;
    if (failed)
        *err = p->err;
    pthread_mutex_unlock(&p->lock);
    return failed ? err->kind : work_flush(p, err);
}

static enum err_kind
take_receipt(struct pass *p, const struct signed_text *mark, const struct wire_frame *f,
             struct pass_result *ret, struct err *err)
{
    struct agent *a = p->agent;
    struct wire_receipt m = { 0 };
    enum err_kind kind = wire_get_receipt(f->payload.at, f->payload.size, &m, err);
    if (kind != ERR_OK)
        return kind;
    AUTO(signed_text_free) struct signed_text s = { 0 };
    buf_put(&s.text, m.receipt.text, m.receipt.size);
    memcpy(s.signature, m.receipt.signature, SIGN_BYTES);
    struct receipt r, last;
    kind = state_receipt_check(a, &s, &r, err);
    if (kind != ERR_OK)
        return kind;
    AUTO(signed_text_free) struct signed_text before = { 0 };
    uint64_t number = 0;
    kind = state_load(a, "receipt", &before, err);
    if (kind == ERR_OK) {
        kind = state_receipt_check(a, &before, &last, err);
        number = last.number;
    }
    if (kind != ERR_OK && kind != ERR_ABSENT)
        return kind;
    if (strcmp(r.source, p->source->name) != 0 || r.sequence != ret->sequence ||
        !hash_same(&r.mark, &ret->id) || r.number != number + 1)
        return err_set(err, ERR_PROTOCOL,
                       "the site's receipt %" PRIu64 " is not for the mark that it was sent", r.number);
    ret->received_ns = r.time_ns;
    return state_receipt_keep(a, &s, mark, err);
}

/* MARK and its receipt. */
static enum err_kind
send_mark(struct pass *p, const struct mark *m, struct pass_result *ret, struct err *err)
{
    AUTO(signed_text_free) struct signed_text s = { 0 };
    mark_encode(m, &s.text);
    sign_make(p->agent->mark_key, s.text.at, s.text.size, s.signature);
    mark_id(s.text.at, s.text.size, &ret->id);
    enum err_kind kind = state_pending_add(p->agent, &s, err);
    if (kind != ERR_OK)
        return kind;
    AUTO(buf_free) struct buf payload = { 0 };
    struct wire_mark w = { .mark = { .text = s.text.at, .size = s.text.size } };
    memcpy(w.mark.signature, s.signature, SIGN_BYTES);
    wire_put_mark(&w, &payload);
    struct link_want want = { .send = WIRE_MARK, .type = WIRE_RECEIPT, .other = WIRE_MISSING };
    struct wire_frame f = { 0 };
    kind = link_call(p->link, &want, &payload, &f, err);
    if (kind != ERR_OK)
        return kind;
    if (f.type == WIRE_RECEIPT) {
        kind = take_receipt(p, &s, &f, ret, err);
    } else {
        struct wire_missing missing = { 0 };
        kind = wire_get_missing(f.payload.at, f.payload.size, &missing, err);
        char hex[HASH_HEX_ROOM];
        hash_hex(&missing.first, hex);
        ret->missing = kind == ERR_OK;
        if (kind == ERR_OK)
            kind = err_set(err, ERR_ABSENT, "the site misses %" PRIu64 " objects, first %c %.12s",
                           missing.count, missing.kind, hex);
    }
    buf_free(&f.payload);
    return kind;
}

static enum err_kind
make_mark(struct pass *p, const struct digest *head_id, struct pass_result *ret, struct err *err)
{
    struct mark m = { .sequence = p->sequence, .started_ns = ret->started_ns, .position = "-" };
    memcpy(m.agent, p->agent->name, sizeof(m.agent));
    (void)snprintf(m.source, sizeof(m.source), "%s", p->source->name);
    if (p->headed)
        m.previous = *head_id;
    add_root(p, &m.root);
    m.bytes = p->root.entry.size;
    m.files = p->root.entry.count;
    ret->sequence = m.sequence;
    ret->bytes = m.bytes;
    ret->files = m.files;
    enum err_kind kind = drain(p, err);
    return kind == ERR_OK ? send_mark(p, &m, ret, err) : kind;
}

static uint32_t
at_most(uint64_t value, uint32_t low, uint32_t high)
{
    return value < low ? low : value > high ? high : (uint32_t)value;
}

/* Half of the descriptors for files under work, a quarter for directories of units, an eighth for levels of the tree. */
static void
share_descriptors(struct pass *p)
{
    struct rlimit r;
    uint64_t limit = getrlimit(RLIMIT_NOFILE, &r) == 0 ? r.rlim_cur : 1024;
    p->unit_files_max = at_most(limit / 2 / p->agent->opt.workers, 16, UNIT_ITEMS_MAX);
    p->unit_dirs_max = at_most(limit / 4 / (FRESH_MAX + UNIT_BUFFERS), 1, UNIT_DIRS_MAX);
    p->open_levels_max = at_most(limit / 8, 8, OPEN_LEVELS_MAX);
}

static struct pass *
pass_new(struct agent *a, const struct pass_ask *ask)
{
    struct pass *p = mem_zero(1, sizeof(*p));
    p->agent = a;
    p->source = ask->source;
    p->link = a->link;
    p->progress = ask->progress;
    p->whole = ask->whole;
    p->read_all = a->opt.read_all || ask->source->read_all || ask->again;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->blob_lock, NULL);
    pthread_mutex_init(&p->finding_lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->room, NULL);
    p->people = people_new();
    share_descriptors(p);
    return p;
}

static void
pass_free(struct pass *p)
{
    work_stop(p);
    link_on_end(p->link, NULL, NULL);
    while (p->oldest != NULL) {
        struct unit *u = p->oldest;
        p->oldest = u->newer;
        unit_free(u);
    }
    file_free_all(p);
    while (p->all_dirs != NULL)
        dir_free(p->all_dirs);
    hard_free_all(p);
    object_free_all(p);
    for (uint32_t i = 0; i < p->builder_count; i++)
        tree_builder_free(&p->builders[i]);
    ring_free(&p->ring);
    table_view_free(&p->view);
    people_free(&p->people);
    free(p->root.xattrs);
    free(p->mounts);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->room);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->blob_lock);
    pthread_mutex_destroy(&p->finding_lock);
    free(p);
}

static enum err_kind
run(struct pass *p, const struct pass_ask *ask, struct pass_result *ret, struct err *err)
{
    struct mark head;
    struct digest head_id;
    memset(&head, 0, sizeof(head));
    memset(&head_id, 0, sizeof(head_id));
    enum err_kind kind = begin(p, &head, &head_id, err);
    if (kind == ERR_OK && ask->again)
        kind = table_drop(p->agent->table, p->source->name, err);
    if (kind == ERR_OK)
        kind = table_begin(p->agent->table, p->source->name, &p->number, err);
    if (kind == ERR_OK)
        kind = table_view_new(p->agent->table, &p->view, err);
    if (kind == ERR_OK)
        kind = ring_new(p->agent->opt.engine, &p->ring, err);
    if (kind == ERR_OK)
        kind = work_start(p, err);
    if (kind != ERR_OK)
        return kind;
    if (p->headed)
        progress_total(p->progress, head.bytes, 0);
    link_on_end(p->link, link_ended, p);
    kind = scan_tree(p, err);
    if (kind == ERR_OK && pass_failed(p)) {
        *err = p->err;
        kind = err->kind;
    }
    table_view_free(&p->view);
    if (kind == ERR_OK)
        kind = make_mark(p, &head_id, ret, err);
    if (kind == ERR_OK)
        kind = table_end(p->agent->table, &p->number, err);
    return kind;
}

enum err_kind
pass_run(struct agent *a, const struct pass_ask *ask, struct pass_result *ret, struct err *err)
{
    assert(a->link != NULL);
    struct pass *p = pass_new(a, ask);
    struct pass_result r = { .started_ns = when_now_ns() };
    int64_t start = when_tick_ns();
    uint64_t out = link_bytes_out(a->link);
    struct err mine = { 0 };
    enum err_kind kind = run(p, ask, &r, &mine);
    r.seconds = (double)(when_tick_ns() - start) / 1e9;
    r.sent = link_bytes_out(a->link) - out;
    r.read = atomic_load(&p->read_bytes);
    if (kind != ERR_OK) {
        /* Workers may stand in a write, and answers may be on their way: the session has no use any more. */
        pass_fail(p, &mine);
        link_cut(a->link);
    }
    r.finding_count = p->finding_count;
    r.findings = p->findings;
    r.named = p->finding_count < FINDINGS_NAMED_MAX ? p->finding_count : FINDINGS_NAMED_MAX;
    pass_free(p);
    if (kind != ERR_OK && err != NULL)
        *err = mine;
    /* Findings are told of a pass that failed too. */
    *ret = r;
    return kind;
}
