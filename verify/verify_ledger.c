/* The ledger: every leaf, every head, and the marks that leaves speak of. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/mem.h"
#include "snapshot/merkle.h"
#include "verify/verify.h"

struct scan {
    struct verify *v;
    struct vmark **by_id;  /* [mark_count], sorted */
    struct digest *leaves; /* [count] their hashes */
    size_t count, room;
};

static int
id_order(const void *a, const void *b)
{
    const struct vmark *const *const x = a, *const *const y = b;

    return memcmp((*x)->row.id.at, (*y)->row.id.at, HASH_BYTES);
}

static struct vmark *
find(const struct scan *s, const struct digest *id)
{
    size_t from = 0, to = s->v->mark_count;

    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        const int order = memcmp(id->at, s->by_id[mid]->row.id.at, HASH_BYTES);

        if (order == 0)
            return s->by_id[mid];
        if (order < 0)
            to = mid;
        else
            from = mid + 1;
    }
    return NULL;
}

/* A mark that came after the marks were listed: is it in the index now? */
static bool
came_since(struct verify *v, const struct json *e, const struct digest *id)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    const char *const agent = json_get_text(e, "agent"), *const source = json_get_text(e, "source");
    struct index_agent a;
    struct index_mark m;
    struct err err;

    if (agent == NULL || source == NULL || !conf_name_ok(source) ||
        kv_begin(v->store->kv, false, &t, &err) != ERR_OK)
        return false;
    return index_agent_get(t, agent, &a, &err) == ERR_OK &&
           index_mark_get(t, a.city, source, (uint64_t)json_get_number(e, "sequence"), &m, &err) == ERR_OK &&
           hash_same(&m.id, id) == 1;
}

static void
mark_event(struct scan *s, uint64_t leaf, const struct json *e)
{
    struct verify *const v = s->v;
    const char *const hex = json_get_text(e, "id");
    struct digest id;

    if (hex == NULL || hash_from_hex(hex, &id) != 0) {
        sink_text(v->sink, "ledger", "leaf %llu: a mark without an id", (unsigned long long)leaf);
        return;
    }
    struct vmark *const m = find(s, &id);
    if (m == NULL) {
        if (!came_since(v, e, &id) && v->whole)
            sink_text(v->sink, "index", "mark %.12s of leaf %llu of the ledger is not in the index", hex,
                      (unsigned long long)leaf);
        return;
    }
    if (m->row.leaf != leaf)
        sink_finding(v->sink, &(struct finding){
                                  .kind = "index",
                                  .text = "the mark is in another leaf of the ledger than the index says",
                                  .source = m->source,
                                  .mark = m->id });
    else if ((uint64_t)json_get_number(e, "sequence") != m->row.mark.sequence ||
             (uint64_t)json_get_number(e, "receipt") != m->row.receipt)
        sink_finding(v->sink,
                     &(struct finding){ .kind = "ledger",
                                        .text = "its leaf says another sequence or receipt than the index",
                                        .source = m->source,
                                        .mark = m->id });
    m->in_ledger = true;
}

static enum err_kind
leaf_read(void *arg, uint64_t index, const void *leaf, size_t size, struct err *err)
{
    AUTO(json_free) struct json *j = NULL;
    struct scan *const s = arg;
    struct err inner = { 0 };

    (void)err;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 256;
        s->leaves = mem_grow(s->leaves, s->room, sizeof *s->leaves);
    }
    hash_prefixed(0x00, leaf, size, &s->leaves[s->count++]);
    if (json_parse(leaf, size, &j, &inner) != ERR_OK) {
        sink_text(s->v->sink, "ledger", "leaf %llu: %s", (unsigned long long)index, inner.text);
        return ERR_OK;
    }
    const struct json *const events = json_get(j, "events");
    for (size_t i = 0; events != NULL && i < json_size(events); i++) {
        const struct json *const e = json_at(events, i);
        const char *const type = json_get_text(e, "type");

        if (type != NULL && strcmp(type, "mark") == 0)
            mark_event(s, index, e);
    }
    return ERR_OK;
}

static void
damage(void *arg, uint64_t offset, const char *what)
{
    struct scan *const s = arg;

    sink_text(s->v->sink, "ledger", "offset %llu: %s", (unsigned long long)offset, what);
}

