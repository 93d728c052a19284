// output.h: datagrams from programs to IP, and when their memory is theirs again.
//
// A datagram of up to NT_UDP_INLINE_MAX bytes is copied into its descriptor: its slot is free at
// once. A larger one is referenced in the program's memory until all drivers have gathered it. No
// descriptor tells of that; a fence does, one behind all that a step has sent
// (docs/decisions/0004-fences.md). A socket's ungathered datagrams form at most two groups: the
// older one awaits its fence, the newer one collects whatever is sent meanwhile and awaits the last
// fence sent. So a busy socket needs one fence a round trip, not one a datagram.
#ifndef NT_UDP_OUTPUT_H
#define NT_UDP_OUTPUT_H

#include "servers/udp/state.h"

// Looks at all that the program may have changed in a slot.
void nt_udp_look(struct nt_udp *udp, struct nt_udp_socket *socket);
// An empty NT_DESC_SEGMENT in IP's channel, with room behind it for a fence; NULL if there is none.
struct nt_desc *nt_udp_segment(struct nt_udp *udp);
void nt_udp_segment_push(struct nt_udp *udp);
// Before a commit: the fence behind the references that it covers.
void nt_udp_fence(struct nt_udp *udp);
// Frees what drivers have gathered; sends the last fence again if that takes too long.
void nt_udp_collect(struct nt_udp *udp);
// True if all drivers may have passed a fence that somebody waits for.
bool nt_udp_fence_passed(const struct nt_udp *udp);
// A recovered socket that has groups.
void nt_udp_wait_for_fence(struct nt_udp *udp, struct nt_udp_socket *socket);
uint32_t nt_udp_last_fence_passed(const struct nt_udp *udp);

#endif
