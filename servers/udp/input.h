// input.h: datagrams and ICMP errors from IP.
#ifndef NT_UDP_INPUT_H
#define NT_UDP_INPUT_H

#include "servers/udp/state.h"

// Handles the oldest descriptor of IP's channel and gives its buffer back.
void nt_udp_packet_input(struct nt_udp *udp);

#endif