/* The text of a signed note up to its blank line says a size; the root at that size follows from the leaves. */
static bool
note_holds(const struct scan *s, const char *text)
{
    AUTO(buf_free) struct buf want = { 0 };
    const char *const line = strchr(text, '\n');
    struct ledger_head h = { 0 };
    uint8_t bytes[4 + SIGN_BYTES + 2];
    char url[128];
    size_t n = 0;

    h.size = line != NULL ? strtoull(line + 1, NULL, 10) : 0;
    if (h.size == 0 || h.size > s->count)
        return false;
    merkle_root(s->leaves, (size_t)h.size, &h.root);
    ledger_head_text(s->v->store->name, &h, &want);
    if (strncmp(text, (const char *)want.at, want.size) != 0)
        return false;
    const char *const last = strrchr(text, ' ');
    for (const char *at = last == NULL ? "" : last + 1;
         *at != '\n' && *at != '\0' && *at != '=' && n < sizeof url - 1; at++)
        url[n++] = (char)(*at == '+' ? '-' : *at == '/' ? '_' : *at);
    url[n] = '\0';
    if (hash_from_base64url(url, bytes, sizeof bytes) != 4 + SIGN_BYTES ||
        sign_check(s->v->store->site_public, want.at, want.size, bytes + 4) != ERR_OK)
        return false;
    /* The rest, names and the key's id, follows from these. */
    want.size = 0;
    ledger_note(s->v->store->name, &h, s->v->store->site_public, bytes + 4, &want);
    buf_u8(&want, 0);
    return strcmp(text, (const char *)want.at) == 0;
}

/* ledger/head is a copy for witnesses, written without a sync: old or missing is no damage. */
static void
head_file(const struct scan *s)
{
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(auto_close) const int fd = openat(s->v->store->dir_fd, "ledger", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err err = { 0 };

    if (fd < 0 || s->count == 0 || fs_read(fd, "head", 4096, &text, &err) != ERR_OK || text.size == 0)
        return;
    buf_u8(&text, 0);
    if (!note_holds(s, (const char *)text.at))
        sink_text(s->v->sink, "ledger",
                  "ledger/head is not a head of this ledger; the next leaf writes it anew");
}

/* Leaves that the index speaks of, against leaves that are there.  One may be on its way: the commit comes before the leaf. */
static void
count_compare(struct verify *v, uint64_t found)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    struct err err = { 0 };
    uint64_t now = 0;

    if (kv_begin(v->store->kv, false, &t, &err) != ERR_OK ||
        index_meta_get(t, META_LEAVES, &now, &err) != ERR_OK) {
        sink_text(v->sink, "index", "%s", err.text);
        return;
    }
    if (found + 1 < v->leaves_known || found > now)
        sink_text(v->sink, "ledger", "the ledger has %llu leaves, the index knows %llu",
                  (unsigned long long)found, (unsigned long long)now);
    else if (found < v->leaves_known)
        sink_note(v->sink, "leaf %llu is committed and not yet in the ledger: the site appends it",
                  (unsigned long long)found);
}

void
ledger_verify(struct verify *v)
{
    struct scan s = { .v = v };
    const struct ledger_open o = { v->store->dir_fd, v->store->name, v->store->site_public, NULL };
    const struct ledger_scan scan = { leaf_read, damage, &s };
    struct ledger_head head = { 0 };
    struct err err = { 0 };

    s.by_id = mem_zero(v->mark_count + 1, sizeof(struct vmark *));
    for (size_t i = 0; i < v->mark_count; i++)
        s.by_id[i] = &v->marks[i];
    qsort(s.by_id, v->mark_count, sizeof(struct vmark *), id_order);
    if (ledger_scan(&o, &scan, &head, &err) != ERR_OK)
        sink_text(v->sink, "ledger", "%s", err.text);
    v->leaves = head.size;
    count_compare(v, head.size);
    head_file(&s);
    for (size_t i = 0; i < v->mark_count; i++) {
        const struct vmark *const m = &v->marks[i];

        if (!m->in_ledger && m->row.leaf != head.size)
            sink_finding(
                v->sink,
                &(struct finding){ .kind = "ledger",
                                   .text = "the mark is not in the leaf of the ledger that the index names",
                                   .source = m->source,
                                   .mark = m->id });
    }
    free(s.by_id);
    free(s.leaves);
}
