/* Short transfers and interruptions are carried on with; errors and ends of files are told.
 * Method: the system calls are wrapped, move one byte at a time, are interrupted every other time, and fail at the n-th. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/io.h"
#include "tests/unit/unit.h"

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset);
ssize_t __real_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset);

static struct {
    bool odd; /* one byte a call, and every other call interrupted */
    int calls;
    int fail_at; /* 1-based; 0 never */
    int code;    /* errno of that failure; 0: nothing is transferred */
} fault;

/* -1: failed; else how much to ask for. */
static ssize_t
cut_short(size_t size)
{
    fault.calls++;
    if (fault.calls == fault.fail_at) {
        errno = fault.code;
        return fault.code == 0 ? 0 : -1;
    }
    if (!fault.odd)
        return (ssize_t)size;
    if (fault.calls % 2 == 1) {
        errno = EINTR;
        return -1;
    }
    return 1;
}

ssize_t
__wrap_write(int fd, const void *bytes, size_t size)
{
    const ssize_t n = cut_short(size);
    return n <= 0 ? n : __real_write(fd, bytes, (size_t)n);
}

ssize_t
__wrap_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    const ssize_t n = cut_short(size);
    return n <= 0 ? n : __real_pwrite(fd, bytes, (size_t)n, offset);
}

ssize_t
__wrap_pread(int fd, void *bytes, size_t size, off_t offset)
{
    const ssize_t n = cut_short(size);
    return n <= 0 ? n : __real_pread(fd, bytes, (size_t)n, offset);
}

static int
open_head(void **state)
{
    const int fd = openat(unit_dir_fd(state), "head", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    memset(&fault, 0, sizeof fault);
    return fd;
}

static void
short_and_interrupted_transfers_are_carried_on_with(void **state)
{
    AUTO(auto_close) const int fd = open_head(state);
    char found[32] = "";
    size_t size = 0;

    fault.odd = true;
    assert_int_equal(io_write_all(fd, "hello", 5, NULL), ERR_OK);
    assert_int_equal(io_pwrite_all(fd, " world", 6, 5, NULL), ERR_OK);
    assert_int_equal(io_pread_all(fd, found, 11, 0, NULL), ERR_OK);
    assert_string_equal(found, "hello world");
    memset(found, 0, sizeof found);
    assert_int_equal(io_pread_upto(fd, found, 30, 6, &size, NULL), ERR_OK);
    assert_int_equal(size, 5);
    assert_string_equal(found, "world");
}

static void
nothing_to_transfer_is_no_call(void **state)
{
    AUTO(auto_close) const int fd = open_head(state);
    size_t size = 9;

    assert_int_equal(io_write_all(fd, NULL, 0, NULL), ERR_OK);
    assert_int_equal(io_pwrite_all(fd, NULL, 0, 3, NULL), ERR_OK);
    assert_int_equal(io_pread_all(fd, NULL, 0, 3, NULL), ERR_OK);
    assert_int_equal(io_pread_upto(fd, NULL, 0, 3, &size, NULL), ERR_OK);
    assert_int_equal(size, 0);
    assert_int_equal(fault.calls, 0);
}

static void
each_failing_call_is_told_with_its_kind(void **state)
{
    static const struct {
        int code;
        enum err_kind kind;
    } table[] = { { EIO, ERR_IO }, { ENOSPC, ERR_FULL }, { EDQUOT, ERR_FULL }, { 0, ERR_IO } };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        for (int n = 2; n <= 10; n += 2) {
            AUTO(auto_close) const int fd = open_head(state);
            struct err err = { 0 };
            fault.odd = true;
            fault.fail_at = n;
            fault.code = table[i].code;
            assert_int_equal(io_write_all(fd, "hello", 5, &err), table[i].kind);
            assert_int_equal(err.kind, table[i].kind);
            assert_int_equal(err.code, table[i].code);
            fault.calls = 0;
            assert_int_equal(io_pwrite_all(fd, "hello", 5, 0, NULL), table[i].kind);
            assert_int_equal(lseek(fd, 0, SEEK_END), n / 2 - 1);
        }
}

static void
a_failed_read_leaves_the_size_alone(void **state)
{
    AUTO(auto_close) const int fd = open_head(state);
    struct err err = { 0 };
    char found[8];
    size_t size = 77;

    assert_int_equal(io_write_all(fd, "hello", 5, NULL), ERR_OK);
    fault.calls = 0;
    fault.fail_at = 1;
    fault.code = EIO;
    assert_int_equal(io_pread_upto(fd, found, 5, 0, &size, &err), ERR_IO);
    assert_int_equal(size, 77);
    assert_non_null(strstr(err.text, "could not read"));
}

static void
a_file_that_ends_early_is_corrupt_and_says_where(void **state)
{
    AUTO(auto_close) const int fd = open_head(state);
    struct err err = { 0 };
    char found[16];

    assert_int_equal(io_write_all(fd, "hello", 5, NULL), ERR_OK);
    assert_int_equal(io_pread_all(fd, found, 6, 2, &err), ERR_CORRUPT);
    assert_string_equal(err.text, "ends at byte 5, 3 bytes short");
    assert_int_equal(io_pread_all(fd, found, 3, 2, NULL), ERR_OK);
}

static void
offsets_past_the_largest_file_are_refused(void **state)
{
    AUTO(auto_close) const int fd = open_head(state);
    char found[4];
    size_t size;

    assert_int_equal(io_pwrite_all(fd, "x", 1, UINT64_MAX, NULL), ERR_LIMIT);
    assert_int_equal(io_pread_all(fd, found, 1, (uint64_t)INT64_MAX, NULL), ERR_LIMIT);
    assert_int_equal(io_pread_upto(fd, found, 1, UINT64_MAX - 1, &size, NULL), ERR_LIMIT);
    assert_int_equal(fault.calls, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(short_and_interrupted_transfers_are_carried_on_with),
        unit_test_in_dir(nothing_to_transfer_is_no_call),
        unit_test_in_dir(each_failing_call_is_told_with_its_kind),
        unit_test_in_dir(a_failed_read_leaves_the_size_alone),
        unit_test_in_dir(a_file_that_ends_early_is_corrupt_and_says_where),
        unit_test_in_dir(offsets_past_the_largest_file_are_refused),
    };

    return cmocka_run_group_tests_name("common/io", tests, NULL, NULL);
}
