/* farshore-snapshot list. */
#include "snapshot/list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/when.h"
#include "snapshot/ledger.h"

struct marks {
    const char *source;
    struct index_mark *at; /* [count], owned */
    size_t count, room;
};

static void
marks_free(struct marks *m)
{
    free(m->at);
}

static bool
wanted(const char *source, const struct mark *m)
{
    const size_t n = source == NULL ? 0 : strlen(m->agent);

    if (source == NULL)
        return true;
    if (strncmp(source, m->agent, n) != 0)
        return false;
    return source[n] == '\0' || (source[n] == '/' && strcmp(source + n + 1, m->source) == 0);
}

static enum err_kind
mark_keep(void *arg, const struct index_mark *m, struct err *err)
{
    struct marks *const all = arg;

    (void)err;
    if (!wanted(all->source, &m->mark))
        return ERR_OK;
    if (all->count == all->room) {
        all->room = all->room ? 2 * all->room : 64;
        all->at = mem_grow(all->at, all->room, sizeof *all->at);
    }
    all->at[all->count++] = *m;
    return ERR_OK;
}

/* The ledger's order is the one that nobody's clock can change. */
static int
mark_order(const void *a, const void *b)
{
    const struct index_mark *const x = a, *const y = b;

    if (x->leaf != y->leaf)
        return x->leaf < y->leaf ? -1 : 1;
    const int agents = strcmp(x->mark.agent, y->mark.agent);
    const int sources = strcmp(x->mark.source, y->mark.source);
    if (agents != 0 || sources != 0)
        return agents != 0 ? agents : sources;
    return x->mark.sequence < y->mark.sequence ? -1 : x->mark.sequence > y->mark.sequence;
}

void
list_mark_json(const struct index_mark *m, struct json *ret)
{
    char id[HASH_HEX_ROOM], root[HASH_HEX_ROOM], time[WHEN_ROOM], received[WHEN_ROOM];
    AUTO(auto_free) char *source = mem_text("%s/%s", m->mark.agent, m->mark.source);

    hash_hex(&m->id, id);
    hash_hex(&m->mark.root, root);
    when_format_ns(m->mark.started_ns, time);
    when_format_ns(m->received_ns, received);
    json_text(ret, "id", id);
    json_text(ret, "source", source);
    json_text(ret, "time", time);
    json_number(ret, "bytes", (int64_t)m->mark.bytes);
    json_number(ret, "files", (int64_t)m->mark.files);
    json_number(ret, "sequence", (int64_t)m->mark.sequence);
    json_text(ret, "received", received);
    json_number(ret, "receipt", (int64_t)m->receipt);
    json_number(ret, "leaf", (int64_t)m->leaf);
    json_text(ret, "root", root);
    json_text(ret, "position", m->mark.position);
}

static void
print_json(const struct marks *all)
{
    AUTO(json_free) struct json *out = json_new();
    struct json *list = json_array();

    for (size_t i = 0; i < all->count; i++) {
        struct json *one = json_new();

        list_mark_json(&all->at[i], one);
        json_add(list, &one);
    }
    json_number(out, "schema", 1);
    json_put(out, "marks", &list);
    json_print(stdout, out);
}

static void
print_lines(const struct marks *all)
{
    int width = 6;

    for (size_t i = 0; i < all->count; i++) {
        const int n = (int)(strlen(all->at[i].mark.agent) + 1 + strlen(all->at[i].mark.source));
        width = n > width ? n : width;
    }
    if (all->count > 0)
        (void)printf("%-*s  %-25s  %-12s  %10s  %10s\n", width, "SOURCE", "TIME", "ID", "BYTES", "NAMES");
    for (size_t i = 0; i < all->count; i++) {
        const struct index_mark *const m = &all->at[i];
        char id[HASH_HEX_ROOM], time[WHEN_ROOM], bytes[WHEN_ROOM];
        AUTO(auto_free) char *source = mem_text("%s/%s", m->mark.agent, m->mark.source);

        hash_hex(&m->id, id);
        when_format(m->mark.started_ns, time);
        when_bytes(m->mark.bytes, bytes);
        (void)printf("%-*s  %-25s  %.12s  %10s  %10" PRIu64 "\n", width, source, time, id, bytes,
                     m->mark.files);
    }
}

enum err_kind
list_marks(const struct list *l, const char *source, struct err *err)
{
    AUTO(marks_free) struct marks all = { .source = source };
    AUTO(kv_abort) struct kv_txn *t = NULL;
    enum err_kind kind = kv_begin(l->store->kv, false, &t, err);

    if (kind == ERR_OK)
        kind = index_marks(t, mark_keep, &all, NULL, err);
    if (kind != ERR_OK)
        return kind;
    if (source != NULL && all.count == 0)
        return err_set(err, ERR_ABSENT, "no mark of \"%s\" in this store", source);
    if (all.count > 0)
        qsort(all.at, all.count, sizeof *all.at, mark_order);
    if (l->json)
        print_json(&all);
    else
        print_lines(&all);
    return ERR_OK;
}
