// choose_reuseport.c: design reuseport: by the connection's hash, among those that accept.
//
// As if every process had a socket of its own with SO_REUSEPORT. Linux 3.9 walks all of a port's
// sockets for each SYN, which is what Fastsocket §2.1 measures as O(n); so does this, twice, and
// ACCEPT_LOOKS counts how many. (Sockets that really are separate are chosen among in listen.c, the
// same way.) Nobody else takes the connection, unless nobody accepts: then it is the first's who
// does.
//
// Where Linux resets what waits in the queue of a process that dies, claims.c shares it.
#include "servers/tcp/choose.h"

// Not the steering's hash: connections of one lane differ in it as all do.
static uint32_t flow_hash(const struct nt_tcb *t)
{
    uint32_t hash = nt_addr_hash(t->remote_addr) ^ t->remote_port * UINT32_C(2654435761);
    hash ^= hash >> 16;
    return hash * UINT32_C(0x85ebca6b);
}

struct nt_tcp_choice nt_tcp_choose_reuseport(struct nt_tcp_engine *tcp,
                                             const struct nt_tcp_listener *listener,
                                             const struct nt_tcb *t)
{
    uint32_t first = tcp->listeners[listener - tcp->listener].members;
    uint32_t count = 0, looks = 0, chosen = NT_NO_INDEX;
    for (uint32_t at = first; at != NT_NO_INDEX; at = tcp->binding_next[at], looks++)
        count += nt_tcp_accepting(tcp, at) != 0;
    uint32_t choice = (uint32_t)((uint64_t)flow_hash(t) * count >> 32);
    for (uint32_t at = first; at != NT_NO_INDEX && chosen == NT_NO_INDEX; looks++) {
        if (nt_tcp_accepting(tcp, at) != 0 && choice-- == 0)
            chosen = at;
        at = tcp->binding_next[at];
    }
    nt_tcp_count_n(tcp, NT_TCP_ACCEPT_LOOKS, looks);
    return (struct nt_tcp_choice){.member = chosen, .shared = chosen == NT_NO_INDEX};
}
