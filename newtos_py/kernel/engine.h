// engine.h: the contract between an engine and whoever runs it (a server's loop, or the simulator).
//
// An engine is pure: its inputs are channels, socket areas and the time handed in; it makes no
// system call, reads no clock, allocates nothing after init, takes no lock and has no globals. So
// the same object code runs in a server process and in the simulator.
//
// One step is at most `budget` inputs a source (16 by default) in one or more transactions; all its
// outputs are published and the bells to ring are marked when it returns.
// Drivers are engines whose step also does their device's I/O; they name the descriptors to wait
// on.
#ifndef NT_KERNEL_ENGINE_H
#define NT_KERNEL_ENGINE_H

#include "newtos_py/kernel/base.h"
#include "newtos_py/kernel/doorbell.h"
#include "newtos_py/kernel/status.h"

enum {
    NT_ENGINE_BUDGET = 16,
    NT_ENGINE_AUDIT_BYTES = 256,
};

#ifndef NT_CDEF
#define NT_NEVER UINT64_MAX
#endif

struct nt_engine {
    void *context;
    // Does up to `budget` inputs a source; returns how much it did (0: idle).
    uint32_t (*step)(void *context, uint64_t now_ns, uint32_t budget);
    // True if a step would find input now: the look between raising `sleeping` and blocking.
    bool (*has_work)(void *context);
    // When a step is next needed without input, ns of the same clock; NT_NEVER if not.
    uint64_t (*next_deadline)(void *context);
    // 0 if every invariant holds, else -1 and the first that failed in `why`.
    int (*audit)(void *context, char *why, uint64_t why_bytes);
    struct nt_bells *bells;
    struct nt_status *status;
    int device_fd; // -1: none; else waited on for reading when idle
};

#endif
