// ports.h: who has which port: binding, conflicts, and who gets a datagram.
//
// The index is private: a list of sockets by local port, the last bound first.
#ifndef NT_UDP_PORTS_H
#define NT_UDP_PORTS_H

#include "servers/udp/state.h"

// bind(2): 0 or an errno. Port 0 chooses one. `options` is enum nt_slot_options.
int nt_udp_port_bind(struct nt_udp *udp, struct nt_udp_socket *socket, const uint8_t addr[16],
                     uint16_t port, uint32_t options);
// What the first send or connect, to `dst`, of an unbound socket does.
int nt_udp_port_autobind(struct nt_udp *udp, struct nt_udp_socket *socket, const uint8_t dst[16],
                         uint32_t options);
void nt_udp_port_release(struct nt_udp *udp, struct nt_udp_socket *socket);
// Puts a recovered socket into the index.
void nt_udp_port_index(struct nt_udp *udp, struct nt_udp_socket *socket);
// The one socket that a datagram to one host is for, or NULL.
struct nt_udp_socket *nt_udp_port_find(struct nt_udp *udp, const uint8_t dst[16], uint16_t dst_port,
                                       const uint8_t src[16], uint16_t src_port, uint32_t hash);
// All that a broadcast or multicast datagram is for, one after the other; begin with NULL.
struct nt_udp_socket *nt_udp_port_next(struct nt_udp *udp, const struct nt_udp_socket *last,
                                       const uint8_t dst[16], uint16_t dst_port,
                                       const uint8_t src[16], uint16_t src_port);

#endif
