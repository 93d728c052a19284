// claims.c: who took an offered connection.
//
// A claim names a slot of the claimant (listener.h). Where that is the one that the connection is
// bound to, nothing is left to do. Otherwise the claim is settled, that is, the connection moved
// there, when the claimant asks for it or when the accept queue's head comes by, whichever is
// first. A claim by a process that died before it was settled is void: the connection is entered
// again, under a new index. What cannot be right costs the connection.
//
// A member that leaves has what it claimed settled before, and from then on its claims are void,
// too: they are entered again, in a slot of somebody who is a member. What was offered in its slots
// is withdrawn and entered again likewise.
#include "servers/tcp/acceptors.h"

#include <errno.h>

// -- Claims --------------------------------------------------------------------------------------

// The connection of an entry, if it is still offered under that index.
static struct nt_tcb *offered_at(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                                 const struct nt_listener *region, uint32_t index)
{
    // The ring is written by us alone.
    const struct nt_accept_entry *entry = &region->entry[index & (region->entries - 1)];
    uint32_t binding = nt_tcp_binding_index(tcp, entry->area, entry->slot);
    if (binding == NT_NO_INDEX || tcp->binding[binding].kind != NT_TCP_BINDING_TCB ||
        tcp->binding[binding].generation != entry->generation)
        return NULL;
    struct nt_tcb *t = &tcp->tcb[tcp->binding[binding].object];
    bool here = nt_tcb_offered(t) && t->accept_index == index &&
                t->listener == (uint32_t)(listener - tcp->listener);
    return here ? t : NULL;
}

static bool is_member(const struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                      uint32_t area)
{
    return nt_tcp_member_of(tcp, listener, area) != NT_NO_INDEX;
}

// The granted slot that a member's claim names, if its program has entered it.
static uint32_t claimed_slot(const struct nt_tcp_engine *tcp, uint32_t area, uint32_t slot)
{
    if (area >= NT_TCP_AREAS || slot >= tcp->area[area].slots || !tcp->areas[area].attached)
        return NT_NO_INDEX;
    uint32_t binding = nt_tcp_binding_index(tcp, area, slot);
    if (binding == NT_NO_INDEX || tcp->binding[binding].kind != NT_TCP_BINDING_GRANTED)
        return NT_NO_INDEX;
    const struct nt_slot_program *program = &tcp->areas[area].view.slot_program[slot];
    bool taken = nt_load_acquire(&program->generation) == tcp->binding[binding].generation;
    return taken ? binding : NT_NO_INDEX;
}

// The program of its slot has made a socket of it.
static bool entered(struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    const struct nt_area *area = nt_tcb_area(tcp, t);
    return area != NULL &&
           nt_load_acquire(&area->slot_program[t->slot].generation) == t->generation;
}

static void bad_claim(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcp_count(tcp, NT_TCP_BAD_PROGRAM);
    nt_tcb_touch(tcp, t);
    t->flags |= NT_TCB_PROGRAM_CLOSED;
    nt_tcb_reset(tcp, t, 0);
}

enum settled {
    SETTLED_NOT = 0,    // it is open, or has to wait for room
    SETTLED_BEFORE = 1, // it needs nothing any more
    SETTLED_NOW = 2,
};

static enum settled settle_void(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                                struct nt_tcb *t)
{
    bool entered_again = nt_tcp_enter_again(tcp, listener, t);
    tcp->unsettled = tcp->unsettled || !entered_again;
    return entered_again ? SETTLED_NOW : SETTLED_NOT;
}

static enum settled settle(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                           const struct nt_listener *region, uint32_t index)
{
    if (nt_listener_is_open(region, index))
        return SETTLED_NOT;
    struct nt_tcb *t = offered_at(tcp, listener, region, index);
    if (t == NULL)
        return SETTLED_BEFORE;
    uint32_t area, slot;
    if (nt_listener_is_withdrawn(region, index))
        return settle_void(tcp, listener, t);
    if (!nt_listener_taken_by(region, index, &area, &slot) || area >= NT_TCP_AREAS) {
        bad_claim(tcp, t);
        return SETTLED_NOW;
    }
    bool alive = tcp->area[area].state == NT_TCP_AREA_LIVE;
    bool member = is_member(tcp, listener, area);
    if (member && area == t->area && slot == t->slot && (alive || entered(tcp, t)))
        return SETTLED_BEFORE; // its own acceptor's
    if (tcp->areas[area].pending_count != 0 && !alive) {
        tcp->unsettled = true; // not before it is known what it had become of
        return SETTLED_NOT;
    }
    if (!alive || !member)
        return settle_void(tcp, listener, t);
    uint32_t binding = claimed_slot(tcp, area, slot);
    if (binding == NT_NO_INDEX)
        bad_claim(tcp, t);
    else
        nt_tcp_move_offered(tcp, t, binding);
    return SETTLED_NOW;
}

