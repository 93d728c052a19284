// symbols_descriptor.c: the interposed symbols about descriptor numbers. See symbols.h.

#include "libc_shim/preload/descriptor.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/stdio.h"
#include "libc_shim/preload/symbols.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>

NT_SYMBOL(int, close, (int fd))
{
    return nt_fd_limit == 0 ? nt_real.close(fd) : (int)NT_OURS(nt_close_any(fd));
}

NT_SYMBOL(int, close_range, (unsigned first, unsigned last, int flags))
{
    return nt_fd_limit == 0 ? nt_real.close_range(first, last, flags)
                            : (int)NT_OURS(nt_close_range_any(first, last, flags));
}

NT_SYMBOL(void, closefrom, (int first))
{
    (void)nt_symbol_close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

NT_SYMBOL(int, dup, (int fd))
{
    return nt_fd_limit == 0 ? nt_real.dup(fd) : (int)NT_OURS(nt_dup_any(fd));
}

NT_SYMBOL(int, dup2, (int fd, int to))
{
    return nt_fd_limit == 0 ? nt_real.dup2(fd, to) : (int)NT_OURS(nt_dup3_any(fd, to, 0, true));
}

NT_SYMBOL(int, dup3, (int fd, int to, int flags))
{
    return nt_fd_limit == 0 ? nt_real.dup3(fd, to, flags)
                            : (int)NT_OURS(nt_dup3_any(fd, to, flags, false));
}

static int fcntl_any(int fd, int command, void *arg)
{
    if (!nt_fd_is_kernel(fd))
        return (int)NT_OURS(nt_fcntl(fd, command, arg));
    if (command != F_DUPFD && command != F_DUPFD_CLOEXEC)
        return nt_real.fcntl(fd, command, arg);
    int given;
    nt_numbers_yield(1);
    do
        given = nt_real.fcntl(fd, command, arg);
    while (nt_again(given));
    nt_given(given);
    return given;
}

// The argument may be missing, an int or a pointer; reading a pointer fits all three.
NT_SYMBOL(int, fcntl, (int fd, int command, ...))
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    return fcntl_any(fd, command, arg);
}

NT_SYMBOL(int, fcntl64, (int fd, int command, ...))
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    return fcntl_any(fd, command, arg);
}

NT_SYMBOL(int, ioctl, (int fd, unsigned long request, ...))
{
    va_list args;
    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    if (!nt_fd_is_kernel(fd)) {
        long result = NT_OURS_OR_KERNELS(nt_ioctl(fd, request, arg));
        if (result != NT_IS_KERNELS)
            return (int)result;
    }
    return nt_real.ioctl(fd, request, arg);
}

// glibc's own asks its own ioctl().
NT_SYMBOL(int, sockatmark, (int fd))
{
    int mark;
    return nt_symbol_ioctl(fd, SIOCATMARK, &mark) < 0 ? -1 : mark;
}

NT_ON_FD(int, fstat, (int fd, struct stat *st), (fd, st), nt_fstat(fd, st))
NT_SYMBOL(int, fstat64, (int fd, struct stat *st)) { return nt_symbol_fstat(fd, st); }
NT_ON_FD(int, __fxstat, (int version, int fd, struct stat *st), (version, fd, st), nt_fstat(fd, st))
NT_SYMBOL(int, __fxstat64, (int version, int fd, struct stat *st))
{
    return nt_symbol___fxstat(version, fd, st);
}

// -- Where the kernel gives out numbers ------------------------------------------------------

static bool has_mode(int flags) { return (flags & (O_CREAT | O_TMPFILE)) != 0; }

static int open_any(int at, const char *path, int flags, mode_t mode)
{
    int given;
    nt_numbers_yield(1);
    do
        given = nt_real.openat(at, path, flags, mode);
    while (nt_again(given));
    nt_given(given);
    return given;
}

// NOLINTBEGIN(clang-analyzer-valist.Uninitialized): clang 14 takes va_start of a parameter that was
// just read for a use of an uninitialized list
#define NT_MODE_ARGUMENT(given, flags)  \
    mode_t(given) = 0;                  \
    if (has_mode(flags)) {              \
        va_list args;                   \
        va_start(args, flags);          \
        (given) = va_arg(args, mode_t); \
        va_end(args);                   \
    }

