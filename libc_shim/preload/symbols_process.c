// symbols_process.c: the interposed symbols about processes, and syscall(). See symbols.h.

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/data.h"
#include "libc_shim/preload/fork.h"
#include "libc_shim/preload/stats.h"
#include "libc_shim/preload/symbols.h"

#include <linux/sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// A child of vfork() would change the parent's descriptor table, which is memory.
NT_SYMBOL(pid_t, vfork, (void)) { return nt_real.fork(); }

NT_SYMBOL(pid_t, _Fork, (void))
{
    if (nt_fd_limit == 0)
        return nt_real._Fork();
    nt_fork_before();
    pid_t child = nt_real._Fork();
    nt_fork_after(child);
    return child;
}

struct cloned {
    int (*function)(void *);
    void *argument;
};

static int start_cloned(void *argument)
{
    const struct cloned *cloned = argument;
    nt_fork_after(0);
    return cloned->function(cloned->argument);
}

// Threads, and children that share memory until they exec, are not forked.
NT_SYMBOL(int, clone, (int (*function)(void *), void *stack, int flags, void *argument, ...))
{
    va_list args;
    va_start(args, argument);
    pid_t *parent_tid = va_arg(args, pid_t *); // NOLINT(clang-analyzer-valist.Uninitialized)
    void *tls = va_arg(args, void *);
    pid_t *child_tid = va_arg(args, pid_t *);
    va_end(args);
    struct cloned cloned = {function, argument};
    if (nt_fd_limit == 0 || (flags & CLONE_VM) != 0)
        return nt_real.clone(function, stack, flags, argument, parent_tid, tls, child_tid);
    nt_fork_before();
    int child = nt_real.clone(start_cloned, stack, flags, &cloned, parent_tid, tls, child_tid);
    nt_fork_after(child);
    return child;
}

NT_SYMBOL(_Noreturn void, _exit, (int status))
{
    nt_stats_write();
    nt_real.exit_now(status);
    __builtin_unreachable();
}
NT_SYMBOL(_Noreturn void, _Exit, (int status)) { nt_symbol__exit(status); }

#define NT_VOID(call)                          \
    do {                                       \
        struct nt_thread *caller = nt_enter(); \
        call;                                  \
        nt_leave(caller);                      \
    } while (0)

// -- Sandboxes -------------------------------------------------------------------------------

enum { FEW_DESCRIPTORS = 8 }; // nobody who sets such a limit means to open sockets

NT_SYMBOL(int, setrlimit, (int resource, const struct rlimit *limit))
{
    if (nt_fd_limit != 0 && resource == RLIMIT_NOFILE && limit != NULL &&
        limit->rlim_cur < FEW_DESCRIPTORS)
        NT_VOID(nt_share_before_sandbox());
    return nt_real.setrlimit(resource, limit);
}
NT_SYMBOL(int, setrlimit64, (int resource, const struct rlimit *limit))
{
    return nt_symbol_setrlimit(resource, limit);
}

NT_SYMBOL(int, prctl, (int option, ...))
{
    va_list args;
    unsigned long x[4];
    va_start(args, option);
    for (int i = 0; i < 4; i++)
        // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang 14 is wrong about va_start
        x[i] = va_arg(args, unsigned long);
    va_end(args);
    if (nt_fd_limit != 0 && option == PR_SET_SECCOMP)
        NT_VOID(nt_share_before_sandbox());
    return nt_real.prctl(option, x[0], x[1], x[2], x[3]);
}

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

union argument {
    long number;
    void *pointer;
};

// Whether a system call makes a process that goes on here, with memory of its own.
static bool forks(long number, const union argument *x)
{
#ifdef SYS_fork
    if (number == SYS_fork || number == SYS_vfork)
        return true;
#endif
    if (number == SYS_clone)
        return (x[0].number & CLONE_VM) == 0 && x[1].pointer == NULL;
#ifdef SYS_clone3
    const struct clone_args *args = x[0].pointer;
    if (number == SYS_clone3)
        return args != NULL && (args->flags & CLONE_VM) == 0 && args->stack == 0;
#endif
    return false;
}

// A child of vfork() is one of fork() here, too.
static long fork_by_number(long number, const union argument *x)
{
    long child;
    nt_fork_before();
    if (number == SYS_clone
#ifdef SYS_clone3
        || number == SYS_clone3
#endif
    )
        child = nt_real.syscall(number, x[0].number, x[1].number, x[2].number, x[3].number,
                                x[4].number);
    else
        child = nt_real.syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    nt_fork_after((pid_t)child);
    return child;
}

