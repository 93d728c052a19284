// output.h: packets on their way out: route, next hop, headers, size.
//
// Payload is never touched unless it must be: a packet that waits or loops back is gathered into
// the IP pool, one that the driver can't checksum is summed, one that is cut is referenced piece
// by piece.
#ifndef NT_IP_OUTPUT_H
#define NT_IP_OUTPUT_H

#include "servers/ip/state.h"

// Handles the oldest descriptor of an upper server's channel: a segment or a fence.
void nt_ip_segment_input(struct nt_ip *ip, uint32_t upper);
// Sends a packet whose references are the caller's to keep valid (fences).
void nt_ip_output(struct nt_ip *ip, const struct nt_ip_out *out);
// Sends a packet that refers to a held buffer of the IP pool, and takes care of the buffer.
void nt_ip_output_buffer(struct nt_ip *ip, const struct nt_ip_out *out, uint32_t buffer);
// The same when interface and MAC are known.
void nt_ip_transmit_buffer(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                           const struct nt_ip_out *out, uint32_t buffer);
// Gathers the packet with its IP header into a held buffer, NT_POOL_HEADROOM from its start; its
// length in *len. -1, counted, if there is no buffer or a reference is bad.
int64_t nt_ip_gather(struct nt_ip *ip, const struct nt_ip_out *out, uint32_t *len);
// The other way: a packet in a buffer as one to be sent, transport header inline, payload
// referenced. Flags, GSO size, flow hash and upper are the caller's to fill.
void nt_ip_out_from_buffer(const struct nt_ip *ip, uint32_t buffer, uint32_t len,
                           struct nt_ip_out *out);
// The IP header of a packet, `payload` bytes of it following at `fragment_offset`.
void nt_ip_header(const struct nt_ip_out *out, uint16_t id, uint32_t payload,
                  uint32_t fragment_offset, bool more, uint8_t *header);
// Of the header that a packet to out->dst has.
uint32_t nt_ip_header_bytes(const struct nt_ip_out *out);
// A new IPv4 identification (RFC 6864 §4.3: not repeated soon for a pair of addresses).
uint16_t nt_ip_next_id(struct nt_ip *ip, const struct nt_ip_out *out);
// Completes a partial transport checksum, here rather than in the driver. False: a bad reference.
bool nt_ip_complete_checksum(struct nt_ip *ip, struct nt_ip_out *out);

#endif
