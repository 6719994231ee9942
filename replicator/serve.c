/* farshore-site serve: accept, reap, wait for the signal that ends it. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/log.h"
#include "common/pki.h"
#include "common/when.h"
#include "replicator/session.h"
#include "replicator/site.h"
#include "snapshot/stage.h"

#define POOL_QUEUE 256u
#define TICK_MS 500 /* how often sessions are looked after while there are any */
#define RENEW_NS (30ll * 86400 * 1000000000)
#define TLS_DAYS 825
#define CERT_BYTES_MAX (64u * KIB)

struct serving {
    struct site site;
    struct control *control;
    int listen_fd, signal_fd;
    char address[CHANNEL_ADDRESS_ROOM];
    bool json;
};

static void
serving_free(struct serving *v)
{
    control_stop(&v->control);
    if (v->listen_fd >= 0)
        (void)close(v->listen_fd);
    pool_free(&v->site.pool);
    channel_context_free(&v->site.tls);
    store_close(&v->site.store);
    if (v->signal_fd >= 0)
        (void)close(v->signal_fd);
    if (v->site.wake_fd >= 0)
        (void)close(v->site.wake_fd);
    (void)pthread_mutex_destroy(&v->site.lock);
    (void)pthread_mutex_destroy(&v->site.join_lock);
}

/* The threads that are made later inherit the mask: signals come to the descriptor alone. */
static enum err_kind
catch_signals(int *ret_fd, struct err *err)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || (*ret_fd = signalfd(-1, &set, SFD_CLOEXEC)) < 0)
        return err_errno(err, "could not wait for signals");
    return ERR_OK;
}

/* Two descriptors a connection, and the packs: the usual 1024 are few. */
static void
raise_files(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == r.rlim_max)
        return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

/* The host of site.conf's address: ADDRESS without port and brackets. */
static void
host_of(const char *address, char *ret, size_t room)
{
    const char *const colon = strrchr(address, ':');
    const size_t size = colon == NULL ? strlen(address) : (size_t)(colon - address);
    const bool v6 = size >= 2 && address[0] == '[' && address[size - 1] == ']';

    (void)snprintf(ret, room, "%.*s", (int)(v6 ? size - 2 : size), v6 ? address + 1 : address);
}

/* The site's own certificate is renewed a month before it ends, if the CA's key is here: agents know the CA, not it. */
static enum err_kind
renew_certificate(const struct store *s, struct err *err)
{
    AUTO(buf_free) struct buf old = { 0 };
    AUTO(buf_free) struct buf pem = { 0 };
    uint8_t point[PKI_POINT_BYTES];
    char host[256];
    int64_t expiry = 0;
    enum err_kind kind = fs_read(s->dir_fd, "tls.crt", CERT_BYTES_MAX, &old, err);

    if (kind == ERR_OK)
        kind = pki_expiry(old.at, old.size, &expiry, err);
    if (kind != ERR_OK || expiry - when_now_ns() > RENEW_NS)
        return kind;
    if (faccessat(s->dir_fd, "ca.key", R_OK, 0) != 0) {
        log_warn("the certificate \"tls.crt\" ends soon, and \"ca.key\" is not here to renew it");
        return ERR_OK;
    }
    host_of(conf_text(s->conf, "site", "", "address", ""), host, sizeof host);
    const struct pki_subject subject = { s->name, host, TLS_DAYS, 1 };
    kind = pki_key_point(s->dir_fd, "tls.key", point, err);
    if (kind == ERR_OK)
        kind = pki_issue(s->dir_fd, "ca.key", "ca.crt", &subject, point, &pem, err);
    if (kind != ERR_OK)
        return err_prefix(err, kind, "could not renew \"tls.crt\"");
    const struct fs_file file = { pem.at, pem.size, 0644 };
    return fs_replace(s->dir_fd, "tls.crt", &file, err);
}

static enum err_kind
note(struct store *s, const char *type, struct err *err)
{
    AUTO(json_free) struct json *event = json_new();

    json_text(event, "type", type);
    json_text(event, "program", SITE_PROGRAM " " FARSHORE_VERSION);
    return commit_change(s, NULL, NULL, &event, err);
}

