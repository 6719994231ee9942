/* All that was pushed is done, in order, and never more waits than the queue holds.
 * Method: counters that the jobs move; a gate that the first jobs wait at. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/pool.h"
#include "tests/unit/unit.h"

enum { JOBS = 5000, THREADS = 3, QUEUE = 4 };

static atomic_size_t pushed, done, most;

static void
count(void *arg)
{
    /* pushed before done: between the two reads done can only grow, so the sum is never too large. */
    const size_t before = atomic_load(&pushed);
    const size_t after = atomic_load(&done);
    const size_t waiting = before > after ? before - after : 0;
    size_t seen = atomic_load(&most);

    (void)arg;
    while (waiting > seen && !atomic_compare_exchange_weak(&most, &seen, waiting))
        continue;
    atomic_fetch_add(&done, 1);
}

static void
a_push_waits_while_the_queue_is_full(void **state)
{
    struct pool *p = pool_new(THREADS, QUEUE);

    (void)state;
    for (size_t i = 0; i < JOBS; i++) {
        pool_push(p, count, NULL);
        atomic_fetch_add(&pushed, 1);
    }
    pool_wait(p);
    assert_int_equal(atomic_load(&done), JOBS);
    assert_in_range(atomic_load(&most), 0, QUEUE + THREADS);
    pool_wait(p); /* nothing to wait for */
    pool_free(&p);
    assert_null(p);
    pool_free(&p);
}

static size_t order[JOBS], order_size; /* one thread's own */

static void
note(void *arg)
{
    order[order_size++] = *(const size_t *)arg;
}

static void
jobs_begin_in_the_order_they_were_pushed(void **state)
{
    static size_t numbers[JOBS];
    struct pool *p = pool_new(1, 7);

    (void)state;
    for (size_t i = 0; i < JOBS; i++) {
        numbers[i] = i;
        pool_push(p, note, &numbers[i]);
    }
    pool_free(&p); /* waits */
    assert_int_equal(order_size, JOBS);
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(order[i], i);
}

static pthread_barrier_t barrier;

static void
meet(void *arg)
{
    (void)arg;
    (void)pthread_barrier_wait(&barrier);
}

static void
as_many_jobs_run_at_once_as_there_are_threads(void **state)
{
    struct pool *p = pool_new(THREADS, 1);

    (void)state;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (int i = 0; i < 4 * THREADS; i++)
        pool_push(p, meet, NULL);
    pool_free(&p);
    assert_int_equal(pthread_barrier_destroy(&barrier), 0);
}

static atomic_bool ended;

static void
take_long(void *arg)
{
    volatile uint32_t work = 0;

    (void)arg;
    while (work < 10000000) /* some 10 ms, in which a wait for an empty queue alone would be over */
        work = work + 1;
    atomic_store(&ended, true);
}

static void
a_wait_lasts_until_the_last_job_has_ended(void **state)
{
    struct pool *p = pool_new(1, 1);

    (void)state;
    for (int i = 0; i < 3; i++) {
        atomic_store(&ended, false);
        pool_push(p, take_long, NULL);
        pool_wait(p);
        assert_true(atomic_load(&ended));
    }
    pool_free(&p);
}

static void *
push_many(void *arg)
{
    for (size_t i = 0; i < JOBS; i++)
        pool_push(arg, count, NULL);
    return NULL;
}

static void
several_threads_may_push(void **state)
{
    struct pool *p = pool_new(2, QUEUE);
    pthread_t threads[2];

    (void)state;
    atomic_store(&done, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, p), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    pool_free(&p);
    assert_int_equal(atomic_load(&done), 2 * JOBS);
    assert_true(pool_cores() >= 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_push_waits_while_the_queue_is_full),
        cmocka_unit_test(jobs_begin_in_the_order_they_were_pushed),
        cmocka_unit_test(as_many_jobs_run_at_once_as_there_are_threads),
        cmocka_unit_test(a_wait_lasts_until_the_last_job_has_ended),
        cmocka_unit_test(several_threads_may_push),
    };

    return cmocka_run_group_tests_name("common/pool", tests, NULL, NULL);
}
