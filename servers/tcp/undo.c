// undo.c: taking back what a loss changed when it was none: the Eifel algorithm (RFC 3522, RFC
// 4015).
//
// A peer whose core was busy for a while looks like one that lost something, and so does a packet
// that was overtaken. The acknowledgement tells: it echoes the timestamp of what it answers, and an
// echo older than the retransmission answers the original. Then the congestion window and ssthresh
// are as they were, and nothing else is sent again. It takes timestamps, and a millisecond between
// the two.
#include "servers/tcp/context.h"

void nt_tcp_undo_save(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (!(t->flags & NT_TCB_TIMESTAMPS) || (t->flags & NT_TCB_UNDO))
        return; // what a first, unanswered loss found is what counts
    nt_tcb_touch_cold(tcp, t);
    t->flags |= NT_TCB_UNDO;
    t->undo_cwnd = t->cwnd;
    t->undo_ssthresh = t->ssthresh;
    t->undo_timestamp = nt_tcp_timestamp(tcp, t);
}

bool nt_tcp_undo(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_tcp_header *header)
{
    if (!(t->flags & NT_TCB_UNDO))
        return false;
    t->flags &= ~(uint32_t)NT_TCB_UNDO;
    if (!(header->options & NT_TCP_OPTION_TIMESTAMPS) ||
        !nt_seq_lt(header->ts_echo, t->undo_timestamp))
        return false;
    nt_tcp_count(tcp, NT_TCP_SPURIOUS_LOSSES);
    t->cwnd = nt_max_u32(t->cwnd, t->undo_cwnd);
    t->ssthresh = nt_max_u32(t->ssthresh, t->undo_ssthresh);
    t->flags &= ~(uint32_t)(NT_TCB_RECOVERY | NT_TCB_RETRANSMIT | NT_TCB_FORCE);
    t->dup_acks = 0;
    t->snd_nxt = t->snd_max;
    return true;
}
