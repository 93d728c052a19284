// accept_fine.c: the lanes in turn: each accept() begins with the next.
//
// Fair to all lanes, and blind to where the caller runs: with N lanes, one connection in N is
// local.
#include "libc_shim/sockets/accept_order.h"

void nt_accept_fine(const struct nt_accept_lanes *lanes, struct nt_accept_order *order)
{
    for (uint32_t i = 0; i < lanes->count; i++)
        nt_accept_look_at(order, (lanes->turn % lanes->count + i) % lanes->count, NT_LISTENER_ANY);
}
