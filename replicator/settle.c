/* settle.c - a file was read: is it still what it was, and what becomes of it (DESIGN section 4.1, replicator/DESIGN 7). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/mem.h"
#include "replicator/scan.h"

void
facts_of(const struct statx *st, struct facts *ret)
{
    *ret = (struct facts){ .inode = st->stx_ino,
                           .size = st->stx_size,
                           .mtime_s = st->stx_mtime.tv_sec,
                           .ctime_s = st->stx_ctime.tv_sec,
                           .mtime_ns = st->stx_mtime.tv_nsec,
                           .ctime_ns = st->stx_ctime.tv_nsec };
}

bool
facts_same(const struct facts *a, const struct facts *b)
{
    return a->inode == b->inode && a->size == b->size && a->mtime_s == b->mtime_s &&
           a->mtime_ns == b->mtime_ns && a->ctime_s == b->ctime_s && a->ctime_ns == b->ctime_ns;
}

/* Was it in a mark that has a receipt?  What a pass read that came to no mark may never have reached the site. */
bool
row_sure(const struct pass *p, const struct table_row *row)
{
    return p->headed && row->sequence < p->sequence;
}

bool
row_fresh(const struct pass *p, const struct table_row *row, const struct facts *now)
{
    if (p->read_all || !row_sure(p, row))
        return false;
    if (row->size != now->size || row->mtime_s != now->mtime_s || row->mtime_ns != now->mtime_ns ||
        row->ctime_s != now->ctime_s || row->ctime_ns != now->ctime_ns)
        return false;
    /* Two writes in one tick of the clock share a ctime, so a ctime just before the reading proves nothing. */
    int64_t limit = row->read_ns - SETTLED_NS;
    return row->ctime_s < limit / 1000000000ll;
}

static void
file_over(struct file *f)
{
    if (f->hard != NULL && f->item->out)
        hard_failed(f->hard);
    else if (f->hard != NULL)
        hard_told(f->hard, f->item);
    slice_release(f->slice, 1);
    file_drop(f);
}

void
settle_lost(struct pass *p, struct file *f, int error)
{
    /* Vanished since the scan: as if it had been deleted before. */
    if (error == ESTALE)
        pass_finding(p, f->dir, f->item->entry.name, f->item->entry.name_bytes,
                     "it was replaced while it was looked at");
    else if (error != ENOENT)
        pass_finding(p, f->dir, f->item->entry.name, f->item->entry.name_bytes, strerror(error));
    f->item->out = true;
    pthread_mutex_lock(&p->lock);
    file_over(f);
    pthread_mutex_unlock(&p->lock);
}

static void
again(struct pass *p, struct file *f, const struct statx *now)
{
    f->tries++;
    facts_of(now, &f->facts);
    f->key.inode = f->facts.inode;
    (void)entry_fill(p, now, f->item);
    pthread_mutex_lock(&p->lock);
    f->next_again = p->again;
    p->again = f;
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->lock);
}

static enum err_kind
keep_row(struct pass *p, const struct settle *s, bool unsteady, struct err *err)
{
    const struct file *f = s->file;
    struct table_row row;
    memset(&row, 0, sizeof(row));
    row.size = f->facts.size;
    row.mtime_s = f->facts.mtime_s;
    row.mtime_ns = f->facts.mtime_ns;
    /* Times that nothing has: the next pass reads it again, and still finds its base. */
    row.ctime_s = unsteady ? INT64_MIN : f->facts.ctime_s;
    row.ctime_ns = f->facts.ctime_ns;
    row.read_ns = f->read_ns;
    row.sequence = p->sequence;
    row.epoch = p->number.epoch;
    row.digest = *s->digest;
    xattrs_to_row(f->item, &row);
    if (f->base_sequence > 0 && f->base.size == row.size && hash_same(&f->base.digest, s->digest) &&
        row.xattrs_bytes <= XATTR_INLINE_MAX)
        row.sequence = f->base_sequence; /* the site has had it since then */
    return table_put(p->agent->table, &f->key, &row, err);
}

