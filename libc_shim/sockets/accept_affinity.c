// accept_affinity.c: the lane of the process's own core first (Affinity-Accept §3.3.1).
//
// A process is local to the lane whose TCP server runs on the core that the process runs on. Unless
// its own lane is busy, every sixth accept() begins with a busy lane: 5 local connections to 1
// stolen; the busy lanes take turns. Whatever comes first, the others follow, so that nothing waits
// while somebody accepts: own lane, busy lanes, lanes that are not busy. A process that is local to
// no lane serves all of them in turn.
//
// Whether a lane is busy says its TCP server (servers/tcp/busy.h), in the ring's header. The paper
// has a bit vector, one line for all cores; here each lane writes a word of its own, for lanes
// share nothing, and up to eight are read.
#include "libc_shim/sockets/accept_order.h"

enum { LOCAL_SHARE = 5, STOLEN_SHARE = 1 };

static bool is_busy(const struct nt_listener *ring)
{
    return nt_load_relaxed(&ring->header->busy) != 0;
}

static uint32_t own_lane(const struct nt_accept_lanes *lanes)
{
    uint32_t own = 0;
    while (own < lanes->count && nt_load_relaxed(&lanes->ring[own]->header->core) != lanes->core)
        own++;
    return own;
}

uint32_t nt_accept_affinity(const struct nt_accept_lanes *lanes, uint32_t *order)
{
    uint32_t own = own_lane(lanes), round = lanes->turn / (LOCAL_SHARE + STOLEN_SHARE), count = 0;
    if (own == lanes->count)
        return nt_accept_fine(lanes, order);
    uint32_t steals = 0;
    bool may_steal =
        !is_busy(lanes->ring[own]) && lanes->turn % (LOCAL_SHARE + STOLEN_SHARE) >= LOCAL_SHARE;
    if (!may_steal)
        order[count++] = own;
    for (uint32_t i = 0; i < lanes->count; i++) {
        uint32_t lane = (round + i) % lanes->count;
        if (lane != own && is_busy(lanes->ring[lane]))
            order[count++] = lane;
    }
    if (may_steal) {
        steals = count;
        order[count++] = own;
    }
    for (uint32_t i = 0; i < lanes->count; i++) {
        uint32_t lane = (round + i) % lanes->count;
        bool named = false;
        for (uint32_t k = 0; k < count; k++)
            named = named || order[k] == lane;
        if (!named)
            order[count++] = lane;
    }
    return steals;
}
