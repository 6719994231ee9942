#include "snapshot/mark.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "common/conf.h"

/* A text that is taken apart line by line; once a line is bad, its key stays in fault. */
struct lines {
    const char *at;
    size_t left;
    const char *fault; /* key of the first bad line, or NULL */
};

static void
put_line(struct buf *ret, const char *key, const char *value)
{
    buf_put(ret, key, strlen(key));
    buf_put(ret, " ", 1);
    buf_put(ret, value, strlen(value));
    buf_put(ret, "\n", 1);
}

static void
put_number(struct buf *ret, const char *key, uint64_t value)
{
    char digits[21];
    char *at = digits + sizeof digits - 1;

    *at = '\0';
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    put_line(ret, key, at);
}

static void
put_digest(struct buf *ret, const char *key, const struct digest *d)
{
    char hex[HASH_HEX_ROOM];

    hash_hex(d, hex);
    put_line(ret, key, hex);
}

/* The value of the next line, which must begin with key and a space, into ret [room]; "" and fault when it does not. */
static void
get_line(struct lines *l, const char *key, char *ret, size_t room)
{
    const size_t key_bytes = strlen(key);
    const char *const end = l->left == 0 ? NULL : memchr(l->at, '\n', l->left);

    ret[0] = '\0';
    if (l->fault != NULL)
        return;
    l->fault = key;
    if (end == NULL || (size_t)(end - l->at) <= key_bytes || memcmp(l->at, key, key_bytes) != 0 ||
        l->at[key_bytes] != ' ')
        return;
    const char *const value = l->at + key_bytes + 1;
    const size_t bytes = (size_t)(end - value);

    if (bytes == 0 || bytes >= room || memchr(value, '\0', bytes) != NULL)
        return;
    memcpy(ret, value, bytes);
    ret[bytes] = '\0';
    l->left -= (size_t)(end + 1 - l->at);
    l->at = end + 1;
    l->fault = NULL;
}

static void
get_heading(struct lines *l, const char *heading)
{
    const size_t bytes = strlen(heading);

    if (l->left <= bytes || memcmp(l->at, heading, bytes) != 0 || l->at[bytes] != '\n') {
        l->fault = heading;
        return;
    }
    l->at += bytes + 1;
    l->left -= bytes + 1;
}

static uint64_t
get_number(struct lines *l, const char *key, uint64_t min, uint64_t max)
{
    char digits[21];
    uint64_t v = 0;

    get_line(l, key, digits, sizeof digits);
    if (l->fault != NULL)
        return 0;
    for (const char *d = digits; *d != '\0'; d++) {
        const uint64_t unit = (uint64_t)(*d - '0');

        if (*d < '0' || *d > '9' || v > (UINT64_MAX - unit) / 10 ||
            (d == digits && *d == '0' && d[1] != '\0')) {
            l->fault = key;
            return 0;
        }
        v = v * 10 + unit;
    }
    if (v < min || v > max)
        l->fault = key;
    return v;
}

static void
get_digest(struct lines *l, const char *key, struct digest *ret)
{
    char hex[HASH_HEX_ROOM], again[HASH_HEX_ROOM];

    get_line(l, key, hex, sizeof hex);
    if (l->fault != NULL)
        return;
    if (hash_from_hex(hex, ret) == 0) {
        hash_hex(ret, again);
        if (strcmp(hex, again) == 0)
            return;
    }
    l->fault = key;
}

static void
get_name(struct lines *l, const char *key, char ret[SOURCE_NAME_MAX + 1])
{
    get_line(l, key, ret, SOURCE_NAME_MAX + 1);
    if (l->fault == NULL && !conf_name_ok(ret))
        l->fault = key;
}

static enum err_kind
lines_end(const struct lines *l, const char *what, size_t size, struct err *err)
{
    if (l->fault != NULL)
        return err_set(err, ERR_CORRUPT,
                       "%s is damaged at byte %zu: the line \"%s\" is not there or not right", what,
                       size - l->left, l->fault);
    if (l->left > 0)
        return err_set(err, ERR_CORRUPT, "%s is damaged at byte %zu: something follows its last line", what,
                       size - l->left);
    return ERR_OK;
}

static bool
position_ok(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return text[0] != '\0';
}

/* The first mark of a source has no predecessor, every other has one. */
static bool
chain_ok(const struct mark *m)
{
    static const struct digest none;

    return m->sequence > 0 && (m->sequence == 1) == (memcmp(&m->previous, &none, sizeof none) == 0);
}

