// symbols_data.c: the interposed symbols that move data. See symbols.h.

#include "libc_shim/preload/data.h"
#include "libc_shim/preload/rights.h"
#include "libc_shim/preload/sendfile.h"
#include "libc_shim/preload/symbols.h"

NT_ON_FD(ssize_t, read, (int fd, void *buf, size_t n), (fd, buf, n), nt_data_read(fd, buf, n))
NT_ON_FD_CHECKED(ssize_t, __read_chk, (int fd, void *buf, size_t n, size_t room),
                 (fd, buf, n, room), nt_data_read(fd, buf, n))
NT_ON_FD(ssize_t, readv, (int fd, const struct iovec *iov, int count), (fd, iov, count),
         nt_data_readv(fd, iov, count))
NT_ON_FD(ssize_t, write, (int fd, const void *buf, size_t n), (fd, buf, n),
         nt_data_write(fd, buf, n))
NT_ON_FD(ssize_t, writev, (int fd, const struct iovec *iov, int count), (fd, iov, count),
         nt_data_writev(fd, iov, count))

// At the position (-1) these are readv and writev; at any other, what a placeholder says.
NT_SYMBOL(ssize_t, preadv2, (int fd, const struct iovec *iov, int count, off_t at, int flags))
{
    if (at != -1 || nt_fd_is_kernel(fd))
        return nt_real.preadv2(fd, iov, count, at, flags);
    if (flags != 0)
        return nt_answer(-EOPNOTSUPP);
    long got = NT_OURS_OR_KERNELS(nt_data_readv(fd, iov, count));
    return got != NT_IS_KERNELS ? got : nt_real.preadv2(fd, iov, count, at, flags);
}
NT_SYMBOL(ssize_t, preadv64v2, (int fd, const struct iovec *iov, int count, off_t at, int flags))
{
    return nt_symbol_preadv2(fd, iov, count, at, flags);
}
NT_SYMBOL(ssize_t, pwritev2, (int fd, const struct iovec *iov, int count, off_t at, int flags))
{
    if (at != -1 || nt_fd_is_kernel(fd))
        return nt_real.pwritev2(fd, iov, count, at, flags);
    if (flags != 0)
        return nt_answer(-EOPNOTSUPP);
    long put = NT_OURS_OR_KERNELS(nt_data_writev(fd, iov, count));
    return put != NT_IS_KERNELS ? put : nt_real.pwritev2(fd, iov, count, at, flags);
}
NT_SYMBOL(ssize_t, pwritev64v2, (int fd, const struct iovec *iov, int count, off_t at, int flags))
{
    return nt_symbol_pwritev2(fd, iov, count, at, flags);
}

NT_ON_FD(ssize_t, recv, (int fd, void *buf, size_t n, int flags), (fd, buf, n, flags),
         nt_data_recv(fd, buf, n, flags, NULL, NULL))
NT_ON_FD_CHECKED(ssize_t, __recv_chk, (int fd, void *buf, size_t n, size_t room, int flags),
                 (fd, buf, n, room, flags), nt_data_recv(fd, buf, n, flags, NULL, NULL))
NT_ON_FD(ssize_t, recvfrom,
         (int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len),
         (fd, buf, n, flags, addr, len), nt_data_recv(fd, buf, n, flags, addr, len))
NT_ON_FD_CHECKED(ssize_t, __recvfrom_chk,
                 (int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *addr,
                  socklen_t *len),
                 (fd, buf, n, room, flags, addr, len), nt_data_recv(fd, buf, n, flags, addr, len))
static ssize_t receive_from_kernel(int fd, struct msghdr *msg, int flags)
{
    bool has_room = msg != NULL && msg->msg_controllen != 0;
    if (has_room)
        nt_numbers_yield(1);
    ssize_t got = nt_real.recvmsg(fd, msg, flags);
    if (got >= 0 && has_room && nt_fd_limit != 0 && (flags & MSG_PEEK) == 0)
        nt_rights_receive(msg, flags);
    return got;
}

NT_SYMBOL(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags))
{
    if (!nt_fd_is_kernel(fd)) {
        long got = NT_OURS_OR_KERNELS(nt_data_recvmsg(fd, msg, flags));
        if (NT_LIKELY(got != NT_IS_KERNELS))
            return got;
    }
    return receive_from_kernel(fd, msg, flags);
}

NT_SYMBOL(int, recvmmsg,
          (int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *timeout))
{
    if (!nt_fd_is_kernel(fd)) {
        long got = NT_OURS_OR_KERNELS(nt_data_recvmmsg(fd, msgs, count, flags, timeout));
        if (NT_LIKELY(got != NT_IS_KERNELS))
            return (int)got;
    }
    int got = nt_real.recvmmsg(fd, msgs, count, flags, timeout);
    for (int i = 0; nt_fd_limit != 0 && i < got; i++)
        nt_rights_receive(&msgs[i].msg_hdr, flags);
    return got;
}

NT_ON_FD(ssize_t, send, (int fd, const void *buf, size_t n, int flags), (fd, buf, n, flags),
         nt_data_send(fd, buf, n, flags, NULL, 0))
NT_ON_FD(ssize_t, sendto,
         (int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len),
         (fd, buf, n, flags, addr, len), nt_data_send(fd, buf, n, flags, addr, len))
NT_SYMBOL(int, sendmmsg, (int fd, struct mmsghdr *msgs, unsigned count, int flags))
{
    if (!nt_fd_is_kernel(fd)) {
        long sent = NT_OURS_OR_KERNELS(nt_data_sendmmsg(fd, msgs, count, flags));
        if (NT_LIKELY(sent != NT_IS_KERNELS))
            return (int)sent;
    }
    for (unsigned i = 0; nt_fd_limit != 0 && i < count; i++) {
        int refused = nt_rights_send(&msgs[i].msg_hdr);
        if (refused != 0)
            return (int)nt_answer(refused);
    }
    return nt_real.sendmmsg(fd, msgs, count, flags);
}

NT_SYMBOL(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags))
{
    if (!nt_fd_is_kernel(fd)) {
        long sent = NT_OURS_OR_KERNELS(nt_data_sendmsg(fd, msg, flags));
        if (NT_LIKELY(sent != NT_IS_KERNELS))
            return sent;
    }
    int refused = nt_rights_send(msg);
    return refused != 0 ? nt_answer(refused) : nt_real.sendmsg(fd, msg, flags);
}

NT_SYMBOL(ssize_t, sendfile, (int out, int in, off_t *at, size_t n))
{
    if (nt_fd_is_kernel(out) && nt_fd_is_kernel(in))
        return nt_real.sendfile(out, in, at, n);
    long done = NT_OURS_OR_KERNELS(nt_sendfile(out, in, at, n));
    return done != NT_IS_KERNELS ? done : nt_real.sendfile(out, in, at, n);
}

NT_SYMBOL(ssize_t, sendfile64, (int out, int in, off_t *at, size_t n))
{
    return nt_symbol_sendfile(out, in, at, n);
}

NT_SYMBOL(ssize_t, splice, (int in, off_t *in_at, int out, off_t *out_at, size_t n, unsigned flags))
{
    if (nt_fd_is_kernel(out) && nt_fd_is_kernel(in))
        return nt_real.splice(in, in_at, out, out_at, n, flags);
    long done = NT_OURS_OR_KERNELS(nt_splice(in, in_at, out, out_at, n, flags));
    return done != NT_IS_KERNELS ? done : nt_real.splice(in, in_at, out, out_at, n, flags);
}
