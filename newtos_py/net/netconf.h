// netconf.h: a host's addresses and routes, as every protocol server of it knows them.
//
// Made from the topology at boot, constant afterwards, copied into each server's private memory.
// Addresses are 128 bit, IPv4 mapped; so is a prefix: 10.0.0.0/24 has prefix_bits 120.
// Longest prefix wins; an attached network needs no route of its own.
#ifndef NT_NET_NETCONF_H
#define NT_NET_NETCONF_H

#include "newtos_py/kernel/base.h"
#include "newtos_py/net/steering.h"

enum {
    NT_NETCONF_INTERFACES = 9, // NT_DRIVERS_MAX drivers and the loopback
    NT_NETCONF_ADDRESSES = 32,
    NT_NETCONF_ROUTES = 32,
    NT_INTERFACE_LOOPBACK = 8,
};

struct nt_interface { // index = driver index; [NT_INTERFACE_LOOPBACK] is lo
    uint8_t mac[6];
    uint16_t mtu;     // bytes of IP packet; 0: no such interface
    uint32_t gso_max; // largest super-segment the driver takes, payload bytes; 0: none
    uint32_t flags;   // enum nt_interface_flags
    char name[16];
};

enum nt_interface_flags {
    NT_INTERFACE_CSUM_TX = 1, // takes NT_DESC_CSUM_PARTIAL frames
};

struct nt_local_address {
    uint8_t addr[16];
    uint8_t prefix_bits;
    uint8_t interface;
    uint8_t pad[2];
};

struct nt_route {
    uint8_t prefix[16];
    uint8_t gateway[16]; // all zero: attached
    uint8_t prefix_bits;
    uint8_t interface;
    uint8_t pad[2];
};

struct nt_netconf {
    uint32_t address_count;
    uint32_t route_count;
    struct nt_interface interface[9];
    struct nt_local_address address[32];
    struct nt_route route[32];
    struct nt_steering_config steering;
};

struct nt_path {        // what a look-up answers
    uint8_t source[16]; // preferred source address
    uint8_t next_hop[16];
    uint32_t interface;
    uint32_t mtu;
    uint32_t gso_max;
};

// 0, or -1 if there is no route. A destination that is one of the host's own, or 127/8, is the
// loopback.
int nt_netconf_path(const struct nt_netconf *conf, const uint8_t dst[16], struct nt_path *path);
bool nt_netconf_is_local(const struct nt_netconf *conf, const uint8_t addr[16]);
// True for 255.255.255.255 and the broadcast address of an attached IPv4 network.
bool nt_netconf_is_broadcast(const struct nt_netconf *conf, const uint8_t addr[16]);

#endif
