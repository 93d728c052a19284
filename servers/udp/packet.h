// packet.h: a received packet, as far as it has been looked at.
#ifndef NT_UDP_PACKET_H
#define NT_UDP_PACKET_H

#include "newtos_py/kernel/pool.h"
#include "newtos_py/net/udp.h"

struct nt_udp_packet {
    const struct nt_pool *pool;
    struct nt_ref ref;        // from the IP header on
    const uint8_t *ip;        // may change under our hands
    const uint8_t *transport; // so may this
    uint32_t header_len;      // of the IP header
    uint32_t len;             // transport bytes there are
    uint32_t flow_hash;
    uint8_t flags; // enum nt_desc_flags
    uint8_t ttl;
    uint8_t tos;
    uint8_t header[NT_UDP_HEADER_BYTES]; // private copy of the transport's
    uint8_t src[16];
    uint8_t dst[16];
    struct nt_udp_header udp;
};

enum {
    // Sockets that get a copy of one broadcast.
    NT_UDP_GROUP_MAX = 32,
};

#endif
