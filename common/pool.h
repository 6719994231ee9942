/* pool.h - worker threads behind one bounded queue, first in first out. */
#ifndef COMMON_POOL_H
#define COMMON_POOL_H

#include <stddef.h>

struct pool;
typedef void pool_fn(void *arg);

struct pool *pool_new(size_t threads, size_t queue_max);
void pool_push(struct pool *p, pool_fn *fn, void *arg); /* waits while the queue is full */
void pool_wait(struct pool *p);                         /* until all that was pushed is done */
void pool_free(struct pool **p);                        /* pool_wait, then end the threads */
size_t pool_cores(void);                                /* processors this process may use, at least 1 */

#endif
