// request.h: what the syscall server asks for (kernel/request.h).
//
// The last reply is kept in the arena: a request that is repeated is answered with it, not done
// again. NT_REQ_AREA_DEAD is answered later, when the area's last socket is drained.
#ifndef NT_UDP_REQUEST_H
#define NT_UDP_REQUEST_H

#include "servers/udp/state.h"

void nt_udp_request_input(struct nt_udp *udp);
// Goes on closing dead areas and answers for those that are drained.
void nt_udp_dead_areas(struct nt_udp *udp);

#endif
