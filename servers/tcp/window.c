// window.c: the receive window (RFC 9293 §3.8.6.2.2), as far as the RX ring has room.
//
// The right edge never moves back: what was announced once stays acceptable, and always lies within
// the ring, because the program's read cursor only moves on. It moves on only by a worthwhile step
// (the receiver's half of silly-window avoidance).
#include "servers/tcp/context.h"

bool nt_tcp_look_at_reader(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    const struct nt_area *area = nt_tcb_area(tcp, t);
    if (area == NULL)
        return true;
    const struct nt_slot_program *program = &area->slot_program[t->slot];
    if (nt_load_acquire(&program->generation) != t->generation)
        return true; // not claimed yet
    uint32_t rx_head = nt_load_acquire(&program->rx_head);
    if (rx_head - t->rx_head > nt_tcb_rx_tail(t) - t->rx_head)
        return false;
    t->rx_head = rx_head;
    return true;
}

// The right edge that the ring has room for.
static uint32_t edge(const struct nt_tcb *t)
{
    return t->irs + 1 + t->rx_head + nt_geometry_size(t->rx_geometry);
}

static uint32_t worthwhile_step(const struct nt_tcb *t)
{
    return nt_min_u32(nt_geometry_size(t->rx_geometry) / 2, t->rcv_mss);
}

uint16_t nt_tcp_announce_window(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool syn)
{
    (void)nt_tcp_look_at_reader(tcp, t); // an impossible cursor is dealt with in the next sweep
    uint32_t right = edge(t);
    if (!nt_seq_ge(right, t->rcv_adv + worthwhile_step(t)))
        right = t->rcv_adv;
    uint32_t shift = syn ? 0 : t->rcv_wscale; // a SYN's window is never scaled (RFC 7323 §2.2)
    uint32_t window = nt_min_u32((right - t->rcv_nxt) >> shift, UINT16_MAX);
    t->rcv_adv = nt_seq_max(t->rcv_adv, t->rcv_nxt + (window << shift));
    return (uint16_t)window;
}

// Linux's rule (tcp_cleanup_rbuf): tell when the window would at least double.
bool nt_tcp_window_update_due(const struct nt_tcb *t)
{
    uint32_t announced = t->rcv_adv - t->rcv_nxt;
    uint32_t size = nt_geometry_size(t->rx_geometry);
    uint32_t room = edge(t) - t->rcv_nxt;
    return announced <= size / 2 && room >= 2 * announced && room - announced >= worthwhile_step(t);
}
