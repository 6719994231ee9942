/* Goal: both engines give the same results, whatever the number of operations.  Method: each test runs with the plain engine
 * and, where the kernel allows it, with io_uring; the plain results are the oracle. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/ring.h"
#include "tests/unit/unit.h"

#define FILES 500u

static struct ring *rings[2];
static size_t ring_count;

static int
rings_make(void **state)
{
    struct err err;

    (void)state;
    ring_count = 0;
    if (ring_new(RING_PLAIN, &rings[ring_count++], NULL) != ERR_OK)
        return -1;
    if (ring_new(RING_URING, &rings[ring_count], &err) == ERR_OK)
        ring_count++;
    else
        print_message("without io_uring: %s\n", err.text);
    return 0;
}

static int
rings_free(void **state)
{
    (void)state;
    while (ring_count > 0)
        ring_free(&rings[--ring_count]);
    return 0;
}

static void
files_are_made_written_looked_at_and_read_in_batches(void **state)
{
    static char names[FILES][32];
    static struct ring_op ops[FILES];
    static struct statx st[FILES];
    static uint8_t bytes[FILES][300], back[FILES][400];

    for (size_t r = 0; r < ring_count; r++) {
        int fds[FILES];

        for (unsigned i = 0; i < FILES; i++) {
            (void)snprintf(names[i], sizeof names[i], "%zu-%u", r, i);
            memset(bytes[i], (int)i, sizeof bytes[i]);
            ops[i] = (struct ring_op){ .kind = RING_OPEN,
                                       .fd = unit_dir_fd(state),
                                       .name = names[i],
                                       .flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                                       .mode = 0640 };
        }
        ring_run(rings[r], ops, FILES);
        for (unsigned i = 0; i < FILES; i++) {
            assert_true(ops[i].result >= 0);
            fds[i] = (int)ops[i].result;
            ops[i] = (struct ring_op){
                .kind = RING_WRITE, .fd = fds[i], .bytes = bytes[i], .size = i % 301, .offset = i % 7
            };
        }
        ring_run(rings[r], ops, FILES);
        for (unsigned i = 0; i < FILES; i++) {
            assert_int_equal(ops[i].result, i % 301);
            ops[i] = (struct ring_op){ .kind = RING_STAT,
                                       .fd = i % 2 ? fds[i] : unit_dir_fd(state),
                                       .name = i % 2 ? "" : names[i],
                                       .flags = i % 2 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW,
                                       .st = &st[i] };
        }
        ring_run(rings[r], ops, FILES);
        for (unsigned i = 0; i < FILES; i++) {
            assert_int_equal(ops[i].result, 0);
            assert_int_equal(st[i].stx_size, i % 301 == 0 ? 0 : i % 301 + i % 7);
            assert_int_equal(st[i].stx_mode & 0777, 0640 & ~022);
            ops[i] = (struct ring_op){
                .kind = RING_READ, .fd = fds[i], .bytes = back[i], .size = 400, .offset = i % 7
            };
        }
        ring_run(rings[r], ops, FILES);
        for (unsigned i = 0; i < FILES; i++) {
            assert_int_equal(ops[i].result, i % 301);
            assert_memory_equal(back[i], bytes[i], i % 301);
            ops[i] = (struct ring_op){ .kind = RING_CLOSE, .fd = fds[i] };
        }
        ring_run(rings[r], ops, FILES);
        for (unsigned i = 0; i < FILES; i++) {
            assert_int_equal(ops[i].result, 0);
            assert_int_equal(fcntl(fds[i], F_GETFD), -1);
        }
    }
}

static void
failures_are_told_by_their_number(void **state)
{
    uint8_t byte = 0;
    struct statx st;
    const int dir_fd = unit_dir_fd(state);
    const int fd = openat(dir_fd, "file", O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    const struct {
        struct ring_op op;
        int64_t result;
    } cases[] = {
        { { .kind = RING_OPEN, .fd = dir_fd, .name = "none", .flags = O_RDONLY }, -ENOENT },
        { { .kind = RING_OPEN, .fd = dir_fd, .name = "file", .flags = O_RDONLY | O_DIRECTORY }, -ENOTDIR },
        { { .kind = RING_STAT, .fd = dir_fd, .name = "none", .st = &st }, -ENOENT },
        { { .kind = RING_READ, .fd = -1, .bytes = &byte, .size = 1 }, -EBADF },
        { { .kind = RING_READ, .fd = dir_fd, .bytes = &byte, .size = 1 }, -EISDIR },
        { { .kind = RING_READ, .fd = fd, .bytes = &byte, .size = 1, .offset = 10 }, 0 },
        { { .kind = RING_READ, .fd = fd, .bytes = &byte, .size = 0 }, 0 },
        { { .kind = RING_WRITE, .fd = fd, .bytes = &byte, .size = 1 }, -EBADF },
        { { .kind = RING_CLOSE, .fd = 9999 }, -EBADF },
    };
    enum { COUNT = sizeof cases / sizeof cases[0] };
    struct ring_op ops[COUNT];

    for (size_t r = 0; r < ring_count; r++) {
        for (size_t i = 0; i < COUNT; i++)
            ops[i] = cases[i].op;
        ring_run(rings[r], ops, COUNT);
        for (size_t i = 0; i < COUNT; i++)
            assert_int_equal(ops[i].result, cases[i].result);
        ring_run(rings[r], ops, 0);
    }
    (void)close(fd);
}

/* A limit on the size of files makes the first write short and the next one fail, as a full disk does. */
static void
a_short_write_is_gone_on_with_until_its_error(void **state)
{
    static uint8_t bytes[10000];
    struct rlimit old, limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 5000;
    const sighandler_t handler = signal(SIGXFSZ, SIG_IGN);
    for (size_t r = 0; r < ring_count; r++) {
        const int fd = openat(unit_dir_fd(state), "limited", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        struct ring_op op = { .kind = RING_WRITE, .fd = fd, .bytes = bytes, .size = sizeof bytes };

        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ring_run(rings[r], &op, 1);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(op.result, -EFBIG);
        assert_int_equal(lseek(fd, 0, SEEK_END), 5000);
        (void)close(fd);
    }
    (void)signal(SIGXFSZ, handler);
}

static void
the_environment_chooses_where_the_caller_does_not(void **state)
{
    static const struct {
        const char *wish;
        enum ring_engine engine;
        const char *name;
    } cases[] = { { "plain", RING_AUTO, "plain" },
                  { "uring", RING_PLAIN, "plain" },
                  { "", RING_PLAIN, "plain" } };
    struct ring *ring = NULL;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(setenv("FARSHORE_IO", cases[i].wish, 1), 0);
        assert_int_equal(ring_new(cases[i].engine, &ring, &err), ERR_OK);
        assert_string_equal(ring_name(ring), cases[i].name);
        ring_free(&ring);
        assert_null(ring);
        ring_free(&ring);
    }
    assert_int_equal(setenv("FARSHORE_IO", "fast", 1), 0);
    assert_int_equal(ring_new(RING_AUTO, &ring, &err), ERR_CONFIG);
    assert_int_equal(unsetenv("FARSHORE_IO"), 0);
    assert_int_equal(ring_new(RING_AUTO, &ring, &err), ERR_OK);
    assert_string_equal(ring_name(ring), ring_count == 2 ? "io_uring" : "plain");
    ring_free(&ring);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(files_are_made_written_looked_at_and_read_in_batches),
        unit_test_in_dir(failures_are_told_by_their_number),
        unit_test_in_dir(a_short_write_is_gone_on_with_until_its_error),
        cmocka_unit_test(the_environment_chooses_where_the_caller_does_not),
    };

    return cmocka_run_group_tests_name("common/ring", tests, rings_make, rings_free);
}
