/* farshore-site init. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/conf.h"
#include "replicator/site.h"

#define INIT_ADDRESS_MAX (CHANNEL_ADDRESS_ROOM - 1) /* it stands in every token */

static const struct {
    const char *file, *what;
} keep[] = {
    { "seal.key", "opens every pack; without it NOTHING in this store can be read again" },
    { "site.key", "signs receipts and the ledger; without it no new mark can be taken here" },
    { "ca.key", "certifies agents; without it no agent can be enrolled" },
};

static void
print_text(const char *dir, const char *name, const char *address)
{
    (void)printf("made the store \"%s\" of site %s, reached at %s\n\n", dir, name, address);
    (void)printf("Keep safe, now, away from this machine (paper or two tokens in two places; not in a backup "
                 "that this\n"
                 "store holds):\n");
    for (size_t i = 0; i < sizeof keep / sizeof keep[0]; i++)
        (void)printf("  %-9s %s\n", keep[i].file, keep[i].what);
    (void)printf("\n  tar -C '%s' -c seal.key site.key ca.key | openssl enc -aes-256-cbc -pbkdf2 -salt -out "
                 "farshore-%s.keys\n",
                 dir, name);
    (void)printf("\nGive away: site.pub (auditors check receipts and the ledger with it).\n"
                 "Next: farshore-site serve --store %s\n"
                 "      farshore-site token --store %s AGENT, for each city\n",
                 dir, dir);
}

static void
print_json(const char *dir, const char *name, const char *address)
{
    AUTO(json_free) struct json *j = json_new();
    struct json *files = json_array();

    json_number(j, "schema", 1);
    json_text(j, "store", dir);
    json_text(j, "site", name);
    json_text(j, "address", address);
    json_text(j, "public_key", "site.pub");
    for (size_t i = 0; i < sizeof keep / sizeof keep[0]; i++)
        json_add_text(files, keep[i].file);
    json_put(j, "keep_safe", &files);
    json_print(stdout, j);
}

enum err_kind
site_init_command(const struct opt *o, struct err *err)
{
    const char *const name = opt_value(o, "name");
    const char *const address = opt_value(o, "address");
    const char *dir = NULL;
    enum err_kind kind = opt_place(o, "store", "FARSHORE_STORE", &dir, err);

    if (kind != ERR_OK)
        return kind;
    if (name == NULL || address == NULL)
        return err_set(err, ERR_USAGE, "init needs --name and --address");
    if (!conf_name_ok(name))
        return err_set(err, ERR_USAGE,
                       "\"%s\" is not a name: small letters, digits, and . _ - after the first", name);
    const char *const colon = strrchr(address, ':');
    if (colon == NULL || colon == address || colon[1] == '\0' ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(address) > INIT_ADDRESS_MAX ||
        strpbrk(address, " \t\n#;\"'") != NULL)
        return err_set(err, ERR_USAGE, "\"%s\" is not an address: HOST:PORT or [IPV6]:PORT, at most %u bytes",
                       address, INIT_ADDRESS_MAX);
    kind = store_make(dir, name, address, err);
    if (kind != ERR_OK)
        return kind;
    if (o->json)
        print_json(dir, name, address);
    else if (!o->quiet)
        print_text(dir, name, address);
    return ERR_OK;
}
