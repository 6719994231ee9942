#include "common/when.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000

static int64_t
clock_ns(clockid_t clock)
{
    struct timespec now = { 0 };
    const int rc = clock_gettime(clock, &now);

    assert(rc == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t
when_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t
when_tick_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* Exactly count digits, up to max; moves *at past them. */
static bool
digits(const char **at, int count, int max, int *ret)
{
    int value = 0;

    for (int i = 0; i < count; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (**at - '0');
    }
    *ret = value;
    return value <= max;
}

static bool
mark(const char **at, char upper)
{
    if (**at != upper && (upper < 'A' || **at != upper + ('a' - 'A')))
        return false;
    (*at)++;
    return true;
}

struct fields {
    int year, month, day, hour, minute, second;
    int nanosecond;
    int offset_s; /* east of Greenwich */
};

static int
month_days(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* Days from 1970-01-01; years are counted from March, so that the day of a leap year is the last. */
static int64_t
days_of(int year, int month, int day)
{
    const int64_t y = month <= 2 ? year - 1 : year;
    const int64_t era = (y >= 0 ? y : y - 399) / 400;
    const int64_t of_era = y - era * 400;
    const int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* A 60th second is refused: a mark's time is compared, and that second has no number of its own. */
static bool
parse_clock(const char **at, struct fields *f)
{
    if (!digits(at, 4, 9999, &f->year) || !mark(at, '-') || !digits(at, 2, 12, &f->month) || f->month < 1 ||
        !mark(at, '-') || !digits(at, 2, month_days(f->year, f->month), &f->day) || f->day < 1)
        return false;
    return mark(at, 'T') && digits(at, 2, 23, &f->hour) && mark(at, ':') && digits(at, 2, 59, &f->minute) &&
           mark(at, ':') && digits(at, 2, 59, &f->second);
}

static bool
parse_fraction(const char **at, struct fields *f)
{
    int scale = NS_PER_S / 10;

    if (**at != '.')
        return true;
    (*at)++;
    if (**at < '0' || **at > '9')
        return false;
    for (; **at >= '0' && **at <= '9'; (*at)++, scale /= 10) {
        if (scale == 0)
            return false;
        f->nanosecond += (**at - '0') * scale;
    }
    return true;
}

static bool
parse_offset(const char **at, struct fields *f)
{
    const char sign = **at;
    int hours, minutes;

    if (mark(at, 'Z'))
        return true;
    if ((sign != '+' && sign != '-') || !mark(at, sign) || !digits(at, 2, 23, &hours) || !mark(at, ':') ||
        !digits(at, 2, 59, &minutes))
        return false;
    f->offset_s = (sign == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

int
when_parse(const char *text, int64_t *ret_ns)
{
    struct fields f = { 0 };
    int64_t ns;

    if (!parse_clock(&text, &f) || !parse_fraction(&text, &f) || !parse_offset(&text, &f) || *text != '\0')
        return -1;
    int64_t s = days_of(f.year, f.month, f.day) * 86400 + f.hour * 3600 + f.minute * 60 + f.second -
                f.offset_s;
    int64_t rest = f.nanosecond;
    if (s < 0 && rest > 0) {
        /* Counted from the second after: the first second of the range, times 10^9, lies outside it. */
        s++;
        rest -= NS_PER_S;
    }
    if (__builtin_mul_overflow(s, (int64_t)NS_PER_S, &ns) || __builtin_add_overflow(ns, rest, &ns))
        return -1;
    *ret_ns = ns;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static int
parse_units(const char *text, const struct unit *units, size_t count, uint64_t *ret)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return -1;
    if (at == text)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(at, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(value, units[i].factor, &value))
            return -1;
        *ret = value;
        return 0;
    }
    return -1;
}

int
when_duration(const char *text, uint64_t *ret_ns)
{
    static const struct unit units[] = {
        { "ms", 1000000 },
        { "s", NS_PER_S },
        { "m", 60ull * NS_PER_S },
        { "h", 3600ull * NS_PER_S },
        { "d", 86400ull * NS_PER_S },
    };

    return parse_units(text, units, sizeof units / sizeof units[0], ret_ns);
}

int
when_size(const char *text, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        { "", 1 },
        { "B", 1 },
        { "KiB", 1ull << 10 },
        { "MiB", 1ull << 20 },
        { "GiB", 1ull << 30 },
        { "TiB", 1ull << 40 },
        { "PiB", 1ull << 50 },
        { "kB", 1000 },
        { "KB", 1000 },
        { "MB", 1000000 },
        { "GB", 1000000000 },
        { "TB", 1000000000000 },
        { "PB", 1000000000000000 },
    };

    return parse_units(text, units, sizeof units / sizeof units[0], ret_bytes);
}

static void
format(int64_t ns, bool fraction, char ret[WHEN_ROOM])
{
    int64_t rest = ns % NS_PER_S;
    time_t s = (time_t)(ns / NS_PER_S);
    struct tm tm;

    if (rest < 0) {
        rest += NS_PER_S;
        s--;
    }
    /* RFC 3339 has whole minutes, zones before about 1930 have seconds: the fields are made from the offset as written,
     * so that what is read back is the same moment. */
    const long minutes = localtime_r(&s, &tm) == NULL ? 0 : tm.tm_gmtoff / 60;
    const time_t shifted = s + minutes * 60;
    struct tm *const made = gmtime_r(&shifted, &tm);
    assert(made != NULL); /* 64 bits of ns reach from 1677 to 2262 */

    size_t used = strftime(ret, WHEN_ROOM, "%Y-%m-%dT%H:%M:%S", &tm);
    if (fraction)
        used += (size_t)snprintf(ret + used, WHEN_ROOM - used, ".%09d", (int)rest);
    const long off = minutes < 0 ? -minutes : minutes;
    (void)snprintf(ret + used, WHEN_ROOM - used, "%c%02ld:%02ld", minutes < 0 ? '-' : '+', off / 60,
                   off % 60);
}

void
when_format(int64_t ns, char ret[WHEN_ROOM])
{
    format(ns, false, ret);
}

void
when_format_ns(int64_t ns, char ret[WHEN_ROOM])
{
    format(ns, true, ret);
}

void
when_age(int64_t ns, char ret[WHEN_ROOM])
{
    const char *const sign = ns <= -NS_PER_S ? "-" : "";
    const int64_t signed_s = ns / NS_PER_S;
    const int64_t s = signed_s < 0 ? -signed_s : signed_s;

    /* Hours up to two days: "1 d" would hide whether a night was missed. */
    if (s < 60)
        (void)snprintf(ret, WHEN_ROOM, "%s%d s", sign, (int)s);
    else if (s < 3600)
        (void)snprintf(ret, WHEN_ROOM, "%s%d min", sign, (int)(s / 60));
    else if (s < 2 * 86400)
        (void)snprintf(ret, WHEN_ROOM, "%s%d h", sign, (int)(s / 3600));
    else
        (void)snprintf(ret, WHEN_ROOM, "%s%d d", sign, (int)(s / 86400));
}

void
when_bytes(uint64_t bytes, char ret[WHEN_ROOM])
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(ret, WHEN_ROOM, "%d B", (int)bytes);
        return;
    }
    /* Not 1024: what would be printed as 1024.0 is the next unit's 1.0. */
    for (; value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        value /= 1024;
    (void)snprintf(ret, WHEN_ROOM, "%.1f %s", value, units[unit]);
}
