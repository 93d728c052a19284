// data.c: see data.h.

#include "libc_shim/preload/data.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/rest.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

enum {
    // How long datagrams that are not there are left to another process (share.h).
    PATIENCE_MS = 30,
    LONG_PATIENCE_MS = 300,
};

static int check_iov(const struct iovec *iov, int count)
{
    if (count < 0 || count > IOV_MAX)
        return -EINVAL;
    return iov == NULL && count != 0 ? -EFAULT : 0;
}

static bool is_nonblocking(const struct nt_file *file, int flags)
{
    return file->nonblocking || (flags & MSG_DONTWAIT) != 0;
}

void nt_data_sent(const struct nt_file *file, ssize_t result, int flags)
{
    if (result == -EPIPE && file->sock.type == SOCK_STREAM && (flags & MSG_NOSIGNAL) == 0)
        (void)pthread_kill(pthread_self(), SIGPIPE);
}

// The end of a call that moves data: lets go of `file`. True: another process had taken the socket,
// and the call is to be made again. `flags` are a sending call's.
static inline bool end_call(struct nt_thread *self, struct nt_file *file, ssize_t result, int flags)
{
    nt_connection_called(self);
    bool moved = nt_share_was_taken(file, result);
    if (NT_LIKELY(!moved))
        nt_data_sent(file, result, flags);
    nt_file_drop(file);
    return moved;
}

// A call that would block: 0: try again; or its result.
static int would_block(struct nt_thread *self, struct nt_file *file, bool nonblocking,
                       uint32_t events, uint64_t timeout_ns, uint64_t *deadline_ns)
{
    if (nonblocking)
        return nt_fruitless(self);
    if (*deadline_ns == 0)
        *deadline_ns = nt_deadline_option(timeout_ns);
    return nt_wait_for(file, events, *deadline_ns);
}

// -- Receiving -------------------------------------------------------------------------------

// nt_share_take_back() of a call that reads: datagrams may be left to the other for a while.
static __attribute__((noinline)) int take_back_to_read(int fd, struct nt_file *file, ssize_t result,
                                                       bool nonblocking)
{
    if (file->sock.type == SOCK_STREAM)
        return nt_share_take_back(fd, file, result);
    if (NT_LIKELY(!nt_share_was_taken(file, result)))
        return 0;
    int taken = nt_share_use_to_read(fd, file, nonblocking ? PATIENCE_MS : LONG_PATIENCE_MS);
    return taken == 0 ? 1 : taken;
}

// What comes of the rest of a call that found, after `total` bytes, that its socket is the
// kernel's.
static ssize_t end_as_kernels(int fd, struct nt_rest *rest, int flags, ssize_t total, bool sends)
{
    int pieces;
    struct msghdr message = {.msg_name = NULL};
    const struct iovec *piece = nt_rest_pieces(rest, &pieces);
    message.msg_iov = nt_unconst(piece);
    message.msg_iovlen = (size_t)pieces;
    flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
    ssize_t done =
        sends ? nt_real.sendmsg(fd, &message, flags) : nt_real.recvmsg(fd, &message, flags);
    return done > 0 ? total + done : total;
}

// Nothing to read but an error or the end.
static bool is_ending(struct nt_file *file)
{
    return nt_sock_rx_bytes(&file->sock) == 0 &&
           (nt_sock_poll(&file->sock) & (POLLERR | POLLHUP | POLLRDHUP)) != 0 &&
           !nt_share_is_elsewhere(file);
}

