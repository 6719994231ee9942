/* when.h - times, durations, sizes, rates, as people write and read them. */
#ifndef COMMON_WHEN_H
#define COMMON_WHEN_H

#include <stddef.h>
#include <stdint.h>

int64_t when_now_ns(void);  /* CLOCK_REALTIME, ns since 1970 */
int64_t when_tick_ns(void); /* CLOCK_MONOTONIC */

/* All parsers return 0, or -1 on a bad text and leave *ret alone. */
int when_parse(const char *text, int64_t *ret_ns);          /* RFC 3339 with offset or Z, fraction up to 9 digits */
int when_duration(const char *text, uint64_t *ret_ns);      /* 250ms 30s 5m 1h 90d; a unit is needed */
int when_size(const char *text, uint64_t *ret_bytes);       /* 4096 64KiB 2GiB 1TiB 10MB (decimal) */
#define WHEN_ROOM 48
void when_format(int64_t ns, char ret[WHEN_ROOM]);          /* local time with offset, seconds: 2026-11-23T02:00:00+08:00 */
void when_format_ns(int64_t ns, char ret[WHEN_ROOM]);       /* the same with nine digits; parses back exactly */
void when_age(int64_t ns, char ret[WHEN_ROOM]);             /* 45 s, 12 min, 3 h, 9 d */
void when_bytes(uint64_t bytes, char ret[WHEN_ROOM]);       /* 1.4 GiB */

#endif
