#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/bytes.h"
#include "common/conf.h"
#include "common/conf_internal.h"
#include "common/fs.h"
#include "common/limits.h"

struct conf_entry *
conf_entry_find(const struct conf_section *s, const char *name)
{
    for (size_t i = 0; s != NULL && i < s->entry_count; i++)
        if (strcmp(s->entries[i].key->name, name) == 0)
            return &s->entries[i];
    return NULL;
}

const struct conf_section *
conf_section_find(const struct conf *c, const char *kind, const char *name)
{
    for (size_t i = 0; i < c->section_count; i++)
        if (strcmp(c->sections[i].kind->name, kind) == 0 && strcmp(c->sections[i].name, name) == 0)
            return &c->sections[i];
    return NULL;
}

enum err_kind
conf_load(const struct conf_schema *schema, int dir_fd, const char *name, struct conf **ret, struct err *err)
{
    AUTO(buf_free) struct buf text = { 0 };
    const enum err_kind kind = fs_read(dir_fd, name, CONF_FILE_BYTES_MAX, &text, err);

    if (kind == ERR_LIMIT)
        return err_set(err, ERR_CONFIG, "%s: larger than %u bytes", name, CONF_FILE_BYTES_MAX);
    if (kind != ERR_OK)
        return kind;
    return conf_parse(schema, name, (const char *)text.at, text.size, ret, err);
}

void
conf_free(struct conf **c)
{
    struct conf *const gone = *c;

    *c = NULL;
    if (gone == NULL)
        return;
    for (size_t i = 0; i < gone->section_count; i++) {
        const struct conf_section *const s = &gone->sections[i];
        for (size_t k = 0; k < s->entry_count; k++) {
            for (size_t n = 0; n < s->entries[k].item_count; n++)
                free(s->entries[k].items[n]);
            free(s->entries[k].items);
            free(s->entries[k].text);
        }
        free(s->entries);
        free(s->name);
    }
    free(gone->sections);
    free(gone);
}

const char *
conf_section(const struct conf *c, const char *kind, size_t n)
{
    for (size_t i = 0; i < c->section_count; i++)
        if (strcmp(c->sections[i].kind->name, kind) == 0 && n-- == 0)
            return c->sections[i].name;
    return NULL;
}

static bool
known(const struct conf_schema *schema, const char *kind, const char *key)
{
    for (size_t i = 0; i < schema->key_count; i++)
        if (strcmp(schema->keys[i].section, kind) == 0 && strcmp(schema->keys[i].name, key) == 0)
            return true;
    return false;
}

static const struct conf_entry *
find(const struct conf *c, const char *kind, const char *name, const char *key)
{
    assert(known(c->schema, kind, key)); /* else the caller would get its fallback for ever */
    return conf_entry_find(conf_section_find(c, kind, name), key);
}

const char *
conf_text(const struct conf *c, const char *kind, const char *name, const char *key, const char *fallback)
{
    const struct conf_entry *const e = find(c, kind, name, key);

    assert(e == NULL || e->text != NULL);
    return e == NULL ? fallback : e->text;
}

uint64_t
conf_number(const struct conf *c, const char *kind, const char *name, const char *key, uint64_t fallback)
{
    const struct conf_entry *const e = find(c, kind, name, key);

    assert(e == NULL || (e->text == NULL && e->key->type != CONF_LIST));
    return e == NULL ? fallback : e->number;
}

size_t
conf_list(const struct conf *c, const char *kind, const char *name, const char *key, const char *const **ret)
{
    const struct conf_entry *const e = find(c, kind, name, key);

    assert(e == NULL || e->key->type == CONF_LIST);
    *ret = e == NULL ? NULL : (const char *const *)e->items;
    return e == NULL ? 0 : e->item_count;
}

int
conf_line(const struct conf *c, const char *kind, const char *name, const char *key)
{
    const struct conf_entry *const e = find(c, kind, name, key);

    return e == NULL ? 0 : e->line;
}

bool
conf_name_ok(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static const char more[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

    return *name != '\0' && strchr(first, *name) != NULL && name[strspn(name, more)] == '\0' &&
           strlen(name) <= SOURCE_NAME_MAX;
}
