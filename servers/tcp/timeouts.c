// timeouts.c: what happens when a connection's deadlines come.
//
// One deadline serves retransmission, window probes, corks and handshakes, for they exclude each
// other; one the delayed acknowledgement; one keepalive and the end of an orphan's FIN-WAIT-2.
#include <errno.h>

#include "servers/tcp/congestion.h"
#include "servers/tcp/context.h"

// The user timeout (RFC 5482, TCP_USER_TIMEOUT), or so many retries.
static bool given_up(struct nt_tcp_engine *tcp, const struct nt_tcb *t, uint32_t retries)
{
    if (t->user_timeout_ms != 0 && !(t->flags & NT_TCB_PROGRAM_CLOSED))
        return tcp->now_ms - t->stuck_since_ms >= t->user_timeout_ms;
    return t->retries >= (t->flags & NT_TCB_PROGRAM_CLOSED ? NT_TCP_ORPHAN_RETRIES : retries);
}

static void note_stuck(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->stuck_since_ms == 0)
        t->stuck_since_ms = nt_ms_after(tcp->now_ms, 0);
}

static void handshake_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    bool passive = (t->flags & NT_TCB_PASSIVE) != 0;
    note_stuck(tcp, t);
    if (given_up(tcp, t, passive ? NT_TCP_SYN_ACK_RETRIES : NT_TCP_SYN_RETRIES)) {
        nt_tcb_abort(tcp, t, ETIMEDOUT);
        return;
    }
    t->retries++;
    nt_tcp_rto_backoff(t);
    t->flags |= NT_TCB_SYN_DUE;
    nt_tcp_rto_restart(tcp, t);
    nt_tcp_send_control(tcp, t);
}

// RFC 6298 §5.4 to §5.6, RFC 5681 §3.1: everything outstanding is sent again, in slow start.
static void retransmission_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    note_stuck(tcp, t);
    if (given_up(tcp, t, NT_TCP_RETRIES)) {
        nt_tcb_reset(tcp, t, ETIMEDOUT);
        return;
    }
    nt_tcp_count(tcp, NT_TCP_TIMEOUTS);
    if (t->retries == 0)
        nt_tcp_undo_save(tcp, t);
    nt_cc_timeout(t, t->snd_max - t->snd_una, t->retries == 0);
    t->retries++;
    nt_tcp_rto_backoff(t);
    t->recover = t->snd_max; // RFC 6582 §4
    t->dup_acks = 0;
    t->flags &= ~(uint32_t)(NT_TCB_RECOVERY | NT_TCB_RETRANSMIT | NT_TCB_RTT_TIMING);
    t->flags |= NT_TCB_FORCE;
    t->snd_nxt = t->snd_una;
    nt_tcp_rto_restart(tcp, t);
    nt_tcp_send_data(tcp, t);
}

// RFC 9293 §3.8.6.1. A peer that answers keeps a connection with a closed window alive for ever,
// unless nobody waits for it.
static void persist_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->snd_wnd == 0) {
        nt_tcp_count(tcp, NT_TCP_PERSIST_PROBES);
        note_stuck(tcp, t);
        if (given_up(tcp, t, NT_TCP_RETRIES)) {
            nt_tcb_reset(tcp, t, ETIMEDOUT);
            return;
        }
        t->retries++;
        nt_tcp_rto_backoff(t);
    }
    t->flags |= NT_TCB_FORCE;
    t->snd_nxt = t->snd_una;
    nt_tcp_rto_restart(tcp, t);
    nt_tcp_send_data(tcp, t);
}

// RFC 8985 §7.3, with the first unacknowledged segment in place of the last: without SACK, only it
// brings an acknowledgement that tells anything. What it finds lost is recovered as if by duplicate
// acknowledgements; a timeout, with its slow start, is left for when this stays without an answer.
static void probe_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcp_count(tcp, NT_TCP_LOSS_PROBES);
    t->flags |= NT_TCB_PROBED;
    nt_tcp_recover_loss(tcp, t);
    nt_tcp_rto_restart(tcp, t);
}

static void rtx_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->rtx_deadline_ms = 0;
    if (t->state == NT_TCP_SYN_SENT || t->state == NT_TCP_SYN_RCVD)
        handshake_timeout(tcp, t);
    else if (t->flags & NT_TCB_PERSIST)
        persist_timeout(tcp, t);
    else if (t->snd_una == t->snd_max)
        return;
    else if (nt_tcp_probe_first(t))
        probe_timeout(tcp, t);
    else
        retransmission_timeout(tcp, t);
}

static void ack_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->ack_deadline_ms = 0;
    if (t->rcv_acked == t->rcv_nxt)
        return;
    nt_tcp_count(tcp, NT_TCP_DELAYED_ACKS);
    t->flags |= NT_TCB_ONE_WAY;
    nt_tcp_ack_now(tcp, t);
}

static uint32_t keep_idle_ms(const struct nt_tcb *t)
{
    return (t->keep_idle_s != 0 ? t->keep_idle_s : (uint32_t)NT_TCP_KEEP_IDLE_S) * 1000;
}

// RFC 9293 §3.8.4.
static void keepalive(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (!(t->options & NT_OPTION_KEEPALIVE) || t->state == NT_TCP_SYN_SENT)
        return;
    uint32_t silent_ms = tcp->now_ms - t->last_heard_ms;
    if (silent_ms < keep_idle_ms(t) || t->snd_una != t->snd_max) {
        // Heard meanwhile, or retransmission finds out anyway.
        t->keep_probes = 0;
        t->idle_deadline_ms =
            nt_ms_after(tcp->now_ms,
                        nt_max_u32(1000, keep_idle_ms(t) - nt_min_u32(silent_ms, keep_idle_ms(t))));
        return;
    }
    if (t->keep_probes >= (t->keep_count != 0 ? t->keep_count : NT_TCP_KEEP_COUNT)) {
        nt_tcb_reset(tcp, t, ETIMEDOUT);
        return;
    }
    t->keep_probes++;
    uint32_t interval_s = t->keep_interval_s != 0 ? t->keep_interval_s : NT_TCP_KEEP_INTERVAL_S;
    t->idle_deadline_ms = nt_ms_after(tcp->now_ms, interval_s * 1000);
    if (nt_tcp_output_probe(tcp, t))
        nt_tcp_count(tcp, NT_TCP_KEEPALIVE_PROBES);
}

static void idle_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->idle_deadline_ms = 0;
    if (t->state == NT_TCP_FIN_WAIT_2 && (t->flags & NT_TCB_PROGRAM_CLOSED))
        nt_tcb_abort(tcp, t, 0); // the peer may never close
    else
        keepalive(tcp, t);
}

void nt_tcp_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t now_ms = tcp->timers.now_ms;
    if (!nt_tcb_connected(t))
        return;
    bool rtx = nt_ms_due(t->rtx_deadline_ms, now_ms);
    bool ack = nt_ms_due(t->ack_deadline_ms, now_ms);
    bool idle = nt_ms_due(t->idle_deadline_ms, now_ms);
    if (!rtx && !ack && !idle)
        return;
    nt_tcb_touch(tcp, t);
    nt_txn_crash_point(&tcp->txn);
    if (ack)
        ack_timeout(tcp, t);
    if (rtx)
        rtx_timeout(tcp, t);
    if (idle && nt_tcb_connected(t))
        idle_timeout(tcp, t);
}
