// descriptor.c: see descriptor.h.

#include "libc_shim/preload/descriptor.h"

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/interfaces.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

bool nt_again(int fd) { return fd < 0 && errno == EMFILE && nt_numbers_flush(); }

static int answer(int result) { return result >= 0 ? result : -errno; }

// -- Closing ---------------------------------------------------------------------------------

int nt_close_any(int fd)
{
    if (!nt_fd_is_kernel(fd))
        return nt_file_close(fd);
    int result = answer(nt_real.close(fd));
    if (result == 0)
        nt_numbers_kernel_closed(fd);
    return result;
}

static void close_run(unsigned first, unsigned last, int flags)
{
    if (first > last)
        return;
    (void)nt_real.close_range(first, last, flags);
    if ((flags & (int)CLOSE_RANGE_CLOEXEC) == 0 && first < (unsigned)NT_FD_MAX)
        nt_numbers_kernel_closed((int)first);
}

// Numbers of ours in the range, one by one; what lies between them in one call each.
static void close_between(unsigned first, unsigned last, int flags)
{
    const bool cloexec = (flags & (int)CLOSE_RANGE_CLOEXEC) != 0;
    unsigned top = last < nt_fd_limit ? last + 1 : nt_fd_limit;
    unsigned run = first;
    for (unsigned fd = first; fd < top; fd++) {
        struct nt_file *file = nt_fd_table[fd];
        if (NT_LIKELY(file == NULL))
            continue;
        if (run < fd)
            close_run(run, fd - 1, flags);
        run = fd + 1;
        if (cloexec)
            nt_fd_cloexec[fd] = 1;
        else
            (void)nt_file_close((int)fd);
    }
    close_run(run, last, flags);
}

int nt_close_range_any(unsigned first, unsigned last, int flags)
{
    if (first > last || (flags & ~(int)(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE)) != 0)
        return -EINVAL;
    int saved = errno;
    close_between(first, last, flags);
    errno = saved;
    return 0;
}

// -- Duplicating -----------------------------------------------------------------------------

// `fd` is held as `file`; its placeholder was duplicated to `to`, a number nobody has used.
static int published(struct nt_file *file, int to, bool cloexec)
{
    __atomic_add_fetch(&file->refs, 1u, __ATOMIC_RELAXED);
    file->several_placeholders = 1;
    nt_fd_install(to, file, cloexec);
    return to;
}

static int duplicate(int fd, int at_least, bool cloexec)
{
    struct nt_file *file = nt_file_hold(fd);
    if (file == NULL)
        return -EBADF;
    int to;
    nt_numbers_yield(1);
    do
        to = nt_real.fcntl(fd, F_DUPFD_CLOEXEC, at_least);
    while (nt_again(to));
    to = to >= 0 ? published(file, to, cloexec) : -errno;
    nt_file_drop(file);
    return to;
}

int nt_dup_any(int fd)
{
    int to;
    if (!nt_fd_is_kernel(fd))
        return duplicate(fd, 0, false);
    nt_numbers_yield(1);
    do
        to = nt_real.dup(fd);
    while (nt_again(to));
    return answer(to);
}

static int dup3_ours(int fd, int to, int flags)
{
    struct nt_file *file = nt_file_hold(fd);
    if (file == NULL)
        return -EBADF;
    // Placeholders are close-on-exec, epoll numbers are what the program asks for.
    int kernel_flags = file->kind == NT_FILE_EPOLL ? flags : O_CLOEXEC;
    int result = answer(nt_real.dup3(fd, to, kernel_flags));
    if (result >= 0) {
        __atomic_add_fetch(&file->refs, 1u, __ATOMIC_RELAXED);
        file->several_placeholders = 1;
        nt_file_replace(to, file, (flags & O_CLOEXEC) != 0);
    }
    nt_file_drop(file);
    return result;
}

int nt_dup3_any(int fd, int to, int flags, bool same_is_fine)
{
    if (nt_fd_get(to) == NT_FD_OURS || nt_fd_get(fd) == NT_FD_OURS)
        return -EBADF;
    if (fd == to) {
        if (!same_is_fine)
            return -EINVAL;
        return nt_fd_is_kernel(fd) ? answer(nt_real.dup2(fd, fd))
                                   : (nt_fd_get(fd) < NT_FD_FIRST ? -EBADF : fd);
    }
    if (!nt_fd_is_kernel(fd))
        return dup3_ours(fd, to, flags);
    int result = answer(same_is_fine ? nt_real.dup2(fd, to) : nt_real.dup3(fd, to, flags));
    if (result >= 0 && !nt_fd_is_kernel(to))
        nt_file_replace(to, NULL, false);
    return result;
}

// -- fcntl -----------------------------------------------------------------------------------

