// publish.c: what programs see of their sockets, written after each commit.
//
// Everything here is a function of the arena, so a restarted server writes it all once more and
// changes nothing by it; only `events` and the ready bits go beyond, and they are hints. A batch is
// published in two passes with one fence between: first all cursors and states, data before what
// follows them; then, having read what the program did meanwhile, events, ready bits and bells. A
// program that looks at a cursor, finds nothing and sleeps has either seen the first pass or is
// seen by the second.
#include "servers/tcp/context.h"

static void ring(struct nt_tcp_engine *tcp, const struct nt_tcp_area_private *own, uint32_t queue)
{
    if (own->bell[queue] != NT_BELL_NONE)
        nt_bells_mark(&tcp->bells, own->bell[queue]);
}

static void wake(struct nt_tcp_engine *tcp, struct nt_area *area, uint32_t slot)
{
    struct nt_slot_server *server = &area->slot_server[slot];
    uint32_t queue = nt_load_relaxed(&area->slot_program[slot].queue);
    if (queue >= NT_AREA_QUEUES)
        queue = 0; // counted and dealt with when the slot is swept
    nt_store_release(&server->events, server->events + 1);
    nt_area_set_ready(area, queue, slot);
    ring(tcp, &tcp->areas[area->number], queue);
}

void nt_tcp_wake_slot(struct nt_tcp_engine *tcp, struct nt_area *area, uint32_t slot)
{
    wake(tcp, area, slot);
}

// Stores and says whether it changed.
#define STORE(field, value) \
    (nt_load_relaxed(&(field)) != (value) ? (nt_store_release(&(field), (value)), true) : false)

static uint8_t visible_state(const struct nt_tcb *t)
{
    bool claimed = !(t->flags & NT_TCB_PASSIVE) || (t->flags & NT_TCB_TAKEN);
    switch ((enum nt_tcp_state)t->state) {
    case NT_TCP_SYN_SENT:
    case NT_TCP_SYN_RCVD:
        return NT_SLOT_CONNECTING;
    case NT_TCP_CLOSED:
        if (t->error != 0)
            return NT_SLOT_BROKEN;
        if (t->remote_port == 0)
            return NT_SLOT_GRANTED; // bound at most, or its connect() was refused at once
        return claimed ? NT_SLOT_CONNECTED : NT_SLOT_ACCEPTABLE;
    case NT_TCP_ESTABLISHED:
    case NT_TCP_FIN_WAIT_1:
    case NT_TCP_FIN_WAIT_2:
    case NT_TCP_CLOSE_WAIT:
    case NT_TCP_LAST_ACK:
    case NT_TCP_CLOSING:
        return claimed ? NT_SLOT_CONNECTED : NT_SLOT_ACCEPTABLE;
    case NT_TCP_FREE:
    case NT_TCP_TIME_WAIT:
    case NT_TCP_LISTEN:
        break;
    }
    return NT_SLOT_FREE;
}

static uint8_t visible_flags(const struct nt_tcb *t)
{
    uint32_t flags = 0;
    if (t->flags & NT_TCB_RX_FIN)
        flags |= NT_SLOT_RX_FIN;
    if (t->flags & NT_TCB_FIN_ACKED)
        flags |= NT_SLOT_TX_DONE;
    if (t->local_port != 0)
        flags |= NT_SLOT_BOUND;
    if (t->remote_port != 0)
        flags |= NT_SLOT_PEER_SET;
    if (nt_tcb_acks_on_read(t))
        flags |= NT_SLOT_ACK_ON_READ;
    if (NT_UNLIKELY(t->flags & NT_TCB_RX_URGENT))
        flags |= nt_tcp_urgent_is_here(t) ? NT_SLOT_URGENT | NT_SLOT_URGENT_HERE : NT_SLOT_URGENT;
    return (uint8_t)flags;
}

// The TX ring that keeps the network busy: twice what can be in flight.
static uint8_t useful_tx_log2(const struct nt_tcb *t)
{
    uint32_t bytes = 2 * nt_min_u32(nt_min_u32(t->cwnd, t->snd_wnd_max), NT_RING_RESERVE / 2);
    uint8_t log2 = NT_RING_FIRST_LOG2;
    while (log2 < NT_RING_LAST_LOG2 && (1u << log2) < bytes)
        log2++;
    return log2;
}

