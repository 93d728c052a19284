// reassembly.c: what arrived beyond a hole (RFC 9293 §3.10.7.4, seventh).
//
// The bytes lie where they belong, in the RX ring beyond the visible tail; the TCB keeps which: at
// most 15 ranges, ascending, none touching the next. A segment that would need one more is dropped
// and comes again.
#include "servers/tcp/context.h"

// Notes [start, end), which was copied. Not noting it is always allowed.
void nt_tcp_ooo_add(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t start, uint32_t end)
{
    nt_tcb_touch_cold(tcp, t);
    uint32_t first = 0;
    while (first < t->ooo_count && nt_seq_lt(t->ooo[first].end, start))
        first++;
    uint32_t last = first; // ranges [first, last) touch or overlap the new one
    while (last < t->ooo_count && nt_seq_le(t->ooo[last].start, end)) {
        if (nt_seq_lt(t->ooo[last].start, start))
            start = t->ooo[last].start;
        end = nt_seq_max(end, t->ooo[last].end);
        last++;
    }
    if (first == last && t->ooo_count == NT_TCP_OOO_RANGES) {
        nt_tcp_count(tcp, NT_TCP_OOO_DROPS);
        return;
    }
    uint32_t rest = t->ooo_count - last;
    memmove(&t->ooo[first + 1], &t->ooo[last], rest * sizeof(t->ooo[0]));
    t->ooo[first] = (struct nt_tcb_range){.start = start, .end = end};
    t->ooo_count = (uint8_t)(first + 1 + rest);
}

void nt_tcp_ooo_absorb(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t used = 0;
    while (used < t->ooo_count && nt_seq_le(t->ooo[used].start, t->rcv_nxt)) {
        t->rcv_nxt = nt_seq_max(t->rcv_nxt, t->ooo[used].end);
        used++;
    }
    if (used == 0)
        return;
    nt_tcb_touch_cold(tcp, t);
    t->ooo_count = (uint8_t)(t->ooo_count - used);
    memmove(&t->ooo[0], &t->ooo[used], t->ooo_count * sizeof(t->ooo[0]));
}
