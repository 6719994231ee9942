#include "verify/verify_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/limits.h"

#define CHILD_READ_BYTES (64u * KIB)

/* Whole lines out of b; what is left is the start of the next. */
static void
lines_give(const struct child *c, struct buf *b)
{
    size_t from = 0;

    for (size_t i = 0; i < b->size; i++) {
        if (b->at[i] != '\n')
            continue;
        b->at[i] = '\0';
        c->line(c->line_arg, (const char *)b->at + from);
        from = i + 1;
    }
    if (from > 0)
        memmove(b->at, b->at + from, b->size - from);
    b->size -= from;
}

static enum err_kind
lines_read(const struct child *c, int fd, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };

    for (;;) {
        buf_reserve(&b, CHILD_READ_BYTES);
        const ssize_t n = read(fd, b.at + b.size, CHILD_READ_BYTES);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "could not read from the child process");
        if (n == 0)
            return ERR_OK; /* a line without its end was cut off by the child's death */
        b.size += (size_t)n;
        lines_give(c, &b);
    }
}

/* A broken map of the index must look to the parent like the death that it is: kv_open leaves handlers alone that are there. */
static void
die_of_it(int signal_number)
{
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

/* kv.c ends a process politely on a bad page of the map unless it finds a handler: this child dies of it, and its parent says so.
 * The handler is gone when it returns, and the fault comes again. */
static void
fault_again(int signal_number)
{
    (void)signal_number;
}

static void
child_do(const struct child *c, int fd)
{
    const struct sigaction once = { .sa_handler = fault_again, .sa_flags = (int)SA_RESETHAND };

    (void)sigaction(SIGBUS, &once, NULL);
    c->run(c->run_arg, fd);
}

enum err_kind
child_run(const struct child *c, int *ret_signal, struct err *err)
{
    int ends[2] = { -1, -1 }, status = 0;

    (void)fflush(stdout);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_errno(err, "could not make a pipe");
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) {
        const enum err_kind kind = err_errno(err, "could not fork");

        auto_close(&ends[0]);
        auto_close(&ends[1]);
        return kind;
    }
    if (pid == 0) {
        (void)close(ends[0]);
        (void)signal(SIGBUS, die_of_it);
        (void)signal(SIGSEGV, die_of_it);
        /* It must not outlive who would read its findings; the second look closes the gap before the first. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            child_do(c, ends[1]);
        _exit(0);
    }
    auto_close(&ends[1]);
    const enum err_kind kind = lines_read(c, ends[0], err);
    auto_close(&ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (kind == ERR_OK && WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return err_set(err, ERR_IO, "the child process ended with status %d", WEXITSTATUS(status));
    *ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return kind;
}
