/* Goal: both sides are who they say, what is written arrives whole and in order, and every way in which a connection can end
 * is told apart.  Method: a server thread over loopback, certificates of two CAs, a plain socket as the rude peer.  The
 * traffic test (one reader and two writers a side) runs under TSan too. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "common/bytes.h"
#include "common/channel.h"
#include "common/limits.h"
#include "common/pki.h"
#include "tests/unit/unit.h"

static int dir_fd = -1;
static void *dir_state;
static struct digest print_a, print_b;

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
    enum err_kind kind = pki_key_make(dir_fd, key, &err);
    if (kind == ERR_OK && subject == NULL)
        kind = pki_ca_make(dir_fd, key, name, &pem, &err);
    else if (kind == ERR_OK && pki_key_point(dir_fd, key, point, &err) == ERR_OK)
        kind = pki_issue(dir_fd, ca_key, ca_crt, subject, point, &pem, &err);
    if (kind != ERR_OK)
        fail_msg("%s", err.text);
    const int fd = openat(dir_fd, crt, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, pem.at, pem.size), (ssize_t)pem.size);
    (void)close(fd);
    if (subject == NULL)
        assert_int_equal(
            pki_fingerprint(pem.at, pem.size, strcmp(name, "ca-a") == 0 ? &print_a : &print_b, &err), 0);
    buf_free(&pem);
}

static int
identities_make(void **state)
{
    const struct pki_subject site = { "site", "127.0.0.1", 10, 1 };
    const struct pki_subject named = { "site", "localhost", 10, 1 };
    const struct pki_subject agent = { "agent", NULL, 10, 0 };

    if (unit_dir_new(state) != 0)
        return -1;
    dir_state = *state;
    dir_fd = unit_dir_fd(state);
    issue("ca-a", NULL, "");
    issue("ca-b", NULL, "");
    issue("site", &site, "ca-a");
    issue("named", &named, "ca-a");
    issue("agent", &agent, "ca-a");
    issue("site-b", &site, "ca-b");
    issue("agent-b", &agent, "ca-b");
    return 0;
}

static int
identities_free(void **state)
{
    *state = dir_state;
    return unit_dir_free(state);
}

static struct channel_context *
context(const char *name, const char *ca, int server)
{
    struct channel_identity id = { .dir_fd = dir_fd, .ca = ca };
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

static struct channel_context *
context_of_print(const struct digest *print)
{
    const struct channel_identity id = { .dir_fd = dir_fd, .ca_print = print };
    struct channel_context *c = NULL;

    assert_int_equal(channel_context_new(&id, 0, &c, NULL), ERR_OK);
    return c;
}

/* A server that accepts one connection in a thread of its own. */
struct server {
    struct channel_context *c;
    struct channel *ch;
    struct err err;
    enum err_kind kind;
    int fd;
    pthread_t thread;
    char address[CHANNEL_ADDRESS_ROOM];
};

static void *
serve(void *arg)
{
    struct server *const s = arg;
    const int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

    s->kind = fd < 0 ? ERR_IO : channel_accept(s->c, fd, &s->ch, &s->err);
    return NULL;
}

