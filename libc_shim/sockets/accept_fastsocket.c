// accept_fastsocket.c: the global listen table first, then the caller's own (Fastsocket §3.2.1).
//
// A process's first accept, poll or epoll_ctl is its local_listen(): it puts it into the local
// listen table of the lane whose TCP server runs on its core. A connection of a lane without such a
// process, or whose processes died, is in the global table: its entry is shared. The global table
// comes first, for it would starve behind a lane that never runs dry; the look costs one word a
// lane, and no lock, as long as nothing is shared. A process that is local to no lane serves all.
#include "libc_shim/sockets/accept_order.h"

void nt_accept_fastsocket(const struct nt_accept_lanes *lanes, struct nt_accept_order *order)
{
    uint32_t own = nt_accept_own_lane(lanes, 0);
    for (uint32_t i = 0; i < lanes->count; i++)
        nt_accept_look_at(order, (lanes->turn % lanes->count + i) % lanes->count,
                          own == lanes->count ? NT_LISTENER_ANY : NT_LISTENER_SHARED);
    for (; own < lanes->count; own = nt_accept_own_lane(lanes, own + 1))
        nt_accept_look_at(order, own, NT_LISTENER_ANY);
}
