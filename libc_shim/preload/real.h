// real.h: the libc functions behind the interposed ones.
//
// Our own library defines `read`, `close` and so on, so code in it that wants the kernel's must say
// nt_real.read. The table starts out with thunks that look up every symbol (RTLD_NEXT) on the first
// call of any, so it may be used before constructors have run, from any library's constructor; from
// nt_real_resolve on a call costs one indirect jump. A function that this libc lacks answers
// ENOSYS.
#ifndef NT_PRELOAD_REAL_H
#define NT_PRELOAD_REAL_H

#include <dirent.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

// X(type, name, parameters, arguments); the list is the table's, the thunks' and the look-up's.
#define NT_REAL_FUNCTIONS(X)                                                                       \
    X(ssize_t, read, (int fd, void *buf, size_t n), (fd, buf, n))                                  \
    X(ssize_t, __read_chk, (int fd, void *buf, size_t n, size_t room), (fd, buf, n, room))         \
    X(ssize_t, readv, (int fd, const struct iovec *iov, int count), (fd, iov, count))              \
    X(ssize_t, write, (int fd, const void *buf, size_t n), (fd, buf, n))                           \
    X(ssize_t, writev, (int fd, const struct iovec *iov, int count), (fd, iov, count))             \
    X(ssize_t, preadv2, (int fd, const struct iovec *iov, int count, off_t at, int flags),         \
      (fd, iov, count, at, flags))                                                                 \
    X(ssize_t, pwritev2, (int fd, const struct iovec *iov, int count, off_t at, int flags),        \
      (fd, iov, count, at, flags))                                                                 \
    X(ssize_t, pread, (int fd, void *buf, size_t n, off_t at), (fd, buf, n, at))                   \
    X(int, socket, (int domain, int type, int protocol), (domain, type, protocol))                 \
    X(int, socketpair, (int domain, int type, int protocol, int *pair),                            \
      (domain, type, protocol, pair))                                                              \
    X(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))            \
    X(int, listen, (int fd, int backlog), (fd, backlog))                                           \
    X(int, accept, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))               \
    X(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),                    \
      (fd, addr, len, flags))                                                                      \
    X(int, connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))         \
    X(int, shutdown, (int fd, int how), (fd, how))                                                 \
    X(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))          \
    X(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))          \
    X(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),                 \
      (fd, level, name, value, len))                                                               \
    X(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),            \
      (fd, level, name, value, len))                                                               \
    X(ssize_t, recv, (int fd, void *buf, size_t n, int flags), (fd, buf, n, flags))                \
    X(ssize_t, __recv_chk, (int fd, void *buf, size_t n, size_t room, int flags),                  \
      (fd, buf, n, room, flags))                                                                   \
    X(ssize_t, recvfrom,                                                                           \
      (int fd, void *buf, size_t n, int flags, struct sockaddr *addr, socklen_t *len),             \
      (fd, buf, n, flags, addr, len))                                                              \
    X(ssize_t, __recvfrom_chk,                                                                     \
      (int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *addr,                 \
       socklen_t *len),                                                                            \
      (fd, buf, n, room, flags, addr, len))                                                        \
    X(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))                 \
    X(int, recvmmsg,                                                                               \
      (int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *timeout),         \
      (fd, msgs, count, flags, timeout))                                                           \
    X(ssize_t, send, (int fd, const void *buf, size_t n, int flags), (fd, buf, n, flags))          \
    X(ssize_t, sendto,                                                                             \
      (int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr, socklen_t len),  \
      (fd, buf, n, flags, addr, len))                                                              \
    X(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))           \
    X(int, sendmmsg, (int fd, struct mmsghdr *msgs, unsigned count, int flags),                    \
      (fd, msgs, count, flags))                                                                    \
    X(ssize_t, sendfile, (int out, int in, off_t *at, size_t n), (out, in, at, n))                 \
    X(ssize_t, splice, (int in, off_t *in_at, int out, off_t *out_at, size_t n, unsigned flags),   \
      (in, in_at, out, out_at, n, flags))                                                          \
    X(int, close, (int fd), (fd))                                                                  \
    X(int, close_range, (unsigned first, unsigned last, int flags), (first, last, flags))          \
    X(int, dup, (int fd), (fd))                                                                    \
    X(int, dup2, (int fd, int to), (fd, to))                                                       \
    X(int, dup3, (int fd, int to, int flags), (fd, to, flags))                                     \
    X(int, fstat, (int fd, struct stat *st), (fd, st))                                             \
    X(int, __fxstat, (int version, int fd, struct stat *st), (version, fd, st))                    \
    X(int, select, (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout),              \
      (n, r, w, e, timeout))                                                                       \
    X(int, pselect,                                                                                \
      (int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout,                     \
       const sigset_t *mask),                                                                      \
      (n, r, w, e, timeout, mask))                                                                 \
    X(int, poll, (struct pollfd * fds, nfds_t n, int timeout_ms), (fds, n, timeout_ms))            \
    X(int, ppoll,                                                                                  \
      (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),       \
      (fds, n, timeout, mask))                                                                     \
    X(int, __poll_chk, (struct pollfd * fds, nfds_t n, int timeout_ms, size_t room),               \
      (fds, n, timeout_ms, room))                                                                  \
    X(int, __ppoll_chk,                                                                            \
      (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,        \
       size_t room),                                                                               \
      (fds, n, timeout, mask, room))                                                               \
    X(int, epoll_create, (int size), (size))                                                       \
    X(int, epoll_create1, (int flags), (flags))                                                    \
    X(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event),                       \
      (epfd, op, fd, event))                                                                       \
    X(int, epoll_wait, (int epfd, struct epoll_event *events, int max, int timeout_ms),            \
      (epfd, events, max, timeout_ms))                                                             \
    X(int, epoll_pwait,                                                                            \
      (int epfd, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask),       \
      (epfd, events, max, timeout_ms, mask))                                                       \
    X(int, epoll_pwait2,                                                                           \
      (int epfd, struct epoll_event *events, int max, const struct timespec *timeout,              \
       const sigset_t *mask),                                                                      \
      (epfd, events, max, timeout, mask))                                                          \
    X(int, eventfd, (unsigned value, int flags), (value, flags))                                   \
    X(int, timerfd_create, (int clock, int flags), (clock, flags))                                 \
    X(int, signalfd, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))                 \
    X(int, inotify_init, (void), ())                                                               \
    X(int, inotify_init1, (int flags), (flags))                                                    \
    X(int, pipe, (int *pair), (pair))                                                              \
    X(int, pipe2, (int *pair, int flags), (pair, flags))                                           \
    X(int, memfd_create, (const char *name, unsigned flags), (name, flags))                        \
    X(int, creat, (const char *path, mode_t mode), (path, mode))                                   \
    X(FILE *, fopen, (const char *path, const char *mode), (path, mode))                           \
    X(FILE *, fdopen, (int fd, const char *mode), (fd, mode))                                      \
    X(int, vdprintf, (int fd, const char *format, va_list args), (fd, format, args))               \
    X(int, fclose, (FILE * file), (file))                                                          \
    X(DIR *, opendir, (const char *path), (path))                                                  \
    X(int, sigaction, (int number, const struct sigaction *action, struct sigaction *old),         \
      (number, action, old))                                                                       \
    X(pid_t, fork, (void), ())                                                                     \
    X(pid_t, _Fork, (void), ())                                                                    \
    X(int, execve, (const char *path, char *const argv[], char *const env[]), (path, argv, env))   \
    X(int, execvpe, (const char *file, char *const argv[], char *const env[]), (file, argv, env))  \
    X(int, fexecve, (int fd, char *const argv[], char *const env[]), (fd, argv, env))              \
    X(int, posix_spawn,                                                                            \
      (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,                   \
       const posix_spawnattr_t *attr, char *const argv[], char *const env[]),                      \
      (pid, path, actions, attr, argv, env))                                                       \
    X(int, posix_spawnp,                                                                           \
      (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,                   \
       const posix_spawnattr_t *attr, char *const argv[], char *const env[]),                      \
      (pid, file, actions, attr, argv, env))                                                       \
    X(int, posix_spawn_file_actions_adddup2,                                                       \
      (posix_spawn_file_actions_t * actions, int fd, int to), (actions, fd, to))                   \
    X(int, setrlimit, (int resource, const struct rlimit *limit), (resource, limit))               \
    X(int, system, (const char *command), (command))                                               \
    X(FILE *, popen, (const char *command, const char *mode), (command, mode))                     \
    X(int, getaddrinfo,                                                                            \
      (const char *node, const char *service, const struct addrinfo *hints,                        \
       struct addrinfo **found),                                                                   \
      (node, service, hints, found))                                                               \
    X(int, getnameinfo,                                                                            \
      (const struct sockaddr *addr, socklen_t len, char *host, socklen_t host_room, char *service, \
       socklen_t service_room, int flags),                                                         \
      (addr, len, host, host_room, service, service_room, flags))                                  \
    X(int, getifaddrs, (struct ifaddrs * *list), (list))                                           \
    X(unsigned, if_nametoindex, (const char *name), (name))                                        \
    X(char *, if_indextoname, (unsigned index, char *name), (index, name))                         \
    X(struct if_nameindex *, if_nameindex, (void), ())                                             \
    X(struct hostent *, gethostbyname, (const char *name), (name))                                 \
    X(struct hostent *, gethostbyname2, (const char *name, int family), (name, family))            \
    X(int, gethostbyname_r,                                                                        \
      (const char *name, struct hostent *host, char *buf, size_t room, struct hostent **found,     \
       int *error),                                                                                \
      (name, host, buf, room, found, error))                                                       \
    X(struct hostent *, gethostbyaddr, (const void *addr, socklen_t len, int family),              \
      (addr, len, family))                                                                         \
    X(int, gethostbyaddr_r,                                                                        \
      (const void *addr, socklen_t len, int family, struct hostent *host, char *buf, size_t room,  \
       struct hostent **found, int *error),                                                        \
      (addr, len, family, host, buf, room, found, error))                                          \
    X(int, gethostbyname2_r,                                                                       \
      (const char *name, int family, struct hostent *host, char *buf, size_t room,                 \
       struct hostent **found, int *error),                                                        \
      (name, family, host, buf, room, found, error))

