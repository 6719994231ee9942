/* site_fixture.h - a site in this process, and agents made by hand: they say what a test tells them to, right or wrong. */
#ifndef TESTS_SITE_FIXTURE_H
#define TESTS_SITE_FIXTURE_H

#include "tests/unit/unit.h"
#include "replicator/session.h"
#include "snapshot/mark.h"
#include "snapshot/tree.h"

struct rig {
    int dir_fd;               /* scratch: keys and certificates of agents */
    char path[300];           /* of the store */
    struct site site;
    int listen_fd, stop_fd;
    char address[CHANNEL_ADDRESS_ROOM];
    pthread_t acceptor;
};
void rig_new(void **state, struct rig *r);
void rig_free(struct rig *r);
/* Stop the site and start it again on the same store. */
void rig_restart(struct rig *r);
/* While the rig is stopped, something may be done to the store. */
void rig_stop(struct rig *r);
void rig_start(struct rig *r);

struct peer {
    struct rig *r;
    struct channel_context *context;
    struct channel *ch;
    char name[SOURCE_NAME_MAX + 1];
};
/* Enrol by JOIN with a token of the site; keys and certificate as NAME.key, NAME.crt, NAME.mark. */
void peer_join(struct rig *r, const char *name);
/* TLS only.  cert: whose certificate to show, NULL: none. */
void peer_connect(struct rig *r, const char *cert, struct peer *ret);
void peer_close(struct peer *p);
/* TLS and HELLO as the agent of this name. */
void peer_hello(struct rig *r, const char *name, struct peer *ret);
void peer_send(struct peer *p, enum wire_type type, struct buf *payload); /* emptied; a connection that is cut is no failure */
void peer_expect(struct peer *p, enum wire_type type, struct wire_frame *ret);
/* The next frame is ERROR of this kind and says this; then the connection ends. */
void peer_expect_error(struct peer *p, enum err_kind kind, const char *says);
void peer_begin(struct peer *p, const char *source, struct wire_frame *ret);

/* What a HELLO says beyond the name. */
struct wire_hello peer_hello_of(const char *name);
void peer_say_hello(struct peer *p, const struct wire_hello *h, struct wire_welcome *ret, struct wire_frame *ret_frame);

/* Append a BLOB number n of these bytes, uncompressed. */
void peer_blob(struct peer *p, uint32_t number, const void *bytes, uint32_t size);
/* A tree of one directory with one file; its pages are appended to objects. */
struct tree_made {
    struct digest root;
    uint64_t bytes, files;
};
void peer_tree(const char *name, const struct digest *file, uint64_t size, struct buf *objects, struct tree_made *ret);
/* The text of the mark after head (a BEGUN frame's head), signed with the peer's mark key. */
void peer_mark_text(struct peer *p, const struct wire_begun *begun, const struct tree_made *t, struct mark *m,
                    struct buf *ret_text);
void peer_send_mark(struct peer *p, const struct buf *text);
/* A whole pass of one small file: BEGIN to RECEIPT. */
void peer_pass(struct peer *p, const char *source, const char *text, struct receipt *ret);

#endif
