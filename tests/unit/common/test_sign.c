/* Goal: signatures that any Ed25519 implementation accepts, by keys that openssl reads.  Method: RFC 8032's vectors, changed
 * bytes, files of the wrong kind. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/pki.h"
#include "common/sign.h"
#include "tests/unit/unit.h"

static void
file_put(int dir_fd, const char *name, const char *text)
{
    const int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

/* RFC 8032 section 7.1, tests 1 and 2: the seeds behind the fixed head of a PKCS#8 Ed25519 key. */
static void
the_vectors_of_rfc_8032_come_out(void **state)
{
    static const struct {
        const char *pem;
        const uint8_t text[1];
        size_t size;
        const uint8_t head[8]; /* of the signature */
        const uint8_t public[4];
    } cases[] = {
        { "-----BEGIN PRIVATE KEY-----\n"
          "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g"
          "\n-----END PRIVATE KEY-----\n",
          { 0 },
          0,
          { 0xe5, 0x56, 0x43, 0x00, 0xc3, 0x60, 0xac, 0x72 },
          { 0xd7, 0x5a, 0x98, 0x01 } },
        { "-----BEGIN PRIVATE KEY-----\n"
          "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7"
          "\n-----END PRIVATE KEY-----\n",
          { 0x72 },
          1,
          { 0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8 },
          { 0x3d, 0x40, 0x17, 0xc3 } },
    };
    const int dir_fd = unit_dir_fd(state);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char name[] = { (char)('a' + i), '\0' };
        struct sign_key *key = NULL;
        uint8_t signature[SIGN_BYTES];
        uint8_t public[SIGN_PUBLIC_BYTES];
        struct err err;

        file_put(dir_fd, name, cases[i].pem);
        assert_int_equal(sign_key_load(dir_fd, name, &key, &err), ERR_OK);
        sign_public(key, public);
        assert_memory_equal(public, cases[i].public, sizeof cases[i].public);
        sign_make(key, cases[i].text, cases[i].size, signature);
        assert_memory_equal(signature, cases[i].head, sizeof cases[i].head);
        assert_int_equal(sign_check(public, cases[i].text, cases[i].size, signature), ERR_OK);
        sign_key_free(&key);
    }
}

static void
a_made_key_signs_and_any_change_is_found(void **state)
{
    const int dir_fd = unit_dir_fd(state);
    struct sign_key *key = NULL;
    uint8_t public[SIGN_PUBLIC_BYTES], loaded[SIGN_PUBLIC_BYTES];
    uint8_t signature[SIGN_BYTES];
    char text[] = "farshore test\nsome text\n";
    struct stat st;
    struct err err;

    assert_int_equal(sign_key_make(dir_fd, "key", &err), ERR_OK);
    assert_int_equal(fstatat(dir_fd, "key", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(sign_key_load(dir_fd, "key", &key, &err), ERR_OK);
    sign_public(key, public);
    sign_make(key, text, sizeof text, signature);
    assert_int_equal(sign_check(public, text, sizeof text, signature), ERR_OK);
    for (size_t i = 0; i < sizeof signature; i++) {
        signature[i] ^= 1;
        assert_int_equal(sign_check(public, text, sizeof text, signature), ERR_CORRUPT);
        signature[i] ^= 1;
    }
    text[3] ^= 1;
    assert_int_equal(sign_check(public, text, sizeof text, signature), ERR_CORRUPT);
    text[3] ^= 1;
    public[0] ^= 1;
    assert_int_equal(sign_check(public, text, sizeof text, signature), ERR_CORRUPT);
    public[0] ^= 1;
    assert_int_equal(sign_public_save(dir_fd, "key.pub", public, &err), ERR_OK);
    assert_int_equal(sign_public_load(dir_fd, "key.pub", loaded, &err), ERR_OK);
    assert_memory_equal(public, loaded, sizeof public);
    sign_key_free(&key);
    sign_key_free(&key);
}

static void
a_key_is_never_overwritten(void **state)
{
    const int dir_fd = unit_dir_fd(state);
    char before[400], after[400];
    struct err err;

    assert_int_equal(sign_key_make(dir_fd, "key", &err), ERR_OK);
    unit_read(dir_fd, "key", before, sizeof before);
    assert_int_equal(sign_key_make(dir_fd, "key", &err), ERR_REFUSED);
    unit_read(dir_fd, "key", after, sizeof after);
    assert_string_equal(before, after);
}

static void
files_of_another_kind_are_refused(void **state)
{
    const int dir_fd = unit_dir_fd(state);
    uint8_t public[SIGN_PUBLIC_BYTES];
    struct sign_key *key = NULL;
    struct err err;

    assert_int_equal(sign_key_load(dir_fd, "none", &key, &err), ERR_ABSENT);
    assert_int_equal(sign_public_load(dir_fd, "none", public, &err), ERR_ABSENT);
    file_put(dir_fd, "empty", "");
    assert_int_equal(sign_key_load(dir_fd, "empty", &key, &err), ERR_CRYPTO);
    assert_int_equal(sign_public_load(dir_fd, "empty", public, &err), ERR_CRYPTO);
    assert_int_equal(pki_key_make(dir_fd, "ec", &err), ERR_OK);
    assert_int_equal(sign_key_load(dir_fd, "ec", &key, &err), ERR_CRYPTO);
    assert_string_equal(err.text, "\"ec\" is not an Ed25519 key");
    assert_null(key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(the_vectors_of_rfc_8032_come_out),
        unit_test_in_dir(a_made_key_signs_and_any_change_is_found),
        unit_test_in_dir(a_key_is_never_overwritten),
        unit_test_in_dir(files_of_another_kind_are_refused),
    };

    return cmocka_run_group_tests_name("common/sign", tests, NULL, NULL);
}
