/* Goal: no bit of an index can change unseen and matter.  Method: an environment with a history is checked; then single bits
 * of its file are flipped, evenly spread, and each must be found, or be one of those that the header names, with every row
 * read as before.  FARSHORE_FLIPS sets how many bits are tried. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/hash.h"
#include "common/kv.h"
#include "tests/unit/unit.h"

#define MAP_BYTES_SMALL (64u << 20)
#define PAGE 4096u

static const char *const names[] = { "large", "numbers", "words" };
static const struct kv_options writer = { names, 3, true, MAP_BYTES_SMALL };
static const struct kv_options reader = { names, 3, false, MAP_BYTES_SMALL };

struct findings {
    unsigned count;
    uint64_t page;
    char first[560];
};

static void
note(void *arg, uint64_t page, const char *what)
{
    struct findings *const f = arg;

    if (f->count++ == 0) {
        f->page = page;
        (void)snprintf(f->first, sizeof f->first, "page %llu %s", (unsigned long long)page, what);
    }
}

static struct findings
checked(const char *dir, uint64_t *rows)
{
    struct findings f = { 0 };
    struct err err = { 0 };

    if (kv_check(dir, &reader, note, &f, rows, &err) != ERR_OK)
        note(&f, 0, err.text);
    return f;
}

static void
sound(const char *dir, uint64_t rows_wanted)
{
    uint64_t rows = UINT64_MAX;
    const struct findings f = checked(dir, &rows);

    if (f.count != 0)
        fail_msg("%u findings: %s", f.count, f.first);
    assert_int_equal(rows, rows_wanted);
}

static struct kv *
opened(const char *dir, const struct kv_options *o)
{
    struct kv *kv = NULL;
    struct err err = { 0 };

    if (kv_open(dir, o, &kv, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return kv;
}

/* One random transaction: rows of the three tables put, replaced, deleted. */
static void
change(struct kv *kv, uint64_t *seed, unsigned count)
{
    static uint8_t value[12000];
    struct kv_txn *txn = NULL;

    assert_int_equal(kv_begin(kv, true, &txn, NULL), ERR_OK);
    for (unsigned i = 0; i < count; i++) {
        const unsigned table = (unsigned)(unit_random(seed) % 3);
        const uint64_t number = unit_random(seed) % 300;
        uint8_t key[8 + 60];
        const size_t key_bytes = table == 1 ? 8 : 9 + number % 50;
        size_t size = unit_random(seed) % (table == 0 ? sizeof value : table == 1 ? 40 : 300);

        if (table == 0 && unit_random(seed) % 3 != 0)
            size %= 100;
        memset(key, 'k', sizeof key);
        be64_put(key, number);
        memset(value, (int)(unit_random(seed) & 0xff), size);
        const struct kv_bytes k = { key, key_bytes };
        if (unit_random(seed) % 4 == 0) {
            const enum err_kind kind = kv_del(txn, table, k, NULL);

            assert_true(kind == ERR_OK || kind == ERR_ABSENT);
        } else {
            assert_int_equal(kv_put(txn, table, k, (struct kv_bytes){ value, size }, NULL), ERR_OK);
        }
    }
    assert_int_equal(kv_commit(&txn, NULL), ERR_OK);
}

