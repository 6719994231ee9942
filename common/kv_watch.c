/* What happens when LMDB meets damage that it does not check for (kv_internal.h). */
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/kv_internal.h"

_Thread_local volatile sig_atomic_t kv_in_lmdb;

/* Set once, at the first open: somebody waits for this process and wants to see it die. */
static bool watched;

static void
say_and_end(void)
{
    static const char text[] =
        "farshore: an index is damaged, or the disk that it lies on fails\n"
        "  hint: farshore-verify store says what is damaged; farshore-snapshot reindex makes "
        "a site's index anew; an agent's table may be deleted\n";

    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_FAILED);
}

void
kv_watch_failed(void)
{
    if (!watched)
        say_and_end();
    abort();
}

static void
map_broke(int signal_number)
{
    /* A wrong pointer of our own is a bug, and shows as one. */
    if (signal_number == SIGSEGV && kv_in_lmdb == 0)
        (void)signal(signal_number, SIG_DFL);
    else
        say_and_end();
}

/* Whoever watches a process for its death (verify) has handlers of its own, which stay. */
void
kv_watch(void)
{
    static const int signals[] = { SIGBUS, SIGSEGV };
    struct sigaction now;

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        const bool ours = sigaction(signals[i], NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
                          (now.sa_handler == SIG_DFL || now.sa_handler == map_broke);

        watched = watched || (signals[i] == SIGBUS && !ours);
        if (ours && now.sa_handler == SIG_DFL)
            (void)sigaction(signals[i], &(struct sigaction){ .sa_handler = map_broke }, NULL);
    }
}
