#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "common/limits.h"
#include "common/mem.h"
#include "common/zip.h"

struct local {
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key_local;
static __thread struct local
    *local; /* key_local holds the same pointer, only to free it when the thread ends */

static void
local_free(void *at)
{
    struct local *const l = at;

    (void)ZSTD_freeCCtx(l->pack);
    (void)ZSTD_freeDCtx(l->unpack);
    free(l);
    local = NULL;
}

static void
setup(void)
{
    if (pthread_key_create(&key_local, local_free) != 0)
        abort();
}

static struct local *
local_get(void)
{
    if (local == NULL) {
        if (pthread_once(&once, setup) != 0)
            abort();
        local = mem_zero(1, sizeof *local);
        local->pack = ZSTD_createCCtx();
        local->unpack = ZSTD_createDCtx();
        if (local->pack == NULL || local->unpack == NULL || pthread_setspecific(key_local, local) != 0)
            abort();
    }
    return local;
}

size_t
zip_bound(size_t raw_bytes)
{
    return ZSTD_compressBound(raw_bytes);
}

size_t
zip_pack(int level, const void *in, size_t bytes, uint8_t *ret_out)
{
    assert(level >= 1 && level <= 19 && bytes <= BLOB_RAW_MAX);
    const size_t n = ZSTD_compressCCtx(local_get()->pack, ret_out, zip_bound(bytes), in, bytes, level);

    /* Into a buffer of the bound only an allocation can fail. */
    if (ZSTD_isError(n))
        abort();
    return n;
}

enum err_kind
zip_unpack(const void *in, size_t bytes, uint8_t *ret_out, size_t raw_bytes, struct err *err)
{
    if (raw_bytes > BLOB_RAW_MAX)
        return err_set(err, ERR_CORRUPT, "a compressed frame of %zu bytes is announced, above the limit",
                       raw_bytes);
    /* The size in the frame's header, before anything is unpacked. */
    const unsigned long long said = ZSTD_getFrameContentSize(in, bytes);
    if (said == ZSTD_CONTENTSIZE_ERROR || said == ZSTD_CONTENTSIZE_UNKNOWN)
        return err_set(err, ERR_CORRUPT, "not a zstd frame that tells its size");
    if (said != raw_bytes)
        return err_set(err, ERR_CORRUPT, "a zstd frame of %llu bytes stands where %zu are expected", said,
                       raw_bytes);
    const size_t used = ZSTD_findFrameCompressedSize(in, bytes);
    if (ZSTD_isError(used) || used != bytes)
        return err_set(err, ERR_CORRUPT, "a zstd frame does not end where its bytes end");
    const size_t n = ZSTD_decompressDCtx(local_get()->unpack, ret_out, raw_bytes, in, bytes);
    if (!ZSTD_isError(n) && n == raw_bytes)
        return ERR_OK;
    memset(ret_out, 0, raw_bytes);
    return err_set(err, ERR_CORRUPT, "a zstd frame is damaged: %s",
                   ZSTD_isError(n) ? ZSTD_getErrorName(n) : "wrong size");
}
