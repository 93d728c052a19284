// input.c: segment arrival, in the order of RFC 9293 §3.10.7: each step a function that says
// whether to continue. Text and FIN are in input_text.c, the ACK field in input_ack.c.
#include <errno.h>

#include "servers/tcp/context.h"

// RFC 5961 §7: at most so many a second, for all connections together.
void nt_tcp_challenge(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t second = (uint32_t)(tcp->now_ns / 1000000000);
    if (second != tcp->challenge_second) {
        tcp->challenge_second = second;
        tcp->challenges = 0;
    }
    if (tcp->challenges++ >= NT_TCP_CHALLENGES_A_SECOND)
        return;
    nt_tcp_count(tcp, NT_TCP_CHALLENGE_ACKS);
    nt_tcp_ack_now(tcp, t);
}

void nt_tcp_take_syn(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    uint32_t announced = t->rcv_adv - t->rcv_nxt; // by our own SYN, if it was first
    t->irs = header->seq;
    t->rcv_nxt = header->seq + 1;
    t->rcv_acked = header->seq; // the SYN itself is still to be acknowledged
    t->rcv_adv = t->rcv_nxt + announced;
    bool named = (header->options & NT_TCP_OPTION_MSS) != 0;
    uint32_t peer_mss = named ? header->mss : NT_TCP_DEFAULT_MSS;
    t->mss = (uint16_t)nt_min_u32(t->mss, nt_max_u32(peer_mss, 64));
    // Window scale and timestamps count only if both ends speak of them (RFC 7323 §2.2, §3.2).
    if (header->options & NT_TCP_OPTION_WSCALE)
        t->snd_wscale = header->wscale;
    else
        t->rcv_wscale = 0;
    if (header->options & NT_TCP_OPTION_TIMESTAMPS) {
        t->ts_recent = header->ts_value;
        t->ts_recent_ms = tcp->now_ms;
        t->mss = (uint16_t)(t->mss - NT_TCP_TIMESTAMP_BYTES);
    } else {
        t->flags &= ~(uint32_t)NT_TCB_TIMESTAMPS;
    }
}

// -- SYN-SENT (RFC 9293 §3.10.7.3) ---------------------------------------------------------------

void nt_tcp_input_syn_sent(struct nt_tcp_engine *tcp, struct nt_tcb *t, struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    bool acked = (header->flags & NT_TCP_ACK) != 0;
    if (acked && (nt_seq_le(header->ack, t->iss) || nt_seq_gt(header->ack, t->snd_max))) {
        nt_tcp_answer_reset(tcp, segment);
        return;
    }
    if (header->flags & NT_TCP_RST) {
        if (acked) {
            nt_tcp_count(tcp, NT_TCP_RESETS_IN);
            nt_tcb_abort(tcp, t, ECONNREFUSED);
        }
        return;
    }
    if (!(header->flags & NT_TCP_SYN))
        return;
    nt_tcb_touch(tcp, t);
    nt_tcp_take_syn(tcp, t, segment);
    t->last_heard_ms = tcp->now_ms;
    nt_txn_crash_point(&tcp->txn);
    if (!acked) { // simultaneous open
        t->state = NT_TCP_SYN_RCVD;
        t->flags |= NT_TCB_SYN_DUE;
        nt_tcp_send_control(tcp, t);
        return;
    }
    nt_tcp_rtt_acked(tcp, t, header->ack);
    t->snd_una = header->ack;
    t->rtx_deadline_ms = 0;
    t->flags &= ~(uint32_t)NT_TCB_SYN_DUE;
    nt_tcb_enter_established(tcp, t);
    t->snd_wnd = t->snd_wnd_max = header->window; // a SYN's is not scaled
    t->snd_wl1 = header->seq;
    t->snd_wl2 = header->ack;
    // Who connects mostly speaks first: the request takes the handshake's last acknowledgement
    // along, one segment in seven less for a short connection. (Linux delays it, too, where it
    // knows that data will follow: up to 40 ms; here it is one.)
    nt_tcp_ack_soon(tcp, t);
    if (t->flags & NT_TCB_FIN_QUEUED)
        nt_tcp_queue_fin(tcp, t);
    else if (nt_tcb_unsent(t) != 0)
        nt_tcp_send_data(tcp, t);
}

// -- Synchronized states (RFC 9293 §3.10.7.4) ----------------------------------------------------

static bool stamped(const struct nt_tcb *t, const struct nt_tcp_header *header)
{
    return (t->flags & NT_TCB_TIMESTAMPS) && (header->options & NT_TCP_OPTION_TIMESTAMPS);
}

// RFC 7323 §5.3.
static bool paws_rejects(const struct nt_tcp_engine *tcp, const struct nt_tcb *t,
                         const struct nt_tcp_header *header)
{
    return stamped(t, header) && !(header->flags & NT_TCP_RST) &&
           nt_seq_lt(header->ts_value, t->ts_recent) &&
           tcp->now_ms - t->ts_recent_ms < NT_TCP_PAWS_IDLE_MS;
}

