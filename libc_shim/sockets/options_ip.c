// options_ip.c: the options of levels IPPROTO_IP, IPPROTO_IPV6 and IPPROTO_UDP; see options.h,
// ip(7), ipv6(7), udp(7), net/ipv4/ip_sockglue.c, net/ipv6/ipv6_sockglue.c.
//
// There is no multicast: groups cannot be joined, and what concerns only multicast is kept and
// reported. No packet here carries options or extension headers, so asking to hear of them is
// granted and changes nothing.
#include "libc_shim/sockets/options.h"

// Not in every libc: their numbers are Linux's (linux/in.h, linux/in6.h, linux/udp.h).
enum {
    NT_IP_PKTOPTIONS = 9,
    NT_IP_NODEFRAG = 22,
    NT_IP_RECVERR_RFC4884 = 26,
    NT_IP_LOCAL_PORT_RANGE = 51,
    NT_IP_PROTOCOL = 52,
    NT_IPV6_FLOWINFO_SEND = 33,
    NT_UDP_CORK = 1,
    NT_UDP_ENCAP = 100,
    NT_UDP_NO_CHECK6_TX = 101,
    NT_UDP_NO_CHECK6_RX = 102,
    NT_UDP_SEGMENT = 103,
    NT_UDP_GRO = 104,
    MREQ_BYTES = 8,
    MREQ6_BYTES = 20,
    HEADERS_BYTES = 52, // of IPv4 and TCP with timestamps
};

enum {
    IP = NT_FOR_BOTH | NT_TAKES_BYTE | NT_TAKES_EMPTY,
    IP_BYTE = NT_FOR_BOTH | NT_TAKES_BYTE,
    IP_DGRAM = NT_FOR_DGRAM | NT_TAKES_BYTE,
    V6 = NT_FOR_BOTH | NT_FOR_V6,
};

#define ON_OFF     NT_OPTION_ANY, 0
#define BITS(name) NT_IN_KEPT_BIT, NT_KEPT_##name
#define NONE       NT_IN_NOTHING, ENOPROTOOPT

static const struct nt_option ip_rows[] = {
    {IP_TTL, NT_IN_8, NT_OPTION_AT(ttl), IP_BYTE | NT_MINUS_ONE, 1, 255, 64},
    {IP_TOS, NT_IN_8, NT_OPTION_AT(tos), IP | NT_LOW_BYTE, 0, 255, 0},
    {IP_PKTINFO, NT_IN_PRIVATE, NT_SOCKF_PKTINFO, IP, ON_OFF},
    {IP_RECVTTL, NT_IN_PRIVATE, NT_SOCKF_RECVTTL, IP, ON_OFF},
    {IP_RECVTOS, NT_IN_PRIVATE, NT_SOCKF_RECVTOS, IP, ON_OFF},
    {IP_RECVOPTS, BITS(RECVOPTS), IP, ON_OFF},
    {IP_RETOPTS, BITS(RETOPTS), IP, ON_OFF},
    {IP_PASSSEC, BITS(PASSSEC), IP, ON_OFF},
    {IP_MTU_DISCOVER, NT_IN_KEPT, NT_KEPT_MTU_DISCOVER, IP, 0, 5, 1},
    {IP_RECVERR, BITS(RECVERR), IP, ON_OFF},
    {NT_IP_RECVERR_RFC4884, BITS(RECVERR4884), IP, 0, 1, 0},
    {IP_FREEBIND, BITS(FREEBIND), IP_BYTE, ON_OFF},
    {IP_BIND_ADDRESS_NO_PORT, BITS(BIND_NO_PORT), IP, ON_OFF},
    {IP_MULTICAST_TTL, NT_IN_KEPT, NT_KEPT_MULTICAST_TTL, IP_BYTE | NT_SET_DGRAM | NT_MINUS_ONE, 0,
     255, 1},
    {IP_MULTICAST_LOOP, BITS(MULTICAST_LOOP), IP_BYTE, ON_OFF},
    {IP_MULTICAST_ALL, BITS(MULTICAST_ALL), IP_BYTE, 0, 1, 0},
    {IP_TRANSPARENT, NT_IN_NOTHING, EPERM, IP_BYTE, ON_OFF},
    {IP_MINTTL, NONE, IP_BYTE, 0, 255, 0},
    {IP_ORIGDSTADDR, NONE, IP, ON_OFF},
    {IP_CHECKSUM, NONE, IP, ON_OFF},
    {IP_RECVFRAGSIZE, NONE, IP | NT_SET_DGRAM, ON_OFF},
    {NT_IP_LOCAL_PORT_RANGE, NONE, NT_FOR_BOTH, ON_OFF},
};
const struct nt_option_table nt_ip_options = {IPPROTO_IP, sizeof ip_rows / sizeof ip_rows[0],
                                              ip_rows};

