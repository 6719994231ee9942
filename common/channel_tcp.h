/* channel_tcp.h - the TCP below a channel: addresses, sockets, waiting.  Used by channel.c alone. */
#ifndef COMMON_CHANNEL_TCP_H
#define COMMON_CHANNEL_TCP_H

#include <stdint.h>
#include "common/channel.h"
#include "common/err.h"

#define TCP_HOST_ROOM 256

int64_t tcp_now_ms(void); /* monotonic */

/* Split "HOST:PORT" or "[V6]:PORT".  Errors: ERR_CONFIG. */
ERR_CHECK enum err_kind tcp_split(const char *address, char ret_host[TCP_HOST_ROOM], char ret_port[8],
                                  struct err *err);

/* A connected, non-blocking socket; every address of the host is tried until deadline_ms.  Errors: ERR_CLOSED. */
ERR_CHECK enum err_kind tcp_connect(const char *address, int64_t deadline_ms, int *ret_fd, struct err *err);

/* Non-blocking, close-on-exec, no delay, keepalive, and an end when the peer acknowledges nothing. */
ERR_CHECK enum err_kind tcp_setup(int fd, struct err *err);

/* The peer as "IP:PORT"; "unknown" when there is none to be had. */
void tcp_peer(int fd, char ret_address[CHANNEL_ADDRESS_ROOM]);

/* Wait for events until deadline_ms (< 0: for ever).  1: something is to be done; 0: the time is over. */
int tcp_wait(int fd, short events, int64_t deadline_ms);

/* Say that nothing more comes and read away what has come, until the peer ends or deadline_ms, so that the close does not
 * become a reset that destroys what we sent last. */
void tcp_finish(int fd, int64_t deadline_ms);

#endif