static bool acceptable(const struct nt_tcb *t, const struct nt_segment *segment)
{
    uint32_t seq = segment->header.seq, len = nt_segment_len(segment);
    if (len == 0)
        return seq == t->rcv_nxt || (nt_seq_ge(seq, t->rcv_nxt) && nt_seq_lt(seq, t->rcv_adv));
    // With a closed window the next byte's segment counts without its text: its ACK may open ours.
    if (seq == t->rcv_nxt)
        return true;
    return nt_seq_lt(seq, t->rcv_adv) && nt_seq_gt(seq + len, t->rcv_nxt);
}

// Takes off what came before, and what lies beyond the window.
static void trim(struct nt_tcp_engine *tcp, const struct nt_tcb *t, struct nt_segment *segment)
{
    struct nt_tcp_header *header = &segment->header;
    uint32_t seq = header->seq;
    if ((header->flags & NT_TCP_SYN) && nt_seq_lt(seq, t->rcv_nxt)) {
        header->flags &= (uint8_t)~NT_TCP_SYN;
        seq++;
    }
    if (nt_seq_lt(seq, t->rcv_nxt)) {
        uint32_t before = nt_min_u32(t->rcv_nxt - seq, segment->len);
        nt_tcp_count_n(tcp, NT_TCP_DUPLICATE_BYTES, before);
        segment->payload += before;
        segment->len -= before;
        seq += before;
    }
    segment->seq = seq;
    uint32_t end = seq + segment->len;
    if (nt_seq_gt(end, t->rcv_adv)) {
        segment->len -= nt_min_u32(end - t->rcv_adv, segment->len);
        header->flags &= (uint8_t)~NT_TCP_FIN;
    }
}

// An answer to what was not acceptable. To segments without text at most two a second: two ends
// that find each other's acknowledgements unacceptable would else answer each other for ever (as
// Linux: tcp_oow_rate_limited).
static void answer_unacceptable(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                const struct nt_segment *segment)
{
    enum { PAUSE_MS = 500 };
    struct nt_tcp_private *own = &tcp->private[nt_tcb_index(tcp, t)];
    bool bare = nt_segment_len(segment) == 0;
    if (bare && own->answered_ms != 0 && tcp->now_ms - own->answered_ms < PAUSE_MS)
        return;
    if (bare)
        own->answered_ms = nt_ms_after(tcp->now_ms, 0);
    nt_tcp_ack_now(tcp, t);
}

// All of it came before, but its acknowledgement may be news: where both ends' windows have
// shrunk, nothing else may ever come (RFC 9293 §3.10.7.4 makes this allowance for a closed window).
static bool only_its_ack_counts(const struct nt_tcb *t, struct nt_segment *segment)
{
    struct nt_tcp_header *header = &segment->header;
    if ((header->flags & (NT_TCP_RST | NT_TCP_ACK)) != NT_TCP_ACK || t->state == NT_TCP_SYN_RCVD ||
        nt_seq_gt(header->seq + nt_segment_len(segment), t->rcv_nxt))
        return false;
    header->flags &= (uint8_t) ~(NT_TCP_SYN | NT_TCP_FIN);
    segment->len = 0;
    return true;
}

// First: check the sequence number.
static enum nt_tcp_next check_sequence(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                       struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    bool reset = (header->flags & NT_TCP_RST) != 0;
    if (paws_rejects(tcp, t, header)) {
        nt_tcp_count(tcp, NT_TCP_PAWS_DROPS);
        answer_unacceptable(tcp, t, segment);
        return NT_TCP_DONE;
    }
    if (t->state == NT_TCP_SYN_RCVD && (header->flags & NT_TCP_SYN) && !reset &&
        header->seq == t->irs && !(header->flags & NT_TCP_ACK)) {
        t->flags |= NT_TCB_SYN_DUE; // our SYN-ACK was lost
        nt_tcp_send_control(tcp, t);
        return NT_TCP_DONE;
    }
    if (!acceptable(t, segment)) {
        nt_tcp_count(tcp, NT_TCP_OUT_OF_WINDOW);
        if (!reset)
            answer_unacceptable(tcp, t, segment);
        return only_its_ack_counts(t, segment) ? NT_TCP_CONTINUE : NT_TCP_DONE;
    }
    bool text = segment->len != 0;
    trim(tcp, t, segment);
    if (text && segment->len == 0)
        nt_tcp_ack_now(tcp, t); // a window probe, or all of it known
    return NT_TCP_CONTINUE;
}