static int get_flags(const struct nt_file *file, int fd)
{
    if (file->kind == NT_FILE_EPOLL || file->kind == NT_FILE_PUMPED)
        return answer(nt_real.fcntl(fd, F_GETFL));
    return O_RDWR | (file->nonblocking ? O_NONBLOCK : 0);
}

static int set_flags(struct nt_file *file, int fd, int flags)
{
    if (file->kind == NT_FILE_EPOLL || file->kind == NT_FILE_PUMPED)
        return answer(nt_real.fcntl(fd, F_SETFL, flags));
    if ((flags & O_ASYNC) != 0) {
        nt_log_once("fcntl: O_ASYNC on a newtos socket is not supported");
        return -EINVAL;
    }
    file->nonblocking = (flags & O_NONBLOCK) != 0;
    return 0;
}

static int set_cloexec(const struct nt_file *file, int fd, int flags)
{
    nt_fd_cloexec[fd] = (flags & FD_CLOEXEC) != 0;
    return file->kind == NT_FILE_EPOLL ? answer(nt_real.fcntl(fd, F_SETFD, flags)) : 0;
}

static int fcntl_held(struct nt_file *file, int fd, int command, void *arg)
{
    int value = (int)(intptr_t)arg;
    switch (command) {
    case F_GETFL:
        return get_flags(file, fd);
    case F_SETFL:
        return set_flags(file, fd, value);
    case F_GETFD:
        return nt_fd_cloexec[fd] ? FD_CLOEXEC : 0;
    case F_SETFD:
        return set_cloexec(file, fd, value);
    case F_DUPFD:
        return duplicate(fd, value, false);
    case F_DUPFD_CLOEXEC:
        return duplicate(fd, value, true);
    case F_GETOWN:
    case F_SETOWN: // whom SIGIO and SIGURG would go to
        nt_log_once("fcntl: F_SETOWN on a newtos socket: no SIGIO and no SIGURG is sent");
        return 0;
    default:
        // Locks, leases, pipe sizes and seals: what they say of any other socket.
        return answer(nt_real.fcntl(fd, command, arg));
    }
}

int nt_fcntl(int fd, int command, void *arg)
{
    struct nt_file *file = nt_file_hold(fd);
    if (file == NULL)
        return -EBADF;
    int saved = errno;
    int result = fcntl_held(file, fd, command, arg);
    nt_file_drop(file);
    errno = saved;
    return result;
}

// -- ioctl -----------------------------------------------------------------------------------

static int store_int(void *arg, int value)
{
    if (arg == NULL)
        return -EFAULT;
    if (value < 0)
        return value;
    memcpy(arg, &value, sizeof value);
    return 0;
}

static int ioctl_socket(struct nt_file *file, int fd, unsigned long request, void *arg)
{
    int on;
    switch (request) {
    case FIONREAD: // the same number as SIOCINQ
        return store_int(arg, nt_sock_rx_bytes(&file->sock));
    case SIOCATMARK:
        return store_int(arg, nt_sock_at_mark(&file->sock));
    case SIOCOUTQ:
        return store_int(arg, nt_sock_tx_bytes(&file->sock));
    case FIONBIO:
        if (arg == NULL)
            return -EFAULT;
        memcpy(&on, arg, sizeof on);
        file->nonblocking = on != 0;
        return 0;
    case FIOASYNC: // as O_ASYNC
        if (arg == NULL)
            return -EFAULT;
        memcpy(&on, arg, sizeof on);
        if (on != 0)
            nt_log_once("ioctl: FIOASYNC on a newtos socket is not supported");
        return on == 0 ? 0 : -EINVAL;
    case FIOCLEX:
    case FIONCLEX:
        nt_fd_cloexec[fd] = request == FIOCLEX;
        return 0;
    default:
        break;
    }
    int result = nt_interface_ioctl(request, arg);
    if (result == -ENOTTY && request != TCGETS) // isatty() asks everything
        nt_log_once("ioctl: request 0x%lx on a newtos socket is not supported", request);
    return result;
}

int nt_ioctl(int fd, unsigned long request, void *arg)
{
    struct nt_file *file;
    if (nt_fd_get(fd) >= NT_FD_FIRST && nt_fd_get(fd)->kind == NT_FILE_EPOLL)
        return answer(nt_real.ioctl(fd, request, arg));
    struct nt_thread *self = nt_thread_self();
    int saved = errno;
    int result;
    do {
        result = nt_socket_hold(fd, "ioctl", &file);
        if (result != 0)
            return result;
        self->count[NT_COUNT_USER]++;
        result = ioctl_socket(file, fd, request, arg);
    } while (nt_share_end_call(file, result));
    errno = saved;
    return result;
}

int nt_fstat(int fd, struct stat *st)
{
    return nt_fd_get(fd) < NT_FD_FIRST ? -EBADF : answer(nt_real.fstat(fd, st));
}
