// input_text.c: the seventh and eighth step of segment arrival: text and FIN.
//
// Payload is copied once, from the driver's buffer to where the program reads it; only then is the
// buffer's use count looked at again, and only if it still is the one handed out do the bytes
// count.
//
// The ring grows as its reader keeps up: if, within one lap, the window was what held the sender
// while at least half of the ring was empty, it doubles when its tail is at its end (decision
// 0005).
#include <errno.h>

#include "servers/tcp/context.h"

// Copies to the ring under `geometry`, from `cursor` on.
static void copy_in(const struct nt_area *area, const struct nt_tcb *t, uint64_t geometry,
                    uint32_t cursor, const uint8_t *data, uint32_t len)
{
    uint8_t *ring = nt_area_rx_ring(area, t->slot, geometry);
    uint32_t size = nt_geometry_size(geometry);
    uint32_t position = nt_geometry_position(geometry, cursor);
    uint32_t first = nt_min_u32(len, size - position);
    memcpy(ring + position, data, first);
    memcpy(ring, data + first, len - first);
}

static bool still_ours(struct nt_tcp_engine *tcp, const struct nt_segment *segment)
{
    if (nt_pool_is_lent(segment->pool, segment->buffer, segment->use))
        return true;
    nt_tcp_count(tcp, NT_TCP_STALE_BUFFERS);
    return false;
}

static uint32_t largest_ring_log2(const struct nt_tcb *t)
{
    if (t->rcv_wscale == 0)
        return 15; // no more than 64 kB could ever be announced
    return t->rx_want_log2 != 0 ? t->rx_want_log2 : NT_RING_LAST_LOG2;
}

// Called with rcv_nxt still before the segment.
static void note_window_limit(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t end)
{
    if ((t->flags & NT_TCB_WINDOW_LIMITED) || t->rcv_adv - end >= 2u * t->rcv_mss)
        return;
    (void)nt_tcp_look_at_reader(tcp, t);
    uint32_t unread = nt_tcb_rx_tail(t) - t->rx_head;
    if (unread <= nt_geometry_size(t->rx_geometry) / 2)
        t->flags |= NT_TCB_WINDOW_LIMITED;
}

static bool ring_wants_growth(const struct nt_tcb *t)
{
    uint32_t log2 = nt_geometry_log2(t->rx_geometry);
    return t->ooo_count == 0 && log2 < largest_ring_log2(t) &&
           ((t->flags & NT_TCB_WINDOW_LIMITED) || t->rx_want_log2 > log2);
}

// Copies in-order bytes; *geometry becomes what holds afterwards.
static void copy_in_order(const struct nt_area *area, const struct nt_tcb *t,
                          const struct nt_segment *segment, uint64_t *geometry)
{
    uint32_t cursor = nt_tcb_rx_cursor(t, segment->seq), len = segment->len;
    uint32_t size = nt_geometry_size(*geometry);
    uint32_t to_end = size - nt_geometry_position(*geometry, cursor);
    if (len < to_end || !ring_wants_growth(t) ||
        !nt_geometry_can_double(*geometry, cursor + to_end)) {
        copy_in(area, t, *geometry, cursor, segment->payload, len);
        return;
    }
    copy_in(area, t, *geometry, cursor, segment->payload, to_end);
    uint64_t before = *geometry;
    *geometry = nt_geometry_double(before, cursor + to_end);
    nt_area_ring_doubled(area->rx_data, t->slot, before, *geometry);
    copy_in(area, t, *geometry, cursor + to_end, segment->payload + to_end, len - to_end);
}

void nt_tcp_ack_now(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->flags |= NT_TCB_ACK_NOW;
    nt_tcp_send_ack(tcp, t);
}

// TCP_QUICKACK takes effect without a word to us.
static bool program_wants_quick_acks(struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    const struct nt_area *area = nt_tcb_area(tcp, t);
    if (area == NULL)
        return false;
    const struct nt_slot_program *program = &area->slot_program[t->slot];
    return nt_load_acquire(&program->generation) == t->generation &&
           (nt_load_relaxed(&program->options) & NT_OPTION_QUICKACK);
}

// RFC 9293 §3.8.6.3: within 40 ms; within one while the peer is in its first slow start, or where
// the program asks for it.
void nt_tcp_ack_soon(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    bool quick = t->quick_acks != 0 || program_wants_quick_acks(tcp, t);
    if (t->ack_deadline_ms != 0 || (t->flags & NT_TCB_ACK_NOW))
        return; // the earliest promise counts
    t->ack_deadline_ms =
        nt_ms_after(tcp->now_ms, quick ? NT_TCP_QUICK_ACK_MS : NT_TCP_DELAYED_ACK_MS);
    nt_tcp_timer_arm(tcp, t);
}

// Every second full segment is acknowledged at once; a super-segment counts by its bytes.
static void owe_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool filled_hole)
{
    if (filled_hole || t->ooo_count != 0 || t->rcv_nxt - t->rcv_acked >= 2u * t->rcv_mss)
        nt_tcp_ack_now(tcp, t);
    else
        nt_tcp_ack_soon(tcp, t);
}