// Variadic ones; the callee finds its arguments in the same registers either way.
#define NT_REAL_VARIADIC(X)                                                                       \
    X(int, fcntl, (int fd, int command, ...), (int fd, int command, void *arg),                   \
      (fd, command, arg))                                                                         \
    X(int, ioctl, (int fd, unsigned long request, ...),                                           \
      (int fd, unsigned long request, void *arg), (fd, request, arg))                             \
    X(int, open, (const char *path, int flags, ...), (const char *path, int flags, mode_t mode),  \
      (path, flags, mode))                                                                        \
    X(int, openat, (int at, const char *path, int flags, ...),                                    \
      (int at, const char *path, int flags, mode_t mode), (at, path, flags, mode))                \
    X(int, prctl, (int option, ...),                                                              \
      (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d),           \
      (option, a, b, c, d))                                                                       \
    X(int, clone, (int (*function)(void *), void *stack, int flags, void *argument, ...),         \
      (int (*function)(void *), void *stack, int flags, void *argument, pid_t *parent, void *tls, \
       pid_t *child),                                                                             \
      (function, stack, flags, argument, parent, tls, child))                                     \
    X(long, syscall, (long number, ...),                                                          \
      (long number, long a, long b, long c, long d, long e, long f), (number, a, b, c, d, e, f))

