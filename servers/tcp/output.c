// output.c: what a connection sends, and when (RFC 9293 §3.8, RFC 5681).
//
// All is decided from the TCB: nothing but snd_nxt says where to go on, so a full channel leaves
// the work where it is, and a timeout sends again by moving snd_nxt back. Consecutive full segments
// go as one super-segment, for IP or the driver to cut.
#include "servers/tcp/congestion.h"
#include "servers/tcp/context.h"

static uint32_t flight(const struct nt_tcb *t) { return t->snd_nxt - t->snd_una; }

// A last segment shorter than MSS may go: Nagle in Minshall's form (held only while another short
// one is unacknowledged), and TCP_CORK.
static bool short_segment_may_go(const struct nt_tcb *t)
{
    if ((t->flags & NT_TCB_FIN_QUEUED) || nt_seq_lt(t->snd_nxt, t->snd_max))
        return true;
    bool held = (t->options & NT_OPTION_CORK) != 0 ||
                ((t->options & NT_OPTION_NODELAY) == 0 && nt_seq_lt(t->snd_una, t->snd_small));
    return !held || nt_tcb_sends_urgent(t); // tcp_nagle_test(): urgent data know neither
}

// cwnd, and RFC 3042's limited transmit on the first duplicate acknowledgements.
static uint32_t congestion_window(const struct nt_tcb *t)
{
    if ((t->flags & NT_TCB_RECOVERY) || t->dup_acks == 0)
        return t->cwnd;
    return t->cwnd + nt_min_u32(t->dup_acks, 2) * t->mss;
}

// A super-segment is cut into no more than so many (gso.h has room for 128).
enum { SEGMENTS_MAX = 120 };

static uint32_t largest_segment(const struct nt_tcb *t)
{
    // What a super-segment is cut into would all have one urgent pointer (gso.h).
    if (nt_tcb_sends_urgent(t))
        return t->mss;
    return nt_max_u32(nt_min_u32(t->gso_max / t->mss, SEGMENTS_MAX), 1) * t->mss;
}

// Payload of the next segment; 0: none may go now.
static uint32_t next_len(struct nt_tcb *t)
{
    uint32_t unsent = nt_tcb_unsent(t);
    uint32_t cwnd = congestion_window(t);
    uint32_t window = nt_min_u32(cwnd, t->snd_wnd);
    uint32_t room = window > flight(t) ? window - flight(t) : 0;
    uint32_t len = nt_min_u32(unsent, room);
    if (unsent > room && cwnd <= t->snd_wnd)
        t->flags |= NT_TCB_CWND_LIMITED;
    if (t->flags & NT_TCB_FORCE)
        return nt_min_u32(nt_max_u32(len, nt_min_u32(unsent, nt_max_u32(t->snd_wnd, 1))), t->mss);
    if (len == unsent) {
        if (len % t->mss != 0 && !short_segment_may_go(t))
            len -= len % t->mss;
    } else if (len >= t->mss) {
        len -= len % t->mss;
    } else if (cwnd <= t->snd_wnd || flight(t) != 0 || len < t->snd_wnd_max / 2) {
        len = 0; // silly-window avoidance, RFC 9293 §3.8.6.2.1
    }
    return len <= t->mss ? len : nt_min_u32(len, largest_segment(t));
}

static void sent(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t len, bool fin)
{
    t->snd_nxt += len + fin;
    t->flags &= ~(uint32_t)NT_TCB_FORCE;
    if (fin)
        t->flags |= NT_TCB_FIN_SENT;
    if (len % t->mss != 0)
        t->snd_small = t->snd_nxt;
    bool fresh = nt_seq_gt(t->snd_nxt, t->snd_max);
    if (fresh && (uint16_t)(tcp->now_ms - t->data_heard_ms) < NT_TCP_DELAYED_ACK_MS)
        t->flags &= ~(uint32_t)NT_TCB_ONE_WAY; // an answer, as tcp_event_data_sent() takes it
    if (fresh) {
        t->snd_max = t->snd_nxt;
        nt_tcp_rtt_start(tcp, t, t->snd_nxt);
    } else {
        t->flags &= ~(uint32_t)NT_TCB_RTT_TIMING;
        t->retransmits++;
        nt_tcp_count(tcp, NT_TCP_RETRANSMITS);
    }
    t->last_sent_ms = tcp->now_ms;
    if ((t->flags & NT_TCB_PERSIST) && t->snd_wnd != 0) {
        t->flags &= ~(uint32_t)NT_TCB_PERSIST;
        t->rtx_deadline_ms = 0;
    }
    // RFC 6298 §5.1; a probe is put off by new data (RFC 8985 §7.2).
    if (t->rtx_deadline_ms == 0 || (fresh && nt_tcp_probe_first(t)))
        nt_tcp_rto_restart(tcp, t);
}

