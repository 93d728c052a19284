// symbols_process.c: the interposed symbols about processes, and syscall(). See symbols.h.

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/data.h"
#include "libc_shim/preload/stats.h"
#include "libc_shim/preload/symbols.h"

#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

// A child of vfork() would change the parent's descriptor table, which is memory.
NT_SYMBOL(pid_t, vfork, (void)) { return nt_real.fork(); }

NT_SYMBOL(_Noreturn void, _exit, (int status))
{
    nt_stats_write();
    nt_real.exit_now(status);
    __builtin_unreachable();
}
NT_SYMBOL(_Noreturn void, _Exit, (int status)) { nt_symbol__exit(status); }

// -- syscall() -------------------------------------------------------------------------------

// The interposed functions by the C library's names: here libc's headers would be in the way.
#define NT_INTERPOSED(type, name, parameters) type nt_our_##name parameters __asm__(#name)
NT_INTERPOSED(int, socket, (int, int, int));
NT_INTERPOSED(int, accept4, (int, void *, void *, int));
NT_INTERPOSED(int, close, (int));
NT_INTERPOSED(int, close_range, (unsigned, unsigned, int));
NT_INTERPOSED(int, dup, (int));
NT_INTERPOSED(int, dup3, (int, int, int));
NT_INTERPOSED(int, fcntl, (int, int, ...));
NT_INTERPOSED(int, ioctl, (int, unsigned long, ...));
NT_INTERPOSED(ssize_t, sendfile, (int, int, void *, size_t));
NT_INTERPOSED(int, epoll_create1, (int));
NT_INTERPOSED(int, epoll_ctl, (int, int, int, void *));
NT_INTERPOSED(int, epoll_pwait, (int, void *, int, int, const void *));

struct arguments {
    long a, b, c, d, e, f;
};

// Calls on a descriptor of ours; false: not one of those.
static bool on_ours(long number, const struct arguments *x, long *result)
{
    int fd = (int)x->a;
    switch (number) {
    case SYS_read:
        *result = nt_data_read(fd, (void *)x->b, (size_t)x->c);
        return true;
    case SYS_write:
        *result = nt_data_write(fd, (const void *)x->b, (size_t)x->c);
        return true;
    case SYS_readv:
        *result = nt_data_readv(fd, (const struct iovec *)x->b, (int)x->c);
        return true;
    case SYS_writev:
        *result = nt_data_writev(fd, (const struct iovec *)x->b, (int)x->c);
        return true;
    case SYS_recvfrom:
        *result = nt_data_recv(fd, (void *)x->b, (size_t)x->c, (int)x->d, (struct sockaddr *)x->e,
                               (socklen_t *)x->f);
        return true;
    case SYS_sendto:
        *result = nt_data_send(fd, (const void *)x->b, (size_t)x->c, (int)x->d,
                               (const struct sockaddr *)x->e, (socklen_t)x->f);
        return true;
    case SYS_recvmsg:
        *result = nt_data_recvmsg(fd, (struct msghdr *)x->b, (int)x->c);
        return true;
    case SYS_sendmsg:
        *result = nt_data_sendmsg(fd, (const struct msghdr *)x->b, (int)x->c);
        return true;
    case SYS_bind:
        *result = nt_bind(fd, (const struct sockaddr *)x->b, (socklen_t)x->c);
        return true;
    case SYS_listen:
        *result = nt_listen(fd, (int)x->b);
        return true;
    case SYS_connect:
        *result = nt_connect(fd, (const struct sockaddr *)x->b, (socklen_t)x->c);
        return true;
    case SYS_shutdown:
        *result = nt_shutdown(fd, (int)x->b);
        return true;
    case SYS_getsockname:
        *result = nt_getsockname(fd, (struct sockaddr *)x->b, (socklen_t *)x->c);
        return true;
    case SYS_getpeername:
        *result = nt_getpeername(fd, (struct sockaddr *)x->b, (socklen_t *)x->c);
        return true;
    case SYS_getsockopt:
        *result = nt_getsockopt(fd, (int)x->b, (int)x->c, (void *)x->d, (socklen_t *)x->e);
        return true;
    case SYS_setsockopt:
        *result = nt_setsockopt(fd, (int)x->b, (int)x->c, (const void *)x->d, (socklen_t)x->e);
        return true;
    default:
        return false;
    }
}

// Calls that make, close or wait for descriptors, whosever they are.
static bool on_any(long number, const struct arguments *x, long *result)
{
    int fd = (int)x->a;
    switch (number) {
    case SYS_socket:
        *result = nt_our_socket(fd, (int)x->b, (int)x->c);
        return true;
    case SYS_accept4:
        *result = nt_our_accept4(fd, (void *)x->b, (void *)x->c, (int)x->d);
        return true;
    case SYS_close:
        *result = nt_our_close(fd);
        return true;
    case SYS_close_range:
        *result = nt_our_close_range((unsigned)x->a, (unsigned)x->b, (int)x->c);
        return true;
    case SYS_dup:
        *result = nt_our_dup(fd);
        return true;
    case SYS_dup3:
        *result = nt_our_dup3(fd, (int)x->b, (int)x->c);
        return true;
    case SYS_fcntl:
        *result = nt_our_fcntl(fd, (int)x->b, (void *)x->c);
        return true;
    case SYS_ioctl:
        *result = nt_our_ioctl(fd, (unsigned long)x->b, (void *)x->c);
        return true;
    case SYS_sendfile:
        *result = nt_our_sendfile(fd, (int)x->b, (void *)x->c, (size_t)x->d);
        return true;
    case SYS_epoll_create1:
        *result = nt_our_epoll_create1(fd);
        return true;
    case SYS_epoll_ctl:
        *result = nt_our_epoll_ctl(fd, (int)x->b, (int)x->c, (void *)x->d);
        return true;
    case SYS_epoll_pwait:
        *result = nt_our_epoll_pwait(fd, (void *)x->b, (int)x->c, (int)x->d, (void *)x->e);
        return true;
    default:
        return false;
    }
}

NT_SYMBOL(long, syscall, (long number, ...))
{
    va_list args;
    va_start(args, number);
    struct arguments x;
    x.a = va_arg(args, long);
    x.b = va_arg(args, long);
    x.c = va_arg(args, long);
    x.d = va_arg(args, long);
    x.e = va_arg(args, long);
    x.f = va_arg(args, long);
    va_end(args);
    long result;
    if (nt_fd_limit != 0) {
        if (!nt_fd_is_kernel((int)x.a) && on_ours(number, &x, &result))
            return nt_answer(result);
        if (on_any(number, &x, &result))
            return result;
    }
    return nt_real.syscall(number, x.a, x.b, x.c, x.d, x.e, x.f);
}
