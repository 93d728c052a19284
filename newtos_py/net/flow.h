// flow.h: the hash of a flow, the same for both directions.
//
// Whoever first sees the four-tuple computes it; struct nt_desc carries it on (0: not computed).
// Symmetric, so that both directions of a connection, and both ends of a loopback one, agree.
// Ports in host byte order.
#ifndef NT_NET_FLOW_H
#define NT_NET_FLOW_H

#include "newtos_py/net/addr.h"

#ifndef NT_CDEF
// Never 0.
static inline uint32_t nt_flow_hash(const uint8_t a_addr[16], uint16_t a_port,
                                    const uint8_t b_addr[16], uint16_t b_port)
{
    uint64_t a = ((uint64_t)nt_addr_hash(a_addr) << 16 | a_port) * UINT64_C(0xff51afd7ed558ccd);
    uint64_t b = ((uint64_t)nt_addr_hash(b_addr) << 16 | b_port) * UINT64_C(0xff51afd7ed558ccd);
    // Adding commutes; multiplying first keeps (a, b) and (a + d, b - d) apart.
    uint64_t mixed = (a ^ (a >> 29)) + (b ^ (b >> 29));
    mixed = (mixed ^ (mixed >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    uint32_t hash = (uint32_t)(mixed >> 32);
    return hash != 0 ? hash : 1;
}
#endif

#endif
