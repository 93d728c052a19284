// address.c: sockaddr to struct nt_endpoint and back.
#include <netinet/in.h>

#include "libc_shim/sockets/inner.h"

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const uint8_t LOOPBACK_V6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
static const uint8_t LOOPBACK_V4[4] = {127, 0, 0, 1};
static const uint8_t ZERO[16];

enum {
    SIN6_BYTES_MIN = 24, // SIN6_LEN_RFC2133: without the scope
};

bool nt_endpoint_is_v4(const struct nt_endpoint *endpoint)
{
    return memcmp(endpoint->addr, MAPPED, sizeof MAPPED) == 0;
}

bool nt_endpoint_is_any(const struct nt_endpoint *endpoint)
{
    return memcmp(endpoint->addr, ZERO, 16) == 0 ||
           (nt_endpoint_is_v4(endpoint) && memcmp(endpoint->addr + 12, ZERO, 4) == 0);
}

static int from_sin(struct nt_endpoint *endpoint, enum nt_address_use use,
                    const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_in sin;
    if (length < sizeof sin)
        return -EINVAL;
    memcpy(&sin, address, sizeof sin);
    bool any = sin.sin_addr.s_addr == htonl(INADDR_ANY);
    // AF_UNSPEC is let through by bind() with INADDR_ANY, and by sendto().
    bool unspec = sin.sin_family == AF_UNSPEC &&
                  (use == NT_ADDRESS_SENDTO || (use == NT_ADDRESS_BIND && any));
    if (sin.sin_family != AF_INET && !unspec)
        return -EAFNOSUPPORT;
    memcpy(endpoint->addr, MAPPED, sizeof MAPPED);
    memcpy(endpoint->addr + 12,
           any && use != NT_ADDRESS_BIND ? (const void *)LOOPBACK_V4 : &sin.sin_addr, 4);
    endpoint->port = ntohs(sin.sin_port);
    return 0;
}

static int from_sin6(struct nt_endpoint *endpoint, bool v6only, enum nt_address_use use,
                     const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_in6 sin6;
    if (length < SIN6_BYTES_MIN)
        return -EINVAL;
    memset(&sin6, 0, sizeof sin6);
    memcpy(&sin6, address, length < sizeof sin6 ? length : sizeof sin6);
    if (sin6.sin6_family != AF_INET6)
        return use == NT_ADDRESS_SENDTO ? -EINVAL : -EAFNOSUPPORT;
    memcpy(endpoint->addr, &sin6.sin6_addr, 16);
    endpoint->port = ntohs(sin6.sin6_port);
    endpoint->scope = sin6.sin6_scope_id;
    if (nt_endpoint_is_v4(endpoint)) {
        if (v6only)
            return use == NT_ADDRESS_BIND ? -EINVAL : -ENETUNREACH;
        if (use != NT_ADDRESS_BIND && nt_endpoint_is_any(endpoint))
            memcpy(endpoint->addr + 12, LOOPBACK_V4, 4);
    } else if (use != NT_ADDRESS_BIND && nt_endpoint_is_any(endpoint)) {
        memcpy(endpoint->addr, LOOPBACK_V6, 16);
    }
    return 0;
}

int nt_endpoint_from_sockaddr(struct nt_endpoint *endpoint, int family, bool v6only,
                              enum nt_address_use use, const struct sockaddr *address,
                              socklen_t length)
{
    memset(endpoint, 0, sizeof *endpoint);
    if (length < sizeof(sa_family_t))
        return -EINVAL;
    if (family == AF_INET)
        return from_sin(endpoint, use, address, length);
    // An AF_INET6 datagram socket takes sockaddr_in, too (udpv6_sendmsg, __ip6_datagram_connect).
    sa_family_t given;
    memcpy(&given, address, sizeof given);
    if (given == AF_INET && use == NT_ADDRESS_SENDTO)
        return v6only ? -ENETUNREACH : from_sin(endpoint, use, address, length);
    if (given == AF_INET && use == NT_ADDRESS_CONNECT_DGRAM)
        return v6only ? -EAFNOSUPPORT : from_sin(endpoint, use, address, length);
    return from_sin6(endpoint, v6only, use, address, length);
}

int nt_endpoint_can_be(const struct nt_endpoint *endpoint, enum nt_address_use use)
{
    if (nt_endpoint_is_v4(endpoint) || memcmp(endpoint->addr, LOOPBACK_V6, 16) == 0)
        return 0;
    if (use == NT_ADDRESS_BIND)
        return nt_endpoint_is_any(endpoint) ? 0 : -EADDRNOTAVAIL;
    return -ENETUNREACH;
}

void nt_endpoint_to_sockaddr(const struct nt_endpoint *endpoint, int family,
                             struct sockaddr *address, socklen_t *length)
{
    struct sockaddr_in sin;
    struct sockaddr_in6 sin6;
    const void *from;
    socklen_t bytes;
    if (family == AF_INET) {
        memset(&sin, 0, sizeof sin);
        sin.sin_family = AF_INET;
        sin.sin_port = htons(endpoint->port);
        memcpy(&sin.sin_addr, endpoint->addr + 12, 4);
        from = &sin;
        bytes = sizeof sin;
    } else {
        memset(&sin6, 0, sizeof sin6);
        sin6.sin6_family = AF_INET6;
        sin6.sin6_port = htons(endpoint->port);
        sin6.sin6_scope_id = endpoint->scope;
        memcpy(&sin6.sin6_addr, endpoint->addr, 16);
        from = &sin6;
        bytes = sizeof sin6;
    }
    if (*length > 0)
        memcpy(address, from, *length < bytes ? *length : bytes);
    *length = bytes;
}
