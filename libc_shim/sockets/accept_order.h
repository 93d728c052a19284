// accept_order.h: in which lanes accept() looks, and in which order: the listen designs.
//
// One interface, one small file a design. Every order names all lanes, so a design never leaves a
// connection unseen; it decides what is taken first.
//
//   fine      accept_fine.c      the lanes in turn (Affinity-Accept §6.2's Fine-Accept)
//   affinity  accept_affinity.c  the lane of the process's core first, stealing 5:1 from busy ones
//                                (Affinity-Accept §3.3.1)
#ifndef NT_SHIM_ACCEPT_ORDER_H
#define NT_SHIM_ACCEPT_ORDER_H

#include "libc_shim/sockets/socket.h"

struct nt_accept_lanes {
    uint32_t count;
    const struct nt_listener *ring[16]; // NT_SOCK_LANES_MAX
    uint32_t core;                      // on which the caller runs
    uint32_t turn;                      // counts the calls
};

// Fills `order` with indices of lanes, each once; returns how many of them at its beginning are
// steals: a lane that is not the caller's own comes before it.
uint32_t nt_accept_fine(const struct nt_accept_lanes *lanes, uint32_t *order);
uint32_t nt_accept_affinity(const struct nt_accept_lanes *lanes, uint32_t *order);

#ifndef NT_CDEF
static inline uint32_t nt_accept_order(const struct nt_accept_lanes *lanes, uint32_t *order)
{
    switch ((enum nt_listen_design)lanes->ring[0]->header->design) {
    case NT_LISTEN_FINE:
        break;
    case NT_LISTEN_AFFINITY:
        return nt_accept_affinity(lanes, order);
    }
    return nt_accept_fine(lanes, order);
}
#endif

#endif
