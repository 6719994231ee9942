/* conf_internal.h - what a configuration is made of: conf.c fills it, conf_get.c hands it out. */
#ifndef COMMON_CONF_INTERNAL_H
#define COMMON_CONF_INTERNAL_H

#include "common/conf.h"

struct conf_entry {
    const struct conf_key *key;
    int line;
    char *text;      /* TEXT, PATH */
    uint64_t number; /* DURATION, SIZE, BOOL, COUNT */
    char **items;    /* LIST */
    size_t item_count;
};

struct conf_section {
    const struct conf_kind *kind;
    char *name; /* "" for an unnamed one */
    int line;
    struct conf_entry *entries;
    size_t entry_count;
};

struct conf {
    const struct conf_schema *schema;
    struct conf_section *sections;
    size_t section_count;
};

/* NULL when there is none; s may be NULL. */
struct conf_entry *conf_entry_find(const struct conf_section *s, const char *name);
const struct conf_section *conf_section_find(const struct conf *c, const char *kind, const char *name);

#endif
