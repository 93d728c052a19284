// move.c: a connection, or another socket, goes from a slot of one area to a slot of another.
//
// An offered connection that was claimed for another slot (acceptors.c) goes in one step: no
// program has seen its slot, nothing was ever sent from there.
//
// A socket in use goes in two (request.h), because its program's bytes lie in memory that only the
// syscall server can copy. MOVE makes the old slot LEFT and takes one that is ARRIVING; the
// connection itself stays bound to the old slot and lives on from there, only its program is not
// heard any more. MOVED copies what the new program has not read, binds the connection to the new
// slot, and what was sent from the old one is fenced (decision 0004) before that is free. Cursors
// and geometry stay what they are. Both are requests like any other: all or nothing, and the second
// finds what it needs in the bindings: LEFT names ARRIVING, that names the TCB, the TCB its place.
#include <errno.h>

#include "servers/tcp/context.h"

// Copies cursors [from, to) of the TCB's RX ring between two slots; the same positions in both.
static void copy_range(const struct nt_tcb *t, const uint8_t *old_ring, uint8_t *new_ring,
                       uint32_t from, uint32_t to)
{
    uint32_t size = nt_geometry_size(t->rx_geometry);
    uint32_t position = nt_geometry_position(t->rx_geometry, from);
    uint32_t len = nt_min_u32(to - from, size);
    uint32_t first = nt_min_u32(len, size - position);
    memcpy(new_ring + position, old_ring + position, first);
    memcpy(new_ring, old_ring, len - first);
}

// What lies unread from `rx_head` on, and what waits out of order behind it.
static void copy_rx(struct nt_tcp_engine *tcp, const struct nt_tcb *t, uint32_t binding,
                    uint32_t rx_head)
{
    const struct nt_area *from = nt_tcb_area(tcp, t);
    const struct nt_tcp_area_private *own = &tcp->areas[nt_tcp_binding_area(tcp, binding)];
    if (from == NULL || !own->attached)
        return;
    uint32_t slot = nt_tcp_binding_slot(tcp, binding);
    const uint8_t *old_ring = nt_area_rx_ring(from, t->slot, t->rx_geometry);
    uint8_t *new_ring = nt_area_rx_ring(&own->view, slot, t->rx_geometry);
    copy_range(t, old_ring, new_ring, rx_head, nt_tcb_rx_tail(t));
    for (uint32_t i = 0; i < t->ooo_count; i++)
        copy_range(t, old_ring, new_ring, nt_tcb_rx_cursor(t, t->ooo[i].start),
                   nt_tcb_rx_cursor(t, t->ooo[i].end));
    nt_txn_crash_point(&tcp->txn);
}

// Binds it to a slot that was granted, or is ARRIVING.
static void bind_there(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t binding)
{
    uint32_t request = t->request;
    nt_tcp_slot_bind(tcp, binding, t);
    t->request = request;
}

// It stays on offer, in another slot.
void nt_tcp_move_offer(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t to)
{
    nt_tcb_touch(tcp, t);
    copy_rx(tcp, t, to, t->rx_head);
    uint32_t old = nt_tcp_binding_index(tcp, t->area, t->slot);
    nt_tcp_slot_bind(tcp, to, t);
    nt_tcp_slot_free(tcp, old, false);
}

void nt_tcp_move_offered(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t to)
{
    nt_tcp_move_offer(tcp, t, to);
    t->listener = NT_NO_INDEX;
    t->flags |= NT_TCB_TAKEN;
    const struct nt_area *area = nt_tcb_area(tcp, t);
    if (nt_tcp_has_lanes(tcp) && area != NULL)
        nt_tcp_note_core(tcp, t, &area->slot_program[t->slot]);
    nt_tcp_count(tcp, NT_TCP_ACCEPT_MOVES);
    nt_txn_crash_point(&tcp->txn);
}

// -- MOVE ----------------------------------------------------------------------------------------

static uint32_t generation_after(uint32_t generation)
{
    return generation + 1 != 0 ? generation + 1 : 1;
}

// The old slot's: its program finds another generation, and may close it.
static void leave_slot(struct nt_tcp_engine *tcp, uint32_t binding, uint32_t to)
{
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
    b->kind = NT_TCP_BINDING_LEFT;
    b->object = to;
    b->generation = generation_after(b->generation);
    nt_txn_crash_point(&tcp->txn);
}

static void start_tcb(struct nt_tcp_engine *tcp, uint32_t from, uint32_t to)
{
    struct nt_tcb *t = &tcp->tcb[tcp->binding[from].object];
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, to);
    nt_tcb_touch(tcp, t);
    b->kind = NT_TCP_BINDING_ARRIVING;
    b->object = nt_tcb_index(tcp, t);
    t->accept_index = to;
    t->generation = b->generation; // the old program's block is not read any more
}

