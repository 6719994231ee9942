/* What a delta says, applied to the old bytes, gives the new ones; hostile sums are refused before they cost anything.
 * Method: random pairs of old and new, rs_patch over librsync's own delta as the oracle.  FARSHORE_PAIRS sets their number. */
#include <librsync.h>
#include <stdlib.h>
#include <string.h>

#include "common/auto.h"
#include "common/mem.h"
#include "snapshot/delta.h"
#include "snapshot/merkle.h"
#include "tests/unit/snapshot/seed.h"
#include "tests/unit/unit.h"

#define PAIRS 2500u
#define PIECES_MAX 4u

static void
job_free(rs_job_t **job)
{
    if (*job != NULL)
        (void)rs_job_free(*job);
}

/* Run a job of librsync over bytes in memory, as simply as can be. */
static rs_result
drive(rs_job_t *job, const uint8_t *in, size_t size, struct buf *ret)
{
    rs_buffers_t io = { .next_in = (char *)(uintptr_t)in, .avail_in = size, .eof_in = 1 };
    char out[65536];
    rs_result result;

    do {
        io.next_out = out;
        io.avail_out = sizeof out;
        result = rs_job_iter(job, &io);
        buf_put(ret, out, sizeof out - io.avail_out);
    } while (result == RS_BLOCKED);
    return result;
}

static void
oracle_sums(const struct buf *old, struct buf *ret)
{
    AUTO(job_free) rs_job_t *job = rs_sig_begin(DELTA_BLOCK_BYTES, DELTA_SUM_BYTES, RS_RK_BLAKE2_SIG_MAGIC);

    assert_int_equal(drive(job, old->at, old->size, ret), RS_DONE);
}

static void
oracle_delta(const struct buf *sums, const struct buf *new, struct buf *ret)
{
    rs_signature_t *sig = NULL;
    struct buf nothing = { 0 };
    AUTO(job_free) rs_job_t *load = rs_loadsig_begin(&sig);

    assert_int_equal(drive(load, sums->at, sums->size, &nothing), RS_DONE);
    assert_int_equal(rs_build_hash_table(sig), RS_DONE);
    AUTO(job_free) rs_job_t *job = rs_delta_begin(sig);
    assert_int_equal(drive(job, new->at, new->size, ret), RS_DONE);
    rs_free_sumset(sig);
}

static rs_result
read_old(void *arg, rs_long_t pos, size_t *len, void **bytes)
{
    const struct buf *const old = arg;

    if (pos < 0 || (uint64_t)pos >= old->size)
        return RS_INPUT_ENDED;
    if (*len > old->size - (size_t)pos)
        *len = old->size - (size_t)pos;
    *bytes = old->at + pos;
    return RS_DONE;
}

static void
oracle_patch(struct buf *old, const struct buf *delta, struct buf *ret)
{
    AUTO(job_free) rs_job_t *job = rs_patch_begin(read_old, old);

    assert_int_equal(drive(job, delta->at, delta->size, ret), RS_DONE);
}

static void
apply(const struct delta_ops *ops, const struct buf *old, const struct buf *literals, struct buf *ret)
{
    static const uint8_t zeros[4096];

    for (size_t i = 0; i < ops->count; i++) {
        const struct delta_op *const op = &ops->at[i];
        const struct buf *const from = op->kind == DELTA_COPY ? old : literals;

        if (op->kind == DELTA_ZERO) {
            for (uint32_t left = op->len, n; left > 0; left -= n)
                buf_put(ret, zeros, n = left < sizeof zeros ? left : (uint32_t)sizeof zeros);
            continue;
        }
        assert_true(op->off <= from->size && op->len <= from->size - op->off);
        buf_put(ret, from->at + op->off, op->len);
    }
}

static void
assert_same(const struct buf *a, const struct buf *b)
{
    assert_int_equal(a->size, b->size);
    if (a->size > 0)
        assert_memory_equal(a->at, b->at, a->size);
}

static void
random_bytes(struct buf *ret, size_t size)
{
    buf_reserve(ret, size);
    for (size_t i = 0; i < size; i += 8) {
        const uint64_t r = seed_next();

        memcpy(ret->at + ret->size + i, &r, size - i < 8 ? size - i : 8);
    }
    ret->size += size;
}

static size_t
some_size(void)
{
    static const size_t edges[] = {
        0, 1, DELTA_BLOCK_BYTES - 1, DELTA_BLOCK_BYTES, DELTA_BLOCK_BYTES + 1, 3 * DELTA_BLOCK_BYTES
    };
    const uint64_t pick = seed_below(40);

    return pick < 6 ? edges[pick]
                    : (size_t)seed_below(seed_below(200) ? 2 + (1u << (4 + seed_below(15))) : 5000000);
}

