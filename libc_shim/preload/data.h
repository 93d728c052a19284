// data.h: read, write and all their relatives, on newtos sockets.
//
// Each takes the number that the program named, and returns bytes (or messages), or -errno. What
// these add to libc_shim/sockets is waiting, going on with the rest of what a blocking call has to
// send or (MSG_WAITALL) to receive, and SIGPIPE.
#ifndef NT_PRELOAD_DATA_H
#define NT_PRELOAD_DATA_H

#include "libc_shim/preload/file.h"

struct nt_data_name { // of recvfrom and sendto; NULL address: none
    struct sockaddr *address;
    socklen_t *length;
};

ssize_t nt_data_read(int fd, void *buf, size_t bytes);
ssize_t nt_data_readv(int fd, const struct iovec *iov, int count);
ssize_t nt_data_recv(int fd, void *buf, size_t bytes, int flags, struct sockaddr *address,
                     socklen_t *length);
ssize_t nt_data_recvmsg(int fd, struct msghdr *message, int flags);
int nt_data_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                     const struct timespec *timeout);

ssize_t nt_data_write(int fd, const void *buf, size_t bytes);
ssize_t nt_data_writev(int fd, const struct iovec *iov, int count);
ssize_t nt_data_send(int fd, const void *buf, size_t bytes, int flags,
                     const struct sockaddr *address, socklen_t length);
ssize_t nt_data_sendmsg(int fd, const struct msghdr *message, int flags);
int nt_data_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);

// For sendfile and splice: waits until there is room to send (0), or says why not: -EAGAIN where
// the socket does not block, -EINTR.
int nt_data_wait_to_send(struct nt_file *file, bool nonblocking);
// The end of a sending call: SIGPIPE for -EPIPE, unless MSG_NOSIGNAL is in `flags`.
void nt_data_sent(const struct nt_file *file, ssize_t result, int flags);

// For a struct iovec that is only read from, whose pointer libc declares without const.
static inline void *nt_unconst(const void *pointer)
{
    void *plain;
    memcpy(&plain, &pointer, sizeof plain);
    return plain;
}

#endif
