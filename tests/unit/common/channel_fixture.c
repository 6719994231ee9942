#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/pki.h"
#include "tests/unit/common/channel_fixture.h"
#include "tests/unit/unit.h"

int fixture_dir = -1;
static void *dir_state;
struct digest fixture_print_a;
struct digest fixture_print_b;

static void
issue(const char *name, const struct pki_subject *subject, const char *ca)
{
    uint8_t point[PKI_POINT_BYTES];
    struct buf pem = { 0 };
    struct err err = { 0 };
    char ca_key[32], ca_crt[32], key[32], crt[32];

    (void)snprintf(ca_key, sizeof ca_key, "%s.key", ca);
    (void)snprintf(ca_crt, sizeof ca_crt, "%s.crt", ca);
    (void)snprintf(key, sizeof key, "%s.key", name);
    (void)snprintf(crt, sizeof crt, "%s.crt", name);
    enum err_kind kind = pki_key_make(fixture_dir, key, &err);
    if (kind == ERR_OK && subject == NULL)
        kind = pki_ca_make(fixture_dir, key, name, &pem, &err);
    else if (kind == ERR_OK && pki_key_point(fixture_dir, key, point, &err) == ERR_OK)
        kind = pki_issue(fixture_dir, ca_key, ca_crt, subject, point, &pem, &err);
    if (kind != ERR_OK)
        fail_msg("%s", err.text);
    const int fd = openat(fixture_dir, crt, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, pem.at, pem.size), (ssize_t)pem.size);
    (void)close(fd);
    if (subject == NULL)
        assert_int_equal(pki_fingerprint(pem.at, pem.size,
                                         strcmp(name, "ca-a") == 0 ? &fixture_print_a : &fixture_print_b,
                                         &err),
                         0);
    buf_free(&pem);
}

int
fixture_new(void **state)
{
    const struct pki_subject site = { "site", "127.0.0.1", 10, 1 };
    const struct pki_subject named = { "site", "localhost", 10, 1 };
    const struct pki_subject agent = { "agent", NULL, 10, 0 };

    if (unit_dir_new(state) != 0)
        return -1;
    dir_state = *state;
    fixture_dir = unit_dir_fd(state);
    issue("ca-a", NULL, "");
    issue("ca-b", NULL, "");
    issue("site", &site, "ca-a");
    issue("named", &named, "ca-a");
    issue("agent", &agent, "ca-a");
    issue("site-b", &site, "ca-b");
    issue("agent-b", &agent, "ca-b");
    return 0;
}

int
fixture_free(void **state)
{
    *state = dir_state;
    return unit_dir_free(state);
}

struct channel_context *
fixture_context(const char *name, const char *ca, int server)
{
    struct channel_identity id = { .dir_fd = fixture_dir, .ca = ca };
    struct channel_context *c = NULL;
    struct err err = { 0 };
    char key[32], crt[32];

    if (name != NULL) {
        (void)snprintf(key, sizeof key, "%s.key", name);
        (void)snprintf(crt, sizeof crt, "%s.crt", name);
        id.key = key;
        id.cert = crt;
    }
    if (channel_context_new(&id, server, &c, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return c;
}

struct channel_context *
fixture_context_of_print(const struct digest *print)
{
    const struct channel_identity id = { .dir_fd = fixture_dir, .ca_print = print };
    struct channel_context *c = NULL;

    assert_int_equal(channel_context_new(&id, 0, &c, NULL), ERR_OK);
    return c;
}

static void *
serve(void *arg)
{
    struct fixture *const s = arg;
    const int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

    s->kind = fd < 0 ? ERR_IO : channel_accept(s->c, fd, &s->ch, &s->err);
    return NULL;
}

void
fixture_start(struct fixture *s, const char *name)
{
    *s = (struct fixture){ .c = fixture_context(name, "ca-a.crt", 1), .kind = ERR_IO };
    assert_int_equal(channel_listen("127.0.0.1:0", &s->fd, s->address, &s->err), ERR_OK);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

void
fixture_join(struct fixture *s)
{
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    (void)close(s->fd);
}

void
fixture_end(struct fixture *s)
{
    channel_close(&s->ch);
    channel_context_free(&s->c);
}

struct channel *
fixture_pair(struct fixture *s)
{
    struct channel_context *c = fixture_context("agent", "ca-a.crt", 0);
    struct channel *ch = NULL;
    struct err err = { 0 };

    fixture_start(s, "site");
    if (channel_connect(c, s->address, &ch, &err) != ERR_OK)
        fail_msg("%s", err.text);
    fixture_join(s);
    assert_int_equal(s->kind, ERR_OK);
    channel_context_free(&c);
    return ch;
}
