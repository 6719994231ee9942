/* From what a user writes to a mark. */
#include "snapshot/point.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/when.h"

struct want {
    char agent[SOURCE_NAME_MAX + 1]; /* "": any */
    char source[SOURCE_NAME_MAX + 1];
    bool latest;
    bool by_time;
    int64_t time_ns;
    char prefix[HASH_HEX_ROOM]; /* "": not by id */
};

static enum err_kind
not_a_point(const char *point, struct err *err)
{
    (void)err_set(err, ERR_USAGE, "\"%s\" is not a recovery point", point);
    err_hint(err,
             "agent/source, agent/source@latest, agent/source@TIME (RFC 3339, with offset), or @ID (at least "
             "%d hex digits)",
             POINT_PREFIX_MIN);
    return ERR_USAGE;
}

/* Some latitude is dangerous here: what does not parse is refused, never guessed. */
static enum err_kind
parse(const char *point, struct want *ret, struct err *err)
{
    const char *const at = strchr(point, '@');
    const size_t front = at != NULL ? (size_t)(at - point) : strlen(point);
    const char *const slash = memchr(point, '/', front);

    memset(ret, 0, sizeof *ret);
    if (front > 0) {
        const size_t agent = slash != NULL ? (size_t)(slash - point) : 0;

        if (slash == NULL || agent > SOURCE_NAME_MAX || front - agent - 1 > SOURCE_NAME_MAX)
            return not_a_point(point, err);
        memcpy(ret->agent, point, agent);
        memcpy(ret->source, slash + 1, front - agent - 1);
        if (!conf_name_ok(ret->agent) || !conf_name_ok(ret->source))
            return not_a_point(point, err);
    }
    if (at == NULL || (front > 0 && strcmp(at + 1, "latest") == 0)) {
        ret->latest = true;
        return ERR_OK;
    }
    if (when_parse(at + 1, &ret->time_ns) == 0) {
        ret->by_time = true;
        return ERR_OK;
    }
    const size_t n = strlen(at + 1);
    if (n < POINT_PREFIX_MIN || n >= HASH_HEX_ROOM)
        return not_a_point(point, err);
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)at[1 + i]))
            return not_a_point(point, err);
        ret->prefix[i] = (char)tolower((unsigned char)at[1 + i]);
    }
    return ERR_OK;
}

struct search {
    const struct want *want;
    struct index_mark best, other;
    size_t found;     /* marks that match */
    size_t of_source; /* marks of the source(s) looked at */
    bool many_sources;
    struct index_mark first;
};

static enum err_kind
look(void *arg, const struct index_mark *m, struct err *err)
{
    struct search *const s = arg;
    const struct want *const w = s->want;
    char id[HASH_HEX_ROOM];

    (void)err;
    if (w->source[0] != '\0' &&
        (strcmp(w->agent, m->mark.agent) != 0 || strcmp(w->source, m->mark.source) != 0))
        return ERR_OK;
    if (s->of_source++ == 0)
        s->first = *m;
    else if (strcmp(s->first.mark.agent, m->mark.agent) != 0 ||
             strcmp(s->first.mark.source, m->mark.source) != 0)
        s->many_sources = true;
    if (w->prefix[0] != '\0') {
        hash_hex(&m->id, id);
        if (strncmp(id, w->prefix, strlen(w->prefix)) != 0)
            return ERR_OK;
        s->other = s->best;
        s->best = *m;
        s->found++;
        return ERR_OK;
    }
    /* By time: the newest that was not started after it; two of the same time: the later one. */
    if (w->by_time && m->mark.started_ns > w->time_ns)
        return ERR_OK;
    if (s->found == 0 || w->latest || m->mark.started_ns >= s->best.mark.started_ns)
        s->best = *m;
    s->found = 1;
    return ERR_OK;
}

static enum err_kind
nothing(const char *point, const struct search *s, struct err *err)
{
    char oldest[WHEN_ROOM];

    if (s->want->source[0] != '\0' && s->of_source == 0)
        return err_set(err, ERR_ABSENT, "\"%s\": there is no mark of %s/%s", point, s->want->agent,
                       s->want->source);
    if (s->of_source == 0)
        return err_set(err, ERR_ABSENT, "\"%s\": the store has no mark", point);
    if (!s->want->by_time)
        return err_set(err, ERR_ABSENT, "\"%s\": no mark has this id", point);
    when_format(s->first.mark.started_ns, oldest);
    return err_set(err, ERR_ABSENT, "\"%s\": the oldest mark is of %s", point, oldest);
}

static enum err_kind
ambiguous(const char *point, const struct search *s, struct err *err)
{
    char a[HASH_HEX_ROOM], b[HASH_HEX_ROOM];

    hash_hex(&s->other.id, a);
    hash_hex(&s->best.id, b);
    return err_set(err, ERR_LIMIT, "\"%s\": %zu marks match, %.16s and %.16s among them", point, s->found, a,
                   b);
}

enum err_kind
point_find(struct store *s, const char *point, uint32_t *ret_city, struct index_mark *ret, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    struct want want;
    struct search search = { .want = &want };
    struct index_agent agent;
    enum err_kind kind = parse(point, &want, err);

    if (kind == ERR_OK)
        kind = kv_begin(s->kv, false, &t, err);
    if (kind == ERR_OK)
        kind = index_marks(t, look, &search, NULL, err);
    if (kind != ERR_OK)
        return kind;
    if (search.found == 0)
        return nothing(point, &search, err);
    if (want.by_time && want.source[0] == '\0' && search.many_sources)
        return err_set(err, ERR_LIMIT, "\"%s\": the store has more than one source: name it, agent/source%s",
                       point, point);
    if (search.found > 1)
        return ambiguous(point, &search, err);
    kind = index_agent_get(t, search.best.mark.agent, &agent, err);
    if (kind != ERR_OK)
        return kind;
    *ret_city = agent.city;
    *ret = search.best;
    return ERR_OK;
}

enum err_kind
point_pin(struct store *s, const struct digest *id, int *ret_fd, struct err *err)
{
    char name[5 + HASH_HEX_ROOM] = "pins/";

    hash_hex(id, name + 5);
    const int fd = openat(s->dir_fd, name, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "could not open \"%s\"", name);
    if (flock(fd, LOCK_SH) != 0) {
        const enum err_kind kind = err_errno(err, "could not lock \"%s\"", name);

        (void)close(fd);
        return kind;
    }
    *ret_fd = fd;
    return ERR_OK;
}
