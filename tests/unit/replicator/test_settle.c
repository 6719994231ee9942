/* When is a row of the table as good as the file itself?
 * Method: a table of what moved, around a row that is fresh. */
#include <string.h>

#include "replicator/pass.h"
#include "tests/unit/unit.h"

#define NOW_S 1790000000ll

static void
a_row_is_fresh_only_when_nothing_moved_and_its_ctime_had_settled(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t size, mtime_s, mtime_ns, ctime_s, ctime_ns; /* added to the file's */
        int64_t row_ctime_s;                                /* added to both */
        uint64_t sequence;
        bool headed, read_all, fresh;
    } cases[] = {
        { "nothing moved", 0, 0, 0, 0, 0, 0, 4, true, false, true },
        { "the size did", 1, 0, 0, 0, 0, 0, 4, true, false, false },
        { "mtime did", 0, 1, 0, 0, 0, 0, 4, true, false, false },
        { "mtime's nanoseconds did", 0, 0, 1, 0, 0, 0, 4, true, false, false },
        { "ctime did", 0, 0, 0, -1, 0, 0, 4, true, false, false },
        { "ctime's nanoseconds did", 0, 0, 0, 0, 1, 0, 4, true, false, false },
        { "ctime a minute before the reading", 0, 0, 0, 0, 0, 39, 4, true, false, true },
        { "ctime not quite a minute before", 0, 0, 0, 0, 0, 40, 4, true, false, false },
        { "ctime after the reading", 0, 0, 0, 0, 0, 500, 4, true, false, false },
        { "no mark has it", 0, 0, 0, 0, 0, 0, 5, true, false, false },
        { "there is no mark", 0, 0, 0, 0, 0, 0, 0, false, false, false },
        { "all shall be read", 0, 0, 0, 0, 0, 0, 4, true, true, false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pass p;
        memset(&p, 0, sizeof(p));
        p.sequence = 5;
        p.headed = cases[i].headed;
        p.read_all = cases[i].read_all;
        struct table_row row;
        memset(&row, 0, sizeof(row));
        row.size = 100;
        row.mtime_s = NOW_S - 100;
        row.ctime_s = NOW_S - 100 + cases[i].row_ctime_s;
        row.read_ns = NOW_S * 1000000000ll;
        row.sequence = cases[i].sequence;
        struct facts now = { .size = (uint64_t)((int64_t)row.size + cases[i].size),
                             .mtime_s = row.mtime_s + cases[i].mtime_s,
                             .mtime_ns = (uint32_t)cases[i].mtime_ns,
                             .ctime_s = row.ctime_s + cases[i].ctime_s,
                             .ctime_ns = (uint32_t)cases[i].ctime_ns };
        if (row_fresh(&p, &row, &now) != cases[i].fresh)
            fail_msg("%s", cases[i].what);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_fresh_only_when_nothing_moved_and_its_ctime_had_settled),
    };
    return cmocka_run_group_tests_name("replicator/settle", tests, NULL, NULL);
}
