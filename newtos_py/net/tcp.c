// tcp.c: reading a TCP header.
#include "newtos_py/net/tcp.h"

// The options as every stack aligns them in a segment without SYN (RFC 7323 appendix A): known at
// one look.
static bool only_timestamps(const uint8_t *option, uint32_t bytes)
{
    return bytes == NT_TCP_TIMESTAMP_BYTES &&
           nt_get32(option) == ((uint32_t)NT_TCP_KIND_NOP << 24 | NT_TCP_KIND_NOP << 16 |
                                NT_TCP_KIND_TIMESTAMPS << 8 | 10);
}

static void take_timestamps(struct nt_tcp_header *repr, const uint8_t *value)
{
    repr->options |= NT_TCP_OPTION_TIMESTAMPS;
    repr->ts_value = nt_get32(value);
    repr->ts_echo = nt_get32(value + 4);
}

// One option whose length byte has been checked against what is left.
static void take_option(struct nt_tcp_header *repr, const uint8_t *option, uint32_t len)
{
    const uint8_t *value = option + 2;
    bool syn = (repr->flags & NT_TCP_SYN) != 0;
    if (option[0] == NT_TCP_KIND_MSS && len == 4 && syn) {
        repr->options |= NT_TCP_OPTION_MSS;
        repr->mss = nt_get16(value);
    } else if (option[0] == NT_TCP_KIND_WSCALE && len == 3 && syn) {
        repr->options |= NT_TCP_OPTION_WSCALE;
        repr->wscale = value[0] < NT_TCP_WSCALE_MAX ? value[0] : NT_TCP_WSCALE_MAX;
    } else if (option[0] == NT_TCP_KIND_TIMESTAMPS && len == 10) {
        take_timestamps(repr, value);
    }
}

static void parse_options(struct nt_tcp_header *repr, const uint8_t *option, uint32_t left)
{
    if (only_timestamps(option, left)) {
        take_timestamps(repr, option + 4);
        return;
    }
    while (left != 0 && option[0] != NT_TCP_KIND_END) {
        uint32_t len = 1;
        if (option[0] != NT_TCP_KIND_NOP) {
            if (left < 2 || option[1] < 2 || option[1] > left)
                return;
            len = option[1];
            take_option(repr, option, len);
        }
        option += len;
        left -= len;
    }
}

bool nt_tcp_parse(struct nt_tcp_header *repr, const uint8_t *p, uint64_t len)
{
    if (len < NT_TCP_HEADER_BYTES)
        return false;
    uint32_t header_bytes = (uint32_t)(p[NT_TCP_DATA_OFFSET] >> 4) * 4;
    if (header_bytes < NT_TCP_HEADER_BYTES || header_bytes > len)
        return false;
    *repr = (struct nt_tcp_header){
        .src_port = nt_get16(p + NT_TCP_SRC_PORT),
        .dst_port = nt_get16(p + NT_TCP_DST_PORT),
        .seq = nt_get32(p + NT_TCP_SEQ),
        .ack = nt_get32(p + NT_TCP_ACKNOWLEDGMENT),
        .window = nt_get16(p + NT_TCP_WINDOW),
        .urgent = nt_get16(p + NT_TCP_URGENT),
        .flags = p[NT_TCP_FLAGS],
        .header_bytes = (uint8_t)header_bytes,
    };
    if (header_bytes != NT_TCP_HEADER_BYTES)
        parse_options(repr, p + NT_TCP_HEADER_BYTES, header_bytes - NT_TCP_HEADER_BYTES);
    return true;
}
