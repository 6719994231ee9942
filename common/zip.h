/* zip.h - zstd (RFC 8878), whole buffers of at most BLOB_RAW_MAX; contexts are per thread. */
#ifndef COMMON_ZIP_H
#define COMMON_ZIP_H

#include <stddef.h>
#include <stdint.h>
#include "common/err.h"

size_t zip_bound(size_t raw_bytes);
/* Compress in[bytes] into ret_out [zip_bound(bytes)]; returns the size written.  level 1..19. */
size_t zip_pack(int level, const void *in, size_t bytes, uint8_t *ret_out);
/* Decompress; the frame must give exactly raw_bytes and use all of its input.  Errors: ERR_CORRUPT. */
ERR_CHECK enum err_kind zip_unpack(const void *in, size_t bytes, uint8_t *ret_out, size_t raw_bytes, struct err *err);

#endif
