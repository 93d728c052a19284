// acceptors.c: who accepts from a listening socket, who gets a connection, and who took it.
//
// A listener's members are the slots of kind LISTENER that name it, one a program; a list of them
// is private. An acceptor is a member whose program block says `accepting`: a hint, read when a
// connection is to be offered, so that a master that only holds the socket gets none while somebody
// accepts (Fastsocket §3.2.1: its local_listen()).
//
// A connection is offered from the end of its handshake until its acceptor's slot is seen to be
// used: PASSIVE without TAKEN. It is bound to a slot of the acceptor chosen, and may be claimed for
// any other granted slot of a member (listener.h): the claim is settled, that is, the connection
// moved there, when the claimant asks for it or when the accept queue's head comes by, whichever is
// first. A claim by a process that died before it was settled is void: the connection is entered
// again, under a new index. What cannot be right costs the connection.
//
// Who leaves keeps the claim words mapped. So all that a member has claimed is settled before it is
// taken off, and from then on its claims are void, too: they are entered again, in a slot of
// somebody who is a member. What was offered in its slots is withdrawn and entered again likewise.
//
// With a single member none of this happens: who else could claim.
#include <errno.h>

#include "servers/tcp/context.h"

enum { TELL_FIRST_NS = 1000000, TELL_LAST_NS = 1024000000 };

struct nt_listener *nt_tcp_listener_region(struct nt_tcp_engine *tcp,
                                           const struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    for (uint32_t i = 0; own->region == NT_NO_INDEX && i < tcp->config.shape.listeners; i++)
        if (tcp->region[i].mapped && tcp->region[i].number == listener->number)
            own->region = i;
    if (own->region == NT_NO_INDEX || !tcp->region[own->region].mapped ||
        tcp->region[own->region].number != listener->number)
        return NULL;
    return &tcp->region[own->region].view;
}

void nt_tcp_listener_publish_later(struct nt_tcp_engine *tcp,
                                   const struct nt_tcp_listener *listener)
{
    uint32_t index = (uint32_t)(listener - tcp->listener);
    for (uint32_t i = 0; i < tcp->dirty_listener_count; i++)
        if (tcp->dirty_listener[i] == index)
            return;
    tcp->dirty_listener[tcp->dirty_listener_count++] = index;
}

struct nt_tcp_listener *nt_tcp_listener_numbered(struct nt_tcp_engine *tcp, uint32_t number)
{
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++)
        if (tcp->listener[i].state == NT_TCP_LISTENER_OPEN && tcp->listener[i].number == number)
            return &tcp->listener[i];
    return NULL;
}

bool nt_tcp_listener_is_here(const struct nt_tcp_engine *tcp, uint32_t number)
{
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++)
        if (tcp->listener[i].state != NT_TCP_LISTENER_FREE && tcp->listener[i].number == number)
            return true;
    return false;
}

// -- Members -------------------------------------------------------------------------------------

void nt_tcp_member_link(struct nt_tcp_engine *tcp, uint32_t binding)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[tcp->binding[binding].object];
    tcp->binding_next[binding] = own->members;
    own->members = binding;
    own->turn = binding;
    own->shared = own->shared || own->member_count != 0;
    own->member_count++;
}

static void unlink_member(struct nt_tcp_engine *tcp, uint32_t binding)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[tcp->binding[binding].object];
    uint32_t *link = &own->members;
    while (*link != binding)
        link = &tcp->binding_next[*link];
    *link = tcp->binding_next[binding];
    own->turn = own->members;
    own->member_count--;
    own->shared = true;
}

// The member of the program that `area` is of, or NT_NO_INDEX.
uint32_t nt_tcp_member_of(const struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                          uint32_t area)
{
    uint32_t at = tcp->listeners[listener - tcp->listener].members;
    while (at != NT_NO_INDEX && !nt_tcp_one_program(tcp, nt_tcp_binding_area(tcp, at), area))
        at = tcp->binding_next[at];
    return at;
}

// The member whose options connections inherit, and who gets them while nobody accepts.
static void speak_for(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener, uint32_t binding)
{
    nt_tcp_listener_touch(tcp, listener);
    listener->area = NT_TCP_NO_AREA;
    if (binding == NT_NO_INDEX)
        return;
    listener->area = (uint16_t)nt_tcp_binding_area(tcp, binding);
    listener->slot = (uint16_t)nt_tcp_binding_slot(tcp, binding);
    listener->generation = tcp->binding[binding].generation;
}

