// urgent.c: urgent data (RFC 9293 §3.8.5, RFC 6093), as Linux has them: one byte.
//
// Sending. The program names the byte that its last MSG_OOB ended with; until all up to it is
// acknowledged, every segment that begins before it carries URG and the pointer, which counts from
// the segment's own sequence number to the byte *after* the urgent one (RFC 1122 would have it one
// less; RFC 6093 §2 and tcp_stdurg=0 know better). A pointer has 16 bits: what is farther ahead is
// not told of yet. Meanwhile there are no super-segments, no Nagle and no cork.
//
// Receiving. Only the mark is kept. The byte is data like any other and lies in the RX ring, in its
// order; whether the program reads it there (SO_OOBINLINE) or apart is the program's half's
// business (libc_shim/sockets/urgent.c). A later mark replaces an earlier one.
//
// Why C: called while segments are handled.
#include "servers/tcp/context.h"

// Where the program reads on. If that is at the mark, then behind it: tcp_check_urg() takes a byte
// out of the stream that another one takes the place of there.
static uint32_t stands_at(const struct nt_tcb *t)
{
    uint32_t head = t->irs + 1 + t->rx_head;
    if (!(t->flags & NT_TCB_RX_URGENT))
        return head;
    if (nt_seq_lt(head, t->rcv_gone))
        head = t->rcv_gone;
    return head == t->rcv_up && nt_seq_lt(head, t->irs + 1 + nt_tcb_rx_tail(t)) ? head + 1 : head;
}

// RFC 9293 §3.10.7.4, sixth; tcp_check_urg(). A mark that is no news has been passed, or is before
// the one that is known.
void nt_tcp_input_urgent(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                         const struct nt_segment *segment)
{
    const struct nt_tcp_header *header = &segment->header;
    uint32_t mark = header->seq + header->urgent - (header->urgent != 0);
    bool may_receive = t->state == NT_TCP_ESTABLISHED || t->state == NT_TCP_FIN_WAIT_1 ||
                       t->state == NT_TCP_FIN_WAIT_2;
    (void)nt_tcp_look_at_reader(tcp, t); // an impossible cursor is dealt with in the next sweep
    nt_tcp_forget_passed_mark(t);
    if (!may_receive || nt_seq_lt(mark, t->rcv_nxt) ||
        ((t->flags & NT_TCB_RX_URGENT) && nt_seq_le(mark, t->rcv_up)))
        return;
    nt_tcb_touch_cold(tcp, t);
    t->rcv_gone = stands_at(t);
    t->rcv_up = mark;
    t->flags |= NT_TCB_RX_URGENT;
    nt_txn_crash_point(&tcp->txn);
}

// Before sequence numbers come round to it, once a lap of the ring at most.
void nt_tcp_forget_passed_mark(struct nt_tcb *t)
{
    if ((t->flags & NT_TCB_RX_URGENT) && nt_seq_lt(t->rcv_up, t->irs + 1 + t->rx_head))
        t->flags &= ~(uint32_t)NT_TCB_RX_URGENT;
}

// The marked byte is in the RX ring, in order or not.
bool nt_tcp_urgent_is_here(const struct nt_tcb *t)
{
    if (nt_seq_lt(t->rcv_up, t->irs + 1 + nt_tcb_rx_tail(t)))
        return true;
    for (uint32_t i = 0; i < t->ooo_count; i++)
        if (nt_seq_ge(t->rcv_up, t->ooo[i].start) && nt_seq_lt(t->rcv_up, t->ooo[i].end))
            return true;
    return false;
}

// A mark that is beyond what the program has written is one it has just set: it tells once more.
void nt_tcp_take_urgent(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t tx_urgent)
{
    uint32_t up = t->iss + 1 + tx_urgent;
    if (nt_seq_le(up, t->snd_una) || nt_seq_gt(up, t->tx_end) ||
        ((t->flags & NT_TCB_TX_URGENT) && t->snd_up == up))
        return;
    nt_tcb_touch_cold(tcp, t);
    t->snd_up = up;
    t->flags |= NT_TCB_TX_URGENT;
    if (nt_tcb_can_send(t))
        nt_tcp_send_data(tcp, t); // what Nagle or a cork held back
}

void nt_tcp_mark_urgent(struct nt_tcb *t, struct nt_tcp_header *header)
{
    if (!nt_tcb_sends_urgent(t)) {
        t->flags &= ~(uint32_t)NT_TCB_TX_URGENT;
        return;
    }
    uint32_t ahead = t->snd_up - header->seq;
    if (nt_seq_gt(t->snd_up, header->seq) && ahead <= UINT16_MAX) {
        header->flags |= NT_TCP_URG;
        header->urgent = (uint16_t)ahead;
    }
}
