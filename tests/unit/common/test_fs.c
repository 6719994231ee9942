/* fs_replace is all or nothing; nothing is opened outside of a directory; a lock has one holder.
 * Method: fail the n-th fsync, write and rename, for each n, and read back; a directory with every way out of it. */
#include "tests/unit/unit.h" /* cmocka; __real/__wrap prototypes; unit_dir_fd, unit_read */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);

static int calls, fail_at; /* of all four, in their order; 1-based; 0 never fails */
static int syncs, sync_fail_at;
static int fail_code = EIO;

static bool
fails(void)
{
    if (++calls != fail_at)
        return false;
    errno = fail_code;
    return true;
}

int
__wrap_fsync(int fd)
{
    const bool failed = fails();

    if (++syncs == sync_fail_at) {
        errno = fail_code;
        return -1;
    }
    return failed ? -1 : __real_fsync(fd);
}

int
__wrap_fdatasync(int fd)
{
    return fails() ? -1 : __real_fdatasync(fd);
}

ssize_t
__wrap_write(int fd, const void *bytes, size_t size)
{
    return fails() ? -1 : __real_write(fd, bytes, size);
}

int
__wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return fails() ? -1 : __real_renameat(from_fd, from, to_fd, to);
}

static void
faults_none(void)
{
    calls = fail_at = syncs = sync_fail_at = 0;
    fail_code = EIO;
}

static enum err_kind
put(int dir_fd, const char *text, bool lazy, struct err *err)
{
    const struct fs_file file = { text, strlen(text), 0640 };

    return lazy ? fs_replace_lazy(dir_fd, "head", &file, err) : fs_replace(dir_fd, "head", &file, err);
}

static void
fs_replace_is_all_or_nothing(void **state)
{
    static const struct {
        int sync_fail_at;
        enum err_kind kind;
        const char *found;
    } table[] = {
        { 0, ERR_OK, "new" },
        { 1, ERR_IO, "old" }, /* file sync failed: name untouched */
        { 2, ERR_IO, "new" }, /* directory sync failed: visible, and the caller is told */
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char found[8];
        faults_none();
        assert_int_equal(put(unit_dir_fd(state), "old", false, NULL), ERR_OK);
        faults_none();
        sync_fail_at = table[i].sync_fail_at;
        assert_int_equal(put(unit_dir_fd(state), "new", false, NULL), table[i].kind);
        unit_read(unit_dir_fd(state), "head", found, sizeof found);
        assert_string_equal(found, table[i].found);
    }
    faults_none();
}

static void
each_step_of_a_replacement_may_fail(void **state)
{
    static const struct {
        bool lazy;
        int fail_at;
        const char *found;
    } table[] = {
        { false, 1, "old" }, /* write */
        { false, 2, "old" }, /* fsync of the file */
        { false, 3, "old" }, /* rename */
        { false, 4, "new" }, /* fsync of the directory */
        { true, 1, "old" },  /* write */
        { true, 2, "old" },  /* rename: nothing is synced */
    };
    static const int codes[] = { EIO, ENOSPC };

    for (size_t i = 0; i < 2 * sizeof table / sizeof table[0]; i++) {
        const size_t n = i / 2;
        const enum err_kind kind = codes[i % 2] == EIO ? ERR_IO : ERR_FULL;
        struct err err = { 0 };
        struct stat st;
        char found[8];
        faults_none();
        assert_int_equal(put(unit_dir_fd(state), "old", table[n].lazy, NULL), ERR_OK);
        assert_int_equal(calls, table[n].lazy ? 2 : 4);
        faults_none();
        fail_at = table[n].fail_at;
        fail_code = codes[i % 2];
        assert_int_equal(put(unit_dir_fd(state), "new", table[n].lazy, &err), kind);
        assert_int_equal(err.code, codes[i % 2]);
        assert_non_null(strstr(err.text, "could not"));
        unit_read(unit_dir_fd(state), "head", found, sizeof found);
        assert_string_equal(found, table[n].found);
        assert_int_equal(fstatat(unit_dir_fd(state), "head.tmp", &st, 0), -1); /* no room is lost */
    }
    faults_none();
}

