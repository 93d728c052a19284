// neighbour.h: which MAC belongs to which next hop, and the packets that wait to know.
//
// Life of an entry (RFC 1122 §2.3.2.1, after RFC 4861 §7.3):
//
//     FREE --packet--> INCOMPLETE --answer--> RESOLVED --no answer to 3 probes--> FREE
//                      | asked once a second,            used 60 s after it was last confirmed:
//                      | 3 times, no answer              probed by unicast; packets go on meanwhile
//                      v
//                     FREE; waiting packets are answered "host unreachable"
//
// The table is a cache. A station that speaks finds room for itself, if need be the least recently
// used entry's, those without an answer first. One that we ask for must not, for it may be
// anybody's invention: a flood of packets from addresses where nobody is would make us forget
// everybody else (Linux: "neighbour table overflow"). Where it finds no room the packet is dropped,
// counted.
//
// A waiting packet is copied into a buffer of the IP pool. So nothing that waits refers to a
// program's memory, a fence need not wait for it, and the copy survives our death. At most
// NT_IP_WAITING_A_NEIGHBOUR wait for one neighbour; one more drops the oldest.
#ifndef NT_IP_NEIGHBOUR_H
#define NT_IP_NEIGHBOUR_H

#include "servers/ip/state.h"

// The MAC of a next hop, or NULL: then `out` has been copied to wait, or dropped (counted).
const uint8_t *nt_ip_neighbour_resolve(struct nt_ip *ip, const struct nt_path *path,
                                       const struct nt_ip_out *out);
// A station has spoken. `create`: remember it even if it is new. Sends what waited for it.
void nt_ip_neighbour_heard(struct nt_ip *ip, uint32_t interface, const uint8_t addr[16],
                           const uint8_t mac[6], bool create);
// Repeats requests and gives up on those that are due; arms nt_ip_timer for the rest.
void nt_ip_neighbour_timers(struct nt_ip *ip);
int nt_ip_neighbour_audit(const struct nt_ip *ip, uint8_t held[NT_BUFFERS_MAX], char *why,
                          uint64_t why_bytes);

#endif