static void put_endpoint(struct nt_endpoint *to, const uint8_t addr[16], uint16_t port)
{
    struct nt_endpoint endpoint = {.port = port};
    nt_addr_copy(endpoint.addr, addr);
    *to = endpoint;
}

// A slot in a generation of its own: nothing of the last one shows. What is `left` shows what it
// did; only the generation says that its socket is elsewhere.
static void begin_generation(struct nt_slot_server *server, uint32_t generation, bool left)
{
    if (left) {
        nt_store_release(&server->generation, generation);
        return;
    }
    nt_store_release(&server->state, (uint8_t)NT_SLOT_FREE);
    nt_store_relaxed(&server->flags, (uint8_t)0);
    nt_store_relaxed(&server->rx_tail, 0u);
    nt_store_relaxed(&server->tx_head, 0u);
    nt_store_relaxed(&server->rx_geometry, nt_geometry(0, NT_RING_FIRST_LOG2));
    nt_store_relaxed(&server->tx_max_log2, (uint8_t)NT_RING_FIRST_LOG2);
    nt_store_relaxed(&server->error, 0u);
    nt_store_relaxed(&server->rx_urgent, 0u);
    nt_store_relaxed(&server->reply_errno, 0u);
    nt_store_release(&server->generation, generation);
}

// Enough to read for a program that asked for more at once (SO_RCVLOWAT).
static bool worth_reading(const struct nt_tcb *t, const struct nt_slot_program *program)
{
    uint32_t wanted = nt_load_relaxed(&program->rx_wake_bytes);
    return wanted <= 1 || (t->flags & NT_TCB_RX_FIN) ||
           nt_tcb_rx_tail(t) - nt_load_relaxed(&program->rx_head) >= wanted;
}

static void publish_names(struct nt_slot_server *server, const struct nt_tcb *t)
{
    put_endpoint(&server->local, t->local_addr, t->local_port);
    put_endpoint(&server->remote, t->remote_addr, t->remote_port);
}

// True if the program should hear of it: not where it has just taken the connection itself.
static bool publish_state(struct nt_slot_server *server, uint8_t state)
{
    bool taken = server->state == NT_SLOT_ACCEPTABLE && state == NT_SLOT_CONNECTED;
    return STORE(server->state, state) && !taken;
}

// What is to be known to whoever sees the bytes that follow. True: there is a new mark.
static bool publish_before_bytes(struct nt_slot_server *server, const struct nt_tcb *t,
                                 uint8_t flags)
{
    bool marked = false;
    if (flags & NT_SLOT_URGENT) {
        uint32_t mark = nt_tcb_rx_cursor(t, t->rcv_up);
        marked = !(server->flags & NT_SLOT_URGENT) || server->rx_urgent != mark;
        if (marked)
            nt_store_release(&server->flags, (uint8_t)(server->flags & ~NT_SLOT_URGENT_HERE));
        nt_store_release(&server->rx_gone, nt_tcb_rx_cursor(t, t->rcv_gone));
        nt_store_release(&server->rx_urgent, mark);
    }
    uint8_t before = flags & (NT_SLOT_ACK_ON_READ | NT_SLOT_URGENT);
    nt_store_release(&server->flags, (uint8_t)(server->flags | before));
    return marked;
}