static void
a_new_file_has_its_mode_whatever_was_left_behind(void **state)
{
    const int dir_fd = unit_dir_fd(state);
    const struct fs_file file = { "key", 3, 0600 };
    const mode_t mask = umask(0);
    struct stat st;

    faults_none();
    AUTO(auto_close) const int left = openat(dir_fd, "head.tmp", O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    assert_int_equal(__real_write(left, "of a crash", 10), 10);
    assert_int_equal(fs_replace(dir_fd, "head", &file, NULL), ERR_OK);
    (void)umask(077);
    assert_int_equal(fstatat(dir_fd, "head", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 3);
    assert_int_equal(put(dir_fd, "", false, NULL), ERR_OK);
    assert_int_equal(fstatat(dir_fd, "head", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_size, 0);
    (void)umask(mask);
}

static void
fs_read_takes_a_file_whole_or_not_at_all(void **state)
{
    static char text[70001];
    static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8192, 70000 };
    const int dir_fd = unit_dir_fd(state);
    AUTO(buf_free) struct buf b = { 0 };
    struct err err = { 0 };

    faults_none();
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const struct fs_file file = { text, sizes[i], 0600 };
        assert_int_equal(fs_replace(dir_fd, "head", &file, NULL), ERR_OK);
        assert_int_equal(fs_read(dir_fd, "head", sizes[i], &b, &err), ERR_OK);
        assert_int_equal(b.size, sizes[i]);
        if (sizes[i] == 0)
            continue;
        assert_memory_equal(b.at, text, b.size);
        assert_int_equal(fs_read(dir_fd, "head", sizes[i] - 1, &b, &err), ERR_LIMIT);
        assert_int_equal(b.size, sizes[i]); /* what was there stays */
    }
    assert_int_equal(fs_read(dir_fd, "none", 10, &b, &err), ERR_ABSENT);
    assert_string_equal(err.text, "could not open \"none\": No such file or directory");
    assert_int_equal(fs_read(dir_fd, "none", 10, &b, NULL), ERR_ABSENT);
    assert_int_equal(fs_read(dir_fd, ".", 10, &b, &err), ERR_IO);
}

static void
syncs_tell_of_failure(void **state)
{
    struct err err = { 0 };

    faults_none();
    assert_int_equal(fs_sync(unit_dir_fd(state), "dir", NULL), ERR_OK);
    assert_int_equal(fs_sync_data(unit_dir_fd(state), "dir", NULL), ERR_OK);
    faults_none();
    fail_at = 1;
    assert_int_equal(fs_sync(unit_dir_fd(state), "dir", &err), ERR_IO);
    assert_string_equal(err.text, "could not sync \"dir\": Input/output error");
    faults_none();
    fail_at = 1;
    assert_int_equal(fs_sync_data(unit_dir_fd(state), "dir", &err), ERR_IO);
    assert_int_equal(err.code, EIO);
    faults_none();
}

static void
directories_are_made_once_and_files_are_none(void **state)
{
    const int dir_fd = unit_dir_fd(state);
    struct err err = { 0 };
    int fd = -1;

    faults_none();
    assert_int_equal(fs_dir_empty(dir_fd), 1);
    assert_int_equal(fs_dir_make(dir_fd, "d", 0700, &fd, NULL), ERR_OK);
    assert_int_equal(fs_dir_empty(fd), 1);
    assert_int_equal(fs_dir_make(dir_fd, "d", 0700, NULL, NULL), ERR_OK);
    assert_int_equal(fs_dir_empty(dir_fd), 0);
    assert_int_equal(fs_dir_empty(dir_fd), 0); /* not moved by the first look */
    assert_int_equal(put(fd, "x", true, NULL), ERR_OK);
    assert_int_equal(fs_dir_make(dir_fd, "d/head", 0700, NULL, &err), ERR_IO);
    assert_int_equal(err.code, ENOTDIR);
    assert_int_equal(fs_dir_empty(-1), -1);
    assert_int_equal(unlinkat(fd, "head", 0), 0);
    assert_int_equal(unlinkat(dir_fd, "d", AT_REMOVEDIR), 0);
    (void)close(fd);
    assert_int_equal(fs_dir_open("/nowhere/at all", &fd, NULL), ERR_ABSENT);
    assert_int_equal(fs_dir_open("/", &fd, NULL), ERR_OK);
    (void)close(fd);
}

static void
nothing_is_opened_outside(void **state)
{
    static const struct {
        const char *path;
        int flags, code; /* errno, 0: opened */
    } table[] = {
        { "in/file", O_RDONLY, 0 },
        { "in", O_RDONLY | O_DIRECTORY, 0 },
        { "in/new", O_WRONLY | O_CREAT | O_EXCL, 0 },
        { "in/..", O_RDONLY, EXDEV }, /* stays inside, but nobody honest says it */
        { "..", O_RDONLY, EXDEV },
        { "in/../../x", O_RDONLY, EXDEV },
        { "/etc/passwd", O_RDONLY, EXDEV },
        { "out/passwd", O_RDONLY, ELOOP },
        { "out", O_RDONLY, ELOOP },
        { "near/file", O_RDONLY, ELOOP }, /* a link that stays inside: restore makes none on its way */
        { "in/...", O_RDONLY, ENOENT },   /* a name like another */
        { "in/none", O_RDONLY, ENOENT },
    };
    const int dir_fd = unit_dir_fd(state);
    struct stat st;

    assert_int_equal(mkdirat(dir_fd, "in", 0700), 0);
    assert_int_equal(symlinkat("/etc", dir_fd, "out"), 0);
    assert_int_equal(symlinkat("in", dir_fd, "near"), 0);
    const int file = openat(dir_fd, "in/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    (void)close(file);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        errno = 0;
        const int fd = fs_open_beneath(dir_fd, table[i].path, table[i].flags, 0640);
        assert_int_equal(fd < 0 ? errno : 0, table[i].code);
        if (fd >= 0) {
            assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
            (void)close(fd);
        }
    }
    assert_int_equal(fstatat(dir_fd, "in/new", &st, 0), 0);
    assert_int_equal(st.st_mode & 0700, 0600);
    assert_int_equal(unlinkat(dir_fd, "in/new", 0), 0);
    assert_int_equal(unlinkat(dir_fd, "in/file", 0), 0);
    assert_int_equal(unlinkat(dir_fd, "in", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dir_fd, "out", 0), 0);
    assert_int_equal(unlinkat(dir_fd, "near", 0), 0);
}

static void
a_lock_has_one_holder_and_names_it(void **state)
{
    const int dir_fd = unit_dir_fd(state);
    struct err err = { 0 };
    char expected[64];
    int fd = -1, other = -1;

    faults_none();
    assert_int_equal(fs_lock(dir_fd, "head", &fd, NULL), ERR_OK);
    assert_int_equal(fs_lock(dir_fd, "head", &other, &err), ERR_REFUSED);
    (void)snprintf(expected, sizeof expected, "\"head\" is held by process %ld", (long)getpid());
    assert_string_equal(err.text, expected);
    assert_int_equal(other, -1);

    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(fs_lock(dir_fd, "head", &other, NULL) == ERR_REFUSED ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);

    (void)close(fd);
    assert_int_equal(fs_lock(dir_fd, "head", &fd, NULL), ERR_OK);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(fs_replace_is_all_or_nothing),
        unit_test_in_dir(each_step_of_a_replacement_may_fail),
        unit_test_in_dir(a_new_file_has_its_mode_whatever_was_left_behind),
        unit_test_in_dir(fs_read_takes_a_file_whole_or_not_at_all),
        unit_test_in_dir(syncs_tell_of_failure),
        unit_test_in_dir(directories_are_made_once_and_files_are_none),
        unit_test_in_dir(nothing_is_opened_outside),
        unit_test_in_dir(a_lock_has_one_holder_and_names_it),
    };

    return cmocka_run_group_tests_name("common/fs", tests, NULL, NULL);
}
