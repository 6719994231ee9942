/* channel_internal.h - what channel_context.c makes and channel.c uses. */
#ifndef COMMON_CHANNEL_INTERNAL_H
#define COMMON_CHANNEL_INTERNAL_H

#include <stdbool.h>

#include <openssl/types.h>

#include "common/channel.h"

struct channel_context {
    SSL_CTX *ssl;
    struct digest ca_print;
    bool server;
};

/* SHA-256 of the certificate's DER; 0, or -1 if it cannot be encoded. */
int channel_print(X509 *cert, struct digest *ret);

#endif
