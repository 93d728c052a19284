// trace.h: what happened in a simulation, as text: one line an event, virtual time first.
//
// Nothing that differs between two runs of one seed may be written: no address, no real time. Off
// by default; then a call costs one test.
#ifndef NT_WORLD_TRACE_H
#define NT_WORLD_TRACE_H

#include "newtos_py/kernel/base.h"

enum nt_world_trace_level {
    NT_WORLD_TRACE_OFF = 0,
    NT_WORLD_TRACE_EVENTS = 1, // frames on wires, what happened to them, crashes, what programs say
    NT_WORLD_TRACE_STEPS = 2,  // ... and every step of every engine
};

struct nt_world_trace {
    uint32_t level;
    uint64_t start_ns;
    char *text;
    uint64_t bytes;
    uint64_t capacity;
};

void nt_world_trace_free(struct nt_world_trace *trace);

#ifndef NT_CDEF
void nt_world_trace_line(struct nt_world_trace *trace, uint64_t now_ns, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define NT_WORLD_TRACE(trace, wanted, now_ns, ...)                                              \
    ((trace)->level >= (uint32_t)(wanted) ? nt_world_trace_line((trace), (now_ns), __VA_ARGS__) \
                                          : (void)0)
#endif

#endif