static uint32_t speaker(const struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    return listener->area == NT_TCP_NO_AREA
               ? NT_NO_INDEX
               : nt_tcp_binding_index(tcp, listener->area, listener->slot);
}

// Handshakes that found nobody to bind the connection to are asked to end once more.
static uint32_t ask_again(struct nt_tcp_engine *tcp, uint32_t index)
{
    uint32_t done = 0;
    tcp->listeners[index].ask_again = false;
    for (uint32_t i = 0; i < tcp->config.shape.tcbs; i++) {
        struct nt_tcb *t = &tcp->tcb[i];
        if (t->state != NT_TCP_SYN_RCVD || t->listener != index)
            continue;
        nt_tcb_touch(tcp, t);
        t->flags |= NT_TCB_SYN_DUE;
        nt_tcp_send_control(tcp, t);
        nt_tcp_commit_if_full(tcp);
        done++;
    }
    return done;
}

void nt_tcp_member_add(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                       uint32_t binding)
{
    uint32_t index = (uint32_t)(listener - tcp->listener);
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
    b->kind = NT_TCP_BINDING_LISTENER;
    b->object = index;
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_member_link(tcp, binding);
    if (listener->area != NT_TCP_NO_AREA)
        return;
    speak_for(tcp, listener, binding);
    tcp->listeners[index].ask_again = tcp->listeners[index].syn_count != 0;
    tcp->unsettled = tcp->unsettled || tcp->listeners[index].ask_again;
}

// The program of `area` accepts, too; its slot, and 0 or an errno.
uint32_t nt_tcp_join(struct nt_tcp_engine *tcp, uint32_t number, uint32_t area, uint32_t *binding)
{
    struct nt_tcp_listener *listener = nt_tcp_listener_numbered(tcp, number);
    if (listener == NULL || area >= NT_TCP_AREAS || tcp->area[area].state != NT_TCP_AREA_LIVE)
        return EBADF;
    *binding = nt_tcp_member_of(tcp, listener, area);
    if (*binding != NT_NO_INDEX) { // unless it is just leaving
        nt_tcp_sweep_slot(tcp, nt_tcp_binding_area(tcp, *binding),
                          nt_tcp_binding_slot(tcp, *binding));
        *binding = nt_tcp_member_of(tcp, listener, area);
    }
    const struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region != NULL && listener->backlog != region->header->backlog) { // it listens again
        nt_tcp_listener_touch(tcp, listener);
        listener->backlog = region->header->backlog;
    }
    if (*binding != NT_NO_INDEX)
        return 0;
    if (listener->state != NT_TCP_LISTENER_OPEN)
        return EBADF;
    *binding = nt_tcp_slot_take(tcp, area);
    if (*binding == NT_NO_INDEX)
        return ENOBUFS;
    nt_tcp_member_add(tcp, listener, *binding);
    return 0;
}

// Takes a member off; its binding is the caller's then, who has called nt_tcp_member_leaves().
void nt_tcp_member_remove(struct nt_tcp_engine *tcp, uint32_t binding)
{
    struct nt_tcp_listener *listener = &tcp->listener[tcp->binding[binding].object];
    bool spoke = speaker(tcp, listener) == binding;
    unlink_member(tcp, binding);
    if (spoke)
        speak_for(tcp, listener, tcp->listeners[listener - tcp->listener].members);
    tcp->unsettled = true; // what it was offered is the others' now
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_tell_all(tcp, listener);
}

// -- Telling -------------------------------------------------------------------------------------

static void tell_by(struct nt_tcp_engine *tcp, struct nt_tcp_listener_private *own, uint64_t at_ns)
{
    if (own->tell_ns != 0 && own->tell_ns <= at_ns)
        return;
    tcp->telling += own->tell_ns == 0;
    own->tell_ns = at_ns;
    own->tell_step_ns = TELL_FIRST_NS;
}

static bool accepts(const struct nt_tcp_engine *tcp, uint32_t binding);

// All that accept: who only holds the socket looks for himself when he begins to.
void nt_tcp_tell_all(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    for (uint32_t at = own->members; at != NT_NO_INDEX; at = tcp->binding_next[at])
        if (accepts(tcp, at))
            nt_tcp_publish_later(tcp, at);
    if (own->member_count > 1)
        tell_by(tcp, own, tcp->now_ns + TELL_FIRST_NS);
}

