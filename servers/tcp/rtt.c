// rtt.c: the retransmission timer's length (RFC 6298).
//
// One segment is timed at a time, in microseconds; a segment that was sent again is never timed
// (Karn).
#include "servers/tcp/context.h"

void nt_tcp_rtt_start(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t seq_end)
{
    if (t->flags & NT_TCB_RTT_TIMING)
        return;
    t->flags |= NT_TCB_RTT_TIMING;
    t->rtt_seq = seq_end;
    t->rtt_start_us = tcp->now_us;
}

// RFC 6298 §2.2 and §2.3, alpha 1/8 and beta 1/4.
static void sample(struct nt_tcb *t, uint32_t rtt_us)
{
    if (t->srtt_us == 0) {
        t->srtt_us = rtt_us;
        t->rttvar_us = rtt_us / 2;
    } else {
        uint32_t error = t->srtt_us > rtt_us ? t->srtt_us - rtt_us : rtt_us - t->srtt_us;
        t->rttvar_us = t->rttvar_us - t->rttvar_us / 4 + error / 4;
        t->srtt_us = t->srtt_us - t->srtt_us / 8 + rtt_us / 8;
    }
    t->srtt_us = nt_max_u32(t->srtt_us, 1);
}

static uint32_t rto_of_samples(const struct nt_tcb *t)
{
    if (t->srtt_us == 0)
        return NT_TCP_RTO_FIRST_MS;
    uint64_t rto_us = (uint64_t)t->srtt_us + nt_max_u32(4 * t->rttvar_us, 1000);
    uint64_t rto_ms = (rto_us + 999) / 1000;
    return (uint32_t)nt_min_u64(rto_ms < NT_TCP_RTO_MIN_MS ? NT_TCP_RTO_MIN_MS : rto_ms,
                                NT_TCP_RTO_MAX_MS);
}

void nt_tcp_rtt_acked(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t ack)
{
    if ((t->flags & NT_TCB_RTT_TIMING) && nt_seq_ge(ack, t->rtt_seq)) {
        t->flags &= ~(uint32_t)NT_TCB_RTT_TIMING;
        // A minute at most: what a suspended machine measures says nothing.
        sample(t, nt_min_u32(tcp->now_us - t->rtt_start_us, 60000000));
    }
    t->rto_ms = rto_of_samples(t); // §5.7: new data acknowledged end the backing off
}

// A probe comes well before the timeout (RFC 8985 §7.2), where more than one segment is
// outstanding: of one, the acknowledgement may be delayed for longer.
bool nt_tcp_probe_first(const struct nt_tcb *t)
{
    return t->state != NT_TCP_SYN_SENT && t->state != NT_TCP_SYN_RCVD && t->srtt_us != 0 &&
           !(t->flags & (NT_TCB_PROBED | NT_TCB_PERSIST)) && t->retries == 0 &&
           t->snd_max - t->snd_una > t->mss;
}

void nt_tcp_rto_restart(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t wait_ms = t->rto_ms;
    if (nt_tcp_probe_first(t))
        wait_ms = nt_min_u32(wait_ms, nt_max_u32(2 * t->srtt_us / 1000, NT_TCP_PROBE_MIN_MS));
    // One more millisecond, for now_ms has been rounded down.
    t->rtx_deadline_ms = nt_ms_after(tcp->now_ms, wait_ms + 1);
    nt_tcp_timer_arm(tcp, t);
}

void nt_tcp_rto_backoff(struct nt_tcb *t)
{
    t->rto_ms = nt_min_u32(t->rto_ms * 2, NT_TCP_RTO_MAX_MS); // §5.5
}
