#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/channel_tcp.h"
#include "common/limits.h"

#define BACKLOG 128
#define KEEP_IDLE_S 20
#define KEEP_EACH_S 10
#define KEEP_COUNT 4
#define FINISH_BYTES_MAX (4u * MIB) /* read away at most so much of a peer that does not stop */

int64_t
tcp_now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

enum err_kind
tcp_split(const char *address, char ret_host[TCP_HOST_ROOM], char ret_port[8], struct err *err)
{
    const char *const colon = strrchr(address, ':');
    const char *host = address;
    size_t length = colon == NULL ? 0 : (size_t)(colon - address);
    const size_t port_length = colon == NULL ? 0 : strlen(colon + 1);

    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    } else if (memchr(host, ':', length) != NULL) {
        length = 0; /* an IPv6 address without brackets: where it ends is anybody's guess */
    }
    if (length == 0 || length >= TCP_HOST_ROOM || port_length == 0 || port_length > 5 ||
        strspn(colon + 1, "0123456789") != port_length)
        return err_set(err, ERR_CONFIG, "\"%s\" is not an address of the form HOST:PORT or [IPV6]:PORT",
                       address);
    memcpy(ret_host, host, length);
    ret_host[length] = '\0';
    memcpy(ret_port, colon + 1, port_length + 1);
    return ERR_OK;
}

/* ERR_CLOSED with errno's text and number. */
static enum err_kind
unreachable(struct err *err, const char *address, int code)
{
    (void)err_set(err, ERR_CLOSED, "could not connect to %s: %s", address, strerror(code));
    if (err != NULL)
        err->code = code;
    return ERR_CLOSED;
}

enum err_kind
tcp_setup(int fd, struct err *err)
{
    const struct {
        int level;
        int name;
        int value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S },
        { IPPROTO_TCP, TCP_KEEPINTVL, KEEP_EACH_S },
        { IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, SESSION_STALL_MS_MAX },
    };
    struct sockaddr_storage name;
    socklen_t length = sizeof name;

    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &length) != 0)
        return err_errno(err, "could not set up a connection");
    /* A socketpair has none of these; the tests use one. */
    if (name.ss_family != AF_INET && name.ss_family != AF_INET6)
        return ERR_OK;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value) !=
            0)
            return err_errno(err, "could not set up a connection");
    }
    return ERR_OK;
}

int
tcp_wait(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd p = { .fd = fd, .events = events };
        int64_t left = -1;

        if (deadline_ms >= 0) {
            left = deadline_ms - tcp_now_ms();
            if (left < 0)
                left = 0;
        }
        const int n = poll(&p, 1, left > 1000000 ? 1000000 : (int)left);
        /* Any trouble of the socket shows again, and by name, at the next read or write. */
        if (n > 0 || (n < 0 && errno != EINTR))
            return 1;
        if (n == 0 && deadline_ms >= 0 && tcp_now_ms() >= deadline_ms)
            return 0;
    }
}

static int
connect_one(const struct addrinfo *at, int64_t deadline_ms, int *ret_fd)
{
    AUTO(auto_close) int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int code = 0;
    socklen_t length = sizeof code;

    if (fd < 0)
        return errno;
    if (connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
        if (errno != EINPROGRESS && errno != EINTR)
            return errno;
        if (!tcp_wait(fd, POLLOUT, deadline_ms))
            return ETIMEDOUT;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0)
            return errno;
    }
    if (code == 0) {
        *ret_fd = fd;
        fd = -1;
    }
    return code;
}

enum err_kind
tcp_connect(const char *address, int64_t deadline_ms, int *ret_fd, struct err *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    char host[TCP_HOST_ROOM];
    char port[8];
    int code = EHOSTUNREACH;
    int fd = -1;
    enum err_kind kind = tcp_split(address, host, port, err);

    if (kind != ERR_OK)
        return kind;
    const int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        (void)err_set(err, ERR_CLOSED, "could not find the host of %s: %s", address, gai_strerror(rc));
        if (err != NULL)
            err->code = EHOSTUNREACH;
        return ERR_CLOSED;
    }
    for (const struct addrinfo *at = list; at != NULL && code != 0; at = at->ai_next)
        code = connect_one(at, deadline_ms, &fd);
    freeaddrinfo(list);
    if (code != 0)
        return unreachable(err, address, code);
    kind = tcp_setup(fd, err);
    if (kind != ERR_OK) {
        (void)close(fd);
        return kind;
    }
    *ret_fd = fd;
    return ERR_OK;
}

static int
address_text(const struct sockaddr_storage *name, socklen_t length, char ret_address[CHANNEL_ADDRESS_ROOM])
{
    char host[64];
    char port[8];

    if (getnameinfo((const struct sockaddr *)name, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -1;
    (void)snprintf(ret_address, CHANNEL_ADDRESS_ROOM, name->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                   port);
    return 0;
}

void
tcp_peer(int fd, char ret_address[CHANNEL_ADDRESS_ROOM])
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;

    if (getpeername(fd, (struct sockaddr *)&name, &length) != 0 ||
        (name.ss_family != AF_INET && name.ss_family != AF_INET6) ||
        address_text(&name, length, ret_address) != 0)
        (void)snprintf(ret_address, CHANNEL_ADDRESS_ROOM, "unknown");
}

void
tcp_finish(int fd, int64_t deadline_ms)
{
    char away[4096];
    size_t total = 0;

    (void)shutdown(fd, SHUT_WR);
    while (total < FINISH_BYTES_MAX) {
        const ssize_t n = recv(fd, away, sizeof away, MSG_DONTWAIT);

        if (n > 0)
            total += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || !tcp_wait(fd, POLLIN, deadline_ms))
            break;
    }
}

static int
listen_one(const struct addrinfo *at, int *ret_fd, char ret_address[CHANNEL_ADDRESS_ROOM])
{
    AUTO(auto_close) int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    const int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&name, &length) != 0)
        return errno;
    if (address_text(&name, length, ret_address) != 0)
        return EINVAL;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

enum err_kind
channel_listen(const char *address, int *ret_fd, char ret_address[CHANNEL_ADDRESS_ROOM], struct err *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE };
    struct addrinfo *list = NULL;
    char host[TCP_HOST_ROOM];
    char port[8];
    int code = EADDRNOTAVAIL;
    const enum err_kind kind = tcp_split(address, host, port, err);

    if (kind != ERR_OK)
        return kind;
    const int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0)
        return err_set(err, ERR_CONFIG, "could not listen on %s: %s", address, gai_strerror(rc));
    for (const struct addrinfo *at = list; at != NULL && code != 0; at = at->ai_next)
        code = listen_one(at, ret_fd, ret_address);
    freeaddrinfo(list);
    if (code == 0)
        return ERR_OK;
    errno = code;
    return err_errno(err, "could not listen on %s", address);
}