static void
server_start(struct server *s, const char *name)
{
    *s = (struct server){ .c = context(name, "ca-a.crt", 1), .kind = ERR_IO };
    assert_int_equal(channel_listen("127.0.0.1:0", &s->fd, s->address, &s->err), ERR_OK);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void
server_join(struct server *s)
{
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    (void)close(s->fd);
}

static void
server_end(struct server *s)
{
    channel_close(&s->ch);
    channel_context_free(&s->c);
}

/* Both ends of a good connection. */
static struct channel *
pair(struct server *s)
{
    struct channel_context *c = context("agent", "ca-a.crt", 0);
    struct channel *ch = NULL;
    struct err err = { 0 };

    server_start(s, "site");
    if (channel_connect(c, s->address, &ch, &err) != ERR_OK)
        fail_msg("%s", err.text);
    server_join(s);
    assert_int_equal(s->kind, ERR_OK);
    channel_context_free(&c);
    return ch;
}

static void
each_side_knows_the_other(void **state)
{
    struct server s;
    struct channel *ch = pair(&s);
    struct digest print, wanted;
    char pem[4000], back[6] = "";

    (void)state;
    unit_read(dir_fd, "agent.crt", pem, sizeof pem);
    assert_int_equal(pki_fingerprint(pem, strlen(pem), &wanted, NULL), ERR_OK);
    assert_int_equal(channel_peer(s.ch, &print), 1);
    assert_true(hash_same(&print, &wanted));
    unit_read(dir_fd, "site.crt", pem, sizeof pem);
    assert_int_equal(pki_fingerprint(pem, strlen(pem), &wanted, NULL), ERR_OK);
    assert_int_equal(channel_peer(ch, &print), 1);
    assert_true(hash_same(&print, &wanted));
    assert_string_equal(channel_peer_address(ch), s.address);
    assert_memory_equal(channel_peer_address(s.ch), "127.0.0.1:", 10);
    assert_int_equal(channel_write(ch, "hello", 5, NULL), ERR_OK);
    assert_int_equal(channel_read(s.ch, back, 2, NULL), ERR_OK);
    assert_int_equal(channel_read(s.ch, back + 2, 3, NULL), ERR_OK);
    assert_string_equal(back, "hello");
    assert_int_equal(channel_bytes_out(ch), 5);
    assert_int_equal(channel_bytes_in(s.ch), 5);
    assert_int_equal(channel_write(s.ch, NULL, 0, NULL), ERR_OK);
    channel_close(&ch);
    assert_null(ch);
    channel_close(&ch);
    server_end(&s);
}

static void
who_has_no_certificate_is_let_in_and_known_as_such(void **state)
{
    struct channel_context *c = context(NULL, "ca-a.crt", 0);
    struct channel *ch = NULL;
    struct digest print;
    struct server s;

    (void)state;
    server_start(&s, "site");
    assert_int_equal(channel_connect(c, s.address, &ch, NULL), ERR_OK);
    server_join(&s);
    assert_int_equal(s.kind, ERR_OK);
    assert_int_equal(channel_peer(s.ch, &print), 0);
    assert_int_equal(channel_write(s.ch, "x", 1, NULL), ERR_OK);
    channel_close(&ch);
    channel_context_free(&c);
    server_end(&s);
}

static void
a_bad_certificate_is_refused_and_the_reason_told(void **state)
{
    static const struct {
        const char *server;
        const char *client; /* NULL: none */
        const char *ca;     /* of the client; NULL: by the print of ca-a */
        const char *why_client;
        const char *why_server; /* NULL: the server lets it in */
    } cases[] = {
        { "site", "agent-b", "ca-a.crt", "refused the connection or this side's certificate: unknown CA",
          "the certificate of" },
        { "site", "named", "ca-a.crt",
          "refused the connection or this side's certificate: unsupported certificate",
          "not one of an agent (clientAuth)" },
        { "site-b", "agent", "ca-a.crt", "the certificate of", "unknown CA" },
        { "named", "agent", "ca-a.crt", "it names another host", "bad certificate" },
        { "agent", "agent", "ca-a.crt", "not one of a site (serverAuth)", "unsupported certificate" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct channel_context *c = context(cases[i].client, cases[i].ca, 0);
        struct channel *ch = NULL;
        struct err err = { 0 };
        struct server s;
        char byte;

        server_start(&s, cases[i].server);
        enum err_kind kind = channel_connect(c, s.address, &ch, &err);
        /* In TLS 1.3 a client learns of its refusal only when it reads. */
        if (kind == ERR_OK) {
            assert_int_equal(channel_write(ch, "hello", 5, NULL), ERR_OK);
            kind = channel_read(ch, &byte, 1, &err);
        }
        server_join(&s);
        if (kind != ERR_CRYPTO || strstr(err.text, cases[i].why_client) == NULL)
            fail_msg("case %zu, client: kind %d, %s", i, kind, err.text);
        if (s.kind != ERR_CRYPTO || strstr(s.err.text, cases[i].why_server) == NULL)
            fail_msg("case %zu, server: kind %d, %s", i, s.kind, s.err.text);
        channel_close(&ch);
        channel_context_free(&c);
        server_end(&s);
    }
}

static void
a_joining_agent_trusts_the_print_of_the_ca_alone(void **state)
{
    static const struct {
        const char *server;
        const struct digest *print;
        const char *why; /* NULL: trusted */
    } cases[] = { { "site", &print_a, NULL },
                  { "site", &print_b, "it does not stand under the CA that the token names" },
                  { "site-b", &print_a, "refused" }, /* sends ca-a beside a certificate of ca-b */
                  { "named", &print_a, "it names another host" },
                  { "agent", &print_a, "serverAuth" } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct channel_context *c = context_of_print(cases[i].print);
        struct channel *ch = NULL;
        struct err err = { 0 };
        struct server s;

        server_start(&s, cases[i].server);
        const enum err_kind kind = channel_connect(c, s.address, &ch, &err);
        server_join(&s);
        if (cases[i].why == NULL ? kind != ERR_OK
                                 : kind != ERR_CRYPTO || strstr(err.text, cases[i].why) == NULL)
            fail_msg("case %zu: kind %d, %s", i, kind, err.text);
        channel_close(&ch);
        channel_context_free(&c);
        server_end(&s);
    }
}

/* The print of the leaf itself is no CA's. */
static void
the_print_of_a_leaf_is_no_anchor(void **state)
{
    struct channel *ch = NULL;
    struct err err = { 0 };
    struct digest leaf;
    struct server s;
    char pem[4000];

    (void)state;
    unit_read(dir_fd, "site.crt", pem, sizeof pem);
    assert_int_equal(pki_fingerprint(pem, strlen(pem), &leaf, NULL), ERR_OK);
    struct channel_context *c = context_of_print(&leaf);
    server_start(&s, "site");
    assert_int_equal(channel_connect(c, s.address, &ch, &err), ERR_CRYPTO);
    server_join(&s);
    channel_context_free(&c);
    server_end(&s);
}

static void
a_host_is_found_by_its_name(void **state)
{
    struct channel_context *c = context("agent", "ca-a.crt", 0);
    char address[CHANNEL_ADDRESS_ROOM];
    struct channel *ch = NULL;
    struct err err = { 0 };
    struct server s;

    (void)state;
    server_start(&s, "named");
    (void)snprintf(address, sizeof address, "localhost%s", strchr(s.address, ':'));
    const enum err_kind kind = channel_connect(c, address, &ch, &err);
    server_join(&s);
    if (kind != ERR_OK)
        fail_msg("%s", err.text);
    channel_close(&ch);
    channel_context_free(&c);
    server_end(&s);
}

static void
bad_addresses_are_told_from_hosts_that_do_not_answer(void **state)
{
    static const char *const bad[] = { "",       "host",        "host:", ":1",  "::1:1",
                                       "host:x", "host:123456", "[::1]", "[]:1" };
    struct channel_context *c = context("agent", "ca-a.crt", 0);
    char address[CHANNEL_ADDRESS_ROOM];
    struct channel *ch = NULL;
    struct err err = { 0 };
    int fd = -1, second = -1;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(channel_connect(c, bad[i], &ch, &err), ERR_CONFIG);
        assert_int_equal(channel_listen(bad[i], &fd, address, &err), ERR_CONFIG);
    }
    assert_int_equal(channel_listen("127.0.0.1:0", &fd, address, &err), ERR_OK);
    assert_int_equal(channel_listen(address, &second, address, &err), ERR_IO);
    assert_int_equal(err.code, EADDRINUSE);
    (void)close(fd);
    assert_int_equal(channel_connect(c, address, &ch, &err), ERR_CLOSED);
    assert_int_equal(err.code, ECONNREFUSED);
    channel_context_free(&c);
}

static void
the_ways_to_end_are_told_apart(void **state)
{
    struct server s;
    struct err err = { 0 };
    char bytes[4];

    (void)state;
    /* Politely, before the first byte of a message. */
    struct channel *ch = pair(&s);
    assert_int_equal(channel_write(s.ch, "last", 4, NULL), ERR_OK);
    channel_close(&s.ch);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_OK);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_equal(err.code, 0);
    assert_int_equal(channel_write(ch, "x", 1, &err), ERR_CLOSED);
    channel_close(&ch);
    server_end(&s);
    /* Politely, in the middle of one. */
    ch = pair(&s);
    assert_int_equal(channel_write(s.ch, "la", 2, NULL), ERR_OK);
    channel_close(&s.ch);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_not_equal(err.code, 0);
    channel_close(&ch);
    server_end(&s);
    /* Without close_notify: somebody cut the wire. */
    ch = pair(&s);
    channel_cut(s.ch);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_not_equal(err.code, 0);
    assert_int_equal(channel_read(s.ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_equal(channel_write(s.ch, bytes, 4, &err), ERR_CLOSED);
    channel_close(&ch);
    server_end(&s);
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
a_peer_that_stalls_is_given_up(void **state)
{
    struct server s;
    struct channel *ch = pair(&s);
    struct err err = { 0 };
    static uint8_t much[8 * MIB];
    char byte;

    (void)state;
    channel_stall(ch, 50);
    int64_t from = now_ms();
    assert_int_equal(channel_read(ch, &byte, 1, &err), ERR_CLOSED);
    assert_int_equal(err.code, ETIMEDOUT);
    assert_true(now_ms() - from >= 49);
    /* Nothing of a message was lost, so the channel is as good as before. */
    assert_int_equal(channel_write(s.ch, "x", 1, NULL), ERR_OK);
    assert_int_equal(channel_read(ch, &byte, 1, &err), ERR_OK);
    from = now_ms();
    assert_int_equal(channel_write(ch, much, sizeof much, &err), ERR_CLOSED);
    assert_int_equal(err.code, ETIMEDOUT);
    assert_true(now_ms() - from >= 49);
    assert_int_equal(channel_write(ch, "x", 1, &err), ERR_CLOSED);
    channel_close(&ch);
    server_end(&s);
}

static void *
read_until_closed(void *arg)
{
    static __thread char byte;
    struct err *const err = calloc(1, sizeof *err);

    while (channel_read(arg, &byte, 1, err) == ERR_OK)
        continue;
    return err;
}

static void *
write_until_closed(void *arg)
{
    static const uint8_t zeros[64 * KIB];
    struct err *const err = calloc(1, sizeof *err);

    while (channel_write(arg, zeros, sizeof zeros, err) == ERR_OK)
        continue;
    return err;
}

static void
a_cut_wakes_reader_and_writer(void **state)
{
    struct server s;
    struct channel *ch = pair(&s);
    pthread_t threads[2];
    uint64_t before = 0;

    (void)state;
    channel_stall(ch, -1);
    assert_int_equal(pthread_create(&threads[0], NULL, read_until_closed, ch), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, write_until_closed, ch), 0);
    /* The writer has begun, and the peer reads nothing: sooner or later it waits. */
    while (before == 0)
        before = channel_bytes_out(ch);
    channel_cut(ch);
    for (size_t i = 0; i < 2; i++) {
        void *err = NULL;

        assert_int_equal(pthread_join(threads[i], &err), 0);
        assert_int_equal(((const struct err *)err)->kind, ERR_CLOSED);
        assert_int_equal(((const struct err *)err)->code, ECANCELED);
        free(err);
    }
    channel_close(&ch);
    server_end(&s);
}

/* Messages: writer, number, size, then bytes that follow from them. */
#define MESSAGES 400u
#define MESSAGE_MAX 50000u
struct flow {
    struct channel *ch;
    uint8_t writer;
    unsigned bad;
};

static size_t
message_make(uint8_t *at, uint8_t writer, uint32_t number)
{
    const uint32_t size = number * 7919u % MESSAGE_MAX;

    at[0] = writer;
    le32_put(at + 1, number);
    le32_put(at + 5, size);
    memset(at + 9, (int)(writer + number), size);
    return 9 + size;
}

static void *
write_messages(void *arg)
{
    struct flow *const f = arg;
    uint8_t *const at = malloc(9 + MESSAGE_MAX);

    for (uint32_t n = 0; n < MESSAGES; n++) {
        const size_t size = message_make(at, f->writer, n);

        if (channel_write(f->ch, at, size, NULL) != ERR_OK)
            f->bad++;
    }
    free(at);
    return NULL;
}

static void *
read_messages(void *arg)
{
    struct flow *const f = arg;
    uint8_t *const got = malloc(9 + MESSAGE_MAX);
    uint8_t *const wanted = malloc(9 + MESSAGE_MAX);
    uint32_t next[2] = { 0, 0 };

    for (unsigned n = 0; n < 2 * MESSAGES && f->bad == 0; n++) {
        if (channel_read(f->ch, got, 9, NULL) != ERR_OK || got[0] > 1 || le32_get(got + 5) >= MESSAGE_MAX ||
            channel_read(f->ch, got + 9, le32_get(got + 5), NULL) != ERR_OK) {
            f->bad++;
            break;
        }
        const size_t size = message_make(wanted, got[0], next[got[0]]++);
        if (memcmp(got, wanted, size) != 0)
            f->bad++;
    }
    free(got);
    free(wanted);
    return NULL;
}

static void
two_writers_and_a_reader_at_each_end_lose_and_mix_nothing(void **state)
{
    struct server s;
    struct channel *ch = pair(&s);
    struct flow flows[6];
    pthread_t threads[6];

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        flows[i] = (struct flow){ i % 2 ? ch : s.ch, (uint8_t)(i / 2 - (i >= 4 ? 2 : 0)), 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, i < 4 ? write_messages : read_messages, &flows[i]),
                         0);
    }
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(flows[i].bad, 0);
    }
    assert_int_equal(channel_bytes_in(ch), channel_bytes_out(s.ch));
    assert_int_equal(channel_bytes_out(ch), channel_bytes_in(s.ch));
    channel_close(&ch);
    server_end(&s);
}

