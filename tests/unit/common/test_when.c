/* Times are read strictly and written so that they are read back exactly.
 * Method: tables of good and bad texts; random moments through several zones; timegm as the oracle. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/when.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

#define S INT64_C(1000000000)

static void
good_times_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t ns;
    } table[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "1970-01-01t00:00:00z", 0 },
        { "1970-01-01T00:00:00.000000001Z", 1 },
        { "1970-01-01T00:00:00.5Z", S / 2 },
        { "1969-12-31T23:59:59.5Z", -S / 2 },
        { "1970-01-01T08:00:00+08:00", 0 },
        { "1970-01-01T00:00:00-00:30", 1800 * S },
        { "2000-02-29T00:00:00Z", 951782400 * S },
        { "2026-11-23T02:00:00+08:00", 1795370400 * S },
        { "2016-12-31T23:59:59Z", 1483228799 * S },
        { "1677-09-21T00:12:43.145224192Z", INT64_MIN },
        { "2262-04-11T23:47:16.854775807Z", INT64_MAX },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t ns = 77;
        if (when_parse(table[i].text, &ns) != 0 || ns != table[i].ns)
            fail_msg("%s: %" PRId64, table[i].text, ns);
    }
}

static void
bad_times_are_refused(void **state)
{
    static const char *const table[] = {
        "",
        "2026",
        "2026-11-23",
        "2026-11-23T02:00:00",
        "2026-11-23 02:00:00Z",
        "2026-11-23T02:00Z",
        "2026-11-23T02:00:60Z",
        "2016-12-31T23:59:60Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:60:00Z",
        "2026-00-23T02:00:00Z",
        "2026-13-23T02:00:00Z",
        "2026-11-00T02:00:00Z",
        "2026-11-31T02:00:00Z",
        "2026-02-29T02:00:00Z",
        "1900-02-29T02:00:00Z",
        "2024-02-30T02:00:00Z",
        "2026-1-23T02:00:00Z",
        "2026-11-23T02:00:00.Z",
        "2026-11-23T02:00:00.1234567890Z",
        "2026-11-23T02:00:00,5Z",
        "2026-11-23T02:00:00+8:00",
        "2026-11-23T02:00:00+0800",
        "2026-11-23T02:00:00+08",
        "2026-11-23T02:00:00+24:00",
        "2026-11-23T02:00:00+08:60",
        "2026-11-23T02:00:00Z ",
        " 2026-11-23T02:00:00Z",
        "2026-11-23T02:00:00ZZ",
        "+2026-11-23T02:00:00Z",
        "2026-11-23T02:00:00",
        "1677-09-21T00:12:43.145224191Z",
        "2262-04-11T23:47:16.854775808Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t ns = 77;
        if (when_parse(table[i], &ns) != -1 || ns != 77)
            fail_msg("%s: %" PRId64, table[i], ns);
    }
}

static void
every_day_of_four_centuries_is_that_of_timegm(void **state)
{
    (void)state;
    for (int64_t day = -106000; day < 106000; day++) {
        const time_t s = (time_t)day * 86400 + 3661;
        char text[WHEN_ROOM];
        struct tm tm;
        int64_t ns = 0;
        assert_non_null(gmtime_r(&s, &tm));
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
        if (when_parse(text, &ns) != 0 || ns != s * S)
            fail_msg("%s: %" PRId64, text, ns);
    }
}

static void
what_is_written_is_read_back_in_every_zone(void **state)
{
    /* St. John's and Shanghai had offsets with seconds in the 19th century. */
    static const char *const zones[] = { "UTC0", "Asia/Shanghai", "America/St_Johns", "XYZ-14",
                                         "XYZ11:59:59" };

    (void)state;
    seed_start();
    for (size_t z = 0; z < sizeof zones / sizeof zones[0]; z++) {
        assert_int_equal(setenv("TZ", zones[z], 1), 0);
        tzset();
        for (int i = 0; i < 2000; i++) {
            /* Two days off the ends, where the year, in another zone, cannot be told in 64 bits. */
            const int64_t ns = i == 0 ? 0 : i == 1 ? -1 : (int64_t)seed_next() / 1000 * 999;
            char text[WHEN_ROOM];
            int64_t back = 0;
            when_format_ns(ns, text);
            if (when_parse(text, &back) != 0 || back != ns)
                fail_msg("%s: %" PRId64 " came back as %" PRId64, text, ns, back);
            when_format(ns, text);
            assert_int_equal(when_parse(text, &back), 0);
            assert_true(back <= ns && ns - back < S);
        }
    }
    char text[WHEN_ROOM];
    assert_int_equal(setenv("TZ", "CST-8", 1), 0);
    tzset();
    when_format(1795370400 * S, text);
    assert_string_equal(text, "2026-11-23T02:00:00+08:00");
    when_format_ns(1795370400 * S + 7, text);
    assert_string_equal(text, "2026-11-23T02:00:00.000000007+08:00");
}