/* A digest of all rows in order, each also fetched by its key; zeros if anything fails. */
static struct digest
contents(const char *dir, uint64_t *ret_rows)
{
    struct hash_stream *s = hash_stream_new();
    struct digest d = { 0 };
    struct kv *kv = NULL;
    struct kv_txn *txn = NULL;
    struct kv_walk *w = NULL;
    struct kv_bytes key, value, again;
    bool whole = kv_open(dir, &reader, &kv, NULL) == ERR_OK && kv_begin(kv, false, &txn, NULL) == ERR_OK;
    enum err_kind kind = ERR_ABSENT;

    *ret_rows = 0;
    for (unsigned t = 0; whole && t < 3; t++) {
        assert_int_equal(kv_walk_new(txn, t, &w, NULL), ERR_OK);
        kind = kv_seek(w, (struct kv_bytes){ NULL, 0 }, &key, &value, NULL);
        for (; kind == ERR_OK; kind = kv_next(w, &key, &value, NULL), ++*ret_rows) {
            const uint64_t head[3] = { t, key.size, value.size };

            whole = whole && kv_get(txn, t, key, &again, NULL) == ERR_OK && again.at == value.at;
            hash_stream_put(s, head, sizeof head);
            hash_stream_put(s, key.at, key.size);
            hash_stream_put(s, value.at, value.size);
        }
        whole = whole && kind == ERR_ABSENT;
        kv_walk_free(&w);
    }
    kv_abort(&txn);
    kv_close(&kv);
    if (whole)
        hash_stream_end(s, &d);
    hash_stream_free(&s);
    return d;
}

static void
every_state_of_a_random_history_is_sound(void **state)
{
    const char *const dir = unit_dir_path(state);
    uint64_t seed = unit_seed();
    struct kv *kv = opened(dir, &writer);
    uint64_t rows = 0;

    kv_close(&kv);
    sound(dir, 0);
    for (unsigned i = 0; i < 60; i++) {
        kv = opened(dir, &writer);
        change(kv, &seed, 1 + (unsigned)(unit_random(&seed) % (i % 10 == 0 ? 400 : 20)));
        if (i % 7 == 0)
            change(kv, &seed, 1);
        kv_close(&kv);
        (void)contents(dir, &rows);
        sound(dir, rows);
    }
    assert_true(rows > 100);
}

/* Emptying tables, and a history in which pages are taken at the end and given back unwritten. */
static void
an_emptied_environment_is_sound(void **state)
{
    const char *const dir = unit_dir_path(state);
    uint64_t seed = unit_seed();
    struct kv *kv = opened(dir, &writer);
    struct kv_txn *txn = NULL;
    struct kv_walk *w = NULL;
    struct kv_bytes key, value;

    change(kv, &seed, 800);
    for (unsigned t = 0; t < 3; t++) {
        assert_int_equal(kv_begin(kv, true, &txn, NULL), ERR_OK);
        assert_int_equal(kv_walk_new(txn, t, &w, NULL), ERR_OK);
        enum err_kind kind = kv_seek(w, (struct kv_bytes){ NULL, 0 }, &key, &value, NULL);
        for (; kind == ERR_OK; kind = kv_next(w, &key, &value, NULL))
            assert_int_equal(kv_del(txn, t, key, NULL), ERR_OK);
        kv_walk_free(&w);
        assert_int_equal(kv_commit(&txn, NULL), ERR_OK);
    }
    kv_close(&kv);
    sound(dir, 0);
}

static void
a_check_beside_a_writer_finds_nothing(void **state)
{
    const char *const dir = unit_dir_path(state);
    uint64_t seed = unit_seed();
    struct kv *kv = opened(dir, &writer);
    uint64_t rows = 0;
    int pipes[2];
    int status = 0;
    char byte = 0;

    change(kv, &seed, 500);
    kv_close(&kv);
    assert_int_equal(pipe(pipes), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* writes until the pipe has no reader's word left: 40 times */
        struct kv *mine = opened(dir, &writer);

        for (unsigned i = 0; i < 300; i++) {
            change(mine, &seed, 10);
            if (i == 0 && write(pipes[1], "x", 1) != 1)
                _exit(1);
        }
        kv_close(&mine);
        _exit(0);
    }
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    unsigned rounds = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        const struct findings f = checked(dir, &rows);

        if (f.count != 0)
            fail_msg("round %u: %s", rounds, f.first);
        rounds++;
    }
    assert_int_equal(status, 0);
    assert_true(rounds > 0);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

/* What the header says cannot matter, by the file itself: found out here from the sound bytes, with code of its own. */
struct map_of {
    uint8_t *may; /* [size]: 1 where a byte need not be found */
    const uint8_t *file;
    size_t size;
    unsigned newest; /* meta page */
};