/* Something of new: old bytes, random ones, zeros, one byte again and again. */
static void
add_part(const struct buf *old, struct buf *new)
{
    const size_t size = 1 + (size_t)seed_below(1 + old->size / 3);

    switch (seed_below(old->size > 0 ? 6 : 3)) {
    case 0:
        random_bytes(new, 1 + (size_t)seed_below(20000));
        break;
    case 1:
        buf_reserve(new, size);
        memset(new->at + new->size, 0, size);
        new->size += size;
        break;
    case 2:
        buf_reserve(new, size);
        memset(new->at + new->size, (int)seed_below(256), size);
        new->size += size;
        break;
    default: {
        const size_t from = (size_t)seed_below(old->size);

        buf_put(new, old->at + from, size < old->size - from ? size : old->size - from);
    }
    }
}

static void
make_pair(struct buf *old, struct buf *new)
{
    const size_t size = some_size();

    while (old->size < size) {
        AUTO(buf_free) struct buf part = { 0 };

        add_part(old, &part);
        buf_put(old, part.at, part.size < size - old->size ? part.size : size - old->size);
        random_bytes(old, (size_t)seed_below(1 + (size - old->size) / 2));
    }
    switch (seed_below(6)) {
    case 0: /* equal, or a page or a byte of it overwritten, or its end cut off or grown */
    case 1:
        buf_put(new, old->at, old->size);
        for (uint64_t n = seed_below(4); n > 0 && new->size > 0; n--) {
            const size_t at = (size_t)seed_below(new->size), len = seed_below(2) ? 1 : 8192;

            seed_fill(new->at + at, len < new->size - at ? len : new->size - at);
        }
        if (seed_below(3) == 0 && new->size > 0)
            new->size -= (size_t)seed_below(new->size);
        if (seed_below(3) == 0)
            random_bytes(new, (size_t)seed_below(10000));
        break;
    case 2: /* disjoint */
        random_bytes(new, some_size());
        break;
    default: /* inserts, deletes, moves */
        for (uint64_t n = seed_below(8); n > 0; n--)
            add_part(old, new);
    }
}

/* Cut the old sums into random pieces, of which not all need be there. */
static size_t
make_pieces(const struct buf *old, const uint8_t *sums, struct delta_piece ret[PIECES_MAX])
{
    const size_t blocks = (old->size + DELTA_BLOCK_BYTES - 1) / DELTA_BLOCK_BYTES;
    size_t count = 0, at = 0;

    while (at < blocks && count < PIECES_MAX) {
        const size_t n = 1 + (size_t)seed_below(blocks - at);
        const size_t from = at * DELTA_BLOCK_BYTES, bytes = n * DELTA_BLOCK_BYTES;

        ret[count++] = (struct delta_piece){ .old_off = from,
                                             .old_bytes = bytes < old->size - from ? bytes : old->size - from,
                                             .sums = sums + at * DELTA_SUM_ENTRY };
        at += n + (seed_below(3) == 0);
    }
    return count;
}

static void
check_made(const struct buf *old, const struct buf *new, const struct delta_piece *pieces, size_t count)
{
    AUTO(delta_base_free) struct delta_base *base = NULL;
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };
    AUTO(buf_free) struct buf made = { 0 };

    assert_int_equal(delta_base_new(pieces, count, &base, NULL), ERR_OK);
    assert_int_equal(delta_make(base, new->at, new->size, &ops, NULL), ERR_OK);
    apply(&ops, old, new, &made);
    assert_same(&made, new);
    for (size_t i = 0; i < ops.count; i++)
        if (ops.at[i].kind == DELTA_ZERO)
            assert_true(ops.at[i].len % 4096 == 0);
}

static void
a_delta_applied_to_the_old_bytes_gives_the_new_ones(void **state)
{
    const char *const given = getenv("FARSHORE_PAIRS");
    const unsigned long pairs = given != NULL ? strtoul(given, NULL, 10) : PAIRS;

    (void)state;
    seed_start();
    for (unsigned long n = 0; n < pairs; n++) {
        AUTO(buf_free) struct buf old = { 0 }, new = { 0 }, sums = { 0 }, whole = { 0 }, delta = { 0 };
        AUTO(buf_free) struct buf patched = { 0 }, read = { 0 };
        AUTO(delta_ops_free) struct delta_ops ops = { 0 };
        struct delta_piece pieces[PIECES_MAX];

        make_pair(&old, &new);
        oracle_sums(&old, &whole);
        assert_int_equal(delta_sums(old.at, old.size, &sums, NULL), ERR_OK);
        assert_int_equal(sums.size + 12, whole.size);
        assert_true(sums.size == 0 || memcmp(sums.at, whole.at + 12, sums.size) == 0);

        const struct delta_piece one = { .old_bytes = old.size, .sums = sums.at };
        check_made(&old, &new, &one, 1);
        check_made(&old, &new, pieces, make_pieces(&old, sums.at, pieces));

        if (n % 4 != 0)
            continue;
        oracle_delta(&whole, &new, &delta);
        oracle_patch(&old, &delta, &patched);
        assert_same(&patched, &new);
        assert_int_equal(delta_parse(delta.at, delta.size, new.size, &ops, NULL), ERR_OK);
        apply(&ops, &old, &delta, &read);
        assert_same(&read, &new);
    }
}

