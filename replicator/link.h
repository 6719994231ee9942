/* link.h - the agent's end of a connection: one thread reads frames and hands answers to who asked; any thread sends.
 * The reading thread never sends, so a full socket cannot stop the answers that would empty it. */
#ifndef REPLICATOR_LINK_H
#define REPLICATOR_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "replicator/wire.h"

struct agent;
struct link;

/* TLS, then the reading thread.  Errors: ERR_CLOSED, ERR_CRYPTO. */
ERR_CHECK enum err_kind link_open(const struct agent *a, struct link **ret, struct err *err);
/* A state directory that has no certificate yet: the site is known by the fingerprint of its CA. */
ERR_CHECK enum err_kind link_open_join(const char *address, const struct digest *ca, struct channel **ret,
                                       struct channel_context **ret_context, struct err *err);
void link_close(struct link **l); /* BYE, best effort */
void link_cut(struct link *l);    /* any thread; waiters get ERR_CLOSED */
bool link_alive(struct link *l);

/* A question's number, and who gets its answer: fn runs on the reading thread, may take the payload, and must not send or wait
 * for anything. */
typedef void link_answer_fn(void *arg, struct wire_frame *frame);
uint32_t link_expect(struct link *l, link_answer_fn *fn, void *arg);
/* fn is told once, on the reading thread, when the connection ends.  NULL: nobody; when that returns the old one is not running. */
typedef void link_end_fn(void *arg, const struct err *err);
void link_on_end(struct link *l, link_end_fn *fn, void *arg);

ERR_CHECK enum err_kind link_send(struct link *l, enum wire_type type, const struct buf *payload,
                                  struct err *err);
/* Send, and wait for a frame of one of the two types (others of no asker are a breach of protocol). */
struct link_want {
    enum wire_type send;
    enum wire_type type, other; /* other 0: only one */
};
ERR_CHECK enum err_kind link_call(struct link *l, const struct link_want *w, const struct buf *payload,
                                  struct wire_frame *ret, struct err *err);
/* Numbers of GET are taken by it. */
uint64_t link_bytes_out(const struct link *l);

#endif
