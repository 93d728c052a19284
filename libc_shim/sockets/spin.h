// spin.h: the lock of a socket (or of a queue, or of a grant ring) in a program's private memory.
//
// Held for a copy at most, never across a system call, so that a well structured program finds it
// free (NewtOS §5.4.2). A waiter whose holder lost the processor calls the context's `yield` after
// a while. A child of fork() resets the locks that its parent's other threads held: nobody else
// runs in it.
#ifndef NT_SHIM_SPIN_H
#define NT_SHIM_SPIN_H

#include "newtos_py/kernel/base.h"

struct nt_spin {
    uint32_t held;
};

enum {
    NT_SPIN_PATIENCE = 128, // rounds of about 40 cycles: longer than any copy but a large one
};

#ifndef NT_CDEF
#include "newtos_py/kernel/clock.h"

static inline bool nt_spin_try(struct nt_spin *spin)
{
    return nt_load_relaxed(&spin->held) == 0 &&
           __atomic_exchange_n(&spin->held, 1u, __ATOMIC_ACQUIRE) == 0;
}

// `yield` may be NULL (a simulator with one thread).
static inline void nt_spin_lock(struct nt_spin *spin, void (*yield)(void))
{
    uint32_t rounds = 0;
    while (!nt_spin_try(spin)) {
        nt_cpu_relax();
        if (++rounds >= NT_SPIN_PATIENCE && yield != NULL) {
            rounds = 0;
            yield();
        }
    }
}

static inline void nt_spin_unlock(struct nt_spin *spin) { nt_store_release(&spin->held, 0u); }
static inline void nt_spin_reset(struct nt_spin *spin) { nt_store_relaxed(&spin->held, 0u); }
#endif

#endif
