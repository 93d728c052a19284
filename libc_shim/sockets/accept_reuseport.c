// accept_reuseport.c: each process has a queue of its own, and looks at nobody else's.
//
// As if every process had a socket of its own with SO_REUSEPORT: the TCP server chose whose a
// connection is by its hash (servers/tcp/choose_reuseport.c), and nobody else takes it, however
// long it waits, and however idle he is. Of each lane's ring the caller sees what is offered to it,
// the lanes in turn. Other than in Linux, what was offered to a process that dies is shared.
#include "libc_shim/sockets/accept_order.h"

void nt_accept_reuseport(const struct nt_accept_lanes *lanes, struct nt_accept_order *order)
{
    for (uint32_t i = 0; i < lanes->count; i++)
        nt_accept_look_at(order, (lanes->turn % lanes->count + i) % lanes->count, NT_LISTENER_OWN);
}
