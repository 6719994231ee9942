/* Goal: only the right peer is trusted, and who is refused learns why.  Method: each wrong certificate, host, print and
 * version of TLS against a server over loopback. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "common/pki.h"
#include "tests/unit/common/channel_fixture.h"
#include "tests/unit/unit.h"

static void
who_has_no_certificate_is_let_in_and_known_as_such(void **state)
{
    struct channel_context *c = fixture_context(NULL, "ca-a.crt", 0);
    struct channel *ch = NULL;
    struct digest print;
    struct fixture s;

    (void)state;
    fixture_start(&s, "site");
    assert_int_equal(channel_connect(c, s.address, &ch, NULL), ERR_OK);
    fixture_join(&s);
    assert_int_equal(s.kind, ERR_OK);
    assert_int_equal(channel_peer(s.ch, &print), 0);
    assert_int_equal(channel_write(s.ch, "x", 1, NULL), ERR_OK);
    channel_close(&ch);
    channel_context_free(&c);
    fixture_end(&s);
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
        struct channel_context *c = fixture_context(cases[i].client, cases[i].ca, 0);
        struct channel *ch = NULL;
        struct err err = { 0 };
        struct fixture s;
        char byte;

        fixture_start(&s, cases[i].server);
        enum err_kind kind = channel_connect(c, s.address, &ch, &err);
        /* In TLS 1.3 a client learns of its refusal only when it reads. */
        if (kind == ERR_OK) {
            assert_int_equal(channel_write(ch, "hello", 5, NULL), ERR_OK);
            kind = channel_read(ch, &byte, 1, &err);
        }
        fixture_join(&s);
        if (kind != ERR_CRYPTO || strstr(err.text, cases[i].why_client) == NULL)
            fail_msg("case %zu, client: kind %d, %s", i, kind, err.text);
        if (s.kind != ERR_CRYPTO || strstr(s.err.text, cases[i].why_server) == NULL)
            fail_msg("case %zu, server: kind %d, %s", i, s.kind, s.err.text);
        channel_close(&ch);
        channel_context_free(&c);
        fixture_end(&s);
    }
}

static void
a_joining_agent_trusts_the_print_of_the_ca_alone(void **state)
{
    static const struct {
        const char *server;
        const struct digest *print;
        const char *why; /* NULL: trusted */
    } cases[] = { { "site", &fixture_print_a, NULL },
                  { "site", &fixture_print_b, "it does not stand under the CA that the token names" },
                  { "site-b", &fixture_print_a, "refused" }, /* sends ca-a beside a certificate of ca-b */
                  { "named", &fixture_print_a, "it names another host" },
                  { "agent", &fixture_print_a, "serverAuth" } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct channel_context *c = fixture_context_of_print(cases[i].print);
        struct channel *ch = NULL;
        struct err err = { 0 };
        struct fixture s;

        fixture_start(&s, cases[i].server);
        const enum err_kind kind = channel_connect(c, s.address, &ch, &err);
        fixture_join(&s);
        if (cases[i].why == NULL ? kind != ERR_OK
                                 : kind != ERR_CRYPTO || strstr(err.text, cases[i].why) == NULL)
            fail_msg("case %zu: kind %d, %s", i, kind, err.text);
        channel_close(&ch);
        channel_context_free(&c);
        fixture_end(&s);
    }
}

/* The print of the leaf itself is no CA's. */
static void
the_print_of_a_leaf_is_no_anchor(void **state)
{
    struct channel *ch = NULL;
    struct err err = { 0 };
    struct digest leaf;
    struct fixture s;
    char pem[4000];

    (void)state;
    unit_read(fixture_dir, "site.crt", pem, sizeof pem);
    assert_int_equal(pki_fingerprint(pem, strlen(pem), &leaf, NULL), ERR_OK);
    struct channel_context *c = fixture_context_of_print(&leaf);
    fixture_start(&s, "site");
    assert_int_equal(channel_connect(c, s.address, &ch, &err), ERR_CRYPTO);
    fixture_join(&s);
    channel_context_free(&c);
    fixture_end(&s);
}

static void
a_host_is_found_by_its_name(void **state)
{
    struct channel_context *c = fixture_context("agent", "ca-a.crt", 0);
    char address[CHANNEL_ADDRESS_ROOM];
    struct channel *ch = NULL;
    struct err err = { 0 };
    struct fixture s;

    (void)state;
    fixture_start(&s, "named");
    (void)snprintf(address, sizeof address, "localhost%s", strchr(s.address, ':'));
    const enum err_kind kind = channel_connect(c, address, &ch, &err);
    fixture_join(&s);
    if (kind != ERR_OK)
        fail_msg("%s", err.text);
    channel_close(&ch);
    channel_context_free(&c);
    fixture_end(&s);
}

/* A client of our own that offers no more than TLS 1.2. */
static void
older_tls_is_refused(void **state)
{
    SSL_CTX *const ctx = SSL_CTX_new(TLS_client_method());
    struct fixture s;
    struct err err;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage at;
    socklen_t length = sizeof at;

    (void)state;
    fixture_start(&s, "site");
    assert_int_equal(getsockname(s.fd, (struct sockaddr *)&at, &length), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, length), 0);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION), 1);
    SSL *const ssl = SSL_new(ctx);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    assert_int_not_equal(SSL_connect(ssl), 1);
    (void)close(fd);
    fixture_join(&s);
    err = s.err;
    assert_int_equal(s.kind, ERR_CRYPTO);
    assert_non_null(strstr(err.text, "unsupported protocol"));
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    fixture_end(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_no_certificate_is_let_in_and_known_as_such),
        cmocka_unit_test(a_bad_certificate_is_refused_and_the_reason_told),
        cmocka_unit_test(a_joining_agent_trusts_the_print_of_the_ca_alone),
        cmocka_unit_test(the_print_of_a_leaf_is_no_anchor),
        cmocka_unit_test(a_host_is_found_by_its_name),
        cmocka_unit_test(older_tls_is_refused),
    };

    return cmocka_run_group_tests_name("common/channel_context", tests, fixture_new, fixture_free);
}
