// acceptors.c: who accepts from a listening socket, and who is told of what waits there.
//
// A listener's members are the slots of kind LISTENER that name it, one a program; a list of them
// is private. An acceptor is a member whose program block says `accepting`: a hint, read when a
// connection is to be offered, so that a master that only holds the socket gets none while somebody
// accepts (Fastsocket §3.2.1: its local_listen()).
//
// A connection is offered (offer.c) to one of them, whom the host's listen design chooses
// (choose.h), and who is told. What he has not taken after a millisecond is told to all that may
// take it, ever more slowly, so that a program that did not take its chance gets another. Where the
// design lets nobody else take it, and the queue's head has not moved for NT_TCP_STUCK_NS, what
// waits is anybody's from then on: so no design strands a connection in the hands of a process that
// accepts no more and says nothing.
//
// Who leaves keeps the claim words mapped. So all that a member has claimed is settled before it is
// taken off (claims.c), and what was offered to it is withdrawn and entered again.
//
// With a single member none of this happens: who else could claim.
#include "servers/tcp/acceptors.h"

#include <errno.h>

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
    nt_tcp_local_forget(own);
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
    nt_tcp_local_forget(own);
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

uint32_t nt_tcp_speaker(const struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
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
    if (tcp->listeners[index].member_count > 1) // some of what waits may be stuck
        nt_tcp_tell_soon(tcp, &tcp->listeners[index]);
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
    bool spoke = nt_tcp_speaker(tcp, listener) == binding;
    unlink_member(tcp, binding);
    if (spoke)
        speak_for(tcp, listener, tcp->listeners[listener - tcp->listener].members);
    tcp->unsettled = true; // what it was offered is the others' now
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_tell_all(tcp, listener);
}

// -- Telling -------------------------------------------------------------------------------------

void nt_tcp_tell_soon(struct nt_tcp_engine *tcp, struct nt_tcp_listener_private *own)
{
    uint64_t at_ns = tcp->now_ns + TELL_FIRST_NS;
    if (own->tell_ns != 0 && own->tell_ns <= at_ns)
        return;
    tcp->telling += own->tell_ns == 0;
    own->tell_ns = at_ns;
    own->tell_step_ns = TELL_FIRST_NS;
}

// All that accept: who only holds the socket looks for himself when he begins to.
void nt_tcp_tell_all(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    for (uint32_t at = own->members; at != NT_NO_INDEX; at = tcp->binding_next[at])
        if (nt_tcp_accepting(tcp, at) != 0)
            nt_tcp_publish_later(tcp, at);
    if (own->member_count > 1)
        nt_tcp_tell_soon(tcp, own);
}

// Those that may take entry `index`, which is not shared.
static void tell_some(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                      const struct nt_listener *region, uint32_t index)
{
    uint32_t to = region->entry[index & (region->entries - 1)].offered_to;
    uint32_t at = tcp->listeners[listener - tcp->listener].members;
    for (; at != NT_NO_INDEX; at = tcp->binding_next[at])
        if (nt_tcp_binding_area(tcp, at) == to || (region->design == NT_LISTEN_FASTSOCKET &&
                                                   nt_tcp_is_local(tcp, nt_tcp_accepting(tcp, at))))
            nt_tcp_publish_later(tcp, at);
}

// The first entry in the ring that can still be claimed; false: there is none.
static bool first_open(const struct nt_tcp_listener *listener, const struct nt_listener *region,
                       uint32_t *index)
{
    for (*index = listener->accept_head; *index != listener->accept_tail; (*index)++)
        if (nt_listener_is_open(region, *index))
            return true;
    return false;
}

// Only some may take entry `index`, the oldest. True: nobody has for so long that anybody may now.
static bool share_if_stuck(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                           struct nt_listener *region, uint32_t index)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    if (own->stuck_index != index || own->stuck_ns == 0) {
        own->stuck_index = index;
        own->stuck_ns = tcp->now_ns;
    }
    if (tcp->now_ns - own->stuck_ns < NT_TCP_STUCK_NS)
        return false;
    nt_listener_share(region, listener->accept_tail);
    nt_tcp_count(tcp, NT_TCP_ACCEPT_RESCUES);
    return true;
}

// What one acceptor was told of and nobody has taken is everybody's who may take it: told to all of
// them, ever more slowly, so that a program that did not take its chance gets another.
static void tell_again(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    uint64_t step_ns = own->tell_step_ns;
    uint32_t index;
    own->tell_ns = 0;
    tcp->telling--;
    if (own->member_count < 2 || listener->state != NT_TCP_LISTENER_OPEN || region == NULL ||
        !first_open(listener, region, &index))
        return;
    bool for_all = !nt_tcp_design_is_strict(region->design) ||
                   nt_listener_is_shared(region, index) ||
                   share_if_stuck(tcp, listener, region, index);
    if (for_all) {
        nt_tcp_count(tcp, NT_TCP_ACCEPT_REMINDERS);
        nt_tcp_tell_all(tcp, listener);
    } else {
        tell_some(tcp, listener, region, index);
        tcp->telling += own->tell_ns == 0;
    }
    own->tell_step_ns = step_ns == 0 ? TELL_FIRST_NS : nt_min_u64(2 * step_ns, TELL_LAST_NS);
    if (!for_all)
        own->tell_step_ns = nt_min_u64(own->tell_step_ns, NT_TCP_STUCK_NS);
    own->tell_ns = tcp->now_ns + own->tell_step_ns;
}

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
            done += nt_tcp_settle_all(tcp, listener);
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