// For calls that may wait. Out of line: what programs call most often does not.
static __attribute__((noinline)) ssize_t
receive_patiently(struct nt_thread *self, int fd, struct nt_file *file, const struct iovec *iov,
                  int count, int flags, struct nt_sock_received *received)
{
    const bool all =
        (flags & (MSG_WAITALL | MSG_PEEK)) == MSG_WAITALL && file->sock.type == SOCK_STREAM;
    uint64_t deadline_ns = 0;
    ssize_t total = 0;
    struct nt_rest rest;
    nt_rest_open(&rest, iov, count);
    for (;;) {
        int pieces;
        const struct iovec *piece = nt_rest_pieces(&rest, &pieces);
        ssize_t got = nt_sock_recv(&file->sock, piece, pieces, flags, received, &self->wake);
        int taken = take_back_to_read(fd, file, got, false);
        if (NT_UNLIKELY(taken == 1))
            continue;
        if (NT_UNLIKELY(taken != 0))
            return total == 0 ? taken : end_as_kernels(fd, &rest, flags, total, false);
        if (got >= 0 && !all) {
            self->fruitless = 0;
            return got;
        }
        if (got > 0) {
            total += got;
            if (!nt_rest_advance(&rest, (size_t)got) || is_ending(file) ||
                nt_sock_at_mark(&file->sock) > 0)
                return total; // tcp_recvmsg(): the error is the next call's
            continue;
        }
        if (got == -EAGAIN)
            got = would_block(self, file, false, POLLIN, file->sock.rcvtimeo_ns, &deadline_ns);
        else if (got == 0)
            return total;
        if (got != 0 || (total > 0 && is_ending(file)))
            return total > 0 ? total : got;
    }
}

static ssize_t receive_all(struct nt_thread *self, int fd, struct nt_file *file,
                           const struct iovec *iov, int count, int flags,
                           struct nt_sock_received *received)
{
    if (!is_nonblocking(file, flags | (flags & MSG_OOB ? MSG_DONTWAIT : 0)))
        return receive_patiently(self, fd, file, iov, count, flags, received);
    ssize_t got =
        nt_sock_recv(&file->sock, iov, count, flags | MSG_DONTWAIT, received, &self->wake);
    if (NT_UNLIKELY(file->kind == NT_FILE_LENT) && take_back_to_read(fd, file, got, true) == 1)
        got = nt_sock_recv(&file->sock, iov, count, flags | MSG_DONTWAIT, received, &self->wake);
    if (got == -EAGAIN) {
        self->count[NT_COUNT_READ_EMPTY]++;
        return nt_fruitless(self);
    }
    if (got >= 0)
        self->fruitless = 0;
    return got;
}

static ssize_t receive(int fd, const char *call, const struct iovec *iov, int count, int flags,
                       struct nt_data_name name)
{
    struct nt_file *file;
    struct nt_thread *self;
    ssize_t result;
    do {
        result = nt_socket_hold(fd, call, &file);
        if (NT_UNLIKELY(result != 0))
            return result;
        self = nt_thread_self();
        struct nt_sock_received received = {.flags = 0};
        self->count[NT_COUNT_READ]++;
        result = receive_all(self, fd, file, iov, count, flags, &received);
        if (result >= 0 && name.address != NULL) {
            if (name.length == NULL)
                result = -EFAULT;
            else if (file->sock.type == SOCK_DGRAM)
                nt_endpoint_to_sockaddr(&received.peer, file->sock.family, name.address,
                                        name.length);
            else
                *name.length = 0; // Linux names no peer for streams
        }
    } while (NT_UNLIKELY(end_call(self, file, result, MSG_NOSIGNAL)));
    return result;
}

static const struct nt_data_name no_name = {.address = NULL};

ssize_t nt_data_read(int fd, void *buf, size_t bytes)
{
    const struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    return nt_data_readv(fd, &iov, 1);
}

ssize_t nt_data_readv(int fd, const struct iovec *iov, int count)
{
    int error = check_iov(iov, count);
    size_t bytes = 0;
    for (int i = 0; error == 0 && i < count; i++)
        bytes |= iov[i].iov_len;
    if (error == 0 && bytes == 0) // as Linux does for sockets, too: nothing is looked at
        return nt_fd_get(fd) < NT_FD_FIRST ? -EBADF : 0;
    return error != 0 ? error : receive(fd, "read", iov, count, 0, no_name);
}

ssize_t nt_data_recv(int fd, void *buf, size_t bytes, int flags, struct sockaddr *address,
                     socklen_t *length)
{
    const struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    const struct nt_data_name name = {.address = address, .length = length};
    return receive(fd, "recv", &iov, 1, flags, name);
}

