/* The set says of each digest whether it was met before, in each kind, however many there are and whoever asks.
 * Method: random digests held against a second round; threads that add the same ones; a set that is full. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "verify/verify_seen.h"

#define DIGESTS 20000u

static struct digest
digest_of(uint64_t number)
{
    struct digest d;

    hash_sha256(&number, sizeof number, &d);
    return d;
}

static void
each_digest_is_new_once(void **state)
{
    struct seen *s = seen_new(UINT32_MAX);

    (void)state;
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 0; i < DIGESTS; i++) {
            const struct digest d = digest_of(i);

            assert_int_equal(seen_has(s, 'P', &d), round == 1);
            assert_int_equal(seen_add(s, 'P', &d), round == 0);
        }
    const struct digest one = digest_of(1), zeros = { { 0 } };
    assert_false(seen_has(s, 'M', &one));
    assert_true(seen_add(s, 'M', &one));
    assert_true(seen_add(s, 0, &zeros));
    assert_false(seen_add(s, 0, &zeros));
    seen_free(&s);
}

struct race {
    struct seen *s;
    atomic_uint fresh;
};

static void *
race_run(void *arg)
{
    struct race *const r = arg;

    for (uint64_t i = 0; i < DIGESTS; i++) {
        const struct digest d = digest_of(i);

        if (seen_add(r->s, 'P', &d))
            atomic_fetch_add(&r->fresh, 1);
    }
    return NULL;
}

static void
threads_that_meet_agree_on_who_was_first(void **state)
{
    struct race r = { .s = seen_new(UINT32_MAX) };
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, &r), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&r.fresh), DIGESTS);
    seen_free(&r.s);
}

static void
a_full_set_forgets_and_never_lies(void **state)
{
    struct seen *s = seen_new(100);
    unsigned again = 0;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        const struct digest d = digest_of(i);

        assert_true(seen_add(s, 'P', &d));
    }
    for (uint64_t i = 0; i < 1000; i++) {
        const struct digest d = digest_of(i);

        again += !seen_add(s, 'P', &d);
    }
    assert_true(again > 50 && again < 200);
    seen_free(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_digest_is_new_once),
        cmocka_unit_test(threads_that_meet_agree_on_who_was_first),
        cmocka_unit_test(a_full_set_forgets_and_never_lies),
    };

    return cmocka_run_group_tests_name("verify/verify_seen", tests, NULL, NULL);
}
