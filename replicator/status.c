/* status.c - status.json, and the command that shows it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/agent.h"

#define STATUS_BYTES_MAX (4u * MIB)

static void
copy_text(const struct json *j, const char *key, char *ret, size_t room)
{
    const char *text = json_get_text(j, key);
    (void)snprintf(ret, room, "%s", text != NULL ? text : "");
}

static void
load_one(const struct json *j, struct source_status *s)
{
    s->sequence = (uint64_t)json_get_number(j, "sequence");
    copy_text(j, "id", s->id, sizeof(s->id));
    s->started_ns = json_get_number(j, "started_ns");
    s->received_ns = json_get_number(j, "received_ns");
    s->tried_ns = json_get_number(j, "tried_ns");
    s->seconds = (double)json_get_number(j, "took_us") / 1e6;
    s->files = (uint64_t)json_get_number(j, "files");
    s->bytes = (uint64_t)json_get_number(j, "bytes");
    s->read = (uint64_t)json_get_number(j, "read");
    s->sent = (uint64_t)json_get_number(j, "sent");
    s->findings = (uint64_t)json_get_number(j, "findings");
    s->reached_ns = (uint64_t)json_get_number(j, "reached_ns");
    copy_text(j, "failure", s->failure, sizeof(s->failure));
}

void
status_load(const struct agent *a, struct agent_status *ret)
{
    *ret = (struct agent_status){ .count = a->source_count };
    ret->sources = mem_zero(a->source_count + 1, sizeof(*ret->sources));
    for (size_t i = 0; i < a->source_count; i++)
        (void)snprintf(ret->sources[i].name, sizeof(ret->sources[i].name), "%s", a->sources[i].name);
    AUTO(buf_free) struct buf text = { 0 };
    AUTO(json_free) struct json *j = NULL;
    if (fs_read(a->dir_fd, "status.json", STATUS_BYTES_MAX, &text, NULL) != ERR_OK ||
        json_parse(text.at, text.size, &j, NULL) != ERR_OK)
        return;
    copy_text(j, "engine", ret->engine, sizeof(ret->engine));
    copy_text(j, "alarm", ret->alarm, sizeof(ret->alarm));
    ret->alarm_ns = json_get_number(j, "alarm_ns");
    const struct json *sources = json_get(j, "sources");
    for (size_t n = 0; sources != NULL && n < json_size(sources); n++) {
        const struct json *one = json_at(sources, n);
        const char *name = json_get_text(one, "source");
        for (size_t i = 0; name != NULL && i < ret->count; i++)
            if (strcmp(ret->sources[i].name, name) == 0)
                load_one(one, &ret->sources[i]);
    }
}

static struct json *
one_json(const struct source_status *s)
{
    struct json *j = json_new();
    json_text(j, "source", s->name);
    json_number(j, "sequence", (int64_t)s->sequence);
    json_text(j, "id", s->id);
    json_number(j, "started_ns", s->started_ns);
    json_number(j, "received_ns", s->received_ns);
    json_number(j, "tried_ns", s->tried_ns);
    json_number(j, "took_us", (int64_t)(s->seconds * 1e6));
    json_number(j, "files", (int64_t)s->files);
    json_number(j, "bytes", (int64_t)s->bytes);
    json_number(j, "read", (int64_t)s->read);
    json_number(j, "sent", (int64_t)s->sent);
    json_number(j, "findings", (int64_t)s->findings);
    json_number(j, "reached_ns", (int64_t)s->reached_ns);
    json_text(j, "failure", s->failure);
    return j;
}

static struct json *
all_json(const struct agent_status *s)
{
    struct json *j = json_new();
    struct json *list = json_array();
    json_number(j, "schema", 1);
    for (size_t i = 0; i < s->count; i++) {
        struct json *one = one_json(&s->sources[i]);
        json_add(list, &one);
    }
    json_put(j, "sources", &list);
    json_text(j, "engine", s->engine);
    json_text(j, "alarm", s->alarm);
    json_number(j, "alarm_ns", s->alarm_ns);
    return j;
}

void
status_save(const struct agent *a, const struct agent_status *s)
{
    AUTO(json_free) struct json *j = all_json(s);
    AUTO(auto_free) char *text = json_dump(j);
    struct fs_file file = { text, strlen(text), 0600 };
    /* It holds nothing that must outlive a crash: a full disk shall not stop replication here. */
    (void)!fs_replace_lazy(a->dir_fd, "status.json", &file, NULL);
}

void
status_free(struct agent_status *s)
{
    free(s->sources);
    s->sources = NULL;
}

void
status_alarm(const struct agent *a, const char *text)
{
    struct agent_status s;
    status_load(a, &s);
    (void)snprintf(s.alarm, sizeof(s.alarm), "%s", text);
    s.alarm_ns = text[0] != 0 ? when_now_ns() : 0;
    status_save(a, &s);
    status_free(&s);
}

static void
print_one(const struct source_status *s, uint64_t interval_ns)
{
    char age[WHEN_ROOM] = "-", bytes[WHEN_ROOM], time[WHEN_ROOM] = "no mark yet";
    when_bytes(s->bytes, bytes);
    if (s->sequence > 0) {
        when_age(when_now_ns() - s->started_ns, age);
        when_format(s->started_ns, time);
    }
    (void)printf("%-20s  mark %" PRIu64 " %.12s  %s  age %s\n", s->name, s->sequence, s->id, time, age);
    if (s->sequence > 0)
        (void)printf("%-20s  %" PRIu64 " files, %s, last pass %.2f s\n", "", s->files, bytes, s->seconds);
    (void)printf("%-20s  interval %.0f s, reached ", "", (double)interval_ns / 1e9);
    if (s->reached_ns > 0)
        (void)printf("%.0f s\n", (double)s->reached_ns / 1e9);
    else
        (void)printf("-\n");
    if (s->findings > 0)
        (void)printf("%-20s  %" PRIu64 " findings in the last pass\n", "", s->findings);
    if (s->failure[0] != '\0')
        (void)printf("%-20s  last pass failed: %s\n", "", s->failure);
}

int
status_print(struct agent *a)
{
    struct agent_status s;
    status_load(a, &s);
    bool bad = s.alarm[0] != '\0';
    for (size_t i = 0; i < s.count; i++)
        bad = bad || s.sources[i].failure[0] != '\0' || s.sources[i].findings > 0;
    if (a->opt.json) {
        AUTO(json_free) struct json *j = all_json(&s);
        json_text(j, "agent", a->name);
        json_text(j, "address", a->address);
        json_print(stdout, j);
    } else {
        (void)printf("agent %s, site at %s, engine %s\n", a->name, a->address, s.engine[0] ? s.engine : "-");
        for (size_t i = 0; i < s.count; i++)
            print_one(&s.sources[i], a->sources[i].interval_ns);
        if (s.alarm[0] != '\0') {
            char time[WHEN_ROOM];
            when_format(s.alarm_ns, time);
            (void)printf("ALARM %s: %s\n", time, s.alarm);
        }
    }
    status_free(&s);
    return bad ? EXIT_FINDINGS : EXIT_SOUND;
}
