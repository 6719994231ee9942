/* opt_internal.h - what the parser (opt.c) and the help (opt_help.c) share. */
#ifndef COMMON_OPT_INTERNAL_H
#define COMMON_OPT_INTERNAL_H

#include "common/opt.h"

#define OPT_COMMON 5
extern const struct opt_option opt_common[OPT_COMMON]; /* of every program; one without a help is hidden */

/* Whether a subcommand takes an option; "": one does. */
bool opt_takes(const struct opt_option *option, const char *command);

/* On standard output.  command NULL: of all. */
void opt_print_help(const struct opt_program *p, const struct opt_command *command);
void opt_print_words(const struct opt_program *p, const struct opt_command *command); /* one a line */

#endif
