// symbols_name.c: the interposed symbols that look up names and interfaces. See symbols.h.

#include "libc_shim/preload/interfaces.h"
#include "libc_shim/preload/resolve.h"
#include "libc_shim/preload/symbols.h"

NT_SYMBOL(int, getaddrinfo,
          (const char *node, const char *service, const struct addrinfo *hints,
           struct addrinfo **found))
{
    return nt_fd_limit == 0 ? nt_real.getaddrinfo(node, service, hints, found)
                            : NT_PLAIN(nt_getaddrinfo(node, service, hints, found));
}

NT_SYMBOL(int, getnameinfo,
          (const struct sockaddr *addr, socklen_t len, char *host, socklen_t host_room,
           char *service, socklen_t service_room, int flags))
{
    return nt_fd_limit == 0
               ? nt_real.getnameinfo(addr, len, host, host_room, service, service_room, flags)
               : NT_PLAIN(nt_getnameinfo(addr, len, host, host_room, service, service_room, flags));
}

// -- The old calls ---------------------------------------------------------------------------

NT_SYMBOL(int, gethostbyname2_r,
          (const char *name, int family, struct hostent *host, char *buf, size_t room,
           struct hostent **found, int *error))
{
    return nt_fd_limit == 0
               ? nt_real.gethostbyname2_r(name, family, host, buf, room, found, error)
               : NT_PLAIN(nt_gethostbyname(name, family, host, buf, room, found, error));
}

NT_SYMBOL(int, gethostbyname_r,
          (const char *name, struct hostent *host, char *buf, size_t room, struct hostent **found,
           int *error))
{
    return nt_fd_limit == 0
               ? nt_real.gethostbyname_r(name, host, buf, room, found, error)
               : NT_PLAIN(nt_gethostbyname(name, AF_INET, host, buf, room, found, error));
}

NT_SYMBOL(int, gethostbyaddr_r,
          (const void *addr, socklen_t len, int family, struct hostent *host, char *buf,
           size_t room, struct hostent **found, int *error))
{
    return nt_fd_limit == 0
               ? nt_real.gethostbyaddr_r(addr, len, family, host, buf, room, found, error)
               : nt_gethostbyaddr(addr, len, family, host, buf, room, found, error);
}

static char static_room[2048]; // of the calls that answer with static data, as libc's do
static struct hostent static_host;

NT_SYMBOL(struct hostent *, gethostbyname2, (const char *name, int family))
{
    struct hostent *found;
    if (nt_fd_limit == 0)
        return nt_real.gethostbyname2(name, family);
    (void)NT_PLAIN(nt_gethostbyname(name, family, &static_host, static_room, sizeof static_room,
                                    &found, &h_errno));
    return found;
}

NT_SYMBOL(struct hostent *, gethostbyname, (const char *name))
{
    return nt_fd_limit == 0 ? nt_real.gethostbyname(name) : nt_symbol_gethostbyname2(name, AF_INET);
}

NT_SYMBOL(struct hostent *, gethostbyaddr, (const void *addr, socklen_t len, int family))
{
    struct hostent *found;
    if (nt_fd_limit == 0)
        return nt_real.gethostbyaddr(addr, len, family);
    nt_gethostbyaddr(addr, len, family, &static_host, static_room, sizeof static_room, &found,
                     &h_errno);
    return found;
}

// -- Interfaces ------------------------------------------------------------------------------

NT_SYMBOL(int, getifaddrs, (struct ifaddrs * *list))
{
    return nt_fd_limit == 0 ? nt_real.getifaddrs(list) : (int)NT_OURS(nt_getifaddrs(list));
}

NT_SYMBOL(unsigned, if_nametoindex, (const char *name))
{
    return nt_fd_limit == 0 ? nt_real.if_nametoindex(name) : NT_PLAIN(nt_if_nametoindex(name));
}

NT_SYMBOL(struct if_nameindex *, if_nameindex, (void))
{
    return nt_fd_limit == 0 ? nt_real.if_nameindex() : NT_PLAIN(nt_if_nameindex());
}

NT_SYMBOL(char *, if_indextoname, (unsigned index, char *name))
{
    return nt_fd_limit == 0 ? nt_real.if_indextoname(index, name)
                            : NT_PLAIN(nt_if_indextoname(index, name));
}
