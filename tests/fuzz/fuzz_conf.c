/* agent.conf and site.conf as anybody may write them: read or refused with file and line, never anything else. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/auto.h"
#include "common/conf.h"
#include "common/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const struct conf_kind kinds[] = { { "site", false }, { "source", true } };
static const struct conf_key keys[] = {
    { "site", "name", CONF_TEXT, true, 0, 0 },       { "site", "quota", CONF_SIZE, false, MIB, 0 },
    { "source", "path", CONF_PATH, true, 0, 0 },     { "source", "interval", CONF_DURATION, false, 1000, 0 },
    { "source", "exclude", CONF_LIST, false, 0, 0 }, { "source", "read-all", CONF_BOOL, false, 0, 0 },
    { "source", "count", CONF_COUNT, false, 1, 16 },
};
static const struct conf_schema schema = { kinds, sizeof kinds / sizeof kinds[0], keys,
                                           sizeof keys / sizeof keys[0] };

/* What was accepted must be had by its names, and within the bounds that the schema sets. */
static void
look(const struct conf *c)
{
    const char *name;

    assert(conf_text(c, "site", "", "name", NULL) != NULL || conf_section(c, "site", 0) == NULL);
    for (size_t n = 0; (name = conf_section(c, "source", n)) != NULL; n++) {
        const char *const *list = NULL;
        const char *const path = conf_text(c, "source", name, "path", NULL);
        const uint64_t count = conf_number(c, "source", name, "count", 1);

        assert(path != NULL && path[0] == '/');
        assert(count >= 1 && count <= 16);
        assert(conf_line(c, "source", name, "path") > 0);
        for (size_t i = conf_list(c, "source", name, "exclude", &list); i > 0; i--)
            assert(list[i - 1] != NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    AUTO(conf_free) struct conf *c = NULL;
    struct err err = { 0 };
    const enum err_kind kind = conf_parse(&schema, "fuzz.conf", (const char *)bytes, size, &c, &err);

    if (kind == ERR_OK)
        look(c);
    else
        assert(kind == ERR_CONFIG && err.text[0] != '\0');
    return 0;
}