static const struct nt_option ipv6_rows[] = {
    {IPV6_V6ONLY, NT_IN_BIT, NT_OPTION_V6ONLY, V6, ON_OFF},
    {IPV6_UNICAST_HOPS, NT_IN_8, NT_OPTION_AT(ttl), V6 | NT_MINUS_ONE, 1, 255, 64},
    {IPV6_TCLASS, NT_IN_8, NT_OPTION_AT(tos), V6 | NT_MINUS_ONE, 0, 255, 0},
    {IPV6_RECVPKTINFO, NT_IN_PRIVATE, NT_SOCKF_PKTINFO6, V6, ON_OFF},
    {IPV6_RECVHOPLIMIT, NT_IN_PRIVATE, NT_SOCKF_RECVHOPLIMIT, V6, ON_OFF},
    {IPV6_RECVTCLASS, NT_IN_PRIVATE, NT_SOCKF_RECVTCLASS, V6, ON_OFF},
    {IPV6_MTU_DISCOVER, NT_IN_KEPT, NT_KEPT_MTU_DISCOVER6, V6, 0, 5, 1},
    {IPV6_RECVERR, BITS(RECVERR6), V6, ON_OFF},
    {IPV6_RECVERR_RFC4884, BITS(RECVERR6_4884), V6, 0, 1, 0},
    {IPV6_MULTICAST_HOPS, NT_IN_KEPT, NT_KEPT_MULTICAST_HOPS6, V6 | NT_SET_DGRAM | NT_MINUS_ONE, 0,
     255, 1},
    {IPV6_MULTICAST_LOOP, BITS(MULTICAST_LOOP6), V6, 0, 1, 0},
    {IPV6_MULTICAST_ALL, BITS(MULTICAST_ALL6), V6, ON_OFF},
    {IPV6_RECVHOPOPTS, BITS(RECVHOPOPTS), V6, ON_OFF},
    {IPV6_RECVRTHDR, BITS(RECVRTHDR), V6, ON_OFF},
    {IPV6_RECVDSTOPTS, BITS(RECVDSTOPTS), V6, ON_OFF},
    {IPV6_RECVPATHMTU, BITS(RECVPATHMTU), V6, ON_OFF},
    {IPV6_DONTFRAG, BITS(DONTFRAG), V6, ON_OFF},
    {IPV6_AUTOFLOWLABEL, BITS(AUTOFLOWLABEL), V6, ON_OFF},
    {NT_IPV6_FLOWINFO_SEND, BITS(FLOWINFO_SEND), V6, ON_OFF},
    {IPV6_FREEBIND, BITS(FREEBIND6), V6, ON_OFF},
    {IPV6_TRANSPARENT, NT_IN_NOTHING, EPERM, V6, ON_OFF},
    {IPV6_MINHOPCOUNT, NONE, V6, 0, 255, 0},
    {IPV6_ORIGDSTADDR, NONE, V6, ON_OFF},
};
const struct nt_option_table nt_ipv6_options = {IPPROTO_IPV6,
                                                sizeof ipv6_rows / sizeof ipv6_rows[0], ipv6_rows};

static const struct nt_option udp_rows[] = {
    {NT_UDP_CORK, NONE, NT_FOR_DGRAM, ON_OFF},
    {NT_UDP_ENCAP, NONE, NT_FOR_DGRAM, ON_OFF},
    {NT_UDP_NO_CHECK6_TX, BITS(NO_CHECK6_TX), NT_FOR_DGRAM, ON_OFF},
    {NT_UDP_NO_CHECK6_RX, BITS(NO_CHECK6_RX), NT_FOR_DGRAM, ON_OFF},
    {NT_UDP_SEGMENT, NONE, NT_FOR_DGRAM, 0, 65535, 0},
    {NT_UDP_GRO, NONE, NT_FOR_DGRAM, ON_OFF},
};
const struct nt_option_table nt_udp_options = {IPPROTO_UDP, sizeof udp_rows / sizeof udp_rows[0],
                                               udp_rows};

// What the connection sends at most, with headers; unconnected there is none.
static int get_mtu(struct nt_sock *sock, void *value, socklen_t *length)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    if (view.state != NT_TCP_ESTABLISHED)
        return -ENOTCONN;
    if (sock->type != SOCK_STREAM)
        return -ENOPROTOOPT;
    uint32_t mss = nt_load_relaxed(&sock->server->mss);
    return nt_option_put_number((int)mss + HEADERS_BYTES, value, length);
}

