#include "newtos_py/net/netconf.h"

#include "newtos_py/net/addr.h"

static bool interface_exists(const struct nt_netconf *conf, uint32_t interface)
{
    return interface < NT_NETCONF_INTERFACES && conf->interface[interface].mtu != 0;
}

static uint32_t address_count(const struct nt_netconf *conf)
{
    return nt_min_u32(conf->address_count, NT_NETCONF_ADDRESSES);
}

static uint32_t route_count(const struct nt_netconf *conf)
{
    return nt_min_u32(conf->route_count, NT_NETCONF_ROUTES);
}

bool nt_netconf_is_local(const struct nt_netconf *conf, const uint8_t addr[16])
{
    if (nt_addr_is_loopback(addr))
        return true;
    for (uint32_t i = 0; i < address_count(conf); i++)
        if (nt_addr_equal(conf->address[i].addr, addr))
            return true;
    return false;
}

// The address of `interface` whose network holds `next_hop`, else its first; false if it has none.
static bool choose_source(const struct nt_netconf *conf, uint32_t interface,
                          const uint8_t next_hop[16], uint8_t source[16])
{
    const struct nt_local_address *chosen = NULL;
    for (uint32_t i = 0; i < address_count(conf); i++) {
        const struct nt_local_address *local = &conf->address[i];
        if (local->interface != interface || nt_addr_is_v4(local->addr) != nt_addr_is_v4(next_hop))
            continue;
        if (nt_addr_in_prefix(next_hop, local->addr, local->prefix_bits)) {
            chosen = local;
            break;
        }
        if (chosen == NULL)
            chosen = local;
    }
    if (chosen == NULL)
        return false;
    nt_addr_copy(source, chosen->addr);
    return true;
}

static void fill_path(const struct nt_netconf *conf, uint32_t interface, struct nt_path *path)
{
    path->interface = interface;
    path->mtu = conf->interface[interface].mtu;
    path->gso_max = conf->interface[interface].gso_max;
}

// To itself a host speaks from the address it speaks to (RFC 6724 rule 1); to all of 127/8 from
// 127.0.0.1, as Linux.
static int loopback_path(const struct nt_netconf *conf, const uint8_t dst[16], struct nt_path *path)
{
    if (!interface_exists(conf, NT_INTERFACE_LOOPBACK))
        return -1;
    static const uint8_t first[4] = {127, 0, 0, 1};
    nt_addr_copy(path->source, dst);
    if (nt_addr_is_v4(dst) && nt_addr_is_loopback(dst))
        memcpy(path->source + 12, first, sizeof first);
    nt_addr_copy(path->next_hop, dst);
    fill_path(conf, NT_INTERFACE_LOOPBACK, path);
    return 0;
}

// What the search has found so far: the longest prefix, and where it leads.
struct best {
    int bits; // -1: nothing
    uint32_t interface;
    const uint8_t *gateway; // NULL: attached
};

static void offer(struct best *best, uint32_t bits, uint32_t interface, const uint8_t *gateway)
{
    if ((int)bits <= best->bits)
        return;
    best->bits = (int)bits;
    best->interface = interface;
    best->gateway = gateway;
}

static struct best longest_prefix(const struct nt_netconf *conf, const uint8_t dst[16])
{
    struct best best = {.bits = -1};
    for (uint32_t i = 0; i < address_count(conf); i++) {
        const struct nt_local_address *local = &conf->address[i];
        if (interface_exists(conf, local->interface) &&
            nt_addr_in_prefix(dst, local->addr, local->prefix_bits))
            offer(&best, local->prefix_bits, local->interface, NULL);
    }
    for (uint32_t i = 0; i < route_count(conf); i++) {
        const struct nt_route *route = &conf->route[i];
        static const uint8_t attached[16];
        bool direct = nt_addr_equal(route->gateway, attached);
        if (interface_exists(conf, route->interface) &&
            nt_addr_in_prefix(dst, route->prefix, route->prefix_bits))
            offer(&best, route->prefix_bits, route->interface, direct ? NULL : route->gateway);
    }
    return best;
}

// 255.255.255.255 and multicast without a route of their own leave by the first interface that has
// an address.
static struct best first_interface(const struct nt_netconf *conf)
{
    for (uint32_t i = 0; i < address_count(conf); i++) {
        uint32_t interface = conf->address[i].interface;
        if (interface != NT_INTERFACE_LOOPBACK && interface_exists(conf, interface))
            return (struct best){.bits = 0, .interface = interface};
    }
    return (struct best){.bits = -1};
}

int nt_netconf_path(const struct nt_netconf *conf, const uint8_t dst[16], struct nt_path *path)
{
    if (nt_netconf_is_local(conf, dst))
        return loopback_path(conf, dst, path);
    struct best best = longest_prefix(conf, dst);
    bool group = nt_addr_is_limited_broadcast(dst) || nt_addr_is_multicast(dst);
    if (group && best.gateway != NULL)
        best.gateway = NULL; // a group on the wire is reached directly, whatever the route says
    if (best.bits < 0 && group)
        best = first_interface(conf);
    if (best.bits < 0)
        return -1;
    const uint8_t *next_hop = best.gateway != NULL ? best.gateway : dst;
    nt_addr_copy(path->next_hop, next_hop);
    if (!choose_source(conf, best.interface, next_hop, path->source))
        return -1;
    fill_path(conf, best.interface, path);
    return 0;
}

bool nt_netconf_is_broadcast(const struct nt_netconf *conf, const uint8_t addr[16])
{
    if (nt_addr_is_limited_broadcast(addr))
        return true;
    if (!nt_addr_is_v4(addr))
        return false;
    for (uint32_t i = 0; i < address_count(conf); i++) {
        const struct nt_local_address *local = &conf->address[i];
        // A /31 (RFC 3021) and a single address have no broadcast address.
        if (local->prefix_bits < NT_ADDR_V4_PREFIX_BITS || local->prefix_bits > 126 ||
            !nt_addr_in_prefix(addr, local->addr, local->prefix_bits))
            continue;
        uint8_t ones[16];
        nt_addr_copy(ones, local->addr);
        for (uint32_t bit = local->prefix_bits; bit < NT_ADDR_BITS; bit++)
            ones[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
        if (nt_addr_equal(ones, addr))
            return true;
    }
    return false;
}
