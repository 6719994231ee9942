/* farshore-verify(1): is what is stored what the cities signed? */
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/opt.h"
#include "verify/verify.h"

static const struct opt_command commands[] = {
    { "store", "", 0, 0, "read every byte stored, and say n of m" },
    { "mark", "POINT", 1, 1, "prove one mark: signature, ledger, tree, every block" },
};
static const struct opt_option options[] = {
    { "store", "DIR", "the store; else FARSHORE_STORE", false, NULL },
    { "against", "TREE", "compare the mark with a live or restored tree instead", false, " mark " },
};
static const struct opt_program program = {
    .name = "farshore-verify",
    .purpose = "prove that a store holds what the cities signed",
    .commands = commands,
    .command_count = sizeof commands / sizeof commands[0],
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

int
main(int argc, char **argv)
{
    AUTO(opt_free) struct opt o = { 0 };
    struct verify_options v = { 0 };
    struct err err = { 0 };
    bool findings = false;
    enum err_kind kind;

    log_setup("farshore-verify", false, false);
    kind = opt_parse(&program, argc, argv, &o, &err);
    if (kind == ERR_OK) {
        log_setup("farshore-verify", o.quiet, false);
        kind = opt_place(&o, "store", "FARSHORE_STORE", &v.store, &err);
    }
    if (kind == ERR_OK) {
        v.json = o.json;
        v.quiet = o.quiet;
        if (strcmp(o.command->name, "mark") == 0) {
            v.point = o.operands[0];
            v.against = opt_value(&o, "against");
        }
        kind = v.against != NULL ? against_run(&v, &findings, &err) : verify_run(&v, &findings, &err);
    }
    if (kind == ERR_OK && (fflush(stdout) != 0 || ferror(stdout)))
        kind = err_errno(&err, "could not write to standard output");
    if (kind != ERR_OK)
        return log_fail(&err);
    return findings ? EXIT_FINDINGS : EXIT_SOUND;
}
