// base.h: the few words every C file of the project uses.
//
// Atomics are the compiler's builtins on plain fixed-width integers, so that a structure in shared
// memory has the same layout for C, for cffi and for a debugger. A store that another process waits
// for is a release, the load that sees it an acquire; nothing else in the tree orders memory.
//
// nt_assert stays on in release builds and is for our own broken invariants only: the server dies
// and is restarted. What another process can write is input: it is checked, never asserted on.
#ifndef NT_KERNEL_BASE_H
#define NT_KERNEL_BASE_H

#ifndef NT_CDEF
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NT_LIKELY(x)   __builtin_expect(!!(x), 1)
#define NT_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NT_ALIGNED(n)  __attribute__((aligned(n)))

#define nt_load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define nt_load_relaxed(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define nt_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define nt_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
// Asks for a line ahead of its use. Any address will do: none faults.
#define nt_prefetch(p)       __builtin_prefetch((p), 0)
#define nt_prefetch_write(p) __builtin_prefetch((p), 1)
// TSan does not model fences, and gcc says so. Ours order a store before a load (the doorbell), or
// data that a use count or claim word validates afterwards; none is what publishes data.
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif
#define nt_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
// Orders stores as this process makes them: enough where only our own death must be survived.
#define nt_compiler_barrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)

// Prints "newtos: file:line: what" to standard error without allocating, then aborts.
_Noreturn void nt_panic(const char *file, int line, const char *what);
#define nt_assert(x) ((void)(NT_LIKELY(x) || (nt_panic(__FILE__, __LINE__, #x), 0)))

static inline uint32_t nt_min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline uint32_t nt_max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }
static inline uint64_t nt_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
#endif

enum {
    NT_CACHE_LINE = 64,
    NT_PAGE = 4096,
};

#endif
