// ring.h: the RX datagram ring of a slot (kernel/area.h), as its writer sees it.
//
// 64 descriptors, then a stretch of data in which each datagram lies in one piece. The writer goes
// on after the last datagram, or at the start where the rest is too short or the ring is empty; it
// never meets the oldest datagram, whose descriptor says where that begins. Each takes a whole
// number of cache lines, and at least one, so that "met" and "empty" look different.
#ifndef NT_UDP_RING_H
#define NT_UDP_RING_H

#include "servers/udp/packet.h"
#include "servers/udp/state.h"

enum nt_udp_ring_result {
    NT_UDP_RING_OK = 0,
    NT_UDP_RING_FULL = 1,
    NT_UDP_RING_STALE = 2, // the packet's buffer was taken back while we copied
    NT_UDP_RING_BAD = 3,   // the program's cursor cannot be
};

// Copies a datagram beyond rx_tail and moves the record's rx_tail; the commit makes it visible.
enum nt_udp_ring_result nt_udp_ring_put(struct nt_udp *udp, struct nt_udp_socket *socket,
                                        const struct nt_udp_packet *packet);

#endif
