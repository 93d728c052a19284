// isn.c: initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 §5.4).
//
// An ISN is a 4 microsecond clock plus a keyed hash of the four-tuple: whoever does not know the
// key learns nothing about other connections' numbers, and within one four-tuple they grow, so that
// the next incarnation is told from the last. Timestamps get an offset of the two addresses only:
// they too must grow from one connection of a pair of hosts to its next, for TIME-WAIT to be cut
// short (RFC 6191).
#include "servers/tcp/context.h"

uint32_t nt_tcp_isn(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple)
{
    uint8_t input[36];
    memcpy(input, tuple->local_addr, 16);
    memcpy(input + 16, tuple->remote_addr, 16);
    nt_put16(input + 32, tuple->local_port);
    nt_put16(input + 34, tuple->remote_port);
    uint32_t clock = (uint32_t)(tcp->now_ns / 4000);
    return clock + (uint32_t)nt_siphash(tcp->globals->isn_key, input, sizeof(input));
}

uint32_t nt_tcp_timestamp_offset(const struct nt_tcp_engine *tcp, const uint8_t local[16],
                                 const uint8_t remote[16])
{
    uint8_t input[33];
    memcpy(input, local, 16);
    memcpy(input + 16, remote, 16);
    input[32] = 't';
    return (uint32_t)nt_siphash(tcp->globals->isn_key, input, sizeof(input));
}
