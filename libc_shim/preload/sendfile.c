// sendfile.c: see sendfile.h.

#include "libc_shim/preload/sendfile.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/data.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/poll.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 262144, // the socket is locked while so much is read from a file
    BUFFER_BYTES = 16384,
};

// Where to read from: a file at `at`, or (at == NULL) wherever its own position is.
struct source {
    int fd;
    off_t *at;
};

static ssize_t read_source(const struct source *source, void *buf, size_t bytes)
{
    ssize_t got = source->at == NULL ? nt_real.read(source->fd, buf, bytes)
                                     : nt_real.pread(source->fd, buf, bytes, *source->at);
    if (got < 0)
        return -errno;
    if (source->at != NULL)
        *source->at += got;
    return got;
}

// Reading is undone; false: of a pipe it cannot be.
static bool unread(const struct source *source, ssize_t bytes)
{
    if (source->at != NULL)
        *source->at -= bytes;
    return source->at != NULL || lseek(source->fd, -bytes, SEEK_CUR) >= 0;
}

// Another process has taken the socket while a piece was read for it: it goes there, as one write.
static ssize_t send_elsewhere(int out, const void *piece, size_t bytes, int flags)
{
    size_t sent = 0;
    while (sent < bytes) {
        ssize_t more = nt_data_send(out, (const uint8_t *)piece + sent, bytes - sent,
                                    flags | MSG_NOSIGNAL, NULL, 0);
        if (more == NT_IS_KERNELS) {
            more = nt_real.send(out, (const uint8_t *)piece + sent, bytes - sent, MSG_NOSIGNAL);
            more = more < 0 ? -errno : more;
        }
        if (more == -EAGAIN) {
            struct pollfd room = {.fd = out, .events = POLLOUT};
            (void)nt_poll(&room, 1, NT_FOREVER, NULL);
        } else if (more < 0) {
            return sent > 0 ? (ssize_t)sent : more;
        } else {
            sent += (size_t)more;
        }
    }
    return (ssize_t)sent;
}

// One piece: bytes moved, 0 at the end of the source, or -errno (-EAGAIN: no room).
static ssize_t move_piece(struct nt_thread *self, int out, struct nt_file *file,
                          const struct source *source, size_t bytes, int flags)
{
    void *piece;
    const bool may_move = file->kind != NT_FILE_SOCKET;
    const size_t limit = may_move ? BUFFER_BYTES : PIECE_BYTES;
    ssize_t room = nt_sock_reserve(&file->sock, bytes < limit ? bytes : limit, &piece);
    if (room <= 0)
        return room;
    ssize_t got = read_source(source, piece, (size_t)room);
    int result = nt_sock_commit(&file->sock, got > 0 ? (size_t)got : 0, flags, &self->wake);
    if (NT_LIKELY(result == 0))
        return got;
    if (unread(source, got))
        return result;
    uint8_t buffer[BUFFER_BYTES]; // the piece's slot is another socket's as soon as it is left
    memcpy(buffer, piece, (size_t)got);
    return send_elsewhere(out, buffer, (size_t)got, flags);
}

static ssize_t move_all(int out, struct nt_file *file, const struct source *source, size_t bytes)
{
    struct nt_thread *self = nt_thread_self();
    ssize_t total = 0;
    while ((size_t)total < bytes) {
        ssize_t moved = move_piece(self, out, file, source, bytes - (size_t)total, 0);
        nt_process_flush(self);
        int taken = nt_share_take_back(out, file, moved);
        if (NT_UNLIKELY(taken == 1))
            continue;
        if (NT_UNLIKELY(taken != 0))
            return total > 0 ? total : taken;
        if (moved > 0) {
            total += moved;
            continue;
        }
        if (moved == -EAGAIN && file->nonblocking && total > 0)
            break;
        if (moved == -EAGAIN)
            moved = nt_data_wait_to_send(file, file->nonblocking != 0);
        else if (moved == 0)
            break; // the end of the source
        if (moved != 0)
            return total > 0 ? total : moved;
    }
    return total;
}

// What is read at once is one datagram.
static ssize_t move_datagrams(int out, const struct source *source, size_t bytes)
{
    uint8_t buffer[BUFFER_BYTES];
    ssize_t total = 0;
    while ((size_t)total < bytes) {
        size_t left = bytes - (size_t)total;
        ssize_t got = read_source(source, buffer, left < BUFFER_BYTES ? left : BUFFER_BYTES);
        if (got > 0)
            got = nt_data_send(out, buffer, (size_t)got, 0, NULL, 0);
        if (got <= 0)
            return total > 0 ? total : got;
        total += got;
    }
    return total;
}

