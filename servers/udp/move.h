// move.h: a datagram socket goes from a slot of one area to a slot of another (request.h: MOVE).
#ifndef NT_UDP_MOVE_H
#define NT_UDP_MOVE_H

#include "servers/udp/state.h"

// MOVE: 0 with the new slot in the request, or an errno.
uint32_t nt_udp_move(struct nt_udp *udp, struct nt_request *request);
// MOVED: 0 or an errno.
uint32_t nt_udp_moved(struct nt_udp *udp, const struct nt_request *request);
// The slot that a socket was moved out of: is it closed, and may it be?
void nt_udp_left_look(struct nt_udp *udp, struct nt_udp_socket *socket);
// One of a pair is closed: the other has nobody to wait for.
void nt_udp_move_end(struct nt_udp *udp, struct nt_udp_socket *socket);

#endif
