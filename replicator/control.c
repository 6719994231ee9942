/* The socket in the store: how commands reach the site that runs.  One JSON line asks, one answers.
 *
 *     {"do":"token","agent":NAME}   {"do":"revoke","agent":NAME}   {"do":"status"}
 *     {"ok":true,...}               {"ok":false,"kind":N,"text":...,"hint":...} */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/mem.h"
#include "replicator/session_internal.h"

#define SOCKET_NAME "control.sock"
#define LINE_BYTES_MAX (64u * KIB) /* a status names the agents that are connected */
#define PATIENCE_S 10              /* a commit on a busy disk; nobody holds the socket for longer */
#define BACKLOG 8

struct control {
    struct site *site;
    int listen_fd, stop_fd;
    pthread_t thread;
};

/* A path in a socket address has 108 bytes; the store's own may be longer. */
static struct sockaddr_un
address_of(int dir_fd)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    (void)snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/" SOCKET_NAME, dir_fd);
    return a;
}

static void
set_patience(int fd)
{
    const struct timeval tv = { .tv_sec = PATIENCE_S };

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static enum err_kind
send_line(int fd, const struct json *j, struct err *err)
{
    AUTO(auto_free) char *text = json_dump(j);
    AUTO(auto_free) char *line = mem_text("%s\n", text);
    const size_t size = strlen(line);

    for (size_t done = 0; done < size;) {
        const ssize_t n = send(fd, line + done, size - done, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return err_errno(err, "could not write to \"" SOCKET_NAME "\"");
        done += n < 0 ? 0 : (size_t)n;
    }
    return ERR_OK;
}

static enum err_kind
receive_line(int fd, struct json **ret, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };

    for (;;) {
        char piece[1024];
        const ssize_t n = recv(fd, piece, sizeof piece, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "could not read from \"" SOCKET_NAME "\"");
        if (n == 0)
            return err_set(err, ERR_CLOSED, "\"" SOCKET_NAME "\": the line has no end");
        buf_put(&b, piece, (size_t)n);
        if (memchr(piece, '\n', (size_t)n) != NULL)
            return json_parse(b.at, b.size, ret, err);
        if (b.size > LINE_BYTES_MAX)
            return err_set(err, ERR_LIMIT, "\"" SOCKET_NAME "\": a line of more than %u bytes",
                           LINE_BYTES_MAX);
    }
}

static enum err_kind
do_token(struct site *site, const struct json *q, struct json *answer, struct err *err)
{
    const char *const agent = json_get_text(q, "agent");
    struct site_token token;
    const enum err_kind kind = site_token_make(site->store, agent == NULL ? "" : agent, &token, err);

    if (kind != ERR_OK)
        return kind;
    json_text(answer, "token", token.text);
    json_number(answer, "expires", token.expires_ns);
    json_bool(answer, "known", token.known);
    return ERR_OK;
}

static enum err_kind
do_revoke(struct site *site, const struct json *q, struct json *answer, struct err *err)
{
    const char *const agent = json_get_text(q, "agent");
    const enum err_kind kind = site_revoke(site->store, agent == NULL ? "" : agent, err);

    (void)answer;
    if (kind == ERR_OK)
        site_cut_agent(site, agent, "this agent was revoked at the site");
    return kind;
}

static enum err_kind
do_status(struct site *site, const struct json *q, struct json *answer, struct err *err)
{
    struct json *agents = json_new();

    (void)q;
    (void)err;
    json_number(answer, "pid", getpid());
    json_number(answer, "served", (int64_t)site->served);
    json_number(answer, "marks", (int64_t)site->marks);
    json_number(answer, "started", site->started_ns);
    (void)pthread_mutex_lock(&site->lock);
    json_number(answer, "connections", (int64_t)site->session_count);
    for (const struct session *s = site->sessions; s != NULL; s = s->next)
        if (s->greeted && !s->finished)
            json_bool(agents, s->agent, true);
    (void)pthread_mutex_unlock(&site->lock);
    json_put(answer, "connected", &agents);
    return ERR_OK;
}

static const struct {
    const char *name;
    enum err_kind (*fn)(struct site *site, const struct json *q, struct json *answer, struct err *err);
} verbs[] = { { "token", do_token }, { "revoke", do_revoke }, { "status", do_status } };

static void
answer_one(struct site *site, int fd)
{
    AUTO(json_free) struct json *q = NULL;
    AUTO(json_free) struct json *answer = json_new();
    struct err err = { 0 };
    enum err_kind kind;

    set_patience(fd);
    kind = receive_line(fd, &q, &err);
    if (kind == ERR_OK) {
        const char *const what = json_get_text(q, "do");
        size_t n = 0;

        while (n < sizeof verbs / sizeof verbs[0] && (what == NULL || strcmp(verbs[n].name, what) != 0))
            n++;
        kind = n < sizeof verbs / sizeof verbs[0] ? verbs[n].fn(site, q, answer, &err)
                                                  : err_set(&err, ERR_USAGE, "nothing that a site does");
    }
    json_bool(answer, "ok", kind == ERR_OK);
    if (kind != ERR_OK) {
        json_number(answer, "kind", (int64_t)kind);
        json_text(answer, "text", err.text);
        json_text(answer, "hint", err.hint);
    }
    (void)!send_line(fd, answer, NULL);
}

static void *
control_main(void *arg)
{
    struct control *const c = arg;
    struct pollfd at[] = { { .fd = c->listen_fd, .events = POLLIN }, { .fd = c->stop_fd, .events = POLLIN } };

    for (;;) {
        if (poll(at, 2, -1) < 0 && errno != EINTR)
            break;
        if (at[1].revents != 0)
            break;
        if (at[0].revents == 0)
            continue;
        AUTO(auto_close) int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            answer_one(c->site, fd);
    }
    return NULL;
}

enum err_kind
control_start(struct site *site, struct control **ret, struct err *err)
{
    const int dir_fd = site->store->dir_fd;
    const struct sockaddr_un a = address_of(dir_fd);
    AUTO(auto_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    /* We hold the store's lock: a socket that lies there is of a site that died. */
    if (fd < 0 || (unlinkat(dir_fd, SOCKET_NAME, 0) != 0 && errno != ENOENT) ||
        bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 || fchmodat(dir_fd, SOCKET_NAME, 0600, 0) != 0 ||
        listen(fd, BACKLOG) != 0)
        return err_errno(err, "could not listen on \"%s/" SOCKET_NAME "\"", site->store->path);
    struct control *const c = mem_zero(1, sizeof *c);
    c->site = site;
    c->listen_fd = fd;
    c->stop_fd = eventfd(0, EFD_CLOEXEC);
    fd = -1;
    assert(c->stop_fd >= 0);
    const int failed = pthread_create(&c->thread, NULL, control_main, c);
    assert(failed == 0);
    *ret = c;
    return ERR_OK;
}

void
control_stop(struct control **control)
{
    struct control *const c = *control;

    if (c == NULL)
        return;
    (void)!eventfd_write(c->stop_fd, 1);
    (void)pthread_join(c->thread, NULL);
    (void)unlinkat(c->site->store->dir_fd, SOCKET_NAME, 0);
    (void)close(c->listen_fd);
    (void)close(c->stop_fd);
    free(c);
    *control = NULL;
}

static enum err_kind
take_answer(const struct json *a, struct err *err)
{
    if (json_get_bool(a, "ok"))
        return ERR_OK;
    const int64_t number = json_get_number(a, "kind");
    const char *const text = json_get_text(a, "text");
    const char *const hint = json_get_text(a, "hint");
    const bool sane = number > ERR_OK && number <= ERR_USAGE && text != NULL;
    const enum err_kind kind = err_set(err, sane ? (enum err_kind)number : ERR_PROTOCOL, "%s",
                                       sane ? text : "the site's answer is no answer");
    if (hint != NULL && hint[0] != '\0')
        err_hint(err, "%s", hint);
    return kind;
}

enum err_kind
control_ask(const char *dir, const struct json *question, bool *ret_running, struct json **ret,
            struct err *err)
{
    AUTO(auto_close) int dir_fd = -1;
    AUTO(auto_close) int fd = -1;
    AUTO(json_free) struct json *answer = NULL;
    enum err_kind kind = fs_dir_open(dir, &dir_fd, err);

    if (kind != ERR_OK)
        return kind;
    const struct sockaddr_un a = address_of(dir_fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, "could not make a socket");
    set_patience(fd);
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) != 0) {
        if (errno != ENOENT && errno != ECONNREFUSED)
            return err_errno(err, "could not reach the site through \"%s/" SOCKET_NAME "\"", dir);
        *ret_running = false;
        return ERR_OK;
    }
    kind = send_line(fd, question, err);
    if (kind == ERR_OK)
        kind = receive_line(fd, &answer, err);
    if (kind == ERR_OK)
        kind = take_answer(answer, err);
    if (kind != ERR_OK)
        return kind;
    *ret_running = true;
    *ret = answer;
    answer = NULL;
    return ERR_OK;
}
