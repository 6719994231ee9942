/* farshore-site status: agents, sources, newest marks and their age.  Reads the index; a running site adds what it knows. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/site.h"
#include "snapshot/index.h"

struct source {
    struct index_mark newest;
    uint32_t city;
    uint64_t marks;
};
struct status {
    struct store *store;
    struct json *running; /* the site's answer, or NULL */
    struct index_agent *agents;
    uint64_t *stored; /* [agent_count] bytes of its packs */
    size_t agent_count;
    struct source *sources; /* in order of city and name */
    size_t source_count;
};

static void
status_free(struct status *st)
{
    free(st->agents);
    free(st->stored);
    free(st->sources);
    json_free(&st->running);
    store_close(&st->store);
}

static enum err_kind
add_agent(void *arg, const struct index_agent *a, struct err *err)
{
    struct status *const st = arg;

    (void)err;
    st->agents = mem_grow(st->agents, st->agent_count + 1, sizeof *st->agents);
    st->agents[st->agent_count++] = *a;
    return ERR_OK;
}

static enum err_kind
add_mark(void *arg, const struct index_mark *m, struct err *err)
{
    struct status *const st = arg;
    struct source *last = st->source_count == 0 ? NULL : &st->sources[st->source_count - 1];

    (void)err;
    if (last == NULL || strcmp(last->newest.mark.agent, m->mark.agent) != 0 ||
        strcmp(last->newest.mark.source, m->mark.source) != 0) {
        st->sources = mem_grow(st->sources, st->source_count + 1, sizeof *st->sources);
        last = &st->sources[st->source_count++];
        last->marks = 0;
    }
    last->newest = *m;
    last->marks++;
    return ERR_OK;
}

static enum err_kind
add_pack(void *arg, uint64_t pack, const struct index_pack *p, struct err *err)
{
    struct status *const st = arg;

    (void)pack;
    (void)err;
    for (size_t i = 0; i < st->agent_count; i++)
        if (st->agents[i].city == p->city)
            st->stored[i] += p->committed;
    return ERR_OK;
}

static enum err_kind
gather(const char *dir, struct status *st, struct err *err)
{
    AUTO(json_free) struct json *q = json_new();
    AUTO(kv_abort) struct kv_txn *t = NULL;
    bool running = false;
    enum err_kind kind = store_open(dir, false, &st->store, err);

    json_text(q, "do", "status");
    if (kind == ERR_OK)
        kind = control_ask(dir, q, &running, &st->running, err);
    if (kind == ERR_OK)
        kind = kv_begin(st->store->kv, false, &t, err);
    if (kind == ERR_OK)
        kind = index_agents(t, add_agent, st, NULL, err);
    if (kind == ERR_OK)
        kind = index_marks(t, add_mark, st, NULL, err);
    if (kind != ERR_OK)
        return kind;
    st->stored = mem_zero(st->agent_count + 1, sizeof *st->stored);
    return index_packs(t, add_pack, st, NULL, err);
}

static bool
connected(const struct status *st, const char *agent)
{
    const struct json *const names = st->running == NULL ? NULL : json_get(st->running, "connected");

    return names != NULL && json_get_bool(names, agent);
}

static uint64_t
quota_of(const struct status *st, const char *agent)
{
    return conf_number(st->store->conf, "agent", agent, "quota", 0);
}

static void
print_agent(const struct status *st, size_t n)
{
    const struct index_agent *const a = &st->agents[n];
    const uint64_t quota = quota_of(st, a->name);
    char stored[WHEN_ROOM], limit[WHEN_ROOM], age[WHEN_ROOM], taken[WHEN_ROOM], bytes[WHEN_ROOM];
    char id[HASH_HEX_ROOM];
    bool any = false;

    when_bytes(st->stored[n], stored);
    when_bytes(quota, limit);
    (void)printf("\n%s  city %u, %s stored%s%s%s%s\n", a->name, a->city, stored, quota > 0 ? " of " : "",
                 quota > 0 ? limit : "", a->revoked ? ", REVOKED" : "",
                 connected(st, a->name) ? ", connected" : "");
    for (size_t i = 0; i < st->source_count; i++) {
        const struct source *const s = &st->sources[i];

        if (strcmp(s->newest.mark.agent, a->name) != 0)
            continue;
        any = true;
        when_format(s->newest.mark.started_ns, taken);
        when_age(when_now_ns() - s->newest.mark.started_ns, age);
        when_bytes(s->newest.mark.bytes, bytes);
        hash_hex(&s->newest.id, id);
        (void)printf("  %-16s newest mark %.8s of %s, %s ago: %" PRIu64 " names, %s; %" PRIu64 " mark%s\n",
                     s->newest.mark.source, id, taken, age, s->newest.mark.files, bytes, s->marks,
                     s->marks == 1 ? "" : "s");
    }
    if (!any)
        (void)printf("  no mark yet\n");
}

