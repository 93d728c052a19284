// accept_affinity.c: the lane of the process's own core first (Affinity-Accept §3.3.1).
//
// A process is local to the lane whose TCP server runs on the core that the process runs on. Unless
// its own lane is busy, every sixth accept() begins with a busy lane: 5 local connections to 1
// stolen; the busy lanes take turns. Whatever comes first, the others follow, so that nothing waits
// while somebody accepts: own lane, busy lanes, lanes that are not busy. A process that is local to
// no lane serves all of them in turn. What comes from a busy lane is counted as stolen, for what
// moves flow groups (§3.3.2).
//
// Whether a lane is busy says its TCP server (servers/tcp/busy.h), in the ring's header. The paper
// has a bit vector, one line for all cores; here each lane writes a word of its own, for lanes
// share nothing, and up to eight are read.
#include "libc_shim/sockets/accept_order.h"

enum { LOCAL_SHARE = 5, STOLEN_SHARE = 1 };

// Bits of the lanes that are busy; read once, for it changes at any time.
static uint32_t busy_lanes(const struct nt_accept_lanes *lanes)
{
    uint32_t busy = 0;
    for (uint32_t lane = 0; lane < lanes->count; lane++)
        if (nt_load_relaxed(&lanes->ring[lane]->header->busy) != 0)
            busy |= 1u << lane;
    return busy;
}

static void look_at(const struct nt_accept_lanes *lanes, uint32_t which, bool steals,
                    struct nt_accept_order *order)
{
    uint32_t round = lanes->turn / (LOCAL_SHARE + STOLEN_SHARE);
    for (uint32_t i = 0; i < lanes->count; i++) {
        uint32_t lane = (round + i) % lanes->count;
        if ((which >> lane & 1) == 0)
            continue;
        nt_accept_look_at(order, lane, NT_LISTENER_ANY);
        order->look[order->count - 1].is_steal = steals;
    }
}

void nt_accept_affinity(const struct nt_accept_lanes *lanes, struct nt_accept_order *order)
{
    uint32_t own = nt_accept_own_lane(lanes, 0), busy = busy_lanes(lanes);
    if (own == lanes->count) {
        nt_accept_fine(lanes, order);
        return;
    }
    uint32_t others = ((1u << lanes->count) - 1) & ~(1u << own);
    bool own_busy = (busy >> own & 1) != 0; // who is busy does not steal
    bool steal_first = !own_busy && lanes->turn % (LOCAL_SHARE + STOLEN_SHARE) >= LOCAL_SHARE;
    if (!steal_first)
        nt_accept_look_at(order, own, NT_LISTENER_ANY);
    look_at(lanes, others & busy, !own_busy, order);
    if (steal_first)
        nt_accept_look_at(order, own, NT_LISTENER_ANY);
    look_at(lanes, others & ~busy, false, order);
}