NT_SYMBOL(int, open, (const char *path, int flags, ...))
{
    NT_MODE_ARGUMENT(mode, flags)
    return open_any(AT_FDCWD, path, flags, mode);
}
NT_SYMBOL(int, open64, (const char *path, int flags, ...))
{
    NT_MODE_ARGUMENT(mode, flags)
    return open_any(AT_FDCWD, path, flags, mode);
}
NT_SYMBOL(int, openat, (int at, const char *path, int flags, ...))
{
    NT_MODE_ARGUMENT(mode, flags)
    return open_any(at, path, flags, mode);
}
NT_SYMBOL(int, openat64, (int at, const char *path, int flags, ...))
{
    NT_MODE_ARGUMENT(mode, flags)
    return open_any(at, path, flags, mode);
}
// NOLINTEND(clang-analyzer-valist.Uninitialized)
NT_SYMBOL(int, __open_2, (const char *path, int flags))
{
    return open_any(AT_FDCWD, path, flags, 0);
}
NT_SYMBOL(int, __open64_2, (const char *path, int flags))
{
    return open_any(AT_FDCWD, path, flags, 0);
}
NT_SYMBOL(int, creat, (const char *path, mode_t mode))
{
    return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
NT_SYMBOL(int, creat64, (const char *path, mode_t mode))
{
    return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

NT_GIVES_FD(eventfd, (unsigned value, int flags), (value, flags))
NT_GIVES_FD(timerfd_create, (int clock, int flags), (clock, flags))
NT_GIVES_FD(signalfd, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
NT_GIVES_FD(inotify_init, (void), ())
NT_GIVES_FD(inotify_init1, (int flags), (flags))
NT_GIVES_FD(memfd_create, (const char *name, unsigned flags), (name, flags))
NT_GIVES_PAIR(pipe, (int *pair), (pair))
NT_GIVES_PAIR(pipe2, (int *pair, int flags), (pair, flags))

NT_SYMBOL(FILE *, fopen, (const char *path, const char *mode))
{
    nt_numbers_yield(1);
    FILE *file = nt_real.fopen(path, mode);
    if (file == NULL && errno == EMFILE && nt_numbers_flush())
        file = nt_real.fopen(path, mode);
    return file;
}
NT_SYMBOL(FILE *, fopen64, (const char *path, const char *mode))
{
    return nt_symbol_fopen(path, mode);
}

NT_SYMBOL(DIR *, opendir, (const char *path))
{
    nt_numbers_yield(1);
    DIR *dir = nt_real.opendir(path);
    if (dir == NULL && errno == EMFILE && nt_numbers_flush())
        dir = nt_real.opendir(path);
    return dir;
}

// -- stdio -----------------------------------------------------------------------------------

NT_SYMBOL(FILE *, fdopen, (int fd, const char *mode))
{
    return nt_fd_is_kernel(fd) ? nt_real.fdopen(fd, mode) : nt_fdopen(fd, mode);
}

NT_SYMBOL(int, fclose, (FILE * file))
{
    return nt_fd_limit == 0 ? nt_real.fclose(file) : nt_fclose(file);
}

NT_SYMBOL(int, vdprintf, (int fd, const char *format, va_list args))
{
    return nt_fd_is_kernel(fd) ? nt_real.vdprintf(fd, format, args) : nt_vdprintf(fd, format, args);
}

NT_SYMBOL(int, dprintf, (int fd, const char *format, ...))
{
    va_list args;
    va_start(args, format);
    int bytes = nt_symbol_vdprintf(fd, format, args);
    va_end(args);
    return bytes;
}

// -- epoll instances -------------------------------------------------------------------------

NT_SYMBOL(int, epoll_create1, (int flags))
{
    int given;
    nt_numbers_yield(1);
    do
        given = nt_real.epoll_create1(flags);
    while (nt_again(given));
    nt_given(given);
    return given < 0 ? given : (int)NT_OURS(nt_epoll_adopt(given, (flags & EPOLL_CLOEXEC) != 0));
}

NT_SYMBOL(int, epoll_create, (int size))
{
    if (size <= 0)
        return (int)nt_answer(-EINVAL);
    return nt_symbol_epoll_create1(0);
}
