/* The socket in the store.  Method: questions through control_ask, and lines that are none through the socket itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/replicator/site_fixture.h"
#include "common/mem.h"

static struct json *
question(const char *what, const char *agent)
{
    struct json *q = json_new();

    json_text(q, "do", what);
    if (agent != NULL)
        json_text(q, "agent", agent);
    return q;
}

static enum err_kind
ask(struct rig *r, const char *what, const char *agent, struct json **ret, bool *ret_running, struct err *err)
{
    struct json *q = question(what, agent);

    *ret = NULL;
    *ret_running = false;
    const enum err_kind kind = control_ask(r->path, q, ret_running, ret, err);
    json_free(&q);
    return kind;
}

static void
a_running_site_answers_and_one_that_is_not_does_not(void **state)
{
    struct rig r = { 0 };
    struct control *c = NULL;
    struct json *a = NULL;
    struct err err = { 0 };
    struct wire_token t;
    struct peer p;
    struct stat st;
    bool running;

    rig_new(state, &r);
    assert_int_equal(ask(&r, "status", NULL, &a, &running, &err), ERR_OK);
    assert_false(running);
    assert_int_equal(control_start(&r.site, &c, &err), ERR_OK);
    assert_int_equal(fstatat(r.site.store->dir_fd, "control.sock", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(ask(&r, "token", "chengdu", &a, &running, &err), ERR_OK);
    assert_true(running);
    assert_int_equal(wire_token_read(json_get_text(a, "token"), &t, NULL), ERR_OK);
    assert_false(json_get_bool(a, "known"));
    json_free(&a);
    peer_join(&r, "chengdu");
    peer_hello(&r, "chengdu", &p);
    assert_int_equal(ask(&r, "status", NULL, &a, &running, &err), ERR_OK);
    assert_int_equal(json_get_number(a, "pid"), getpid());
    assert_true(json_get_bool(json_get(a, "connected"), "chengdu"));
    json_free(&a);
    assert_int_equal(ask(&r, "revoke", "chengdu", &a, &running, &err), ERR_OK);
    json_free(&a);
    peer_expect_error(&p, ERR_REFUSED, "revoked");
    peer_close(&p);
    assert_int_equal(ask(&r, "revoke", "leshan", &a, &running, &err), ERR_ABSENT);
    assert_string_equal(err.text, "agent \"leshan\" is not enrolled here");
    assert_int_equal(ask(&r, "token", "../../x", &a, &running, &err), ERR_USAGE);
    assert_int_equal(ask(&r, "token", NULL, &a, &running, &err), ERR_USAGE);
    assert_int_equal(ask(&r, "forget", "chengdu", &a, &running, &err), ERR_USAGE);
    control_stop(&c);
    assert_int_equal(ask(&r, "status", NULL, &a, &running, &err), ERR_OK);
    assert_false(running);
    rig_free(&r);
}

static void
say(struct rig *r, const void *bytes, size_t size)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char away[1000];

    (void)snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/control.sock", r->site.store->dir_fd);
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    while (recv(fd, away, sizeof away, 0) > 0)
        ;
    (void)close(fd);
}

static void
lines_that_are_no_question_do_no_harm(void **state)
{
    static const char *const lines[] = { "",
                                         "\n",
                                         "{}\n",
                                         "[]\n",
                                         "\"do\"\n",
                                         "{\"do\":1}\n",
                                         "{\"do\":\"token\"\n",
                                         "\xff\xfe\n",
                                         "{\"do\":\"token\",\"agent\":{}}\n",
                                         "no end" };
    struct rig r = { 0 };
    struct control *c = NULL;
    struct json *a = NULL;
    bool running;
    char *const big = calloc(1, 200000);

    rig_new(state, &r);
    assert_int_equal(control_start(&r.site, &c, NULL), ERR_OK);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        say(&r, lines[i], strlen(lines[i]));
    memset(big, 'x', 199999);
    say(&r, big, 200000);
    assert_int_equal(ask(&r, "status", NULL, &a, &running, NULL), ERR_OK);
    assert_true(running);
    json_free(&a);
    control_stop(&c);
    free(big);
    rig_free(&r);
}

static void
a_path_longer_than_a_socket_address_does(void **state)
{
    struct rig r = { 0 };
    struct control *c = NULL;
    struct json *a = NULL;
    char *const longer = mem_text("%s/%0200d", unit_dir_path(state), 7);
    bool running;

    rig_new(state, &r);
    rig_stop(&r);
    assert_int_equal(rename(r.path, longer), 0);
    (void)snprintf(r.path, sizeof r.path, "%s", longer);
    rig_start(&r);
    assert_int_equal(control_start(&r.site, &c, NULL), ERR_OK);
    assert_int_equal(ask(&r, "status", NULL, &a, &running, NULL), ERR_OK);
    assert_true(running);
    json_free(&a);
    control_stop(&c);
    free(longer);
    rig_free(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_running_site_answers_and_one_that_is_not_does_not),
        unit_test_in_dir(lines_that_are_no_question_do_no_harm),
        unit_test_in_dir(a_path_longer_than_a_socket_address_does),
    };

    return cmocka_run_group_tests_name("replicator/control", tests, NULL, NULL);
}
