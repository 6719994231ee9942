#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/replicator/site_fixture.h"
#include "common/fs.h"
#include "common/pki.h"
#include "common/when.h"
#include "snapshot/merkle.h"
#include "snapshot/stage.h"

static void
must(enum err_kind kind, const struct err *err)
{
    if (kind != ERR_OK)
        fail_msg("%s", err->text);
}

static void *
accept_main(void *arg)
{
    struct rig *const r = arg;
    struct pollfd at[] = { { .fd = r->stop_fd, .events = POLLIN },
                           { .fd = r->site.wake_fd, .events = POLLIN },
                           { .fd = r->listen_fd, .events = POLLIN } };
    eventfd_t ignored;
    bool stopping = false;

    for (size_t left = 1; left > 0;) {
        (void)poll(at, 3, 100);
        if (!stopping && at[0].revents != 0) {
            stopping = true;
            at[0].fd = at[2].fd = -1;
            session_stop_all(&r->site);
        }
        (void)!eventfd_read(r->site.wake_fd, &ignored);
        if (!stopping && at[2].revents != 0) {
            const int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0)
                session_start(&r->site, fd);
        }
        left = session_reap(&r->site) + !stopping;
    }
    return NULL;
}

void
rig_start(struct rig *r)
{
    struct err err = { 0 };
    struct site *const site = &r->site;

    memset(site, 0, sizeof *site);
    must(store_open(r->path, true, &site->store, &err), &err);
    const struct channel_identity id = {
        .dir_fd = site->store->dir_fd, .cert = "tls.crt", .key = "tls.key", .ca = "ca.crt"
    };
    must(channel_context_new(&id, 1, &site->tls, &err), &err);
    must(channel_listen("127.0.0.1:0", &r->listen_fd, r->address, &err), &err);
    site->pool = pool_new(2, 64);
    site->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    (void)pthread_mutex_init(&site->lock, NULL);
    (void)pthread_mutex_init(&site->join_lock, NULL);
    assert_int_equal(pthread_create(&r->acceptor, NULL, accept_main, r), 0);
}

void
rig_stop(struct rig *r)
{
    struct site *const site = &r->site;

    (void)eventfd_write(r->stop_fd, 1);
    assert_int_equal(pthread_join(r->acceptor, NULL), 0);
    (void)close(r->listen_fd);
    (void)close(r->stop_fd);
    (void)close(site->wake_fd);
    pool_free(&site->pool);
    channel_context_free(&site->tls);
    store_close(&site->store);
    (void)pthread_mutex_destroy(&site->lock);
    (void)pthread_mutex_destroy(&site->join_lock);
}

void
rig_restart(struct rig *r)
{
    rig_stop(r);
    rig_start(r);
}

void
rig_new(void **state, struct rig *r)
{
    struct err err = { 0 };

    r->dir_fd = unit_dir_fd(state);
    (void)snprintf(r->path, sizeof r->path, "%s/store", unit_dir_path(state));
    must(store_make(r->path, "sichuan", "127.0.0.1:7420", &err), &err);
    rig_start(r);
}

void
rig_free(struct rig *r)
{
    rig_stop(r);
}

static void
save(struct rig *r, const char *name, const char *end, const void *bytes, size_t size)
{
    char file[SOURCE_NAME_MAX + 8];
    const struct fs_file f = { bytes, size, 0600 };

    (void)snprintf(file, sizeof file, "%s%s", name, end);
    must(fs_replace(r->dir_fd, file, &f, NULL), &(struct err){ 0 });
}

void
peer_join(struct rig *r, const char *name)
{
    struct site_token token;
    struct wire_token t;
    struct wire_join j = { 0 };
    struct wire_joined joined;
    struct wire_frame f = { 0 };
    struct buf text = { 0 }, proof = { 0 }, b = { 0 };
    struct sign_key *key = NULL;
    struct err err = { 0 };
    struct peer p;
    char tls[SOURCE_NAME_MAX + 8], mark[SOURCE_NAME_MAX + 8];

    (void)snprintf(tls, sizeof tls, "%s.key", name);
    (void)snprintf(mark, sizeof mark, "%s.mark", name);
    (void)unlinkat(r->dir_fd, tls, 0);
    (void)unlinkat(r->dir_fd, mark, 0);
    must(site_token_make(r->site.store, name, &token, &err), &err);
    must(wire_token_read(token.text, &t, &err), &err);
    must(pki_key_make(r->dir_fd, tls, &err), &err);
    must(pki_key_point(r->dir_fd, tls, j.tls_point, &err), &err);
    must(sign_key_make(r->dir_fd, mark, &err), &err);
    must(sign_key_load(r->dir_fd, mark, &key, &err), &err);
    sign_public(key, j.mark_public);
    memcpy(j.secret, t.secret, sizeof j.secret);
    (void)snprintf(j.agent, sizeof j.agent, "%s", t.agent);
    wire_join_text(&j, &text);
    must(pki_prove(r->dir_fd, tls, text.at, text.size, &proof, &err), &err);
    j.tls_proof = proof.at;
    j.tls_proof_bytes = proof.size;
    sign_make(key, text.at, text.size, j.mark_proof);
    wire_put_join(&j, &b);
    peer_connect(r, NULL, &p);
    peer_send(&p, WIRE_JOIN, &b);
    peer_expect(&p, WIRE_JOINED, &f);
    must(wire_get_joined(f.payload.at, f.payload.size, &joined, &err), &err);
    assert_string_equal(joined.site, "sichuan");
    assert_memory_equal(joined.site_public, r->site.store->site_public, SIGN_PUBLIC_BYTES);
    save(r, name, ".crt", joined.cert, joined.cert_bytes);
    save(r, "ca", ".crt", joined.ca, joined.ca_bytes);
    buf_free(&f.payload);
    buf_free(&text);
    buf_free(&proof);
    sign_key_free(&key);
    peer_close(&p);
}