enum err_kind
settle_file(struct pass *p, const struct settle *s, bool *ret_settled, struct err *err)
{
    struct file *f = s->file;
    struct facts now;
    facts_of(s->now, &now);
    bool file = S_ISREG(s->now->stx_mode);
    bool same = facts_same(&now, &f->facts) && !s->shrunk;
    bool grown = file && now.inode == f->facts.inode && now.size > f->facts.size && !s->shrunk;
    *ret_settled = false;
    if (!file || (now.inode != f->facts.inode && f->hard != NULL)) {
        settle_lost(p, f, ESTALE);
        return ERR_OK;
    }
    if (!same && !grown && f->tries + 1u < READ_TRIES) {
        again(p, f, s->now);
        return ERR_OK;
    }
    if (!same && !grown)
        pass_finding(p, f->dir, f->item->entry.name, f->item->entry.name_bytes,
                     "it changed each time it was read");
    AUTO(buf_free) struct buf set = { 0 };
    struct err why = { 0 };
    if (xattrs_of_fd(s->fd, &set, &why) != ERR_OK) {
        pass_finding(p, f->dir, f->item->entry.name, f->item->entry.name_bytes, why.text);
        set.size = 0;
    }
    xattrs_to_item(p, f->item, &set);
    f->item->entry.digest = *s->digest;
    f->item->entry.size = f->facts.size;
    enum err_kind kind = keep_row(p, s, (!same && !grown) || why.kind != ERR_OK, err);
    progress_add(p->progress, 0, 1);
    pthread_mutex_lock(&p->lock);
    file_over(f);
    pthread_mutex_unlock(&p->lock);
    *ret_settled = true;
    return kind;
}

/* Nodes above the maps, lowest first.  Subtrees of zeros have constant digests and are no objects. */
static void
add_nodes(struct pass *p, const struct file *f)
{
    uint64_t size = f->facts.size, count = f->large->count;
    struct digest *at = mem_copy(f->large->maps, count * sizeof(*at));
    for (unsigned level = 2; level <= merkle_levels(size); level++) {
        uint64_t nodes = (count + NODE_CHILDREN - 1) / NODE_CHILDREN;
        struct digest zero;
        merkle_zero(merkle_span(level), &zero);
        for (uint64_t n = 0; n < nodes; n++) {
            uint64_t first = n * NODE_CHILDREN, left = count - first;
            size_t children = left < NODE_CHILDREN ? (size_t)left : NODE_CHILDREN;
            struct digest digest;
            merkle_root(at + first, children, &digest);
            if (!hash_same(&digest, &zero))
                object_add(p, OBJECT_NODE, &digest, at + first, children * sizeof(*at));
            at[n] = digest; /* n <= first: what is written over has been read */
        }
        count = nodes;
    }
    free(at);
}

static enum err_kind
settle_large(struct pass *p, struct file *f, struct err *err)
{
    struct large *l = f->large;
    struct statx now;
    int code = l->error;
    if (code == 0 && statx(l->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) != 0)
        code = errno;
    if (code != 0) {
        settle_lost(p, f, code);
        return ERR_OK;
    }
    struct digest digest, zero;
    merkle_root(l->maps, l->count, &digest);
    merkle_zero(f->facts.size, &zero);
    bool known = f->base_sequence > 0 && hash_same(&digest, &f->base.digest);
    /* Children before parents: the nodes are there before the page that names the file can be. */
    if (!known && !hash_same(&digest, &zero))
        add_nodes(p, f);
    struct settle s = { f, &now, l->shrunk, &digest, l->fd };
    bool settled = false;
    return settle_file(p, &s, &settled, err);
}

enum err_kind
settle_map(struct pass *p, struct file *f, uint32_t maps, struct err *err)
{
    pthread_mutex_lock(&p->lock);
    f->large->left -= maps;
    bool last = f->large->left == 0;
    pthread_mutex_unlock(&p->lock);
    return last ? settle_large(p, f, err) : ERR_OK;
}
