// icmp.h: "port unreachable" to others, and others' errors to our sockets.
//
// UDP makes the ICMP message itself and sends it as a segment of protocol 1; IP keeps the host's
// allowance of errors. An error about a datagram of ours is told to the connected socket that sent
// it (RFC 1122 §4.1.3.3); unconnected sockets, as on Linux, never hear of it.
#ifndef NT_UDP_ICMP_H
#define NT_UDP_ICMP_H

#include "servers/udp/packet.h"
#include "servers/udp/state.h"

void nt_udp_icmp_unreachable(struct nt_udp *udp, const struct nt_udp_packet *packet);
void nt_udp_icmp_input(struct nt_udp *udp, const struct nt_udp_packet *packet);

#endif
