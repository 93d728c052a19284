// process.h: what the shim is in this process: nothing, or attached to a host.
//
// Without NEWTOS_CONTROL the shim does nothing at all: nt_fd_limit stays 0, every interposed symbol
// is one comparison and a jump. With it, the constructor makes the descriptor table and the control
// connection; socket areas are attached when the first AF_INET or AF_INET6 socket needs one.
#ifndef NT_PRELOAD_PROCESS_H
#define NT_PRELOAD_PROCESS_H

#include "libc_shim/preload/file.h"
#include "libc_shim/preload/thread.h"

extern struct nt_sock_context nt_context;

// What the constructor does, for calls that come before it; cheap when it has been done.
void nt_process_start(void);

// Attaches an area, with each of its servers, of that protocol (IPPROTO_TCP, IPPROTO_UDP) unless
// there is one: 0, -ENETDOWN if the host is gone, or the error that the host named.
int nt_process_attach(uint32_t protocol);
// Attaches one more where the socket, just made, has one of the last slots of the newest.
void nt_process_grow(const struct nt_sock *sock);
static inline void nt_process_look_at_room(const struct nt_sock *sock)
{
    if (NT_UNLIKELY(nt_sock_wants_area(sock)))
        nt_process_grow(sock);
}
// In a child of fork(): whoever was attaching is not there.
void nt_process_child(void);

// Maps shared memory that a child of fork() doesn't inherit: it has no business there, and the
// parent's fork is quick. A core dump leaves it out: writing one would touch, and so allocate,
// every page of an area, tens of gigabytes. NULL: it failed.
void *nt_process_map(int fd, uint64_t bytes, bool writable);

// Rings the servers that the calling thread left something for, if they sleep.
void nt_process_ring(struct nt_thread *self);
static inline void nt_process_flush(struct nt_thread *self)
{
    if (self->wake.areas != 0)
        nt_process_ring(self);
}

#endif
