// interfaces.h: the host's own network interfaces: getifaddrs, if_nametoindex, SIOCGIF....
//
// The syscall server lists them (IFADDRS) as lines "name address/prefix flags mtu [mac]"; an
// interface's index is its place among the names in that list, from 1 on.
#ifndef NT_PRELOAD_INTERFACES_H
#define NT_PRELOAD_INTERFACES_H

#include "libc_shim/preload/real.h"
#include "libc_shim/sockets/address.h"

// As libc's: one block of malloc, so that the program's freeifaddrs frees it.
int nt_getifaddrs(struct ifaddrs **list);
unsigned nt_if_nametoindex(const char *name);
char *nt_if_indextoname(unsigned index, char *name);
struct if_nameindex *nt_if_nameindex(void); // if_freenameindex() frees it

// True if it is an address of the host's, or none in particular.
bool nt_interface_has(const struct nt_endpoint *local);

// The SIOCGIF requests; -ENOTTY for any other.
int nt_interface_ioctl(unsigned long request, void *arg);

#endif
