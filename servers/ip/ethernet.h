// ethernet.h: frames to and from drivers, in the engine's own terms.
//
// A frame down is one descriptor: inline Ethernet and IP headers and what is inline of the
// transport's, then references that are passed on untouched. A frame up is one reference to all of
// it in the driver's pool.
#ifndef NT_IP_ETHERNET_H
#define NT_IP_ETHERNET_H

#include "servers/ip/state.h"

extern const uint8_t nt_ip_broadcast_mac[6];

// The multicast MAC of an IPv4 group (RFC 1112 §6.4), or the broadcast one.
void nt_ip_group_mac(const uint8_t dst[16], uint8_t mac[6]);
// A descriptor in the driver's channel, all but data[] zeroed, with an Ethernet header as its first
// inline bytes; NULL (and counted) if there is no room. nt_ip_frame_push makes it count.
struct nt_desc *nt_ip_frame(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                            uint16_t type);
void nt_ip_frame_push(struct nt_ip *ip, uint32_t interface);
// Gives a buffer of a driver's pool back to it.
void nt_ip_frame_return(struct nt_ip *ip, uint32_t interface, const struct nt_ref *ref);
// Handles the oldest descriptor of a driver's channel.
void nt_ip_frame_input(struct nt_ip *ip, uint32_t interface);

#endif
