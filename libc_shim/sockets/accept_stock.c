// accept_stock.c: one accept queue for all: what has waited longest comes first.
//
// Linux before all of the papers has one queue, and one lock, a listening socket. Here every lane
// keeps what it accepted in a ring of its own, because a connection's state never leaves its lane;
// programs see one queue all the same: accept() looks at the head of every ring, whosever they are,
// and takes the oldest. So all acceptors are after the same entry, and who loses the race for it
// begins again: that is the contention of the one queue, a claim word's line instead of a lock's.
// What is not there is the lanes' own contention when they add to it. Within a ring, what is bound
// to the caller already may overtake up to eight, as in every design (NT_LISTENER_LOOK_AHEAD).
#include "libc_shim/sockets/accept_order.h"

void nt_accept_stock(const struct nt_accept_lanes *lanes, struct nt_accept_order *order)
{
    uint32_t since_us[16], empty = 0; // by place in the order
    uint32_t rest[16];
    for (uint32_t lane = 0; lane < lanes->count; lane++) {
        uint32_t us, place = order->count;
        if (!nt_listener_oldest(lanes->ring[lane], &us)) {
            rest[empty++] = lane;
            continue;
        }
        nt_accept_look_at(order, lane, NT_LISTENER_ANY);
        for (; place > 0 && (int32_t)(us - since_us[place - 1]) < 0; place--) {
            order->look[place] = order->look[place - 1];
            since_us[place] = since_us[place - 1];
        }
        order->look[place].lane = (uint8_t)lane;
        since_us[place] = us;
    }
    for (uint32_t i = 0; i < empty; i++)
        nt_accept_look_at(order, rest[i], NT_LISTENER_ANY);
}
