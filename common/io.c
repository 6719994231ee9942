#include "common/io.h"

#include <errno.h>
#include <unistd.h>

enum err_kind
io_write_all(int fd, const void *bytes, size_t size, struct err *err)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = write(fd, (const char *)bytes + done, size - done);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return err_set(err, ERR_IO, "could not write %zu of %zu bytes: nothing was taken", size - done,
                           size);
        else if (errno != EINTR)
            return err_errno(err, "could not write %zu of %zu bytes", size - done, size);
    }
    return ERR_OK;
}

enum err_kind
io_pwrite_all(int fd, const void *bytes, size_t size, uint64_t offset, struct err *err)
{
    if (offset > INT64_MAX - (uint64_t)size)
        return err_set(err, ERR_LIMIT, "could not write at byte %ju: past the largest file",
                       (uintmax_t)offset);
    for (size_t done = 0; done < size;) {
        const ssize_t n = pwrite(fd, (const char *)bytes + done, size - done, (off_t)(offset + done));

        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return err_set(err, ERR_IO, "could not write %zu of %zu bytes: nothing was taken", size - done,
                           size);
        else if (errno != EINTR)
            return err_errno(err, "could not write %zu of %zu bytes at byte %ju", size - done, size,
                             (uintmax_t)(offset + done));
    }
    return ERR_OK;
}

enum err_kind
io_pread_upto(int fd, void *ret_bytes, size_t size, uint64_t offset, size_t *ret_size, struct err *err)
{
    size_t done = 0;

    if (offset > INT64_MAX - (uint64_t)size)
        return err_set(err, ERR_LIMIT, "could not read at byte %ju: past the largest file",
                       (uintmax_t)offset);
    while (done < size) {
        const ssize_t n = pread(fd, (char *)ret_bytes + done, size - done, (off_t)(offset + done));

        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            break;
        else if (errno != EINTR)
            return err_errno(err, "could not read %zu bytes at byte %ju", size - done,
                             (uintmax_t)(offset + done));
    }
    *ret_size = done;
    return ERR_OK;
}

enum err_kind
io_pread_all(int fd, void *ret_bytes, size_t size, uint64_t offset, struct err *err)
{
    size_t got = 0;
    const enum err_kind kind = io_pread_upto(fd, ret_bytes, size, offset, &got, err);

    if (kind != ERR_OK)
        return kind;
    if (got < size)
        return err_set(err, ERR_CORRUPT, "ends at byte %ju, %zu bytes short", (uintmax_t)(offset + got),
                       size - got);
    return ERR_OK;
}
