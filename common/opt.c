#include "common/opt.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/opt_internal.h"

const struct opt_option opt_common[OPT_COMMON] = {
    { .name = "json", .help = "results as JSON on standard output" },
    { .name = "quiet", .help = "only warnings and errors on standard error" },
    { .name = "help", .help = "print this and end" },
    { .name = "version", .help = "print the version and end" },
    { .name = "complete", .help = NULL }, /* for the completion script, so not in the help */
};

/* What was given for one option. */
struct given {
    const struct opt_option *option;
    const char **values; /* [count], "" for a switch; the texts are argv's */
    size_t count;
};

struct opt_values {
    struct given *given; /* [count]: the program's options, then the common ones */
    size_t count;
};

bool
opt_takes(const struct opt_option *option, const char *command)
{
    if (option->commands == NULL || *command == '\0')
        return true;
    const size_t size = strlen(command);
    for (const char *at = option->commands; (at = strstr(at, command)) != NULL; at += size)
        if ((at == option->commands || at[-1] == ' ') && (at[size] == ' ' || at[size] == '\0'))
            return true;
    return false;
}

static struct given *
given_find(const struct opt *o, const char *name)
{
    const struct opt_values *const v = o->values;

    for (size_t i = 0; i < v->count; i++)
        if (strcmp(v->given[i].option->name, name) == 0)
            return &v->given[i];
    return NULL;
}

static struct opt_values *
values_new(const struct opt_program *p)
{
    struct opt_values *const v = mem_zero(1, sizeof *v);

    v->count = p->option_count + OPT_COMMON;
    v->given = mem_zero(v->count, sizeof *v->given);
    for (size_t i = 0; i < v->count; i++)
        v->given[i].option = i < p->option_count ? &p->options[i] : &opt_common[i - p->option_count];
    return v;
}

/* The words of a command line, as getopt_long gives them. */
struct words {
    const struct opt_program *program;
    struct opt *opt;
    struct option *table; /* [values.count + 1] */
    struct err *err;
    enum err_kind kind; /* of the first bad word */
};

