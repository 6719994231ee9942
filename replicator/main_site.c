/* farshore-site(8): the site's store, its agents, and the daemon that serves them. */
#include <stdio.h>
#include <string.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/opt.h"
#include "replicator/site.h"

static enum err_kind
serve_command(const struct opt *o, struct err *err)
{
    struct serve_options s = { .listen = opt_value(o, "listen"), .json = o->json };
    const enum err_kind kind = opt_place(o, "store", "FARSHORE_STORE", &s.dir, err);

    return kind != ERR_OK ? kind : site_serve(&s, err);
}

static const struct opt_command commands[] = {
    { "init", "", 0, 0, "make a store: keys, certificates, index, ledger" },
    { "serve", "", 0, 0, "take what agents send, until SIGTERM" },
    { "token", "AGENT", 1, 1, "print a one-time token, good for an hour, that enrols an agent" },
    { "revoke", "AGENT", 1, 1, "refuse an agent from now on; what it stored stays" },
    { "status", "", 0, 0, "show agents, sources, newest marks and their age" },
};
static const struct opt_option options[] = {
    { "store", "DIR", "the store; else FARSHORE_STORE", false, NULL },
    { "name", "NAME", "name of the site", false, " init " },
    { "address", "HOST:PORT", "where agents reach the site", false, " init " },
    { "listen", "ADDR:PORT", "listen here rather than where site.conf says", false, " serve " },
};
static const struct opt_program program = {
    .name = SITE_PROGRAM,
    .purpose = "keep what the agents of the cities send",
    .commands = commands,
    .command_count = sizeof commands / sizeof commands[0],
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

static const struct {
    const char *name;
    enum err_kind (*run)(const struct opt *o, struct err *err);
} verbs[] = {
    { "init", site_init_command },     { "serve", serve_command },        { "token", site_token_command },
    { "revoke", site_revoke_command }, { "status", site_status_command },
};

int
main(int argc, char **argv)
{
    AUTO(opt_free) struct opt o = { 0 };
    struct err err = { 0 };
    enum err_kind kind = opt_parse(&program, argc, argv, &o, &err);
    size_t n = 0;

    log_setup(SITE_PROGRAM, false, false);
    if (kind != ERR_OK)
        return log_fail(&err);
    log_setup(SITE_PROGRAM, o.quiet, strcmp(o.command->name, "serve") == 0);
    while (strcmp(verbs[n].name, o.command->name) != 0)
        n++;
    kind = verbs[n].run(&o, &err);
    if (kind == ERR_OK && (fflush(stdout) != 0 || ferror(stdout) != 0))
        kind = err_errno(&err, "could not write to standard output");
    return kind == ERR_OK ? EXIT_SOUND : log_fail(&err);
}