static void move_member(struct nt_tcp_engine *tcp, uint32_t from, uint32_t to)
{
    struct nt_tcp_listener *listener = &tcp->listener[tcp->binding[from].object];
    nt_tcp_member_add(tcp, listener, to);
    nt_tcp_member_remove(tcp, from);
}

// The slot's binding, still in use in that generation.
static uint32_t movable(struct nt_tcp_engine *tcp, const struct nt_request *request)
{
    if (request->area >= NT_TCP_AREAS || tcp->area[request->area].state != NT_TCP_AREA_LIVE ||
        request->slot >= tcp->area[request->area].slots)
        return NT_NO_INDEX;
    uint32_t binding = nt_tcp_binding_index(tcp, request->area, request->slot);
    if (binding == NT_NO_INDEX || tcp->binding[binding].generation != request->generation)
        return binding;
    nt_tcp_sweep_slot(tcp, request->area, request->slot); // what its program said last
    const struct nt_tcp_binding *b = &tcp->binding[binding];
    switch ((enum nt_tcp_binding_kind)b->kind) {
    case NT_TCP_BINDING_GRANTED:
        return binding;
    case NT_TCP_BINDING_LISTENER:
        return tcp->listener[b->object].state == NT_TCP_LISTENER_OPEN ? binding : NT_NO_INDEX;
    case NT_TCP_BINDING_TCB:
        return tcp->tcb[b->object].flags & NT_TCB_PROGRAM_CLOSED ? NT_NO_INDEX : binding;
    case NT_TCP_BINDING_FREE:
    case NT_TCP_BINDING_FENCED:
    case NT_TCP_BINDING_LEFT:
    case NT_TCP_BINDING_ARRIVING:
        break;
    }
    return NT_NO_INDEX;
}

static void answer_with(const struct nt_tcp_engine *tcp, uint32_t binding,
                        struct nt_request *request)
{
    request->area = (uint16_t)nt_tcp_binding_area(tcp, binding);
    request->slot = nt_tcp_binding_slot(tcp, binding);
    request->generation = tcp->binding[binding].generation;
}

uint32_t nt_tcp_move(struct nt_tcp_engine *tcp, struct nt_request *request)
{
    uint32_t area = request->arg, from = movable(tcp, request);
    if (from == NT_NO_INDEX || area >= NT_TCP_AREAS || tcp->area[area].state != NT_TCP_AREA_LIVE)
        return EBADF;
    const struct nt_tcp_binding *b = &tcp->binding[from];
    if (b->kind == NT_TCP_BINDING_LEFT && b->object != NT_NO_INDEX &&
        b->generation == generation_after(request->generation) &&
        nt_tcp_one_program(tcp, nt_tcp_binding_area(tcp, b->object), area)) {
        answer_with(tcp, b->object, request); // asked for again
        return 0;
    }
    if (b->generation != request->generation)
        return EBADF;
    if (b->kind == NT_TCP_BINDING_LISTENER)
        nt_tcp_member_leaves(tcp, from);
    if (b->kind == NT_TCP_BINDING_TCB && nt_tcb_offered(&tcp->tcb[b->object]))
        return EBADF; // nobody's socket yet
    uint32_t to = b->kind == NT_TCP_BINDING_LISTENER
                      ? nt_tcp_member_of(tcp, &tcp->listener[b->object], area)
                      : NT_NO_INDEX;
    if (to != NT_NO_INDEX) { // there already
        answer_with(tcp, to, request);
        return 0;
    }
    to = nt_tcp_slot_take(tcp, area);
    if (to == NT_NO_INDEX)
        return ENOBUFS;
    if (b->kind == NT_TCP_BINDING_TCB)
        start_tcb(tcp, from, to);
    else if (b->kind == NT_TCP_BINDING_LISTENER)
        move_member(tcp, from, to);
    else
        nt_tcp_binding_touch(tcp, to)->kind = NT_TCP_BINDING_GRANTED;
    leave_slot(tcp, from, to);
    answer_with(tcp, to, request);
    nt_tcp_count(tcp, NT_TCP_MOVES);
    return 0;
}

// -- MOVED ---------------------------------------------------------------------------------------

// The slot that its socket went to may have been used again since, by one that comes from
// elsewhere.
static bool moves_from(const struct nt_tcp_engine *tcp, uint32_t binding)
{
    uint32_t to = tcp->binding[binding].object;
    if (to == NT_NO_INDEX || tcp->binding[to].kind != NT_TCP_BINDING_ARRIVING)
        return false;
    const struct nt_tcb *t = &tcp->tcb[tcp->binding[to].object];
    return nt_tcp_binding_index(tcp, t->area, t->slot) == binding;
}