static uint64_t
copied(const struct delta_ops *ops)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < ops->count; i++)
        sum += ops->at[i].kind == DELTA_COPY ? ops->at[i].len : 0;
    return sum;
}

/* old and what becomes of it: bytes inserted at the front, so that nothing lies where it did. */
static void
what_moved_is_found_across_pieces_that_lie_apart(void **state)
{
    AUTO(buf_free) struct buf old = { 0 }, new = { 0 }, sums = { 0 }, made = { 0 };
    AUTO(delta_base_free) struct delta_base *base = NULL;
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };
    const size_t half = 64 * DELTA_BLOCK_BYTES;

    (void)state;
    seed_start();
    random_bytes(&old, 4 * half + 100);
    assert_int_equal(delta_sums(old.at, old.size, &sums, NULL), ERR_OK);
    const struct delta_piece pieces[] = {
        { .old_off = half, .old_bytes = half, .sums = sums.at + 64 * DELTA_SUM_ENTRY },
        { .old_off = 3 * half, .old_bytes = half + 100, .sums = sums.at + 192 * DELTA_SUM_ENTRY },
    };
    random_bytes(&new, 777);
    buf_put(&new, old.at + half, half);
    buf_put(&new, old.at + 3 * half, half + 100);
    assert_int_equal(delta_base_new(pieces, 2, &base, NULL), ERR_OK);
    assert_int_equal(delta_make(base, new.at, new.size, &ops, NULL), ERR_OK);
    apply(&ops, &old, &new, &made);
    assert_same(&made, &new);
    /* One COPY for librsync, cut at the border of the pieces, the short last block with it. */
    assert_int_equal(ops.count, 3);
    assert_int_equal(copied(&ops), 2 * half + 100);
    assert_int_equal(ops.at[2].off, 3 * half);
}

static void
zeros_and_barren_stretches_are_not_looked_through(void **state)
{
    AUTO(buf_free) struct buf old = { 0 }, new = { 0 }, sums = { 0 }, made = { 0 };
    AUTO(delta_base_free) struct delta_base *base = NULL;
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };

    (void)state;
    seed_start();
    random_bytes(&old, 1000000);
    assert_int_equal(delta_sums(old.at, old.size, &sums, NULL), ERR_OK);
    const struct delta_piece one = { .old_bytes = old.size, .sums = sums.at };
    assert_int_equal(delta_base_new(&one, 1, &base, NULL), ERR_OK);

    /* All of it matches: more bytes than DELTA_BARREN_BYTES pass before librsync says so. */
    for (int i = 0; i < 6; i++)
        buf_put(&new, old.at, old.size / DELTA_BLOCK_BYTES * DELTA_BLOCK_BYTES);
    assert_int_equal(delta_make(base, new.at, new.size, &ops, NULL), ERR_OK);
    assert_int_equal(copied(&ops), new.size);
    delta_ops_free(&ops);

    /* Nothing matches for too long; what follows is not looked at, but its zeros are. */
    new.size = 0;
    random_bytes(&new, DELTA_BARREN_BYTES + 2 * MIB);
    const size_t zeros = new.size = new.size / 4096 * 4096;
    buf_reserve(&new, 8192);
    memset(new.at + zeros, 0, 8192);
    new.size += 8192;
    buf_put(&new, old.at, old.size);
    assert_int_equal(delta_make(base, new.at, new.size, &ops, NULL), ERR_OK);
    apply(&ops, &old, &new, &made);
    assert_same(&made, &new);
    assert_int_equal(copied(&ops), 0);
    assert_int_equal(ops.count, 3);
    assert_int_equal(ops.at[1].kind, DELTA_ZERO);
    assert_int_equal(ops.at[1].len, 8192);
}

static void
a_base_without_sums_matches_nothing(void **state)
{
    AUTO(delta_base_free) struct delta_base *base = NULL;
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };
    const struct delta_piece empty = { 0 };

    (void)state;
    assert_int_equal(delta_base_new(&empty, 1, &base, NULL), ERR_OK);
    assert_int_equal(delta_make(base, "abc", 3, &ops, NULL), ERR_OK);
    assert_int_equal(ops.count, 1);
    assert_int_equal(ops.at[0].kind, DELTA_LITERAL);
    assert_int_equal(ops.at[0].len, 3);
    assert_int_equal(delta_make(base, "", 0, &ops, NULL), ERR_OK);
    assert_int_equal(ops.count, 1);
}