uint32_t nt_tcp_settle_all(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    const struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    uint32_t done = 0, tail = listener->accept_tail;
    for (uint32_t i = listener->accept_head; region != NULL && i != tail; i++) {
        enum settled settled = settle(tcp, listener, region, i);
        done += settled == SETTLED_NOW;
        if (settled != SETTLED_NOT && i == listener->accept_head)
            nt_tcp_accept_head_to(tcp, listener, i + 1);
        nt_tcp_commit_if_full(tcp);
    }
    return done;
}

// A member's claim: what becomes of it is decided while it is one.
static void settle_claim(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                         const struct nt_listener *region, uint32_t index, uint32_t area,
                         uint32_t slot)
{
    struct nt_tcb *t = offered_at(tcp, listener, region, index);
    if (t == NULL)
        return;
    bool alive = tcp->area[area].state == NT_TCP_AREA_LIVE;
    if (area != t->area || slot != t->slot) {
        if (alive)
            (void)settle(tcp, listener, region, index);
        else
            nt_tcp_sweep_slot(tcp, area, slot); // it may have done something with it
    } else if (alive || entered(tcp, t)) {
        nt_tcb_touch(tcp, t);
        t->listener = NT_NO_INDEX;
        t->flags |= NT_TCB_TAKEN;
        nt_txn_crash_point(&tcp->txn);
    }
}

// A member is to be taken off, while others stay, or it is held: settles what it has claimed, and
// withdraws what was offered to it. Nothing of what asked for it may have been touched yet:
// commits.
void nt_tcp_member_leaves(struct nt_tcp_engine *tcp, uint32_t binding)
{
    uint32_t index = tcp->binding[binding].object, leaver = nt_tcp_binding_area(tcp, binding);
    struct nt_tcp_listener *listener = &tcp->listener[index];
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    uint32_t tail = listener->accept_tail;
    for (uint32_t i = listener->accept_head; region != NULL && i != tail; i++) {
        uint32_t area, slot;
        const struct nt_tcb *t = offered_at(tcp, listener, region, i);
        if (t == NULL)
            continue;
        if (nt_tcp_one_program(tcp, t->area, leaver) && tcp->listeners[index].member_count > 1 &&
            nt_listener_is_open(region, i))
            (void)nt_listener_withdraw(region, i);
        if (nt_listener_taken_by(region, i, &area, &slot) && area < NT_TCP_AREAS &&
            nt_tcp_one_program(tcp, area, leaver))
            settle_claim(tcp, listener, region, i, area, slot);
        nt_tcp_commit_if_full(tcp);
    }
}

// Entry `index` of a listener that ends, withdrawn or not: its connection, if it is still where it
// was offered; NULL: it was claimed for another slot and is there now, or is no more.
struct nt_tcb *nt_tcp_settle_last(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                                  const struct nt_listener *region, uint32_t index)
{
    struct nt_tcb *t = offered_at(tcp, listener, region, index);
    uint32_t area, slot;
    if (t == NULL || !nt_listener_taken_by(region, index, &area, &slot) ||
        (area == t->area && slot == t->slot))
        return t;
    uint32_t binding = is_member(tcp, listener, area) ? claimed_slot(tcp, area, slot) : NT_NO_INDEX;
    if (binding != NT_NO_INDEX)
        nt_tcp_move_offered(tcp, t, binding);
    else if (!nt_tcp_offer_elsewhere(tcp, t))
        bad_claim(tcp, t);
    return NULL;
}

