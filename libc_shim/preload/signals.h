// signals.h: signal handlers beside the shim's own work.
//
// A handler may call anything: write to a socket, close it, block on another. It must not find a
// lock of the shim held by the very thread it interrupted, and a signal that comes just before a
// call blocks must end that call, as the kernel's calls end. So sigaction() puts our own function
// in front of the program's handler:
//
//   inside a call of the shim (`critical`): the signal is kept, and raised again when the call
//     leaves the shim, or just before it blocks;
//   while a call may be about to block (`depth`): the thread's own doorbell is rung, so that it
//     does not sleep; the call then says EINTR, or goes on where the handler has SA_RESTART (and
//     the call is one that restarts).
//
// Faults (SIGSEGV and the like, raised by the thread's own instruction) are never kept.
#ifndef NT_PRELOAD_SIGNALS_H
#define NT_PRELOAD_SIGNALS_H

#include "libc_shim/preload/fork.h"
#include "libc_shim/preload/real.h"
#include "libc_shim/preload/thread.h"

// As sigaction(2): 0, or -1 and errno.
int nt_sigaction(int number, const struct sigaction *action, struct sigaction *old);

// Raises what was kept.
void nt_signals_raise(struct nt_thread *self);

// Around every call of the shim.
static inline struct nt_thread *nt_enter(void)
{
    if (NT_UNLIKELY(nt_fork_page.is_ours == 0))
        nt_fork_unseen();
    struct nt_thread *self = nt_thread_self();
    self->critical++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return self;
}
static inline void nt_leave(struct nt_thread *self)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (NT_UNLIKELY(--self->critical == 0 && self->kept_signals != 0))
        nt_signals_raise(self);
}

// Around a system call in which a call of the shim blocks: handlers may run in it, as nothing is
// locked. What nt_signals_let_in() returns is for nt_signals_keep_out().
static inline uint32_t nt_signals_let_in(struct nt_thread *self)
{
    uint32_t critical = self->critical;
    self->critical = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (NT_UNLIKELY(self->kept_signals != 0))
        nt_signals_raise(self);
    return critical;
}
static inline void nt_signals_keep_out(struct nt_thread *self, uint32_t critical)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    self->critical = critical;
}

#endif