static int nothing(socklen_t *length)
{
    *length = 0;
    return 0;
}

// -- IPPROTO_IP ------------------------------------------------------------------------------

static int set_multicast(const struct nt_sock *sock, int name, socklen_t length)
{
    bool leave = name == IP_DROP_MEMBERSHIP || name == IP_DROP_SOURCE_MEMBERSHIP ||
                 name == MCAST_LEAVE_GROUP || name == MCAST_LEAVE_SOURCE_GROUP;
    if (sock->type == SOCK_STREAM && (name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP))
        return -EPROTO;
    if (length < MREQ_BYTES)
        return -EINVAL;
    return leave ? -EADDRNOTAVAIL : -ENODEV;
}

// An interface by its index or address: only "any" can be had.
static int set_interface(const void *value, socklen_t length)
{
    uint32_t any = 0;
    if (length < sizeof any)
        return -EINVAL;
    return memcmp(value, &any, sizeof any) == 0 ? 0 : -EADDRNOTAVAIL;
}

int nt_set_ip_level(struct nt_sock *sock, int name, const void *value, socklen_t length)
{
    switch (name) {
    case IP_ROUTER_ALERT: // SOCK_RAW's
        return -EINVAL;
    case IP_OPTIONS:
        return length == 0 ? 0 : -ENOPROTOOPT;
    case IP_UNICAST_IF:
        return set_interface(value, length);
    case IP_MULTICAST_IF:
        return sock->type == SOCK_STREAM ? -EINVAL : set_interface(value, length);
    case IP_ADD_MEMBERSHIP:
    case IP_DROP_MEMBERSHIP:
    case IP_ADD_SOURCE_MEMBERSHIP:
    case IP_DROP_SOURCE_MEMBERSHIP:
    case IP_BLOCK_SOURCE:
    case IP_UNBLOCK_SOURCE:
    case MCAST_JOIN_GROUP:
    case MCAST_LEAVE_GROUP:
    case MCAST_JOIN_SOURCE_GROUP:
    case MCAST_LEAVE_SOURCE_GROUP:
        return set_multicast(sock, name, length);
    default:
        return -ENOPROTOOPT;
    }
}

int nt_get_ip_level(struct nt_sock *sock, int name, void *value, socklen_t *length)
{
    switch (name) {
    case IP_MTU:
        return get_mtu(sock, value, length);
    case IP_OPTIONS:
        return nothing(length);
    case NT_IP_PKTOPTIONS:
        return sock->type == SOCK_STREAM ? nothing(length) : -ENOPROTOOPT;
    case IP_HDRINCL:
    case IP_ROUTER_ALERT:
    case NT_IP_NODEFRAG:
    case NT_IP_PROTOCOL:
    case IP_UNICAST_IF:
    case IP_MULTICAST_IF:
        return nt_option_put_number(0, value, length);
    default:
        return -ENOPROTOOPT;
    }
}

// -- IPPROTO_IPV6 ----------------------------------------------------------------------------

int nt_set_ipv6_level(struct nt_sock *sock, int name, const void *value, socklen_t length)
{
    (void)sock;
    switch (name) {
    case IPV6_JOIN_GROUP:
        return length < MREQ6_BYTES ? -EINVAL : -ENODEV;
    case IPV6_LEAVE_GROUP:
        return length < MREQ6_BYTES ? -EINVAL : -EADDRNOTAVAIL;
    case IPV6_UNICAST_IF:
    case IPV6_MULTICAST_IF:
        return set_interface(value, length);
    case IPV6_HOPOPTS:
    case IPV6_RTHDR:
    case IPV6_DSTOPTS:
    case IPV6_RTHDRDSTOPTS:
        return length == 0 ? 0 : -ENOPROTOOPT;
    default:
        return -ENOPROTOOPT;
    }
}

int nt_get_ipv6_level(struct nt_sock *sock, int name, void *value, socklen_t *length)
{
    switch (name) {
    case IPV6_MTU:
        return get_mtu(sock, value, length);
    case IPV6_HOPOPTS:
    case IPV6_RTHDR:
    case IPV6_DSTOPTS:
    case IPV6_RTHDRDSTOPTS:
        return nothing(length);
    case IPV6_UNICAST_IF:
    case IPV6_MULTICAST_IF:
        return nt_option_put_number(0, value, length);
    default:
        return -ENOPROTOOPT;
    }
}