void
mark_encode(const struct mark *m, struct buf *ret)
{
    char source[2 * SOURCE_NAME_MAX + 2];

    assert(conf_name_ok(m->agent) && conf_name_ok(m->source) && position_ok(m->position));
    assert(chain_ok(m) && m->started_ns >= 0);
    (void)strcpy(source, m->agent);
    (void)strcat(source, "/");
    (void)strcat(source, m->source);
    buf_put(ret, "farshore-mark-v1\n", 17);
    put_line(ret, "source", source);
    put_number(ret, "sequence", m->sequence);
    put_digest(ret, "previous", &m->previous);
    put_number(ret, "started", (uint64_t)m->started_ns);
    put_line(ret, "position", m->position);
    put_digest(ret, "root", &m->root);
    put_number(ret, "bytes", m->bytes);
    put_number(ret, "files", m->files);
}

static void
get_source(struct lines *l, struct mark *m)
{
    char source[2 * SOURCE_NAME_MAX + 2];

    get_line(l, "source", source, sizeof source);
    if (l->fault != NULL)
        return;
    l->fault = "source";
    char *const slash = strchr(source, '/');

    if (slash == NULL)
        return;
    *slash = '\0';
    /* conf_name_ok bounds the lengths. */
    if (!conf_name_ok(source) || !conf_name_ok(slash + 1))
        return;
    (void)strcpy(m->agent, source);
    (void)strcpy(m->source, slash + 1);
    l->fault = NULL;
}

enum err_kind
mark_parse(const void *text, size_t size, struct mark *ret, struct err *err)
{
    struct lines l = { .at = text, .left = size };
    struct mark m = { 0 };

    if (size > MARK_TEXT_MAX)
        return err_set(err, ERR_CORRUPT, "mark is longer than %u bytes", MARK_TEXT_MAX);
    get_heading(&l, "farshore-mark-v1");
    get_source(&l, &m);
    m.sequence = get_number(&l, "sequence", 1, UINT64_MAX);
    get_digest(&l, "previous", &m.previous);
    if (l.fault == NULL && !chain_ok(&m))
        l.fault = "previous";
    m.started_ns = (int64_t)get_number(&l, "started", 0, INT64_MAX);
    get_line(&l, "position", m.position, sizeof m.position);
    if (l.fault == NULL && !position_ok(m.position))
        l.fault = "position";
    get_digest(&l, "root", &m.root);
    m.bytes = get_number(&l, "bytes", 0, UINT64_MAX);
    m.files = get_number(&l, "files", 0, UINT64_MAX);
    const enum err_kind k = lines_end(&l, "mark", size, err);

    if (k == ERR_OK)
        *ret = m;
    return k;
}

void
mark_id(const void *text, size_t size, struct digest *ret)
{
    hash_sha256(text, size, ret);
}

void
receipt_encode(const struct receipt *r, struct buf *ret)
{
    assert(conf_name_ok(r->site) && conf_name_ok(r->agent) && conf_name_ok(r->source));
    assert(r->number > 0 && r->sequence > 0 && r->leaf < r->size && r->time_ns >= 0);
    buf_put(ret, "farshore-receipt-v1\n", 20);
    put_line(ret, "site", r->site);
    put_line(ret, "agent", r->agent);
    put_number(ret, "number", r->number);
    put_line(ret, "source", r->source);
    put_number(ret, "sequence", r->sequence);
    put_digest(ret, "mark", &r->mark);
    put_number(ret, "leaf", r->leaf);
    put_number(ret, "size", r->size);
    put_digest(ret, "root", &r->root);
    put_number(ret, "time", (uint64_t)r->time_ns);
}

enum err_kind
receipt_parse(const void *text, size_t size, struct receipt *ret, struct err *err)
{
    struct lines l = { .at = text, .left = size };
    struct receipt r = { 0 };

    if (size > RECEIPT_BYTES_MAX)
        return err_set(err, ERR_CORRUPT, "receipt is longer than %u bytes", RECEIPT_BYTES_MAX);
    get_heading(&l, "farshore-receipt-v1");
    get_name(&l, "site", r.site);
    get_name(&l, "agent", r.agent);
    r.number = get_number(&l, "number", 1, UINT64_MAX);
    get_name(&l, "source", r.source);
    r.sequence = get_number(&l, "sequence", 1, UINT64_MAX);
    get_digest(&l, "mark", &r.mark);
    r.leaf = get_number(&l, "leaf", 0, UINT64_MAX - 1);
    r.size = get_number(&l, "size", r.leaf + 1, UINT64_MAX);
    get_digest(&l, "root", &r.root);
    r.time_ns = (int64_t)get_number(&l, "time", 0, INT64_MAX);
    const enum err_kind k = lines_end(&l, "receipt", size, err);

    if (k == ERR_OK)
        *ret = r;
    return k;
}