static enum err_kind bad(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The first bad word is told, unless --help is among the later ones. */
static enum err_kind
bad(struct words *w, const char *fmt, ...)
{
    char text[sizeof w->err->text];
    va_list args;

    if (w->kind != ERR_OK)
        return w->kind;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    w->kind = err_set(w->err, ERR_USAGE, "%s", text);
    err_hint(w->err, "run \"%s --help\"", w->program->name);
    return w->kind;
}

static void
take_operand(struct words *w, char *word)
{
    struct opt *const o = w->opt;

    if (o->command == NULL) {
        for (size_t i = 0; i < w->program->command_count; i++)
            if (strcmp(w->program->commands[i].name, word) == 0) {
                o->command = &w->program->commands[i];
                return;
            }
        if (o->operand_count == 0)
            (void)bad(w, "unknown command \"%s\"", word);
    }
    o->operands[o->operand_count++] = word;
}

static void
take_option(struct words *w, struct given *g, const char *word, const char *value)
{
    const size_t size = strlen(g->option->name);

    /* getopt_long takes any beginning of a name that is unique today: a script that relies on it breaks with the next
     * option. */
    if (strncmp(word + 2, g->option->name, size) != 0 || (word[2 + size] != '\0' && word[2 + size] != '=')) {
        (void)bad(w, "unknown option \"%.*s\": is it --%s", (int)strcspn(word, "="), word, g->option->name);
        return;
    }
    if (g->count > 0 && g->option->value != NULL && !g->option->many) {
        (void)bad(w, "option \"--%s\" is given twice", g->option->name);
        return;
    }
    g->values = mem_grow(g->values, g->count + 1, sizeof *g->values);
    g->values[g->count++] = value == NULL ? "" : value;
}

static void
take_bad(struct words *w, int code, const char *word)
{
    const struct opt_values *const v = w->opt->values;
    const int size = (int)strcspn(word, "=");

    /* optopt is the val of a known option that has a value too many or too few; those are numbered from 256. */
    if (optopt < 256) {
        (void)bad(w, "unknown option \"%.*s\"", size, word);
        return;
    }
    const struct opt_option *const option = v->given[optopt - 256].option;
    if (code == ':')
        (void)bad(w, "option \"--%s\" needs a value: %s", option->name, option->value);
    else
        (void)bad(w, "option \"--%s\" takes no value", option->name);
}

static void
scan(struct words *w, int argc, char **argv)
{
    const struct opt_values *const v = w->opt->values;

    opterr = 0;
    optind = 0; /* GNU: begin anew */
    for (;;) {
        /* '-': operands come in their order, whatever POSIXLY_CORRECT says; ':': a missing value is told apart. */
        const int before = optind < 1 ? 1 : optind;
        optopt = 0;
        const int code = getopt_long(argc, argv, "-:", w->table, NULL);
        if (code == -1)
            break;
        if (code == 1)
            take_operand(w, optarg);
        else if (code >= 256)
            take_option(w, &v->given[code - 256], argv[before], optarg);
        else
            take_bad(w, code, argv[before]);
    }
    for (int i = optind; i < argc; i++) /* after "--" */
        take_operand(w, argv[i]);
}

static void
check_operands(struct words *w)
{
    const struct opt *const o = w->opt;
    const struct opt_command *const c = o->command;
    const bool named = *c->name != '\0';

    if (o->operand_count < c->operands_min)
        (void)bad(w, "%s%s: %s", named ? c->name : "", named ? " lacks an operand" : "an operand is missing",
                  c->operands);
    else if (c->operands_max >= 0 && o->operand_count > c->operands_max)
        (void)bad(w, "unexpected operand \"%s\"", o->operands[c->operands_max]);
}

static void
check(struct words *w)
{
    const struct opt_values *const v = w->opt->values;
    const struct opt_command *const c = w->opt->command;

    if (c == NULL) {
        (void)bad(w, "no command is given");
        return;
    }
    for (size_t i = 0; i < v->count; i++)
        if (v->given[i].count > 0 && !opt_takes(v->given[i].option, c->name))
            (void)bad(w, "option \"--%s\" does not belong to \"%s\"", v->given[i].option->name, c->name);
    check_operands(w);
}

static void
print_and_end(const struct opt_program *p, const struct opt *o)
{
    if (given_find(o, "help")->count > 0)
        opt_print_help(p, o->command);
    else if (given_find(o, "version")->count > 0)
        (void)printf("%s %s\n", p->name, FARSHORE_VERSION);
    else if (given_find(o, "complete")->count > 0)
        opt_print_words(p, o->command);
    else
        return;
    exit(fflush(stdout) == 0 ? EXIT_SOUND : EXIT_FAILED);
}

enum err_kind
opt_parse(const struct opt_program *p, int argc, char **argv, struct opt *ret, struct err *err)
{
    struct opt_values *const v = values_new(p);
    struct opt o = { .values = v };
    struct words w = { .program = p, .opt = &o, .err = err };

    o.operands = mem_zero((size_t)argc + 1, sizeof *o.operands);
    if (p->command_count == 1 && *p->commands[0].name == '\0')
        o.command = &p->commands[0];
    w.table = mem_zero(v->count + 1, sizeof *w.table);
    for (size_t i = 0; i < v->count; i++)
        w.table[i] = (struct option){ .name = v->given[i].option->name,
                                      .has_arg = v->given[i].option->value != NULL ? required_argument
                                                                                   : no_argument,
                                      .val = 256 + (int)i };
    scan(&w, argc, argv);
    free(w.table);
    print_and_end(p, &o);
    check(&w);
    if (w.kind != ERR_OK) {
        opt_free(&o);
        return w.kind;
    }
    o.json = given_find(&o, "json")->count > 0;
    o.quiet = given_find(&o, "quiet")->count > 0;
    *ret = o;
    return ERR_OK;
}

void
opt_free(struct opt *o)
{
    struct opt_values *const v = o->values;

    for (size_t i = 0; v != NULL && i < v->count; i++)
        free(v->given[i].values);
    if (v != NULL)
        free(v->given);
    free(v);
    free(o->operands);
    *o = (struct opt){ 0 };
}

bool
opt_given(const struct opt *o, const char *name)
{
    const struct given *const g = given_find(o, name);

    assert(g != NULL);
    return g->count > 0;
}

const char *
opt_value(const struct opt *o, const char *name)
{
    const struct given *const g = given_find(o, name);

    assert(g != NULL && g->option->value != NULL);
    return g->count == 0 ? NULL : g->values[g->count - 1];
}

size_t
opt_values(const struct opt *o, const char *name, const char *const **ret)
{
    const struct given *const g = given_find(o, name);

    assert(g != NULL && g->option->value != NULL);
    *ret = (const char *const *)g->values;
    return g->count;
}

enum err_kind
opt_place(const struct opt *o, const char *name, const char *variable, const char **ret, struct err *err)
{
    const char *const option = opt_value(o, name);
    const char *const value = option != NULL ? option : getenv(variable);

    if (option != NULL && *option == '\0')
        return err_set(err, ERR_USAGE, "option \"--%s\" is empty", name);
    if (value == NULL || *value == '\0') {
        const enum err_kind kind = err_set(err, ERR_USAGE, "neither --%s nor %s is given", name, variable);
        err_hint(err, "say --%s %s, or set %s in the environment", name, given_find(o, name)->option->value,
                 variable);
        return kind;
    }
    *ret = value;
    return ERR_OK;
}
