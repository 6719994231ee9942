/* One table gives the parser, the help and the completion; every wrong call names the wrong word.
 * Method: tables of command lines; what prints and ends is run in a child. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/opt.h"
#include "tests/unit/unit.h"

static const struct opt_command commands[] = {
    { "init", "", 0, 0, "make a store" },
    { "show", "POINT [PATH]", 1, 2, "what a mark holds" },
    { "forget", "POINT...", 1, -1, "give marks up" },
};
static const struct opt_option options[] = {
    { "store", "DIR", "where the store is", false, NULL },
    { "exclude", "GLOB", "leave out", true, " show " },
    { "dry-run", NULL, "only say what would be done", false, " forget init " },
    { "show-all", NULL, "all of it", false, " show " },
};
static const struct opt_program program = { "farshore-x", "tries options", commands, 3, options, 4 };

static const struct opt_command plain_command[] = { { "", "TARGET", 1, 1, "" } };
static const struct opt_program plain = { "farshore-y", "has no subcommands", plain_command, 1, options, 1 };

#define WORDS_MAX 16

/* getopt_long may permute its array, so each call has one of its own. */
static enum err_kind
parse(const struct opt_program *p, const char *line, struct opt *ret, struct err *err)
{
    static char text[256]; /* the operands point into it */
    char *argv[WORDS_MAX + 1] = { NULL };
    int argc = 0;

    (void)snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    return opt_parse(p, argc, argv, ret, err);
}

static void
options_stand_anywhere(void **state)
{
    static const char *const table[] = {
        "x --store=/s --json --exclude a --exclude=b show p q",
        "x show --json p --store /s --exclude a q --exclude b",
        "x --json show --exclude a p --exclude b --store /s -- q",
        "x show p q --store /s --exclude a --exclude b --json --json",
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct opt o = { 0 };
        struct err err = { 0 };
        const char *const *values;
        if (parse(&program, table[i], &o, &err) != ERR_OK)
            fail_msg("%s: %s", table[i], err.text);
        assert_string_equal(o.command->name, "show");
        assert_int_equal(o.operand_count, 2);
        assert_string_equal(o.operands[0], "p");
        assert_string_equal(o.operands[1], "q");
        assert_null(o.operands[2]);
        assert_true(o.json);
        assert_false(o.quiet);
        assert_true(opt_given(&o, "store"));
        assert_false(opt_given(&o, "show-all"));
        assert_string_equal(opt_value(&o, "store"), "/s");
        assert_int_equal(opt_values(&o, "exclude", &values), 2);
        assert_string_equal(values[0], "a");
        assert_string_equal(values[1], "b");
        assert_string_equal(opt_value(&o, "exclude"), "b");
        opt_free(&o);
        opt_free(&o);
    }
}

static void
after_two_dashes_all_are_operands(void **state)
{
    struct opt o = { 0 };

    (void)state;
    assert_int_equal(parse(&program, "x forget -- --json - -x -- --help", &o, NULL), ERR_OK);
    assert_int_equal(o.operand_count, 5);
    assert_string_equal(o.operands[0], "--json");
    assert_string_equal(o.operands[1], "-");
    assert_string_equal(o.operands[2], "-x");
    assert_string_equal(o.operands[3], "--");
    assert_string_equal(o.operands[4], "--help");
    assert_false(o.json);
    assert_null(opt_value(&o, "store"));
    opt_free(&o);
    assert_int_equal(parse(&plain, "y /t --store --help --quiet", &o, NULL),
                     ERR_OK); /* the value of --store */
    assert_string_equal(o.command->name, "");
    assert_string_equal(o.operands[0], "/t");
    assert_string_equal(opt_value(&o, "store"), "--help");
    assert_true(o.quiet);
    opt_free(&o);
}

