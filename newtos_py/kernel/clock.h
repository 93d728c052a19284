/* clock.h: time and waiting, as every server and the shim see them.
 *
 * Time is CLOCK_MONOTONIC in nanoseconds: one clock for all processes of a host, so a
 * deadline written by one can be compared by another. It goes on through a server's death;
 * it says nothing after a reboot, and neither does anything else in shared memory.
 * Engines never call this: they are handed `now` (architecture: engines are pure).
 *
 * Any process may call these; none of them makes a system call (the vDSO answers). */
#ifndef NT_KERNEL_CLOCK_H
#define NT_KERNEL_CLOCK_H

#ifndef NT_CDEF
#include <stdint.h>
#endif

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t nt_now_ns(void);

/* The processor's own counter, for measuring short stretches on one core: the time stamp
 * counter on x86-64, the virtual counter on AArch64. Ticks are not nanoseconds. */
uint64_t nt_cycles(void);

#ifndef NT_CDEF
/* Tells the processor that this is a spin loop: it saves power, frees the sibling thread
 * and avoids the memory-order misprediction when the awaited line arrives. */
static inline void nt_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}
#endif

#endif
