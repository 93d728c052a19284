#include "servers/ip/arp.h"

#include "newtos_py/net/arp.h"
#include "servers/ip/ethernet.h"
#include "servers/ip/neighbour.h"

enum {
    // RFC 5227 §2.4 DEFEND_INTERVAL: two hosts that both defend must not do so without end.
    DEFEND_INTERVAL_S = 10,
};

static void send(struct nt_ip *ip, uint32_t interface, const struct nt_arp *arp,
                 const uint8_t mac[6])
{
    struct nt_desc *desc = nt_ip_frame(ip, interface, mac, NT_ETHERTYPE_ARP);
    if (desc == NULL)
        return;
    nt_arp_emit(arp, desc->data + desc->inline_len);
    desc->inline_len = (uint8_t)(desc->inline_len + NT_ARP_BYTES);
    nt_ip_frame_push(ip, interface);
    nt_ip_count(ip, NT_IP_COUNT_ARP_OUT);
}

void nt_ip_arp_request(struct nt_ip *ip, uint32_t interface, const uint8_t source[16],
                       const uint8_t target[16], const uint8_t mac[6])
{
    struct nt_arp arp = {.operation = NT_ARP_REQUEST};
    memcpy(arp.sender_mac, ip->conf.interface[interface].mac, 6);
    memcpy(arp.sender_ip, nt_addr_v4(source), 4);
    memcpy(arp.target_ip, nt_addr_v4(target), 4);
    send(ip, interface, &arp, mac);
}

static void announce(struct nt_ip *ip, uint32_t interface, const uint8_t addr[16])
{
    nt_ip_arp_request(ip, interface, addr, addr, nt_ip_broadcast_mac);
}

void nt_ip_arp_announce(struct nt_ip *ip)
{
    for (uint32_t i = 0; i < ip->conf.address_count; i++) {
        const struct nt_local_address *local = &ip->conf.address[i];
        if (local->interface < NT_IP_DRIVERS && ip->link[local->interface].exists)
            announce(ip, local->interface, local->addr);
    }
}

// Another station says that it has an address of ours (RFC 5227 §2.4 (b): defend it, seldom).
static void conflict(struct nt_ip *ip, uint32_t interface, const uint8_t addr[16])
{
    nt_ip_count(ip, NT_IP_COUNT_ARP_CONFLICT);
    if (ip->defended_ns != 0 && ip->now_ns - ip->defended_ns < DEFEND_INTERVAL_S * NT_IP_S)
        return;
    ip->defended_ns = ip->now_ns;
    announce(ip, interface, addr);
}

static void reply(struct nt_ip *ip, uint32_t interface, const struct nt_arp *request)
{
    struct nt_arp arp = {.operation = NT_ARP_REPLY};
    memcpy(arp.sender_mac, ip->conf.interface[interface].mac, 6);
    memcpy(arp.sender_ip, request->target_ip, 4);
    memcpy(arp.target_mac, request->sender_mac, 6);
    memcpy(arp.target_ip, request->sender_ip, 4);
    send(ip, interface, &arp, request->sender_mac);
}

// True if hosts with this address are reached through `interface` without a gateway: nobody else's
// word is taken.
static bool attached(struct nt_ip *ip, uint32_t interface, const uint8_t addr[16])
{
    struct nt_path path;
    return nt_netconf_path(&ip->conf, addr, &path) == 0 && path.interface == interface &&
           nt_addr_equal(path.next_hop, addr) && !nt_netconf_is_broadcast(&ip->conf, addr);
}

void nt_ip_arp_input(struct nt_ip *ip, uint32_t interface, const uint8_t *bytes, uint32_t len)
{
    struct nt_arp arp;
    nt_ip_count(ip, NT_IP_COUNT_ARP_IN);
    if (!nt_arp_parse(&arp, bytes, len)) {
        nt_ip_count(ip, NT_IP_COUNT_ARP_BAD);
        return;
    }
    uint8_t sender[16], target[16];
    nt_addr_from_v4(sender, arp.sender_ip);
    nt_addr_from_v4(target, arp.target_ip);
    if (memcmp(arp.sender_mac, ip->conf.interface[interface].mac, 6) == 0)
        return; // our own broadcast, come back
    bool for_us = nt_netconf_is_local(&ip->conf, target) && !nt_addr_is_loopback(target);
    if (nt_netconf_is_local(&ip->conf, sender) && !nt_addr_is_loopback(sender)) {
        conflict(ip, interface, sender);
        return;
    }
    bool probe = nt_addr_is_unspecified(sender); // RFC 5227 §2.1: says nothing about the sender
    if (!probe && !attached(ip, interface, sender)) {
        nt_ip_count(ip, NT_IP_COUNT_ARP_BAD);
        return;
    }
    // RFC 826: known senders are updated, whatever is said; new ones only if they ask us.
    if (!probe)
        nt_ip_neighbour_heard(ip, interface, sender, arp.sender_mac,
                              for_us && arp.operation == NT_ARP_REQUEST);
    if (for_us && arp.operation == NT_ARP_REQUEST)
        reply(ip, interface, &arp);
}
