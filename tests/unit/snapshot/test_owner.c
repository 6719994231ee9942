/* A file belongs to whom its names say where this machine knows them, else to the numbers.
 * Method: "root" is known everywhere; a name with a space is known nowhere. */
#include "tests/unit/unit.h"

#include <string.h>

#include "snapshot/owner.h"

static struct tree_entry
entry(const char *user, const char *group)
{
    return (struct tree_entry){ .uid = 4711,
                                .gid = 4712,
                                .user = user,
                                .user_bytes = (uint8_t)strlen(user),
                                .group = group,
                                .group_bytes = (uint8_t)strlen(group) };
}

static void
names_count_before_numbers(void **state)
{
    static const struct {
        bool numeric;
        const char *user, *group;
        uint32_t uid, gid;
    } table[] = {
        { false, "root", "root", 0, 0 },
        { false, "no such user", "root", 4711, 0 },
        { false, "root", "no such group", 0, 4712 },
        { false, "", "", 4711, 4712 },
        { true, "root", "root", 4711, 4712 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct tree_entry e = entry(table[i].user, table[i].group);
        struct owners *o = owners_new(table[i].numeric);

        /* Twice: the second answer comes from what was kept. */
        for (int again = 0; again < 2; again++) {
            uint32_t uid = 1, gid = 1;

            owners_find(o, &e, &uid, &gid);
            assert_int_equal(uid, table[i].uid);
            assert_int_equal(gid, table[i].gid);
        }
        owners_free(&o);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_count_before_numbers),
    };

    return cmocka_run_group_tests_name("snapshot/owner", tests, NULL, NULL);
}