static void
allow(struct map_of *m, size_t from, size_t bytes)
{
    for (size_t i = from; i < from + bytes && i < m->size; i++)
        m->may[i] = 1;
}

static void allow_tree(struct map_of *m, uint64_t page, int free_tree);

static void
allow_node(struct map_of *m, size_t at, bool branch, unsigned index, int free_tree)
{
    const uint8_t *const n = m->file + at;
    const size_t key = le16_get(n + 6);
    const uint32_t size = le32_get(n);

    if (branch) {
        allow(m, at + 8,
              key + (key & 1)); /* within its neighbours: whether it stayed there, the reading tells */
        (void)index;
        allow_tree(m, le32_get(n) | (uint64_t)le16_get(n + 4) << 32, free_tree);
        return;
    }
    const bool big = le16_get(n + 4) & 1;
    const size_t data = big ? 8 : size;
    if ((key + data) % 2 != 0)
        allow(m, at + 8 + key + data, 1);
    if (free_tree) {
        const size_t list = big ? le64_get(n + 8 + key) * PAGE + 16 : at + 8 + key;

        allow(m, at + 8, 8);
        allow(m, at, big ? 4 : 0); /* the size of its record, as long as the list fits */
        allow(m, list + 8 + 8 * le64_get(m->file + list), size - 8 - 8 * le64_get(m->file + list));
    }
    if (big) {
        const size_t run = le64_get(n + 8 + key) * PAGE;

        memset(m->may + run, 0, PAGE * (size_t)le32_get(m->file + run + 12));
        allow(m, run + 8, 2);
        allow(m, run + 16 + size, PAGE * (size_t)le32_get(m->file + run + 12) - 16 - size);
        if (free_tree)
            allow(m, run + 16 + 8 + 8 * le64_get(m->file + run + 16),
                  size - 8 - 8 * le64_get(m->file + run + 16));
    } else if (le16_get(n + 4) & 2) {
        allow_tree(m, le64_get(n + 8 + key + 40), 0);
    }
}

static void
allow_tree(struct map_of *m, uint64_t page, int free_tree)
{
    if (page == UINT64_MAX)
        return;
    const size_t at = page * PAGE;
    const unsigned lower = le16_get(m->file + at + 12);
    const unsigned upper = le16_get(m->file + at + 14);

    memset(m->may + at, 0, PAGE);
    allow(m, at + 8, 2);
    allow(m, at + lower, upper - lower);
    for (unsigned i = 0; i < (lower - 16) / 2; i++)
        allow_node(m, at + le16_get(m->file + at + 16 + 2 * (size_t)i), le16_get(m->file + at + 10) & 1, i,
                   free_tree);
}

static struct map_of
map_of(const uint8_t *file, size_t size)
{
    struct map_of m = { .may = malloc(size), .file = file, .size = size };

    memset(m.may, 1, size); /* free pages, and what is behind the last one */
    m.newest = le64_get(file + PAGE + 144) > le64_get(file + 144);
    memset(m.may + m.newest * PAGE, 0, PAGE);
    allow(&m, m.newest * PAGE + 8, 2);
    memset(m.may + (m.newest ^ 1) * PAGE + 144, 0, 8);
    allow_tree(&m, le64_get(file + m.newest * PAGE + 40 + 40), 1);
    allow_tree(&m, le64_get(file + m.newest * PAGE + 88 + 40), 0);
    return m;
}

