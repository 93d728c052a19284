// seq.h: sequence numbers are compared modulo 2^32 (RFC 9293 §3.4), and so are milliseconds.
//
// Deadlines are the low 32 bits of a monotonic millisecond count, good for 24 days ahead; 0 means
// "not armed", so an armed deadline that would be 0 is put off by one millisecond.
#ifndef NT_TCP_SEQ_H
#define NT_TCP_SEQ_H

#include "newtos_py/kernel/base.h"

#ifndef NT_CDEF
static inline bool nt_seq_lt(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }
static inline bool nt_seq_le(uint32_t a, uint32_t b) { return (int32_t)(a - b) <= 0; }
static inline bool nt_seq_gt(uint32_t a, uint32_t b) { return (int32_t)(a - b) > 0; }
static inline bool nt_seq_ge(uint32_t a, uint32_t b) { return (int32_t)(a - b) >= 0; }
static inline uint32_t nt_seq_max(uint32_t a, uint32_t b) { return nt_seq_gt(a, b) ? a : b; }

static inline uint32_t nt_ms_after(uint32_t now_ms, uint32_t delay_ms)
{
    uint32_t deadline = now_ms + delay_ms;
    return deadline != 0 ? deadline : 1;
}
static inline bool nt_ms_due(uint32_t deadline_ms, uint32_t now_ms)
{
    return deadline_ms != 0 && nt_seq_le(deadline_ms, now_ms);
}
#endif

#endif
