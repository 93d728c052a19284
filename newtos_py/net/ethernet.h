// ethernet.h: Ethernet II frames (RFC 894).
#ifndef NT_NET_ETHERNET_H
#define NT_NET_ETHERNET_H

#include "newtos_py/net/bytes.h"

enum {
    NT_ETHERNET_HEADER_BYTES = 14,
    NT_ETHERTYPE_IPV4 = 0x0800,
    NT_ETHERTYPE_ARP = 0x0806,
    NT_ETHERTYPE_IPV6 = 0x86dd,
};

struct nt_ethernet {
    uint8_t dst[6];
    uint8_t src[6];
    uint16_t type;
};

#ifndef NT_CDEF
// Offsets of the fields.
enum {
    NT_ETHERNET_DST = 0,
    NT_ETHERNET_SRC = 6,
    NT_ETHERNET_TYPE = 12,
};

// Once this is true, no accessor below can fail.
static inline bool nt_ethernet_check_len(uint64_t len) { return len >= NT_ETHERNET_HEADER_BYTES; }

static inline const uint8_t *nt_ethernet_dst(const uint8_t *p) { return p + NT_ETHERNET_DST; }
static inline const uint8_t *nt_ethernet_src(const uint8_t *p) { return p + NT_ETHERNET_SRC; }
static inline uint16_t nt_ethernet_type(const uint8_t *p) { return nt_get16(p + NT_ETHERNET_TYPE); }

static inline void nt_ethernet_set_dst(uint8_t *p, const uint8_t mac[6])
{
    memcpy(p + NT_ETHERNET_DST, mac, 6);
}
static inline void nt_ethernet_set_src(uint8_t *p, const uint8_t mac[6])
{
    memcpy(p + NT_ETHERNET_SRC, mac, 6);
}
static inline void nt_ethernet_set_type(uint8_t *p, uint16_t type)
{
    nt_put16(p + NT_ETHERNET_TYPE, type);
}

static inline bool nt_mac_is_group(const uint8_t mac[6]) { return (mac[0] & 1) != 0; }

static inline bool nt_ethernet_parse(struct nt_ethernet *repr, const uint8_t *p, uint64_t len)
{
    if (!nt_ethernet_check_len(len))
        return false;
    memcpy(repr->dst, nt_ethernet_dst(p), 6);
    memcpy(repr->src, nt_ethernet_src(p), 6);
    repr->type = nt_ethernet_type(p);
    return true;
}

// Writes NT_ETHERNET_HEADER_BYTES.
static inline void nt_ethernet_emit(const struct nt_ethernet *repr, uint8_t *p)
{
    nt_ethernet_set_dst(p, repr->dst);
    nt_ethernet_set_src(p, repr->src);
    nt_ethernet_set_type(p, repr->type);
}
#endif

#endif
