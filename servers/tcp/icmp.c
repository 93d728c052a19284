// icmp.c: ICMP errors about segments of ours (RFC 5461, RFC 5927, RFC 1191).
//
// Anybody can send one: it counts only if the sequence number it quotes is in flight (RFC 5927
// §4.1). Hard errors end a connection that is being made; on an established one all errors are
// soft, for retransmission finds out what is true. "Fragmentation needed" lowers the MSS and sends
// what is outstanding again, never below a floor (RFC 5927 §7).
#include <errno.h>

#include "newtos_py/net/icmp.h"
#include "newtos_py/net/ipv4.h"
#include "servers/tcp/congestion.h"
#include "servers/tcp/context.h"

enum {
    MTU_FLOOR = 552, // as Linux (ip_rt_min_pmtu)
    QUOTED_TCP_BYTES = 8,
};

static uint32_t error_of(const struct nt_icmp *icmp)
{
    if (icmp->type != NT_ICMP_UNREACHABLE)
        return EHOSTUNREACH; // time exceeded, parameter problem
    switch (icmp->code) {
    case NT_ICMP_NET_UNREACHABLE:
        return ENETUNREACH;
    case NT_ICMP_PROTOCOL_UNREACHABLE:
        return ENOPROTOOPT;
    case NT_ICMP_PORT_UNREACHABLE:
        return ECONNREFUSED;
    default:
        return EHOSTUNREACH;
    }
}

static void lower_mss(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t mtu)
{
    uint32_t headers = NT_IPV4_HEADER_BYTES + NT_TCP_HEADER_BYTES +
                       (t->flags & NT_TCB_TIMESTAMPS ? NT_TCP_TIMESTAMP_BYTES : 0u);
    uint32_t mss = nt_max_u32(mtu & 0xffff, MTU_FLOOR) - headers;
    if (mss >= t->mss)
        return;
    nt_tcb_touch(tcp, t);
    t->mss = (uint16_t)mss;
    t->flags &= ~(uint32_t)NT_TCB_RTT_TIMING;
    if (nt_tcb_can_send(t) && t->snd_una != t->snd_max) {
        t->snd_nxt = t->snd_una;
        t->flags |= NT_TCB_FORCE;
        nt_tcp_send_data(tcp, t);
    }
}

// The TCB that a quoted header names, if it could be about something in flight.
static struct nt_tcb *quoted_connection(struct nt_tcp_engine *tcp, const uint8_t *quoted,
                                        uint32_t len)
{
    if (len < NT_IPV4_HEADER_BYTES || nt_ipv4_version(quoted) != 4)
        return NULL;
    uint32_t header_bytes = nt_ipv4_header_bytes(quoted);
    if (header_bytes < NT_IPV4_HEADER_BYTES || len < header_bytes + QUOTED_TCP_BYTES ||
        nt_ipv4_protocol(quoted) != NT_IPPROTO_TCP)
        return NULL;
    const uint8_t *p = quoted + header_bytes;
    uint8_t local[16], remote[16];
    nt_addr_from_v4(local, nt_ipv4_src(quoted));
    nt_addr_from_v4(remote, nt_ipv4_dst(quoted));
    struct nt_tcp_tuple tuple = {local, remote, nt_get16(p + NT_TCP_SRC_PORT),
                                 nt_get16(p + NT_TCP_DST_PORT)};
    uint32_t id = nt_tcp_hash_find(tcp, &tuple);
    if (id == NT_NO_INDEX || id >= tcp->config.shape.tcbs)
        return NULL;
    struct nt_tcb *t = &tcp->tcb[id];
    uint32_t seq = nt_get32(p + NT_TCP_SEQ);
    return nt_seq_le(t->snd_una, seq) && nt_seq_lt(seq, t->snd_max) ? t : NULL;
}

void nt_tcp_input_icmp(struct nt_tcp_engine *tcp, const uint8_t *ip, uint32_t len,
                       uint32_t l4_offset)
{
    struct nt_icmp icmp;
    if (l4_offset > len || !nt_icmp_parse(&icmp, ip + l4_offset, len - l4_offset)) {
        nt_tcp_count(tcp, NT_TCP_BAD_SEGMENTS);
        return;
    }
    const uint8_t *quoted = ip + l4_offset + NT_ICMP_HEADER_BYTES;
    struct nt_tcb *t = quoted_connection(tcp, quoted, len - l4_offset - NT_ICMP_HEADER_BYTES);
    if (t == NULL)
        return;
    nt_tcp_count(tcp, NT_TCP_ICMP_ERRORS);
    if (icmp.type == NT_ICMP_UNREACHABLE && icmp.code == NT_ICMP_FRAGMENTATION_NEEDED)
        lower_mss(tcp, t, icmp.rest);
    else if (t->state == NT_TCP_SYN_SENT && icmp.type == NT_ICMP_UNREACHABLE)
        nt_tcb_abort(tcp, t, error_of(&icmp));
}
