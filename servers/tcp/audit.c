// audit.c: every invariant of the arena and of what was made from it; names the first that fails.
#include <stdio.h>

#include "servers/tcp/context.h"

struct report {
    char *why;
    uint64_t why_bytes;
};

static int fails(const struct report *report, const char *what, uint32_t index)
{
    (void)snprintf(report->why, report->why_bytes, "%s (%u)", what, index);
    return -1;
}

#define CHECK(condition, index)                      \
    do {                                             \
        if (!(condition))                            \
            return fails(report, #condition, index); \
    } while (0)

static int audit_sequence(const struct nt_tcb *t, uint32_t i, const struct report *report)
{
    CHECK(nt_seq_le(t->snd_una, t->snd_nxt), i);
    CHECK(nt_seq_le(t->snd_nxt, t->snd_max), i);
    CHECK(nt_seq_le(t->snd_max, t->tx_end + ((t->flags & NT_TCB_FIN_SENT) != 0)), i);
    CHECK(nt_seq_le(t->rcv_nxt, t->rcv_adv), i);
    CHECK(nt_seq_le(t->rcv_acked, t->rcv_nxt), i);
    CHECK(nt_geometry_valid(t->rx_geometry) && nt_geometry_valid(t->tx_geometry), i);
    CHECK(t->mss != 0, i);
    CHECK(!(t->flags & NT_TCB_TX_URGENT) || nt_seq_le(t->snd_up, t->tx_end), i);
    if (t->state == NT_TCP_ESTABLISHED || t->state == NT_TCP_CLOSE_WAIT)
        CHECK(t->cwnd >= t->mss / 2, i);
    if (nt_tcb_has_slot(t) && t->state != NT_TCP_SYN_SENT && !(t->flags & NT_TCB_PROGRAM_CLOSED)) {
        CHECK(nt_tcb_rx_tail(t) - t->rx_head <= nt_geometry_size(t->rx_geometry), i);
        if (!(t->flags & NT_TCB_RX_FIN))
            CHECK(t->state == NT_TCP_CLOSED ||
                      nt_seq_le(t->rcv_adv,
                                t->irs + 1 + t->rx_head + nt_geometry_size(t->rx_geometry)),
                  i);
    }
    uint32_t last = t->rcv_nxt;
    for (uint32_t r = 0; r < t->ooo_count; r++) {
        CHECK(nt_seq_lt(last, t->ooo[r].start) && nt_seq_lt(t->ooo[r].start, t->ooo[r].end), i);
        last = t->ooo[r].end;
    }
    CHECK(t->ooo_count == 0 || nt_seq_le(last, t->rcv_adv), i);
    return 0;
}

// Whatever waits for an answer has a timer; whatever is due has a list.
static int audit_timers(const struct nt_tcp_engine *tcp, const struct nt_tcb *t, uint32_t i,
                        const struct report *report)
{
    const struct nt_tcp_private *own = &tcp->private[i];
    bool armed = t->rtx_deadline_ms != 0 || t->ack_deadline_ms != 0 || t->idle_deadline_ms != 0;
    CHECK(!armed || !tcp->timers.started || own->timer_ms != 0, i);
    CHECK(t->snd_una == t->snd_max || t->rtx_deadline_ms != 0, i);
    CHECK(!(t->flags & NT_TCB_ACK_NOW) || (own->queued & NT_TCP_ON_ACK), i);
    CHECK(!(t->flags & (NT_TCB_SYN_DUE | NT_TCB_RETRANSMIT)) || (own->queued & NT_TCP_ON_CONTROL),
          i);
    if (nt_tcb_can_send(t) && (nt_tcb_unsent(t) != 0 || nt_tcb_fin_due(t)))
        CHECK((own->queued & NT_TCP_ON_DATA) || t->rtx_deadline_ms != 0, i);
    return 0;
}

static int audit_tcb(const struct nt_tcp_engine *tcp, uint32_t i, const struct report *report)
{
    const struct nt_tcb *t = &tcp->tcb[i];
    CHECK(t->state <= NT_TCP_CLOSING && t->state != NT_TCP_TIME_WAIT && t->state != NT_TCP_LISTEN,
          i);
    CHECK(tcp->private[i].hashed == nt_tcb_connected(t), i);
    if (t->state == NT_TCP_FREE) {
        CHECK(tcp->private[i].timer_ms == 0, i);
        return 0;
    }
    if (nt_tcb_has_slot(t)) {
        uint32_t binding = nt_tcp_binding_index(tcp, t->area, t->slot);
        CHECK(binding != NT_NO_INDEX, i);
        if (tcp->binding[binding].kind == NT_TCP_BINDING_LEFT) { // it is about to arrive elsewhere
            CHECK(tcp->binding[binding].object == t->accept_index, i);
            binding = t->accept_index;
            CHECK(tcp->binding[binding].kind == NT_TCP_BINDING_ARRIVING, i);
        } else {
            CHECK(tcp->binding[binding].kind == NT_TCP_BINDING_TCB, i);
        }
        CHECK(tcp->binding[binding].object == i, i);
        CHECK(tcp->binding[binding].generation == t->generation, i);
    } else {
        CHECK(t->state != NT_TCP_CLOSED, i);
    }
    if (t->listener != NT_NO_INDEX) {
        CHECK(t->state == NT_TCP_SYN_RCVD || nt_tcb_offered(t), i);
        CHECK(tcp->listener[t->listener].state != NT_TCP_LISTENER_FREE, i);
    }
    if (audit_sequence(t, i, report) != 0)
        return -1;
    if (!nt_tcb_connected(t))
        return 0;
    struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
    CHECK(nt_tcp_hash_find(tcp, &tuple) == i, i);
    if (nt_tcp_has_lanes(tcp) && !nt_tcp_groups_looking(tcp))
        CHECK((t->flags & NT_TCB_STEERED) || nt_tcp_lane_of(tcp, &tuple) == tcp->config.lane, i);
    return audit_timers(tcp, t, i, report);
}

static int audit_bindings(const struct nt_tcp_engine *tcp, const struct report *report)
{
    uint32_t in_use[NT_TCP_AREAS] = {0};
    for (uint32_t i = 0; i < tcp->config.shape.binding_pages * NT_TCP_BINDING_PAGE; i++) {
        uint32_t area = nt_tcp_binding_area(tcp, i);
        if (area == NT_TCP_NO_AREA || tcp->area[area].state == NT_TCP_AREA_NONE)
            continue;
        const struct nt_tcp_binding *b = &tcp->binding[i];
        if (nt_tcp_binding_slot(tcp, i) >= tcp->area[area].slots)
            continue;
        in_use[area] += b->kind != NT_TCP_BINDING_FREE;
        if (b->kind == NT_TCP_BINDING_TCB) {
            CHECK(b->object < tcp->config.shape.tcbs, i);
            const struct nt_tcb *t = &tcp->tcb[b->object];
            CHECK(t->state != NT_TCP_FREE && t->area == area, i);
            CHECK(t->slot == nt_tcp_binding_slot(tcp, i), i);
        } else if (b->kind == NT_TCP_BINDING_LISTENER) {
            CHECK(b->object < tcp->config.shape.listeners, i);
            CHECK(tcp->listener[b->object].state != NT_TCP_LISTENER_FREE, i);
        } else if (b->kind == NT_TCP_BINDING_ARRIVING) {
            CHECK(b->object < tcp->config.shape.tcbs, i);
            CHECK(tcp->tcb[b->object].accept_index == i, i);
        }
    }
    for (uint32_t area = 0; area < NT_TCP_AREAS; area++)
        CHECK(tcp->areas[area].in_use == in_use[area], area);
    return 0;
}

static int audit_time_waits(const struct nt_tcp_engine *tcp, const struct report *report)
{
    uint32_t linked = 0, used = 0;
    uint32_t last = 0;
    for (uint32_t i = tcp->tw_first; i != NT_NO_INDEX; i = tcp->tw_link[i].next, linked++) {
        const struct nt_time_wait *tw = &tcp->time_wait[i];
        CHECK(tw->state == NT_TCP_TIME_WAIT && linked < tcp->config.shape.time_waits, i);
        CHECK(linked == 0 || nt_seq_le(last, tw->expires_ms), i);
        last = tw->expires_ms;
        struct nt_tcp_tuple tuple = {tw->local_addr, tw->remote_addr, tw->local_port,
                                     tw->remote_port};
        CHECK(nt_tcp_hash_find(tcp, &tuple) == tcp->config.shape.tcbs + i, i);
    }
    for (uint32_t i = 0; i < tcp->config.shape.time_waits; i++)
        used += tcp->time_wait[i].state != NT_TCP_FREE;
    CHECK(used == linked, used);
    CHECK(used + tcp->tw_free_count == tcp->config.shape.time_waits, used);
    return 0;
}

// Every member is in the list, and the one that speaks for all is one of them.
static int audit_members(const struct nt_tcp_engine *tcp, uint32_t i, const struct report *report)
{
    const struct nt_tcp_listener *listener = &tcp->listener[i];
    const struct nt_tcp_listener_private *own = &tcp->listeners[i];
    uint32_t count = 0, members = 0;
    bool spoken_for = listener->area == NT_TCP_NO_AREA && own->member_count == 0;
    for (uint32_t at = own->members; at != NT_NO_INDEX; at = tcp->binding_next[at]) {
        CHECK(count++ < own->member_count, i);
        CHECK(tcp->binding[at].kind == NT_TCP_BINDING_LISTENER && tcp->binding[at].object == i, i);
        if (nt_tcp_binding_area(tcp, at) == listener->area &&
            nt_tcp_binding_slot(tcp, at) == listener->slot)
            spoken_for = tcp->binding[at].generation == listener->generation;
    }
    for (uint32_t at = 0; at < tcp->config.shape.binding_pages * NT_TCP_BINDING_PAGE; at++)
        members += nt_tcp_binding_area(tcp, at) != NT_TCP_NO_AREA &&
                   tcp->binding[at].kind == NT_TCP_BINDING_LISTENER && tcp->binding[at].object == i;
    CHECK(count == own->member_count && count == members, i);
    CHECK(spoken_for, i);
    CHECK(own->shared || own->member_count <= 1, i);
    CHECK(listener->state == NT_TCP_LISTENER_CLOSING || count != 0 || listener->held, i);
    return 0;
}

// An offered connection that may still be claimed is what its entry says. (Claim words are the
// programs', and prove nothing.)
static int audit_offered(const struct nt_tcp_engine *tcp, uint32_t i, const struct report *report)
{
    const struct nt_tcp_listener *listener = &tcp->listener[i];
    const struct nt_tcp_listener_private *own = &tcp->listeners[i];
    if (own->region == NT_NO_INDEX || !tcp->region[own->region].mapped ||
        tcp->region[own->region].number != listener->number)
        return 0;
    const struct nt_listener *region = &tcp->region[own->region].view;
    for (uint32_t n = 0; n < tcp->config.shape.tcbs; n++) {
        const struct nt_tcb *t = &tcp->tcb[n];
        if (t->state == NT_TCP_FREE || t->listener != i || !nt_tcb_offered(t) ||
            nt_seq_lt(t->accept_index, listener->accept_head))
            continue;
        CHECK(nt_seq_lt(t->accept_index, listener->accept_tail), n);
        const struct nt_accept_entry *entry =
            &region->entry[t->accept_index & (region->entries - 1)];
        CHECK(entry->area == t->area && entry->slot == t->slot, n);
        CHECK(entry->generation == t->generation, n);
    }
    return 0;
}

static int audit_listeners(const struct nt_tcp_engine *tcp, const struct report *report)
{
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++) {
        const struct nt_tcp_listener *listener = &tcp->listener[i];
        uint32_t requests = 0;
        if (listener->state == NT_TCP_LISTENER_FREE)
            continue;
        CHECK(listener->accept_tail - listener->accept_head <= NT_LISTENER_ENTRIES_MAX, i);
        for (uint32_t n = 0; n < tcp->config.shape.tcbs; n++)
            requests += tcp->tcb[n].state == NT_TCP_SYN_RCVD && tcp->tcb[n].listener == i;
        CHECK(tcp->listeners[i].syn_count == requests, i);
        if (audit_members(tcp, i, report) != 0 || audit_offered(tcp, i, report) != 0)
            return -1;
    }
    return 0;
}

int nt_tcp_audit(void *context, char *why, uint64_t why_bytes)
{
    const struct nt_tcp_engine *tcp = context;
    const struct report report = {.why = why, .why_bytes = why_bytes};
    uint32_t in_use = 0;
    for (uint32_t i = 0; i < tcp->config.shape.tcbs; i++) {
        in_use += tcp->tcb[i].state != NT_TCP_FREE;
        if (audit_tcb(tcp, i, &report) != 0)
            return -1;
    }
    if (in_use + tcp->tcb_free_count != tcp->config.shape.tcbs)
        return fails(&report, "every TCB is in use or free", in_use);
    if (audit_bindings(tcp, &report) != 0 || audit_time_waits(tcp, &report) != 0)
        return -1;
    return audit_listeners(tcp, &report);
}
