// symbols_alias.c: libc's second names for what stands in the other symbols_*.c. See symbols.h.

#include "libc_shim/preload/symbols.h"

#include <fcntl.h>
#include <unistd.h>

// Named as a program would: the dynamic linker finds our own symbol first.
NT_SYMBOL(ssize_t, __read, (int fd, void *buf, size_t n)) { return read(fd, buf, n); }
NT_SYMBOL(ssize_t, __write, (int fd, const void *buf, size_t n)) { return write(fd, buf, n); }
NT_SYMBOL(ssize_t, __recv, (int fd, void *buf, size_t n, int flags))
{
    return recv(fd, buf, n, flags);
}
NT_SYMBOL(ssize_t, __send, (int fd, const void *buf, size_t n, int flags))
{
    return send(fd, buf, n, flags);
}
NT_SYMBOL(int, __sendmmsg, (int fd, struct mmsghdr *msgs, unsigned count, int flags))
{
    return sendmmsg(fd, msgs, count, flags);
}
NT_SYMBOL(int, __socket, (int domain, int type, int protocol))
{
    return socket(domain, type, protocol);
}
NT_SYMBOL(int, __connect, (int fd, const struct sockaddr *addr, socklen_t len))
{
    return connect(fd, addr, len);
}
NT_SYMBOL(int, __close, (int fd)) { return close(fd); }
NT_SYMBOL(int, __dup2, (int fd, int to)) { return dup2(fd, to); }
NT_SYMBOL(int, __fcntl, (int fd, int command, void *arg)) { return fcntl(fd, command, arg); }
NT_SYMBOL(int, __pipe, (int *pair)) { return pipe(pair); }
NT_SYMBOL(int, __open, (const char *path, int flags, mode_t mode))
{
    return open(path, flags, mode);
}
NT_SYMBOL(int, __open64, (const char *path, int flags, mode_t mode))
{
    return open(path, flags, mode);
}
NT_SYMBOL(int, __poll, (struct pollfd * fds, nfds_t n, int timeout_ms))
{
    return poll(fds, n, timeout_ms);
}
NT_SYMBOL(int, __select, (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout))
{
    return select(n, r, w, e, timeout);
}
NT_SYMBOL(int, __sigaction, (int number, const struct sigaction *action, struct sigaction *old))
{
    return sigaction(number, action, old);
}
NT_SYMBOL(pid_t, __vfork, (void)) { return fork(); }
