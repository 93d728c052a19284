// busy.h: whether a lane's accept queue says that its core is busy (Affinity-Accept §3.3.1).
//
// Busy at once when the queue is longer than 75 % of what it may be; not busy any more only when
// its exponentially weighted moving average, taken whenever a connection is added, has fallen below
// 10 %: programs accept in bursts, so the length alone swings. alpha is 1 / (2 * the longest).
// The average is a hint and private: it begins at 0 again after a restart.
#ifndef NT_TCP_BUSY_H
#define NT_TCP_BUSY_H

#include "newtos_py/kernel/base.h"

enum {
    NT_BUSY_HIGH_PERCENT = 75,
    NT_BUSY_LOW_PERCENT = 10,
    NT_BUSY_FRACTION_BITS = 16, // of the average
};

struct nt_busy {
    uint32_t average; // in 1/65536 connections: queues have 4,096 at most
    bool is_busy;
};

// A connection was added, and `length` wait now of at most `most`.
static inline bool nt_busy_add(struct nt_busy *busy, uint32_t length, uint32_t most)
{
    most = nt_max_u32(most, 1);
    int64_t sample = (int64_t)length << NT_BUSY_FRACTION_BITS;
    int64_t step = (sample - (int64_t)busy->average) / (2 * (int64_t)most);
    busy->average = (uint32_t)((int64_t)busy->average + step);
    if (length * 100 > most * NT_BUSY_HIGH_PERCENT)
        busy->is_busy = true;
    else if ((uint64_t)busy->average * 100 < (uint64_t)most * NT_BUSY_LOW_PERCENT
                                                 << NT_BUSY_FRACTION_BITS)
        busy->is_busy = false;
    return busy->is_busy;
}

#endif
