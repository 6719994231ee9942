/* opt.h - subcommands and options from one table: getopt_long, --help, --version and shell completion come from it. */
#ifndef COMMON_OPT_H
#define COMMON_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include "common/err.h"

struct opt_option {
    const char *name;   /* long name without dashes */
    const char *value;  /* placeholder of its value in capitals, or NULL for a switch */
    const char *help;   /* one line */
    bool many;          /* may be given more than once */
    const char *commands; /* " serve init " names of the subcommands that take it, or NULL: all of them */
};
struct opt_command {
    const char *name;   /* "" for a program without subcommands */
    const char *operands; /* "POINT TARGET", as in --help */
    int operands_min, operands_max; /* -1: no bound */
    const char *help;
};
struct opt_program {
    const char *name;
    const char *purpose; /* one line */
    const struct opt_command *commands; size_t command_count;
    const struct opt_option *options; size_t option_count; /* besides --json --quiet --help --version, which all have */
};
struct opt {
    const struct opt_command *command;
    char **operands; int operand_count;
    bool json, quiet;
    void *values; /* private */
};

/* Parse argv.  --help, --version and --complete (a line for each command and option, for the completion script) print and
 * exit(0).  Errors: ERR_USAGE; the hint names "program --help". */
ERR_CHECK enum err_kind opt_parse(const struct opt_program *p, int argc, char **argv, struct opt *ret, struct err *err);
void opt_free(struct opt *o);
bool opt_given(const struct opt *o, const char *name);
const char *opt_value(const struct opt *o, const char *name);            /* last one given, or NULL */
size_t opt_values(const struct opt *o, const char *name, const char *const **ret);
/* --NAME, else the environment variable; ERR_USAGE when neither is given. */
ERR_CHECK enum err_kind opt_place(const struct opt *o, const char *name, const char *variable, const char **ret,
                                  struct err *err);
#endif
