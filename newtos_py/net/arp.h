// arp.h: the Address Resolution Protocol for IPv4 over Ethernet (RFC 826).
#ifndef NT_NET_ARP_H
#define NT_NET_ARP_H

#include "newtos_py/net/ethernet.h"

enum {
    NT_ARP_BYTES = 28,
    NT_ARP_REQUEST = 1,
    NT_ARP_REPLY = 2,
};

struct nt_arp {
    uint16_t operation;
    uint8_t sender_mac[6];
    uint8_t sender_ip[4];
    uint8_t target_mac[6];
    uint8_t target_ip[4];
};

#ifndef NT_CDEF
// Offsets of the fields, for Ethernet and IPv4.
enum {
    NT_ARP_HARDWARE = 0,
    NT_ARP_PROTOCOL = 2,
    NT_ARP_HARDWARE_LEN = 4,
    NT_ARP_PROTOCOL_LEN = 5,
    NT_ARP_OPERATION = 6,
    NT_ARP_SENDER_MAC = 8,
    NT_ARP_SENDER_IP = 14,
    NT_ARP_TARGET_MAC = 18,
    NT_ARP_TARGET_IP = 24,
    NT_ARP_HARDWARE_ETHERNET = 1,
};

static inline bool nt_arp_check_len(uint64_t len) { return len >= NT_ARP_BYTES; }

// True if it speaks of Ethernet and IPv4, whose field lengths the offsets above assume.
static inline bool nt_arp_is_ethernet_ipv4(const uint8_t *p)
{
    return nt_get16(p + NT_ARP_HARDWARE) == NT_ARP_HARDWARE_ETHERNET &&
           nt_get16(p + NT_ARP_PROTOCOL) == NT_ETHERTYPE_IPV4 && p[NT_ARP_HARDWARE_LEN] == 6 &&
           p[NT_ARP_PROTOCOL_LEN] == 4;
}

static inline uint16_t nt_arp_operation(const uint8_t *p) { return nt_get16(p + NT_ARP_OPERATION); }

// The sender's address must be one a station can have: no group address (RFC 1812 §3.3.2).
static inline bool nt_arp_parse(struct nt_arp *repr, const uint8_t *p, uint64_t len)
{
    if (!nt_arp_check_len(len) || !nt_arp_is_ethernet_ipv4(p))
        return false;
    repr->operation = nt_arp_operation(p);
    memcpy(repr->sender_mac, p + NT_ARP_SENDER_MAC, 6);
    memcpy(repr->sender_ip, p + NT_ARP_SENDER_IP, 4);
    memcpy(repr->target_mac, p + NT_ARP_TARGET_MAC, 6);
    memcpy(repr->target_ip, p + NT_ARP_TARGET_IP, 4);
    return !nt_mac_is_group(repr->sender_mac) &&
           (repr->operation == NT_ARP_REQUEST || repr->operation == NT_ARP_REPLY);
}

// Writes NT_ARP_BYTES.
static inline void nt_arp_emit(const struct nt_arp *repr, uint8_t *p)
{
    nt_put16(p + NT_ARP_HARDWARE, NT_ARP_HARDWARE_ETHERNET);
    nt_put16(p + NT_ARP_PROTOCOL, NT_ETHERTYPE_IPV4);
    p[NT_ARP_HARDWARE_LEN] = 6;
    p[NT_ARP_PROTOCOL_LEN] = 4;
    nt_put16(p + NT_ARP_OPERATION, repr->operation);
    memcpy(p + NT_ARP_SENDER_MAC, repr->sender_mac, 6);
    memcpy(p + NT_ARP_SENDER_IP, repr->sender_ip, 4);
    memcpy(p + NT_ARP_TARGET_MAC, repr->target_mac, 6);
    memcpy(p + NT_ARP_TARGET_IP, repr->target_ip, 4);
}
#endif

#endif