static bool publish_tcb(struct nt_area *area, struct nt_tcp_dirty *dirty, const struct nt_tcb *t)
{
    struct nt_slot_server *server = &area->slot_server[t->slot];
    uint8_t flags = visible_flags(t);
    bool changed = false;
    if (flags & ~server->flags & (NT_SLOT_BOUND | NT_SLOT_PEER_SET))
        publish_names(server, t);
    if (flags & (NT_SLOT_ACK_ON_READ | NT_SLOT_URGENT))
        changed = publish_before_bytes(server, t, flags);
    nt_store_release(&server->rx_geometry, t->rx_geometry);
    if (STORE(server->rx_tail, nt_tcb_rx_tail(t)))
        changed |= worth_reading(t, &area->slot_program[t->slot]);
    dirty->old_tx_head = server->tx_head;
    dirty->old_tx_max_log2 = server->tx_max_log2;
    nt_store_release(&server->tx_head, nt_tcb_tx_head(t));
    nt_store_relaxed(&server->tx_max_log2, useful_tx_log2(t));
    nt_store_relaxed(&server->mss, (uint32_t)t->mss);
    nt_store_relaxed(&server->srtt_us, t->srtt_us);
    nt_store_relaxed(&server->rttvar_us, t->rttvar_us);
    nt_store_relaxed(&server->rto_us, t->rto_ms * 1000);
    nt_store_relaxed(&server->cwnd_bytes, t->cwnd);
    nt_store_relaxed(&server->retransmits, t->retransmits);
    nt_store_relaxed(&server->tcp_state, (uint32_t)t->state);
    changed |= STORE(server->error, t->error);
    changed |= ((server->flags ^ flags) & ~NT_SLOT_ACK_ON_READ) != 0;
    nt_store_release(&server->flags, flags);
    changed |= publish_state(server, visible_state(t));
    if (server->reply != t->request) {
        nt_store_relaxed(&server->reply_errno, t->reply_errno);
        nt_store_release(&server->reply, t->request);
        changed = true;
    }
    return changed;
}

static void publish_listener(struct nt_area *area, uint32_t slot,
                             const struct nt_tcp_listener *listener)
{
    struct nt_slot_server *server = &area->slot_server[slot];
    put_endpoint(&server->local, listener->addr, listener->port);
    nt_store_relaxed(&server->tcp_state, (uint32_t)NT_TCP_LISTEN);
    nt_store_release(&server->flags, (uint8_t)NT_SLOT_BOUND);
    nt_store_release(&server->state, (uint8_t)NT_SLOT_LISTENING);
}

static void publish_binding(struct nt_tcp_engine *tcp, struct nt_tcp_dirty *dirty)
{
    const struct nt_tcp_binding *b = &tcp->binding[dirty->binding];
    struct nt_tcp_area_private *own = &tcp->areas[nt_tcp_binding_area(tcp, dirty->binding)];
    uint32_t slot = nt_tcp_binding_slot(tcp, dirty->binding);
    dirty->changed = false;
    if (!own->attached)
        return;
    struct nt_area *area = &own->view;
    struct nt_slot_server *server = &area->slot_server[slot];
    if (server->generation != b->generation)
        begin_generation(server, b->generation, b->kind == NT_TCP_BINDING_LEFT);
    switch ((enum nt_tcp_binding_kind)b->kind) {
    case NT_TCP_BINDING_FREE:
    case NT_TCP_BINDING_FENCED:
    case NT_TCP_BINDING_ARRIVING:
        nt_store_release(&server->state, (uint8_t)NT_SLOT_FREE);
        break;
    case NT_TCP_BINDING_LEFT:
        dirty->changed = true; // whoever sleeps on it looks, and finds it gone
        break;
    case NT_TCP_BINDING_GRANTED:
        dirty->changed = server->state == NT_SLOT_LISTENING; // not any more: shutdown()
        nt_store_release(&server->state, (uint8_t)NT_SLOT_GRANTED);
        break;
    case NT_TCP_BINDING_LISTENER:
        publish_listener(area, slot, &tcp->listener[b->object]);
        dirty->changed = true; // a member is published when there is something to tell it
        break;
    case NT_TCP_BINDING_TCB:
        dirty->changed = publish_tcb(area, dirty, &tcp->tcb[b->object]);
        break;
    }
    nt_txn_crash_point(&tcp->txn);
}

// Room to send that a writer may wait for (area.h): now there is enough; or the ring may grow now
// that it is full.
static bool writer_wakes(const struct nt_area *area, const struct nt_tcb *t,
                         const struct nt_tcp_dirty *dirty)
{
    const struct nt_slot_program *program = &area->slot_program[t->slot];
    const struct nt_slot_server *server = &area->slot_server[t->slot];
    if (server->tx_head == dirty->old_tx_head && server->tx_max_log2 == dirty->old_tx_max_log2)
        return false;
    uint32_t tail = nt_load_acquire(&program->tx_tail);
    uint64_t geometry = nt_load_acquire(&program->tx_geometry);
    if (!nt_geometry_valid(geometry))
        return false;
    uint32_t size = nt_geometry_size(geometry);
    uint32_t was = nt_min_u32(tail - dirty->old_tx_head, size); // bytes in the ring
    uint32_t is = nt_min_u32(tail - server->tx_head, size);
    bool grew = server->tx_max_log2 > dirty->old_tx_max_log2 &&
                server->tx_max_log2 > nt_geometry_log2(geometry);
    return (!nt_ring_writable(size, was) && nt_ring_writable(size, is)) || (grew && is == size);
}

