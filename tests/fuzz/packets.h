// packets.h: well-formed packets for samples, apart from the code under test.
#ifndef NT_TESTS_FUZZ_PACKETS_H
#define NT_TESTS_FUZZ_PACKETS_H

#include "newtos_py/net/arp.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/icmp.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/udp.h"

static const uint8_t fuzz_our_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t fuzz_peer_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t fuzz_our_ip[4] = {10, 0, 0, 2};
static const uint8_t fuzz_peer_ip[4] = {10, 0, 0, 3};

// An IPv4 packet from the peer to us around `len` transport bytes that lie behind the header.
static inline uint32_t fuzz_ipv4(uint8_t *out, uint8_t protocol, uint16_t id, uint16_t fragment,
                                 uint32_t len)
{
    struct nt_ipv4 repr = {.protocol = protocol,
                           .ttl = 64,
                           .id = id,
                           .total_bytes = (uint16_t)(NT_IPV4_HEADER_BYTES + len),
                           .fragment_offset = (uint16_t)((fragment & 0x1fff) * 8),
                           .more_fragments = (fragment & 0x2000) != 0};
    memcpy(repr.src, fuzz_peer_ip, 4);
    memcpy(repr.dst, fuzz_our_ip, 4);
    nt_ipv4_emit(&repr, out);
    return NT_IPV4_HEADER_BYTES + len;
}

static inline uint32_t fuzz_udp_packet(uint8_t *out, uint16_t port, uint32_t payload)
{
    struct nt_udp_header repr = {
        .src_port = 7, .dst_port = port, .length = (uint16_t)(NT_UDP_HEADER_BYTES + payload)};
    nt_udp_emit(&repr, out + NT_IPV4_HEADER_BYTES);
    memset(out + NT_IPV4_HEADER_BYTES + NT_UDP_HEADER_BYTES, 'u', payload);
    return fuzz_ipv4(out, NT_IPPROTO_UDP, 1, 0, NT_UDP_HEADER_BYTES + payload);
}

static inline uint32_t fuzz_icmp_packet(uint8_t *out, uint8_t type, uint8_t code, uint32_t data)
{
    struct nt_icmp repr = {.type = type, .code = code, .rest = 0x10001};
    nt_icmp_emit(&repr, out + NT_IPV4_HEADER_BYTES, NT_ICMP_HEADER_BYTES + data);
    return fuzz_ipv4(out, NT_IPPROTO_ICMP, 2, 0, NT_ICMP_HEADER_BYTES + data);
}

// An ICMP error about a packet of ours.
static inline uint32_t fuzz_icmp_error(uint8_t *out, uint8_t protocol, uint8_t code, uint16_t port)
{
    uint8_t *quote = out + NT_IPV4_HEADER_BYTES + NT_ICMP_HEADER_BYTES;
    memset(quote, 0, 40);
    (void)fuzz_ipv4(quote, protocol, 3, 0, 20);
    memcpy(quote + NT_IPV4_SRC, fuzz_our_ip, 4);
    memcpy(quote + NT_IPV4_DST, fuzz_peer_ip, 4);
    nt_put16(quote + NT_IPV4_HEADER_BYTES, port);
    nt_put16(quote + NT_IPV4_HEADER_BYTES + 2, 7);
    return fuzz_icmp_packet(out, NT_ICMP_UNREACHABLE, code, 40);
}

#endif
