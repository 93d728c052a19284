// iov.c: copying between a ring and the program's buffers.
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "libc_shim/sockets/iov.h"

ssize_t nt_iov_bytes(const struct iovec *iov, int count)
{
    if (count < 0 || count > IOV_MAX)
        return -EMSGSIZE; // net/socket.c: msg_iovlen > UIO_MAXIOV
    size_t sum = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > SSIZE_MAX)
            return -EINVAL;
        // lib/iov_iter.c: the total is cut to MAX_RW_COUNT instead of refused.
        if (iov[i].iov_len > (size_t)INT_MAX - sum)
            return INT_MAX;
        sum += iov[i].iov_len;
    }
    return (ssize_t)sum;
}

void nt_iov_gather(struct nt_iov *walk, uint8_t *to, size_t bytes)
{
    while (bytes > 0 && walk->left > 0) {
        size_t here = walk->iov->iov_len - walk->offset;
        size_t piece = here < bytes ? here : bytes;
        if (piece > 0)
            memcpy(to, (const uint8_t *)walk->iov->iov_base + walk->offset, piece);
        to += piece;
        bytes -= piece;
        walk->offset += piece;
        if (walk->offset == walk->iov->iov_len) {
            walk->iov++;
            walk->left--;
            walk->offset = 0;
        }
    }
}

void nt_iov_scatter(struct nt_iov *walk, const uint8_t *from, size_t bytes)
{
    while (bytes > 0 && walk->left > 0) {
        size_t here = walk->iov->iov_len - walk->offset;
        size_t piece = here < bytes ? here : bytes;
        if (piece > 0)
            memcpy((uint8_t *)walk->iov->iov_base + walk->offset, from, piece);
        from += piece;
        bytes -= piece;
        walk->offset += piece;
        if (walk->offset == walk->iov->iov_len) {
            walk->iov++;
            walk->left--;
            walk->offset = 0;
        }
    }
}
