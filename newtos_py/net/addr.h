// addr.h: Internet addresses as all of the stack knows them: 128 bit, in network order.
//
// An IPv4 address is held in its mapped form ::ffff:a.b.c.d (RFC 4291 §2.5.5.2), so that tables,
// keys and structures have one shape for both families; the wire's four bytes are the last four.
// The unspecified address is :: or, for an IPv4 socket, ::ffff:0.0.0.0. Text is Python's business
// (addr.py): nothing here parses or formats.
#ifndef NT_NET_ADDR_H
#define NT_NET_ADDR_H

#include "newtos_py/kernel/base.h"

enum {
    NT_ADDR_BYTES = 16,
    NT_ADDR_BITS = 128,
    NT_ADDR_V4_PREFIX_BITS = 96, // of the mapped form
};

// True if the first `bits` (at most 128) bits of the two are the same.
bool nt_addr_in_prefix(const uint8_t addr[16], const uint8_t prefix[16], uint32_t bits);
// Well spread, not keyed: for private tables whose size bounds what a collision costs.
uint32_t nt_addr_hash(const uint8_t addr[16]);

#ifndef NT_CDEF
static inline bool nt_addr_equal(const uint8_t a[16], const uint8_t b[16])
{
    return memcmp(a, b, NT_ADDR_BYTES) == 0;
}

static inline void nt_addr_copy(uint8_t to[16], const uint8_t from[16])
{
    memcpy(to, from, NT_ADDR_BYTES);
}

static inline void nt_addr_from_v4(uint8_t addr[16], const uint8_t v4[4])
{
    memset(addr, 0, 10);
    addr[10] = addr[11] = 0xff;
    memcpy(addr + 12, v4, 4);
}

// The wire form of a mapped address.
static inline const uint8_t *nt_addr_v4(const uint8_t addr[16]) { return addr + 12; }

static inline bool nt_addr_is_v4(const uint8_t addr[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(addr, mapped, sizeof mapped) == 0;
}

// :: or ::ffff:0.0.0.0.
static inline bool nt_addr_is_unspecified(const uint8_t addr[16])
{
    static const uint8_t zero[16];
    if (nt_addr_is_v4(addr))
        return memcmp(addr + 12, zero, 4) == 0;
    return memcmp(addr, zero, sizeof zero) == 0;
}

// 127/8 (RFC 1122 §3.2.1.3) or ::1.
static inline bool nt_addr_is_loopback(const uint8_t addr[16])
{
    static const uint8_t one[16] = {[15] = 1};
    return (nt_addr_is_v4(addr) && addr[12] == 127) || memcmp(addr, one, sizeof one) == 0;
}

// Where a program means that speaks to the unspecified address: to the host itself, as on Linux.
static inline const uint8_t *nt_addr_or_loopback(const uint8_t addr[16])
{
    static const uint8_t v4[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1}, v6[16] = {[15] = 1};
    if (!nt_addr_is_unspecified(addr))
        return addr;
    return nt_addr_is_v4(addr) ? v4 : v6;
}

// 224/4 or ff00::/8.
static inline bool nt_addr_is_multicast(const uint8_t addr[16])
{
    return nt_addr_is_v4(addr) ? (addr[12] & 0xf0) == 0xe0 : addr[0] == 0xff;
}

// 255.255.255.255; a network's own broadcast address takes the routing table:
// nt_netconf_is_broadcast.
static inline bool nt_addr_is_limited_broadcast(const uint8_t addr[16])
{
    return nt_addr_is_v4(addr) && addr[12] == 255 && addr[13] == 255 && addr[14] == 255 &&
           addr[15] == 255;
}
#endif

#endif
