// thread.h: what the shim keeps for each thread: whom it has to ring, its counts, its ladder.
//
// The object is found by thread-local storage of the initial-exec model: one load, and never a
// malloc, because the shim is there from the program's start. Objects come from a slab, are linked
// for ever and reused by later threads; counts are added up over all of them. Only its own thread
// writes one.
//
// What a thread has in hand while it blocks it lets go of when it is cancelled, or jumps away
// (struct nt_sleep in blocking.h).
#ifndef NT_PRELOAD_THREAD_H
#define NT_PRELOAD_THREAD_H

#include "libc_shim/sockets/context.h"
#include "newtos_py/kernel/loop.h"

#include <signal.h>

struct nt_event_queue;
struct nt_watch;

enum nt_count {
    NT_COUNT_USER,         // socket calls answered in user space
    NT_COUNT_SERVER,       // socket calls that asked the syscall server
    NT_COUNT_KERNEL,       // socket calls that made a system call (placeholder, kernel descriptors)
    NT_COUNT_BLOCK,        // times that a call blocked in the kernel
    NT_COUNT_RING,         // doorbells rung
    NT_COUNT_YIELD,        // sched_yield while idle
    NT_COUNT_ACCEPT,       // connections accepted
    NT_COUNT_CONNECT,      // connections asked for
    NT_COUNT_ACCEPT_EMPTY, // accept calls that found none and would not wait
    NT_COUNT_READ,         // receiving calls
    NT_COUNT_READ_EMPTY,   // of these, those that found nothing and would not wait
    NT_COUNT_WAIT,         // calls of select, poll and epoll_wait
    NT_COUNTS,
};

enum {
    NT_SIGNALS_KEPT = 16,
};

struct nt_thread {
    struct nt_sock_wake wake;
    uint32_t fruitless;   // EAGAINs in a row
    uint32_t kernel_skip; // calls since kernel descriptors were last looked at
    uint32_t in_use;      // guarded by the registry's lock
    uint64_t kernel_looked_ns;
    uint64_t kernel_sum; // of what poll() then looked at
    struct nt_idle idle;
    uint64_t count[NT_COUNTS];
    struct nt_event_queue *queue; // to block on; NULL until it first blocks
    struct nt_event_queue *bell;  // of the queue it is about to sleep on (an epoll instance's, too)
    struct nt_watch *watches;     // that are set while it blocks
    uint32_t depth;               // of blocking calls: a signal handler may make one in another
    uint32_t critical;            // of calls of the shim (signals.h)
    uint32_t signals;             // handlers that ran while a call was about to block, or did
    uint32_t interrupts;          // those without SA_RESTART
    uint32_t signalled;           // those of this sleep, as counted in the bell's queue
    uint32_t kept_signals;
    siginfo_t kept[NT_SIGNALS_KEPT];
    struct nt_thread *next; // in the registry
} NT_ALIGNED(64);

extern __thread struct nt_thread *nt_thread_object __attribute__((tls_model("initial-exec")));

struct nt_thread *nt_thread_register(void);

static inline struct nt_thread *nt_thread_self(void)
{
    struct nt_thread *self = nt_thread_object;
    return NT_LIKELY(self != NULL) ? self : nt_thread_register();
}

// The limits of the ladder (architecture §6); the same for all threads.
extern struct nt_loop_tunables nt_idle_tunables;

// How many fork()s lie between this process and the program's first.
extern uint32_t nt_thread_forks;

// Adds up a count over all threads there were.
uint64_t nt_thread_total(enum nt_count what);

// Around fork(): the list of threads is whole. In the child only the calling thread is left.
void nt_thread_before_fork(void);
void nt_thread_after_fork(void);
void nt_thread_child(void);

#endif
