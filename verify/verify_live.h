/* verify_live.h - a name in a live tree, against what a mark says of it. */
#ifndef VERIFY_LIVE_H
#define VERIFY_LIVE_H

#include <sys/stat.h>
#include "common/bytes.h"
#include "common/err.h"
#include "snapshot/owner.h"
#include "snapshot/read.h"
#include "snapshot/tree.h"

/* What differs in everything but the content, as words joined by ", ", appended to ret; nothing when nothing does.  path_fd: the thing,
 * opened with O_PATH.  Errors: ERR_IO for what cannot be read. */
ERR_CHECK enum err_kind live_compare(int path_fd, const struct stat *st, const struct tree_entry *e, struct owners *owners,
                                     struct reader *r, struct buf *ret, struct err *err);
struct live_content {
    bool same;
    bool placed;     /* offset is known */
    uint64_t offset; /* of the first block that differs */
};
/* fd: a regular file, open for reading. */
ERR_CHECK enum err_kind live_content(int fd, const struct tree_entry *e, struct reader *r, struct live_content *ret,
                                     struct err *err);

#endif
