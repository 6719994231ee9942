/* site.h - farshore-site: what a running site is, and what its commands share.  farshore-site(8).
 *
 * Threads: main (accepts, reaps, waits for signals), control (the socket in the store), for each connection one that reads and one
 * that sends, the pool (jobs of all sessions), the store's committer.  Locks: site.lock before session.lock; no lock is held over
 * the network, a commit or a job. */
#ifndef REPLICATOR_SITE_H
#define REPLICATOR_SITE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/channel.h"
#include "common/err.h"
#include "common/json.h"
#include "common/opt.h"
#include "common/pool.h"
#include "replicator/wire.h"
#include "snapshot/index.h"
#include "snapshot/store.h"

#define SITE_PROGRAM "farshore-site"

struct session;

struct site {
    struct store *store;
    struct pool *pool;
    struct channel_context *tls;
    int wake_fd;               /* eventfd: a session has finished, or the site shall stop */
    pthread_mutex_t lock;      /* guards sessions, session_count and what session_internal.h says */
    struct session *sessions;
    size_t session_count;
    pthread_mutex_t join_lock; /* one enrolment at a time: each takes the next city */
    _Atomic uint64_t served;   /* connections so far */
    _Atomic uint64_t marks;    /* admitted so far */
    int64_t started_ns;
};

/* serve.c */
struct serve_options {
    const char *dir;
    const char *listen; /* NULL: as site.conf says */
    bool json;
};
ERR_CHECK enum err_kind site_serve(const struct serve_options *o, struct err *err);
/* End the connections of an agent; they are told why.  Any thread. */
void site_cut_agent(struct site *site, const char *agent, const char *why);

/* site_admin.c: the acts themselves, by the running site or by a command that holds the lock. */
struct site_token {
    char text[WIRE_TOKEN_ROOM];
    int64_t expires_ns;
    bool known; /* the agent is enrolled: the token replaces its keys */
};
ERR_CHECK enum err_kind site_token_make(struct store *s, const char *agent, struct site_token *ret, struct err *err);
ERR_CHECK enum err_kind site_revoke(struct store *s, const char *agent, struct err *err);
/* An event {"type":"alarm","agent":...,"what":...} in the ledger, and a line in the log. */
void site_alarm(struct store *s, const char *agent, const char *what);

/* The commands; each prints on success. */
ERR_CHECK enum err_kind site_init_command(const struct opt *o, struct err *err);
ERR_CHECK enum err_kind site_token_command(const struct opt *o, struct err *err);
ERR_CHECK enum err_kind site_revoke_command(const struct opt *o, struct err *err);
ERR_CHECK enum err_kind site_status_command(const struct opt *o, struct err *err);

/* control.c: DIR/control.sock, one JSON line each way. */
struct control;
ERR_CHECK enum err_kind control_start(struct site *site, struct control **ret, struct err *err);
void control_stop(struct control **c);
/* Ask the site that runs on a store; *ret only if one does.  Errors: also what the site answered. */
ERR_CHECK enum err_kind control_ask(const char *dir, const struct json *question, bool *ret_running, struct json **ret,
                                    struct err *err);

#endif