static void
no_flipped_bit_matters_unseen(void **state)
{
    const char *const dir = unit_dir_path(state);
    const char *const wish = getenv("FARSHORE_FLIPS");
    uint64_t seed = unit_seed();
    struct kv *kv = opened(dir, &writer);
    uint64_t rows = 0, rows_now = 0;
    unsigned found = 0, harmless = 0;
    struct stat st;

    for (unsigned i = 0; i < 8; i++)
        change(kv, &seed, 80);
    kv_close(&kv);
    const struct digest before = contents(dir, &rows);
    sound(dir, rows);
    const int fd = openat(unit_dir_fd(state), "data.mdb", O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    const size_t size = (size_t)st.st_size;
    uint8_t *const file = malloc(size);
    assert_int_equal(pread(fd, file, size, 0), (ssize_t)size);
    struct map_of m = map_of(file, size);
    const size_t flips = wish != NULL ? strtoul(wish, NULL, 10) : 1500;
    const size_t meta = 2 * 160 *
                        8; /* every bit of the meta pages' used part, then evenly through the file */

    for (size_t i = 0; i < meta + flips; i++) {
        const size_t bit = i < meta / 2 ? i
                           : i < meta   ? PAGE * 8 + i - meta / 2
                                        : (i - meta) * (size * 8 / flips) + unit_random(&seed) % 64;
        const size_t at = bit / 8 < size ? bit / 8 : size - 1;
        const uint8_t byte = (uint8_t)(file[at] ^ (1u << bit % 8));

        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        const struct findings f = checked(dir, &rows_now);
        if (f.count != 0) {
            found++;
        } else {
            const struct digest now = contents(dir, &rows_now);

            harmless++;
            if (!hash_same(&now, &before) || !m.may[at])
                fail_msg("bit %zu of byte %zu (page %zu, byte %zu) is not found%s", bit % 8, at, at / PAGE,
                         at % PAGE, hash_same(&now, &before) ? "" : ", and rows changed");
        }
        assert_int_equal(pwrite(fd, &file[at], 1, (off_t)at), 1);
    }
    print_message("%zu bytes, %u flips found, %u harmless\n", size, found, harmless);
    assert_true(found > 0 && harmless > 0);
    sound(dir, rows);
    free(m.may);
    free(file);
    (void)close(fd);
}

static void
a_shorter_file_and_larger_damage_are_found(void **state)
{
    const char *const dir = unit_dir_path(state);
    uint64_t seed = unit_seed();
    struct kv *kv = opened(dir, &writer);
    uint64_t rows = 0;
    struct stat st;

    change(kv, &seed, 400);
    kv_close(&kv);
    const int fd = openat(unit_dir_fd(state), "data.mdb", O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    const size_t size = (size_t)st.st_size;
    uint8_t *const file = malloc(size);
    assert_int_equal(pread(fd, file, size, 0), (ssize_t)size);
    for (unsigned i = 0; i < 300; i++) { /* runs of random bytes */
        const size_t at = unit_random(&seed) % (i % 3 == 0 ? 2 * PAGE : size);
        const size_t bytes = 1 + unit_random(&seed) % 64 < size - at
                                 ? 1 + unit_random(&seed) % (size - at) % 64
                                 : 1;
        uint8_t noise[64];

        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (uint8_t)unit_random(&seed);
        assert_int_equal(pwrite(fd, noise, bytes, (off_t)at), (ssize_t)bytes);
        (void)checked(dir, &rows);
        assert_int_equal(pwrite(fd, file + at, bytes, (off_t)at), (ssize_t)bytes);
    }
    sound(dir, (checked(dir, &rows), rows));
    static const size_t cuts[] = { 1, PAGE, 5 * PAGE, 5 * PAGE + 7 };
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        assert_int_equal(ftruncate(fd, (off_t)(size - cuts[i])), 0);
        assert_true(checked(dir, &rows).count > 0);
    }
    for (off_t left = 2 * PAGE - 1; left >= 0; left -= 1365) {
        assert_int_equal(ftruncate(fd, left), 0);
        assert_true(checked(dir, &rows).count > 0);
    }
    free(file);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(every_state_of_a_random_history_is_sound),
        unit_test_in_dir(an_emptied_environment_is_sound),
        unit_test_in_dir(a_check_beside_a_writer_finds_nothing),
        unit_test_in_dir(a_shorter_file_and_larger_damage_are_found),
        unit_test_in_dir(no_flipped_bit_matters_unseen),
    };

    return cmocka_run_group_tests_name("common/kv_check", tests, NULL, NULL);
}
