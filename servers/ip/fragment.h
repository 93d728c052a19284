// fragment.h: cutting a datagram that is larger than its interface's MTU (RFC 791 §3.2).
#ifndef NT_IP_FRAGMENT_H
#define NT_IP_FRAGMENT_H

#include "servers/ip/state.h"

// Its transport checksum is complete. All fragments go out, or none.
void nt_ip_fragment(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                    const struct nt_ip_out *out);

#endif