static void
print_text(const struct status *st)
{
    if (st->running != NULL)
        (void)printf("site %s: running, process %" PRId64 ", %" PRId64 " connections\n", st->store->name,
                     json_get_number(st->running, "pid"), json_get_number(st->running, "connections"));
    else
        (void)printf("site %s: not running\n", st->store->name);
    if (st->agent_count == 0)
        (void)printf("no agents: farshore-site token --store %s AGENT\n", st->store->path);
    for (size_t n = 0; n < st->agent_count; n++)
        print_agent(st, n);
}

static void
mark_json(const struct source *s, struct json *array)
{
    struct json *j = json_new();
    char hex[HASH_HEX_ROOM], time[WHEN_ROOM], received[WHEN_ROOM];

    hash_hex(&s->newest.id, hex);
    when_format_ns(s->newest.mark.started_ns, time);
    when_format_ns(s->newest.received_ns, received);
    json_text(j, "source", s->newest.mark.source);
    json_number(j, "marks", (int64_t)s->marks);
    json_text(j, "id", hex);
    json_number(j, "sequence", (int64_t)s->newest.mark.sequence);
    json_text(j, "time", time);
    json_text(j, "received", received);
    json_number(j, "started", s->newest.mark.started_ns / 1000000000);
    json_number(j, "age_s", (when_now_ns() - s->newest.mark.started_ns) / 1000000000);
    json_number(j, "bytes", (int64_t)s->newest.mark.bytes);
    json_number(j, "files", (int64_t)s->newest.mark.files);
    json_add(array, &j);
}

static void
agent_json(const struct status *st, size_t n, struct json *array)
{
    const struct index_agent *const a = &st->agents[n];
    struct json *j = json_new();
    struct json *sources = json_array();
    char enrolled[WHEN_ROOM];

    when_format(a->enrolled_ns, enrolled);
    json_text(j, "name", a->name);
    json_number(j, "city", a->city);
    json_bool(j, "revoked", a->revoked != 0);
    json_bool(j, "connected", connected(st, a->name));
    json_text(j, "enrolled", enrolled);
    json_number(j, "receipts", (int64_t)a->receipts);
    json_number(j, "stored", (int64_t)st->stored[n]);
    json_number(j, "quota", (int64_t)quota_of(st, a->name));
    for (size_t i = 0; i < st->source_count; i++)
        if (strcmp(st->sources[i].newest.mark.agent, a->name) == 0)
            mark_json(&st->sources[i], sources);
    json_put(j, "sources", &sources);
    json_add(array, &j);
}

static void
print_json(const struct status *st)
{
    AUTO(json_free) struct json *j = json_new();
    struct json *agents = json_array();

    json_number(j, "schema", 1);
    json_text(j, "site", st->store->name);
    json_bool(j, "running", st->running != NULL);
    json_number(j, "pid", st->running == NULL ? 0 : json_get_number(st->running, "pid"));
    json_number(j, "connections", st->running == NULL ? 0 : json_get_number(st->running, "connections"));
    for (size_t n = 0; n < st->agent_count; n++)
        agent_json(st, n, agents);
    json_put(j, "agents", &agents);
    json_print(stdout, j);
}

enum err_kind
site_status_command(const struct opt *o, struct err *err)
{
    AUTO(status_free) struct status st = { 0 };
    const char *dir = NULL;
    enum err_kind kind = opt_place(o, "store", "FARSHORE_STORE", &dir, err);

    if (kind == ERR_OK)
        kind = gather(dir, &st, err);
    if (kind != ERR_OK)
        return kind;
    if (o->json)
        print_json(&st);
    else
        print_text(&st);
    return ERR_OK;
}
