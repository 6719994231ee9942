/* agent.conf is read as it is documented, and what is doubtful is an error that names file and line.
 * Method: the example that join writes, with its comments taken off; a table of bad ones. */
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/mem.h"
#include "replicator/agent.h"
#include "tests/unit/unit.h"

static enum err_kind
load(void **state, const char *text, struct agent *a, struct err *err)
{
    struct fs_file file = { text, strlen(text), 0600 };
    assert_int_equal(fs_replace(unit_dir_fd(state), "agent.conf", &file, NULL), ERR_OK);
    memset(a, 0, sizeof(*a));
    a->dir_fd = unit_dir_fd(state);
    return agent_conf_load(a, err);
}

static void
drop(struct agent *a)
{
    conf_free(&a->conf);
    free(a->sources);
}

static void
the_example_is_valid_as_it_is_and_without_its_comment_marks(void **state)
{
    struct agent a;
    struct err err = { 0 };
    assert_int_equal(load(state, agent_conf_example, &a, &err), ERR_OK);
    assert_int_equal(a.source_count, 0);
    drop(&a);
    AUTO(auto_free) char *text = mem_text("%s", strstr(agent_conf_example, "# [site]"));
    for (char *line = text; line != NULL; line = strchr(line, '\n') == NULL ? NULL : strchr(line, '\n') + 1)
        if (strncmp(line, "# ", 2) == 0)
            memmove(line, line + 2, strlen(line + 2) + 1);
        else if (line[0] == '#')
            memmove(line, line + 1, strlen(line + 1) + 1);
    assert_int_equal(load(state, text, &a, &err), ERR_OK);
    assert_string_equal(a.address, "192.0.2.7:7420");
    assert_int_equal(a.source_count, 1);
    const struct agent_source *s = &a.sources[0];
    assert_string_equal(s->name, "pension");
    assert_string_equal(s->path, "/srv/pension");
    assert_int_equal(s->interval_ns, 3600000000000ull);
    assert_int_equal(s->exclude_count, 2);
    assert_string_equal(s->exclude[1], "cache/*");
    assert_string_equal(s->before, "/usr/local/sbin/freeze-pension");
    assert_true(s->one_file_system);
    assert_false(s->read_all);
    drop(&a);
}

static void
what_is_not_given_has_its_documented_default(void **state)
{
    struct agent a;
    assert_int_equal(load(state, "[source x]\ntype = files\npath = /x\n", &a, NULL), ERR_OK);
    assert_int_equal(a.sources[0].interval_ns, 3600000000000ull);
    assert_true(a.sources[0].one_file_system);
    assert_false(a.sources[0].read_all);
    assert_null(a.sources[0].before);
    assert_null(a.sources[0].after);
    assert_int_equal(a.sources[0].exclude_count, 0);
    drop(&a);
}

static void
a_bad_one_is_an_error_that_names_its_line(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        { "[source x]\ntype = tape\npath = /x\n", "agent.conf:2" },
        { "[source X]\ntype = files\npath = /x\n", "agent.conf" },
        { "[source x]\ntype = files\n", "path" },
        { "[source x]\npath = /x\n", "type" },
        { "[source x]\ntype = files\npath = x\n", "agent.conf:3" },
        { "[source x]\ntype = files\npath = /x\ninterval = 10ms\n", "agent.conf:4" },
        { "[source x]\ntype = files\npath = /x\ninterval = 10\n", "agent.conf:4" },
        { "[source x]\ntype = files\npath = /x\nintervall = 10s\n", "agent.conf:4" },
        { "[source x]\ntype = files\npath = /x\npath = /y\n", "agent.conf:4" },
        { "[source x]\ntype = files\npath = /x\nread-all = maybe\n", "agent.conf:4" },
        { "[sink x]\n", "agent.conf:1" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct agent a;
        struct err err = { 0 };
        assert_int_equal(load(state, cases[i].text, &a, &err), ERR_CONFIG);
        if (strstr(err.text, cases[i].part) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].part);
        drop(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(the_example_is_valid_as_it_is_and_without_its_comment_marks),
        unit_test_in_dir(what_is_not_given_has_its_documented_default),
        unit_test_in_dir(a_bad_one_is_an_error_that_names_its_line),
    };
    return cmocka_run_group_tests_name("replicator/agent_conf", tests, NULL, NULL);
}