ssize_t nt_sendfile(int out, int in, off_t *at, size_t bytes)
{
    struct nt_file *file;
    if (!nt_fd_is_kernel(in))
        return nt_fd_get(in) < NT_FD_FIRST ? -EBADF : -EINVAL; // from a socket: as Linux
    ssize_t result = nt_socket_hold(out, "sendfile", &file);
    if (result != 0)
        return result;
    int saved = errno;
    const struct source source = {.fd = in, .at = at};
    nt_thread_self()->count[NT_COUNT_USER]++;
    result = file->sock.type == SOCK_STREAM ? move_all(out, file, &source, bytes)
                                            : move_datagrams(out, &source, bytes);
    errno = saved;
    nt_data_sent(file, result, 0);
    nt_file_drop(file);
    return result;
}

// -- splice ----------------------------------------------------------------------------------

// SPLICE_F_NONBLOCK is about the pipe; the socket blocks as O_NONBLOCK says, as on Linux.
static bool has_input(int pipe)
{
    struct pollfd wanted = {.fd = pipe, .events = POLLIN};
    return nt_real.poll(&wanted, 1, 0) > 0;
}

// Waits for a pipe to be ready, unless it or the call does not block.
static int wait_for_pipe(int pipe, short events, bool nonblocking)
{
    struct pollfd wanted = {.fd = pipe, .events = events};
    if (nonblocking || (nt_real.fcntl(pipe, F_GETFL) & O_NONBLOCK) != 0)
        return nt_real.poll(&wanted, 1, 0) > 0 ? 0 : -EAGAIN;
    return nt_real.poll(&wanted, 1, -1) > 0 ? 0 : -errno;
}

static ssize_t pipe_to_socket(int out, struct nt_file *file, int pipe, size_t bytes, unsigned flags)
{
    struct nt_thread *self = nt_thread_self();
    const struct source source = {.fd = pipe};
    bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
    int send_flags = (flags & SPLICE_F_MORE) != 0 ? MSG_MORE : 0;
    ssize_t total = 0;
    int result = wait_for_pipe(pipe, POLLIN, nonblocking);
    if (result == 0 && file->sock.type != SOCK_STREAM)
        return move_datagrams(out, &source, bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES);
    while (result == 0 && (size_t)total < bytes) {
        ssize_t moved = move_piece(self, out, file, &source, bytes - (size_t)total, send_flags);
        nt_process_flush(self);
        int taken = nt_share_take_back(out, file, moved);
        if (NT_UNLIKELY(taken == 1))
            continue;
        if (NT_UNLIKELY(taken != 0))
            return total > 0 ? total : taken;
        if (moved == -EAGAIN && total == 0) {
            result = nt_data_wait_to_send(file, file->nonblocking != 0);
            continue;
        }
        if (moved <= 0) {
            result = (int)moved;
            break;
        }
        total += moved;
        if (!has_input(pipe)) // it would block with the socket locked
            break;
    }
    return total > 0 ? total : result;
}

static ssize_t socket_to_pipe(int in, struct nt_file *file, int pipe, size_t bytes, unsigned flags)
{
    uint8_t buffer[BUFFER_BYTES];
    bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
    if (file->sock.type != SOCK_STREAM)
        return -EINVAL; // udp_prot_ops has no splice_read
    ssize_t got =
        nt_data_recv(in, buffer, bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES, MSG_PEEK, NULL, NULL);
    if (got <= 0)
        return got;
    int result = wait_for_pipe(pipe, POLLOUT, nonblocking);
    if (result != 0)
        return result;
    ssize_t put = nt_real.write(pipe, buffer, (size_t)got);
    if (put < 0)
        return -errno;
    return nt_data_recv(in, buffer, (size_t)put, MSG_DONTWAIT, NULL, NULL);
}

ssize_t nt_splice(int in, off_t *in_at, int out, off_t *out_at, size_t bytes, unsigned flags)
{
    struct nt_file *file;
    const bool from_socket = !nt_fd_is_kernel(in);
    int pipe = from_socket ? out : in;
    struct stat st;
    if (!nt_fd_is_kernel(pipe) || nt_real.fstat(pipe, &st) != 0 || !S_ISFIFO(st.st_mode))
        return -EINVAL; // one end must be a pipe
    if ((from_socket ? out_at : in_at) != NULL)
        return -ESPIPE; // the pipe's
    if (in_at != NULL || out_at != NULL)
        return -EINVAL; // a socket has no positions (FMODE_PREAD, FMODE_PWRITE)
    ssize_t result = nt_socket_hold(from_socket ? in : out, "splice", &file);
    if (result != 0)
        return result;
    int saved = errno;
    nt_thread_self()->count[NT_COUNT_USER]++;
    if (bytes == 0)
        result = 0;
    else
        result = from_socket ? socket_to_pipe(in, file, pipe, bytes, flags)
                             : pipe_to_socket(out, file, pipe, bytes, flags);
    errno = saved;
    if (!from_socket)
        nt_data_sent(file, result, 0);
    nt_file_drop(file);
    return result;
}
