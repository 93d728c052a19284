// loop.h: a server's hot loop and the idle ladder (architecture §6). Makes the system calls that
// engines may not.
//
// 1. poll while there is work; ring marked bells after each step;
// 2. idle on a dedicated core: keep polling for spin_ns (0 on a shared core), pausing;
// 3. idle on a shared core: at most `yields` sched_yield, adapted: a yield that comes back at once
//    (nobody was there to run) ends them;
// 4. raise `sleeping`, fence, look again, block in ppoll on the doorbell, the devices, the control
//    descriptor and the next deadline; drain the doorbell; lower `sleeping`.
//
// nt_loop_run returns to Python when the control descriptor is readable (looked at when idle, and
// every control_period_ns under load), or when `stop` is set (by a signal handler).
//
// Fused engines share the process's doorbell; each may have a status page of its own, and the loop
// raises, lowers and counts on all of them.
#ifndef NT_KERNEL_LOOP_H
#define NT_KERNEL_LOOP_H

#include "newtos_py/kernel/engine.h"

enum nt_loop_reason {
    NT_LOOP_CONTROL = 1,
    NT_LOOP_STOP = 2,
};

enum {
    NT_LOOP_ENGINES = 8,
};

struct nt_loop_tunables {
    uint32_t budget; // inputs a source and step
    uint32_t yields; // at most, before sleeping
    uint64_t spin_ns;
    uint64_t control_period_ns;
};

struct nt_loop {
    struct nt_engine *engine[8]; // one, or several fused into a process
    uint32_t engine_count;
    int doorbell_fd;          // this process's eventfd
    int control_fd;           // to the reincarnation server
    struct nt_status *status; // whose sleeping flag and heartbeat this loop keeps
    struct nt_loop_tunables tunables;
    volatile int stop;
};

// The shim uses the same ladder with its own "is there something" function and a deadline.
struct nt_idle {
    uint32_t yields; // allowed now, adapted between 0 and the tunable
    uint32_t used;
    uint64_t lost_ns; // when a yield last gave the core to somebody busy
};

// Runs until there is a reason (enum nt_loop_reason) to return. `budget` of the tunables is not 0,
// doorbell_fd is a non-blocking eventfd, control_fd may be -1. Called again, it goes on.
int nt_loop_run(struct nt_loop *loop);
// Makes a signal end this loop; one loop a process. NULL: the signal's default action again.
// 0, or a negative errno.
int nt_loop_stop_on_signal(struct nt_loop *loop, int signal_number);
// One rung: true if the caller should poll again, false if it should raise its flag and sleep.
bool nt_idle_rung(struct nt_idle *idle, const struct nt_loop_tunables *tunables,
                  uint64_t idle_since_ns);

#endif
