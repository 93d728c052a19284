/* sched.h: the scheduler slice of servers and programs.
 *
 * Linux (EEVDF, since 6.12) lets a fair task ask for a slice of its own, without privilege:
 * 0.1 to 100 ms. Short slices make a wake beside a busy program quick, 17-29 us against
 * 1.5 ms measured (architecture, §6), and leave the shares of the core as they were. Children
 * inherit the slice, and exec keeps it. Older kernels accept the call and ignore the slice.
 *
 * Any process may call this, for itself or for another of the same user. */
#ifndef NT_KERNEL_SCHED_H
#define NT_KERNEL_SCHED_H

#ifndef NT_CDEF
#include <stdint.h>
#include <sys/types.h>
#endif

/* Gives the process `pid` (0: the caller) slices of `slice_ns`. Leaves alone what is not
 * scheduled fairly (SCHED_FIFO and the like), and keeps the nice value. Answers 0, or the
 * errno of the system call that failed, negated: a caller may go on, only less quickly. */
int nt_sched_set_slice(int pid, uint64_t slice_ns);

/* The slice of `pid` (0: the caller) in nanoseconds; 0 where the kernel does not say. */
uint64_t nt_sched_slice(int pid);

#endif
