/* main_agent.c - farshore-agent(8): replicates file trees of this machine to a site. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/json.h"
#include "common/log.h"
#include "common/opt.h"
#include "common/pool.h"
#include "replicator/agent.h"

static const struct opt_command commands[] = {
    { "join", "TOKEN", 1, 1, "become an agent of the site that made the token" },
    { "once", "[SOURCE...]", 0, -1, "one pass over all or the named sources" },
    { "run", "", 0, 0, "pass over every source each interval, until SIGTERM" },
    { "status", "", 0, 0, "sources, their last marks, alarms" },
    { "accept", "", 0, 0, "go on with a site that was rolled back" },
};
static const struct opt_option options[] = {
    { .name = "state", .value = "DIR", .help = "the agent's state directory (else FARSHORE_STATE)" },
    { .name = "read-all", .help = "read every byte, whatever the table remembers", .commands = " once run " },
    { .name = "allow-empty", .help = "an empty source is meant to be empty", .commands = " once run " },
    { .name = "io", .value = "ENGINE", .help = "auto, uring or plain", .commands = " once run " },
    { .name = "workers",
      .value = "N",
      .help = "threads that read and compress (all processors)",
      .commands = " once run " },
};
static const struct opt_program program = {
    .name = "farshore-agent",
    .purpose = "replicate file trees to a disaster-recovery site",
    .commands = commands,
    .command_count = sizeof(commands) / sizeof(commands[0]),
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
};

static enum err_kind
take_options(const struct opt *o, struct agent_options *ret, struct err *err)
{
    const char *io = opt_value(o, "io"), *workers = opt_value(o, "workers");
    ret->json = o->json;
    ret->quiet = o->quiet;
    ret->read_all = opt_given(o, "read-all");
    ret->allow_empty = opt_given(o, "allow-empty");
    ret->engine = RING_AUTO;
    if (io != NULL && strcmp(io, "uring") == 0)
        ret->engine = RING_URING;
    else if (io != NULL && strcmp(io, "plain") == 0)
        ret->engine = RING_PLAIN;
    else if (io != NULL && strcmp(io, "auto") != 0)
        return err_set(err, ERR_USAGE, "--io takes auto, uring or plain, not \"%s\"", io);
    ret->workers = pool_cores();
    if (workers != NULL) {
        char *end = NULL;
        errno = 0;
        unsigned long n = strtoul(workers, &end, 10);
        if (errno != 0 || *workers == '\0' || *end != '\0' || n < 1 || n > AGENT_WORKERS_MAX)
            return err_set(err, ERR_USAGE, "--workers takes 1 to %u, not \"%s\"", AGENT_WORKERS_MAX, workers);
        ret->workers = n;
    }
    if (ret->workers > AGENT_WORKERS_MAX)
        ret->workers = AGENT_WORKERS_MAX;
    return opt_place(o, "state", "FARSHORE_STATE", &ret->state, err);
}

/* Descriptors are held for each level of the tree and for files under work. */
static void
raise_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    rlim_t want = 65536;
    r.rlim_cur = r.rlim_max == RLIM_INFINITY || r.rlim_max > want ? want : r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

static sigset_t signals; /* SIGTERM, SIGINT: stop; SIGUSR1: the thread itself ends */

static void *
signal_main(void *arg)
{
    struct agent *a = arg;
    int got = 0;
    while (sigwait(&signals, &got) == 0 && got != SIGUSR1)
        agent_stop(a);
    return NULL;
}

static int
run_work(struct agent *a, const struct opt *o)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, signal_main, a);
    if (rc != 0) {
        log_error("could not start a thread: %s", strerror(rc));
        return EXIT_FAILED;
    }
    bool once = strcmp(o->command->name, "once") == 0;
    int status = once ? run_once(a, o->operands, o->operand_count) : run_daemon(a);
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
    return status;
}

static enum err_kind
accept_site(struct agent *a, struct err *err)
{
    enum err_kind kind = state_forget(a, err);
    if (kind != ERR_OK)
        return kind;
    status_alarm(a, "");
    log_info("the last receipt is forgotten: what the site has now is taken as it is");
    log_info("the next pass reads every byte, and sends what the site does not have");
    log_info("marks that the site has lost stay lost; tell whoever relied on them");
    return ERR_OK;
}

/* What join and accept did, for machines. */
static void
print_done(const struct agent_options *ao, const char *word)
{
    if (!ao->json)
        return;
    struct json *j = json_new();
    json_number(j, "schema", 1);
    json_text(j, "state", ao->state);
    json_bool(j, word, true);
    json_print(stdout, j);
    json_free(&j);
}

static enum err_kind
execute(const struct opt *o, const struct agent_options *ao, int *ret_status, struct err *err)
{
    const char *name = o->command->name;
    if (strcmp(name, "join") == 0) {
        enum err_kind kind = agent_join(ao->state, o->operands[0], err);
        if (kind == ERR_OK) {
            log_info("joined; name the sources in \"%s/agent.conf\"", ao->state);
            print_done(ao, "joined");
        }
        return kind;
    }
    bool status = strcmp(name, "status") == 0;
    struct agent *a = NULL;
    enum err_kind kind = agent_open(ao, !status, &a, err);
    if (kind != ERR_OK)
        return kind;
    if (status)
        *ret_status = status_print(a);
    else if (strcmp(name, "accept") == 0)
        kind = accept_site(a, err);
    else
        *ret_status = run_work(a, o);
    if (kind == ERR_OK && strcmp(name, "accept") == 0)
        print_done(ao, "accepted");
    agent_close(&a);
    return kind;
}

int
main(int argc, char **argv)
{
    struct opt o = { 0 };
    struct err err = { 0 };
    struct agent_options ao = { 0 };
    int status = EXIT_SOUND;
    log_setup("farshore-agent", false, false);
    enum err_kind kind = opt_parse(&program, argc, argv, &o, &err);
    if (kind == ERR_OK)
        kind = take_options(&o, &ao, &err);
    if (kind == ERR_OK) {
        bool daemon = strcmp(o.command->name, "run") == 0;
        log_setup("farshore-agent", o.quiet, daemon);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGUSR1);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        if (daemon || strcmp(o.command->name, "once") == 0)
            (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
        raise_files();
        kind = execute(&o, &ao, &status, &err);
    }
    opt_free(&o);
    return kind == ERR_OK ? status : log_fail(&err);
}