// NT_MAIL_ACCEPT of a granted slot: 0, with the connection in the slot, or an errno.
uint32_t nt_tcp_accept_claimed(struct nt_tcp_engine *tcp, uint32_t binding, uint32_t number,
                               uint32_t index)
{
    struct nt_tcp_listener *listener = NULL;
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++) // one that ends counts, too
        if (tcp->listener[i].state != NT_TCP_LISTENER_FREE && tcp->listener[i].number == number)
            listener = &tcp->listener[i];
    const struct nt_listener *region =
        listener == NULL ? NULL : nt_tcp_listener_region(tcp, listener);
    uint32_t area, slot;
    if (region == NULL || !nt_listener_taken_by(region, index, &area, &slot) ||
        area != nt_tcp_binding_area(tcp, binding) || slot != nt_tcp_binding_slot(tcp, binding) ||
        !is_member(tcp, listener, area)) {
        tcp->unsettled = true; // others may have it
        return ECONNABORTED;
    }
    struct nt_tcb *t = offered_at(tcp, listener, region, index);
    if (t == NULL)
        return ECONNABORTED;
    nt_tcp_move_offered(tcp, t, binding);
    return 0;
}

// The index of the first entry that somebody may still take. Moves only a few connections: this is
// part of another input.
static uint32_t settled_head(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                             const struct nt_listener *region)
{
    enum { AT_ONCE = 4 };
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    uint32_t head = listener->accept_head, moved = 0;
    while (head != listener->accept_tail && moved < AT_ONCE) {
        enum settled settled = settle(tcp, listener, region, head);
        if (settled == SETTLED_NOT)
            break;
        moved += settled == SETTLED_NOW;
        head++;
    }
    own->shared = own->member_count > 1 || head != listener->accept_tail;
    return head;
}

// Entries that nobody has taken yet, after looking at the claims.
static uint32_t accept_queue(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                             const struct nt_listener *region)
{
    uint32_t head = listener->accept_head;
    if (NT_UNLIKELY(tcp->listeners[listener - tcp->listener].shared))
        head = settled_head(tcp, listener, region);
    else
        while (head != listener->accept_tail && !nt_listener_is_open(region, head))
            head++;
    if (head != listener->accept_head)
        nt_tcp_accept_head_to(tcp, listener, head);
    return listener->accept_tail - head;
}

// Linux lets one more wait than the backlog says. One place in the ring stays free for what has to
// be entered again.
bool nt_tcp_accept_queue_full(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region == NULL)
        return true;
    uint32_t most = nt_min_u32(listener->backlog + 1, region->entries - 1);
    return accept_queue(tcp, listener, region) >= most ||
           !nt_listener_reusable(region, listener->accept_tail);
}

// The program uses the slot of an offered connection; false: it may not, for it has not claimed it.
bool nt_tcp_accept_seen(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t index = t->listener, area, slot;
    if (index == NT_NO_INDEX)
        return true;
    struct nt_tcp_listener *listener = &tcp->listener[index];
    const struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region != NULL && tcp->listeners[index].shared &&
        nt_seq_ge(t->accept_index, listener->accept_head) &&
        !(nt_listener_taken_by(region, t->accept_index, &area, &slot) && area == t->area &&
          slot == t->slot && is_member(tcp, listener, area))) {
        tcp->unsettled = true; // others may have it
        return false;
    }
    t->listener = NT_NO_INDEX;
    if (region != NULL && listener->state == NT_TCP_LISTENER_OPEN)
        (void)accept_queue(tcp, listener, region);
    return true;
}

// The program of an offered connection's slot is dead. True: it had accepted it, as far as anybody
// can tell; false: others may.
bool nt_tcp_died_accepting(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool entered)
{
    uint32_t index = t->listener, area, slot;
    struct nt_tcp_listener *listener = index == NT_NO_INDEX ? NULL : &tcp->listener[index];
    const struct nt_listener *region =
        listener == NULL ? NULL : nt_tcp_listener_region(tcp, listener);
    if (region == NULL)
        return true;
    bool unsettled = nt_seq_ge(t->accept_index, listener->accept_head);
    if (unsettled && (nt_listener_is_open(region, t->accept_index) ||
                      nt_listener_is_withdrawn(region, t->accept_index)))
        return false;
    bool others = unsettled && nt_listener_taken_by(region, t->accept_index, &area, &slot) &&
                  (area != t->area || slot != t->slot);
    if (others)
        return false;
    if (entered && (!unsettled || is_member(tcp, listener, t->area)))
        return true;
    // It died between the claim and its slot: nobody has seen the connection.
    if (listener->state != NT_TCP_LISTENER_OPEN)
        return !nt_tcp_offer_elsewhere(tcp, t);
    if (unsettled)
        (void)settle_void(tcp, listener, t);
    return !unsettled && !nt_tcp_enter_again(tcp, listener, t);
}
