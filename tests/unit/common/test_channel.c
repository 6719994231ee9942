/* Goal: both sides are who they say, what is written arrives whole and in order, and every way in which a connection can end
 * is told apart.  Method: a server thread over loopback, certificates of two CAs, a plain socket as the rude peer.  The
 * traffic test (one reader and two writers a side) runs under TSan too. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "common/pki.h"
#include "tests/unit/common/channel_fixture.h"
#include "tests/unit/unit.h"

static void
each_side_knows_the_other(void **state)
{
    struct fixture s;
    struct channel *ch = fixture_pair(&s);
    struct digest print, wanted;
    char pem[4000], back[6] = "";

    (void)state;
    unit_read(fixture_dir, "agent.crt", pem, sizeof pem);
    assert_int_equal(pki_fingerprint(pem, strlen(pem), &wanted, NULL), ERR_OK);
    assert_int_equal(channel_peer(s.ch, &print), 1);
    assert_true(hash_same(&print, &wanted));
    unit_read(fixture_dir, "site.crt", pem, sizeof pem);
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
    fixture_end(&s);
}

static void
the_ways_to_end_are_told_apart(void **state)
{
    struct fixture s;
    struct err err = { 0 };
    char bytes[4];

    (void)state;
    /* Politely, before the first byte of a message. */
    struct channel *ch = fixture_pair(&s);
    assert_int_equal(channel_write(s.ch, "last", 4, NULL), ERR_OK);
    channel_close(&s.ch);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_OK);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_equal(err.code, 0);
    assert_int_equal(channel_write(ch, "x", 1, &err), ERR_CLOSED);
    channel_close(&ch);
    fixture_end(&s);
    /* Politely, in the middle of one. */
    ch = fixture_pair(&s);
    assert_int_equal(channel_write(s.ch, "la", 2, NULL), ERR_OK);
    channel_close(&s.ch);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_not_equal(err.code, 0);
    channel_close(&ch);
    fixture_end(&s);
    /* Without close_notify: somebody cut the wire. */
    ch = fixture_pair(&s);
    channel_cut(s.ch);
    assert_int_equal(channel_read(ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_not_equal(err.code, 0);
    assert_int_equal(channel_read(s.ch, bytes, 4, &err), ERR_CLOSED);
    assert_int_equal(channel_write(s.ch, bytes, 4, &err), ERR_CLOSED);
    channel_close(&ch);
    fixture_end(&s);
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
    struct fixture s;
    struct channel *ch = fixture_pair(&s);
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
    fixture_end(&s);
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
    struct fixture s;
    struct channel *ch = fixture_pair(&s);
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
    fixture_end(&s);
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
    struct fixture s;
    struct channel *ch = fixture_pair(&s);
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
    fixture_end(&s);
}

/* A plain socket that speaks no TLS, or ends at once. */
static void
a_peer_that_speaks_no_tls_is_refused(void **state)
{
    static const char *const words[] = { "", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                         "\x16\x03\x01\x02" };

    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct channel_context *c = fixture_context("site", "ca-a.crt", 1);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_side_knows_the_other),
        cmocka_unit_test(the_ways_to_end_are_told_apart),
        cmocka_unit_test(a_peer_that_stalls_is_given_up),
        cmocka_unit_test(a_cut_wakes_reader_and_writer),
        cmocka_unit_test(two_writers_and_a_reader_at_each_end_lose_and_mix_nothing),
        cmocka_unit_test(a_peer_that_speaks_no_tls_is_refused),
    };

    return cmocka_run_group_tests_name("common/channel", tests, fixture_new, fixture_free);
}
