// newreno.c: slow start, congestion avoidance and NewReno's window (RFC 5681, RFC 6582), with
// the initial window of RFC 6928.
#include "servers/tcp/congestion.h"

enum { CWND_MAX = 1 << 30 };

// RFC 6928 §2.
static uint32_t initial_window(uint32_t mss)
{
    return nt_min_u32(10 * mss, nt_max_u32(2 * mss, 14600));
}

// RFC 5681 equation 4.
static uint32_t half(const struct nt_tcb *t, uint32_t flight)
{
    return nt_max_u32(flight / 2, 2u * t->mss);
}

void nt_cc_init(struct nt_tcb *t)
{
    t->cwnd = initial_window(t->mss);
    t->ssthresh = CWND_MAX;
}

void nt_cc_acked(struct nt_tcb *t, uint32_t acked, bool limited)
{
    if (!limited || t->cwnd >= CWND_MAX)
        return; // RFC 9293 does not ask for it, RFC 7661 does: an unused window must not grow
    if (t->cwnd < t->ssthresh) {
        // A super-segment's acknowledgement counts by its bytes (RFC 3465), so that one large ACK
        // opens the window as the many it stands for would have.
        t->cwnd += nt_min_u32(acked, t->ssthresh - t->cwnd);
        return;
    }
    uint64_t grown = (uint64_t)acked * t->mss / t->cwnd;
    t->cwnd += nt_max_u32((uint32_t)grown, 1);
}

void nt_cc_enter_recovery(struct nt_tcb *t, uint32_t flight)
{
    t->ssthresh = half(t, flight);
    t->cwnd = t->ssthresh + 3u * t->mss; // RFC 6582 §3.2 step 2: three segments have left
}

void nt_cc_duplicate(struct nt_tcb *t)
{
    if (t->cwnd < CWND_MAX)
        t->cwnd += t->mss; // step 3: another segment has left
}

void nt_cc_partial(struct nt_tcb *t, uint32_t acked)
{
    // Step 5: deflate by what was acknowledged; if it was a whole segment, add one back.
    t->cwnd = t->cwnd > acked ? t->cwnd - acked : 0;
    if (acked >= t->mss)
        t->cwnd += t->mss;
    t->cwnd = nt_max_u32(t->cwnd, t->mss);
}

void nt_cc_leave_recovery(struct nt_tcb *t, uint32_t flight)
{
    // Step 5, option 1: no burst into an empty pipe.
    t->cwnd = nt_min_u32(t->ssthresh, nt_max_u32(flight, t->mss) + t->mss);
}

void nt_cc_timeout(struct nt_tcb *t, uint32_t flight, bool first)
{
    if (first) // RFC 5681 §3.1: held when the same segment times out again
        t->ssthresh = half(t, flight);
    t->cwnd = t->mss;
}

void nt_cc_idle(struct nt_tcb *t)
{
    t->cwnd = nt_min_u32(t->cwnd, initial_window(t->mss)); // RFC 5681 §4.1
}