void
peer_connect(struct rig *r, const char *cert, struct peer *ret)
{
    struct buf ca = { 0 };
    struct digest print;
    struct err err = { 0 };
    char crt[SOURCE_NAME_MAX + 8], key[SOURCE_NAME_MAX + 8];
    struct channel_identity id = { .dir_fd = r->dir_fd, .ca_print = &print };

    memset(ret, 0, sizeof *ret);
    ret->r = r;
    must(fs_read(r->site.store->dir_fd, "ca.crt", 65536, &ca, &err), &err);
    must(pki_fingerprint(ca.at, ca.size, &print, &err), &err);
    buf_free(&ca);
    if (cert != NULL) {
        (void)snprintf(crt, sizeof crt, "%s.crt", cert);
        (void)snprintf(key, sizeof key, "%s.key", cert);
        id.cert = crt;
        id.key = key;
        (void)snprintf(ret->name, sizeof ret->name, "%s", cert);
    }
    must(channel_context_new(&id, 0, &ret->context, &err), &err);
    must(channel_connect(ret->context, r->address, &ret->ch, &err), &err);
}

void
peer_close(struct peer *p)
{
    channel_close(&p->ch);
    channel_context_free(&p->context);
}

void
peer_send(struct peer *p, enum wire_type type, struct buf *payload)
{
    (void)!wire_send(p->ch, type, payload, NULL);
    buf_free(payload);
}

void
peer_expect(struct peer *p, enum wire_type type, struct wire_frame *ret)
{
    struct err err = { 0 };

    if (wire_receive(p->ch, ret, &err) != ERR_OK)
        fail_msg("%s came instead of %s", err.text, wire_name((uint8_t)type));
    if (ret->type == WIRE_ERROR && type != WIRE_ERROR) {
        (void)!wire_take_error(ret, &err);
        fail_msg("\"%s\" came instead of %s", err.text, wire_name((uint8_t)type));
    }
    assert_string_equal(wire_name((uint8_t)ret->type), wire_name((uint8_t)type));
}

void
peer_expect_error(struct peer *p, enum err_kind kind, const char *says)
{
    struct wire_frame f = { 0 };
    struct err err = { 0 };

    peer_expect(p, WIRE_ERROR, &f);
    const enum err_kind got = wire_take_error(&f, &err);
    buf_free(&f.payload);
    if (got != kind || strstr(err.text, says) == NULL)
        fail_msg("\"%s\" (%d) where \"%s\" (%d) was expected", err.text, (int)got, says, (int)kind);
    assert_int_equal(wire_receive(p->ch, &f, &err), ERR_CLOSED);
}

struct wire_hello
peer_hello_of(const char *name)
{
    struct wire_hello h = { .version = WIRE_VERSION, .program = "test 1", .clock_ns = 1 };

    (void)snprintf(h.agent, sizeof h.agent, "%s", name);
    return h;
}

void
peer_say_hello(struct peer *p, const struct wire_hello *h, struct wire_welcome *ret,
               struct wire_frame *ret_frame)
{
    struct buf b = { 0 };
    struct err err = { 0 };

    wire_put_hello(h, &b);
    peer_send(p, WIRE_HELLO, &b);
    peer_expect(p, WIRE_WELCOME, ret_frame);
    must(wire_get_welcome(ret_frame->payload.at, ret_frame->payload.size, ret, &err), &err);
}

void
peer_hello(struct rig *r, const char *name, struct peer *ret)
{
    const struct wire_hello h = peer_hello_of(name);
    struct wire_welcome w;
    struct wire_frame f = { 0 };

    peer_connect(r, name, ret);
    peer_say_hello(ret, &h, &w, &f);
    buf_free(&f.payload);
}

void
peer_begin(struct peer *p, const char *source, struct wire_frame *ret)
{
    struct wire_begin m = { 0 };
    struct buf b = { 0 };

    (void)snprintf(m.source, sizeof m.source, "%s", source);
    wire_put_begin(&m, &b);
    peer_send(p, WIRE_BEGIN, &b);
    if (ret != NULL)
        peer_expect(p, WIRE_BEGUN, ret);
}

