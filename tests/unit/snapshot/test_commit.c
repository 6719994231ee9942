/* Many sessions put at once, and each finds what it put, committed or not; a large upload is committed in pieces.
 * Method: threads with a stage each over one store; run under TSan as well. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "snapshot/merkle.h"
#include "snapshot/pack.h"
#include "snapshot/read.h"
#include "tests/unit/snapshot/store_fixture.h"

#define THREADS 4
#define BLOBS 200

struct session {
    struct store *s;
    struct stage *st;
    int number;
    int failed; /* line where it failed, 0 if it did not */
};

#define HOLDS(x)                                                                                             \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            return __LINE__;                                                                                 \
    } while (0)

static int
put_one(struct session *se, struct reader *r, int i)
{
    char text[64];
    uint64_t blob = 0;
    bool have = false;
    struct digest d, page;
    struct buf b = { 0 };
    const int n = snprintf(text, sizeof text, "blob %d of session %d", i, se->number);
    const struct stage_blob data = { text, (uint32_t)n, (uint32_t)n, 0 };

    HOLDS(stage_blob(se->st, &data, &blob, NULL) == ERR_OK);
    merkle_leaf(text, (size_t)n, &d);
    HOLDS(stage_block(se->st, &d, blob, 0, (uint32_t)n, NULL) == ERR_OK);
    tree_xattrs_digest(text, (size_t)n, &page);
    HOLDS(stage_object(se->st, OBJECT_XATTRS, &page, text, (uint32_t)n, NULL) == ERR_OK);
    HOLDS(stage_have(se->st, OBJECT_XATTRS, &page, &have, NULL) == ERR_OK && have);
    HOLDS(stage_have(se->st, OBJECT_BLOCK, &d, &have, NULL) == ERR_OK && have);
    HOLDS(reader_blob(r, blob, &b, NULL) == ERR_OK);
    HOLDS(b.size == (size_t)n && memcmp(b.at, text, b.size) == 0);
    buf_free(&b);
    if (i % 20 == 0)
        HOLDS(stage_checkpoint(se->st, NULL) == ERR_OK);
    return 0;
}

static void *
session_run(void *arg)
{
    struct session *const se = arg;
    struct reader *r = reader_new(se->s, FIXTURE_CITY, 4096);

    reader_stage(r, se->st);
    for (int i = 0; i < BLOBS && se->failed == 0; i++)
        se->failed = put_one(se, r, i);
    reader_free(&r);
    return NULL;
}

static void
many_sessions_put_and_find_at_once(void **state)
{
    struct fixture f;
    struct session sessions[THREADS];
    pthread_t threads[THREADS];
    struct index_mark m;

    fixture_new(state, &f);
    for (int i = 0; i < THREADS; i++) {
        sessions[i] = (struct session){ f.s, fixture_stage(&f), i, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, session_run, &sessions[i]), 0);
    }
    assert_int_equal(fixture_mark(&f, "meanwhile", &m, NULL), ERR_OK);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(sessions[i].failed, 0);
        assert_int_equal(stage_checkpoint(sessions[i].st, NULL), ERR_OK);
        stage_free(&sessions[i].st);
    }
    /* What was committed without a mark is found by the next upload. */
    fixture_reopen(&f);
    struct stage *st = fixture_stage(&f);
    for (int n = 0; n < THREADS; n++) {
        char text[64];
        struct digest d;
        bool have = false;
        const int size = snprintf(text, sizeof text, "blob %d of session %d", BLOBS - 1, n);

        merkle_leaf(text, (size_t)size, &d);
        assert_int_equal(stage_have(st, OBJECT_BLOCK, &d, &have, NULL), ERR_OK);
        assert_true(have);
    }
    stage_free(&st);
    fixture_free(&f);
}

static void
more_rows_than_one_transaction_bears_are_committed_in_order(void **state)
{
    struct fixture f;
    const uint32_t count = 3 * COMMIT_ROWS_MAX + 17;
    struct index_mark m;

    fixture_new(state, &f);
    struct stage *st = fixture_stage(&f);
    for (uint32_t i = 0; i < count; i++) {
        struct digest d;

        tree_xattrs_digest(&i, sizeof i, &d);
        assert_int_equal(stage_object(st, OBJECT_XATTRS, &d, &i, sizeof i, NULL), ERR_OK);
    }
    assert_int_equal(stage_checkpoint(st, NULL), ERR_OK);
    stage_free(&st);
    assert_int_equal(fixture_mark(&f, "after", &m, NULL), ERR_OK);
    fixture_reopen(&f);
    struct reader *r = reader_new(f.s, FIXTURE_CITY, 1 << 20);
    for (uint32_t i = 0; i < count; i += 101) {
        struct digest d;
        struct buf b = { 0 };

        tree_xattrs_digest(&i, sizeof i, &d);
        assert_int_equal(reader_object(r, OBJECT_XATTRS, &d, &b, NULL), ERR_OK);
        assert_memory_equal(b.at, &i, sizeof i);
        buf_free(&b);
    }
    reader_free(&r);
    fixture_free(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(many_sessions_put_and_find_at_once),
        unit_test_in_dir(more_rows_than_one_transaction_bears_are_committed_in_order),
    };
    return cmocka_run_group_tests_name("snapshot/commit", tests, NULL, NULL);
}
