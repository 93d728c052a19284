// loopback.h: packets of a host to itself.
//
// IP gathers them into its own pool, as a driver would on receipt, and hands them up at once. So a
// fence has nothing to wait for here, and no other server's payload is ever referenced upwards.
#ifndef NT_IP_LOOPBACK_H
#define NT_IP_LOOPBACK_H

#include "servers/ip/state.h"

void nt_ip_loopback(struct nt_ip *ip, const struct nt_ip_out *out);

#endif