// A LEFT slot is free when its program has closed it, and nothing moves from it any more. What was
// sent may still be referenced.
void nt_tcp_slot_left(struct nt_tcp_engine *tcp, uint32_t binding, bool dead)
{
    const struct nt_tcp_binding *b = &tcp->binding[binding];
    uint32_t area = nt_tcp_binding_area(tcp, binding);
    if (moves_from(tcp, binding))
        return;
    const struct nt_slot_program *program =
        &tcp->areas[area].view.slot_program[nt_tcp_binding_slot(tcp, binding)];
    bool its = tcp->areas[area].attached &&
               generation_after(nt_load_acquire(&program->generation)) == b->generation;
    if (dead || (its && (nt_load_acquire(&program->control) & NT_CONTROL_CLOSE)))
        nt_tcp_slot_free(tcp, binding, true);
}

static void finish_left(struct nt_tcp_engine *tcp, uint32_t binding)
{
    nt_tcp_binding_touch(tcp, binding)->object = NT_NO_INDEX;
    uint32_t area = nt_tcp_binding_area(tcp, binding);
    nt_tcp_slot_left(tcp, binding, tcp->area[area].state == NT_TCP_AREA_DYING);
}

// Where the new program's block says it goes on reading; false: it cannot be.
static bool take_rx_head(struct nt_tcb *t, const struct nt_slot_program *program)
{
    uint32_t rx_head = nt_load_acquire(&program->rx_head);
    if (nt_load_acquire(&program->generation) != t->generation ||
        rx_head - t->rx_head > nt_tcb_rx_tail(t) - t->rx_head)
        return false;
    t->rx_head = rx_head;
    return true;
}

static void arrive(struct nt_tcp_engine *tcp, uint32_t to)
{
    struct nt_tcb *t = &tcp->tcb[tcp->binding[to].object];
    uint32_t from = nt_tcp_binding_index(tcp, t->area, t->slot);
    uint32_t area = nt_tcp_binding_area(tcp, to), slot = nt_tcp_binding_slot(tcp, to);
    nt_tcb_touch(tcp, t);
    bool good =
        !tcp->areas[area].attached || take_rx_head(t, &tcp->areas[area].view.slot_program[slot]);
    copy_rx(tcp, t, to, t->rx_head);
    bind_there(tcp, t, to);
    finish_left(tcp, from);
    if (!good) {
        nt_tcp_count(tcp, NT_TCP_BAD_PROGRAM);
        nt_tcb_reset(tcp, t, ECONNABORTED);
        return;
    }
    nt_tcp_sweep_slot(tcp, area, slot); // what came with its program block
}

// A socket without a connection has no request open, whatever the block said that came with it.
static void settle_request(struct nt_tcp_engine *tcp, uint32_t binding)
{
    struct nt_area *area = &tcp->areas[nt_tcp_binding_area(tcp, binding)].view;
    uint32_t slot = nt_tcp_binding_slot(tcp, binding);
    if (tcp->areas[area->number].attached)
        nt_store_release(&area->slot_server[slot].reply,
                         nt_load_relaxed(&area->slot_program[slot].request));
}

uint32_t nt_tcp_moved(struct nt_tcp_engine *tcp, const struct nt_request *request)
{
    if (request->area >= NT_TCP_AREAS || tcp->area[request->area].state == NT_TCP_AREA_NONE ||
        request->slot >= tcp->area[request->area].slots)
        return EBADF;
    uint32_t to = nt_tcp_binding_index(tcp, request->area, request->slot);
    if (to == NT_NO_INDEX || tcp->binding[to].generation != request->generation)
        return EBADF;
    switch ((enum nt_tcp_binding_kind)tcp->binding[to].kind) {
    case NT_TCP_BINDING_ARRIVING:
        arrive(tcp, to);
        return 0;
    case NT_TCP_BINDING_GRANTED:
        settle_request(tcp, to);
        return 0;
    case NT_TCP_BINDING_TCB:
    case NT_TCP_BINDING_LISTENER:
        return 0;
    case NT_TCP_BINDING_FREE:
    case NT_TCP_BINDING_FENCED:
    case NT_TCP_BINDING_LEFT:
        break;
    }
    return EBADF;
}

// The area that it was to arrive in died: nobody will say MOVED.
void nt_tcp_move_died(struct nt_tcp_engine *tcp, uint32_t to)
{
    struct nt_tcb *t = &tcp->tcb[tcp->binding[to].object];
    uint32_t from = nt_tcp_binding_index(tcp, t->area, t->slot);
    nt_tcb_touch(tcp, t);
    t->area = NT_TCP_NO_AREA; // the old slot stays its program's
    t->flags |= NT_TCB_PROGRAM_CLOSED;
    nt_tcp_slot_free(tcp, to, false);
    finish_left(tcp, from);
    if (nt_tcb_connected(t))
        nt_tcb_reset(tcp, t, 0);
    else
        nt_tcb_free(tcp, t);
}
