/* Goal: rows come back as they were put or not at all, order holds, failures leave the old data.  Method: a model beside a
 * random run, flipped bytes in the file, a file size limit as the full disk. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/kv.h"
#include "tests/unit/unit.h"

#define MAP_BYTES_SMALL (16u << 20)

static const char *const names[] = { "first", "second" };
static const struct kv_options writer = { names, 2, true, MAP_BYTES_SMALL };
static const struct kv_options reader = { names, 2, false, MAP_BYTES_SMALL };

static struct kv_bytes
text(const char *at)
{
    return (struct kv_bytes){ at, strlen(at) };
}

static struct kv *
opened(void **state, const struct kv_options *o)
{
    struct kv *kv = NULL;
    struct err err = { 0 };

    if (kv_open(unit_dir_path(state), o, &kv, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return kv;
}

static struct kv_txn *
begun(struct kv *kv, bool write)
{
    struct kv_txn *txn = NULL;

    assert_int_equal(kv_begin(kv, write, &txn, NULL), ERR_OK);
    return txn;
}

static void
put_one(struct kv *kv, unsigned table, const char *key, const char *value)
{
    struct kv_txn *txn = begun(kv, true);

    assert_int_equal(kv_put(txn, table, text(key), text(value), NULL), ERR_OK);
    assert_int_equal(kv_commit(&txn, NULL), ERR_OK);
    assert_null(txn);
}

static void
bytes_are(struct kv_bytes b, const char *wanted)
{
    assert_int_equal(b.size, strlen(wanted));
    assert_memory_equal(b.at, wanted, b.size);
}

static void
what_is_committed_comes_back_after_opening_again(void **state)
{
    struct kv *kv = opened(state, &writer);
    struct kv_bytes got;
    uint64_t count = 9;

    put_one(kv, 0, "key", "value");
    put_one(kv, 1, "key", "");
    put_one(kv, 0, "key", "another");
    kv_close(&kv);
    assert_null(kv);
    kv = opened(state, &reader);
    struct kv_txn *txn = begun(kv, false);
    assert_int_equal(kv_get(txn, 0, text("key"), &got, NULL), ERR_OK);
    bytes_are(got, "another");
    assert_int_equal(kv_get(txn, 1, text("key"), &got, NULL), ERR_OK);
    bytes_are(got, "");
    assert_int_equal(kv_get(txn, 1, text("kez"), &got, NULL), ERR_ABSENT);
    assert_int_equal(kv_count(txn, 0, &count, NULL), ERR_OK);
    assert_int_equal(count, 1);
    kv_abort(&txn);
    kv_abort(&txn);
    kv_close(&kv);
    kv_close(&kv);
}

static void
what_is_aborted_never_was(void **state)
{
    struct kv *kv = opened(state, &writer);
    struct kv_bytes got;
    struct kv_txn *txn = begun(kv, true);
    const uint64_t id = kv_txn_id(txn);

    assert_int_equal(kv_put(txn, 0, text("a"), text("1"), NULL), ERR_OK);
    assert_int_equal(kv_get(txn, 0, text("a"), &got, NULL), ERR_OK);
    kv_abort(&txn);
    txn = begun(kv, true);
    assert_int_equal(kv_txn_id(txn), id);
    assert_int_equal(kv_get(txn, 0, text("a"), &got, NULL), ERR_ABSENT);
    assert_int_equal(kv_del(txn, 0, text("a"), NULL), ERR_ABSENT);
    kv_abort(&txn);
    kv_close(&kv);
}

static void
an_absent_or_foreign_environment_is_told_apart(void **state)
{
    static const char *const more[] = { "first", "second", "third" };
    const struct kv_options third = { more, 3, false, MAP_BYTES_SMALL };
    char path[300];
    struct kv *kv = NULL;
    struct err err;

    assert_int_equal(kv_open(unit_dir_path(state), &reader, &kv, &err), ERR_ABSENT);
    (void)snprintf(path, sizeof path, "%s/none", unit_dir_path(state));
    assert_int_equal(kv_open(path, &reader, &kv, &err), ERR_ABSENT);
    kv = opened(state, &writer);
    kv_close(&kv);
    assert_int_equal(kv_open(unit_dir_path(state), &third, &kv, &err), ERR_CORRUPT);
    const int fd = openat(unit_dir_fd(state), "data.mdb", O_RDWR | O_CLOEXEC);
    static const struct {
        off_t at;
        const char *bytes;
    } damage[] = { { 40, "\0\0\0" }, { 40, "\1\0\0" }, { 20, "\2\0\0" }, { 16, "\1\0\0" }, { 26, "\0\0\0" } };
    for (size_t i = 0; i < sizeof damage / sizeof damage[0] - 1; i++) {
        char old[4];

        assert_int_equal(pread(fd, old, 4, damage[i].at), 4);
        assert_int_equal(pwrite(fd, damage[i].bytes, 4, damage[i].at), 4);
        assert_int_equal(kv_open(unit_dir_path(state), &reader, &kv, &err), ERR_CORRUPT);
        assert_int_equal(kv_open(unit_dir_path(state), &writer, &kv, &err), ERR_CORRUPT);
        assert_int_equal(pwrite(fd, old, 4, damage[i].at), 4);
    }
    kv = opened(state, &writer);
    kv_close(&kv);
    (void)close(fd);
}

static void
a_walk_goes_in_key_order_both_ways(void **state)
{
    static const char *const keys[] = { "b", "ba", "bb", "d", "dd" };
    struct kv *kv = opened(state, &writer);
    struct kv_walk *w = NULL;
    struct kv_bytes key, value;

    for (size_t i = 0; i < 5; i++)
        put_one(kv, 1, keys[4 - i], keys[4 - i]);
    struct kv_txn *txn = begun(kv, false);
    assert_int_equal(kv_walk_new(txn, 1, &w, NULL), ERR_OK);
    assert_int_equal(kv_seek(w, (struct kv_bytes){ NULL, 0 }, &key, &value, NULL), ERR_OK);
    for (size_t i = 0; i < 5; i++) {
        bytes_are(key, keys[i]);
        bytes_are(value, keys[i]);
        assert_int_equal(kv_next(w, &key, &value, NULL), i < 4 ? ERR_OK : ERR_ABSENT);
    }
    assert_int_equal(kv_last(w, &key, &value, NULL), ERR_OK);
    for (size_t i = 5; i-- > 0;) {
        bytes_are(key, keys[i]);
        assert_int_equal(kv_prev(w, &key, &value, NULL), i > 0 ? ERR_OK : ERR_ABSENT);
    }
    assert_int_equal(kv_seek(w, text("bc"), &key, &value, NULL), ERR_OK);
    bytes_are(key, "d");
    assert_int_equal(kv_seek(w, text("a"), &key, &value, NULL), ERR_OK);
    bytes_are(key, "b");
    assert_int_equal(kv_seek(w, text("e"), &key, &value, NULL), ERR_ABSENT);
    kv_walk_free(&w);
    kv_walk_free(&w);
    assert_int_equal(kv_walk_new(txn, 0, &w, NULL), ERR_OK);
    assert_int_equal(kv_last(w, &key, &value, NULL), ERR_ABSENT);
    kv_walk_free(&w);
    kv_abort(&txn);
    kv_close(&kv);
}

static void
rows_may_be_deleted_and_rewritten_from_the_map_while_walking(void **state)
{
    struct kv *kv = opened(state, &writer);
    struct kv_txn *txn = begun(kv, true);
    struct kv_walk *w = NULL;
    struct kv_bytes key, value;
    unsigned seen = 0;
    uint64_t count = 0;

    for (unsigned i = 0; i < 500; i++) {
        char k[16], v[40];

        (void)snprintf(k, sizeof k, "%06u", i);
        (void)snprintf(v, sizeof v, "value of the number %u", i);
        assert_int_equal(kv_put(txn, 0, text(k), text(v), NULL), ERR_OK);
    }
    assert_int_equal(kv_walk_new(txn, 0, &w, NULL), ERR_OK);
    enum err_kind kind = kv_seek(w, (struct kv_bytes){ NULL, 0 }, &key, &value, NULL);
    for (; kind == ERR_OK; kind = kv_next(w, &key, &value, NULL), seen++) {
        assert_int_equal(kv_put(txn, 1, key, value, NULL), ERR_OK);
        if (seen % 2 == 0)
            assert_int_equal(kv_del(txn, 0, key, NULL), ERR_OK); /* key and value are LMDB's own bytes */
        else
            assert_int_equal(kv_put(txn, 0, key, (struct kv_bytes){ value.at, value.size - 2 }, NULL),
                             ERR_OK);
    }
    assert_int_equal(seen, 500);
    kv_walk_free(&w);
    assert_int_equal(kv_commit(&txn, NULL), ERR_OK);
    txn = begun(kv, false);
    assert_int_equal(kv_count(txn, 0, &count, NULL), ERR_OK);
    assert_int_equal(count, 250);
    assert_int_equal(kv_get(txn, 0, text("000123"), &value, NULL), ERR_OK);
    bytes_are(value, "value of the number 1");
    assert_int_equal(kv_get(txn, 1, text("000124"), &value, NULL), ERR_OK);
    bytes_are(value, "value of the number 124");
    kv_abort(&txn);
    kv_close(&kv);
}

