/* The state directory holds signed texts as they are, and a crash between any two of its writes is mended at the next start.
 * Method: a state made by hand with a site's key of our own; each order of files that a crash can leave. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/fs.h"
#include "common/mem.h"
#include "replicator/agent.h"
#include "tests/unit/unit.h"

struct fixture {
    struct agent_options options;
    struct sign_key *site, *mark;
    int fd;
};

static void
put(int fd, const char *name, const char *text)
{
    struct fs_file file = { text, strlen(text), 0600 };
    assert_int_equal(fs_replace(fd, name, &file, NULL), ERR_OK);
}

static void
make(void **state, struct fixture *f)
{
    uint8_t public[SIGN_PUBLIC_BYTES];
    f->fd = unit_dir_fd(state);
    f->options = (struct agent_options){ .state = unit_dir_path(state), .workers = 1 };
    assert_int_equal(sign_key_make(f->fd, "site.key", NULL), ERR_OK);
    assert_int_equal(sign_key_load(f->fd, "site.key", &f->site, NULL), ERR_OK);
    sign_public(f->site, public);
    assert_int_equal(sign_public_save(f->fd, "site.pub", public, NULL), ERR_OK);
    assert_int_equal(sign_key_make(f->fd, "mark.key", NULL), ERR_OK);
    assert_int_equal(sign_key_load(f->fd, "mark.key", &f->mark, NULL), ERR_OK);
    put(f->fd, "name", "chengdu\n");
    put(f->fd, "address", "127.0.0.1:1\n");
    put(f->fd, "agent.conf", "[source pension]\ntype = files\npath = /srv\n");
}

static void
end(struct fixture *f)
{
    sign_key_free(&f->site);
    sign_key_free(&f->mark);
}

static void
make_mark(const struct fixture *f, uint64_t sequence, struct signed_text *ret, struct digest *ret_id)
{
    struct mark m = { .agent = "chengdu", .source = "pension", .sequence = sequence, .position = "-" };
    m.previous.at[0] = sequence > 1;
    ret->text.size = 0;
    mark_encode(&m, &ret->text);
    sign_make(f->mark, ret->text.at, ret->text.size, ret->signature);
    mark_id(ret->text.at, ret->text.size, ret_id);
}

static void
make_receipt(const struct fixture *f, uint64_t number, const struct digest *mark, struct signed_text *ret)
{
    struct receipt r = { .site = "sichuan",
                         .agent = "chengdu",
                         .number = number,
                         .source = "pension",
                         .sequence = number,
                         .size = 1 };
    r.mark = *mark;
    ret->text.size = 0;
    receipt_encode(&r, &ret->text);
    sign_make(f->site, ret->text.at, ret->text.size, ret->signature);
}

static void
a_signed_text_comes_back_and_a_damaged_file_is_told(void **state)
{
    struct fixture f;
    make(state, &f);
    struct agent *a = NULL;
    AUTO(signed_text_free) struct signed_text mark = { 0 };
    AUTO(signed_text_free) struct signed_text back = { 0 };
    struct digest id;
    assert_int_equal(agent_open(&f.options, true, &a, NULL), ERR_OK);
    make_mark(&f, 3, &mark, &id);
    assert_int_equal(state_load(a, "head-pension", &back, NULL), ERR_ABSENT);
    assert_int_equal(state_save(a, "head-pension", &mark, NULL), ERR_OK);
    assert_int_equal(state_load(a, "head-pension", &back, NULL), ERR_OK);
    assert_int_equal(back.text.size, mark.text.size);
    assert_memory_equal(back.text.at, mark.text.at, mark.text.size);
    assert_memory_equal(back.signature, mark.signature, SIGN_BYTES);
    put(f.fd, "head-pension", "farshore-mark-v1\nsignature 12\n");
    assert_int_equal(state_load(a, "head-pension", &back, NULL), ERR_CORRUPT);
    put(f.fd, "head-pension", "");
    assert_int_equal(state_load(a, "head-pension", &back, NULL), ERR_CORRUPT);
    agent_close(&a);
    end(&f);
}

static void
only_the_last_marks_without_a_receipt_are_kept(void **state)
{
    struct fixture f;
    make(state, &f);
    struct agent *a = NULL;
    AUTO(signed_text_free) struct signed_text mark = { 0 };
    AUTO(signed_text_free) struct signed_text back = { 0 };
    struct digest ids[30];
    assert_int_equal(agent_open(&f.options, true, &a, NULL), ERR_OK);
    for (uint64_t i = 0; i < 30; i++) {
        make_mark(&f, i + 1, &mark, &ids[i]);
        assert_int_equal(state_pending_add(a, &mark, NULL), ERR_OK);
        assert_int_equal(state_pending_find(a, &ids[i], &back, NULL), ERR_OK);
        assert_memory_equal(back.text.at, mark.text.at, mark.text.size);
    }
    assert_int_equal(state_pending_find(a, &ids[23], &back, NULL), ERR_OK);
    assert_int_equal(state_pending_find(a, &ids[0], &back, NULL), ERR_ABSENT);
    agent_close(&a);
    end(&f);
}

/* The files that state_receipt_keep writes, each prefix of them. */
static void
a_crash_after_the_receipt_is_mended_at_the_next_start(void **state)
{
    struct fixture f;
    make(state, &f);
    AUTO(signed_text_free) struct signed_text old = { 0 };
    AUTO(signed_text_free) struct signed_text mark = { 0 };
    AUTO(signed_text_free) struct signed_text receipt = { 0 };
    AUTO(signed_text_free) struct signed_text back = { 0 };
    struct digest old_id, id;
    make_mark(&f, 1, &old, &old_id);
    make_mark(&f, 2, &mark, &id);
    make_receipt(&f, 2, &id, &receipt);
    for (int written = 0; written <= 2; written++) {
        struct agent *a = NULL;
        assert_int_equal(agent_open(&f.options, true, &a, NULL), ERR_OK);
        assert_int_equal(state_save(a, "head-pension", &old, NULL), ERR_OK);
        assert_int_equal(state_remove(a, "receipt", NULL), ERR_OK);
        assert_int_equal(state_pending_add(a, &mark, NULL), ERR_OK);
        if (written >= 1)
            assert_int_equal(state_save(a, "receipt", &receipt, NULL), ERR_OK);
        if (written >= 2)
            assert_int_equal(state_save(a, "head-pension", &mark, NULL), ERR_OK);
        agent_close(&a);
        assert_int_equal(agent_open(&f.options, true, &a, NULL), ERR_OK);
        assert_int_equal(state_load(a, "head-pension", &back, NULL), ERR_OK);
        const struct signed_text *want = written == 0 ? &old : &mark;
        assert_memory_equal(back.text.at, want->text.at, want->text.size);
        assert_int_equal(state_has(a, "pending"), written == 0);
        agent_close(&a);
    }
    end(&f);
}

