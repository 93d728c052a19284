// address.h: sockaddr to struct nt_endpoint and back, with Linux's checks of family and length.
#ifndef NT_SHIM_ADDRESS_H
#define NT_SHIM_ADDRESS_H

#include "newtos_py/kernel/area.h"

#ifndef NT_CDEF
#include <sys/socket.h>
#endif

enum nt_address_use { // whose checks: they differ in the errno for a wrong family
    NT_ADDRESS_BIND = 1,
    NT_ADDRESS_CONNECT = 2, // AF_UNSPEC is the caller's to look for
    NT_ADDRESS_SENDTO = 3,
    NT_ADDRESS_CONNECT_DGRAM = 4,
};

bool nt_endpoint_is_v4(const struct nt_endpoint *endpoint);  // mapped; :: is not
bool nt_endpoint_is_any(const struct nt_endpoint *endpoint); // ::, or ::ffff:0.0.0.0

// For a socket of `family` (AF_INET or AF_INET6): 0, or -EINVAL (too short), -EAFNOSUPPORT, or
// -ENETUNREACH (an IPv4-mapped address on a `v6only` socket). An AF_INET6 wildcard stays ::, an
// AF_INET wildcard is ::ffff:0.0.0.0. connect() and sendto() to a wildcard mean the host itself, as
// on Linux: they become the loopback address.
int nt_endpoint_from_sockaddr(struct nt_endpoint *endpoint, int family, bool v6only,
                              enum nt_address_use use, const struct sockaddr *address,
                              socklen_t length);

// Of IPv6 a host has ::1 only: 0 for IPv4, ::1 and, to bind to, ::; else -EADDRNOTAVAIL to bind to,
// and -ENETUNREACH, as Linux says where no other interface has an IPv6 address.
int nt_endpoint_can_be(const struct nt_endpoint *endpoint, enum nt_address_use use);

// Writes at most *length bytes and sets *length to the full size, as the kernel does. An AF_INET6
// socket sees IPv4 peers as ::ffff:a.b.c.d; :: is also how an AF_INET6 socket sees an unset name.
void nt_endpoint_to_sockaddr(const struct nt_endpoint *endpoint, int family,
                             struct sockaddr *address, socklen_t *length);

#endif
