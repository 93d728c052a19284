#include "servers/udp/icmp.h"

#include <errno.h>

#include "newtos_py/net/bytes.h"
#include "newtos_py/net/icmp.h"
#include "newtos_py/net/ipv4.h"
#include "servers/udp/output.h"
#include "servers/udp/ports.h"
#include "servers/udp/socket.h"

enum {
    // What fits inline behind the ICMP header: the IP header and at least the eight bytes of UDP's.
    QUOTE_MAX = NT_DESC_INLINE_BYTES - NT_TX_META_BYTES - NT_ICMP_HEADER_BYTES,
};

// IPv6 is only the host's own loopback: who sent the packet is a socket of ours.
static void unreachable_on_loopback(struct nt_udp *udp, const struct nt_udp_packet *packet)
{
    struct nt_udp_socket *socket =
        nt_udp_port_find(udp, packet->src, packet->udp.src_port, packet->dst, packet->udp.dst_port,
                         packet->flow_hash);
    if (socket != NULL && (socket->flags & NT_UDP_CONNECTED) != 0)
        nt_udp_socket_error(udp, socket, ECONNREFUSED);
}

void nt_udp_icmp_unreachable(struct nt_udp *udp, const struct nt_udp_packet *packet)
{
    if (!nt_addr_is_v4(packet->src)) {
        unreachable_on_loopback(udp, packet);
        return;
    }
    struct nt_desc *desc = nt_udp_segment(udp);
    if (desc == NULL)
        return;
    struct nt_tx_meta meta = {.protocol = NT_IPPROTO_ICMP,
                              .ttl = NT_UDP_DEFAULT_TTL,
                              .tos = 0xc0}; // RFC 1812 §4.3.2.5: internetwork control
    nt_addr_copy(meta.src, packet->dst);
    nt_addr_copy(meta.dst, packet->src);
    memcpy(desc->data, &meta, sizeof meta);
    uint8_t *message = desc->data + NT_TX_META_BYTES;
    uint32_t quote = nt_min_u32(packet->header_len + packet->len, QUOTE_MAX);
    memcpy(message + NT_ICMP_HEADER_BYTES, packet->ip, quote);
    const struct nt_icmp icmp = {.type = NT_ICMP_UNREACHABLE, .code = NT_ICMP_PORT_UNREACHABLE};
    nt_icmp_emit(&icmp, message, NT_ICMP_HEADER_BYTES + quote);
    desc->inline_len = (uint8_t)(NT_TX_META_BYTES + NT_ICMP_HEADER_BYTES + quote);
    nt_udp_segment_push(udp);
    nt_udp_count(udp, NT_UDP_COUNT_ICMP_OUT);
}

// As Linux's icmp_err_convert; 0: not worth telling.
static int errno_of(uint8_t type, uint8_t code)
{
    if (type == NT_ICMP_PARAMETER_PROBLEM)
        return EPROTO;
    if (type != NT_ICMP_UNREACHABLE)
        return type == NT_ICMP_TIME_EXCEEDED ? EHOSTUNREACH : 0;
    switch (code) {
    case NT_ICMP_NET_UNREACHABLE:
    case 6:  // network unknown
    case 9:  // network prohibited
    case 11: // network unreachable for this type of service
        return ENETUNREACH;
    case NT_ICMP_PROTOCOL_UNREACHABLE:
        return ENOPROTOOPT;
    case NT_ICMP_PORT_UNREACHABLE:
        return ECONNREFUSED;
    case NT_ICMP_FRAGMENTATION_NEEDED:
        return EMSGSIZE;
    default:
        return EHOSTUNREACH;
    }
}

// Linux reports time exceeded, and host and net unreachable, only to those who asked for it
// (IP_RECVERR): they may pass.
static bool is_hard(uint8_t type, uint8_t code)
{
    return type == NT_ICMP_PARAMETER_PROBLEM ||
           (type == NT_ICMP_UNREACHABLE &&
            (code == NT_ICMP_PROTOCOL_UNREACHABLE || code == NT_ICMP_PORT_UNREACHABLE ||
             code == NT_ICMP_FRAGMENTATION_NEEDED));
}

struct quoted {
    uint8_t src[16];
    uint8_t dst[16];
    uint16_t src_port;
    uint16_t dst_port;
};

// Reads whose datagram it is about; false if that is not there, or not ours.
static bool read_quote(const uint8_t *bytes, uint32_t len, struct quoted *quoted)
{
    uint8_t header[NT_IPV4_HEADER_MAX_BYTES + NT_UDP_HEADER_BYTES] = {0};
    memcpy(header, bytes, nt_min_u32(len, sizeof header));
    uint32_t header_bytes = nt_ipv4_header_bytes(header);
    if (len < NT_IPV4_HEADER_BYTES || nt_ipv4_version(header) != 4 ||
        header_bytes < NT_IPV4_HEADER_BYTES || len < header_bytes + NT_UDP_HEADER_BYTES ||
        nt_ipv4_protocol(header) != NT_IPPROTO_UDP)
        return false;
    nt_addr_from_v4(quoted->src, nt_ipv4_src(header));
    nt_addr_from_v4(quoted->dst, nt_ipv4_dst(header));
    quoted->src_port = nt_udp_src_port(header + header_bytes);
    quoted->dst_port = nt_udp_dst_port(header + header_bytes);
    return true;
}

void nt_udp_icmp_input(struct nt_udp *udp, const struct nt_udp_packet *packet)
{
    struct quoted quoted;
    uint8_t type = nt_icmp_type(packet->header), code = nt_icmp_code(packet->header);
    nt_udp_count(udp, NT_UDP_COUNT_ICMP_IN);
    if (packet->len < NT_ICMP_HEADER_BYTES ||
        !read_quote(packet->transport + NT_ICMP_HEADER_BYTES, packet->len - NT_ICMP_HEADER_BYTES,
                    &quoted)) {
        nt_udp_count(udp, NT_UDP_COUNT_IN_MALFORMED);
        return;
    }
    // Who receives from there at that port is who sent there.
    struct nt_udp_socket *socket = nt_udp_port_find(udp, quoted.src, quoted.src_port, quoted.dst,
                                                    quoted.dst_port, packet->flow_hash);
    bool local = (packet->flags & NT_DESC_LOOPBACK) != 0;
    if (socket == NULL || (socket->flags & NT_UDP_CONNECTED) == 0 ||
        !(is_hard(type, code) || local) || errno_of(type, code) == 0)
        return;
    nt_udp_socket_error(udp, socket, errno_of(type, code));
}
