// choose.h: whom a connection is offered to, and who is woken for it: the listen designs.
//
// One interface, one small file a design; in which order accept() then looks at the lanes is in
// libc_shim/sockets/accept_*.c beside it. A lane chooses among the members of its listener, one a
// process, by what they have written into their slots (`accepting`, listener.h): that they accept,
// and on which core. That is a hint, so nothing is lost by it being wrong.
//
//   stock, fine  choose_turn.c        who waits, in turn; else who accepts, in turn
//   reuseport    choose_reuseport.c   by the connection's hash, and nobody else takes it
//   affinity     choose_affinity.c    who waits on the lane's core; else who waits on a core that
//   is
//                                     not busy (Affinity-Accept §3.3.1)
//   fastsocket   choose_fastsocket.c  the local listen table; if that is empty, the global one
//                                     (Fastsocket §3.2.1)
#ifndef NT_TCP_CHOOSE_H
#define NT_TCP_CHOOSE_H

#include "servers/tcp/context.h"

struct nt_tcp_choice {
    uint32_t member; // its binding; NT_NO_INDEX: nobody accepts
    bool shared;     // anybody may take it; of no account where a design always allows that
};

struct nt_tcp_choice nt_tcp_choose_in_turn(struct nt_tcp_engine *tcp,
                                           const struct nt_tcp_listener *listener);
struct nt_tcp_choice nt_tcp_choose_reuseport(struct nt_tcp_engine *tcp,
                                             const struct nt_tcp_listener *listener,
                                             const struct nt_tcb *t);
struct nt_tcp_choice nt_tcp_choose_affinity(struct nt_tcp_engine *tcp,
                                            const struct nt_tcp_listener *listener);
struct nt_tcp_choice nt_tcp_choose_fastsocket(struct nt_tcp_engine *tcp,
                                              const struct nt_tcp_listener *listener);

static inline struct nt_tcp_choice nt_tcp_choose(struct nt_tcp_engine *tcp,
                                                 const struct nt_tcp_listener *listener,
                                                 const struct nt_tcb *t, uint32_t design)
{
    switch ((enum nt_listen_design)design) {
    case NT_LISTEN_REUSEPORT:
        return nt_tcp_choose_reuseport(tcp, listener, t);
    case NT_LISTEN_AFFINITY:
        return nt_tcp_choose_affinity(tcp, listener);
    case NT_LISTEN_FASTSOCKET:
        return nt_tcp_choose_fastsocket(tcp, listener);
    case NT_LISTEN_STOCK:
    case NT_LISTEN_FINE:
        break;
    }
    return nt_tcp_choose_in_turn(tcp, listener);
}

// Whether a design leaves what is not shared to whom it is offered to.
static inline bool nt_tcp_design_is_strict(uint32_t design)
{
    return design == NT_LISTEN_REUSEPORT || design == NT_LISTEN_FASTSOCKET;
}

// A member's word `accepting`; 0: it does not, or its program is gone.
static inline uint32_t nt_tcp_accepting(const struct nt_tcp_engine *tcp, uint32_t binding)
{
    uint32_t area = nt_tcp_binding_area(tcp, binding);
    const struct nt_tcp_area_private *own = &tcp->areas[area];
    if (tcp->area[area].state != NT_TCP_AREA_LIVE || !own->attached)
        return 0;
    return nt_load_relaxed(&own->view.slot_program[nt_tcp_binding_slot(tcp, binding)].accepting);
}

// It has nothing to do, and was not given anything in this batch either.
static inline bool nt_tcp_is_idle(const struct nt_tcp_engine *tcp, uint32_t binding)
{
    const struct nt_area *area = &tcp->areas[nt_tcp_binding_area(tcp, binding)].view;
    const struct nt_slot_program *program = &area->slot_program[nt_tcp_binding_slot(tcp, binding)];
    uint32_t queue = nt_load_relaxed(&program->queue);
    return !tcp->binding_dirty[binding] && queue < NT_AREA_QUEUES &&
           nt_load_relaxed(&area->queue[queue].sleeping) != 0;
}

// local_table.c: the lane's local listen table: members that accept on the lane's core.
// One of them, in turn, who waits if there is one (`waits`); NT_NO_INDEX: there is none.
uint32_t nt_tcp_local_member(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                             bool *waits);
// To be made anew: members have come or gone.
void nt_tcp_local_forget(struct nt_tcp_listener_private *own);
bool nt_tcp_is_local(const struct nt_tcp_engine *tcp, uint32_t accepting);

#endif
