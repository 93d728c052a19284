// iov.h: walking through a program's scattered buffers. Pure; the program's memory is what is read
// and written.
#ifndef NT_SHIM_IOV_H
#define NT_SHIM_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

// Sum of lengths, or -EINVAL / -EMSGSIZE as the kernel checks them.
ssize_t nt_iov_bytes(const struct iovec *iov, int count);

struct nt_iov { // a walk through buffers
    const struct iovec *iov;
    int left;
    size_t offset;
};
// Copies the next `bytes`, or as many as there are buffers for.
void nt_iov_gather(struct nt_iov *walk, uint8_t *to, size_t bytes);
void nt_iov_scatter(struct nt_iov *walk, const uint8_t *from, size_t bytes);

#endif
