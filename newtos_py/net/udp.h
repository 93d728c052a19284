// udp.h: the UDP header (RFC 768).
#ifndef NT_NET_UDP_H
#define NT_NET_UDP_H

#include "newtos_py/net/bytes.h"
#include "newtos_py/net/checksum.h"

enum {
    NT_UDP_HEADER_BYTES = 8,
};

struct nt_udp_header {
    uint16_t src_port;
    uint16_t dst_port;
    uint16_t length;       // header and payload
    uint16_t has_checksum; // 0: the sender computed none (RFC 768; RFC 1122 §4.1.3.4)
};

#ifndef NT_CDEF
// Offsets of the fields.
enum {
    NT_UDP_SRC_PORT = 0,
    NT_UDP_DST_PORT = 2,
    NT_UDP_LENGTH = 4,
    NT_UDP_CHECKSUM = 6,
};

static inline bool nt_udp_check_len(uint64_t len) { return len >= NT_UDP_HEADER_BYTES; }

static inline uint16_t nt_udp_src_port(const uint8_t *p) { return nt_get16(p + NT_UDP_SRC_PORT); }
static inline uint16_t nt_udp_dst_port(const uint8_t *p) { return nt_get16(p + NT_UDP_DST_PORT); }
static inline uint16_t nt_udp_length(const uint8_t *p) { return nt_get16(p + NT_UDP_LENGTH); }
static inline bool nt_udp_has_checksum(const uint8_t *p)
{
    return nt_get16(p + NT_UDP_CHECKSUM) != 0;
}

// `len` is the IP payload's length; bytes beyond the datagram's own length are ignored.
static inline bool nt_udp_parse(struct nt_udp_header *repr, const uint8_t *p, uint64_t len)
{
    if (!nt_udp_check_len(len))
        return false;
    repr->src_port = nt_udp_src_port(p);
    repr->dst_port = nt_udp_dst_port(p);
    repr->length = nt_udp_length(p);
    repr->has_checksum = nt_udp_has_checksum(p);
    return repr->length >= NT_UDP_HEADER_BYTES && repr->length <= len;
}

// Of a datagram that has a checksum; `length` is the one that was checked: the packet's memory may
// have changed since.
static inline bool nt_udp_checksum_ok(const uint8_t *p, uint16_t length, const uint8_t src[16],
                                      const uint8_t dst[16])
{
    uint32_t sum = nt_csum_pseudo(src, dst, 17, length);
    return nt_csum_finish(nt_csum(p, length, sum)) == 0;
}

// Writes NT_UDP_HEADER_BYTES with the checksum field zero.
static inline void nt_udp_emit(const struct nt_udp_header *repr, uint8_t *p)
{
    nt_put16(p + NT_UDP_SRC_PORT, repr->src_port);
    nt_put16(p + NT_UDP_DST_PORT, repr->dst_port);
    nt_put16(p + NT_UDP_LENGTH, repr->length);
    nt_put16(p + NT_UDP_CHECKSUM, 0);
}

// Stores a finished checksum; one that comes out as zero is sent as all ones (RFC 768).
static inline void nt_udp_set_checksum(uint8_t *p, uint16_t checksum)
{
    nt_csum_store(p + NT_UDP_CHECKSUM, checksum != 0 ? checksum : 0xffff);
}
#endif

#endif