static void
durations_and_sizes_need_their_units(void **state)
{
    static const struct {
        int (*parse)(const char *text, uint64_t *ret);
        const char *text;
        uint64_t value;
        int rc;
    } table[] = {
        { when_duration, "250ms", 250000000, 0 },
        { when_duration, "30s", 30000000000, 0 },
        { when_duration, "5m", 300000000000, 0 },
        { when_duration, "1h", 3600000000000, 0 },
        { when_duration, "90d", 7776000000000000, 0 },
        { when_duration, "0s", 0, 0 },
        { when_duration, "213503d", UINT64_C(18446659200000000000), 0 },
        { when_duration, "213504d", 77, -1 },
        { when_duration, "30", 77, -1 },
        { when_duration, "", 77, -1 },
        { when_duration, "s", 77, -1 },
        { when_duration, "-1s", 77, -1 },
        { when_duration, "+1s", 77, -1 },
        { when_duration, " 1s", 77, -1 },
        { when_duration, "1 s", 77, -1 },
        { when_duration, "1.5h", 77, -1 },
        { when_duration, "1S", 77, -1 },
        { when_duration, "1h30m", 77, -1 },
        { when_size, "4096", 4096, 0 },
        { when_size, "0", 0, 0 },
        { when_size, "10B", 10, 0 },
        { when_size, "64KiB", 65536, 0 },
        { when_size, "2GiB", UINT64_C(2147483648), 0 },
        { when_size, "1TiB", UINT64_C(1099511627776), 0 },
        { when_size, "10MB", 10000000, 0 },
        { when_size, "18446744073709551615", UINT64_MAX, 0 },
        { when_size, "18446744073709551616", 77, -1 },
        { when_size, "16383PiB", UINT64_C(18445618173802708992), 0 },
        { when_size, "16384PiB", 77, -1 },
        { when_size, "1K", 77, -1 },
        { when_size, "1kib", 77, -1 },
        { when_size, "KiB", 77, -1 },
        { when_size, "0x10", 77, -1 },
        { when_size, "-1", 77, -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint64_t value = 77;
        const int rc = table[i].parse(table[i].text, &value);
        if (rc != table[i].rc || value != table[i].value)
            fail_msg("%s: %d, %" PRIu64, table[i].text, rc, value);
    }
}

static void
ages_and_bytes_are_short(void **state)
{
    static const struct {
        int64_t ns;
        const char *text;
    } ages[] = {
        { 0, "0 s" },
        { S - 1, "0 s" },
        { 45 * S, "45 s" },
        { 59 * S + S - 1, "59 s" },
        { 60 * S, "1 min" },
        { 3599 * S, "59 min" },
        { 3600 * S, "1 h" },
        { 47 * 3600 * S, "47 h" },
        { 48 * 3600 * S, "2 d" },
        { 9 * 86400 * S, "9 d" },
        { -45 * S, "-45 s" },
        { -1, "0 s" },
        { INT64_MIN, "-106751 d" },
    };
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        { 0, "0 B" },           { 1023, "1023 B" },        { 1024, "1.0 KiB" },        { 1536, "1.5 KiB" },
        { 1048575, "1.0 MiB" }, { 1503238553, "1.4 GiB" }, { UINT64_MAX, "16.0 EiB" },
    };
    char text[WHEN_ROOM];

    (void)state;
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        when_age(ages[i].ns, text);
        assert_string_equal(text, ages[i].text);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        when_bytes(sizes[i].bytes, text);
        assert_string_equal(text, sizes[i].text);
    }
}

static void
clocks_run(void **state)
{
    const int64_t tick = when_tick_ns();

    (void)state;
    assert_true(when_now_ns() > 1700000000 * S);
    assert_true(when_tick_ns() >= tick);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_times_are_read),
        cmocka_unit_test(bad_times_are_refused),
        cmocka_unit_test(every_day_of_four_centuries_is_that_of_timegm),
        cmocka_unit_test(what_is_written_is_read_back_in_every_zone),
        cmocka_unit_test(durations_and_sizes_need_their_units),
        cmocka_unit_test(ages_and_bytes_are_short),
        cmocka_unit_test(clocks_run),
    };

    return cmocka_run_group_tests_name("common/when", tests, NULL, NULL);
}
