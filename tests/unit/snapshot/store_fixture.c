#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"
#include "common/zip.h"
#include "snapshot/merkle.h"
#include "snapshot/tree.h"
#include "tests/unit/snapshot/store_fixture.h"

static enum err_kind
enrol(void *arg, struct kv_txn *t, struct err *err)
{
    struct fixture *const f = arg;
    struct index_agent a = { .name = "chengdu", .city = FIXTURE_CITY };
    const enum err_kind kind = index_meta_put(t, META_CITY_NEXT, FIXTURE_CITY + 1, err);

    sign_public(f->mark_key, a.mark_public);
    return kind != ERR_OK ? kind : index_agent_put(t, &a, err);
}

void
fixture_new(void **state, struct fixture *f)
{
    uint8_t public[SIGN_PUBLIC_BYTES];
    struct digest d;
    char hex[HASH_HEX_ROOM];

    (void)snprintf(f->path, sizeof f->path, "%s/store", unit_dir_path(state));
    assert_int_equal(store_make(f->path, "sichuan", "127.0.0.1:7420", NULL), ERR_OK);
    assert_int_equal(store_open(f->path, true, &f->s, NULL), ERR_OK);
    assert_int_equal(sign_key_make(unit_dir_fd(state), "mark.key", NULL), ERR_OK);
    assert_int_equal(sign_key_load(unit_dir_fd(state), "mark.key", &f->mark_key, NULL), ERR_OK);
    struct json *e = json_new();
    json_text(e, "type", "enrol");
    json_text(e, "agent", "chengdu");
    json_number(e, "city", FIXTURE_CITY);
    sign_public(f->mark_key, public);
    memcpy(d.at, public, sizeof d.at);
    hash_hex(&d, hex);
    json_text(e, "mark_key", hex);
    assert_int_equal(commit_change(f->s, enrol, f, &e, NULL), ERR_OK);
}

void
fixture_reopen(struct fixture *f)
{
    struct err err = { 0 };

    store_close(&f->s);
    if (store_open(f->path, true, &f->s, &err) != ERR_OK)
        fail_msg("%s", err.text);
}

void
fixture_free(struct fixture *f)
{
    store_close(&f->s);
    sign_key_free(&f->mark_key);
}

static enum err_kind
head_of(struct fixture *f, struct index_mark *ret)
{
    struct kv_txn *t = NULL;

    assert_int_equal(kv_begin(f->s->kv, false, &t, NULL), ERR_OK);
    const enum err_kind kind = index_mark_last(t, FIXTURE_CITY, "pension", ret, NULL);
    kv_abort(&t);
    return kind;
}

struct stage *
fixture_stage(struct fixture *f)
{
    struct index_mark head = { 0 };
    struct index_upload u = { .city = FIXTURE_CITY, .source = "pension" };
    struct stage *st = NULL;
    struct err err = { 0 };

    if (head_of(f, &head) == ERR_OK)
        u.base = head.mark.sequence;
    if (stage_new(f->s, &u, &st, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return st;
}

static enum err_kind
emit(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err)
{
    return stage_object(arg, OBJECT_PAGE, digest, page, (uint32_t)size, err);
}

static enum err_kind
put_tree(struct stage *st, const char *text, struct mark *m, struct err *err)
{
    struct tree_entry e = { .name = "file", .name_bytes = 4, .type = TREE_FILE, .mode = 0644 };
    struct tree_entry dot = { .name = ".", .name_bytes = 1, .type = TREE_DIR, .mode = 0755 };
    struct tree_builder *b = tree_builder_new(emit, st);
    struct buf root = { 0 };
    struct tree_sum sum;
    uint8_t zip[1024];
    uint64_t blob = 0;
    const size_t n = strlen(text);

    const struct stage_blob data = { zip, (uint32_t)zip_pack(1, text, n, zip), (uint32_t)n, 1 };
    enum err_kind kind = stage_blob(st, &data, &blob, err);
    merkle_leaf(text, n, &e.digest);
    e.size = n;
    if (kind == ERR_OK)
        kind = stage_block(st, &e.digest, blob, 0, (uint32_t)n, err);
    if (kind == ERR_OK)
        kind = tree_builder_add(b, &e, err);
    if (kind == ERR_OK)
        kind = tree_builder_end(b, &sum, err);
    if (kind == ERR_OK) {
        dot.digest = sum.digest;
        dot.size = m->bytes = sum.size;
        dot.count = m->files = sum.count;
        tree_root_encode(&dot, &root);
        tree_page_digest(root.at, root.size, &m->root);
        kind = stage_object(st, OBJECT_PAGE, &m->root, root.at, (uint32_t)root.size, err);
    }
    buf_free(&root);
    tree_builder_free(&b);
    return kind;
}

enum err_kind
fixture_mark(struct fixture *f, const char *text, struct index_mark *ret, struct err *err)
{
    struct index_mark head = { 0 };
    struct mark m = { .agent = "chengdu", .source = "pension", .position = "-" };
    struct buf record = { 0 };
    struct ledger_head after;
    uint8_t signature[SIGN_BYTES];

    if (head_of(f, &head) == ERR_OK)
        m.previous = head.id;
    m.sequence = head.mark.sequence + 1;
    m.started_ns = (int64_t)m.sequence * 1000000000;
    struct stage *st = fixture_stage(f);
    enum err_kind kind = put_tree(st, text, &m, err);
    mark_encode(&m, &record);
    sign_make(f->mark_key, record.at, record.size, signature);
    if (kind == ERR_OK)
        kind = stage_mark(st, &m, signature, ret, &after, err);
    buf_free(&record);
    stage_free(&st);
    return kind;
}