static enum nt_tcp_next take_in_order(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                      const struct nt_segment *segment, const struct nt_area *area)
{
    uint64_t geometry = t->rx_geometry;
    note_window_limit(tcp, t, segment->seq + segment->len);
    copy_in_order(area, t, segment, &geometry);
    nt_txn_crash_point(&tcp->txn);
    if (!still_ours(tcp, segment))
        return NT_TCP_DONE;
    uint32_t before = nt_tcb_rx_cursor(t, t->rcv_nxt);
    t->rcv_nxt += segment->len;
    uint32_t size = nt_geometry_size(t->rx_geometry);
    uint32_t to_end = size - nt_geometry_position(t->rx_geometry, before);
    if (segment->len >= to_end) { // a new lap
        t->flags &= ~(uint32_t)NT_TCB_WINDOW_LIMITED;
        nt_tcp_forget_passed_mark(t);
    }
    if (geometry != t->rx_geometry) {
        t->rx_geometry = geometry;
        nt_tcp_count(tcp, NT_TCP_RX_GROWTHS);
    }
    t->data_heard_ms = (uint16_t)tcp->now_ms;
    bool hole = t->ooo_count != 0;
    if (hole)
        nt_tcp_ooo_absorb(tcp, t);
    nt_tcp_count_n(tcp, NT_TCP_BYTES_IN, segment->len);
    owe_ack(tcp, t, hole);
    return NT_TCP_CONTINUE;
}

static enum nt_tcp_next take_out_of_order(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                          const struct nt_segment *segment,
                                          const struct nt_area *area)
{
    nt_tcp_count(tcp, NT_TCP_OUT_OF_ORDER);
    copy_in(area, t, t->rx_geometry, nt_tcb_rx_cursor(t, segment->seq), segment->payload,
            segment->len);
    nt_txn_crash_point(&tcp->txn);
    if (!still_ours(tcp, segment))
        return NT_TCP_DONE;
    nt_tcp_ooo_add(tcp, t, segment->seq, segment->seq + segment->len);
    // RFC 5681 §4.2: an acknowledgement for each, also within a batch, because the sender counts
    // them: three tell it of the hole. Where there is no room for one, the next says the same.
    if (t->flags & NT_TCB_ACK_NOW)
        (void)nt_tcp_output_ack(tcp, t);
    nt_tcp_ack_now(tcp, t);
    return NT_TCP_CONTINUE;
}

// shutdown() of both directions: as Linux (tcp_rcv_state_process()), nobody waits for data any
// more.
static bool reads_no_more(struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    const struct nt_area *area = nt_tcb_area(tcp, t);
    if (area == NULL || t->state == NT_TCP_ESTABLISHED)
        return false;
    const struct nt_slot_program *program = &area->slot_program[t->slot];
    return nt_load_acquire(&program->generation) == t->generation &&
           (nt_load_relaxed(&program->control) & NT_CONTROL_SHUT_RD) != 0;
}

// RFC 9293 §3.10.7.4, seventh. The segment has been trimmed to the window.
enum nt_tcp_next nt_tcp_input_text(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                   struct nt_segment *segment)
{
    bool may_receive = t->state == NT_TCP_ESTABLISHED || t->state == NT_TCP_FIN_WAIT_1 ||
                       t->state == NT_TCP_FIN_WAIT_2;
    if (segment->len == 0 || !may_receive)
        return NT_TCP_CONTINUE;
    if (t->flags & NT_TCB_PROGRAM_CLOSED) {
        nt_tcb_reset(tcp, t, 0); // data for nobody, as Linux
        return NT_TCP_DONE;
    }
    if (reads_no_more(tcp, t)) {
        nt_tcb_reset(tcp, t, ECONNRESET);
        return NT_TCP_DONE;
    }
    const struct nt_area *area = nt_tcb_area(tcp, t);
    if (area == NULL)
        return NT_TCP_DONE;
    return segment->seq == t->rcv_nxt ? take_in_order(tcp, t, segment, area)
                                      : take_out_of_order(tcp, t, segment, area);
}

// The peer's FIN is next in order: RFC 9293 §3.10.7.4, eighth.
static void take_fin(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->rcv_nxt++;
    t->rcv_adv = nt_seq_max(t->rcv_adv, t->rcv_nxt);
    t->flags |= NT_TCB_RX_FIN;
    t->flags &= ~(uint32_t)NT_TCB_RX_FIN_AHEAD;
    nt_txn_crash_point(&tcp->txn);
    if (t->state == NT_TCP_ESTABLISHED) {
        t->state = NT_TCP_CLOSE_WAIT;
        // Most programs close at once: their FIN takes the acknowledgement along.
        t->quick_acks = (uint8_t)nt_max_u32(t->quick_acks, 1);
        nt_tcp_ack_soon(tcp, t);
    } else if (t->state == NT_TCP_FIN_WAIT_1) {
        t->state = NT_TCP_CLOSING; // had our FIN been acknowledged, it would be FIN-WAIT-2
        nt_tcp_ack_now(tcp, t);
    } else if (t->state == NT_TCP_FIN_WAIT_2) {
        nt_tcb_enter_time_wait(tcp, t);
    }
}

void nt_tcp_input_fin(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_segment *segment)
{
    if (t->flags & NT_TCB_RX_FIN)
        return;
    if (segment->header.flags & NT_TCP_FIN) {
        t->flags |= NT_TCB_RX_FIN_AHEAD;
        t->rcv_fin_seq = segment->seq + segment->len;
    }
    if (!(t->flags & NT_TCB_RX_FIN_AHEAD))
        return;
    if (t->rcv_fin_seq == t->rcv_nxt)
        take_fin(tcp, t);
    else if (segment->header.flags & NT_TCP_FIN)
        nt_tcp_ack_now(tcp, t);
}
