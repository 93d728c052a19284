// accept_order.h: in which lanes accept() looks, in which order, and at what: the listen designs.
//
// A listening socket has one accept ring a lane. One interface, one small file a design; what the
// TCP server does for each, whom it offers a connection to and wakes, is in servers/tcp/choose_*.c
// beside it.
//
//   stock      accept_stock.c       the connection that has waited longest, of all lanes: one queue
//   fine       accept_fine.c        the lanes in turn (Affinity-Accept §6.2's Fine-Accept)
//   reuseport  accept_reuseport.c   the lanes in turn, and only what is offered to the caller
//   affinity   accept_affinity.c    the lane of the process's core first, stealing 5:1 from busy
//                                   ones (Affinity-Accept §3.3.1)
//   fastsocket accept_fastsocket.c  the global table first, then the lane of the process's core
//                                   (Fastsocket §3.2.1)
//
// stock, fine and affinity look at every lane. The other two leave entries to whom they are offered
// to, until the server shares them: `shared_until` in the ring's header.
//
// poll() looks as accept() does, so that neither ever says what the other doesn't.
#ifndef NT_SHIM_ACCEPT_ORDER_H
#define NT_SHIM_ACCEPT_ORDER_H

#include "libc_shim/sockets/socket.h"

struct nt_accept_lanes {
    uint32_t count;
    struct nt_listener *ring[16]; // NT_SOCK_LANES_MAX
    uint32_t core;                // that the caller accepts on; UINT32_MAX: none known
    uint32_t turn;                // counts the calls
};

struct nt_accept_look {
    uint8_t lane;  // index in nt_accept_lanes.ring
    uint8_t scope; // enum nt_listener_scope
    bool is_steal; // what is found there is stolen from a busy lane
};

struct nt_accept_order {
    uint32_t count;
    struct nt_accept_look look[32]; // each lane twice at most
};

// Each fills an order that is empty.
void nt_accept_stock(const struct nt_accept_lanes *lanes, struct nt_accept_order *order);
void nt_accept_fine(const struct nt_accept_lanes *lanes, struct nt_accept_order *order);
void nt_accept_reuseport(const struct nt_accept_lanes *lanes, struct nt_accept_order *order);
void nt_accept_affinity(const struct nt_accept_lanes *lanes, struct nt_accept_order *order);
void nt_accept_fastsocket(const struct nt_accept_lanes *lanes, struct nt_accept_order *order);

#ifndef NT_CDEF
// lanes.c: the parts of a listening socket and their rings, for who accepts on
// nt_sock_accepting_core().
void nt_sock_accept_lanes(struct nt_sock *sock, struct nt_accept_lanes *lanes,
                          struct nt_sock **part);

static inline void nt_accept_order(const struct nt_accept_lanes *lanes,
                                   struct nt_accept_order *order)
{
    switch ((enum nt_listen_design)lanes->ring[0]->design) {
    case NT_LISTEN_STOCK:
        nt_accept_stock(lanes, order);
        return;
    case NT_LISTEN_REUSEPORT:
        nt_accept_reuseport(lanes, order);
        return;
    case NT_LISTEN_AFFINITY:
        nt_accept_affinity(lanes, order);
        return;
    case NT_LISTEN_FASTSOCKET:
        nt_accept_fastsocket(lanes, order);
        return;
    case NT_LISTEN_FINE:
        break;
    }
    nt_accept_fine(lanes, order);
}

// What a design looks at where there is one lane.
static inline enum nt_listener_scope nt_accept_scope(const struct nt_listener *ring)
{
    return ring->design == NT_LISTEN_REUSEPORT ? NT_LISTENER_OWN : NT_LISTENER_ANY;
}

static inline void nt_accept_look_at(struct nt_accept_order *order, uint32_t lane,
                                     enum nt_listener_scope scope)
{
    order->look[order->count++] = (struct nt_accept_look){(uint8_t)lane, (uint8_t)scope, false};
}

// The first lane from `from` on whose TCP server runs on the caller's core; `count`: there is none.
static inline uint32_t nt_accept_own_lane(const struct nt_accept_lanes *lanes, uint32_t from)
{
    while (from < lanes->count && nt_load_relaxed(&lanes->ring[from]->header->core) != lanes->core)
        from++;
    return from;
}
#endif

#endif
