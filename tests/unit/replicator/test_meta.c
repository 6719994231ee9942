/* Xattrs are encoded sorted by name, small sets inline and large ones as an object, and come back from a row as they went in.
 * Method: real xattrs of a file, a directory and what a link points to. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/pass.h"
#include "tests/unit/unit.h"

static size_t objects;

void
object_add(struct pass *p, enum object_kind kind, const struct digest *digest, const void *bytes, size_t size)
{
    struct digest real;
    (void)p;
    assert_int_equal(kind, OBJECT_XATTRS);
    tree_xattrs_digest(bytes, size, &real);
    assert_true(hash_same(&real, digest));
    objects++;
}

static int
make(void **state)
{
    int fd = openat(unit_dir_fd(state), "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void
a_set_is_sorted_and_the_same_by_descriptor_and_by_name(void **state)
{
    int fd = make(state);
    if (fsetxattr(fd, "user.b", "2", 1, 0) != 0)
        skip(); /* this file system has none */
    assert_int_equal(fsetxattr(fd, "user.a", "", 0, 0), 0);
    assert_int_equal(fsetxattr(fd, "user.c", "\0\1", 2, 0), 0);
    AUTO(buf_free) struct buf set = { 0 };
    AUTO(buf_free) struct buf same = { 0 };
    assert_int_equal(xattrs_of_fd(fd, &set, NULL), ERR_OK);
    assert_int_equal(xattrs_of_name(unit_dir_fd(state), "f", &same, NULL), ERR_OK);
    assert_int_equal(set.size, same.size);
    assert_memory_equal(set.at, same.at, set.size);
    struct cut c = cut_of(set.at, set.size);
    struct tree_xattr x;
    const char *names[] = { "user.a", "user.b", "user.c" };
    const size_t sizes[] = { 0, 1, 2 };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tree_xattr_next(&c, &x), 1);
        assert_int_equal(x.name_bytes, 6);
        assert_memory_equal(x.name, names[i], 6);
        assert_int_equal(x.value_bytes, sizes[i]);
    }
    assert_int_equal(tree_xattr_next(&c, &x), 0);
    (void)close(fd);
}

static void
a_link_is_not_followed_and_a_missing_name_is_absent(void **state)
{
    int fd = make(state);
    if (fsetxattr(fd, "user.b", "2", 1, 0) != 0)
        skip();
    AUTO(buf_free) struct buf set = { 0 };
    assert_int_equal(symlinkat("f", unit_dir_fd(state), "link"), 0);
    assert_int_equal(xattrs_of_name(unit_dir_fd(state), "link", &set, NULL), ERR_OK);
    assert_int_equal(set.size, 0);
    assert_int_equal(xattrs_of_name(unit_dir_fd(state), "nothing", &set, NULL), ERR_ABSENT);
    (void)close(fd);
}

static void
small_sets_stay_inline_and_large_ones_become_objects_both_ways(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, XATTR_INLINE_MAX, XATTR_INLINE_MAX + 1, 5000 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct item it = { 0 }, back = { 0 };
        struct table_row row;
        AUTO(buf_free) struct buf set = { 0 };
        memset(&row, 0, sizeof(row));
        for (size_t n = 0; n < sizes[i]; n++)
            buf_u8(&set, (uint8_t)n);
        size_t before = objects;
        xattrs_to_item(NULL, &it, &set);
        assert_int_equal(objects - before, sizes[i] > XATTR_INLINE_MAX ? 1 : 0);
        xattrs_to_row(&it, &row);
        xattrs_from_row(&row, &back);
        assert_int_equal(back.entry.xattrs_bytes, sizes[i]);
        assert_int_equal(back.entry.xattrs != NULL, sizes[i] > 0 && sizes[i] <= XATTR_INLINE_MAX);
        if (back.entry.xattrs != NULL)
            assert_memory_equal(back.entry.xattrs, set.at, sizes[i]);
        if (sizes[i] > XATTR_INLINE_MAX)
            assert_true(hash_same(&back.entry.xattrs_digest, &it.entry.xattrs_digest));
        free(it.xattrs);
        free(back.xattrs);
    }
}

static void
an_owner_without_a_name_has_none(void **state)
{
    (void)state;
    struct people *people = people_new();
    struct tree_entry e = { .uid = 0, .gid = 0 }, stranger = { .uid = 4000000001u, .gid = 4000000002u };
    people_name(people, &e);
    people_name(people, &stranger);
    assert_int_equal(e.user_bytes, 4);
    assert_memory_equal(e.user, "root", 4);
    assert_int_equal(stranger.user_bytes, 0);
    assert_int_equal(stranger.group_bytes, 0);
    people_free(&people);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_set_is_sorted_and_the_same_by_descriptor_and_by_name),
        unit_test_in_dir(a_link_is_not_followed_and_a_missing_name_is_absent),
        cmocka_unit_test(small_sets_stay_inline_and_large_ones_become_objects_both_ways),
        cmocka_unit_test(an_owner_without_a_name_has_none),
    };
    return cmocka_run_group_tests_name("replicator/meta", tests, NULL, NULL);
}