// True if something in the ring can still be claimed.
static bool any_open(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    const struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region == NULL || listener->state != NT_TCP_LISTENER_OPEN)
        return false;
    for (uint32_t i = listener->accept_head; i != listener->accept_tail; i++)
        if (nt_listener_is_open(region, i))
            return true;
    return false;
}

// What one acceptor was told of and nobody has taken is everybody's: told to all, ever more slowly,
// so that a program that did not take its chance gets another.
static void tell_again(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    uint64_t step_ns = own->tell_step_ns;
    own->tell_ns = 0;
    tcp->telling--;
    if (own->member_count < 2 || !any_open(tcp, listener))
        return;
    nt_tcp_count(tcp, NT_TCP_ACCEPT_REMINDERS);
    nt_tcp_tell_all(tcp, listener);
    own->tell_step_ns = step_ns == 0 ? TELL_FIRST_NS : nt_min_u64(2 * step_ns, TELL_LAST_NS);
    own->tell_ns = tcp->now_ns + own->tell_step_ns;
}

static uint32_t settle_all(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener);

uint32_t nt_tcp_acceptors_look(struct nt_tcp_engine *tcp)
{
    uint32_t done = 0;
    bool unsettled = tcp->unsettled;
    tcp->unsettled = false;
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++) {
        struct nt_tcp_listener *listener = &tcp->listener[i];
        if (listener->state == NT_TCP_LISTENER_OPEN && tcp->listeners[i].ask_again)
            done += ask_again(tcp, i);
        if (unsettled && listener->state == NT_TCP_LISTENER_OPEN && tcp->listeners[i].shared)
            done += settle_all(tcp, listener);
        if (tcp->listeners[i].tell_ns != 0 && tcp->listeners[i].tell_ns <= tcp->now_ns) {
            tell_again(tcp, listener);
            done++;
        }
    }
    return done;
}

uint64_t nt_tcp_acceptors_next_ns(const struct nt_tcp_engine *tcp)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; tcp->telling != 0 && i < tcp->config.shape.listeners; i++)
        if (tcp->listeners[i].tell_ns != 0)
            first = nt_min_u64(first, tcp->listeners[i].tell_ns);
    return first;
}

// -- Choosing ------------------------------------------------------------------------------------

static bool accepts(const struct nt_tcp_engine *tcp, uint32_t binding)
{
    uint32_t area = nt_tcp_binding_area(tcp, binding);
    const struct nt_tcp_area_private *own = &tcp->areas[area];
    if (tcp->area[area].state != NT_TCP_AREA_LIVE || !own->attached)
        return false;
    uint32_t slot = nt_tcp_binding_slot(tcp, binding);
    return nt_load_relaxed(&own->view.slot_program[slot].accepting) != 0;
}

// It has nothing to do, and was not given anything in this batch either.
static bool idle(const struct nt_tcp_engine *tcp, uint32_t binding)
{
    const struct nt_area *area = &tcp->areas[nt_tcp_binding_area(tcp, binding)].view;
    const struct nt_slot_program *program = &area->slot_program[nt_tcp_binding_slot(tcp, binding)];
    uint32_t queue = nt_load_relaxed(&program->queue);
    return !tcp->binding_dirty[binding] && queue < NT_AREA_QUEUES &&
           nt_load_relaxed(&area->queue[queue].sleeping) != 0;
}

// The next in turn of those that are idle, else of those that accept, else who speaks for all.
static uint32_t choose(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    enum { LOOKS = 32 };
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    uint32_t best = NT_NO_INDEX, at = own->turn;
    for (uint32_t i = 0; i < nt_min_u32(own->member_count, LOOKS); i++) {
        if (at == NT_NO_INDEX)
            at = own->members;
        bool wanted = accepts(tcp, at);
        if (wanted && idle(tcp, at)) {
            best = at;
            break;
        }
        if (wanted && best == NT_NO_INDEX)
            best = at;
        at = tcp->binding_next[at];
    }
    if (best == NT_NO_INDEX)
        return speaker(tcp, listener);
    own->turn = tcp->binding_next[best];
    return best;
}

