/* What was appended is there after a reopen, a torn tail is cut but never a whole leaf, and no flipped bit goes unseen.
 * Method: a ledger in a fresh directory; its file is damaged byte by byte. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/ledger.h"
#include "snapshot/merkle.h"

struct fixture {
    struct sign_key *key;
    uint8_t public[SIGN_PUBLIC_BYTES];
    struct ledger_open o;
};

static void
fixture_new(void **state, struct fixture *f)
{
    const int fd = unit_dir_fd(state);

    assert_int_equal(ledger_make(fd, NULL), ERR_OK);
    assert_int_equal(sign_key_make(fd, "site.key", NULL), ERR_OK);
    assert_int_equal(sign_key_load(fd, "site.key", &f->key, NULL), ERR_OK);
    sign_public(f->key, f->public);
    f->o = (struct ledger_open){ fd, "sichuan", f->public, f->key };
}

static void
append(struct ledger *l, const char *text, struct ledger_head *ret)
{
    assert_int_equal(ledger_reserve(l, strlen(text), NULL), ERR_OK);
    assert_int_equal(ledger_append(l, text, strlen(text), ret, NULL), ERR_OK);
}

static uint64_t
log_size(void **state)
{
    struct stat st;

    assert_int_equal(fstatat(unit_dir_fd(state), "ledger/log", &st, 0), 0);
    return (uint64_t)st.st_size;
}

static void
the_root_is_that_of_rfc_6962_at_every_size(void **state)
{
    struct fixture f;
    struct ledger *l = NULL;
    struct digest leaves[40], root, at;
    struct ledger_head head;

    fixture_new(state, &f);
    assert_int_equal(ledger_open(&f.o, &l, NULL), ERR_OK);
    for (size_t i = 0; i < 40; i++) {
        char text[16];

        (void)snprintf(text, sizeof text, "leaf %zu", i);
        append(l, text, &head);
        hash_prefixed(0x00, text, strlen(text), &leaves[i]);
        merkle_root(leaves, i + 1, &root);
        assert_int_equal(head.size, i + 1);
        assert_memory_equal(&head.root, &root, sizeof root);
    }
    merkle_root(leaves, 13, &root);
    assert_int_equal(ledger_root_at(l, 13, &at, NULL), ERR_OK);
    assert_memory_equal(&at, &root, sizeof root);
    ledger_close(&l);
    assert_int_equal(ledger_open(&f.o, &l, NULL), ERR_OK);
    const struct ledger_head again = ledger_head(l);
    assert_int_equal(again.size, 40);
    assert_memory_equal(&again.root, &head.root, sizeof root);
    ledger_close(&l);
    sign_key_free(&f.key);
}

static void
a_torn_tail_is_passed_over_and_the_next_leaf_takes_its_place(void **state)
{
    struct fixture f;
    struct ledger *l = NULL;
    struct ledger_head head;

    fixture_new(state, &f);
    assert_int_equal(ledger_open(&f.o, &l, NULL), ERR_OK);
    append(l, "one", &head);
    const uint64_t whole = log_size(state);
    append(l, "two", &head);
    ledger_close(&l);
    const uint64_t end = log_size(state);
    for (uint64_t cut = whole + 1; cut < end; cut++) {
        char path[300];

        (void)snprintf(path, sizeof path, "%s/ledger/log", unit_dir_path(state));
        assert_int_equal(truncate(path, (off_t)cut), 0);
        assert_int_equal(ledger_open(&f.o, &l, NULL), ERR_OK);
        assert_int_equal(ledger_head(l).size, 1);
        append(l, "two", &head);
        assert_int_equal(head.size, 2);
        ledger_close(&l);
        assert_int_equal(log_size(state), end);
    }
    sign_key_free(&f.key);
}

struct seen {
    size_t leaves, bad;
};

static enum err_kind
see_leaf(void *arg, uint64_t index, const void *leaf, size_t size, struct err *err)
{
    (void)index;
    (void)leaf;
    (void)size;
    (void)err;
    ((struct seen *)arg)->leaves++;
    return ERR_OK;
}

static void
see_bad(void *arg, uint64_t offset, const char *what)
{
    (void)offset;
    (void)what;
    ((struct seen *)arg)->bad++;
}

static void
every_flipped_bit_is_found(void **state)
{
    struct fixture f;
    struct ledger *l = NULL;
    struct ledger_head head;

    fixture_new(state, &f);
    assert_int_equal(ledger_open(&f.o, &l, NULL), ERR_OK);
    append(l, "{\"events\":[]}", &head);
    append(l, "{\"events\":[1]}", &head);
    append(l, "{\"events\":[2]}", &head);
    ledger_close(&l);
    const uint64_t end = log_size(state);
    const int fd = openat(unit_dir_fd(state), "ledger/log", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (uint64_t bit = 0; bit < 8 * end; bit++) {
        uint8_t byte = 0;
        struct seen seen = { 0 };
        const struct ledger_scan scan = { see_leaf, see_bad, &seen };

        assert_int_equal(io_pread_all(fd, &byte, 1, bit / 8, NULL), ERR_OK);
        byte ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(io_pwrite_all(fd, &byte, 1, bit / 8, NULL), ERR_OK);
        const enum err_kind kind = ledger_scan(&f.o, &scan, &head, NULL);
        if (kind == ERR_OK && seen.bad == 0)
            fail_msg("bit %llu went unseen", (unsigned long long)bit);
        byte ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(io_pwrite_all(fd, &byte, 1, bit / 8, NULL), ERR_OK);
    }
    (void)close(fd);
    sign_key_free(&f.key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(the_root_is_that_of_rfc_6962_at_every_size),
        unit_test_in_dir(a_torn_tail_is_passed_over_and_the_next_leaf_takes_its_place),
        unit_test_in_dir(every_flipped_bit_is_found),
    };
    return cmocka_run_group_tests_name("snapshot/ledger", tests, NULL, NULL);
}
