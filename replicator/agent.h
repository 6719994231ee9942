/* agent.h - farshore-agent: its options, its state directory, its sources.  farshore-agent(8).
 *
 *     state/  agent.conf tls.key tls.crt ca.crt mark.key site.pub name address    made by join
 *             lock            one process works with a state at a time
 *             receipt         the site's last receipt, of whatever source: what the next HELLO carries
 *             pending         marks sent since then, signed: a receipt for one of them may have been lost on the way
 *             head-SOURCE     the source's newest mark that has a receipt
 *             adopt           accept was called: the site's last receipt is taken as ours without an alarm
 *             table/ status.json
 *
 * Order of writes at a receipt: receipt, head-SOURCE, then pending goes.  A crash between any two is carried on from at start. */
#ifndef REPLICATOR_AGENT_H
#define REPLICATOR_AGENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/bytes.h"
#include "common/conf.h"
#include "common/err.h"
#include "common/limits.h"
#include "common/ring.h"
#include "common/sign.h"
#include "replicator/link.h"
#include "replicator/table.h"
#include "replicator/wire.h"
#include "snapshot/mark.h"

#define AGENT_PROGRAM "farshore-agent " FARSHORE_VERSION
#define AGENT_WORKERS_MAX 16u

struct agent_options {
    const char *state;
    bool json, quiet;
    bool read_all;    /* facts of the table are not trusted */
    bool allow_empty; /* an empty root is meant */
    enum ring_engine engine;
    size_t workers; /* 1..AGENT_WORKERS_MAX */
};

struct agent_source {
    const char *name, *path;
    uint64_t interval_ns;
    const char *const *exclude; /* [exclude_count] */
    size_t exclude_count;
    const char *before, *after; /* shell commands, or NULL */
    bool read_all;
    bool one_file_system;
};

/* A text and the signature over it, owned. */
struct signed_text {
    struct buf text;
    uint8_t signature[SIGN_BYTES];
};
void signed_text_free(struct signed_text *s);

struct agent {
    struct agent_options opt;
    int dir_fd;
    int lock_fd; /* -1: not held (status, join) */
    char name[SOURCE_NAME_MAX + 1];
    char address[CHANNEL_ADDRESS_ROOM];
    uint8_t site_public[SIGN_PUBLIC_BYTES];
    uint8_t mark_public[SIGN_PUBLIC_BYTES];
    struct sign_key *mark_key;
    struct conf *conf;
    struct agent_source *sources; /* [source_count], owned; texts in conf */
    size_t source_count;
    struct table *table;
    struct link *link; /* NULL: not connected; changed under link_lock */
    pthread_mutex_t link_lock;
    int stop_fd;       /* eventfd: readable once stop is set */
    _Atomic bool stop; /* SIGTERM or SIGINT came */
    bool cloned; /* the receipts tell of a clone or a rollback of this agent: a finding of the next pass */
};

/* Open a state directory.  work: take the lock, load the keys, open the table and mend what a crash left.
 * Errors: ERR_ABSENT (never joined), ERR_REFUSED (another process works with it), ERR_CONFIG. */
ERR_CHECK enum err_kind agent_open(const struct agent_options *o, bool work, struct agent **ret,
                                   struct err *err);
void agent_close(struct agent **a);
/* Any thread: wake whatever waits, so that the command ends soon. */
void agent_stop(struct agent *a);

/* agent_conf.c */
ERR_CHECK enum err_kind agent_conf_load(struct agent *a, struct err *err);
extern const char agent_conf_example[]; /* what join writes */

/* agent_state.c */
ERR_CHECK enum err_kind state_load(const struct agent *a, const char *name, struct signed_text *ret,
                                   struct err *err);
ERR_CHECK enum err_kind state_save(const struct agent *a, const char *name, const struct signed_text *s,
                                   struct err *err);
ERR_CHECK enum err_kind state_remove(const struct agent *a, const char *name,
                                     struct err *err); /* absent is fine */
bool state_has(const struct agent *a, const char *name);
void state_head_name(const char *source, char ret[SOURCE_NAME_MAX + 8]);
ERR_CHECK enum err_kind state_pending_add(const struct agent *a, const struct signed_text *mark,
                                          struct err *err);
/* The pending mark with this id.  Errors: ERR_ABSENT. */
ERR_CHECK enum err_kind state_pending_find(const struct agent *a, const struct digest *id,
                                           struct signed_text *ret, struct err *err);
/* Parse and check a receipt: the site's signature, its name where it is known, ours. */
ERR_CHECK enum err_kind state_receipt_check(const struct agent *a, const struct signed_text *s,
                                            struct receipt *ret, struct err *err);
/* A receipt for a pending mark: receipt, head, then pending goes. */
ERR_CHECK enum err_kind state_receipt_keep(const struct agent *a, const struct signed_text *receipt,
                                           const struct signed_text *mark, struct err *err);
/* Forget receipt, heads, pending and the table's rows, and mark the site's word as acceptable. */
ERR_CHECK enum err_kind state_forget(struct agent *a, struct err *err);

/* agent_join.c */
ERR_CHECK enum err_kind agent_join(const char *state, const char *token, struct err *err);

/* greet.c: connect if we are not; HELLO, WELCOME, and the verdict of the receipts (DESIGN, "Opening a session").
 * Errors: ERR_REFUSED when the site was rolled back; ERR_CLOSED, ERR_CRYPTO. */
ERR_CHECK enum err_kind agent_connect(struct agent *a, struct err *err);
void agent_disconnect(struct agent *a);

/* What is known of a source, kept in status.json. */
struct source_status {
    char name[SOURCE_NAME_MAX + 1];
    uint64_t sequence; /* of the newest mark with a receipt; 0: none */
    char id[65];
    int64_t started_ns;  /* the agent's clock at the start of that pass */
    int64_t received_ns; /* the site's clock in the receipt */
    int64_t tried_ns;    /* start of the last pass, whatever became of it */
    double seconds;
    uint64_t files, bytes, read, sent, findings;
    uint64_t reached_ns; /* time between the starts of the last two marks; 0: one mark only */
    char failure[512];   /* of the last pass; "": none */
};
struct agent_status {
    struct source_status *sources; /* [count], owned: one for each configured source, in that order */
    size_t count;
    char engine[16];
    char alarm[512]; /* "": none */
    int64_t alarm_ns;
};
/* status.c.  A missing or unreadable status.json gives an empty status: it holds nothing that cannot be made again. */
void status_load(const struct agent *a, struct agent_status *ret);
void status_save(const struct agent *a, const struct agent_status *s);
void status_free(struct agent_status *s);
void status_alarm(const struct agent *a, const char *text); /* load, set, save */
int status_print(struct agent *a);                          /* the command; returns the exit status */

/* run.c */
int run_once(struct agent *a, char *const *names, int count); /* exit status */
int run_daemon(struct agent *a);

#endif
