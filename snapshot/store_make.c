/* Making a store. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/pki.h"
#include "common/when.h"
#include "snapshot/index_internal.h"
#include "snapshot/ledger.h"
#include "snapshot/stage.h"
#include "snapshot/store.h"
#include "snapshot/store_internal.h"

#define TLS_DAYS 825 /* the longest that common verifiers accept */

static enum err_kind
make_dir(const char *dir, int *ret_fd, struct err *err)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_errno(err, "could not make \"%s\"", dir);
    const enum err_kind kind = fs_dir_open(dir, ret_fd, err);
    if (kind != ERR_OK)
        return kind;
    if (fs_dir_empty(*ret_fd) != 1) {
        (void)err_set(err, ERR_REFUSED, "\"%s\" is not empty", dir);
        err_hint(err, "a store is made in a directory of its own");
        return ERR_REFUSED;
    }
    return ERR_OK;
}

static enum err_kind
write_file(int dir_fd, const char *name, const struct buf *b, mode_t mode, struct err *err)
{
    const struct fs_file f = { b->at, b->size, mode };

    return fs_replace(dir_fd, name, &f, err);
}

static enum err_kind
make_keys(int fd, const char *name, const char *address, struct err *err)
{
    AUTO(buf_free) struct buf ca = { 0 };
    AUTO(buf_free) struct buf cert = { 0 };
    AUTO(sign_key_free) struct sign_key *site = NULL;
    uint8_t seal[32], public[SIGN_PUBLIC_BYTES], point[PKI_POINT_BYTES];
    char host[256];
    const struct pki_subject subject = { name, host, TLS_DAYS, 1 };

    /* The address without its port; brackets of a v6 address go. */
    const char *const colon = strrchr(address, ':');
    if (colon == NULL || colon == address || (size_t)(colon - address) >= sizeof host)
        return err_set(err, ERR_USAGE, "\"%s\" is not ADDRESS:PORT", address);
    const bool v6 = address[0] == '[' && colon[-1] == ']';
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - address - (v6 ? 2 : 0)), address + (v6 ? 1 : 0));

    hash_random(seal, sizeof seal);
    const struct fs_file seal_file = { seal, sizeof seal, 0600 };
    enum err_kind kind = fs_replace(fd, "seal.key", &seal_file, err);
    explicit_bzero(seal, sizeof seal);
    if (kind == ERR_OK)
        kind = sign_key_make(fd, "site.key", err);
    if (kind == ERR_OK)
        kind = sign_key_load(fd, "site.key", &site, err);
    if (kind != ERR_OK)
        return kind;
    sign_public(site, public);
    kind = sign_public_save(fd, "site.pub", public, err);
    if (kind == ERR_OK)
        kind = pki_key_make(fd, "ca.key", err);
    if (kind == ERR_OK)
        kind = pki_ca_make(fd, "ca.key", name, &ca, err);
    if (kind == ERR_OK)
        kind = write_file(fd, "ca.crt", &ca, 0644, err);
    if (kind == ERR_OK)
        kind = pki_key_make(fd, "tls.key", err);
    if (kind == ERR_OK)
        kind = pki_key_point(fd, "tls.key", point, err);
    if (kind == ERR_OK)
        kind = pki_issue(fd, "ca.key", "ca.crt", &subject, point, &cert, err);
    return kind != ERR_OK ? kind : write_file(fd, "tls.crt", &cert, 0644, err);
}

/* Numbers begin at 1: blob 0 is a hole. */
static enum err_kind
first_rows(void *arg, struct kv_txn *t, struct err *err)
{
    static const struct {
        enum index_meta which;
        uint64_t value;
    } rows[] = { { META_VERSION, 1 },   { META_COMMITS, 0 },   { META_BLOB_CEILING, 1 },
                 { META_PACK_NEXT, 1 }, { META_CITY_NEXT, 1 }, { META_UPLOAD_NEXT, 1 },
                 { META_LEAVES, 0 } };
    enum err_kind kind = ERR_OK;

    (void)arg;
    for (size_t i = 0; kind == ERR_OK && i < sizeof rows / sizeof rows[0]; i++)
        kind = index_meta_put(t, rows[i].which, rows[i].value, err);
    return kind;
}

enum err_kind
store_first_rows(struct store *s, struct err *err)
{
    AUTO(kv_abort) struct kv_txn *t = NULL;
    enum err_kind kind = kv_begin(s->kv, true, &t, err);

    if (kind == ERR_OK)
        kind = first_rows(NULL, t, err);
    return kind != ERR_OK ? kind : kv_commit(&t, err);
}

static enum err_kind
make_index(const char *dir, struct err *err)
{
    struct store bare = { .writer = true };
    char *const path = mem_text("%s/index", dir);
    const struct kv_options o = { index_table_names, INDEX_TABLES, true, INDEX_MAP_BYTES };
    enum err_kind kind = kv_open(path, &o, &bare.kv, err);

    free(path);
    if (kind == ERR_OK)
        kind = store_first_rows(&bare, err);
    kv_close(&bare.kv);
    return kind;
}

/* site.conf comes last: a directory without it is not a store. */
static enum err_kind
make_conf(int fd, const char *name, const char *address, struct err *err)
{
    char *const text = mem_text("# The site. See farshore-conf(5).\n"
                                "[site]\n"
                                "name = %s\n"
                                "# Where agents reach the site; it stands in tokens and in the certificate.\n"
                                "address = %s\n"
                                "# Where the site listens, if not there.\n"
                                "#listen = 0.0.0.0:7420\n"
                                "\n"
                                "# The most that one city may store.\n"
                                "#[agent chengdu]\n"
                                "#quota = 2TiB\n",
                                name, address);
    const struct fs_file f = { text, strlen(text), 0644 };
    const enum err_kind kind = fs_replace(fd, "site.conf", &f, err);

    free(text);
    return kind;
}

enum err_kind
store_make(const char *dir, const char *name, const char *address, struct err *err)
{
    static const char *const dirs[] = { "index", "packs", "pins" };
    AUTO(auto_close) int fd = -1;
    AUTO(store_close) struct store *s = NULL;

    if (!conf_name_ok(name))
        return err_set(err, ERR_USAGE,
                       "\"%s\" is not a name: lower-case letters, digits, dot, dash, underscore", name);
    enum err_kind kind = make_dir(dir, &fd, err);
    for (size_t i = 0; kind == ERR_OK && i < sizeof dirs / sizeof dirs[0]; i++)
        kind = fs_dir_make(fd, dirs[i], 0700, NULL, err);
    if (kind == ERR_OK)
        kind = make_keys(fd, name, address, err);
    if (kind == ERR_OK)
        kind = ledger_make(fd, err);
    if (kind == ERR_OK)
        kind = make_index(dir, err);
    if (kind == ERR_OK)
        kind = make_conf(fd, name, address, err);
    if (kind == ERR_OK)
        kind = fs_sync(fd, dir, err);
    if (kind == ERR_OK)
        kind = store_open(dir, true, &s, err);
    if (kind != ERR_OK)
        return kind;
    struct json *event = json_new();
    json_text(event, "type", "init");
    json_text(event, "site", name);
    return commit_change(s, NULL, NULL, &event, err);
}
