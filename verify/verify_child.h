/* verify_child.h - a part of the work in a process of its own, which damage may kill: LMDB reads its file through the memory,
 * and a bad page number there is a signal here. */
#ifndef VERIFY_CHILD_H
#define VERIFY_CHILD_H

#include "common/err.h"

/* Runs in the child; writes lines to fd.  The child ends when it returns. */
typedef void child_fn(void *arg, int fd);
/* Called in the parent for each line, without its newline. */
typedef void child_line_fn(void *arg, const char *line);

struct child {
    child_fn *run;
    child_line_fn *line;
    void *run_arg, *line_arg;
};
/* Fork and wait.  *ret_signal: the signal that ended the child, 0 none.  Call it while this process has one thread. */
ERR_CHECK enum err_kind child_run(const struct child *c, int *ret_signal, struct err *err);

#endif
