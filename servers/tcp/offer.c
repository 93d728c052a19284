// offer.c: a connection that completed its handshake is bound to a slot and entered in the accept
// ring.
//
// A connection is offered from the end of its handshake until its acceptor's slot is seen to be
// used: PASSIVE without TAKEN. It is bound to a slot of the acceptor that was chosen (choose.h),
// or, where that one has none left, of another member, and may be claimed for any other granted
// slot of a member that the listen design lets take it (claims.c).
//
// What has to be offered again, because whom it was offered to, or who claimed it, has died or
// left, is entered under a new index, and anybody may take it.
#include "servers/tcp/acceptors.h"

// A slot for a new connection, bound to it; NT_NO_INDEX: nobody has one. Whose it is: `choice`.
static uint32_t take_slot(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                          const struct nt_tcb *t, uint32_t design, struct nt_tcp_choice *choice)
{
    *choice = nt_tcp_choose(tcp, listener, t, design);
    if (choice->member == NT_NO_INDEX)
        *choice = (struct nt_tcp_choice){nt_tcp_speaker(tcp, listener), true};
    if (choice->member == NT_NO_INDEX)
        return NT_NO_INDEX;
    uint32_t binding = nt_tcp_slot_take_near(tcp, nt_tcp_binding_area(tcp, choice->member));
    uint32_t at = tcp->listeners[listener - tcp->listener].members;
    for (; binding == NT_NO_INDEX && at != NT_NO_INDEX; at = tcp->binding_next[at]) {
        *choice = (struct nt_tcp_choice){at, true};
        if (tcp->area[nt_tcp_binding_area(tcp, at)].state == NT_TCP_AREA_LIVE)
            binding = nt_tcp_slot_take_near(tcp, nt_tcp_binding_area(tcp, at));
    }
    return binding;
}

void nt_tcp_accept_head_to(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                           uint32_t head)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    if (own->head_moved != tcp->txn.number)
        own->old_head = listener->accept_head;
    own->head_moved = tcp->txn.number;
    nt_tcp_listener_touch(tcp, listener);
    listener->accept_head = head;
}

// Places in the ring for entries. What the head has passed may be overwritten once that is
// committed: a crash before takes it back.
static uint32_t room(const struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                     const struct nt_listener *region)
{
    const struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    uint32_t first = own->head_moved == tcp->txn.number ? own->old_head : listener->accept_head;
    uint32_t used = listener->accept_tail - first;
    bool reusable = nt_listener_reusable(region, listener->accept_tail);
    return reusable && used < region->entries ? region->entries - used : 0;
}

// Entries of two laps ago must not look shared once the index has gone round.
static void share_or_not(struct nt_listener *region, uint32_t index, bool shared)
{
    enum { FAR_BEHIND = 1 << 30 };
    uint32_t until = nt_load_relaxed(&region->header->shared_until);
    if (NT_UNLIKELY(shared))
        nt_listener_share(region, index + 1);
    else if (NT_UNLIKELY(index - until > FAR_BEHIND && index - until <= INT32_MAX))
        nt_listener_share(region, index - region->entries);
}

// Enters a connection at the tail, offered to who listens in area `to`. There is room.
static void enter(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                  struct nt_listener *region, struct nt_tcb *t, uint32_t to, bool shared)
{
    struct nt_accept_entry entry = {
        .area = t->area,
        .slot = t->slot,
        .generation = t->generation,
        .offered_to = (uint16_t)to,
        .offered_us = tcp->now_us,
        .peer = {.port = t->remote_port},
        .local = {.port = t->local_port},
    };
    nt_addr_copy(entry.peer.addr, t->remote_addr);
    nt_addr_copy(entry.local.addr, t->local_addr);
    nt_tcp_listener_touch(tcp, listener);
    nt_listener_fill(region, listener->accept_tail, &entry);
    if (nt_tcp_design_is_strict(region->design))
        share_or_not(region, listener->accept_tail, shared);
    nt_txn_crash_point(&tcp->txn);
    t->listener = (uint32_t)(listener - tcp->listener);
    t->accept_index = listener->accept_tail++;
    nt_tcp_listener_publish_later(tcp, listener);
}

