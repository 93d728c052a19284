// icmp.h: ICMP for IPv4: echo, errors about others' packets, errors about ours (RFC 792, RFC 1122
// §3.2.2).
//
// Errors about our packets go up to whoever sent them as NT_DESC_ICMP: the reference starts at the
// outer IP header, l4_offset is where the ICMP header is, and the packet it is about is quoted
// behind that. What goes wrong on this very host (no route, no neighbour, too big for the MTU) goes
// up in the same form, in a buffer of the IP pool, flagged NT_DESC_LOOPBACK.
#ifndef NT_IP_ICMP_H
#define NT_IP_ICMP_H

#include "newtos_py/net/icmp.h"
#include "servers/ip/state.h"

// True if the buffer was handed on.
bool nt_ip_icmp_input(struct nt_ip *ip, const struct nt_ip_in *in);
// Answers a received packet with an error, unless RFC 1122 §3.2.2 forbids it or there were too
// many of late.
void nt_ip_icmp_error(struct nt_ip *ip, const struct nt_ip_in *in, uint8_t type, uint8_t code,
                      uint32_t rest);
// Tells the sender above what became of its packet; nothing if it was our own.
void nt_ip_icmp_local_error(struct nt_ip *ip, const struct nt_ip_out *out, uint8_t type,
                            uint8_t code, uint32_t rest);
// Takes one of the errors that may be sent now; false (counted) if none is left.
bool nt_ip_icmp_allow(struct nt_ip *ip);

#endif