static enum err_kind
prepare(struct serving *v, const struct serve_options *o, struct err *err)
{
    struct site *const site = &v->site;
    enum err_kind kind = catch_signals(&v->signal_fd, err);

    raise_files();
    site->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (kind == ERR_OK && site->wake_fd < 0)
        kind = err_errno(err, "could not make an event descriptor");
    if (kind == ERR_OK)
        kind = store_open(o->dir, true, &site->store, err);
    if (kind == ERR_OK)
        kind = renew_certificate(site->store, err);
    if (kind != ERR_OK)
        return kind;
    const struct channel_identity id = {
        .dir_fd = site->store->dir_fd, .cert = "tls.crt", .key = "tls.key", .ca = "ca.crt"
    };
    const char *const conf_address = conf_text(site->store->conf, "site", "", "address", NULL);
    const char *const conf_listen = conf_text(site->store->conf, "site", "", "listen", conf_address);
    kind = channel_context_new(&id, 1, &site->tls, err);
    if (kind == ERR_OK)
        kind = channel_listen(o->listen != NULL ? o->listen : conf_listen, &v->listen_fd, v->address, err);
    if (kind != ERR_OK)
        return kind;
    site->pool = pool_new(pool_cores(), POOL_QUEUE);
    site->started_ns = when_now_ns();
    kind = control_start(site, &v->control, err);
    return kind != ERR_OK ? kind : note(site->store, "start", err);
}

static void
say_listening(const struct serving *v)
{
    AUTO(json_free) struct json *j = json_new();

    (void)fprintf(stderr, "listening on %s\n", v->address);
    if (!v->json)
        return;
    json_number(j, "schema", 1);
    json_text(j, "type", "listening");
    json_text(j, "address", v->address);
    json_print(stdout, j);
    (void)fflush(stdout);
}

static void
say_result(const struct serving *v)
{
    AUTO(json_free) struct json *j = json_new();

    if (!v->json)
        return;
    json_number(j, "schema", 1);
    json_text(j, "type", "result");
    json_number(j, "connections", (int64_t)v->site.served);
    json_number(j, "marks", (int64_t)v->site.marks);
    json_print(stdout, j);
}

/* Out of descriptors: those who wait in the backlog are taken when some are free again, not at full speed for nothing. */
static bool
take_one(struct serving *v)
{
    const int fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0) {
        session_start(&v->site, fd);
        return true;
    }
    const int code = errno;
    if (code != EMFILE && code != ENFILE && code != ENOBUFS && code != ENOMEM)
        return true;
    log_warn("could not accept a connection: %s", strerror(code));
    return false;
}

static void
accept_until_signal(struct serving *v)
{
    eventfd_t ignored;
    bool room = true;
    size_t open = 0;

    for (;;) {
        struct pollfd at[] = { { .fd = v->signal_fd, .events = POLLIN },
                               { .fd = v->site.wake_fd, .events = POLLIN },
                               { .fd = room ? v->listen_fd : -1, .events = POLLIN } };

        (void)poll(at, 3, open > 0 || !room ? TICK_MS : -1);
        room = true;
        if (at[0].revents != 0)
            return;
        (void)!eventfd_read(v->site.wake_fd, &ignored);
        if (at[2].revents != 0)
            room = take_one(v);
        open = session_reap(&v->site);
    }
}

static void
stop(struct serving *v)
{
    eventfd_t ignored;

    log_info("stopping");
    (void)close(v->listen_fd);
    v->listen_fd = -1;
    control_stop(&v->control);
    session_stop_all(&v->site);
    while (session_reap(&v->site) > 0) {
        struct pollfd at = { .fd = v->site.wake_fd, .events = POLLIN };

        (void)poll(&at, 1, TICK_MS);
        (void)!eventfd_read(v->site.wake_fd, &ignored);
    }
}

enum err_kind
site_serve(const struct serve_options *o, struct err *err)
{
    AUTO(serving_free) struct serving v = { .listen_fd = -1, .signal_fd = -1, .json = o->json };

    v.site.wake_fd = -1;
    (void)pthread_mutex_init(&v.site.lock, NULL);
    (void)pthread_mutex_init(&v.site.join_lock, NULL);
    enum err_kind kind = prepare(&v, o, err);
    if (kind != ERR_OK)
        return kind;
    say_listening(&v);
    accept_until_signal(&v);
    stop(&v);
    kind = note(v.site.store, "stop", err);
    /* A full disk keeps the event out of the ledger; the site has stopped all the same. */
    if (kind == ERR_FULL) {
        log_warn("the end of this run is not in the ledger: %s", err->text);
        kind = ERR_OK;
    }
    if (kind == ERR_OK)
        say_result(&v);
    return kind;
}