static void wake_binding(struct nt_tcp_engine *tcp, const struct nt_tcp_dirty *dirty)
{
    const struct nt_tcp_binding *b = &tcp->binding[dirty->binding];
    struct nt_tcp_area_private *own = &tcp->areas[nt_tcp_binding_area(tcp, dirty->binding)];
    tcp->binding_dirty[dirty->binding] = 0;
    if (!own->attached)
        return;
    bool worth = dirty->changed;
    uint32_t slot = nt_tcp_binding_slot(tcp, dirty->binding);
    // Who claims or takes a slot looks at it afterwards: before, there is nobody to tell.
    if (nt_load_acquire(&own->view.slot_program[slot].generation) != b->generation &&
        b->kind != NT_TCP_BINDING_LEFT)
        return;
    if (b->kind == NT_TCP_BINDING_TCB)
        worth = worth || writer_wakes(&own->view, &tcp->tcb[b->object], dirty);
    if (worth)
        wake(tcp, &own->view, slot);
}

static void publish_grants(struct nt_tcp_engine *tcp, struct nt_tcp_area_private *own)
{
    struct nt_area *area = &own->view;
    const struct nt_tcp_area *record = &tcp->area[area->number];
    uint32_t tail = record->grant_tail;
    // Before AREA_NEW the record still tells of the last program that had this number.
    if (record->state != NT_TCP_AREA_LIVE || own->granted_published == tail)
        return;
    bool was_empty = nt_load_acquire(&area->program->grant_head) == own->granted_published;
    uint32_t slot = area->server->grant[own->granted_published & (NT_AREA_SLOTS_MAX - 1)];
    nt_store_release(&area->server->grant_tail, tail);
    own->granted_published = tail;
    if (was_empty) {
        nt_area_set_ready(area, 0, slot);
        ring(tcp, own, 0);
    }
}

static void publish_accept_tail(struct nt_tcp_engine *tcp, uint32_t index)
{
    const struct nt_tcp_listener *listener = &tcp->listener[index];
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (listener->state == NT_TCP_LISTENER_FREE || region == NULL)
        return;
    nt_listener_publish(region, listener->accept_tail);
}

// With several acceptors, those who were chosen are among the bindings; an end is everybody's.
static void wake_listener(struct nt_tcp_engine *tcp, uint32_t index)
{
    const struct nt_tcp_listener *listener = &tcp->listener[index];
    const struct nt_tcp_listener_private *own = &tcp->listeners[index];
    if (own->member_count > 1 && listener->state == NT_TCP_LISTENER_OPEN)
        return;
    for (uint32_t at = own->members; at != NT_NO_INDEX; at = tcp->binding_next[at]) {
        struct nt_tcp_area_private *area = &tcp->areas[nt_tcp_binding_area(tcp, at)];
        if (area->attached)
            wake(tcp, &area->view, nt_tcp_binding_slot(tcp, at));
    }
}

void nt_tcp_publish(struct nt_tcp_engine *tcp)
{
    for (uint32_t i = 0; i < tcp->dirty_count; i++)
        publish_binding(tcp, &tcp->dirty[i]);
    for (uint32_t i = 0; i < tcp->dirty_listener_count; i++)
        publish_accept_tail(tcp, tcp->dirty_listener[i]);
    nt_fence();
    for (uint32_t i = 0; i < tcp->dirty_count; i++)
        wake_binding(tcp, &tcp->dirty[i]);
    tcp->dirty_count = 0;
    for (uint32_t i = 0; i < tcp->dirty_listener_count; i++)
        wake_listener(tcp, tcp->dirty_listener[i]);
    tcp->dirty_listener_count = 0;
    for (uint32_t i = 0; i < tcp->attached_count; i++)
        publish_grants(tcp, &tcp->areas[tcp->attached[i]]);
}
