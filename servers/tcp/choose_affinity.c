// choose_affinity.c: design affinity: who is woken (Affinity-Accept §3.3.1, "Polling").
//
// First who waits on the lane's own core; if nobody does, who waits on another core whose lane is
// not busy, in turn; if nobody waits, who accepts on the lane's core will come by. Whether another
// core's lane is busy its processes have said when they accepted last, so no lane looks into
// another's memory.
#include "servers/tcp/choose.h"

// The next in turn who waits and is not busy; `any`: the next who accepts at all.
static uint32_t remote_waiter(struct nt_tcp_engine *tcp, struct nt_tcp_listener_private *own,
                              uint32_t *any)
{
    enum { LOOKS = 32 };
    uint32_t at = own->turn, looks = 0, found = NT_NO_INDEX;
    *any = NT_NO_INDEX;
    while (looks < nt_min_u32(own->member_count, LOOKS) && found == NT_NO_INDEX) {
        if (at == NT_NO_INDEX)
            at = own->members;
        looks++;
        uint32_t accepting = nt_tcp_accepting(tcp, at);
        if (accepting != 0 && *any == NT_NO_INDEX)
            *any = at;
        if (accepting != 0 && (accepting & NT_ACCEPTING_BUSY) == 0 && nt_tcp_is_idle(tcp, at))
            found = at;
        at = tcp->binding_next[at];
    }
    nt_tcp_count_n(tcp, NT_TCP_ACCEPT_LOOKS, looks);
    return found;
}

struct nt_tcp_choice nt_tcp_choose_affinity(struct nt_tcp_engine *tcp,
                                            const struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    bool waits;
    uint32_t local = nt_tcp_local_member(tcp, listener, &waits);
    if (local != NT_NO_INDEX && waits)
        return (struct nt_tcp_choice){.member = local, .shared = true};
    uint32_t any, remote = remote_waiter(tcp, own, &any);
    if (remote == NT_NO_INDEX && local == NT_NO_INDEX)
        remote = any;
    if (remote != NT_NO_INDEX)
        own->turn = tcp->binding_next[remote];
    return (struct nt_tcp_choice){.member = remote != NT_NO_INDEX ? remote : local, .shared = true};
}
