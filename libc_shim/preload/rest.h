// rest.h: what is left of a program's buffers when a call goes on in their middle.
//
// A blocking send() goes on until all is sent, a recv() with MSG_WAITALL until all is there. The
// program's array of buffers is only read: what has been done is counted beside it.
#ifndef NT_PRELOAD_REST_H
#define NT_PRELOAD_REST_H

#include "newtos_py/kernel/base.h"

#include <sys/uio.h>

enum { NT_REST_PIECES = 64 }; // of a scattered buffer, taken at once in its middle

struct nt_rest {
    const struct iovec *iov;
    int count;
    size_t skip; // of the first
    struct iovec piece[NT_REST_PIECES];
};

static inline void nt_rest_open(struct nt_rest *rest, const struct iovec *iov, int count)
{
    rest->iov = iov;
    rest->count = count;
    rest->skip = 0;
}

// The next buffers, in at most NT_REST_PIECES pieces, or the program's own array where nothing is
// gone.
static inline const struct iovec *nt_rest_pieces(struct nt_rest *rest, int *count)
{
    if (rest->skip == 0) {
        *count = rest->count;
        return rest->iov;
    }
    int used = 0;
    while (used < NT_REST_PIECES && used < rest->count) {
        rest->piece[used] = rest->iov[used];
        used++;
    }
    rest->piece[0].iov_base = (uint8_t *)rest->piece[0].iov_base + rest->skip;
    rest->piece[0].iov_len -= rest->skip;
    *count = used;
    return rest->piece;
}

// True if something is left.
static inline bool nt_rest_advance(struct nt_rest *rest, size_t bytes)
{
    bytes += rest->skip;
    while (rest->count > 0 && bytes >= rest->iov->iov_len) {
        bytes -= rest->iov->iov_len;
        rest->iov++;
        rest->count--;
    }
    rest->skip = bytes;
    return rest->count > 0;
}

#endif
