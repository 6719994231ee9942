/* agent_conf.c - agent.conf: farshore-conf(5). */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "replicator/agent.h"

const char agent_conf_example[] =
    "# agent.conf - what farshore-agent replicates.  farshore-conf(5)\n"
    "#\n"
    "# [site]\n"
    "# address = 192.0.2.7:7420     # another address than the one that the token named\n"
    "#\n"
    "# [source pension]\n"
    "# type = files\n"
    "# path = /srv/pension\n"
    "# interval = 1h                # of farshore-agent run\n"
    "# exclude = *.tmp              # a name at any depth; may be given more than once\n"
    "# exclude = cache/*            # with a slash: a path below the source's\n"
    "# before = /usr/local/sbin/freeze-pension\n"
    "# after = /usr/local/sbin/thaw-pension\n"
    "# one-file-system = yes        # directories that are other mounts are not entered\n"
    "# read-all = no                # yes: every byte is read at each pass\n";

#define INTERVAL_DEFAULT_NS 3600000000000ull

static const struct conf_kind kinds[] = { { "site", false }, { "source", true } };
static const struct conf_key keys[] = {
    { .section = "site", .name = "address", .type = CONF_TEXT },
    { .section = "source", .name = "type", .type = CONF_TEXT, .needed = true },
    { .section = "source", .name = "path", .type = CONF_PATH, .needed = true },
    { .section = "source", .name = "interval", .type = CONF_DURATION, .min = 1000000000ull },
    { .section = "source", .name = "exclude", .type = CONF_LIST },
    { .section = "source", .name = "before", .type = CONF_TEXT },
    { .section = "source", .name = "after", .type = CONF_TEXT },
    { .section = "source", .name = "read-all", .type = CONF_BOOL },
    { .section = "source", .name = "one-file-system", .type = CONF_BOOL },
};

static enum err_kind
load_source(struct agent *a, const char *name, struct agent_source *ret, struct err *err)
{
    const struct conf *c = a->conf;
    const char *type = conf_text(c, "source", name, "type", "");
    if (!conf_name_ok(name))
        return err_set(err, ERR_CONFIG, "agent.conf:%d: \"%s\" is no name of a source",
                       conf_line(c, "source", name, "type"), name);
    if (strcmp(type, "files") != 0)
        return err_set(err, ERR_CONFIG, "agent.conf:%d: type \"%s\" is not known; there is \"files\"",
                       conf_line(c, "source", name, "type"), type);
    *ret = (struct agent_source){
        .name = name,
        .path = conf_text(c, "source", name, "path", NULL),
        .interval_ns = conf_number(c, "source", name, "interval", INTERVAL_DEFAULT_NS),
        .before = conf_text(c, "source", name, "before", NULL),
        .after = conf_text(c, "source", name, "after", NULL),
        .read_all = conf_number(c, "source", name, "read-all", 0) != 0,
        .one_file_system = conf_number(c, "source", name, "one-file-system", 1) != 0,
    };
    ret->exclude_count = conf_list(c, "source", name, "exclude", &ret->exclude);
    return ERR_OK;
}

enum err_kind
agent_conf_load(struct agent *a, struct err *err)
{
    const struct conf_schema schema = { kinds, sizeof(kinds) / sizeof(kinds[0]), keys,
                                        sizeof(keys) / sizeof(keys[0]) };
    enum err_kind kind = conf_load(&schema, a->dir_fd, "agent.conf", &a->conf, err);
    if (kind != ERR_OK)
        return kind;
    const char *name;
    while (kind == ERR_OK && (name = conf_section(a->conf, "source", a->source_count)) != NULL) {
        a->sources = mem_grow(a->sources, a->source_count + 1, sizeof(*a->sources));
        kind = load_source(a, name, &a->sources[a->source_count], err);
        a->source_count += kind == ERR_OK;
    }
    const char *address = conf_text(a->conf, "site", "", "address", NULL);
    if (kind == ERR_OK && address != NULL) {
        if (strlen(address) >= sizeof(a->address))
            return err_set(err, ERR_CONFIG, "agent.conf:%d: the address is too long",
                           conf_line(a->conf, "site", "", "address"));
        memcpy(a->address, address, strlen(address) + 1);
    }
    return kind;
}
