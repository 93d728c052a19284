// choose_turn.c: designs stock and fine: who waits, in turn, else who accepts, in turn.
//
// Nobody's core counts. Linux, too, wakes one waiter of accept() alone, the one that has waited
// longest (prepare_to_wait_exclusive()), which comes to taking turns.
#include "servers/tcp/choose.h"

struct nt_tcp_choice nt_tcp_choose_in_turn(struct nt_tcp_engine *tcp,
                                           const struct nt_tcp_listener *listener)
{
    enum { LOOKS = 32 };
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    uint32_t best = NT_NO_INDEX, at = own->turn, looks = 0;
    while (looks < nt_min_u32(own->member_count, LOOKS)) {
        if (at == NT_NO_INDEX)
            at = own->members;
        looks++;
        bool wanted = nt_tcp_accepting(tcp, at) != 0;
        if (wanted && nt_tcp_is_idle(tcp, at)) {
            best = at;
            break;
        }
        if (wanted && best == NT_NO_INDEX)
            best = at;
        at = tcp->binding_next[at];
    }
    nt_tcp_count_n(tcp, NT_TCP_ACCEPT_LOOKS, looks);
    if (best != NT_NO_INDEX)
        own->turn = tcp->binding_next[best];
    return (struct nt_tcp_choice){.member = best, .shared = true};
}