static ssize_t receive_stream_message(struct nt_thread *self, int fd, struct nt_file *file,
                                      struct msghdr *message, int flags)
{
    struct nt_sock_received received = {.flags = 0};
    ssize_t result =
        receive_all(self, fd, file, message->msg_iov, (int)message->msg_iovlen, flags, &received);
    if (result >= 0) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = received.flags;
    }
    return result;
}

static ssize_t receive_message(struct nt_thread *self, int fd, struct nt_file *file,
                               struct msghdr *message, int flags)
{
    if (message->msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    if (file->sock.type == SOCK_STREAM && (flags & MSG_ERRQUEUE) == 0)
        return receive_stream_message(self, fd, file, message, flags);
    const bool nonblocking =
        is_nonblocking(file, flags | (flags & MSG_ERRQUEUE ? MSG_DONTWAIT : 0));
    uint64_t deadline_ns = 0;
    for (;;) {
        ssize_t result = nt_sock_recvmsg(&file->sock, message,
                                         flags | (nonblocking ? MSG_DONTWAIT : 0), &self->wake);
        if (NT_UNLIKELY(take_back_to_read(fd, file, result, nonblocking) == 1))
            continue;
        if (result != -EAGAIN)
            return result;
        result = would_block(self, file, nonblocking, POLLIN, file->sock.rcvtimeo_ns, &deadline_ns);
        if (result != 0)
            return result;
    }
}

ssize_t nt_data_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct nt_file *file;
    struct nt_thread *self;
    ssize_t result;
    do {
        result = nt_socket_hold(fd, "recvmsg", &file);
        if (result != 0)
            return result;
        self = nt_thread_self();
        result = message == NULL ? -EFAULT : receive_message(self, fd, file, message, flags);
    } while (NT_UNLIKELY(end_call(self, file, result, MSG_NOSIGNAL)));
    return result;
}

int nt_data_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                     const struct timespec *timeout)
{
    if (timeout != NULL &&
        (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000))
        return -EINVAL;
    // Linux looks at the time between messages only (recvmmsg(2), BUGS).
    uint64_t deadline_ns = nt_deadline_of(timeout);
    unsigned done = 0;
    while (done < count) {
        int call_flags = flags & ~MSG_WAITFORONE;
        if ((flags & MSG_WAITFORONE) != 0 && done > 0)
            call_flags |= MSG_DONTWAIT;
        ssize_t got = nt_data_recvmsg(fd, &messages[done].msg_hdr, call_flags);
        if (got < 0)
            return done > 0 ? (int)done : (int)got;
        messages[done++].msg_len = (unsigned)got;
        if (deadline_ns != NT_FOREVER && nt_now_ns() >= deadline_ns)
            break;
    }
    return (int)done;
}

// -- Sending ---------------------------------------------------------------------------------

int nt_data_wait_to_send(struct nt_file *file, bool nonblocking)
{
    uint64_t deadline_ns = 0;
    return would_block(nt_thread_self(), file, nonblocking, POLLOUT, file->sock.sndtimeo_ns,
                       &deadline_ns);
}