// A slot for a new connection, bound to it; NT_NO_INDEX: nobody has one. *member: whose.
static uint32_t take_slot(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                          uint32_t *member)
{
    *member = choose(tcp, listener);
    if (*member == NT_NO_INDEX)
        return NT_NO_INDEX;
    uint32_t binding = nt_tcp_slot_take_near(tcp, nt_tcp_binding_area(tcp, *member));
    uint32_t at = tcp->listeners[listener - tcp->listener].members;
    for (; binding == NT_NO_INDEX && at != NT_NO_INDEX; at = tcp->binding_next[at]) {
        *member = at;
        if (tcp->area[nt_tcp_binding_area(tcp, at)].state == NT_TCP_AREA_LIVE)
            binding = nt_tcp_slot_take_near(tcp, nt_tcp_binding_area(tcp, at));
    }
    return binding;
}

// -- Offering ------------------------------------------------------------------------------------

static void move_head(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener, uint32_t head)
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

// Enters a connection at the tail, offered to who listens in area `to`. There is room.
static void enter(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                  struct nt_listener *region, struct nt_tcb *t, uint32_t to)
{
    struct nt_accept_entry entry = {
        .area = t->area,
        .slot = t->slot,
        .generation = t->generation,
        .offered_to = to,
        .peer = {.port = t->remote_port},
        .local = {.port = t->local_port},
    };
    nt_addr_copy(entry.peer.addr, t->remote_addr);
    nt_addr_copy(entry.local.addr, t->local_addr);
    nt_tcp_listener_touch(tcp, listener);
    nt_listener_fill(region, listener->accept_tail, &entry);
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
    if (NT_LIKELY(region->header->design != NT_LISTEN_AFFINITY))
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

bool nt_tcp_offer(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    struct nt_tcp_listener *listener = &tcp->listener[t->listener];
    struct nt_tcp_listener_private *own = &tcp->listeners[t->listener];
    if (listener->state != NT_TCP_LISTENER_OPEN || nt_tcp_accept_queue_full(tcp, listener) ||
        room(tcp, listener, nt_tcp_listener_region(tcp, listener)) < 2) {
        nt_tcp_count(tcp, NT_TCP_LISTEN_OVERFLOWS);
        return false;
    }
    uint32_t member = NT_NO_INDEX;
    uint32_t binding = own->member_count == 1 ? nt_tcp_slot_take_near(tcp, listener->area)
                                              : take_slot(tcp, listener, &member);
    if (binding == NT_NO_INDEX)
        return false;
    nt_tcp_slot_bind(tcp, binding, t);
    nt_tcp_listener_forget_syn(tcp, t);
    enter(tcp, listener, nt_tcp_listener_region(tcp, listener), t,
          member == NT_NO_INDEX ? listener->area : nt_tcp_binding_area(tcp, member));
    note_load(tcp, listener, nt_tcp_listener_region(tcp, listener));
    if (member != NT_NO_INDEX) {
        nt_tcp_publish_later(tcp, member);
        tell_by(tcp, own, tcp->now_ns + TELL_FIRST_NS);
    }
    return true;
}

// A connection that was offered in a slot of somebody who accepts no more: to a slot of somebody
// who does, if there is one.
static void rebind(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                   struct nt_tcb *t)
{
    uint32_t member, binding;
    if (nt_tcp_member_of(tcp, listener, t->area) != NT_NO_INDEX)
        return;
    binding = take_slot(tcp, listener, &member);
    if (binding != NT_NO_INDEX)
        nt_tcp_move_offer(tcp, t, binding);
}

// Enters it once more; false: no room just now.
static bool enter_again(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
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
    rebind(tcp, listener, t);
    uint32_t member = nt_tcp_member_of(tcp, listener, t->area);
    enter(tcp, listener, region, t,
          member == NT_NO_INDEX ? t->area : nt_tcp_binding_area(tcp, member));
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
    return heir != NULL && !nt_tcp_accept_queue_full(tcp, heir) && enter_again(tcp, heir, t);
}

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
    bool entered_again = enter_again(tcp, listener, t);
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

static uint32_t settle_all(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    const struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    uint32_t done = 0, tail = listener->accept_tail;
    for (uint32_t i = listener->accept_head; region != NULL && i != tail; i++) {
        enum settled settled = settle(tcp, listener, region, i);
        done += settled == SETTLED_NOW;
        if (settled != SETTLED_NOT && i == listener->accept_head)
            move_head(tcp, listener, i + 1);
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
        move_head(tcp, listener, head);
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
    return !unsettled && !enter_again(tcp, listener, t);
}
