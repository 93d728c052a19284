// symbols_socket.c: the interposed symbols that make and name sockets. See symbols.h.

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/descriptor.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/symbols.h"

static int kernel_socket(int domain, int type, int protocol)
{
    int fd;
    nt_numbers_yield(1);
    do
        fd = nt_real.socket(domain, type, protocol);
    while (nt_again(fd));
    nt_given(fd);
    return fd;
}

NT_SYMBOL(int, socket, (int domain, int type, int protocol))
{
    nt_process_start();
    if (nt_fd_limit == 0)
        return nt_real.socket(domain, type, protocol);
    int family = nt_socket_family(domain);
    if (family < 0)
        return (int)nt_answer(family);
    return family ? (int)NT_OURS(nt_socket(domain, type, protocol))
                  : kernel_socket(domain, type, protocol);
}

NT_GIVES_PAIR(socketpair, (int domain, int type, int protocol, int *pair),
              (domain, type, protocol, pair))

NT_ON_FD(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len),
         nt_bind(fd, addr, len))
NT_ON_FD(int, listen, (int fd, int backlog), (fd, backlog), nt_listen(fd, backlog))
NT_ON_FD(int, connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len),
         nt_connect(fd, addr, len))
NT_ON_FD(int, shutdown, (int fd, int how), (fd, how), nt_shutdown(fd, how))
NT_ON_FD(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len),
         nt_getsockname(fd, addr, len))
NT_ON_FD(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len),
         nt_getpeername(fd, addr, len))
NT_ON_FD(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),
         (fd, level, name, value, len), nt_getsockopt(fd, level, name, value, len))
NT_ON_FD(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
         (fd, level, name, value, len), nt_setsockopt(fd, level, name, value, len))

static int kernel_accept(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    int given;
    nt_numbers_yield(1);
    do
        given = flags == 0 ? nt_real.accept(fd, addr, len) : nt_real.accept4(fd, addr, len, flags);
    while (nt_again(given));
    nt_given(given);
    return given;
}

NT_SYMBOL(int, accept, (int fd, struct sockaddr *addr, socklen_t *len))
{
    if (!nt_fd_is_kernel(fd)) {
        long given = NT_OURS_OR_KERNELS(nt_accept(fd, addr, len, 0));
        if (NT_LIKELY(given != NT_IS_KERNELS))
            return (int)given;
    }
    return kernel_accept(fd, addr, len, 0);
}

NT_SYMBOL(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags))
{
    if (!nt_fd_is_kernel(fd)) {
        long given = NT_OURS_OR_KERNELS(nt_accept(fd, addr, len, flags));
        if (NT_LIKELY(given != NT_IS_KERNELS))
            return (int)given;
    }
    return kernel_accept(fd, addr, len, flags);
}
