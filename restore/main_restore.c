/* farshore-restore(1): a mark becomes a tree again. */
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/opt.h"
#include "restore/restore.h"

static const struct opt_command commands[] = {
    { "files", "POINT TARGET", 2, 2, "restore a mark into a new directory" },
};
static const struct opt_option options[] = {
    { "store", "DIR", "the store; else FARSHORE_STORE", false, NULL },
    { "plan", NULL, "say what would be done, touch nothing", false, " files " },
    { "only", "PATH", "restore this path of the mark and what is beneath it", true, " files " },
    { "overwrite", "WHEN",
      "restore into a directory that is not empty: never or always replace what is there", false, " files " },
    { "sync", NULL, "wait until all of it is on the disk", false, " files " },
    { "untrusted", NULL, "leave out devices, setuid and setgid bits, trusted and security attributes", false,
      " files " },
    { "no-owner", NULL, "leave owners as they come", false, " files " },
    { "numeric-owner", NULL, "take owners by number, not by name", false, " files " },
    { "io", "ENGINE", "auto, uring or plain", false, " files " },
};
static const struct opt_program program = {
    .name = "farshore-restore",
    .purpose = "bring a mark back; every block is checked against what the city signed",
    .commands = commands,
    .command_count = sizeof commands / sizeof commands[0],
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

static enum err_kind
read_overwrite(const char *text, enum overwrite *ret, struct err *err)
{
    if (text == NULL)
        *ret = OVERWRITE_REFUSE;
    else if (strcmp(text, "never") == 0)
        *ret = OVERWRITE_NEVER;
    else if (strcmp(text, "always") == 0)
        *ret = OVERWRITE_ALWAYS;
    else
        return err_set(err, ERR_USAGE, "--overwrite is never or always, not \"%s\"", text);
    return ERR_OK;
}

static enum err_kind
read_engine(const char *text, enum ring_engine *ret, struct err *err)
{
    if (text == NULL || strcmp(text, "auto") == 0)
        *ret = RING_AUTO;
    else if (strcmp(text, "uring") == 0)
        *ret = RING_URING;
    else if (strcmp(text, "plain") == 0)
        *ret = RING_PLAIN;
    else
        return err_set(err, ERR_USAGE, "--io is auto, uring or plain, not \"%s\"", text);
    return ERR_OK;
}

static enum err_kind
read_options(const struct opt *o, struct restore_options *ret, struct err *err)
{
    struct restore_options r = {
        .point = o->operands[0],
        .target = o->operands[1],
        .plan = opt_given(o, "plan"),
        .sync = opt_given(o, "sync"),
        .untrusted = opt_given(o, "untrusted"),
        .no_owner = opt_given(o, "no-owner"),
        .numeric_owner = opt_given(o, "numeric-owner"),
        .json = o->json,
        .quiet = o->quiet,
    };
    enum err_kind kind = opt_place(o, "store", "FARSHORE_STORE", &r.store, err);

    if (kind == ERR_OK)
        kind = read_overwrite(opt_value(o, "overwrite"), &r.overwrite, err);
    if (kind == ERR_OK)
        kind = read_engine(opt_value(o, "io"), &r.engine, err);
    r.only_count = opt_values(o, "only", &r.only);
    if (kind == ERR_OK)
        *ret = r;
    return kind;
}

int
main(int argc, char **argv)
{
    AUTO(opt_free) struct opt o = { 0 };
    struct restore_options options_read = { 0 };
    struct err err = { 0 };
    bool findings = false;
    enum err_kind kind;

    log_setup("farshore-restore", false, false);
    kind = opt_parse(&program, argc, argv, &o, &err);
    if (kind == ERR_OK) {
        log_setup("farshore-restore", o.quiet, false);
        kind = read_options(&o, &options_read, &err);
    }
    if (kind == ERR_OK)
        kind = restore_run(&options_read, &findings, &err);
    if (kind == ERR_OK && (fflush(stdout) != 0 || ferror(stdout)))
        kind = err_errno(&err, "could not write to standard output");
    if (kind != ERR_OK)
        return log_fail(&err);
    return findings ? EXIT_FINDINGS : EXIT_SOUND;
}
