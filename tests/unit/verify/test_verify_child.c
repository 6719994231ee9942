/* What a child says arrives whole, in order, and a child that dies takes nothing of the parent with it.
 * Method: children that write lines, die in the middle of one, or are killed by a signal. */
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/io.h"
#include "common/mem.h"
#include "verify/verify_child.h"

struct talk {
    int lines;  /* to write */
    int signal; /* to die by, 0 none */
    int heard;
};

static void
say(void *arg, int fd)
{
    const struct talk *const t = arg;
    char line[64];

    for (int i = 0; i < t->lines; i++) {
        const int n = snprintf(line, sizeof line, "line %d\n", i);

        if (io_write_all(fd, line, (size_t)n, NULL) != ERR_OK)
            _exit(1);
    }
    if (t->signal != 0) {
        (void)!write(fd, "half a li", 9);
        (void)signal(t->signal, SIG_DFL); /* a sanitizer would catch it */
        (void)raise(t->signal);
    }
}

static void
hear(void *arg, const char *line)
{
    struct talk *const t = arg;
    char want[64];

    (void)snprintf(want, sizeof want, "line %d", t->heard++);
    assert_string_equal(line, want);
}

static void
lines_arrive_whole_whatever_becomes_of_the_child(void **state)
{
    static const struct talk table[] = {
        { 0, 0, 0 }, { 1, 0, 0 }, { 50000, 0, 0 }, { 3, SIGSEGV, 0 }, { 20000, SIGBUS, 0 }
    };
    const struct rlimit no_core = { 0, 0 };

    (void)state;
    assert_int_equal(setrlimit(RLIMIT_CORE, &no_core), 0);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct talk t = table[i];
        const struct child c = { say, hear, &t, &t };
        int died = -1;

        assert_int_equal(child_run(&c, &died, NULL), ERR_OK);
        assert_int_equal(t.heard, t.lines);
        assert_int_equal(died, t.signal);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_arrive_whole_whatever_becomes_of_the_child),
    };

    return cmocka_run_group_tests_name("verify/verify_child", tests, NULL, NULL);
}
