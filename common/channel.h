/* channel.h - TLS 1.3 over TCP, both sides authenticated, no tickets, no resumption, no early data.
 * One thread may read while others write (writers take turns, a whole call each).  A written byte proves nothing: only an
 * answer does.  Source: RFC 8446; SSL_CTX_set_num_tickets(3). */
#ifndef COMMON_CHANNEL_H
#define COMMON_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/hash.h"

struct channel_identity { /* names of PEM files in dir_fd */
    int dir_fd;
    const char *cert;      /* NULL: none (join only) */
    const char *key;
    const char *ca;        /* NULL: the peer is checked against ca_print alone (join only) */
    const struct digest *ca_print; /* SHA-256 of the CA certificate's DER, which the peer must send; join only */
};

struct channel_context;
/* Server: asks for a client certificate; a peer without one is let in and channel_peer says so, for join.  A peer with a bad
 * one (other CA, expired) is refused in the handshake.  Makes the process ignore SIGPIPE, unless it handles it already. */
ERR_CHECK enum err_kind channel_context_new(const struct channel_identity *id, int server, struct channel_context **ret,
                                            struct err *err);
void channel_context_free(struct channel_context **c);

struct channel;
/* address "HOST:PORT" or "[V6]:PORT".  The server's certificate must name HOST (IP or DNS) and stand under the CA. */
ERR_CHECK enum err_kind channel_connect(struct channel_context *c, const char *address, struct channel **ret,
                                        struct err *err);
/* Takes fd, also on error. */
ERR_CHECK enum err_kind channel_accept(struct channel_context *c, int fd, struct channel **ret, struct err *err);

/* 1 and the fingerprint (SHA-256 of the DER) when the peer showed a certificate, else 0. */
int channel_peer(const struct channel *ch, struct digest *ret);
const char *channel_peer_address(const struct channel *ch);
void channel_stall(struct channel *ch, int stall_ms_max); /* default HANDSHAKE_MS_MAX, for reads and writes; < 0: for ever */

/* Errors: ERR_CLOSED (end, reset, stall; code 0 for a clean end before the first byte), ERR_CRYPTO. */
ERR_CHECK enum err_kind channel_read(struct channel *ch, void *ret_bytes, size_t size, struct err *err); /* exactly size */
ERR_CHECK enum err_kind channel_write(struct channel *ch, const void *bytes, size_t size, struct err *err);
/* Wake both sides with ERR_CLOSED; any thread, any time; the channel stays allocated. */
void channel_cut(struct channel *ch);
void channel_close(struct channel **ch); /* close_notify if it can be sent at once, close, free */
uint64_t channel_bytes_in(const struct channel *ch);  /* payload bytes so far; any thread */
uint64_t channel_bytes_out(const struct channel *ch);

/* Listen on "ADDR:PORT" (port 0: any free one).  ret_address gets what it became. */
#define CHANNEL_ADDRESS_ROOM 80
ERR_CHECK enum err_kind channel_listen(const char *address, int *ret_fd, char ret_address[CHANNEL_ADDRESS_ROOM],
                                       struct err *err);
#endif
