/* Frames on a connection, errors across it, tokens.  Method: headers from a table; frames through a pair of TLS ends; tokens with
 * every letter changed and cut at every place. */
#include <string.h>

#include "common/auto.h"
#include "tests/unit/common/channel_fixture.h"
#include "tests/unit/replicator/wire_table.h"

static void
every_type_has_a_name_and_no_other_number_has(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++)
        assert_int_equal(wire_name((uint8_t)type) != NULL, type >= WIRE_HELLO && type < WIRE_TYPES);
    assert_string_equal(wire_name(WIRE_QUERY), "QUERY");
}

static void
a_header_is_held_to_its_rules(void **state)
{
    static const struct {
        uint8_t at[WIRE_FRAME_HEADER];
        const char *says; /* NULL: good */
    } cases[] = {
        { { 0, 0, 0, 0, WIRE_BYE, 0, 0, 0 }, NULL },
        { { 0, 0, 16, 0, WIRE_BLOB, 0, 0, 0 }, NULL },
        { { 1, 0, 16, 0, WIRE_BLOB, 0, 0, 0 }, "BLOB of 1048577 bytes" },
        { { 255, 255, 255, 255, WIRE_BLOB, 0, 0, 0 }, "BLOB of 4294967295 bytes" },
        { { 0, 0, 0, 0, 0, 0, 0, 0 }, "unknown type 0" },
        { { 0, 0, 0, 0, WIRE_TYPES, 0, 0, 0 }, "unknown type" },
        { { 0x16, 3, 1, 2, 0, 1, 0, 1 }, "unknown type 0" },
        { { 0, 0, 0, 0, WIRE_BYE, 1, 0, 0 }, "BYE: the padding" },
        { { 0, 0, 0, 0, WIRE_BYE, 0, 0, 1 }, "BYE: the padding" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum wire_type type = 0;
        uint32_t size = 77;
        struct err err = { 0 };
        const enum err_kind kind = wire_header(cases[i].at, &type, &size, &err);

        assert_int_equal(kind, cases[i].says == NULL ? ERR_OK : ERR_PROTOCOL);
        if (cases[i].says != NULL)
            assert_non_null(strstr(err.text, cases[i].says));
        assert_int_equal(size == 77, cases[i].says != NULL);
    }
}

static void
frames_arrive_as_they_were_sent(void **state)
{
    struct fixture s = { 0 };
    struct channel *const ch = fixture_pair(&s);
    struct buf b = { 0 };
    struct wire_frame f = { 0 };

    (void)state;
    assert_int_equal(wire_send(ch, WIRE_BYE, &b, NULL), ERR_OK);
    assert_int_equal(wire_receive(s.ch, &f, NULL), ERR_OK);
    assert_int_equal(f.type, WIRE_BYE);
    assert_int_equal(f.payload.size, 0);
    buf_free(&f.payload);
    for (unsigned i = 0; i < 100000; i++)
        buf_u8(&b, (uint8_t)(i * 7));
    assert_int_equal(wire_send(ch, WIRE_BLOB, &b, NULL), ERR_OK);
    assert_int_equal(wire_receive_idle(s.ch, &f, NULL), ERR_OK);
    assert_int_equal(f.type, WIRE_BLOB);
    assert_int_equal(f.payload.size, b.size);
    assert_memory_equal(f.payload.at, b.at, b.size);
    buf_free(&f.payload);
    buf_free(&b);
    struct channel *mine = ch;
    channel_close(&mine);
    fixture_end(&s);
}

static void
a_clean_end_is_told_from_one_inside_a_frame(void **state)
{
    static const uint8_t header[WIRE_FRAME_HEADER] = { 100, 0, 0, 0, WIRE_BLOB, 0, 0, 0 };
    static const struct {
        size_t sent;
        int clean;
    } cases[] = { { 0, 1 }, { 1, 0 }, { 7, 0 }, { 8, 0 } };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        struct fixture s = { 0 };
        struct channel *ch = fixture_pair(&s);
        struct wire_frame f = { 0 };
        struct err err = { 0 };

        if (cases[i / 2].sent > 0)
            assert_int_equal(channel_write(ch, header, cases[i / 2].sent, NULL), ERR_OK);
        channel_close(&ch);
        assert_int_equal(i % 2 ? wire_receive(s.ch, &f, &err) : wire_receive_idle(s.ch, &f, &err),
                         ERR_CLOSED);
        assert_int_equal(err.code == 0, cases[i / 2].clean);
        fixture_end(&s);
    }
}

