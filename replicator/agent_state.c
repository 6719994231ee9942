/* agent_state.c - the files of the state directory. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/io.h"
#include "common/log.h"
#include "common/mem.h"
#include "replicator/agent.h"

#define PENDING_MAX 8u /* marks without a receipt whose receipts may still come */
#define SIGNED_FILE_MAX (PENDING_MAX * 2u * MARK_TEXT_MAX)
static const char signature_word[] = "signature ";

void
signed_text_free(struct signed_text *s)
{
    buf_free(&s->text);
}

/* A signed text in a file: the text, then "signature " and 128 hex digits on a line. */
static void
put_signed(const struct signed_text *s, struct buf *ret)
{
    char hex[2 * SIGN_BYTES + 1];
    for (size_t i = 0; i < SIGN_BYTES; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", s->signature[i]);
    buf_put(ret, s->text.at, s->text.size);
    buf_put(ret, signature_word, strlen(signature_word));
    buf_put(ret, hex, 2 * SIGN_BYTES);
    buf_u8(ret, '\n');
}

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
take_signature(const uint8_t *line, size_t size, uint8_t ret[SIGN_BYTES])
{
    size_t word = strlen(signature_word);
    if (size != word + 2 * SIGN_BYTES)
        return false;
    for (size_t i = 0; i < SIGN_BYTES; i++) {
        int high = hex_digit(line[word + 2 * i]), low = hex_digit(line[word + 2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* The next signed text of a file.  1, 0 at the end, -1 when it is damaged. */
static int
next_signed(struct cut *c, struct signed_text *ret)
{
    const uint8_t *start = c->at;
    size_t word = strlen(signature_word);
    while (c->left > 0) {
        const uint8_t *line = c->at, *end = memchr(line, '\n', c->left);
        if (end == NULL)
            return -1;
        size_t size = (size_t)(end - line);
        c->at = end + 1;
        c->left -= size + 1;
        if (size < word || memcmp(line, signature_word, word) != 0)
            continue;
        ret->text.size = 0;
        buf_put(&ret->text, start, (size_t)(line - start));
        return take_signature(line, size, ret->signature) ? 1 : -1;
    }
    return c->at == start ? 0 : -1;
}

enum err_kind
state_load(const struct agent *a, const char *name, struct signed_text *ret, struct err *err)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    enum err_kind kind = fs_read(a->dir_fd, name, SIGNED_FILE_MAX, &bytes, err);
    if (kind != ERR_OK)
        return kind;
    struct cut c = cut_of(bytes.at, bytes.size);
    if (next_signed(&c, ret) != 1 || c.left != 0)
        return err_set(err, ERR_CORRUPT, "\"%s/%s\" is damaged", a->opt.state, name);
    return ERR_OK;
}

enum err_kind
state_save(const struct agent *a, const char *name, const struct signed_text *s, struct err *err)
{
    AUTO(buf_free) struct buf bytes = { 0 };
    put_signed(s, &bytes);
    struct fs_file file = { bytes.at, bytes.size, 0600 };
    return fs_replace(a->dir_fd, name, &file, err);
}

enum err_kind
state_remove(const struct agent *a, const char *name, struct err *err)
{
    if (unlinkat(a->dir_fd, name, 0) != 0 && errno != ENOENT)
        return err_errno(err, "could not remove \"%s/%s\"", a->opt.state, name);
    return fs_sync(a->dir_fd, a->opt.state, err);
}

bool
state_has(const struct agent *a, const char *name)
{
    return faccessat(a->dir_fd, name, F_OK, 0) == 0;
}

void
state_head_name(const char *source, char ret[SOURCE_NAME_MAX + 8])
{
    (void)snprintf(ret, SOURCE_NAME_MAX + 8, "head-%s", source);
}

enum err_kind
state_pending_add(const struct agent *a, const struct signed_text *mark, struct err *err)
{
    AUTO(buf_free) struct buf old = { 0 };
    AUTO(buf_free) struct buf all = { 0 };
    AUTO(signed_text_free) struct signed_text one = { 0 };
    enum err_kind kind = fs_read(a->dir_fd, "pending", SIGNED_FILE_MAX, &old, err);
    if (kind != ERR_OK && kind != ERR_ABSENT)
        return kind;
    size_t count = 0, skip = 0;
    struct cut c = cut_of(old.at, old.size);
    while (next_signed(&c, &one) == 1)
        count++;
    if (count >= PENDING_MAX)
        skip = count - PENDING_MAX + 1;
    c = cut_of(old.at, old.size);
    for (size_t i = 0; i < count && next_signed(&c, &one) == 1; i++)
        if (i >= skip)
            put_signed(&one, &all);
    put_signed(mark, &all);
    struct fs_file file = { all.at, all.size, 0600 };
    return fs_replace(a->dir_fd, "pending", &file, err);
}

enum err_kind
state_pending_find(const struct agent *a, const struct digest *id, struct signed_text *ret, struct err *err)
{
    AUTO(buf_free) struct buf all = { 0 };
    enum err_kind kind = fs_read(a->dir_fd, "pending", SIGNED_FILE_MAX, &all, err);
    if (kind != ERR_OK)
        return kind;
    struct cut c = cut_of(all.at, all.size);
    while (next_signed(&c, ret) == 1) {
        struct digest this;
        mark_id(ret->text.at, ret->text.size, &this);
        if (hash_same(&this, id))
            return ERR_OK;
    }
    return err_set(err, ERR_ABSENT, "no mark that was sent has this id");
}

enum err_kind
state_receipt_check(const struct agent *a, const struct signed_text *s, struct receipt *ret, struct err *err)
{
    if (sign_check(a->site_public, s->text.at, s->text.size, s->signature) != ERR_OK)
        return err_set(err, ERR_PROTOCOL, "a receipt does not have the site's signature");
    enum err_kind kind = receipt_parse(s->text.at, s->text.size, ret, err);
    if (kind == ERR_OK && strcmp(ret->agent, a->name) != 0)
        kind = err_set(err, ERR_PROTOCOL, "a receipt is for agent %s, and we are %s", ret->agent, a->name);
    return kind;
}

enum err_kind
state_receipt_keep(const struct agent *a, const struct signed_text *receipt, const struct signed_text *mark,
                   struct err *err)
{
    struct mark m;
    enum err_kind kind = mark_parse(mark->text.at, mark->text.size, &m, err);
    if (kind == ERR_OK)
        kind = state_save(a, "receipt", receipt, err);
    char name[SOURCE_NAME_MAX + 8];
    state_head_name(m.source, name);
    if (kind == ERR_OK)
        kind = state_save(a, name, mark, err);
    return kind == ERR_OK ? state_remove(a, "pending", err) : kind;
}

enum err_kind
state_forget(struct agent *a, struct err *err)
{
    struct fs_file none = { NULL, 0, 0600 };
    enum err_kind kind = fs_replace(a->dir_fd, "adopt", &none, err);
    if (kind == ERR_OK)
        kind = table_drop(a->table, NULL, err);
    for (size_t i = 0; i < a->source_count && kind == ERR_OK; i++) {
        char name[SOURCE_NAME_MAX + 8];
        state_head_name(a->sources[i].name, name);
        kind = state_remove(a, name, err);
    }
    if (kind == ERR_OK)
        kind = state_remove(a, "pending", err);
    return kind == ERR_OK ? state_remove(a, "receipt", err) : kind;
}

/* A crash came between the receipt and the removal of pending: the rest is done now. */
static enum err_kind
mend(struct agent *a, struct err *err)
{
    AUTO(signed_text_free) struct signed_text receipt = { 0 };
    AUTO(signed_text_free) struct signed_text mark = { 0 };
    struct receipt r;
    if (!state_has(a, "pending") || !state_has(a, "receipt"))
        return ERR_OK;
    enum err_kind kind = state_load(a, "receipt", &receipt, err);
    if (kind == ERR_OK)
        kind = state_receipt_check(a, &receipt, &r, err);
    if (kind != ERR_OK)
        return kind;
    kind = state_pending_find(a, &r.mark, &mark, err);
    return kind == ERR_OK ? state_receipt_keep(a, &receipt, &mark, err) : kind == ERR_ABSENT ? ERR_OK : kind;
}

/* A one-line file made by join. */
static enum err_kind
load_line(const struct agent *a, const char *name, char *ret, size_t room, struct err *err)
{
    AUTO(buf_free) struct buf b = { 0 };
    enum err_kind kind = fs_read(a->dir_fd, name, room, &b, err);
    if (kind == ERR_ABSENT) {
        kind = err_set(err, ERR_ABSENT, "\"%s\" is not the state of an agent: it has no \"%s\"", a->opt.state,
                       name);
        err_hint(err, "farshore-agent join TOKEN --state %s", a->opt.state);
    }
    if (kind != ERR_OK)
        return kind;
    while (b.size > 0 && isspace(b.at[b.size - 1]))
        b.size--;
    if (b.size == 0 || b.size >= room)
        return err_set(err, ERR_CORRUPT, "\"%s/%s\" is damaged", a->opt.state, name);
    memcpy(ret, b.at, b.size);
    ret[b.size] = '\0';
    return ERR_OK;
}

static enum err_kind
open_work(struct agent *a, struct err *err)
{
    enum err_kind kind = fs_lock(a->dir_fd, "lock", &a->lock_fd, err);
    if (kind == ERR_OK)
        kind = sign_key_load(a->dir_fd, "mark.key", &a->mark_key, err);
    if (kind != ERR_OK)
        return kind;
    sign_public(a->mark_key, a->mark_public);
    kind = table_open(a->dir_fd, a->opt.state, &a->table, err);
    if (kind == ERR_CORRUPT) {
        /* It holds nothing that cannot be read again. */
        log_warn("%s; a new table is made, and everything is read again", err != NULL ? err->text : "damage");
        (void)unlinkat(a->dir_fd, "table/data.mdb", 0);
        (void)unlinkat(a->dir_fd, "table/lock.mdb", 0);
        kind = table_open(a->dir_fd, a->opt.state, &a->table, err);
    }
    return kind == ERR_OK ? mend(a, err) : kind;
}

enum err_kind
agent_open(const struct agent_options *o, bool work, struct agent **ret, struct err *err)
{
    struct agent *a = mem_zero(1, sizeof(*a));
    a->opt = *o;
    a->dir_fd = a->lock_fd = -1;
    pthread_mutex_init(&a->link_lock, NULL);
    a->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum err_kind kind = a->stop_fd < 0 ? err_errno(err, "could not make an eventfd")
                                        : fs_dir_open(o->state, &a->dir_fd, err);
    if (kind == ERR_OK)
        kind = load_line(a, "name", a->name, sizeof(a->name), err);
    if (kind == ERR_OK)
        kind = load_line(a, "address", a->address, sizeof(a->address), err);
    if (kind == ERR_OK)
        kind = sign_public_load(a->dir_fd, "site.pub", a->site_public, err);
    if (kind == ERR_OK)
        kind = agent_conf_load(a, err);
    if (kind == ERR_OK && work)
        kind = open_work(a, err);
    if (kind == ERR_OK)
        *ret = a;
    else
        agent_close(&a);
    return kind;
}

void
agent_close(struct agent **a)
{
    struct agent *at = *a;
    if (at == NULL)
        return;
    agent_disconnect(at);
    table_close(&at->table);
    sign_key_free(&at->mark_key);
    conf_free(&at->conf);
    free(at->sources);
    int fds[] = { at->lock_fd, at->dir_fd, at->stop_fd };
    for (size_t i = 0; i < 3; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    pthread_mutex_destroy(&at->link_lock);
    free(at);
    *a = NULL;
}

void
agent_stop(struct agent *a)
{
    uint64_t one = 1;
    atomic_store(&a->stop, true);
    (void)!write(a->stop_fd, &one, sizeof(one));
    pthread_mutex_lock(&a->link_lock);
    if (a->link != NULL)
        link_cut(a->link);
    pthread_mutex_unlock(&a->link_lock);
}
