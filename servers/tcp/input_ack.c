// input_ack.c: the fifth step of segment arrival, the ACK field; loss recovery with it.
//
// NewReno (RFC 6582): the third duplicate acknowledgement sends the first unacknowledged segment
// again; until all that was outstanding then is acknowledged, each partial acknowledgement sends
// the next. With few segments outstanding fewer duplicates suffice (RFC 5827).
#include "servers/tcp/congestion.h"
#include "servers/tcp/context.h"

// SYN-RECEIVED: RFC 9293 §3.10.7.4, fifth. False: the segment is done with.
static bool complete_handshake(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                               const struct nt_segment *segment)
{
    uint32_t ack = segment->header.ack;
    if (!nt_seq_lt(t->snd_una, ack) || !nt_seq_le(ack, t->snd_max)) {
        nt_tcp_answer_reset(tcp, segment);
        return false;
    }
    if ((t->flags & NT_TCB_PASSIVE) && !nt_tcp_offer(tcp, t))
        return false; // comes again, with the peer's data or our SYN-ACK
    nt_txn_crash_point(&tcp->txn);
    nt_tcb_enter_established(tcp, t);
    t->snd_wnd = t->snd_wnd_max = (uint32_t)segment->header.window << t->snd_wscale;
    t->snd_wl1 = segment->seq;
    t->snd_wl2 = ack;
    if (t->flags & NT_TCB_FIN_QUEUED)
        nt_tcp_queue_fin(tcp, t);
    return true;
}

static void send_lost(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->flags |= NT_TCB_RETRANSMIT;
    nt_tcp_send_control(tcp, t);
}

void nt_tcp_recover_loss(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (!(t->flags & NT_TCB_RECOVERY)) {
        nt_tcp_undo_save(tcp, t);
        t->recover = t->snd_max;
        t->flags |= NT_TCB_RECOVERY;
        t->flags &= ~(uint32_t)NT_TCB_RTT_TIMING;
        nt_cc_enter_recovery(t, t->snd_max - t->snd_una);
    }
    send_lost(tcp, t);
}

static void grow_window(struct nt_tcb *t, uint32_t acked, uint32_t flight)
{
    // In slow start a half-used window may grow too: super-segments round it down (as Linux).
    bool limited =
        (t->flags & NT_TCB_CWND_LIMITED) || (t->cwnd < t->ssthresh && t->cwnd < 2 * flight);
    nt_cc_acked(t, acked, limited);
}

static void recovery_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t acked)
{
    if (nt_seq_ge(t->snd_una, t->recover)) {
        nt_cc_leave_recovery(t, t->snd_max - t->snd_una);
        t->flags &= ~(uint32_t)(NT_TCB_RECOVERY | NT_TCB_RETRANSMIT);
        t->dup_acks = 0;
        return;
    }
    nt_cc_partial(t, acked);
    send_lost(tcp, t);
}

static void new_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_tcp_header *header)
{
    uint32_t ack = header->ack;
    uint32_t acked = ack - t->snd_una, flight = t->snd_max - t->snd_una;
    if (t->snd_una == t->iss)
        acked--; // the SYN
    if ((t->flags & NT_TCB_FIN_SENT) && ack == t->tx_end + 1) {
        t->flags |= NT_TCB_FIN_ACKED;
        acked--;
    }
    nt_tcp_rtt_acked(tcp, t, ack);
    t->snd_una = ack;
    t->snd_nxt = nt_seq_max(t->snd_nxt, ack);
    t->snd_small = nt_seq_max(t->snd_small, ack); // stays within reach of comparison
    t->retries = 0;
    t->stuck_since_ms = 0;
    nt_txn_crash_point(&tcp->txn);
    (void)nt_tcp_undo(tcp, t, header);
    if (t->flags & NT_TCB_RECOVERY) {
        recovery_ack(tcp, t, acked);
    } else {
        t->dup_acks = 0;
        t->flags &= ~(uint32_t)NT_TCB_RETRANSMIT;
        grow_window(t, acked, flight);
    }
    t->flags &= ~(uint32_t)(NT_TCB_PERSIST | NT_TCB_PROBED);
    t->rtx_deadline_ms = 0;
    if (t->snd_una != t->snd_max)
        nt_tcp_rto_restart(tcp, t); // RFC 6298 §5.3
}

