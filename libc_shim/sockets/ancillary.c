// ancillary.c: what a program attaches to a datagram that it sends (cmsg(3)): TTL or hop limit, TOS
// or traffic class, the source address.
//
// Linux reads the messages in order, the later one of two counts, and refuses the whole call for
// one that is malformed, out of range or unknown at its own level; those of other levels it skips.
#include "libc_shim/sockets/inner.h"

enum { HOPS_DEFAULT = -1 };

// -EINVAL where the message does not hold just one int in [least, most].
static int one_int(const struct cmsghdr *header, int least, int most, int *value)
{
    if (header->cmsg_len != CMSG_LEN(sizeof *value))
        return -EINVAL;
    memcpy(value, CMSG_DATA(header), sizeof *value);
    return *value < least || *value > most ? -EINVAL : 0;
}

static void source_ipv4(struct nt_dgram_marks *marks, const struct in_addr *address)
{
    memset(marks->source, 0, sizeof marks->source);
    if (address->s_addr == htonl(INADDR_ANY))
        return;
    marks->source[10] = marks->source[11] = 0xff;
    memcpy(marks->source + 12, address, 4);
}

// ip_cmsg_send()
static int read_ipv4(const struct cmsghdr *header, struct nt_dgram_marks *marks)
{
    int value = 0;
    int result = -EINVAL;
    switch (header->cmsg_type) {
    case IP_TTL:
        result = one_int(header, 1, 255, &value);
        marks->ttl = (uint8_t)value;
        return result;
    case IP_TOS:
        if (header->cmsg_len == CMSG_LEN(1)) {
            value = *CMSG_DATA(header);
            result = 0;
        } else {
            result = one_int(header, 0, 255, &value);
        }
        marks->tos = (uint8_t)value;
        marks->has_tos = true;
        return result;
    case IP_PKTINFO: {
        struct in_pktinfo info;
        if (header->cmsg_len != CMSG_LEN(sizeof info))
            return -EINVAL;
        memcpy(&info, CMSG_DATA(header), sizeof info);
        source_ipv4(marks, &info.ipi_spec_dst);
        return 0;
    }
    default:
        return -EINVAL;
    }
}

// ip6_datagram_send_ctl()
static int read_ipv6(const struct cmsghdr *header, struct nt_dgram_marks *marks)
{
    int value = 0;
    int result;
    switch (header->cmsg_type) {
    case IPV6_HOPLIMIT:
        result = one_int(header, HOPS_DEFAULT, 255, &value);
        marks->ttl = (uint8_t)(value == HOPS_DEFAULT ? 0 : value);
        return result;
    case IPV6_TCLASS:
        result = one_int(header, HOPS_DEFAULT, 255, &value);
        marks->tos = (uint8_t)(value == HOPS_DEFAULT ? 0 : value);
        marks->has_tos = value != HOPS_DEFAULT;
        return result;
    case IPV6_DONTFRAG: // nothing of IPv6 is fragmented
        return one_int(header, 0, 1, &value);
    case IPV6_PKTINFO:
        if (header->cmsg_len < CMSG_LEN(sizeof(struct in6_pktinfo)))
            return -EINVAL;
        memcpy(marks->source, CMSG_DATA(header), sizeof marks->source);
        return 0;
    default:
        return -EINVAL;
    }
}

// __sock_cmsg_send(): descriptors and credentials mean nothing to the Internet, and are skipped.
static int read_socket(const struct cmsghdr *header)
{
    return header->cmsg_type == SCM_RIGHTS || header->cmsg_type == SCM_CREDENTIALS ? 0 : -EINVAL;
}

int nt_dgram_read_marks(const struct nt_sock *sock, const struct msghdr *message, bool to_ipv4,
                        struct nt_dgram_marks *marks)
{
    memset(marks, 0, sizeof *marks);
    size_t left = message->msg_controllen;
    const uint8_t *at = message->msg_control;
    while (left >= sizeof(struct cmsghdr)) {
        const struct cmsghdr *header = (const struct cmsghdr *)(const void *)at;
        if (header->cmsg_len < sizeof *header || header->cmsg_len > left)
            return -EINVAL;
        int result = 0;
        if (header->cmsg_level == SOL_SOCKET)
            result = read_socket(header);
        else if (header->cmsg_level == IPPROTO_UDP)
            result = -EINVAL; // udp_cmsg_send(): UDP_SEGMENT only, which is refused
        else if (header->cmsg_level == IPPROTO_IP && to_ipv4)
            result = read_ipv4(header, marks);
        else if (header->cmsg_level == IPPROTO_IPV6 && sock->family == AF_INET6 &&
                 (!to_ipv4 || header->cmsg_type == IPV6_PKTINFO))
            result = read_ipv6(header, marks);
        if (result != 0)
            return result;
        size_t space = CMSG_ALIGN(header->cmsg_len);
        if (space >= left)
            break;
        at += space;
        left -= space;
    }
    return 0;
}