/* A plain socket that speaks no TLS, or ends at once. */
static void
a_peer_that_speaks_no_tls_is_refused(void **state)
{
    static const char *const words[] = { "", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                         "\x16\x03\x01\x02" };

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct channel_context *c = context("site", "ca-a.crt", 1);
        struct channel *ch = NULL;
        struct err err = { 0 };
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(write(fds[1], words[i], strlen(words[i])), (ssize_t)strlen(words[i]));
        assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
        assert_int_equal(channel_accept(c, fds[0], &ch, &err), i == 1 ? ERR_CRYPTO : ERR_CLOSED);
        assert_null(ch);
        assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* taken, also on error */
        (void)close(fds[1]);
        channel_context_free(&c);
    }
}

/* A client of our own that offers no more than TLS 1.2. */
static void
older_tls_is_refused(void **state)
{
    SSL_CTX *const ctx = SSL_CTX_new(TLS_client_method());
    struct server s;
    struct err err;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage at;
    socklen_t length = sizeof at;

    (void)state;
    server_start(&s, "site");
    assert_int_equal(getsockname(s.fd, (struct sockaddr *)&at, &length), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, length), 0);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION), 1);
    SSL *const ssl = SSL_new(ctx);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_not_equal(SSL_connect(ssl), 1);
    (void)close(fd);
    server_join(&s);
    err = s.err;
    assert_int_equal(s.kind, ERR_CRYPTO);
    assert_non_null(strstr(err.text, "unsupported protocol"));
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    server_end(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_side_knows_the_other),
        cmocka_unit_test(who_has_no_certificate_is_let_in_and_known_as_such),
        cmocka_unit_test(a_bad_certificate_is_refused_and_the_reason_told),
        cmocka_unit_test(a_joining_agent_trusts_the_print_of_the_ca_alone),
        cmocka_unit_test(the_print_of_a_leaf_is_no_anchor),
        cmocka_unit_test(a_host_is_found_by_its_name),
        cmocka_unit_test(bad_addresses_are_told_from_hosts_that_do_not_answer),
        cmocka_unit_test(the_ways_to_end_are_told_apart),
        cmocka_unit_test(a_peer_that_stalls_is_given_up),
        cmocka_unit_test(a_cut_wakes_reader_and_writer),
        cmocka_unit_test(two_writers_and_a_reader_at_each_end_lose_and_mix_nothing),
        cmocka_unit_test(a_peer_that_speaks_no_tls_is_refused),
        cmocka_unit_test(older_tls_is_refused),
    };

    return cmocka_run_group_tests_name("common/channel", tests, identities_make, identities_free);
}