static ssize_t send_all(struct nt_thread *self, int fd, struct nt_file *file,
                        const struct iovec *iov, int count, int flags,
                        const struct sockaddr *address, socklen_t length)
{
    const bool nonblocking = is_nonblocking(file, flags);
    const bool stream = file->sock.type == SOCK_STREAM;
    uint64_t deadline_ns = 0;
    ssize_t total = 0;
    struct nt_rest rest;
    nt_rest_open(&rest, iov, count);
    flags |= nonblocking ? MSG_DONTWAIT : 0;
    for (;;) {
        int pieces;
        const struct iovec *piece = nt_rest_pieces(&rest, &pieces);
        ssize_t sent =
            nt_sock_send(&file->sock, piece, pieces, flags, address, length, &self->wake);
        int taken = nt_share_take_back(fd, file, sent);
        if (NT_UNLIKELY(taken == 1))
            continue;
        if (NT_UNLIKELY(taken != 0))
            return total == 0 ? taken : end_as_kernels(fd, &rest, flags, total, true);
        if (sent >= 0) {
            total += sent;
            self->fruitless = 0;
            if (!stream || !nt_rest_advance(&rest, (size_t)sent))
                return total;
            if (sent > 0)
                continue; // at once: the ring may have more room behind its end
            sent = -EAGAIN;
        }
        if (sent == -EAGAIN && nonblocking && total > 0)
            return total;
        if (sent == -EAGAIN)
            sent =
                would_block(self, file, nonblocking, POLLOUT, file->sock.sndtimeo_ns, &deadline_ns);
        if (sent == 0 && total > 0 && (nt_sock_poll(&file->sock) & POLLERR) != 0 &&
            !nt_share_is_elsewhere(file))
            return total; // tcp_sendmsg(): the error is the next call's
        if (sent != 0)
            return total > 0 ? total : sent;
    }
}

static ssize_t send_iov(int fd, const char *call, const struct iovec *iov, int count, int flags,
                        const struct sockaddr *address, socklen_t length)
{
    struct nt_file *file;
    struct nt_thread *self;
    ssize_t result;
    do {
        result = nt_socket_hold(fd, call, &file);
        if (NT_UNLIKELY(result != 0))
            return result;
        self = nt_thread_self();
        result = nt_load_relaxed(&nt_host_gone)
                     ? -ENETDOWN
                     : send_all(self, fd, file, iov, count, flags, address, length);
    } while (NT_UNLIKELY(end_call(self, file, result, flags)));
    return result;
}

ssize_t nt_data_write(int fd, const void *buf, size_t bytes)
{
    return nt_data_send(fd, buf, bytes, 0, NULL, 0);
}

ssize_t nt_data_writev(int fd, const struct iovec *iov, int count)
{
    int error = check_iov(iov, count);
    return error != 0 ? error : send_iov(fd, "write", iov, count, 0, NULL, 0);
}

ssize_t nt_data_send(int fd, const void *buf, size_t bytes, int flags,
                     const struct sockaddr *address, socklen_t length)
{
    const struct iovec iov = {.iov_base = nt_unconst(buf), .iov_len = bytes};
    return send_iov(fd, "send", &iov, 1, flags, address, length);
}

static ssize_t send_datagram(struct nt_thread *self, struct nt_file *file,
                             const struct msghdr *message, int flags)
{
    const bool nonblocking = is_nonblocking(file, flags);
    uint64_t deadline_ns = 0;
    for (;;) {
        ssize_t result = nt_sock_sendmsg(&file->sock, message,
                                         flags | (nonblocking ? MSG_DONTWAIT : 0), &self->wake);
        if (result != -EAGAIN)
            return result;
        result =
            would_block(self, file, nonblocking, POLLOUT, file->sock.sndtimeo_ns, &deadline_ns);
        if (result != 0)
            return result;
    }
}

ssize_t nt_data_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct nt_file *file;
    struct nt_thread *self;
    ssize_t result;
    if (message == NULL)
        return -EFAULT;
    if (message->msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    do {
        result = nt_socket_hold(fd, "sendmsg", &file);
        if (result != 0)
            return result;
        self = nt_thread_self();
        if (file->sock.type == SOCK_STREAM)
            result = send_all(self, fd, file, message->msg_iov, (int)message->msg_iovlen, flags,
                              message->msg_name, message->msg_namelen);
        else
            result = send_datagram(self, file, message, flags);
    } while (NT_UNLIKELY(end_call(self, file, result, flags)));
    return result;
}

int nt_data_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    unsigned done = 0;
    while (done < count) {
        ssize_t sent = nt_data_sendmsg(fd, &messages[done].msg_hdr, flags);
        if (sent < 0)
            return done > 0 ? (int)done : (int)sent;
        messages[done++].msg_len = (unsigned)sent;
    }
    return (int)done;
}
