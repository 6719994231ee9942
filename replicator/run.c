/* run.c - passes over sources, once or for ever: commands around them, connections re-made, what is reported. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/auto.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/when.h"
#include "replicator/pass.h"

#define BACKOFF_FIRST_NS 500000000ll
#define BACKOFF_MAX_NS 60000000000ll
#define ONCE_WAIT_MAX_NS 60000000000ll /* all waits of a command together */
#define KEEP_LINK_NS 2000000000ll      /* a shorter pause is not worth a new handshake */

extern char **environ;

/* Wait, or be woken by a signal.  True: stop. */
static bool
wait_ns(struct agent *a, int64_t ns)
{
    struct pollfd fd = { .fd = a->stop_fd, .events = POLLIN };
    struct timespec left = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    if (ns > 0 && !atomic_load(&a->stop))
        (void)ppoll(&fd, 1, &left, NULL);
    return atomic_load(&a->stop);
}

static enum err_kind
run_command(const struct agent_source *s, const char *word, const char *command, struct err *err)
{
    if (command == NULL)
        return ERR_OK;
    AUTO(auto_free) char *source = mem_text("FARSHORE_SOURCE=%s", s->name);
    AUTO(auto_free) char *path = mem_text("FARSHORE_PATH=%s", s->path);
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    AUTO(auto_free) char **env = mem_zero(count + 3, sizeof(*env));
    memcpy(env, environ, count * sizeof(*env));
    env[count] = source;
    env[count + 1] = path;
    char sh[] = "sh", dash_c[] = "-c";
    AUTO(auto_free) char *text = mem_text("%s", command);
    char *argv[] = { sh, dash_c, text, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    (void)sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    /* Our standard output is for results. */
    posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    int status = 0, rc = posix_spawn(&pid, "/bin/sh", &files, &attr, argv, env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (rc != 0) {
        errno = rc;
        return err_errno(err, "could not run the command %s", word);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return ERR_OK;
    if (WIFEXITED(status))
        return err_set(err, ERR_IO, "the command %s ended with status %d", word, WEXITSTATUS(status));
    return err_set(err, ERR_IO, "the command %s was ended by signal %d", word, WTERMSIG(status));
}

struct attempt {
    const struct agent_source *source;
    int64_t *wait_left_ns; /* NULL: no second try here (the daemon has its own) */
    bool refused_by_site;  /* out: the receipts forbid any further pass */
};

/* Passes until one comes to a receipt, or fails for a reason that a new connection does not mend. */
static enum err_kind
try_passes(struct agent *a, struct attempt *t, struct progress *progress, struct pass_result *ret,
           struct err *err)
{
    int64_t pause = BACKOFF_FIRST_NS;
    struct pass_ask ask = { .source = t->source, .progress = progress };
    for (;;) {
        enum err_kind kind = agent_connect(a, err);
        bool connected = kind == ERR_OK;
        t->refused_by_site = kind == ERR_REFUSED;
        if (connected) {
            pass_result_free(ret);
            kind = pass_run(a, &ask, ret, err);
        }
        if (kind == ERR_OK || atomic_load(&a->stop))
            return kind;
        if (ret->missing && connected && !ask.again) {
            log_warn("%s: %s; everything is read again", t->source->name, err->text);
            ask.again = true;
            continue;
        }
        /* DESIGN section 4.6: a mismatch is sent again whole.  Damage to the old bytes there shows so. */
        if (connected && !ask.whole && (kind == ERR_PROTOCOL || kind == ERR_CORRUPT)) {
            log_warn("%s: %s; what has changed is sent again whole", t->source->name, err->text);
            ask.whole = true;
            continue;
        }
        bool mends = kind == ERR_CLOSED || (!connected && kind == ERR_IO);
        if (!mends || t->wait_left_ns == NULL || *t->wait_left_ns <= 0)
            return kind;
        log_warn("%s: %s; trying again in %.1f s", t->source->name, err->text, (double)pause / 1e9);
        *t->wait_left_ns -= pause;
        if (wait_ns(a, pause))
            return kind;
        pause = pause * 2 < BACKOFF_MAX_NS ? pause * 2 : BACKOFF_MAX_NS;
    }
}

static enum err_kind
pass_source(struct agent *a, struct attempt *t, bool quiet, struct pass_result *ret, struct err *err)
{
    const struct agent_source *s = t->source;
    enum err_kind kind = run_command(s, "before", s->before, err);
    if (kind == ERR_OK) {
        struct progress *progress = progress_new(s->name, a->opt.json && !quiet, quiet || a->opt.quiet);
        kind = try_passes(a, t, progress, ret, err);
        progress_free(&progress);
    }
    struct err after = { 0 };
    if (run_command(s, "after", s->after, &after) != ERR_OK) {
        log_warn("%s: %s", s->name, after.text);
        if (kind == ERR_OK) /* the mark is there; what the command had to do is not done */
            ret->finding_count++;
    }
    return kind;
}

static void
note(struct agent *a, const struct agent_source *s, const struct pass_result *r, const struct err *failure)
{
    struct agent_status all;
    status_load(a, &all);
    struct ring *probe = NULL;
    if (ring_new(a->opt.engine, &probe, NULL) == ERR_OK)
        (void)snprintf(all.engine, sizeof(all.engine), "%s", ring_name(probe));
    ring_free(&probe);
    for (size_t i = 0; i < all.count; i++) {
        struct source_status *st = &all.sources[i];
        if (strcmp(st->name, s->name) != 0)
            continue;
        st->tried_ns = r->started_ns;
        st->findings = r->finding_count;
        (void)snprintf(st->failure, sizeof(st->failure), "%s", failure != NULL ? failure->text : "");
        if (failure != NULL)
            continue;
        st->reached_ns = st->started_ns > 0 ? (uint64_t)(r->started_ns - st->started_ns) : 0;
        st->sequence = r->sequence;
        hash_hex(&r->id, st->id);
        st->started_ns = r->started_ns;
        st->received_ns = r->received_ns;
        st->seconds = r->seconds;
        st->files = r->files;
        st->bytes = r->bytes;
        st->read = r->read;
        st->sent = r->sent;
    }
    status_save(a, &all);
    status_free(&all);
}

static struct json *
result_json(const struct agent_source *s, const struct pass_result *r, const struct err *failure)
{
    char hex[HASH_HEX_ROOM];
    struct json *j = json_new();
    json_text(j, "source", s->name);
    if (failure != NULL) {
        json_text(j, "error", failure->text);
    } else {
        hash_hex(&r->id, hex);
        json_text(j, "mark", hex);
        json_number(j, "sequence", (int64_t)r->sequence);
        json_number(j, "files", (int64_t)r->files);
        json_number(j, "bytes", (int64_t)r->bytes);
    }
    json_number(j, "read", (int64_t)r->read);
    json_number(j, "sent", (int64_t)r->sent);
    json_real(j, "seconds", r->seconds);
    json_number(j, "finding_count", (int64_t)r->finding_count);
    struct json *list = json_array();
    for (size_t i = 0; i < r->named; i++) {
        struct json *one = json_new();
        json_bytes(one, "path", r->findings[i].path, strlen(r->findings[i].path));
        json_text(one, "finding", r->findings[i].what);
        json_add(list, &one);
    }
    json_put(j, "findings", &list);
    return j;
}

static void
result_line(const struct agent_source *s, const struct pass_result *r)
{
    char hex[HASH_HEX_ROOM], bytes[WHEN_ROOM], read[WHEN_ROOM], sent[WHEN_ROOM];
    hash_hex(&r->id, hex);
    when_bytes(r->bytes, bytes);
    when_bytes(r->read, read);
    when_bytes(r->sent, sent);
    (void)printf("%s: mark %" PRIu64 " %.12s, %" PRIu64 " files, %s, read %s, sent %s, %.2f s", s->name,
                 r->sequence, hex, r->files, bytes, read, sent, r->seconds);
    if (r->finding_count > 0)
        (void)printf(", %" PRIu64 " findings", r->finding_count);
    (void)printf("\n");
    (void)fflush(stdout);
}

static int
worse(int a, int b)
{
    static const int order[] = { EXIT_SOUND, EXIT_FINDINGS, EXIT_FAILED, EXIT_REFUSED };
    int ia = 0, ib = 0;
    for (int i = 0; i < 4; i++) {
        ia = order[i] == a ? i : ia;
        ib = order[i] == b ? i : ib;
    }
    return ia > ib ? a : b;
}

static const struct agent_source *
source_named(const struct agent *a, const char *name)
{
    for (size_t i = 0; i < a->source_count; i++)
        if (strcmp(a->sources[i].name, name) == 0)
            return &a->sources[i];
    return NULL;
}

/* The operands, or all sources; NULL after the error was printed. */
static const struct agent_source **
choose(struct agent *a, char *const *names, int count, size_t *ret_count)
{
    size_t n = count > 0 ? (size_t)count : a->source_count;
    const struct agent_source **list = mem_zero(n + 1, sizeof(struct agent_source *));
    struct err err = { 0 };
    for (size_t i = 0; i < n && err.kind == ERR_OK; i++) {
        list[i] = count > 0 ? source_named(a, names[i]) : &a->sources[i];
        if (list[i] == NULL)
            (void)err_set(&err, ERR_USAGE, "agent.conf has no source \"%s\"", names[i]);
    }
    if (n == 0) {
        (void)err_set(&err, ERR_CONFIG, "\"%s/agent.conf\" has no source", a->opt.state);
        err_hint(&err, "it holds an example, commented out");
    }
    if (err.kind != ERR_OK) {
        (void)log_fail(&err);
        free(list);
        return NULL;
    }
    *ret_count = n;
    return list;
}

int
run_once(struct agent *a, char *const *names, int count)
{
    size_t n = 0;
    const struct agent_source **list = choose(a, names, count, &n);
    if (list == NULL)
        return count > 0 ? EXIT_CALL : EXIT_CONF;
    struct json *results = json_array();
    int status = EXIT_SOUND;
    int64_t wait_left = ONCE_WAIT_MAX_NS;
    bool stop = false;
    for (size_t i = 0; i < n && !stop; i++) {
        struct attempt t = { .source = list[i], .wait_left_ns = &wait_left };
        struct pass_result r = { .started_ns = when_now_ns() };
        struct err err = { 0 };
        enum err_kind kind = pass_source(a, &t, false, &r, &err);
        note(a, list[i], &r, kind == ERR_OK ? NULL : &err);
        if (kind != ERR_OK) {
            (void)err_prefix(&err, kind, "%s", list[i]->name);
            status = worse(status, log_fail(&err) == EXIT_REFUSED ? EXIT_REFUSED : EXIT_FAILED);
        } else if (!a->opt.json) {
            result_line(list[i], &r);
        }
        if (r.finding_count > 0)
            status = worse(status, EXIT_FINDINGS);
        struct json *one = result_json(list[i], &r, kind == ERR_OK ? NULL : &err);
        json_add(results, &one);
        pass_result_free(&r);
        /* Without a site the others fail alike. */
        stop = atomic_load(&a->stop) || t.refused_by_site ||
               (kind != ERR_OK && a->link == NULL && wait_left <= 0);
    }
    if (a->cloned)
        status = worse(status, EXIT_FINDINGS);
    if (a->opt.json) {
        struct json *j = json_new();
        json_number(j, "schema", 1);
        json_text(j, "type", "result");
        json_bool(j, "cloned", a->cloned);
        json_put(j, "sources", &results);
        json_print(stdout, j);
        json_free(&j);
    }
    json_free(&results);
    free(list);
    return status;
}

struct due { /* of a source, by CLOCK_MONOTONIC */
    int64_t at_ns;
    int64_t pause_ns; /* after a failure; 0: none */
};

/* One pass of the daemon; sets when the next is due. */
static void
daemon_pass(struct agent *a, const struct agent_source *s, struct due *due, bool *ret_refused)
{
    struct attempt t = { .source = s };
    struct pass_result r = { .started_ns = when_now_ns() };
    struct err err = { 0 };
    int64_t start = when_tick_ns();
    enum err_kind kind = pass_source(a, &t, true, &r, &err);
    bool stopped = kind != ERR_OK && atomic_load(&a->stop);
    if (!stopped)
        note(a, s, &r, kind == ERR_OK ? NULL : &err);
    due->at_ns = start + (int64_t)s->interval_ns;
    if (kind == ERR_OK) {
        due->pause_ns = 0;
        if (a->opt.json) {
            struct json *j = result_json(s, &r, NULL);
            json_number(j, "schema", 1);
            json_text(j, "type", "pass");
            json_print(stdout, j);
            json_free(&j);
            (void)fflush(stdout);
        } else {
            result_line(s, &r);
        }
    } else if (!stopped) {
        due->pause_ns = due->pause_ns == 0 ? BACKOFF_FIRST_NS : due->pause_ns * 2;
        due->pause_ns = due->pause_ns < BACKOFF_MAX_NS ? due->pause_ns : BACKOFF_MAX_NS;
        due->at_ns = when_tick_ns() + due->pause_ns;
        (void)err_prefix(&err, kind, "%s", s->name);
        (void)log_fail(&err);
    }
    *ret_refused = t.refused_by_site;
    pass_result_free(&r);
}

int
run_daemon(struct agent *a)
{
    size_t n = 0;
    const struct agent_source **list = choose(a, NULL, 0, &n);
    if (list == NULL)
        return EXIT_CONF;
    free(list);
    struct due *due = mem_zero(n, sizeof(*due));
    for (size_t i = 0; i < n; i++)
        due[i].at_ns = when_tick_ns();
    bool refused = false;
    log_info("%zu sources, engine %s", n, a->opt.engine == RING_PLAIN ? "plain" : "by choice of the kernel");
    while (!refused && !atomic_load(&a->stop)) {
        size_t next = 0;
        for (size_t i = 1; i < n; i++)
            if (due[i].at_ns < due[next].at_ns)
                next = i;
        int64_t left = due[next].at_ns - when_tick_ns();
        if (left > KEEP_LINK_NS)
            agent_disconnect(a);
        if (left > 0) {
            (void)wait_ns(a, left);
            continue;
        }
        daemon_pass(a, &a->sources[next], &due[next], &refused);
    }
    free(due);
    if (a->opt.json) {
        struct json *j = json_new();
        json_number(j, "schema", 1);
        json_text(j, "type", "result");
        json_bool(j, "refused", refused);
        json_print(stdout, j);
        json_free(&j);
    }
    return refused ? EXIT_REFUSED : EXIT_SOUND;
}
