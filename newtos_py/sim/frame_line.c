// frame_line.c: see frame_line.h.
#include "newtos_py/sim/frame_line.h"

#include <stdio.h>

#include "newtos_py/net/arp.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/icmp.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/tcp.h"
#include "newtos_py/net/udp.h"

struct out { // a line that is being written; what does not fit is left out
    char *line;
    uint64_t bytes;
    uint64_t at;
};

#define PUT(out, ...)                                                                          \
    do {                                                                                       \
        int put_ = snprintf((out)->line + (out)->at, (out)->bytes - (out)->at, __VA_ARGS__);   \
        (out)->at = nt_min_u64((out)->at + (uint64_t)(put_ < 0 ? 0 : put_), (out)->bytes - 1); \
    } while (0)

static void put_address(struct out *out, const uint8_t *ip)
{
    PUT(out, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
}

static void put_arp(struct out *out, const uint8_t *p, uint64_t len)
{
    if (!nt_arp_check_len(len)) {
        PUT(out, "ARP, truncated");
        return;
    }
    bool request = nt_arp_operation(p) == NT_ARP_REQUEST;
    PUT(out, "ARP %s ", request ? "who-has" : "reply to");
    put_address(out, p + NT_ARP_TARGET_IP);
    PUT(out, " %s ", request ? "tell" : "from");
    put_address(out, p + NT_ARP_SENDER_IP);
}

static void put_flags(struct out *out, uint8_t flags)
{
    static const char letters[] = "FSRPAUEC";
    char text[9];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 8; i++)
        if (flags & 1u << i)
            text[count++] = letters[i];
    text[count] = '\0';
    PUT(out, "%s", text);
}

static void put_tcp(struct out *out, const uint8_t *p, uint64_t len)
{
    struct nt_tcp_header header;
    if (!nt_tcp_parse(&header, p, len)) {
        PUT(out, "TCP, malformed");
        return;
    }
    PUT(out, "TCP %u > %u ", header.src_port, header.dst_port);
    put_flags(out, header.flags);
    PUT(out, " seq %u ack %u win %u len %u", header.seq, header.ack, header.window,
        (uint32_t)(len - header.header_bytes));
    if (header.options & NT_TCP_OPTION_TIMESTAMPS)
        PUT(out, " ts %u echo %u", header.ts_value, header.ts_echo);
}

static void put_transport(struct out *out, const struct nt_ipv4 *ip, const uint8_t *p, uint64_t len)
{
    if (ip->fragment_offset != 0)
        PUT(out, "fragment at %u, protocol %u", ip->fragment_offset, ip->protocol);
    else if (ip->protocol == NT_IPPROTO_TCP)
        put_tcp(out, p, len);
    else if (ip->protocol == NT_IPPROTO_UDP && nt_udp_check_len(len))
        PUT(out, "UDP %u > %u len %u", nt_udp_src_port(p), nt_udp_dst_port(p), nt_udp_length(p));
    else if (ip->protocol == NT_IPPROTO_ICMP && nt_icmp_check_len(len))
        PUT(out, "ICMP type %u code %u", nt_icmp_type(p), nt_icmp_code(p));
    else
        PUT(out, "protocol %u", ip->protocol);
}

static void put_ipv4(struct out *out, const uint8_t *p, uint64_t len)
{
    struct nt_ipv4 ip;
    enum nt_ipv4_error error = nt_ipv4_parse(&ip, p, len);
    if (error != NT_IPV4_OK) {
        PUT(out, "IPv4, bad (%d)", (int)error);
        return;
    }
    put_address(out, p + NT_IPV4_SRC);
    PUT(out, " > ");
    put_address(out, p + NT_IPV4_DST);
    PUT(out, " id %u%s ", nt_ipv4_id(p), ip.more_fragments ? " MF" : "");
    put_transport(out, &ip, p + ip.header_bytes,
                  (uint64_t)nt_ipv4_total_bytes(p) - ip.header_bytes);
}

void nt_world_frame_line(const uint8_t *frame, uint64_t len, char *line, uint64_t line_bytes)
{
    struct out out = {line, line_bytes, 0};
    line[0] = '\0';
    if (!nt_ethernet_check_len(len)) {
        PUT(&out, "runt of %u bytes", (uint32_t)len);
        return;
    }
    uint16_t type = nt_ethernet_type(frame);
    const uint8_t *p = frame + NT_ETHERNET_HEADER_BYTES;
    if (type == NT_ETHERTYPE_ARP)
        put_arp(&out, p, len - NT_ETHERNET_HEADER_BYTES);
    else if (type == NT_ETHERTYPE_IPV4)
        put_ipv4(&out, p, len - NT_ETHERNET_HEADER_BYTES);
    else
        PUT(&out, "ethertype %04x", type);
    PUT(&out, " (%u bytes)", (uint32_t)len);
}
