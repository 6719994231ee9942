/* io.h - whole reads and writes: short transfers and EINTR are carried on with. */
#ifndef COMMON_IO_H
#define COMMON_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "common/err.h"

ERR_CHECK enum err_kind io_write_all(int fd, const void *bytes, size_t size, struct err *err);
ERR_CHECK enum err_kind io_pwrite_all(int fd, const void *bytes, size_t size, uint64_t offset, struct err *err);
/* Read until size bytes or end of file; *ret_size tells how many. */
ERR_CHECK enum err_kind io_pread_upto(int fd, void *ret_bytes, size_t size, uint64_t offset, size_t *ret_size,
                                      struct err *err);
/* Read exactly size bytes.  Errors: ERR_CORRUPT ("ends at byte n") when the file is shorter. */
ERR_CHECK enum err_kind io_pread_all(int fd, void *ret_bytes, size_t size, uint64_t offset, struct err *err);

#endif