// Data that nothing in flight will make go: the timer must (RFC 9293 §3.8.6.1, TCP_CORK).
static void arm_persist(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->snd_una != t->snd_max || nt_tcb_unsent(t) == 0 || t->rtx_deadline_ms != 0)
        return;
    bool window = t->snd_wnd < nt_min_u32(nt_tcb_unsent(t), t->mss);
    t->flags |= NT_TCB_PERSIST;
    t->rtx_deadline_ms = nt_ms_after(tcp->now_ms, window ? t->rto_ms : NT_TCP_CORK_MS);
    nt_tcp_timer_arm(tcp, t);
}

static void restart_after_idle(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->snd_una == t->snd_max && tcp->now_ms - t->last_sent_ms > t->rto_ms)
        nt_cc_idle(t);
}

bool nt_tcp_output(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool *more)
{
    if (!nt_tcb_can_send(t) || (nt_tcb_unsent(t) == 0 && !nt_tcb_fin_due(t)))
        return true;
    nt_tcb_touch(tcp, t);
    restart_after_idle(tcp, t);
    for (uint32_t i = 0; i < NT_TCP_QUANTUM; i++) {
        uint32_t len = next_len(t);
        bool fin = nt_tcb_fin_due(t) && t->snd_nxt + len == t->tx_end;
        if (len == 0 && !fin) {
            arm_persist(tcp, t);
            return true;
        }
        if (nt_producer_room(&tcp->to_ip, NT_TCP_CONTROL_ROOM) < NT_TCP_CONTROL_ROOM)
            return false;
        bool last = t->snd_nxt + len == t->tx_end;
        uint8_t flags =
            (uint8_t)(NT_TCP_ACK | (last && len != 0 ? NT_TCP_PSH : 0) | (fin ? NT_TCP_FIN : 0));
        if (!nt_tcp_emit_segment(tcp, t, t->snd_nxt, len, flags))
            return false;
        sent(tcp, t, len, fin);
    }
    *more = true;
    return true;
}

static bool output_syn(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    bool answer = t->state == NT_TCP_SYN_RCVD;
    uint8_t flags = answer ? NT_TCP_SYN | NT_TCP_ACK : NT_TCP_SYN;
    bool again = t->snd_max != t->iss;
    if (!nt_tcp_emit_segment(tcp, t, t->iss, 0, flags))
        return false;
    t->flags &= ~(uint32_t)NT_TCB_SYN_DUE;
    t->snd_nxt = t->snd_max = t->iss + 1;
    if (again) {
        t->flags &= ~(uint32_t)NT_TCB_RTT_TIMING;
        t->retransmits++;
        nt_tcp_count(tcp, NT_TCP_RETRANSMITS);
    } else {
        nt_tcp_rtt_start(tcp, t, t->snd_max);
    }
    nt_tcp_rto_restart(tcp, t);
    return true;
}

// The segment at snd_una once more, wherever snd_nxt stands (RFC 6582).
static bool output_lost(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t sent_data = nt_seq_lt(t->snd_max, t->tx_end) ? t->snd_max : t->tx_end;
    uint32_t left = nt_seq_lt(t->snd_una, sent_data) ? sent_data - t->snd_una : 0;
    uint32_t len = nt_min_u32(left, t->mss);
    bool fin = (t->flags & NT_TCB_FIN_SENT) && t->snd_una + len == t->tx_end;
    if (len == 0 && !fin) {
        t->flags &= ~(uint32_t)NT_TCB_RETRANSMIT;
        return true;
    }
    if (!nt_tcp_emit_segment(tcp, t, t->snd_una, len,
                             (uint8_t)(NT_TCP_ACK | (fin ? NT_TCP_FIN : 0))))
        return false;
    t->flags &= ~(uint32_t)(NT_TCB_RETRANSMIT | NT_TCB_RTT_TIMING);
    t->snd_nxt = nt_seq_max(t->snd_nxt, t->snd_una + len + fin);
    t->retransmits++;
    nt_tcp_count(tcp, NT_TCP_RETRANSMITS);
    if (t->rtx_deadline_ms == 0)
        nt_tcp_rto_restart(tcp, t);
    return true;
}

bool nt_tcp_output_control(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    bool handshake = t->state == NT_TCP_SYN_SENT || t->state == NT_TCP_SYN_RCVD;
    if (handshake && (t->flags & NT_TCB_SYN_DUE)) {
        nt_tcb_touch(tcp, t);
        return output_syn(tcp, t);
    }
    if ((t->flags & NT_TCB_RETRANSMIT) && nt_tcb_can_send(t)) {
        nt_tcb_touch(tcp, t);
        return output_lost(tcp, t);
    }
    return true;
}
