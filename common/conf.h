/* conf.h - INI files (libinih), strict: an unknown section kind, an unknown key, a doubled key or section, a value that does
 * not parse is ERR_CONFIG with file and line.  A comment starts with # at the start of a line or after white space. */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

#define CONF_FILE_BYTES_MAX (1024u * 1024u) /* a thousand sources with long lists take a tenth */
#define CONF_SECTIONS_MAX 4096u             /* each new name is held against all before it */
#define CONF_LINE_BYTES_MAX 8191u           /* a key and a path of PATH_MAX fit twice */

enum conf_type { CONF_TEXT, CONF_PATH /* absolute */, CONF_DURATION /* ns */, CONF_SIZE /* bytes */, CONF_BOOL /* yes no */,
                 CONF_COUNT, CONF_LIST /* texts, one a key line or continuation line; the key may repeat */ };

struct conf_key {
    const char *section; /* kind: the first word of [source pension] is the kind, the rest its name */
    const char *name;
    enum conf_type type;
    bool needed;         /* in each section of that kind */
    uint64_t min, max;   /* DURATION, SIZE, COUNT; max 0: no bound */
};
struct conf_kind {
    const char *name;    /* section kind */
    bool named;          /* [source NAME], many; else [site], one */
};
/* Borrowed for as long as a conf made with it lives. */
struct conf_schema {
    const struct conf_kind *kinds; size_t kind_count;
    const struct conf_key *keys;   size_t key_count;
};

struct conf;
/* text [size] is the file's content; file is its name for messages. */
ERR_CHECK enum err_kind conf_parse(const struct conf_schema *schema, const char *file, const char *text, size_t size,
                                   struct conf **ret, struct err *err);
ERR_CHECK enum err_kind conf_load(const struct conf_schema *schema, int dir_fd, const char *name, struct conf **ret,
                                  struct err *err);
void conf_free(struct conf **c);

/* The n-th section of a kind: its name ("" for an unnamed one), or NULL past the last. */
const char *conf_section(const struct conf *c, const char *kind, size_t n);
/* name "" for an unnamed section.  A missing key gives the fallback.  Texts live as long as the conf. */
const char *conf_text(const struct conf *c, const char *kind, const char *name, const char *key, const char *fallback);
uint64_t conf_number(const struct conf *c, const char *kind, const char *name, const char *key, uint64_t fallback);
size_t conf_list(const struct conf *c, const char *kind, const char *name, const char *key, const char *const **ret);
int conf_line(const struct conf *c, const char *kind, const char *name, const char *key); /* for messages; 0 if absent */

/* A name of an agent, a source or a site: [a-z0-9][a-z0-9._-]*, at most SOURCE_NAME_MAX. */
bool conf_name_ok(const char *name);

#endif
