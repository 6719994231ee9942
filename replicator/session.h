/* session.h - one connection to the site.
 *
 *     accepted --TLS--> greeting --HELLO--> idle --BEGIN--> upload --MARK--> idle
 *                          |                 |  <-MISSING, BEGIN- |
 *                          JOIN, then closed  BYE                 BYE
 *
 *   greeting  nothing is known of the peer but its certificate; it has HANDSHAKE_MS_MAX
 *   idle      an agent whose certificate is the enrolled one; may be silent for as long as it likes
 *   upload    a stage is open; QUERY WANT GET BLOB ITEMS OBJECTS MARK
 *   failed    from any: the first error is sent, what still comes is read away, the connection is cut soon
 *
 * The reading thread takes frames in order.  QUERY, WANT, BLOB, ITEMS become jobs; OBJECTS wait for the jobs before them; the rest
 * is done at once. */
#ifndef REPLICATOR_SESSION_H
#define REPLICATOR_SESSION_H

#include <stdbool.h>
#include "replicator/site.h"

/* A new connection: its threads are started; fd is taken.  Under no lock. */
void session_start(struct site *site, int fd);
/* Join sessions that have ended and cut those that should have; returns how many are left. */
size_t session_reap(struct site *site);
/* All: tell them, and soon cut them. */
void session_stop_all(struct site *site);

#endif