// Calls on a descriptor of ours; false: not one of those.
static bool on_ours(long number, const union argument *x, long *result)
{
    int fd = (int)x[0].number;
    switch (number) {
    case SYS_read:
        *result = nt_data_read(fd, x[1].pointer, (size_t)x[2].number);
        return true;
    case SYS_write:
        *result = nt_data_write(fd, x[1].pointer, (size_t)x[2].number);
        return true;
    case SYS_readv:
        *result = nt_data_readv(fd, x[1].pointer, (int)x[2].number);
        return true;
    case SYS_writev:
        *result = nt_data_writev(fd, x[1].pointer, (int)x[2].number);
        return true;
    case SYS_recvfrom:
        *result = nt_data_recv(fd, x[1].pointer, (size_t)x[2].number, (int)x[3].number,
                               x[4].pointer, x[5].pointer);
        return true;
    case SYS_sendto:
        *result = nt_data_send(fd, x[1].pointer, (size_t)x[2].number, (int)x[3].number,
                               x[4].pointer, (socklen_t)x[5].number);
        return true;
    case SYS_recvmsg:
        *result = nt_data_recvmsg(fd, x[1].pointer, (int)x[2].number);
        return true;
    case SYS_sendmsg:
        *result = nt_data_sendmsg(fd, x[1].pointer, (int)x[2].number);
        return true;
    case SYS_bind:
        *result = nt_bind(fd, x[1].pointer, (socklen_t)x[2].number);
        return true;
    case SYS_listen:
        *result = nt_listen(fd, (int)x[1].number);
        return true;
    case SYS_connect:
        *result = nt_connect(fd, x[1].pointer, (socklen_t)x[2].number);
        return true;
    case SYS_shutdown:
        *result = nt_shutdown(fd, (int)x[1].number);
        return true;
    case SYS_getsockname:
        *result = nt_getsockname(fd, x[1].pointer, x[2].pointer);
        return true;
    case SYS_getpeername:
        *result = nt_getpeername(fd, x[1].pointer, x[2].pointer);
        return true;
    case SYS_getsockopt:
        *result = nt_getsockopt(fd, (int)x[1].number, (int)x[2].number, x[3].pointer, x[4].pointer);
        return true;
    case SYS_setsockopt:
        *result = nt_setsockopt(fd, (int)x[1].number, (int)x[2].number, x[3].pointer,
                                (socklen_t)x[4].number);
        return true;
    default:
        return false;
    }
}

// Calls that make, close or wait for descriptors, whosever they are.
static bool on_any(long number, const union argument *x, long *result)
{
    int fd = (int)x[0].number;
    switch (number) {
    case SYS_socket:
        *result = nt_our_socket(fd, (int)x[1].number, (int)x[2].number);
        return true;
    case SYS_accept4:
        *result = nt_our_accept4(fd, x[1].pointer, x[2].pointer, (int)x[3].number);
        return true;
    case SYS_close:
        *result = nt_our_close(fd);
        return true;
    case SYS_close_range:
        *result =
            nt_our_close_range((unsigned)x[0].number, (unsigned)x[1].number, (int)x[2].number);
        return true;
    case SYS_dup:
        *result = nt_our_dup(fd);
        return true;
    case SYS_dup3:
        *result = nt_our_dup3(fd, (int)x[1].number, (int)x[2].number);
        return true;
    case SYS_fcntl:
        *result = nt_our_fcntl(fd, (int)x[1].number, x[2].pointer);
        return true;
    case SYS_ioctl:
        *result = nt_our_ioctl(fd, (unsigned long)x[1].number, x[2].pointer);
        return true;
    case SYS_sendfile:
        *result = nt_our_sendfile(fd, (int)x[1].number, x[2].pointer, (size_t)x[3].number);
        return true;
    case SYS_epoll_create1:
        *result = nt_our_epoll_create1(fd);
        return true;
    case SYS_epoll_ctl:
        *result = nt_our_epoll_ctl(fd, (int)x[1].number, (int)x[2].number, x[3].pointer);
        return true;
    case SYS_epoll_pwait:
        *result =
            nt_our_epoll_pwait(fd, x[1].pointer, (int)x[2].number, (int)x[3].number, x[4].pointer);
        return true;
    default:
        return false;
    }
}

NT_SYMBOL(long, syscall, (long number, ...))
{
    va_list args;
    va_start(args, number);
    union argument x[6];
    for (int i = 0; i < 6; i++)
        x[i].number = va_arg(args, long); // NOLINT(clang-analyzer-valist.Uninitialized): clang 14
    va_end(args);
    long result;
    if (nt_fd_limit != 0) {
        if (number == SYS_seccomp)
            NT_VOID(nt_share_before_sandbox());
        if (forks(number, x))
            return fork_by_number(number, x);
        if (!nt_fd_is_kernel((int)x[0].number)) {
            struct nt_thread *caller = nt_enter();
            bool done = on_ours(number, x, &result);
            nt_leave(caller);
            if (done && result != NT_IS_KERNELS)
                return nt_answer(result);
        }
        if (on_any(number, x, &result))
            return result;
    }
    return nt_real.syscall(number, x[0].number, x[1].number, x[2].number, x[3].number, x[4].number,
                           x[5].number);
}