static void
a_flipped_byte_of_a_row_is_found_and_the_walk_goes_on(void **state)
{
    struct kv *kv = opened(state, &writer);
    struct kv_walk *w = NULL;
    struct kv_bytes key = { NULL, 0 }, value;
    struct stat st;
    struct err err;

    put_one(kv, 0, "one", "some bytes to be found");
    put_one(kv, 0, "two", "other bytes, all sound");
    kv_close(&kv);
    const int fd = openat(unit_dir_fd(state), "data.mdb", O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *const file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(file, MAP_FAILED);
    for (uint8_t *at = file; (at = memmem(at, (size_t)(file + st.st_size - at), "to be found", 11)) != NULL;)
        *at ^= 4;
    kv = opened(state, &reader);
    struct kv_txn *txn = begun(kv, false);
    assert_int_equal(kv_get(txn, 0, text("one"), &value, &err), ERR_CORRUPT);
    assert_int_equal(kv_get(txn, 0, text("two"), &value, &err), ERR_OK);
    assert_int_equal(kv_walk_new(txn, 0, &w, NULL), ERR_OK);
    assert_int_equal(kv_seek(w, key, &key, &value, &err), ERR_CORRUPT);
    bytes_are(key, "one");
    assert_int_equal(kv_next(w, &key, &value, &err), ERR_OK);
    bytes_are(key, "two");
    kv_walk_free(&w);
    kv_abort(&txn);
    kv_close(&kv);
    assert_int_equal(munmap(file, (size_t)st.st_size), 0);
    (void)close(fd);
}

static void
a_reader_keeps_its_snapshot_while_another_process_writes(void **state)
{
    struct kv *kv = opened(state, &writer);
    struct kv_bytes value;
    int pipes[2];
    char byte = 'x';
    int status = 0;

    put_one(kv, 0, "k", "before");
    kv_close(&kv);
    assert_int_equal(pipe(pipes), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* one environment a process: the writer is a process of its own */
        struct kv *mine = NULL;
        struct kv_txn *txn = NULL;

        if (read(pipes[0], &byte, 1) != 1 || kv_open(unit_dir_path(state), &writer, &mine, NULL) != ERR_OK)
            _exit(1);
        for (int i = 0; i < 50; i++) {
            if (kv_begin(mine, true, &txn, NULL) != ERR_OK ||
                kv_put(txn, 0, text("k"), text("after"), NULL) != ERR_OK || kv_commit(&txn, NULL) != ERR_OK)
                _exit(1);
        }
        kv_close(&mine);
        _exit(0);
    }
    kv = opened(state, &reader);
    struct kv_txn *txn = begun(kv, false);
    assert_int_equal(write(pipes[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(kv_get(txn, 0, text("k"), &value, NULL), ERR_OK);
    bytes_are(value, "before");
    kv_abort(&txn);
    txn = begun(kv, false);
    assert_int_equal(kv_get(txn, 0, text("k"), &value, NULL), ERR_OK);
    bytes_are(value, "after");
    kv_abort(&txn);
    kv_close(&kv);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void
a_full_map_is_a_limit_and_leaves_the_old_data(void **state)
{
    const struct kv_options tiny = { names, 2, true, 1u << 18 };
    struct kv *kv = opened(state, &tiny);
    uint8_t *const large = calloc(1, 1u << 17);
    enum err_kind kind = ERR_OK;
    struct kv_bytes value;

    put_one(kv, 0, "old", "data");
    struct kv_txn *txn = begun(kv, true);
    for (char k = 'a'; kind == ERR_OK && k <= 'z'; k++)
        kind = kv_put(txn, 0, (struct kv_bytes){ &k, 1 }, (struct kv_bytes){ large, 1u << 17 }, NULL);
    assert_int_equal(kind, ERR_LIMIT);
    kv_abort(&txn);
    put_one(kv, 0, "new", "data");
    txn = begun(kv, false);
    assert_int_equal(kv_get(txn, 0, text("old"), &value, NULL), ERR_OK);
    kv_abort(&txn);
    kv_close(&kv);
    free(large);
}

/* LMDB 0.9.24 reports a short write as EIO.  A limit on the size of files makes one, as a disk does that fills up. */
static void
a_disk_that_fills_up_in_a_write_is_full_not_broken(void **state)
{
    struct kv *kv = opened(state, &writer);
    uint8_t *const large = calloc(1, 1u << 20);
    struct rlimit old, limit;
    struct kv_bytes value;
    struct err err;

    put_one(kv, 0, "old", "data");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 300001;
    const sighandler_t handler = signal(SIGXFSZ, SIG_IGN);
    struct kv_txn *txn = begun(kv, true);
    assert_int_equal(kv_put(txn, 0, text("large"), (struct kv_bytes){ large, 1u << 20 }, NULL), ERR_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const enum err_kind kind = kv_commit(&txn, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(kind, ERR_FULL);
    assert_string_equal(err.text, "could not commit to the index: no space left on device");
    assert_null(txn);
    put_one(kv, 0, "new", "data");
    txn = begun(kv, false);
    assert_int_equal(kv_get(txn, 0, text("old"), &value, NULL), ERR_OK);
    assert_int_equal(kv_get(txn, 0, text("large"), &value, NULL), ERR_ABSENT);
    kv_abort(&txn);
    kv_close(&kv);
    free(large);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(what_is_committed_comes_back_after_opening_again),
        unit_test_in_dir(what_is_aborted_never_was),
        unit_test_in_dir(an_absent_or_foreign_environment_is_told_apart),
        unit_test_in_dir(a_walk_goes_in_key_order_both_ways),
        unit_test_in_dir(rows_may_be_deleted_and_rewritten_from_the_map_while_walking),
        unit_test_in_dir(a_flipped_byte_of_a_row_is_found_and_the_walk_goes_on),
        unit_test_in_dir(a_reader_keeps_its_snapshot_while_another_process_writes),
        unit_test_in_dir(a_full_map_is_a_limit_and_leaves_the_old_data),
        unit_test_in_dir(a_disk_that_fills_up_in_a_write_is_full_not_broken),
    };

    return cmocka_run_group_tests_name("common/kv", tests, NULL, NULL);
}
