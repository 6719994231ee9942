/* A mark is there whole or not at all, in the order of durability.
 * Method: marks in a fresh store, closed, reopened, its index thrown away; the n-th sync of a commit fails in a child process, for each
 * n, and the store is opened again. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot/read.h"
#include "tests/unit/snapshot/store_fixture.h"

static int syncs, fail_at; /* 1-based; 0 never fails */

static int
sync_fails(void)
{
    if (++syncs != fail_at)
        return 0;
    errno = EIO;
    return 1;
}

int
__wrap_fsync(int fd)
{
    return sync_fails() ? -1 : __real_fsync(fd);
}

int
__wrap_fdatasync(int fd)
{
    return sync_fails() ? -1 : __real_fdatasync(fd);
}

static enum err_kind
note_file(void *arg, const struct tree_entry *e, struct err *err)
{
    (void)err;
    *(struct reader_file *)arg = (struct reader_file){ e->digest, e->size };
    return ERR_OK;
}

/* The one file of the newest mark holds text, read through every check there is. */
static void
newest_holds(struct fixture *f, uint64_t sequence, const char *text)
{
    struct kv_txn *t = NULL;
    struct index_mark m;
    struct reader *r = reader_new(f->s, FIXTURE_CITY, 1 << 20);
    struct buf page = { 0 };
    struct tree_entry root;
    struct reader_file file = { 0 };
    struct map map = { 0 };
    struct err err = { 0 };
    uint8_t block[BLOCK_BYTES];

    assert_int_equal(kv_begin(f->s->kv, false, &t, NULL), ERR_OK);
    assert_int_equal(index_mark_last(t, FIXTURE_CITY, "pension", &m, NULL), ERR_OK);
    kv_abort(&t);
    assert_int_equal(m.mark.sequence, sequence);
    assert_int_equal(reader_root(r, &m.mark.root, &page, &root, &err), ERR_OK);
    assert_int_equal(reader_dir(r, &root.digest, note_file, &file, &err), ERR_OK);
    if (reader_file_map(r, &file, 0, &map, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_equal(reader_block(r, &map, 0, block, &err), ERR_OK);
    assert_int_equal(file.size, strlen(text));
    assert_memory_equal(block, text, strlen(text));
    map_free(&map);
    buf_free(&page);
    reader_free(&r);
}

static void
marks_survive_close_and_open(void **state)
{
    struct fixture f;
    struct index_mark m;

    fixture_new(state, &f);
    assert_int_equal(fixture_mark(&f, "the first night", &m, NULL), ERR_OK);
    assert_int_equal(m.receipt, 1);
    newest_holds(&f, 1, "the first night");
    fixture_reopen(&f);
    newest_holds(&f, 1, "the first night");
    assert_int_equal(fixture_mark(&f, "the second night", &m, NULL), ERR_OK);
    assert_int_equal(m.receipt, 2);
    fixture_reopen(&f);
    newest_holds(&f, 2, "the second night");
    fixture_free(&f);
}

static void
a_stage_that_is_given_up_leaves_nothing_to_see(void **state)
{
    struct fixture f;
    struct index_mark m;

    fixture_new(state, &f);
    assert_int_equal(fixture_mark(&f, "kept", &m, NULL), ERR_OK);
    struct stage *st = fixture_stage(&f);
    uint64_t blob = 0;
    const struct stage_blob b = { "lost", 4, 4, 0 };
    assert_int_equal(stage_blob(st, &b, &blob, NULL), ERR_OK);
    stage_free(&st);
    fixture_reopen(&f);
    newest_holds(&f, 1, "kept");
    assert_int_equal(fixture_mark(&f, "next", &m, NULL), ERR_OK);
    newest_holds(&f, 2, "next");
    fixture_free(&f);
}

static void
a_mark_that_does_not_continue_the_last_is_refused(void **state)
{
    struct fixture f;
    struct index_mark m;
    struct ledger_head head;
    struct err err = { 0 };
    const uint8_t signature[SIGN_BYTES] = { 0 };
    struct mark fork = { .agent = "chengdu", .source = "pension", .sequence = 3, .position = "-" };

    fixture_new(state, &f);
    assert_int_equal(fixture_mark(&f, "one", &m, NULL), ERR_OK);
    struct stage *st = fixture_stage(&f);
    assert_int_equal(stage_mark(st, &fork, signature, &m, &head, &err), ERR_REFUSED);
    stage_free(&st);
    st = fixture_stage(&f);
    fork.sequence = 2; /* the right number, another past */
    assert_int_equal(stage_mark(st, &fork, signature, &m, &head, &err), ERR_REFUSED);
    stage_free(&st);
    newest_holds(&f, 1, "one");
    fixture_free(&f);
}

static void
ignore_found(void *arg, const char *what)
{
    (void)what;
    ++*(int *)arg;
}

static void
reindex_brings_back_every_mark(void **state)
{
    struct fixture f;
    struct index_mark m;
    uint64_t marks = 0;
    int found = 0;
    char text[32];

    fixture_new(state, &f);
    for (int i = 1; i <= 5; i++) {
        (void)snprintf(text, sizeof text, "night %d", i);
        assert_int_equal(fixture_mark(&f, text, &m, NULL), ERR_OK);
        if (i % 2 == 0)
            fixture_reopen(&f); /* several packs, closed by a restart */
    }
    store_close(&f.s);
    assert_int_equal(store_open_bare(f.path, &f.s, NULL), ERR_OK);
    assert_int_equal(store_reindex(f.s, ignore_found, &found, &marks, NULL), ERR_OK);
    assert_int_equal(found, 0);
    assert_int_equal(marks, 5);
    fixture_reopen(&f);
    newest_holds(&f, 5, "night 5");
    assert_int_equal(fixture_mark(&f, "night 6", &m, NULL), ERR_OK);
    assert_int_equal(m.receipt, 6);
    fixture_reopen(&f);
    newest_holds(&f, 6, "night 6");
    fixture_free(&f);
}

/* The child makes a mark while its n-th sync fails: it must die, not acknowledge. */
static int
child_with_failing_sync(const char *path, int n, struct sign_key *key)
{
    const pid_t pid = fork();

    if (pid == 0) {
        struct fixture f = { .mark_key = key };
        struct index_mark m;

        (void)close(STDERR_FILENO);
        (void)snprintf(f.path, sizeof f.path, "%s", path);
        if (store_open(path, true, &f.s, NULL) != ERR_OK)
            _exit(9);
        syncs = 0;
        fail_at = n;
        _exit(fixture_mark(&f, "after", &m, NULL) == ERR_OK ? 0 : 8);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
no_mark_is_acknowledged_after_a_failed_sync(void **state)
{
    int n = 1;

    for (;; n++) {
        char text[32];
        struct fixture f;
        struct index_mark m;
        void *inner = NULL;

        assert_int_equal(unit_dir_new(&inner), 0);
        fixture_new(&inner, &f);
        assert_int_equal(fixture_mark(&f, "before", &m, NULL), ERR_OK);
        store_close(&f.s);
        const int status = child_with_failing_sync(f.path, n, f.mark_key);
        fail_at = 0;
        assert_int_equal(store_open(f.path, true, &f.s, NULL), ERR_OK);
        struct kv_txn *t = NULL;
        assert_int_equal(kv_begin(f.s->kv, false, &t, NULL), ERR_OK);
        assert_int_equal(index_mark_last(t, FIXTURE_CITY, "pension", &m, NULL), ERR_OK);
        kv_abort(&t);
        /* Acknowledged: it must be there. Not acknowledged: it may be there, whole. */
        if (status == 0)
            assert_int_equal(m.mark.sequence, 2);
        (void)snprintf(text, sizeof text, "%s", m.mark.sequence == 2 ? "after" : "before");
        newest_holds(&f, m.mark.sequence, text);
        fixture_free(&f);
        (void)unit_dir_free(&inner);
        if (status == 0)
            break;
        assert_int_equal(status, EXIT_FAILED);
    }
    (void)state;
    print_message("%d syncs failed, one after the other\n", n - 1);
    assert_true(n > 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(marks_survive_close_and_open),
        unit_test_in_dir(a_stage_that_is_given_up_leaves_nothing_to_see),
        unit_test_in_dir(a_mark_that_does_not_continue_the_last_is_refused),
        unit_test_in_dir(reindex_brings_back_every_mark),
        cmocka_unit_test(no_mark_is_acknowledged_after_a_failed_sync),
    };
    return cmocka_run_group_tests_name("snapshot/stage", tests, NULL, NULL);
}
