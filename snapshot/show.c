/* farshore-snapshot show and ls. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/auto.h"
#include "common/limits.h"
#include "common/mem.h"
#include "common/when.h"
#include "snapshot/escape.h"
#include "snapshot/ledger.h"
#include "snapshot/list.h"
#include "snapshot/point.h"
#include "snapshot/read.h"
#include "snapshot/walk.h"

#define SHOW_CACHE_BYTES (16u * MIB)

void
show_mode(const struct tree_entry *e, char ret[11])
{
    static const char bits[] = "rwxrwxrwx";

    ret[0] = e->type == TREE_FILE ? '-' : (char)e->type;
    for (unsigned i = 0; i < 9; i++)
        ret[1 + i] = e->mode & (0400u >> i) ? bits[i] : '-';
    if (e->mode & 04000)
        ret[3] = e->mode & 0100 ? 's' : 'S';
    if (e->mode & 02000)
        ret[6] = e->mode & 0010 ? 's' : 'S';
    if (e->mode & 01000)
        ret[9] = e->mode & 0001 ? 't' : 'T';
    ret[10] = '\0';
}

void
show_time(const struct tree_entry *e, char *ret)
{
    if (e->mtime_s > INT64_MAX / 1000000000 - 1 || e->mtime_s < INT64_MIN / 1000000000 + 1)
        (void)snprintf(ret, WHEN_ROOM, "%" PRId64 "s", e->mtime_s);
    else
        when_format(e->mtime_s * 1000000000 + e->mtime_ns, ret);
}

static enum err_kind
find(const struct list *l, const char *point, uint32_t *ret_city, struct index_mark *ret_mark,
     struct index_agent *ret_agent, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    enum err_kind kind = point_find(l->store, point, ret_city, ret_mark, err);

    if (kind == ERR_OK)
        kind = kv_begin(l->store->kv, false, &t, err);
    return kind != ERR_OK ? kind : index_agent_get(t, ret_mark->mark.agent, ret_agent, err);
}

static void
show_json(const struct index_mark *m, const uint8_t public[SIGN_PUBLIC_BYTES], bool sound)
{
    AUTO(json_free) struct json *out = json_new();
    struct json *mark = json_new();
    char previous[HASH_HEX_ROOM], text[4 * SIGN_BYTES];

    list_mark_json(m, mark);
    hash_hex(&m->mark.previous, previous);
    json_text(mark, "previous", previous);
    hash_base64(m->signature, SIGN_BYTES, text);
    json_text(mark, "signature", text);
    hash_base64(public, SIGN_PUBLIC_BYTES, text);
    json_text(mark, "key", text);
    json_bool(mark, "signature_holds", sound);
    json_number(out, "schema", 1);
    json_put(out, "mark", &mark);
    json_print(stdout, out);
}

static void
show_lines(const struct index_mark *m, const uint8_t public[SIGN_PUBLIC_BYTES], bool sound)
{
    char hex[HASH_HEX_ROOM], time[WHEN_ROOM], size[WHEN_ROOM], text[4 * SIGN_BYTES];

    hash_hex(&m->id, hex);
    (void)printf("mark       %s\nsource     %s/%s\nsequence   %" PRIu64 "\n", hex, m->mark.agent,
                 m->mark.source, m->mark.sequence);
    hash_hex(&m->mark.previous, hex);
    (void)printf("previous   %s\n", m->mark.sequence == 1 ? "none, this is the first" : hex);
    when_format_ns(m->mark.started_ns, time);
    (void)printf("started    %s by the agent's clock\n", time);
    when_format_ns(m->received_ns, time);
    (void)printf("received   %s by the site's clock\n", time);
    if (strcmp(m->mark.position, "-") != 0)
        (void)printf("position   %s\n", m->mark.position);
    hash_hex(&m->mark.root, hex);
    when_bytes(m->mark.bytes, size);
    (void)printf("root       %s\nbytes      %" PRIu64 " (%s)\nnames      %" PRIu64 "\n", hex, m->mark.bytes,
                 size, m->mark.files);
    (void)printf("receipt    %" PRIu64 "\nleaf       %" PRIu64 "\n", m->receipt, m->leaf);
    hash_base64(m->signature, SIGN_BYTES, text);
    (void)printf("signature  %s\n", text);
    hash_base64(public, SIGN_PUBLIC_BYTES, text);
    (void)printf("key        %s: the signature %s\n", text, sound ? "holds" : "DOES NOT HOLD");
}

enum err_kind
show_mark(const struct list *l, const char *point, bool *ret_sound, struct err *err)
{
    AUTO(buf_free) struct buf text = { 0 };
    struct index_mark m;
    struct index_agent agent;
    uint32_t city = 0;
    const enum err_kind kind = find(l, point, &city, &m, &agent, err);

    if (kind != ERR_OK)
        return kind;
    mark_encode(&m.mark, &text);
    const bool sound = sign_check(agent.mark_public, text.at, text.size, m.signature) == ERR_OK;
    if (l->json)
        show_json(&m, agent.mark_public, sound);
    else
        show_lines(&m, agent.mark_public, sound);
    *ret_sound = sound;
    return ERR_OK;
}

static void
entry_json(const struct tree_entry *e)
{
    AUTO(json_free) struct json *out = json_new();
    char mode[16], digest[HASH_HEX_ROOM], type[2] = { (char)e->type, '\0' };

    (void)snprintf(mode, sizeof mode, "%04o", e->mode);
    json_number(out, "schema", 1);
    json_text(out, "type", "entry");
    json_bytes(out, "name", e->name, e->name_bytes);
    json_text(out, "kind", type);
    json_text(out, "mode", mode);
    json_number(out, "uid", e->uid);
    json_number(out, "gid", e->gid);
    json_bytes(out, "user", e->user, e->user_bytes);
    json_bytes(out, "group", e->group, e->group_bytes);
    json_number(out, "mtime", e->mtime_s);
    json_number(out, "mtime_ns", e->mtime_ns);
    json_number(out, "bytes", (int64_t)e->size);
    if (e->type == TREE_DIR)
        json_number(out, "names", (int64_t)e->count);
    if (e->type == TREE_LINK)
        json_bytes(out, "target", e->target, e->target_bytes);
    if (e->link_group != 0)
        json_number(out, "link_group", (int64_t)e->link_group);
    if (e->xattrs_bytes > 0)
        json_number(out, "xattrs_bytes", e->xattrs_bytes);
    if (e->type == TREE_FILE || e->type == TREE_DIR) {
        hash_hex(&e->digest, digest);
        json_text(out, "digest", digest);
    }
    json_print(stdout, out);
}

static char *
owner_text(const char *name, uint8_t bytes, uint32_t number)
{
    return bytes > 0 ? escape_text(name, bytes) : mem_text("%u", number);
}

static void
entry_line(const struct tree_entry *e)
{
    AUTO(auto_free) char *name = escape_text(e->name, e->name_bytes);
    AUTO(auto_free) char *target = escape_text(e->target, e->target_bytes);
    AUTO(auto_free) char *user = owner_text(e->user, e->user_bytes, e->uid);
    AUTO(auto_free) char *group = owner_text(e->group, e->group_bytes, e->gid);
    char mode[11], time[WHEN_ROOM], size[32];

    show_mode(e, mode);
    show_time(e, time);
    if (e->type == TREE_CHAR || e->type == TREE_DISK)
        (void)snprintf(size, sizeof size, "%u, %u", (unsigned)(e->rdev >> 32),
                       (unsigned)(e->rdev & UINT32_MAX));
    else
        (void)snprintf(size, sizeof size, "%" PRIu64, e->size);
    (void)printf("%s%c %-8s %-8s %14s %s %s%s%s\n", mode, e->xattrs_bytes > 0 ? '+' : ' ', user, group, size,
                 time, name, e->type == TREE_LINK ? " -> " : "", e->type == TREE_LINK ? target : "");
}

static enum err_kind
print_dir(const struct list *l, struct reader *r, const struct digest *dir, uint64_t *ret_count,
          struct err *err)
{
    AUTO(walk_free) struct walk *w = walk_new(r, dir);
    struct tree_entry e;
    enum err_kind kind;

    while ((kind = walk_next(w, &e, err)) == ERR_OK) {
        if (l->json)
            entry_json(&e);
        else
            entry_line(&e);
        ++*ret_count;
    }
    return kind == ERR_ABSENT ? ERR_OK : kind;
}

enum err_kind
show_dir(const struct list *l, const char *point, const char *path, struct err *err)
{
    AUTO(buf_free) struct buf page = { 0 };
    AUTO(reader_free) struct reader *r = NULL;
    AUTO(auto_close) int pin = -1;
    struct index_mark m;
    struct tree_entry e;
    uint32_t city = 0;
    uint64_t count = 0;
    enum err_kind kind = point_find(l->store, point, &city, &m, err);

    if (kind == ERR_OK)
        kind = point_pin(l->store, &m.id, &pin, err);
    if (kind != ERR_OK)
        return kind;
    r = reader_new(l->store, city, SHOW_CACHE_BYTES);
    kind = walk_find(r, &m.mark.root, path == NULL ? "" : path, &page, &e, err);
    if (kind == ERR_OK && e.type == TREE_DIR) {
        kind = print_dir(l, r, &e.digest, &count, err);
    } else if (kind == ERR_OK) {
        if (l->json)
            entry_json(&e);
        else
            entry_line(&e);
        count = 1;
    }
    if (kind == ERR_OK && l->json) {
        AUTO(json_free) struct json *out = json_new();

        json_number(out, "schema", 1);
        json_text(out, "type", "result");
        json_number(out, "entries", (int64_t)count);
        json_print(stdout, out);
    }
    return kind;
}