static void
a_wrong_call_is_told_by_its_word(void **state)
{
    static const struct {
        const struct opt_program *program;
        const char *line, *told;
    } table[] = {
        { &program, "x", "no command is given" },
        { &program, "x --store /s", "no command is given" },
        { &program, "x sho", "unknown command \"sho\"" },
        { &program, "x sho p --wrong", "unknown command \"sho\"" },
        { &program, "x show", "show lacks an operand: POINT [PATH]" },
        { &program, "x show a b c d", "unexpected operand \"c\"" },
        { &program, "x init a", "unexpected operand \"a\"" },
        { &program, "x init --wrong", "unknown option \"--wrong\"" },
        { &program, "x init --wrong=3", "unknown option \"--wrong\"" },
        { &program, "x init -q", "unknown option \"-q\"" },
        { &program, "x init -quiet", "unknown option \"-quiet\"" },
        { &program, "x init --sto /s", "unknown option \"--sto\": is it --store" },
        { &program, "x show p --s", "unknown option \"--s\"" },
        { &program, "x init --store", "option \"--store\" needs a value: DIR" },
        { &program, "x init --store a --store b", "option \"--store\" is given twice" },
        { &program, "x init --json=yes", "option \"--json\" takes no value" },
        { &program, "x init --dry-run=yes", "option \"--dry-run\" takes no value" },
        { &program, "x show p --dry-run", "option \"--dry-run\" does not belong to \"show\"" },
        { &program, "x --exclude a init", "option \"--exclude\" does not belong to \"init\"" },
        { &plain, "y", "an operand is missing: TARGET" },
        { &plain, "y a b", "unexpected operand \"b\"" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct opt o = { .operand_count = 77 };
        struct err err = { 0 };
        char hint[64];
        assert_int_equal(parse(table[i].program, table[i].line, &o, &err), ERR_USAGE);
        assert_string_equal(err.text, table[i].told);
        (void)snprintf(hint, sizeof hint, "run \"%s --help\"", table[i].program->name);
        assert_string_equal(err.hint, hint);
        assert_int_equal(o.operand_count, 77);
    }
}

static void
a_place_comes_from_the_option_or_the_environment(void **state)
{
    struct opt o = { 0 };
    struct err err = { 0 };
    const char *place = NULL;

    (void)state;
    assert_int_equal(unsetenv("FARSHORE_STORE"), 0);
    assert_int_equal(parse(&program, "x init", &o, NULL), ERR_OK);
    assert_int_equal(opt_place(&o, "store", "FARSHORE_STORE", &place, &err), ERR_USAGE);
    assert_string_equal(err.text, "neither --store nor FARSHORE_STORE is given");
    assert_string_equal(err.hint, "say --store DIR, or set FARSHORE_STORE in the environment");
    assert_int_equal(setenv("FARSHORE_STORE", "", 1), 0);
    assert_int_equal(opt_place(&o, "store", "FARSHORE_STORE", &place, NULL), ERR_USAGE);
    assert_null(place);
    assert_int_equal(setenv("FARSHORE_STORE", "/env", 1), 0);
    assert_int_equal(opt_place(&o, "store", "FARSHORE_STORE", &place, NULL), ERR_OK);
    assert_string_equal(place, "/env");
    opt_free(&o);
    assert_int_equal(parse(&program, "x init --store /opt", &o, NULL), ERR_OK);
    assert_int_equal(opt_place(&o, "store", "FARSHORE_STORE", &place, NULL), ERR_OK);
    assert_string_equal(place, "/opt");
    opt_free(&o);
    assert_int_equal(parse(&program, "x init --store=", &o, NULL), ERR_OK);
    assert_int_equal(opt_place(&o, "store", "FARSHORE_STORE", &place, &err), ERR_USAGE);
    assert_string_equal(err.text, "option \"--store\" is empty");
    opt_free(&o);
}

/* What a call prints before it ends the process, which it must do with status 0. */
static void
printed(const struct opt_program *p, const char *line, char *ret_text, size_t room)
{
    int ends[2], status = -1;
    size_t used = 0;

    assert_int_equal(pipe(ends), 0);
    (void)fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct opt o;
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        _exit(100 + (int)parse(p, line, &o, NULL));
    }
    (void)close(ends[1]);
    for (ssize_t n = 1; n > 0; used += (size_t)n) {
        n = read(ends[0], ret_text + used, room - 1 - used);
        assert_true(n >= 0);
    }
    ret_text[used] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_SOUND);
}

static void
help_names_every_command_and_option(void **state)
{
    static const char *const table[] = { "Usage: farshore-x COMMAND [OPTION]",
                                         "tries options",
                                         "init ",
                                         "show POINT [PATH]",
                                         "what a mark holds",
                                         "forget POINT...",
                                         "--store DIR",
                                         "--exclude GLOB",
                                         "(may be repeated) [show]",
                                         "[forget init]",
                                         "--json",
                                         "--quiet",
                                         "--help",
                                         "--version",
                                         "78  bad configuration" };
    static const char *const lines[] = { "x --help", "x --wrong --help", "x --help --version nonsense" };
    char text[8192];

    (void)state;
    for (size_t n = 0; n < sizeof lines / sizeof lines[0]; n++) {
        printed(&program, lines[n], text, sizeof text);
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
            if (strstr(text, table[i]) == NULL)
                fail_msg("%s: not in the help: %s", lines[n], table[i]);
        assert_null(strstr(text, "--complete"));
    }
    printed(&program, "x show --help", text, sizeof text);
    assert_non_null(strstr(text, "Usage: farshore-x show [OPTION]... POINT [PATH]\n"));
    assert_non_null(strstr(text, "--exclude GLOB"));
    assert_null(strstr(text, "--dry-run"));
    assert_null(strstr(text, "forget"));
    printed(&plain, "y --help", text, sizeof text);
    assert_non_null(strstr(text, "Usage: farshore-y [OPTION]... TARGET\n"));
    assert_null(strstr(text, "Commands:"));
}

static void
the_completion_gets_a_word_a_line(void **state)
{
    char text[1024];

    (void)state;
    printed(&program, "x --complete", text, sizeof text);
    assert_string_equal(text, "init\nshow\nforget\n--store\n--exclude\n--dry-run\n--show-all\n"
                              "--json\n--quiet\n--help\n--version\n");
    printed(&program, "x init --complete", text, sizeof text);
    assert_string_equal(text, "--store\n--dry-run\n--json\n--quiet\n--help\n--version\n");
    printed(&plain, "y --complete", text, sizeof text);
    assert_string_equal(text, "--store\n--json\n--quiet\n--help\n--version\n");
    printed(&program, "x --version", text, sizeof text);
    assert_string_equal(text, "farshore-x " FARSHORE_VERSION "\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(after_two_dashes_all_are_operands),
        cmocka_unit_test(a_wrong_call_is_told_by_its_word),
        cmocka_unit_test(a_place_comes_from_the_option_or_the_environment),
        cmocka_unit_test(help_names_every_command_and_option),
        cmocka_unit_test(the_completion_gets_a_word_a_line),
    };

    return cmocka_run_group_tests_name("common/opt", tests, NULL, NULL);
}
