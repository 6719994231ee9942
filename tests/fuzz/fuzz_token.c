/* Tokens: a text that is taken gives, written and read again, the same token. */
#include <assert.h>
#include <string.h>

#include "common/auto.h"
#include "common/conf.h"
#include "common/mem.h"
#include "replicator/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    AUTO(auto_free) char *text = mem_alloc(size + 1);
    struct wire_token t, again;
    char written[WIRE_TOKEN_ROOM];

    memcpy(text, bytes, size);
    text[size] = '\0';
    if (wire_token_read(text, &t, NULL) != ERR_OK)
        return 0;
    assert(conf_name_ok(t.agent) && t.address[0] != '\0' && strlen(t.address) < CHANNEL_ADDRESS_ROOM);
    wire_token_write(&t, written);
    const enum err_kind kind = wire_token_read(written, &again, NULL);
    assert(kind == ERR_OK && memcmp(&t, &again, sizeof t) == 0);
    return 0;
}
