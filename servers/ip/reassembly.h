// reassembly.h: putting fragmented datagrams together again (RFC 791 §3.2, RFC 815).
//
// Each datagram that is being put together holds one large buffer of the IP pool; the fragments'
// payload is copied to its place there and the frames' buffers go back at once. So what an attacker
// can hold is NT_IP_REASSEMBLIES buffers; a new datagram evicts the one that has waited longest.
//
// What has arrived is a sorted list of disjoint ranges. A fragment that lies within one is a
// duplicate and ignored; one that overlaps a range partly, or contradicts the end that is known,
// discards the whole datagram (RFC 5722's rule, which Linux applies to IPv4 too); so does a list
// that grows beyond NT_IP_RANGES.
#ifndef NT_IP_REASSEMBLY_H
#define NT_IP_REASSEMBLY_H

#include "servers/ip/state.h"

// The caller keeps (and returns) the fragment's buffer.
void nt_ip_reassembly_input(struct nt_ip *ip, const struct nt_ip_in *in);
// Gives up on datagrams that are due; arms nt_ip_timer for the rest.
void nt_ip_reassembly_timers(struct nt_ip *ip);
int nt_ip_reassembly_audit(const struct nt_ip *ip, uint8_t held[NT_BUFFERS_MAX], char *why,
                           uint64_t why_bytes);

#endif
