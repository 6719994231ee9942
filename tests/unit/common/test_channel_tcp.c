/* Goal: addresses are understood or refused, hosts that do not answer are told from bad addresses, and what was sent last
 * arrives even when the sender closes on unread bytes.  Method: tables, and sockets over loopback. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/channel_tcp.h"
#include "tests/unit/unit.h"

static void
an_address_is_split_at_its_port(void **state)
{
    static const struct {
        const char *address;
        const char *host; /* NULL: refused */
        const char *port;
    } cases[] = {
        { "host:1", "host", "1" },
        { "192.0.2.7:65535", "192.0.2.7", "65535" },
        { "[2001:db8::1]:8443", "2001:db8::1", "8443" },
        { "dr.example.org:0", "dr.example.org", "0" },
        { "", NULL, NULL },
        { "host", NULL, NULL },
        { "host:", NULL, NULL },
        { ":1", NULL, NULL },
        { "::1:1", NULL, NULL },
        { "host:x", NULL, NULL },
        { "host:-1", NULL, NULL },
        { "host:123456", NULL, NULL },
        { "[::1]", NULL, NULL },
        { "[]:1", NULL, NULL },
    };
    char host[TCP_HOST_ROOM], port[8], address[CHANNEL_ADDRESS_ROOM];
    struct err err;
    int fd = -1;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const enum err_kind kind = tcp_split(cases[i].address, host, port, &err);

        assert_int_equal(kind, cases[i].host == NULL ? ERR_CONFIG : ERR_OK);
        if (kind == ERR_OK) {
            assert_string_equal(host, cases[i].host);
            assert_string_equal(port, cases[i].port);
        } else {
            assert_int_equal(tcp_connect(cases[i].address, tcp_now_ms(), &fd, &err), ERR_CONFIG);
            assert_int_equal(channel_listen(cases[i].address, &fd, address, &err), ERR_CONFIG);
        }
    }
    char longer[TCP_HOST_ROOM + 10];
    memset(longer, 'h', sizeof longer);
    memcpy(longer + sizeof longer - 3, ":1", 3);
    assert_int_equal(tcp_split(longer, host, port, &err), ERR_CONFIG);
}

static void
a_host_that_does_not_answer_is_closed(void **state)
{
    char address[CHANNEL_ADDRESS_ROOM], again[CHANNEL_ADDRESS_ROOM];
    struct err err = { 0 };
    int fd = -1, second = -1;

    (void)state;
    assert_int_equal(channel_listen("127.0.0.1:0", &fd, address, &err), ERR_OK);
    assert_memory_equal(address, "127.0.0.1:", 10);
    assert_int_equal(channel_listen(address, &second, again, &err), ERR_IO);
    assert_int_equal(err.code, EADDRINUSE);
    assert_int_equal(tcp_connect(address, tcp_now_ms() + 1000, &second, &err), ERR_OK);
    tcp_peer(second, again);
    assert_string_equal(again, address);
    assert_int_equal(fcntl(second, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    (void)close(second);
    (void)close(fd);
    assert_int_equal(tcp_connect(address, tcp_now_ms() + 1000, &fd, &err), ERR_CLOSED);
    assert_int_equal(err.code, ECONNREFUSED);
}

static void
waiting_ends_at_its_deadline(void **state)
{
    const int64_t from = tcp_now_ms();
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(tcp_wait(fds[0], POLLIN, from + 30), 0);
    assert_true(tcp_now_ms() >= from + 30);
    assert_int_equal(tcp_wait(fds[0], POLLIN, from), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(tcp_wait(fds[0], POLLIN, from), 1);
    assert_int_equal(tcp_wait(fds[0], POLLIN, -1), 1);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void
a_last_word_arrives_though_its_sender_left_bytes_unread(void **state)
{
    char address[CHANNEL_ADDRESS_ROOM], bytes[64 * 1024] = "";
    struct err err = { 0 };
    int fd = -1, client = -1;

    (void)state;
    assert_int_equal(channel_listen("127.0.0.1:0", &fd, address, &err), ERR_OK);
    assert_int_equal(tcp_connect(address, tcp_now_ms() + 1000, &client, &err), ERR_OK);
    const int server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(tcp_setup(server, &err), ERR_OK);
    assert_int_equal(write(client, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(tcp_wait(server, POLLIN, -1), 1);
    assert_int_equal(write(server, "no", 2), 2);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    tcp_finish(server, tcp_now_ms() + 1000);
    (void)close(server);
    assert_int_equal(tcp_wait(client, POLLIN, -1), 1);
    assert_int_equal(read(client, bytes, sizeof bytes), 2);
    assert_memory_equal(bytes, "no", 2);
    (void)close(client);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_split_at_its_port),
        cmocka_unit_test(a_host_that_does_not_answer_is_closed),
        cmocka_unit_test(waiting_ends_at_its_deadline),
        cmocka_unit_test(a_last_word_arrives_though_its_sender_left_bytes_unread),
    };

    return cmocka_run_group_tests_name("common/channel_tcp", tests, NULL, NULL);
}