struct nt_real {
// NOLINTBEGIN(bugprone-macro-parentheses): types and parameter lists can't have any
#define X(type, name, parameters, arguments) type(*name) parameters;
    NT_REAL_FUNCTIONS(X)
#undef X
#define X(type, name, parameters, fixed, arguments) type(*name) parameters;
    NT_REAL_VARIADIC(X)
#undef X
    // NOLINTEND(bugprone-macro-parentheses)
    void (*exit_now)(int status); // _exit
};

extern struct nt_real nt_real;

// The shim's own small calls, which are no cancellation points: whoever makes them holds locks.
static inline long nt_quiet_write(int fd, const void *buf, size_t n)
{
    return nt_real.syscall(SYS_write, fd, buf, n);
}
static inline long nt_quiet_read_now(int fd, void *buf, size_t n) // never blocks
{
    struct iovec iov = {.iov_base = buf, .iov_len = n};
    return nt_real.syscall(SYS_preadv2, fd, &iov, 1L, -1L, -1L, (long)RWF_NOWAIT);
}
static inline int nt_quiet_epoll_look(int epfd, struct epoll_event *events, int max,
                                      const sigset_t *mask)
{
    return (int)nt_real.syscall(SYS_epoll_pwait, epfd, events, max, 0, mask, (long)NSIG / 8);
}
static inline int nt_quiet_poll_look(struct pollfd *fds, nfds_t count, const sigset_t *mask)
{
    struct timespec now = {.tv_sec = 0};
    return (int)nt_real.syscall(SYS_ppoll, fds, count, &now, mask, (long)NSIG / 8);
}
static inline int nt_quiet_close(int fd) { return (int)nt_real.syscall(SYS_close, fd); }

// Looks up every symbol; idempotent, and safe where several threads do it at once.
void nt_real_resolve(void);

#endif
