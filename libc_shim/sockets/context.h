// context.h: what a program is attached to: its socket areas, and whom to ring.
//
// One context a program (a simulator has many). It belongs to the caller, who allocates it zeroed
// (it is about 70 kB an area) and never moves it; nothing here allocates, makes a system call,
// reads a clock or has a global. Every call returns >= 0, or -errno; -EAGAIN when it would block:
// the caller blocks, on an event queue (queue.h).
//
// Ringing. A call that leaves something for a server publishes it and notes the area in `wake`, an
// object of the calling thread (thread-local, or on its stack). nt_sock_flush() then says which
// eventfds to write: fence, then look at each server's sleeping flag (doorbell.h). The caller
// flushes before it blocks, and else when it likes: after each call, or after a batch.
#ifndef NT_SHIM_CONTEXT_H
#define NT_SHIM_CONTEXT_H

#include "libc_shim/sockets/spin.h"
#include "newtos_py/kernel/area.h"

struct nt_sock;

enum {
    NT_SOCK_AREAS_MAX = 32, // those of all TCP lanes and UDP's: bits of nt_sock_wake.areas
    NT_SOCK_LANES_MAX = 16,
};

// An area is one of several that the program has with the server of a protocol and lane: `nth` of
// them, counted from 0. The program attaches the next one when the newest is nearly full
// (nt_sock_wants_area()), so that no server ever has to refuse a connection for want of a slot.
struct nt_sock_area {
    struct nt_area view;
    const uint32_t *sleeping; // the server's flag, on its status page
    int doorbell;             // the server's eventfd
    uint32_t protocol;        // 6 or 17
    uint32_t index;           // in the context
    uint32_t nth;
    uint32_t is_newest; // of its protocol and lane
    struct nt_sock_context *context;
    struct nt_spin grants; // guards program->grant_head
    struct nt_sock *by_slot[8192];
};

struct nt_sock_context {
    uint32_t area_count;
    uint32_t lanes;        // servers of TCP that areas are attached to: 0 to lanes - 1, at least 1
    uint32_t next_lane;    // socket() takes them in turn
    uint32_t roomy[2][16]; // TCP, UDP; by lane: a hint which area still had a slot to take
    // Called by a thread that waits for a lock for long; NULL: keep spinning. The shim puts
    // sched_yield here.
    void (*yield)(void);
    // CLOCK_REALTIME in ns, for SO_TIMESTAMP; NULL: there is none.
    uint64_t (*realtime_ns)(void);
    // The core that the caller runs on, for accept(); NULL: it is local to no lane.
    uint32_t (*core)(void);
    uint32_t asleep[256]; // by event queue: somebody sleeps on it; what a new area's flags start as
    struct nt_sock_area area[32]; // NT_SOCK_AREAS_MAX
};

// Areas of which a server was left something to do since the last flush.
struct nt_sock_wake {
    uint32_t areas; // bit = index in the context
};

void nt_sock_context_init(struct nt_sock_context *context, void (*yield)(void));

// Adds an area that was opened with nt_area_open(), of the lane that it names. `sleeping` points to
// the server's flag (struct nt_status). Returns the area's index, or -ENOSPC. Not to be called by
// two threads at once; others may use the context meanwhile.
int nt_sock_attach(struct nt_sock_context *context, const struct nt_area *view, uint32_t protocol,
                   const uint32_t *sleeping, int doorbell);

// How many areas of a protocol and lane there are: the `nth` of the next one.
uint32_t nt_sock_count_areas(const struct nt_sock_context *context, uint32_t protocol,
                             uint32_t lane);

// Writes into `fds` (room for NT_SOCK_AREAS_MAX) the eventfds that must be written now, clears
// `wake`, and returns how many there are; usually 0, because a busy server doesn't sleep.
uint32_t nt_sock_flush(struct nt_sock_context *context, struct nt_sock_wake *wake, int *fds);

// In a child of fork(): areas aren't inherited, so all are forgotten and all locks are free. Each
// socket object that the child keeps is passed to nt_sock_child().
void nt_sock_context_child(struct nt_sock_context *context);

#endif
