// poll.h: poll and select over newtos sockets, epoll numbers and the kernel's descriptors.
//
// Newtos sockets are looked at in user space. The kernel's are asked for when none of those is
// ready, when they are others than last time, and else every 64 calls or 1 ms. To block, the
// kernel's descriptors are waited for together with the thread's eventfd, in one ppoll.
#ifndef NT_PRELOAD_POLL_H
#define NT_PRELOAD_POLL_H

#include "libc_shim/preload/real.h"

#include <stdint.h>

// True if one of them is not the kernel's: only then are these for the caller.
bool nt_poll_concerns(const struct pollfd *fds, nfds_t count);
bool nt_select_concerns(int count, const fd_set *r, const fd_set *w, const fd_set *e);

// How many are ready, or -errno. `deadline_ns` of 0 does not wait.
int nt_poll(struct pollfd *fds, nfds_t count, uint64_t deadline_ns, const sigset_t *mask);
int nt_select(int count, fd_set *r, fd_set *w, fd_set *e, uint64_t deadline_ns,
              const sigset_t *mask);

#endif
