// resolve.h: names and addresses, through the host's own resolver.
//
// Numeric addresses, services (libc's /etc/services) and localhost are answered here; every other
// name goes to the syscall server (RESOLVE), never to libc's resolver, which would ask over the
// kernel's network. Lists are laid out as libc lays them out, so that its freeaddrinfo frees them.
//
// Hosts have IPv4 addresses: where the program leaves the family open, it is told of those.
#ifndef NT_PRELOAD_RESOLVE_H
#define NT_PRELOAD_RESOLVE_H

#include "libc_shim/preload/real.h"

int nt_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                   struct addrinfo **found);
int nt_getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                   socklen_t host_room, char *service, socklen_t service_room, int flags);

// 0 and *found, or an errno value with *error set (h_errno) and *found NULL; as gethostbyname2_r.
int nt_gethostbyname(const char *name, int family, struct hostent *host, char *buf, size_t room,
                     struct hostent **found, int *error);
int nt_gethostbyaddr(const void *address, socklen_t length, int family, struct hostent *host,
                     char *buf, size_t room, struct hostent **found, int *error);

#endif
