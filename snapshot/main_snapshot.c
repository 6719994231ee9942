/* farshore-snapshot(1): what is in a store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/log.h"
#include "common/opt.h"
#include "snapshot/list.h"
#include "snapshot/store.h"

static const struct opt_command commands[] = {
    { "list", "[SOURCE]", 0, 1, "list the marks, oldest first" },
    { "show", "POINT", 1, 1, "show all of a mark's record and check its signature" },
    { "ls", "POINT [PATH]", 1, 2, "list a directory of a mark" },
    { "diff", "POINT POINT", 2, 2,
      "show what the second mark has otherwise; exit status 1 when they differ" },
    { "reindex", "", 0, 0, "make the index anew from packs and ledger alone" },
};
static const struct opt_option options[] = {
    { "store", "DIR", "the store; else FARSHORE_STORE", false, NULL },
};
static const struct opt_program program = {
    .name = "farshore-snapshot",
    .purpose = "list, show and compare the marks of a store",
    .commands = commands,
    .command_count = sizeof commands / sizeof commands[0],
    .options = options,
    .option_count = sizeof options / sizeof options[0],
};

struct reindex {
    bool json;
    uint64_t findings;
};

static void
found(void *arg, const char *what)
{
    struct reindex *const r = arg;

    r->findings++;
    if (r->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", "finding");
        json_text(out, "text", what);
        json_print(stdout, out);
    } else {
        (void)printf("finding: %s\n", what);
    }
}

static enum err_kind
reindex(const char *dir, bool json, uint64_t *ret_findings, struct err *err)
{
    AUTO(store_close) struct store *s = NULL;
    struct reindex r = { .json = json };
    uint64_t marks = 0;
    enum err_kind kind = store_open_bare(dir, &s, err);

    if (kind == ERR_OK)
        kind = store_reindex(s, found, &r, &marks, err);
    if (kind != ERR_OK)
        return kind;
    if (json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", "result");
        json_number(out, "marks", (int64_t)marks);
        json_number(out, "findings", (int64_t)r.findings);
        json_print(stdout, out);
    } else {
        (void)printf("index made anew: %llu mark%s, %llu finding%s\n", (unsigned long long)marks,
                     marks == 1 ? "" : "s", (unsigned long long)r.findings, r.findings == 1 ? "" : "s");
    }
    *ret_findings = r.findings;
    return ERR_OK;
}

static enum err_kind
run(const struct opt *o, const char *dir, bool *ret_findings, struct err *err)
{
    AUTO(store_close) struct store *s = NULL;
    const char *const name = o->command->name;
    char *const *const at = o->operands;
    uint64_t count = 0;
    bool sound = true;

    if (strcmp(name, "reindex") == 0) {
        const enum err_kind kind = reindex(dir, o->json, &count, err);
        *ret_findings = count > 0;
        return kind;
    }
    enum err_kind kind = store_open(dir, false, &s, err);
    if (kind != ERR_OK)
        return kind;
    const struct list l = { s, o->json };
    if (strcmp(name, "list") == 0) {
        kind = list_marks(&l, o->operand_count > 0 ? at[0] : NULL, err);
    } else if (strcmp(name, "show") == 0) {
        kind = show_mark(&l, at[0], &sound, err);
    } else if (strcmp(name, "ls") == 0) {
        kind = show_dir(&l, at[0], o->operand_count > 1 ? at[1] : NULL, err);
    } else {
        const struct diff_points points = { at[0], at[1] };
        kind = diff_marks(&l, &points, &count, err);
    }
    *ret_findings = !sound || count > 0;
    return kind;
}

int
main(int argc, char **argv)
{
    AUTO(opt_free) struct opt o = { 0 };
    struct err err = { 0 };
    const char *dir = NULL;
    bool findings = false;
    enum err_kind kind;

    log_setup("farshore-snapshot", false, false);
    kind = opt_parse(&program, argc, argv, &o, &err);
    if (kind == ERR_OK) {
        log_setup("farshore-snapshot", o.quiet, false);
        kind = opt_place(&o, "store", "FARSHORE_STORE", &dir, &err);
    }
    if (kind == ERR_OK)
        kind = run(&o, dir, &findings, &err);
    if (kind == ERR_OK && (fflush(stdout) != 0 || ferror(stdout)))
        kind = err_errno(&err, "could not write to standard output");
    if (kind != ERR_OK)
        return log_fail(&err);
    return findings ? EXIT_FINDINGS : EXIT_SOUND;
}
