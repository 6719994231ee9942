#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "common/opt_internal.h"

#define TERM_COLUMNS 26 /* of the left column */

static bool
is_plain(const struct opt_program *p)
{
    return p->command_count == 1 && *p->commands[0].name == '\0';
}

static void
print_usage(const struct opt_program *p, const struct opt_command *c)
{
    const char *const operands = c == NULL || c->operands == NULL ? "" : c->operands;

    if (c == NULL)
        (void)printf("Usage: %s COMMAND [OPTION]... [OPERAND]...\n", p->name);
    else
        (void)printf("Usage: %s%s%s [OPTION]...%s%s\n", p->name, *c->name == '\0' ? "" : " ", c->name,
                     *operands == '\0' ? "" : " ", operands);
}

/* The explanation stands on the next line where the left column is too narrow. */
static void
print_row(const char *term, const char *text)
{
    if (strlen(term) <= TERM_COLUMNS)
        (void)printf("  %-*s  %s\n", TERM_COLUMNS, term, text);
    else
        (void)printf("  %s\n  %-*s  %s\n", term, TERM_COLUMNS, "", text);
}

static void
print_option(const struct opt_option *o, bool all)
{
    AUTO(auto_free)
    char *term = mem_text("--%s%s%s", o->name, o->value == NULL ? "" : " ", o->value == NULL ? "" : o->value);
    /* " serve init " without its outer blanks. */
    const char *const takers = !all || o->commands == NULL ? "" : o->commands + strspn(o->commands, " ");
    size_t size = strlen(takers);
    while (size > 0 && takers[size - 1] == ' ')
        size--;
    AUTO(auto_free)
    char *text = mem_text("%s%s%s%.*s%s", o->help, o->many ? " (may be repeated)" : "", size > 0 ? " [" : "",
                          (int)size, takers, size > 0 ? "]" : "");

    print_row(term, text);
}

void
opt_print_help(const struct opt_program *p, const struct opt_command *command)
{
    const bool one = command != NULL && !is_plain(p);

    print_usage(p, command);
    (void)printf("\n%s - %s\n", p->name, p->purpose);
    if (one)
        (void)printf("%s: %s\n", command->name, command->help);
    if (command == NULL)
        (void)printf("\nCommands:\n");
    for (size_t i = 0; command == NULL && i < p->command_count; i++) {
        const struct opt_command *const c = &p->commands[i];
        const char *const operands = c->operands == NULL ? "" : c->operands;
        AUTO(auto_free) char *term = mem_text("%s%s%s", c->name, *operands == '\0' ? "" : " ", operands);
        print_row(term, c->help);
    }
    (void)printf("\nOptions:\n");
    for (size_t i = 0; i < p->option_count; i++)
        if (opt_takes(&p->options[i], one ? command->name : ""))
            print_option(&p->options[i], !one);
    for (size_t i = 0; i < OPT_COMMON; i++)
        if (opt_common[i].help != NULL)
            print_option(&opt_common[i], false);
    (void)printf("\nExit status:\n"
                 "  0   sound, done\n"
                 "  1   done, with findings, each named\n"
                 "  2   failed, could not find out\n"
                 "  3   refused for safety\n"
                 "  64  called wrongly\n"
                 "  78  bad configuration\n");
}

void
opt_print_words(const struct opt_program *p, const struct opt_command *command)
{
    for (size_t i = 0; command == NULL && i < p->command_count; i++)
        (void)printf("%s\n", p->commands[i].name);
    for (size_t i = 0; i < p->option_count; i++)
        if (opt_takes(&p->options[i], command == NULL ? "" : command->name))
            (void)printf("--%s\n", p->options[i].name);
    for (size_t i = 0; i < OPT_COMMON; i++)
        if (opt_common[i].help != NULL)
            (void)printf("--%s\n", opt_common[i].name);
}