// RFC 5827 §3.1: with fewer than four segments outstanding and nothing more to send.
static uint32_t duplicate_threshold(const struct nt_tcb *t)
{
    uint32_t segments = (t->snd_max - t->snd_una + t->mss - 1) / t->mss;
    if (segments >= 4 || nt_tcb_unsent(t) != 0)
        return 3;
    return nt_max_u32(segments - 1, 1);
}

static void duplicate_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->dup_acks != UINT16_MAX)
        t->dup_acks++;
    if (t->flags & NT_TCB_RECOVERY) {
        nt_cc_duplicate(t);
    } else if (t->dup_acks >= duplicate_threshold(t) && nt_seq_gt(t->snd_una, t->recover)) {
        nt_tcp_count(tcp, NT_TCP_FAST_RETRANSMITS);
        nt_tcp_recover_loss(tcp, t);
    }
}

// RFC 5681 §2: no data, no FIN, the same window, and something outstanding; and not an old one.
static bool is_duplicate(const struct nt_tcb *t, const struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    return nt_seq_ge(segment->seq, t->rcv_nxt) && header->ack == t->snd_una &&
           t->snd_una != t->snd_max && segment->len == 0 &&
           !(header->flags & (NT_TCP_SYN | NT_TCP_FIN)) &&
           ((uint32_t)header->window << t->snd_wscale) == t->snd_wnd;
}

static void update_send_window(struct nt_tcb *t, const struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    bool newer = nt_seq_lt(t->snd_wl1, segment->seq) ||
                 (t->snd_wl1 == segment->seq && nt_seq_le(t->snd_wl2, header->ack));
    if (!newer)
        return;
    t->snd_wnd = (uint32_t)header->window << t->snd_wscale;
    t->snd_wnd_max = nt_max_u32(t->snd_wnd_max, t->snd_wnd);
    t->snd_wl1 = segment->seq;
    t->snd_wl2 = header->ack;
    if (t->snd_una == t->snd_max || (t->flags & NT_TCB_PERSIST)) {
        t->retries = 0; // it answers: a closed window is no death
        t->stuck_since_ms = 0;
    }
    if ((t->flags & NT_TCB_PERSIST) && t->snd_wnd != 0) {
        t->flags &= ~(uint32_t)NT_TCB_PERSIST;
        t->rtx_deadline_ms = 0;
        t->snd_nxt = t->snd_una; // a probe's byte was refused, or will be acknowledged
    }
}

// What our FIN's acknowledgement leads to.
static enum nt_tcp_next fin_acked(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->state == NT_TCP_FIN_WAIT_1) {
        t->state = NT_TCP_FIN_WAIT_2;
        if (t->flags & NT_TCB_PROGRAM_CLOSED) {
            t->idle_deadline_ms = nt_ms_after(tcp->now_ms, NT_TCP_FIN_WAIT_2_MS);
            nt_tcp_timer_arm(tcp, t);
        }
        return NT_TCP_CONTINUE;
    }
    if (t->state == NT_TCP_CLOSING) {
        nt_tcb_enter_time_wait(tcp, t);
        return NT_TCP_DONE;
    }
    if (t->state == NT_TCP_LAST_ACK) {
        nt_tcb_enter_closed(tcp, t);
        return NT_TCP_DONE;
    }
    return NT_TCP_CONTINUE;
}

enum nt_tcp_next nt_tcp_input_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                  struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    if (!(header->flags & NT_TCP_ACK))
        return NT_TCP_DONE;
    if (t->state == NT_TCP_SYN_RCVD && !complete_handshake(tcp, t, segment))
        return NT_TCP_DONE;
    // RFC 5961 §5.2: an ACK of what was never sent, or far too old, is challenged.
    if (nt_seq_gt(header->ack, t->snd_max) || nt_seq_lt(header->ack, t->snd_una - t->snd_wnd_max)) {
        nt_tcp_challenge(tcp, t);
        return NT_TCP_DONE;
    }
    if (nt_seq_gt(header->ack, t->snd_una))
        new_ack(tcp, t, header);
    else if (is_duplicate(t, segment))
        duplicate_ack(tcp, t);
    update_send_window(t, segment);
    if ((t->flags & NT_TCB_PROGRAM_CLOSED) && nt_seq_ge(t->snd_una, t->tx_end))
        nt_tcb_release_slot(tcp, t);
    if (t->flags & NT_TCB_FIN_ACKED)
        return fin_acked(tcp, t);
    if (nt_tcb_unsent(t) != 0 || nt_tcb_fin_due(t))
        nt_tcp_send_data(tcp, t);
    return NT_TCP_CONTINUE;
}
