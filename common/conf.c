#include "common/conf.h"

#include <ini.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/conf_internal.h"
#include "common/limits.h"
#include "common/mem.h"
#include "common/when.h"

/* What libinih's reader and handler share.  It sees each line after we have cut the comment and checked the rest: it takes
 * `:` for `=`, cuts names at 49 bytes and says nothing of what it does not understand. */
struct input {
    const char *file;
    const char *text; /* what is left */
    size_t left;
    int line;
    struct conf *conf;
    bool continued; /* the line in hand began with white space */
    bool open;      /* a key of the last section is there to be continued */
    enum err_kind kind;
    struct err *err;
};

static enum err_kind bad_line(const struct input *p, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static enum err_kind
bad_line(const struct input *p, int line, const char *fmt, ...)
{
    char text[sizeof((struct err *)NULL)->text];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(p->err, ERR_CONFIG, "%s:%d: %s", p->file, line, text);
}

/* Remember that the line in hand is bad. */
#define bad(p, ...) ((void)((p)->kind = bad_line((p), (p)->line, __VA_ARGS__)))

static bool
blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The bytes of a line without comment and trailing white space. */
static size_t
line_size(const char *line, size_t size)
{
    if (size > 0 && line[size - 1] == '\r')
        size--;
    for (size_t i = 0; i < size; i++)
        if (line[i] == '#' && (i == 0 || blank(line[i - 1])))
            size = i;
    while (size > 0 && blank(line[size - 1]))
        size--;
    return size;
}

static const struct conf_kind *
kind_find(const struct conf_schema *s, const char *name)
{
    for (size_t i = 0; i < s->kind_count; i++)
        if (strcmp(s->kinds[i].name, name) == 0)
            return &s->kinds[i];
    return NULL;
}

static void
section_add(struct input *p, char *head)
{
    struct conf *const c = p->conf;
    char *const word = head + strspn(head, " \t");
    char *name = word + strcspn(word, " \t");
    size_t size = strlen(head);

    while (size > 0 && blank(head[size - 1]))
        head[--size] = '\0';
    if (*name != '\0')
        *name++ = '\0';
    name += strspn(name, " \t");
    const struct conf_kind *const kind = kind_find(c->schema, word);
    if (kind == NULL)
        bad(p, "unknown section [%s]", word);
    else if (!kind->named && *name != '\0')
        bad(p, "section [%s] takes no name", word);
    else if (kind->named && *name == '\0')
        bad(p, "section [%s NAME] needs a name", word);
    else if (c->section_count == CONF_SECTIONS_MAX)
        bad(p, "more than %u sections", CONF_SECTIONS_MAX);
    else if (kind->named && !conf_name_ok(name))
        bad(p, "bad name \"%s\": a-z, 0-9, then also . _ -, at most %u bytes", name, SOURCE_NAME_MAX);
    if (p->kind != ERR_OK)
        return;
    const struct conf_section *const old = conf_section_find(c, word, name);
    if (old != NULL) {
        bad(p, "section [%s%s%s] is there already, on line %d", word, *name == '\0' ? "" : " ", name,
            old->line);
        return;
    }
    c->sections = mem_grow(c->sections, c->section_count + 1, sizeof *c->sections);
    c->sections[c->section_count++] =
        (struct conf_section){ .kind = kind, .name = mem_text("%s", name), .line = p->line };
    p->open = false;
}

static void
line_check(struct input *p, char *line)
{
    p->continued = blank(line[0]);
    if (p->continued) {
        if (!p->open)
            bad(p, "an indented line, and no key before it to go on with");
        return;
    }
    if (line[0] == '[') {
        char *const end = strchr(line, ']');
        if (end == NULL) {
            bad(p, "a section without its ]");
        } else if (end[1] != '\0') {
            bad(p, "text after the ] of a section");
        } else {
            *end = '\0';
            section_add(p, line + 1);
            line[0] = '\0'; /* libinih has no more to do with it */
        }
        return;
    }
    const size_t at = strcspn(line, "=:");
    if (line[0] == ';')
        bad(p, "a comment begins with #");
    else if (line[0] != '\0' && (line[at] != '=' || at == 0))
        bad(p, "expected \"key = value\"");
    else if (line[0] != '\0' && p->conf->section_count == 0)
        bad(p, "a key before the first section");
}

/* libinih's reader: the next line, checked; NULL at the end and after an error. */
static char *
line_next(char *ret, int room, void *arg)
{
    struct input *const p = arg;

    if (p->kind != ERR_OK || p->left == 0)
        return NULL;
    const char *const at = p->text;
    const char *const end = memchr(at, '\n', p->left);
    const size_t raw = end == NULL ? p->left : (size_t)(end - at);
    const size_t size = line_size(at, raw);
    p->text += raw + (end != NULL);
    p->left -= raw + (end != NULL);
    p->line++;

    if (raw > CONF_LINE_BYTES_MAX || size >= (size_t)room) {
        bad(p, "longer than %u bytes", CONF_LINE_BYTES_MAX);
        return NULL;
    }
    for (size_t i = 0; i < raw - (raw > 0 && at[raw - 1] == '\r'); i++)
        if (((unsigned char)at[i] < 0x20 && at[i] != '\t') || at[i] == 0x7f) {
            bad(p, "a control character (0x%02x) at byte %zu", (unsigned char)at[i], i + 1);
            return NULL;
        }
    memcpy(ret, at, size);
    ret[size] = '\0';
    if (size > 0)
        line_check(p, ret);
    return p->kind == ERR_OK ? ret : NULL;
}

static void
number_set(struct input *p, struct conf_entry *e, const char *value)
{
    const struct conf_key *const key = e->key;
    bool ok = false;

    if (key->type == CONF_DURATION) {
        ok = when_duration(value, &e->number) == 0;
    } else if (key->type == CONF_SIZE) {
        ok = when_size(value, &e->number) == 0;
    } else if (key->type == CONF_COUNT) {
        /* A size without a unit is a count. */
        ok = value[strspn(value, "0123456789")] == '\0' && when_size(value, &e->number) == 0;
    } else {
        e->number = strcmp(value, "yes") == 0;
        if (e->number == 0 && strcmp(value, "no") != 0)
            bad(p, "\"%s\" is neither yes nor no: \"%s\"", key->name, value);
        return;
    }
    if (!ok)
        bad(p, "\"%s\" is not a %s: \"%s\"", key->name,
            key->type == CONF_DURATION ? "duration such as 250ms, 30s, 5m, 1h or 90d"
            : key->type == CONF_SIZE   ? "size such as 4096, 64KiB or 2GiB"
                                       : "number",
            value);
    else if (e->number < key->min)
        bad(p, "\"%s\" is too small: \"%s\"", key->name, value);
    else if (key->max != 0 && e->number > key->max)
        bad(p, "\"%s\" is too large: \"%s\"", key->name, value);
}

static void
value_set(struct input *p, struct conf_entry *e, const char *value)
{
    if (e->key->type == CONF_LIST) {
        if (*value == '\0')
            return; /* the items follow, a line each */
        e->items = mem_grow(e->items, e->item_count + 1, sizeof *e->items);
        e->items[e->item_count++] = mem_text("%s", value);
    } else if (*value == '\0') {
        bad(p, "\"%s\" has no value", e->key->name);
    } else if (e->key->type == CONF_PATH && (*value != '/' || strlen(value) > TARGET_BYTES_MAX)) {
        bad(p, "\"%s\" is not an absolute path: \"%s\"", e->key->name, value);
    } else if (e->key->type == CONF_TEXT || e->key->type == CONF_PATH) {
        e->text = mem_text("%s", value);
    } else {
        number_set(p, e, value);
    }
}

static const struct conf_key *
key_find(const struct conf_schema *s, const char *section, const char *name)
{
    for (size_t i = 0; i < s->key_count; i++)
        if (strcmp(s->keys[i].section, section) == 0 && strcmp(s->keys[i].name, name) == 0)
            return &s->keys[i];
    return NULL;
}

static void
key_add(struct input *p, const char *name, const char *value)
{
    struct conf_section *const s = &p->conf->sections[p->conf->section_count - 1];
    const struct conf_key *const key = key_find(p->conf->schema, s->kind->name, name);
    struct conf_entry *e = conf_entry_find(s, name);

    if (key == NULL) {
        bad(p, "unknown key \"%s\" in section [%s]", name, s->kind->name);
        return;
    }
    if (e != NULL && key->type != CONF_LIST) {
        bad(p, "\"%s\" is there already, on line %d", name, e->line);
        return;
    }
    if (e == NULL) {
        s->entries = mem_grow(s->entries, s->entry_count + 1, sizeof *s->entries);
        e = &s->entries[s->entry_count++];
        *e = (struct conf_entry){ .key = key, .line = p->line };
    }
    p->open = true;
    value_set(p, e, value);
}

/* libinih's handler.  A continuation line comes with the name of the key before it. */
static int
key_seen(void *arg, const char *section, const char *name, const char *value)
{
    struct input *const p = arg;

    (void)section; /* cut at 49 bytes: line_check has read it */
    if (p->continued) {
        const struct conf_key *const key = key_find(
            p->conf->schema, p->conf->sections[p->conf->section_count - 1].kind->name, name);
        if (key == NULL || key->type != CONF_LIST) {
            bad(p, "\"%s\" takes one line only: a line that begins with white space belongs to it", name);
            return 0;
        }
    }
    key_add(p, name, value);
    return p->kind == ERR_OK;
}

static enum err_kind
check_needed(const struct input *p)
{
    const struct conf_schema *const schema = p->conf->schema;

    for (size_t i = 0; i < p->conf->section_count; i++) {
        const struct conf_section *const s = &p->conf->sections[i];
        for (size_t k = 0; k < schema->key_count; k++) {
            const struct conf_key *const key = &schema->keys[k];
            if (!key->needed || strcmp(key->section, s->kind->name) != 0)
                continue;
            const struct conf_entry *const e = conf_entry_find(s, key->name);
            if (e == NULL || (key->type == CONF_LIST && e->item_count == 0))
                return bad_line(p, e == NULL ? s->line : e->line, "section [%s%s%s] needs \"%s\"",
                                s->kind->name, s->name[0] == '\0' ? "" : " ", s->name, key->name);
        }
    }
    return ERR_OK;
}

/* Settings of Debian's libinih, which it keeps in variables: the same for all, so set once. */
static void
ini_setup(void)
{
    static char prefix[] = "#";

    ini_max_line = (int)CONF_LINE_BYTES_MAX + 3;
    ini_start_comment_prefixes = prefix;
    ini_allow_inline_comments = false; /* they would begin with " ;" */
    ini_allow_multiline = true;
    ini_allow_no_value = false;
}

enum err_kind
conf_parse(const struct conf_schema *schema, const char *file, const char *text, size_t size,
           struct conf **ret, struct err *err)
{
    static const char mark[] = "\xef\xbb\xbf"; /* which some editors put first */
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    AUTO(conf_free) struct conf *c = mem_zero(1, sizeof *c);
    struct input p = { .file = file, .text = text, .left = size, .conf = c, .err = err };

    (void)pthread_once(&once, ini_setup);
    c->schema = schema;
    if (size >= 3 && memcmp(text, mark, 3) == 0) {
        p.text += 3;
        p.left -= 3;
    }
    const int rc = ini_parse_stream(line_next, &p, key_seen, &p);
    if (p.kind != ERR_OK)
        return p.kind;
    if (rc != 0)
        return bad_line(&p, rc < 0 ? p.line : rc, "not understood");
    p.kind = check_needed(&p);
    if (p.kind != ERR_OK)
        return p.kind;
    *ret = c;
    c = NULL;
    return ERR_OK;
}
