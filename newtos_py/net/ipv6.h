// ipv6.h: the IPv6 header (RFC 8200 §3). A host speaks IPv6 with itself only, on ::1: there are no
// extension headers, no fragments and no flow labels.
#ifndef NT_NET_IPV6_H
#define NT_NET_IPV6_H

#include "newtos_py/net/bytes.h"

enum {
    NT_IPV6_HEADER_BYTES = 40,
};

struct nt_ipv6 {
    uint8_t src[16];
    uint8_t dst[16];
    uint8_t next_header; // the protocol of what follows
    uint8_t hop_limit;
    uint8_t traffic_class;
    uint8_t pad;
    uint16_t payload_bytes; // behind the header
};

#ifndef NT_CDEF
// Offsets of the fields.
enum {
    NT_IPV6_VERSION_CLASS_LABEL = 0,
    NT_IPV6_PAYLOAD_LENGTH = 4,
    NT_IPV6_NEXT_HEADER = 6,
    NT_IPV6_HOP_LIMIT = 7,
    NT_IPV6_SRC = 8,
    NT_IPV6_DST = 24,
};

static inline uint8_t nt_ipv6_version(const uint8_t *p) { return p[0] >> 4; }

static inline uint8_t nt_ipv6_class(const uint8_t *p)
{
    return (uint8_t)(nt_get16(p + NT_IPV6_VERSION_CLASS_LABEL) >> 4);
}

// `len` is how many bytes there are at `p`; bytes beyond the packet's own length are padding.
static inline bool nt_ipv6_parse(struct nt_ipv6 *repr, const uint8_t *p, uint64_t len)
{
    if (len < NT_IPV6_HEADER_BYTES || nt_ipv6_version(p) != 6)
        return false;
    repr->payload_bytes = nt_get16(p + NT_IPV6_PAYLOAD_LENGTH);
    if (repr->payload_bytes > len - NT_IPV6_HEADER_BYTES)
        return false;
    repr->traffic_class = nt_ipv6_class(p);
    repr->next_header = p[NT_IPV6_NEXT_HEADER];
    repr->hop_limit = p[NT_IPV6_HOP_LIMIT];
    memcpy(repr->src, p + NT_IPV6_SRC, sizeof repr->src);
    memcpy(repr->dst, p + NT_IPV6_DST, sizeof repr->dst);
    return true;
}

// Writes NT_IPV6_HEADER_BYTES.
static inline void nt_ipv6_emit(const struct nt_ipv6 *repr, uint8_t *p)
{
    nt_put16(p + NT_IPV6_VERSION_CLASS_LABEL,
             (uint16_t)(6u << 12 | (uint32_t)repr->traffic_class << 4));
    nt_put16(p + 2, 0);
    nt_put16(p + NT_IPV6_PAYLOAD_LENGTH, repr->payload_bytes);
    p[NT_IPV6_NEXT_HEADER] = repr->next_header;
    p[NT_IPV6_HOP_LIMIT] = repr->hop_limit;
    memcpy(p + NT_IPV6_SRC, repr->src, sizeof repr->src);
    memcpy(p + NT_IPV6_DST, repr->dst, sizeof repr->dst);
}
#endif

#endif