static void
pages_are_compared_in_place(void **state)
{
    AUTO(buf_free) struct buf old = { 0 }, new = { 0 }, sums = { 0 };

    (void)state;
    seed_start();
    for (unsigned round = 0; round < 50; round++) {
        uint8_t same[64];
        const size_t blocks = 1 + (size_t)seed_below(40);

        old.size = new.size = sums.size = 0;
        random_bytes(&old, (blocks - 1) * DELTA_BLOCK_BYTES + 1 + (size_t)seed_below(DELTA_BLOCK_BYTES));
        buf_put(&new, old.at, old.size);
        const size_t changed = (size_t)seed_below(blocks), grown = (size_t)seed_below(3) * 5000;
        new.at[changed * DELTA_BLOCK_BYTES] ^= 1;
        random_bytes(&new, grown);
        assert_int_equal(delta_sums(old.at, old.size, &sums, NULL), ERR_OK);
        assert_int_equal(delta_same(new.at, new.size, sums.at, blocks, same, NULL), ERR_OK);
        for (size_t b = 0; b < blocks; b++) {
            const size_t end = (b + 1) * DELTA_BLOCK_BYTES;
            const bool still = b != changed && (end <= old.size || grown == 0);

            assert_int_equal(same[b / 8] >> b % 8 & 1, still);
        }
        /* A file that shrank has fewer pages than there are sums. */
        assert_int_equal(delta_same(new.at, 0, sums.at, blocks, same, NULL), ERR_OK);
        for (size_t b = 0; b < blocks; b++)
            assert_int_equal(same[b / 8] >> b % 8 & 1, 0);
    }
    buf_free(&old);
    buf_free(&new);
    buf_free(&sums);
}

static void
hostile_sums_are_refused(void **state)
{
    static const struct {
        size_t sums;
        bool differ; /* strong sums differ, all under one weak */
        enum err_kind kind;
    } table[] = {
        { DELTA_WEAK_SAME_MAX, true, ERR_OK },
        { DELTA_WEAK_SAME_MAX + 1, true, ERR_PROTOCOL },
        { 2 * WINDOW_BYTES / DELTA_BLOCK_BYTES, true, ERR_PROTOCOL },
        { 2 * WINDOW_BYTES / DELTA_BLOCK_BYTES, false, ERR_OK },
        { 2 * WINDOW_BYTES / DELTA_BLOCK_BYTES + 1, false, ERR_PROTOCOL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        AUTO(auto_free) uint8_t *sums = mem_zero(table[i].sums, DELTA_SUM_ENTRY);
        AUTO(delta_base_free) struct delta_base *base = NULL;
        const struct delta_piece p = { .old_bytes = table[i].sums * (uint64_t)DELTA_BLOCK_BYTES,
                                       .sums = sums };

        for (size_t n = 0; table[i].differ && n < table[i].sums; n++)
            le32_put(sums + n * DELTA_SUM_ENTRY + 4, (uint32_t)n * 2654435761u);
        assert_int_equal(delta_base_new(&p, 1, &base, NULL), table[i].kind);
    }
}

static void
sums_of_bytes_that_are_not_there_are_refused(void **state)
{
    /* The old file is said to end in a short block, but the sum is that of a full one. */
    AUTO(buf_free) struct buf new = { 0 }, sums = { 0 };
    AUTO(delta_base_free) struct delta_base *base = NULL;
    AUTO(delta_ops_free) struct delta_ops ops = { 0 };

    (void)state;
    seed_start();
    random_bytes(&new, DELTA_BLOCK_BYTES);
    assert_int_equal(delta_sums(new.at, new.size, &sums, NULL), ERR_OK);
    const struct delta_piece p = { .old_bytes = 100, .sums = sums.at };
    assert_int_equal(delta_base_new(&p, 1, &base, NULL), ERR_OK);
    assert_int_equal(delta_make(base, new.at, new.size, &ops, NULL), ERR_PROTOCOL);
    assert_int_equal(ops.count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delta_applied_to_the_old_bytes_gives_the_new_ones),
        cmocka_unit_test(what_moved_is_found_across_pieces_that_lie_apart),
        cmocka_unit_test(zeros_and_barren_stretches_are_not_looked_through),
        cmocka_unit_test(a_base_without_sums_matches_nothing),
        cmocka_unit_test(pages_are_compared_in_place),
        cmocka_unit_test(hostile_sums_are_refused),
        cmocka_unit_test(sums_of_bytes_that_are_not_there_are_refused),
    };
    return cmocka_run_group_tests_name("snapshot/delta", tests, NULL, NULL);
}
