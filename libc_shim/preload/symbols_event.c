// symbols_event.c: the interposed symbols that wait for descriptors. See symbols.h.

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/poll.h"
#include "libc_shim/preload/symbols.h"

enum {
    NS_PER_S = 1000000000,
    NS_PER_MS = 1000000,
    NS_PER_US = 1000,
};

// 0: the call does not wait.
static uint64_t deadline_ms(int timeout_ms)
{
    if (timeout_ms < 0)
        return NT_FOREVER;
    return timeout_ms == 0 ? 0 : nt_deadline((uint64_t)timeout_ms * NS_PER_MS);
}

static uint64_t deadline_of(const struct timespec *timeout)
{
    bool none = timeout != NULL && timeout->tv_sec == 0 && timeout->tv_nsec == 0;
    return none ? 0 : nt_deadline_of(timeout);
}

static bool is_valid(const struct timespec *timeout)
{
    return timeout == NULL ||
           (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < NS_PER_S);
}

// -- poll ------------------------------------------------------------------------------------

NT_SYMBOL(int, poll, (struct pollfd * fds, nfds_t n, int timeout_ms))
{
    if (nt_fd_limit == 0 || !nt_poll_concerns(fds, n))
        return nt_real.poll(fds, n, timeout_ms);
    return (int)NT_OURS(nt_poll(fds, n, deadline_ms(timeout_ms), NULL));
}

NT_SYMBOL(int, ppoll,
          (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask))
{
    if (nt_fd_limit == 0 || !nt_poll_concerns(fds, n))
        return nt_real.ppoll(fds, n, timeout, mask);
    if (!is_valid(timeout))
        return (int)nt_answer(-EINVAL);
    return (int)NT_OURS(nt_poll(fds, n, deadline_of(timeout), mask));
}

NT_SYMBOL(int, __poll_chk, (struct pollfd * fds, nfds_t n, int timeout_ms, size_t room))
{
    if (room / sizeof *fds < n)
        return nt_real.__poll_chk(fds, n, timeout_ms, room); // aborts
    return nt_symbol_poll(fds, n, timeout_ms);
}

NT_SYMBOL(int, __ppoll_chk,
          (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
           size_t room))
{
    if (room / sizeof *fds < n)
        return nt_real.__ppoll_chk(fds, n, timeout, mask, room);
    return nt_symbol_ppoll(fds, n, timeout, mask);
}

// -- select ----------------------------------------------------------------------------------

NT_SYMBOL(int, pselect,
          (int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout,
           const sigset_t *mask))
{
    if (!nt_select_concerns(n, r, w, e))
        return nt_real.pselect(n, r, w, e, timeout, mask);
    if (n < 0 || !is_valid(timeout))
        return (int)nt_answer(-EINVAL);
    return (int)NT_OURS(nt_select(n, r, w, e, deadline_of(timeout), mask));
}

// Linux writes back what is left of the time.
NT_SYMBOL(int, select, (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout))
{
    if (!nt_select_concerns(n, r, w, e))
        return nt_real.select(n, r, w, e, timeout);
    if (timeout == NULL)
        return (int)NT_OURS(nt_select(n, r, w, e, NT_FOREVER, NULL));
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0)
        return (int)nt_answer(-EINVAL);
    const struct timespec whole = {.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000,
                                   .tv_nsec = timeout->tv_usec % 1000000 * NS_PER_US};
    uint64_t deadline_ns = deadline_of(&whole);
    int result = NT_PLAIN(nt_select(n, r, w, e, deadline_ns, NULL));
    if (deadline_ns != 0 && deadline_ns != NT_FOREVER) {
        struct timespec left = nt_time_left(deadline_ns);
        *timeout = (struct timeval){.tv_sec = left.tv_sec, .tv_usec = left.tv_nsec / NS_PER_US};
    }
    return (int)nt_answer(result);
}

// -- epoll -----------------------------------------------------------------------------------

// The target alone may be ours, too: an epoll number from before the shim was loaded.
NT_SYMBOL(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event))
{
    if (nt_fd_is_kernel(fd) && (nt_fd_is_kernel(epfd) || nt_fd_get(epfd) >= NT_FD_FIRST)) {
        int result = nt_real.epoll_ctl(epfd, op, fd, event);
        if (result == 0 && op == EPOLL_CTL_ADD && !nt_fd_is_kernel(epfd))
            nt_epoll_kernel_added(epfd);
        return result;
    }
    return (int)NT_OURS(nt_epoll_ctl(epfd, op, fd, event));
}

NT_SYMBOL(int, epoll_pwait,
          (int epfd, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask))
{
    if (nt_fd_is_kernel(epfd))
        return nt_real.epoll_pwait(epfd, events, max, timeout_ms, mask);
    const struct nt_epoll_wait call = {
        .epfd = epfd, .events = events, .max = max, .timeout_ms = timeout_ms, .mask = mask};
    return (int)NT_OURS(nt_epoll_wait(&call));
}

NT_SYMBOL(int, epoll_wait, (int epfd, struct epoll_event *events, int max, int timeout_ms))
{
    return nt_symbol_epoll_pwait(epfd, events, max, timeout_ms, NULL);
}

NT_SYMBOL(int, epoll_pwait2,
          (int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
           const sigset_t *mask))
{
    if (nt_fd_is_kernel(epfd))
        return nt_real.epoll_pwait2(epfd, events, max, timeout, mask);
    if (!is_valid(timeout))
        return (int)nt_answer(-EINVAL);
    const struct nt_epoll_wait call = {.epfd = epfd,
                                       .events = events,
                                       .max = max,
                                       .timeout = timeout,
                                       .mask = mask,
                                       .exact = true};
    return (int)NT_OURS(nt_epoll_wait(&call));
}
