// tcp.h: the TCP header (RFC 9293 §3.1) and the options we speak: MSS, window scale and timestamps
// (RFC 7323).
//
// An option that is malformed ends the options, and the segment counts without the rest of them
// (RFC 9293 §3.2, MUST-7 asks to survive any option length). Unknown options are skipped.
#ifndef NT_NET_TCP_H
#define NT_NET_TCP_H

#include "newtos_py/net/bytes.h"

enum {
    NT_TCP_HEADER_BYTES = 20,
    NT_TCP_HEADER_MAX_BYTES = 60,
    NT_TCP_TIMESTAMP_BYTES = 12, // the option with two NOPs before it
    NT_TCP_WSCALE_MAX = 14,      // RFC 7323 §2.3
    NT_TCP_DEFAULT_MSS = 536,    // RFC 9293 §3.7.1: where the peer names none
};

enum nt_tcp_flag {
    NT_TCP_FIN = 1,
    NT_TCP_SYN = 2,
    NT_TCP_RST = 4,
    NT_TCP_PSH = 8,
    NT_TCP_ACK = 16,
    NT_TCP_URG = 32,
    NT_TCP_ECE = 64,
    NT_TCP_CWR = 128,
};

enum nt_tcp_option { // bits of nt_tcp_header.options: which are there
    NT_TCP_OPTION_MSS = 1,
    NT_TCP_OPTION_WSCALE = 2,
    NT_TCP_OPTION_TIMESTAMPS = 4,
};

struct nt_tcp_header {
    uint16_t src_port;
    uint16_t dst_port;
    uint32_t seq;
    uint32_t ack;
    uint16_t window; // as it stands in the header, not scaled
    uint16_t urgent;
    uint8_t flags;        // enum nt_tcp_flag
    uint8_t header_bytes; // 20 to 60; emit ignores it
    uint8_t options;      // enum nt_tcp_option
    uint8_t wscale;       // capped to NT_TCP_WSCALE_MAX
    uint16_t mss;
    uint16_t pad;
    uint32_t ts_value;
    uint32_t ts_echo;
};

// Reads a header of a segment of `len` bytes; false if it is truncated or its length impossible.
// Does not look at the checksum.
bool nt_tcp_parse(struct nt_tcp_header *repr, const uint8_t *p, uint64_t len);

#ifndef NT_CDEF
// Offsets of the fields.
enum {
    NT_TCP_SRC_PORT = 0,
    NT_TCP_DST_PORT = 2,
    NT_TCP_SEQ = 4,
    NT_TCP_ACKNOWLEDGMENT = 8,
    NT_TCP_DATA_OFFSET = 12,
    NT_TCP_FLAGS = 13,
    NT_TCP_WINDOW = 14,
    NT_TCP_CHECKSUM = 16,
    NT_TCP_URGENT = 18,
};

enum { // kinds of options
    NT_TCP_KIND_END = 0,
    NT_TCP_KIND_NOP = 1,
    NT_TCP_KIND_MSS = 2,
    NT_TCP_KIND_WSCALE = 3,
    NT_TCP_KIND_TIMESTAMPS = 8,
};

// How many bytes nt_tcp_emit() writes for these options.
static inline uint32_t nt_tcp_header_bytes(uint8_t options)
{
    return NT_TCP_HEADER_BYTES + (options & NT_TCP_OPTION_MSS ? 4u : 0) +
           (options & NT_TCP_OPTION_WSCALE ? 4u : 0) +
           (options & NT_TCP_OPTION_TIMESTAMPS ? NT_TCP_TIMESTAMP_BYTES : 0u);
}

// Writes the header with its options, every one padded to four bytes; the checksum field is zero.
// Returns how many bytes it wrote.
static inline uint32_t nt_tcp_emit(const struct nt_tcp_header *repr, uint8_t *p)
{
    uint32_t bytes = nt_tcp_header_bytes(repr->options);
    nt_put16(p + NT_TCP_SRC_PORT, repr->src_port);
    nt_put16(p + NT_TCP_DST_PORT, repr->dst_port);
    nt_put32(p + NT_TCP_SEQ, repr->seq);
    nt_put32(p + NT_TCP_ACKNOWLEDGMENT, repr->ack);
    p[NT_TCP_DATA_OFFSET] = (uint8_t)(bytes / 4 << 4);
    p[NT_TCP_FLAGS] = repr->flags;
    nt_put16(p + NT_TCP_WINDOW, repr->window);
    nt_put16(p + NT_TCP_CHECKSUM, 0);
    nt_put16(p + NT_TCP_URGENT, repr->urgent);
    uint8_t *option = p + NT_TCP_HEADER_BYTES;
    if (repr->options & NT_TCP_OPTION_MSS) {
        nt_put32(option, (uint32_t)NT_TCP_KIND_MSS << 24 | 4 << 16 | repr->mss);
        option += 4;
    }
    if (repr->options & NT_TCP_OPTION_WSCALE) {
        nt_put32(option, (uint32_t)NT_TCP_KIND_NOP << 24 | NT_TCP_KIND_WSCALE << 16 | 3 << 8 |
                             repr->wscale);
        option += 4;
    }
    if (repr->options & NT_TCP_OPTION_TIMESTAMPS) {
        nt_put32(option, (uint32_t)NT_TCP_KIND_NOP << 24 | NT_TCP_KIND_NOP << 16 |
                             NT_TCP_KIND_TIMESTAMPS << 8 | 10);
        nt_put32(option + 4, repr->ts_value);
        nt_put32(option + 8, repr->ts_echo);
    }
    return bytes;
}
#endif

#endif
