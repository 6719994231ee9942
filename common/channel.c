#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/auto.h"
#include "common/channel_internal.h"
#include "common/channel_tcp.h"
#include "common/limits.h"
#include "common/mem.h"
#include "common/pem.h"

#define FINISH_MS_MAX 1000 /* for the peer to take the reason of a refusal */

struct channel {
    SSL *ssl; /* under lock */
    int fd;
    bool server;
    bool broken; /* under lock: nothing may be read or written any more */
    bool has_peer;
    struct digest peer;
    char address[CHANNEL_ADDRESS_ROOM];
    pthread_mutex_t lock; /* around each call into ssl, never while waiting */
    pthread_mutex_t turn; /* of the writers: a whole call each */
    atomic_bool cut;
    atomic_int stall_ms;
    atomic_uint_least64_t in;
    atomic_uint_least64_t out;
};

static void
cert_drop(X509 **cert)
{
    X509_free(*cert);
}

static enum err_kind
closed(struct err *err, int code, const char *why)
{
    (void)err_set(err, ERR_CLOSED, "%s", why);
    if (err != NULL)
        err->code = code;
    return ERR_CLOSED;
}

/* Why this side refused the peer's certificate. */
static const char *
refusal(const struct channel *ch, long result)
{
    if (result == X509_V_ERR_APPLICATION_VERIFICATION)
        return "it does not stand under the CA that the token names";
    if (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return "it names another host";
    if (result == X509_V_ERR_INVALID_PURPOSE)
        return ch->server ? "it is not one of an agent (clientAuth)" : "it is not one of a site (serverAuth)";
    return X509_verify_cert_error_string(result);
}

/* Turn a failed call into an error.  Nothing may follow on this SSL, except after a clean end. */
static enum err_kind
explain(struct channel *ch, int ssl_error, int code, struct err *err)
{
    const unsigned long first = ERR_peek_error();
    const int reason = ERR_GET_REASON(first);
    const long result = SSL_get_verify_result(ch->ssl);

    ch->broken = true;
    if (ssl_error == SSL_ERROR_ZERO_RETURN)
        return closed(err, 0, "the peer ended the connection");
    if (ssl_error == SSL_ERROR_SYSCALL)
        return closed(err, code == 0 ? ECONNRESET : code,
                      code == 0 ? "the connection was lost" : strerror(code));
    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ERR_clear_error();
        return closed(err, ECONNRESET, "the connection was lost");
    }
    if (result != X509_V_OK) {
        ERR_clear_error();
        return err_set(err, ERR_CRYPTO, "the certificate of %s was refused: %s", ch->address,
                       refusal(ch, result));
    }
    if (ERR_GET_LIB(first) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
        ERR_clear_error();
        return err_set(err, ERR_CRYPTO, "%s refused the connection or this side's certificate: %s",
                       ch->address, SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    }
    return pem_fail(err, "the TLS connection with %s failed", ch->address);
}

static struct channel *
channel_new(const struct channel_context *c, int fd)
{
    struct channel *const ch = mem_zero(1, sizeof *ch);

    ch->fd = fd;
    ch->server = c->server;
    atomic_init(&ch->cut, false);
    atomic_init(&ch->stall_ms, HANDSHAKE_MS_MAX);
    atomic_init(&ch->in, 0);
    atomic_init(&ch->out, 0);
    if (pthread_mutex_init(&ch->lock, NULL) != 0 || pthread_mutex_init(&ch->turn, NULL) != 0)
        abort();
    tcp_peer(fd, ch->address);
    return ch;
}

static void
channel_free(struct channel *ch)
{
    SSL_free(ch->ssl);
    (void)close(ch->fd);
    (void)pthread_mutex_destroy(&ch->lock);
    (void)pthread_mutex_destroy(&ch->turn);
    free(ch);
}

static enum err_kind
shake(struct channel *ch, int64_t deadline_ms, struct err *err)
{
    for (;;) {
        ERR_clear_error();
        errno = 0;
        const int n = SSL_do_handshake(ch->ssl);
        const int code = errno;

        if (n == 1)
            break;
        const int what = SSL_get_error(ch->ssl, n);
        if (what != SSL_ERROR_WANT_READ && what != SSL_ERROR_WANT_WRITE)
            return explain(ch, what, code, err);
        if (!tcp_wait(ch->fd, what == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ms))
            return closed(err, ETIMEDOUT, "the peer did not finish the handshake in time");
    }
    AUTO(cert_drop) X509 *cert = SSL_get1_peer_certificate(ch->ssl);
    if (cert != NULL) {
        if (channel_print(cert, &ch->peer) != 0)
            return pem_fail(err, "could not read the certificate of %s", ch->address);
        ch->has_peer = true;
    }
    return ERR_OK;
}

/* Shake hands and hand the channel out, or end it so that the peer learns why. */
static enum err_kind
start(struct channel *ch, int64_t deadline_ms, struct channel **ret, struct err *err)
{
    enum err_kind kind = ERR_OK;

    if (SSL_set_fd(ch->ssl, ch->fd) != 1)
        kind = pem_fail(err, "could not set up TLS 1.3");
    if (kind == ERR_OK)
        kind = shake(ch, deadline_ms, err);
    if (kind == ERR_OK) {
        *ret = ch;
        return ERR_OK;
    }
    if (kind == ERR_CRYPTO)
        tcp_finish(ch->fd, tcp_now_ms() + FINISH_MS_MAX);
    channel_free(ch);
    return kind;
}

static int
expect_host(SSL *ssl, char *host)
{
    X509_VERIFY_PARAM *const param = SSL_get0_param(ssl);

    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return 1;
    ERR_clear_error();
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

enum err_kind
channel_connect(struct channel_context *c, const char *address, struct channel **ret, struct err *err)
{
    const int64_t deadline_ms = tcp_now_ms() + HANDSHAKE_MS_MAX;
    char host[TCP_HOST_ROOM];
    char port[8];
    int fd = -1;
    enum err_kind kind = tcp_split(address, host, port, err);

    assert(!c->server);
    if (kind == ERR_OK)
        kind = tcp_connect(address, deadline_ms, &fd, err);
    if (kind != ERR_OK)
        return kind;
    struct channel *const ch = channel_new(c, fd);
    ERR_clear_error();
    ch->ssl = SSL_new(c->ssl);
    if (ch->ssl == NULL || !expect_host(ch->ssl, host)) {
        channel_free(ch);
        return pem_fail(err, "could not set up TLS 1.3 with %s", address);
    }
    SSL_set_connect_state(ch->ssl);
    kind = start(ch, deadline_ms, ret, err);
    return kind == ERR_OK ? ERR_OK : err_prefix(err, kind, "could not open a session with %s", address);
}

enum err_kind
channel_accept(struct channel_context *c, int fd, struct channel **ret, struct err *err)
{
    const int64_t deadline_ms = tcp_now_ms() + HANDSHAKE_MS_MAX;
    struct channel *const ch = channel_new(c, fd);
    const enum err_kind kind = tcp_setup(fd, err);

    assert(c->server);
    if (kind != ERR_OK) {
        channel_free(ch);
        return kind;
    }
    ERR_clear_error();
    ch->ssl = SSL_new(c->ssl);
    if (ch->ssl == NULL) {
        channel_free(ch);
        return pem_fail(err, "could not set up TLS 1.3");
    }
    SSL_set_accept_state(ch->ssl);
    return start(ch, deadline_ms, ret, err);
}

int
channel_peer(const struct channel *ch, struct digest *ret)
{
    if (ch->has_peer)
        *ret = ch->peer;
    return ch->has_peer;
}

const char *
channel_peer_address(const struct channel *ch)
{
    return ch->address;
}

void
channel_stall(struct channel *ch, int stall_ms_max)
{
    atomic_store(&ch->stall_ms, stall_ms_max);
}

static int64_t
stall_deadline(const struct channel *ch)
{
    const int stall_ms = atomic_load(&ch->stall_ms);

    return stall_ms < 0 ? -1 : tcp_now_ms() + stall_ms;
}

/* One try under the lock.  ERR_OK with *ret_moved 0: wait for *ret_events. */
struct attempt {
    void *in;        /* read into, or NULL */
    const void *out; /* write from */
    size_t size;
};
static enum err_kind
attempt(struct channel *ch, const struct attempt *a, size_t *ret_moved, short *ret_events, struct err *err)
{
    enum err_kind kind = ERR_OK;
    size_t n = 0;

    if (pthread_mutex_lock(&ch->lock) != 0)
        abort();
    if (atomic_load(&ch->cut)) {
        kind = closed(err, ECANCELED, "the connection was cut");
    } else if (ch->broken) {
        kind = closed(err, EPIPE, "the connection has ended");
    } else {
        ERR_clear_error();
        errno = 0;
        const int rc = a->in != NULL ? SSL_read_ex(ch->ssl, a->in, a->size, &n)
                                     : SSL_write_ex(ch->ssl, a->out, a->size, &n);
        const int code = errno;
        const int what = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(ch->ssl, rc);

        if (what == SSL_ERROR_WANT_READ)
            *ret_events = POLLIN;
        else if (what == SSL_ERROR_WANT_WRITE)
            *ret_events = POLLOUT;
        else if (what != SSL_ERROR_NONE)
            kind = explain(ch, what, code, err);
    }
    if (kind != ERR_OK && atomic_load(&ch->cut))
        kind = closed(err, ECANCELED, "the connection was cut");
    if (pthread_mutex_unlock(&ch->lock) != 0)
        abort();
    *ret_moved = n;
    return kind;
}

/* After half a message nobody knows any more where the next one begins. */
static void
spoil(struct channel *ch)
{
    if (pthread_mutex_lock(&ch->lock) != 0)
        abort();
    ch->broken = true;
    if (pthread_mutex_unlock(&ch->lock) != 0)
        abort();
}

enum err_kind
channel_read(struct channel *ch, void *ret_bytes, size_t size, struct err *err)
{
    uint8_t *const at = ret_bytes;
    int64_t deadline_ms = stall_deadline(ch);
    size_t done = 0;

    while (done < size) {
        const struct attempt a = { .in = at + done, .size = size - done };
        short events = 0;
        size_t n = 0;
        const enum err_kind kind = attempt(ch, &a, &n, &events, err);

        if (kind != ERR_OK) {
            /* A message that ends in its middle is not a clean end, however politely it was closed. */
            if (err != NULL && kind == ERR_CLOSED && err->code == 0 && done > 0)
                return closed(err, ECONNRESET, "the peer ended the connection in the middle of a message");
            return kind;
        }
        if (n > 0) {
            done += n;
            (void)atomic_fetch_add(&ch->in, n);
            deadline_ms = stall_deadline(ch);
        } else if (!tcp_wait(ch->fd, events, deadline_ms)) {
            if (done > 0)
                spoil(ch);
            return closed(err, ETIMEDOUT, "the peer sent nothing for too long");
        }
    }
    return ERR_OK;
}

enum err_kind
channel_write(struct channel *ch, const void *bytes, size_t size, struct err *err)
{
    const uint8_t *const at = bytes;
    enum err_kind kind = ERR_OK;
    size_t done = 0;

    if (pthread_mutex_lock(&ch->turn) != 0)
        abort();
    int64_t deadline_ms = stall_deadline(ch);
    while (done < size && kind == ERR_OK) {
        const struct attempt a = { .out = at + done, .size = size - done };
        short events = 0;
        size_t n = 0;

        kind = attempt(ch, &a, &n, &events, err);
        if (kind == ERR_OK && n > 0) {
            done += n;
            (void)atomic_fetch_add(&ch->out, n);
            deadline_ms = stall_deadline(ch);
        } else if (kind == ERR_OK && !tcp_wait(ch->fd, events, deadline_ms)) {
            spoil(ch);
            kind = closed(err, ETIMEDOUT, "the peer took nothing for too long");
        }
    }
    if (pthread_mutex_unlock(&ch->turn) != 0)
        abort();
    return kind;
}

void
channel_cut(struct channel *ch)
{
    atomic_store(&ch->cut, true);
    (void)shutdown(ch->fd, SHUT_RDWR);
}

void
channel_close(struct channel **ch)
{
    if (*ch == NULL)
        return;
    if (!(*ch)->broken && !atomic_load(&(*ch)->cut)) {
        ERR_clear_error();
        (void)SSL_shutdown((*ch)->ssl);
        ERR_clear_error();
    }
    /* Without waiting: what has come is read away, so that the close is no reset. */
    tcp_finish((*ch)->fd, 0);
    channel_free(*ch);
    *ch = NULL;
}

uint64_t
channel_bytes_in(const struct channel *ch)
{
    return atomic_load(&ch->in);
}

uint64_t
channel_bytes_out(const struct channel *ch)
{
    return atomic_load(&ch->out);
}