void
peer_blob(struct peer *p, uint32_t number, const void *bytes, uint32_t size)
{
    const struct wire_blob m = { number, size, 0, bytes, size };
    struct buf b = { 0 };

    wire_put_blob(&m, &b);
    peer_send(p, WIRE_BLOB, &b);
}

static enum err_kind
emit(void *arg, const struct digest *digest, const void *page, size_t size, struct err *err)
{
    const struct wire_object o = { OBJECT_PAGE, page, size };

    (void)digest;
    (void)err;
    wire_put_object(&o, arg);
    return ERR_OK;
}

void
peer_tree(const char *name, const struct digest *file, uint64_t size, struct buf *objects,
          struct tree_made *ret)
{
    struct tree_entry e = { .name = name,
                            .name_bytes = (uint16_t)strlen(name),
                            .type = TREE_FILE,
                            .mode = 0644,
                            .size = size,
                            .digest = *file };
    struct tree_entry dot = { .name = ".", .name_bytes = 1, .type = TREE_DIR, .mode = 0755 };
    struct tree_builder *b = tree_builder_new(emit, objects);
    struct buf root = { 0 };
    struct tree_sum sum;

    assert_int_equal(tree_builder_add(b, &e, NULL), ERR_OK);
    assert_int_equal(tree_builder_end(b, &sum, NULL), ERR_OK);
    tree_builder_free(&b);
    dot.digest = sum.digest;
    dot.size = ret->bytes = sum.size;
    dot.count = ret->files = sum.count;
    tree_root_encode(&dot, &root);
    tree_page_digest(root.at, root.size, &ret->root);
    assert_int_equal(emit(objects, &ret->root, root.at, root.size, NULL), ERR_OK);
    buf_free(&root);
}

void
peer_mark_text(struct peer *p, const struct wire_begun *begun, const struct tree_made *t, struct mark *m,
               struct buf *ret_text)
{
    struct mark head = { 0 };

    memset(m, 0, sizeof *m);
    if (begun->head.size > 0) {
        assert_int_equal(mark_parse(begun->head.text, begun->head.size, &head, NULL), ERR_OK);
        mark_id(begun->head.text, begun->head.size, &m->previous);
    }
    (void)snprintf(m->agent, sizeof m->agent, "%s", p->name);
    (void)snprintf(m->source, sizeof m->source, "pension");
    (void)snprintf(m->position, sizeof m->position, "-");
    m->sequence = head.sequence + 1;
    m->started_ns = when_now_ns();
    m->root = t->root;
    m->bytes = t->bytes;
    m->files = t->files;
    mark_encode(m, ret_text);
}

void
peer_send_mark(struct peer *p, const struct buf *text)
{
    struct wire_mark m = { { .text = text->at, .size = text->size } };
    struct sign_key *key = NULL;
    struct buf b = { 0 };
    char file[SOURCE_NAME_MAX + 8];

    (void)snprintf(file, sizeof file, "%s.mark", p->name);
    assert_int_equal(sign_key_load(p->r->dir_fd, file, &key, NULL), ERR_OK);
    sign_make(key, text->at, text->size, m.mark.signature);
    sign_key_free(&key);
    wire_put_mark(&m, &b);
    peer_send(p, WIRE_MARK, &b);
}

void
peer_pass(struct peer *p, const char *source, const char *text, struct receipt *ret)
{
    struct wire_op op = { .kind = DELTA_LITERAL, .len = (uint32_t)strlen(text) };
    struct wire_item it = { .kind = OBJECT_BLOCK, .bytes = op.len, .ops = &op, .op_count = 1 };
    struct wire_frame f = { 0 };
    struct wire_begun begun;
    struct wire_receipt receipt;
    struct tree_made t;
    struct mark m;
    struct buf b = { 0 }, mark = { 0 };

    peer_begin(p, source, &f);
    assert_int_equal(wire_get_begun(f.payload.at, f.payload.size, &begun, NULL), ERR_OK);
    peer_blob(p, 0, text, op.len);
    merkle_leaf(text, op.len, &it.digest);
    wire_put_item(&it, &b);
    peer_send(p, WIRE_ITEMS, &b);
    peer_tree("file", &it.digest, op.len, &b, &t);
    peer_send(p, WIRE_OBJECTS, &b);
    peer_mark_text(p, &begun, &t, &m, &mark);
    (void)snprintf(m.source, sizeof m.source, "%s", source);
    mark.size = 0;
    mark_encode(&m, &mark);
    peer_send_mark(p, &mark);
    buf_free(&f.payload);
    peer_expect(p, WIRE_RECEIPT, &f);
    assert_int_equal(wire_get_receipt(f.payload.at, f.payload.size, &receipt, NULL), ERR_OK);
    assert_int_equal(sign_check(p->r->site.store->site_public, receipt.receipt.text, receipt.receipt.size,
                                receipt.receipt.signature),
                     ERR_OK);
    assert_int_equal(receipt_parse(receipt.receipt.text, receipt.receipt.size, ret, NULL), ERR_OK);
    buf_free(&f.payload);
    buf_free(&mark);
}