static void
a_receipt_of_another_site_or_for_another_agent_is_refused(void **state)
{
    struct fixture f;
    make(state, &f);
    struct agent *a = NULL;
    AUTO(signed_text_free) struct signed_text receipt = { 0 };
    struct receipt r = { .site = "sichuan",
                         .agent = "mianyang",
                         .number = 1,
                         .source = "x",
                         .sequence = 1,
                         .size = 1 },
                   back;
    struct digest id;
    memset(&id, 1, sizeof(id));
    assert_int_equal(agent_open(&f.options, true, &a, NULL), ERR_OK);
    make_receipt(&f, 1, &id, &receipt);
    assert_int_equal(state_receipt_check(a, &receipt, &back, NULL), ERR_OK);
    receipt.signature[5] ^= 1;
    assert_int_equal(state_receipt_check(a, &receipt, &back, NULL), ERR_PROTOCOL);
    receipt.text.size = 0;
    receipt_encode(&r, &receipt.text);
    sign_make(f.site, receipt.text.at, receipt.text.size, receipt.signature);
    assert_int_equal(state_receipt_check(a, &receipt, &back, NULL), ERR_PROTOCOL);
    agent_close(&a);
    end(&f);
}

static void
a_state_that_was_never_joined_and_one_in_use_are_told_apart(void **state)
{
    struct agent_options o = { .state = unit_dir_path(state), .workers = 1 };
    struct agent *a = NULL, *second = NULL;
    struct err err = { 0 };
    assert_int_equal(agent_open(&o, true, &a, &err), ERR_ABSENT);
    assert_non_null(strstr(err.hint, "join"));
    struct fixture f;
    make(state, &f);
    assert_int_equal(agent_open(&o, true, &a, &err), ERR_OK);
    assert_int_equal(agent_open(&o, true, &second, &err), ERR_REFUSED);
    assert_int_equal(agent_open(&o, false, &second, &err), ERR_OK); /* status only looks */
    agent_close(&second);
    agent_close(&a);
    end(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit_test_in_dir(a_signed_text_comes_back_and_a_damaged_file_is_told),
        unit_test_in_dir(only_the_last_marks_without_a_receipt_are_kept),
        unit_test_in_dir(a_crash_after_the_receipt_is_mended_at_the_next_start),
        unit_test_in_dir(a_receipt_of_another_site_or_for_another_agent_is_refused),
        unit_test_in_dir(a_state_that_was_never_joined_and_one_in_use_are_told_apart),
    };
    return cmocka_run_group_tests_name("replicator/agent_state", tests, NULL, NULL);
}
