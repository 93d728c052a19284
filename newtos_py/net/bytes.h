// bytes.h: big-endian fields of wire formats.
//
// Every multi-byte field on the wire is in network order and may lie at any address, so it is read
// and written byte by byte (the compiler makes one load and a swap of it); a packed structure is
// never laid over a packet.
#ifndef NT_NET_BYTES_H
#define NT_NET_BYTES_H

#include "newtos_py/kernel/base.h"

#ifndef NT_CDEF
static inline uint16_t nt_get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t nt_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void nt_put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void nt_put32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}
#endif

#endif