// Only acceptors of design affinity look at it.
static void note_load(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                      const struct nt_listener *region)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    if (NT_LIKELY(region->design != NT_LISTEN_AFFINITY))
        return;
    uint32_t length = listener->accept_tail - listener->accept_head;
    bool busy = nt_busy_add(&own->busy, length, nt_min_u32(listener->backlog, region->entries));
    if (nt_load_relaxed(&region->header->busy) != busy)
        nt_store_relaxed(&region->header->busy, (uint32_t)busy);
    for (uint32_t lane = 0; lane < NT_STEERING_LANES_MAX; lane++) {
        uint32_t stolen = nt_load_relaxed(&region->claims->stolen_by[lane]);
        uint32_t more = stolen - own->stolen_by[lane];
        own->stolen_by[lane] = stolen;
        if (NT_LIKELY(more == 0) || !own->stolen_known) // by our predecessor
            continue;
        more = nt_min_u32(more, region->entries); // anybody can write anything there
        nt_tcp_count_n(tcp, NT_TCP_ACCEPT_STEALS, more);
        nt_tcp_count_n(tcp, (enum nt_tcp_counter)(NT_TCP_STOLEN_BY_0 + lane), more);
    }
    own->stolen_known = true;
}

// The slot is of the only member, which needs no choosing, unless others may come and not be
// allowed to take what is its.
static uint32_t bind_slot(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                          const struct nt_tcb *t, uint32_t design, struct nt_tcp_choice *choice)
{
    if (tcp->listeners[listener - tcp->listener].member_count != 1 ||
        nt_tcp_design_is_strict(design))
        return take_slot(tcp, listener, t, design, choice);
    *choice = (struct nt_tcp_choice){nt_tcp_speaker(tcp, listener), true};
    return nt_tcp_slot_take_near(tcp, listener->area);
}

bool nt_tcp_offer(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    struct nt_tcp_listener *listener = &tcp->listener[t->listener];
    struct nt_tcp_listener_private *own = &tcp->listeners[t->listener];
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (listener->state != NT_TCP_LISTENER_OPEN || nt_tcp_accept_queue_full(tcp, listener) ||
        room(tcp, listener, region) < 2) {
        nt_tcp_count(tcp, NT_TCP_LISTEN_OVERFLOWS);
        return false;
    }
    struct nt_tcp_choice choice;
    uint32_t binding = bind_slot(tcp, listener, t, region->design, &choice);
    if (binding == NT_NO_INDEX)
        return false;
    nt_tcp_slot_bind(tcp, binding, t);
    nt_tcp_listener_forget_syn(tcp, t);
    enter(tcp, listener, region, t, nt_tcp_binding_area(tcp, choice.member), choice.shared);
    note_load(tcp, listener, region);
    if (own->member_count != 1) {
        nt_tcp_publish_later(tcp, choice.member);
        nt_tcp_tell_soon(tcp, own);
    }
    return true;
}

// A connection that was offered in a slot of somebody who accepts no more: to a slot of somebody
// who does, if there is one.
static void rebind(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                   const struct nt_listener *region, struct nt_tcb *t)
{
    struct nt_tcp_choice choice;
    if (nt_tcp_member_of(tcp, listener, t->area) != NT_NO_INDEX)
        return;
    uint32_t binding = take_slot(tcp, listener, t, region->design, &choice);
    if (binding != NT_NO_INDEX)
        nt_tcp_move_offer(tcp, t, binding);
}

bool nt_tcp_enter_again(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                        struct nt_tcb *t)
{
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region == NULL)
        return false;
    // The last place is for the head, which then makes room for the next.
    bool is_head = t->listener == (uint32_t)(listener - tcp->listener) &&
                   t->accept_index == listener->accept_head;
    if (room(tcp, listener, region) < (is_head ? 1 : 2))
        return false;
    nt_tcb_touch(tcp, t);
    rebind(tcp, listener, region, t);
    uint32_t member = nt_tcp_member_of(tcp, listener, t->area);
    enter(tcp, listener, region, t,
          member == NT_NO_INDEX ? t->area : nt_tcp_binding_area(tcp, member), true);
    nt_tcp_tell_all(tcp, listener);
    nt_tcp_count(tcp, NT_TCP_ACCEPT_AGAIN);
    return true;
}

// Its listener ends. Another of the same name takes it over, as the ends of SO_REUSEPORT groups do
// where Linux has net.ipv4.tcp_migrate_req set. False: there is none.
bool nt_tcp_offer_elsewhere(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    struct nt_tcp_listener *heir =
        nt_tcp_listener_find(tcp, t->local_addr, t->local_port, t->remote_addr, t->remote_port);
    return heir != NULL && !nt_tcp_accept_queue_full(tcp, heir) && nt_tcp_enter_again(tcp, heir, t);
}