static void
an_error_crosses_with_kind_and_text_and_cannot_steer_a_terminal(void **state)
{
    struct fixture s = { 0 };
    struct channel *ch = fixture_pair(&s);
    struct wire_frame f = { 0 };
    struct err err = { 0 };

    (void)state;
    (void)err_set(&err, ERR_FULL, "the disk of \033[31mthis\n site is full");
    wire_send_error(s.ch, &err);
    assert_int_equal(wire_receive(ch, &f, NULL), ERR_OK);
    assert_int_equal(f.type, WIRE_ERROR);
    assert_int_equal(wire_take_error(&f, &err), ERR_FULL);
    assert_string_equal(err.text, "site: the disk of ?[31mthis? site is full");
    f.payload.at[0] = ERR_OK;
    assert_int_equal(wire_take_error(&f, &err), ERR_PROTOCOL);
    f.payload.at[0] = 99;
    assert_int_equal(wire_take_error(&f, &err), ERR_PROTOCOL);
    buf_free(&f.payload);
    /* The longest text that an error can hold. */
    memset(err.text, 'x', sizeof err.text - 1);
    err.kind = ERR_IO;
    wire_send_error(s.ch, &err);
    assert_int_equal(wire_receive(ch, &f, NULL), ERR_OK);
    assert_int_equal(wire_take_error(&f, &err), ERR_IO);
    buf_free(&f.payload);
    channel_close(&ch);
    fixture_end(&s);
}

static struct wire_token
sample_token(void)
{
    struct wire_token t = { .agent = "chengdu", .address = "[2001:db8::7]:7420" };

    for (size_t i = 0; i < sizeof t.secret; i++)
        t.secret[i] = (uint8_t)(200 + i);
    for (size_t i = 0; i < sizeof t.ca.at; i++)
        t.ca.at[i] = (uint8_t)i;
    return t;
}

static void
a_token_is_one_word_and_comes_back(void **state)
{
    const struct wire_token t = sample_token();
    struct wire_token longest = t, back;
    char text[WIRE_TOKEN_ROOM];

    (void)state;
    wire_token_write(&t, text);
    assert_null(strpbrk(text, " \t\n'\"$`\\"));
    assert_int_equal(wire_token_read(text, &back, NULL), ERR_OK);
    assert_memory_equal(back.secret, t.secret, sizeof t.secret);
    assert_memory_equal(&back.ca, &t.ca, sizeof t.ca);
    assert_string_equal(back.agent, t.agent);
    assert_string_equal(back.address, t.address);
    memset(longest.agent, 'a', SOURCE_NAME_MAX);
    memset(longest.address, 'h', CHANNEL_ADDRESS_ROOM - 1);
    wire_token_write(&longest, text);
    assert_int_equal(wire_token_read(text, &back, NULL), ERR_OK);
    assert_string_equal(back.address, longest.address);
}

static void
a_token_that_was_cut_or_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "fs1_", "fs2_AAAA", "FS1_AAAA", "chengdu", "fs1_!!!!", "fs1_AAAA"
    };
    const struct wire_token t = sample_token();
    struct wire_token back;
    char text[WIRE_TOKEN_ROOM];
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(wire_token_read(bad[i], &back, &err), ERR_USAGE);
    wire_token_write(&t, text);
    for (size_t n = strlen(text); n-- > 0;) {
        text[n] = '\0';
        assert_int_equal(wire_token_read(text, &back, &err), ERR_USAGE);
    }
}

static void
the_text_of_a_join_is_as_the_manual_says(void **state)
{
    struct wire_join j = { .agent = "chengdu" };
    struct buf b = { 0 };

    (void)state;
    memset(j.secret, 1, sizeof j.secret);
    memset(j.tls_point, 2, sizeof j.tls_point);
    memset(j.mark_public, 3, sizeof j.mark_public);
    wire_join_text(&j, &b);
    assert_int_equal(b.size, 17 + 16 + 65 + 32);
    assert_memory_equal(b.at, "farshore-join-v1\n", 17);
    assert_int_equal(b.at[17], 1);
    assert_int_equal(b.at[33], 2);
    assert_int_equal(b.at[98], 3);
    buf_free(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_a_name_and_no_other_number_has),
        cmocka_unit_test(a_header_is_held_to_its_rules),
        cmocka_unit_test(frames_arrive_as_they_were_sent),
        cmocka_unit_test(a_clean_end_is_told_from_one_inside_a_frame),
        cmocka_unit_test(an_error_crosses_with_kind_and_text_and_cannot_steer_a_terminal),
        cmocka_unit_test(a_token_is_one_word_and_comes_back),
        cmocka_unit_test(a_token_that_was_cut_or_is_none_is_refused),
        cmocka_unit_test(the_text_of_a_join_is_as_the_manual_says),
    };

    return cmocka_run_group_tests_name("replicator/wire", tests, fixture_new, fixture_free);
}
