/* store_fixture.h - a store with one enrolled agent, made fresh for a test. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "snapshot/stage.h"
#include "snapshot/store.h"

#define FIXTURE_CITY 1u
struct fixture {
    char path[300];          /* of the store */
    struct store *s;         /* open for writing */
    struct sign_key *mark_key; /* of agent "chengdu" */
};
void fixture_new(void **state, struct fixture *f);
void fixture_reopen(struct fixture *f);
void fixture_free(struct fixture *f);

/* A stage on the head of chengdu/pension. */
struct stage *fixture_stage(struct fixture *f);
/* Put one file of one block holding text, in a directory tree of that one file, and make the next mark of it. */
enum err_kind fixture_mark(struct fixture *f, const char *text, struct index_mark *ret, struct err *err);

#endif