// Second: check the RST bit (RFC 5961 §3.2).
static enum nt_tcp_next check_reset(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                    const struct nt_segment *segment)
{
    if (!(segment->header.flags & NT_TCP_RST))
        return NT_TCP_CONTINUE;
    if (segment->header.seq != t->rcv_nxt) {
        nt_tcp_challenge(tcp, t);
        return NT_TCP_DONE;
    }
    nt_tcp_count(tcp, NT_TCP_RESETS_IN);
    uint32_t error = ECONNRESET;
    if (t->state == NT_TCP_SYN_RCVD)
        error = ECONNREFUSED;
    else if (t->state == NT_TCP_CLOSE_WAIT)
        error = EPIPE; // as Linux
    nt_tcb_abort(tcp, t, error);
    return NT_TCP_DONE;
}

// Fourth: check the SYN bit (RFC 5961 §4.2).
static enum nt_tcp_next check_syn(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                  struct nt_segment *segment)
{
    struct nt_tcp_header *header = &segment->header;
    if (!(header->flags & NT_TCP_SYN))
        return NT_TCP_CONTINUE;
    nt_tcp_challenge(tcp, t);
    return NT_TCP_DONE;
}

// A SYN-ACK that crosses ours in a simultaneous open acknowledges our SYN (its own is known).
static void accept_crossing_syn(const struct nt_tcb *t, struct nt_segment *segment)
{
    struct nt_tcp_header *header = &segment->header;
    if (t->state == NT_TCP_SYN_RCVD && (header->flags & NT_TCP_SYN) &&
        (header->flags & NT_TCP_ACK) && header->seq == t->irs && segment->len == 0) {
        header->flags &= (uint8_t)~NT_TCP_SYN;
        header->seq = segment->seq = t->rcv_nxt;
        header->window = (uint16_t)(header->window >> t->snd_wscale); // a SYN's is not scaled
    }
}

// RFC 7323 §4.3.
static void update_timestamp(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                             const struct nt_segment *segment, uint32_t seq)
{
    if (stamped(t, &segment->header) && nt_seq_le(seq, t->rcv_acked) &&
        nt_seq_ge(segment->header.ts_value, t->ts_recent)) {
        t->ts_recent = segment->header.ts_value;
        t->ts_recent_ms = tcp->now_ms;
    }
}

void nt_tcp_input_synchronized(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                               struct nt_segment *segment)
{
    nt_tcb_touch(tcp, t);
    accept_crossing_syn(t, segment);
    uint32_t seq = segment->header.seq;
    if (check_sequence(tcp, t, segment) == NT_TCP_DONE ||
        check_reset(tcp, t, segment) == NT_TCP_DONE || check_syn(tcp, t, segment) == NT_TCP_DONE)
        return;
    t->last_heard_ms = tcp->now_ms;
    t->keep_probes = 0;
    update_timestamp(tcp, t, segment, seq);
    if (nt_tcp_input_ack(tcp, t, segment) == NT_TCP_DONE)
        return;
    if (NT_UNLIKELY(segment->header.flags & NT_TCP_URG)) // sixth
        nt_tcp_input_urgent(tcp, t, segment);
    if (nt_tcp_input_text(tcp, t, segment) == NT_TCP_DONE)
        return;
    nt_tcp_input_fin(tcp, t, segment);
}

// -- Which state it is for -----------------------------------------------------------------------

// A connection is between two hosts: RFC 1122 §4.2.3.10 drops segments from or to any other kind of
// address without a word.
static bool possible_addresses(const struct nt_tcp_engine *tcp, const struct nt_segment *segment)
{
    return nt_netconf_is_local(&tcp->netconf, segment->dst) &&
           !nt_addr_is_unspecified(segment->src) && !nt_addr_is_multicast(segment->src) &&
           !nt_netconf_is_broadcast(&tcp->netconf, segment->src);
}

void nt_tcp_input(struct nt_tcp_engine *tcp, struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    struct nt_tcp_tuple tuple = {segment->dst, segment->src, header->dst_port, header->src_port};
    uint32_t id = nt_tcp_hash_find_hashed(tcp, &tuple, segment->hash);
    if (id != NT_NO_INDEX && id >= tcp->config.shape.tcbs) {
        nt_tcp_input_time_wait(tcp, id - tcp->config.shape.tcbs, segment);
        return;
    }
    if (id != NT_NO_INDEX) {
        struct nt_tcb *t = &tcp->tcb[id];
        if (nt_tcp_has_lanes(tcp))
            nt_tcp_count_arrival(tcp, t, segment);
        if (t->state == NT_TCP_SYN_SENT)
            nt_tcp_input_syn_sent(tcp, t, segment);
        else
            nt_tcp_input_synchronized(tcp, t, segment);
        return;
    }
    if (!possible_addresses(tcp, segment))
        return;
    struct nt_tcp_listener *listener =
        nt_tcp_listener_find(tcp, segment->dst, header->dst_port, segment->src, header->src_port);
    if (listener != NULL)
        nt_tcp_input_listen(tcp, listener, segment, 0, false);
    else
        nt_tcp_answer_reset(tcp, segment); // CLOSED, RFC 9293 §3.10.7.1
}
