// arp.h: address resolution messages (RFC 826), and the care for our own addresses (RFC 5227).
//
// What is learned goes to the neighbour cache (neighbour.h), which decides when to ask.
#ifndef NT_IP_ARP_H
#define NT_IP_ARP_H

#include "servers/ip/state.h"

// `bytes` is what follows the Ethernet header; not trusted, read once.
void nt_ip_arp_input(struct nt_ip *ip, uint32_t interface, const uint8_t *bytes, uint32_t len);
// Asks who has `target`; to `mac`, the broadcast one unless a known neighbour is only confirmed.
void nt_ip_arp_request(struct nt_ip *ip, uint32_t interface, const uint8_t source[16],
                       const uint8_t target[16], const uint8_t mac[6]);
// Says what our addresses are (a gratuitous request, RFC 5227 §2.3), once after a cold start.
void nt_ip_arp_announce(struct nt_ip *ip);

#endif
