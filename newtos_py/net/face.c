#include "newtos_py/net/face.h"

#include "newtos_py/net/flow.h"

bool nt_face_ethernet_parse(struct nt_ethernet *repr, const uint8_t *p, uint64_t len)
{
    return nt_ethernet_parse(repr, p, len);
}

void nt_face_ethernet_emit(const struct nt_ethernet *repr, uint8_t *p)
{
    nt_ethernet_emit(repr, p);
}

bool nt_face_arp_parse(struct nt_arp *repr, const uint8_t *p, uint64_t len)
{
    return nt_arp_parse(repr, p, len);
}

void nt_face_arp_emit(const struct nt_arp *repr, uint8_t *p) { nt_arp_emit(repr, p); }

int nt_face_ipv4_parse(struct nt_ipv4 *repr, const uint8_t *p, uint64_t len)
{
    return (int)nt_ipv4_parse(repr, p, len);
}

void nt_face_ipv4_emit(const struct nt_ipv4 *repr, uint8_t *p) { nt_ipv4_emit(repr, p); }

bool nt_face_ipv6_parse(struct nt_ipv6 *repr, const uint8_t *p, uint64_t len)
{
    return nt_ipv6_parse(repr, p, len);
}

void nt_face_ipv6_emit(const struct nt_ipv6 *repr, uint8_t *p) { nt_ipv6_emit(repr, p); }

bool nt_face_icmp_parse(struct nt_icmp *repr, const uint8_t *p, uint64_t len)
{
    return nt_icmp_parse(repr, p, len);
}

bool nt_face_icmp_checksum_ok(const uint8_t *p, uint64_t len)
{
    return nt_icmp_checksum_ok(p, len);
}

void nt_face_icmp_emit(const struct nt_icmp *repr, uint8_t *p, uint64_t len)
{
    nt_icmp_emit(repr, p, len);
}

bool nt_face_udp_parse(struct nt_udp_header *repr, const uint8_t *p, uint64_t len)
{
    return nt_udp_parse(repr, p, len);
}

bool nt_face_udp_checksum_ok(const uint8_t *p, uint16_t length, const uint8_t src[16],
                             const uint8_t dst[16])
{
    return nt_udp_checksum_ok(p, length, src, dst);
}

void nt_face_udp_emit(const struct nt_udp_header *repr, uint8_t *p) { nt_udp_emit(repr, p); }

void nt_face_udp_set_checksum(uint8_t *p, uint16_t checksum) { nt_udp_set_checksum(p, checksum); }

uint16_t nt_face_csum_finish(uint32_t sum) { return nt_csum_finish(sum); }

uint32_t nt_face_csum_add_at(uint32_t sum, uint32_t piece, uint64_t offset)
{
    return nt_csum_add_at(sum, piece, offset);
}

uint16_t nt_face_csum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word)
{
    return nt_csum_update(checksum, old_word, new_word);
}

uint32_t nt_face_flow_hash(const uint8_t a_addr[16], uint16_t a_port, const uint8_t b_addr[16],
                           uint16_t b_port)
{
    return nt_flow_hash(a_addr, a_port, b_addr, b_port);
}
