/* channel_fixture.h - what the tests of channels share: certificates of two CAs, and a server that takes one connection. */
#ifndef TESTS_CHANNEL_FIXTURE_H
#define TESTS_CHANNEL_FIXTURE_H

#include <pthread.h>

#include "common/channel.h"

/* Names: the CAs ca-a and ca-b; under ca-a: site (127.0.0.1), named (localhost), agent; under ca-b: site-b, agent-b. */
extern int fixture_dir;
extern struct digest fixture_print_a; /* of ca-a */
extern struct digest fixture_print_b;

int fixture_new(void **state); /* for the group */
int fixture_free(void **state);

struct channel_context *fixture_context(const char *name, const char *ca,
                                        int server); /* name NULL: no certificate */
struct channel_context *fixture_context_of_print(const struct digest *print);

struct fixture { /* a server that accepts one connection in a thread of its own */
    struct channel_context *c;
    struct channel *ch;
    struct err err;
    enum err_kind kind; /* of the accepting, after fixture_join */
    int fd;
    pthread_t thread;
    char address[CHANNEL_ADDRESS_ROOM];
};

void fixture_start(struct fixture *s, const char *name); /* under ca-a */
void fixture_join(struct fixture *s);
void fixture_end(struct fixture *s);

/* A good connection: the client's end is returned, the other is s->ch. */
struct channel *fixture_pair(struct fixture *s);

#endif
