// locality.c: do segments arrive where their program runs?
//
// Fastsocket §4 counts a packet as local if the core that received it from the card is the one
// that its application runs on; Affinity-Accept calls the same connection affinity. Here a segment
// is local if the card (a driver's queue) put it into this lane, where its connection is, and the
// program that has the connection runs on this server's core. The program's shim writes its core
// into the slot when it connects or accepts. What arrives before anybody has accepted is counted
// when somebody does; what nobody accepts is not counted. A packet of the host to itself was on no
// card.
//
// With one lane none of this is called. Counts are statistics: a crash may lose those of a few
// segments, and counts them twice where it handles segments again.
#include "servers/tcp/context.h"

static void count(struct nt_tcp_engine *tcp, const struct nt_tcb *t, bool local, uint32_t n)
{
    enum nt_tcp_counter active = local ? NT_TCP_LOCAL_ACTIVE_SEGMENTS : NT_TCP_FAR_ACTIVE_SEGMENTS;
    enum nt_tcp_counter passive =
        local ? NT_TCP_LOCAL_PASSIVE_SEGMENTS : NT_TCP_FAR_PASSIVE_SEGMENTS;
    nt_tcp_count_n(tcp, t->flags & NT_TCB_PASSIVE ? passive : active, n);
}

void nt_tcp_note_core(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                      const struct nt_slot_program *program)
{
    struct nt_tcp_private *own = &tcp->private[nt_tcb_index(tcp, t)];
    bool here = nt_load_relaxed(&program->core) == tcp->status->core + 1;
    t->flags = here ? t->flags & ~(uint32_t)NT_TCB_FAR : t->flags | NT_TCB_FAR;
    if (own->early != 0)
        count(tcp, t, here, own->early);
    own->early = 0;
}

void nt_tcp_count_arrival(struct nt_tcp_engine *tcp, const struct nt_tcb *t,
                          const struct nt_segment *segment)
{
    if (segment->desc_flags & NT_DESC_LOOPBACK)
        return;
    uint32_t queue = segment->nic_queue & NT_PACKET_QUEUE;
    if (queue != 0 && queue != tcp->config.lane + 1) {
        count(tcp, t, false, 1);
    } else if ((t->flags & (NT_TCB_PASSIVE | NT_TCB_TAKEN)) == NT_TCB_PASSIVE) {
        struct nt_tcp_private *own = &tcp->private[nt_tcb_index(tcp, t)];
        if (own->early != UINT16_MAX)
            own->early++;
    } else {
        count(tcp, t, !(t->flags & NT_TCB_FAR), 1);
    }
}
