// ipv4.h: the IPv4 header (RFC 791; DSCP and ECN: RFC 2474, RFC 3168).
//
// Options are skipped on receipt (RFC 791 allows an end system to ignore all it does not know) and
// never sent: a header of ours has 20 bytes.
#ifndef NT_NET_IPV4_H
#define NT_NET_IPV4_H

#include "newtos_py/net/bytes.h"
#include "newtos_py/net/checksum.h"

enum {
    NT_IPV4_HEADER_BYTES = 20,
    NT_IPV4_HEADER_MAX_BYTES = 60,
    NT_IPV4_TOTAL_MAX_BYTES = 65535,
    NT_IPV4_MIN_MTU = 68, // RFC 791 §3.2
    NT_IPPROTO_ICMP = 1,
    NT_IPPROTO_TCP = 6,
    NT_IPPROTO_UDP = 17,
};

// What is wrong with a packet: each is counted apart.
enum nt_ipv4_error {
    NT_IPV4_OK = 0,
    NT_IPV4_TRUNCATED = 1, // shorter than its header, or than it says it is
    NT_IPV4_MALFORMED = 2, // version, header length or fragment offset
    NT_IPV4_CHECKSUM = 3,
};

struct nt_ipv4 {
    uint8_t src[4];
    uint8_t dst[4];
    uint8_t protocol;
    uint8_t ttl;
    uint8_t tos;
    uint8_t header_bytes;     // 20 to 60; emit ignores it
    uint16_t total_bytes;     // header and payload
    uint16_t id;              // identification
    uint16_t fragment_offset; // bytes, a multiple of 8
    uint8_t dont_fragment;
    uint8_t more_fragments;
};

#ifndef NT_CDEF
// Offsets and masks of the fields.
enum {
    NT_IPV4_VERSION_IHL = 0,
    NT_IPV4_TOS = 1,
    NT_IPV4_TOTAL = 2,
    NT_IPV4_ID = 4,
    NT_IPV4_FRAGMENT = 6,
    NT_IPV4_TTL = 8,
    NT_IPV4_PROTOCOL = 9,
    NT_IPV4_HEADER_CHECKSUM = 10,
    NT_IPV4_SRC = 12,
    NT_IPV4_DST = 16,
    NT_IPV4_DF = 0x4000,
    NT_IPV4_MF = 0x2000,
    NT_IPV4_OFFSET_MASK = 0x1fff, // in units of 8 bytes
};

// Once this is true, no accessor below can fail.
static inline bool nt_ipv4_check_len(uint64_t len) { return len >= NT_IPV4_HEADER_BYTES; }

static inline uint8_t nt_ipv4_version(const uint8_t *p) { return p[NT_IPV4_VERSION_IHL] >> 4; }
static inline uint8_t nt_ipv4_header_bytes(const uint8_t *p)
{
    return (uint8_t)((p[NT_IPV4_VERSION_IHL] & 15) * 4);
}
static inline uint8_t nt_ipv4_tos(const uint8_t *p) { return p[NT_IPV4_TOS]; }
static inline uint16_t nt_ipv4_total_bytes(const uint8_t *p) { return nt_get16(p + NT_IPV4_TOTAL); }
static inline uint16_t nt_ipv4_id(const uint8_t *p) { return nt_get16(p + NT_IPV4_ID); }
static inline uint16_t nt_ipv4_fragment(const uint8_t *p) { return nt_get16(p + NT_IPV4_FRAGMENT); }
static inline uint8_t nt_ipv4_ttl(const uint8_t *p) { return p[NT_IPV4_TTL]; }
static inline uint8_t nt_ipv4_protocol(const uint8_t *p) { return p[NT_IPV4_PROTOCOL]; }
static inline const uint8_t *nt_ipv4_src(const uint8_t *p) { return p + NT_IPV4_SRC; }
static inline const uint8_t *nt_ipv4_dst(const uint8_t *p) { return p + NT_IPV4_DST; }

static inline void nt_ipv4_set_total_bytes(uint8_t *p, uint16_t bytes)
{
    nt_put16(p + NT_IPV4_TOTAL, bytes);
}
static inline void nt_ipv4_set_fragment(uint8_t *p, uint16_t flags_and_offset)
{
    nt_put16(p + NT_IPV4_FRAGMENT, flags_and_offset);
}
// Of a header of `header_bytes`, whatever its checksum field held before.
static inline void nt_ipv4_fill_checksum(uint8_t *p, uint8_t header_bytes)
{
    nt_csum_store(p + NT_IPV4_HEADER_CHECKSUM, 0);
    nt_csum_store(p + NT_IPV4_HEADER_CHECKSUM, nt_csum_finish(nt_csum(p, header_bytes, 0)));
}

// `len` is how many bytes there are at `p`; bytes beyond the packet's own length are padding.
static inline enum nt_ipv4_error nt_ipv4_parse(struct nt_ipv4 *repr, const uint8_t *p, uint64_t len)
{
    if (!nt_ipv4_check_len(len))
        return NT_IPV4_TRUNCATED;
    repr->header_bytes = nt_ipv4_header_bytes(p);
    repr->total_bytes = nt_ipv4_total_bytes(p);
    if (nt_ipv4_version(p) != 4 || repr->header_bytes < NT_IPV4_HEADER_BYTES ||
        repr->total_bytes < repr->header_bytes)
        return NT_IPV4_MALFORMED;
    if (repr->total_bytes > len)
        return NT_IPV4_TRUNCATED;
    if (nt_csum_finish(nt_csum(p, repr->header_bytes, 0)) != 0)
        return NT_IPV4_CHECKSUM;
    uint16_t fragment = nt_ipv4_fragment(p);
    repr->fragment_offset = (uint16_t)((fragment & NT_IPV4_OFFSET_MASK) * 8);
    repr->dont_fragment = (fragment & NT_IPV4_DF) != 0;
    repr->more_fragments = (fragment & NT_IPV4_MF) != 0;
    repr->tos = nt_ipv4_tos(p);
    repr->id = nt_ipv4_id(p);
    repr->ttl = nt_ipv4_ttl(p);
    repr->protocol = nt_ipv4_protocol(p);
    memcpy(repr->src, nt_ipv4_src(p), 4);
    memcpy(repr->dst, nt_ipv4_dst(p), 4);
    return NT_IPV4_OK;
}

// Writes NT_IPV4_HEADER_BYTES, checksum included.
static inline void nt_ipv4_emit(const struct nt_ipv4 *repr, uint8_t *p)
{
    p[NT_IPV4_VERSION_IHL] = 4 << 4 | NT_IPV4_HEADER_BYTES / 4;
    p[NT_IPV4_TOS] = repr->tos;
    nt_ipv4_set_total_bytes(p, repr->total_bytes);
    nt_put16(p + NT_IPV4_ID, repr->id);
    nt_ipv4_set_fragment(p, (uint16_t)((repr->dont_fragment ? NT_IPV4_DF : 0) |
                                       (repr->more_fragments ? NT_IPV4_MF : 0) |
                                       repr->fragment_offset / 8));
    p[NT_IPV4_TTL] = repr->ttl;
    p[NT_IPV4_PROTOCOL] = repr->protocol;
    memcpy(p + NT_IPV4_SRC, repr->src, 4);
    memcpy(p + NT_IPV4_DST, repr->dst, 4);
    nt_ipv4_fill_checksum(p, NT_IPV4_HEADER_BYTES);
}
#endif

#endif
