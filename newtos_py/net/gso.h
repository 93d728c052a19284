// gso.h: software segmentation: a TCP super-segment becomes the wire segments it stands for.
//
// A driver whose link must see single segments (a wire that loses or reorders them) cuts a
// super-segment itself, as a network card would (TSO) or Linux does (GSO). Nothing is copied but
// headers: each segment is a descriptor that refers to its part of the payload.
//
// What differs from segment to segment is what RFC 9293 §3.1 and RFC 791 §3.1 say must: IP length,
// identification and header checksum, TCP sequence number, and the pseudo-header sum, which covers
// the length. FIN and PSH belong to the last segment; CWR to the first, because it answers one ECE
// (RFC 3168 §6.1.2).
#ifndef NT_NET_GSO_H
#define NT_NET_GSO_H

#include "newtos_py/kernel/desc.h"

enum {
    NT_GSO_SEGMENTS_MAX = 128, // more than 64 kB make at the smallest MSS in use (536)
};

struct nt_gso {
    const struct nt_desc *super;
    uint32_t header_bytes; // Ethernet, IP and TCP: inline
    uint32_t payload_bytes;
    uint32_t segments;
};

// 0 with `segments` set, or -1 if the frame is none that can be cut: not IPv4 and TCP, headers not
// inline, checksum not partial, or too many segments. `frame_bytes` is its whole length. The super
// descriptor is referred to until the last segment is made.
int nt_gso_open(struct nt_gso *gso, const struct nt_desc *super, uint64_t frame_bytes);
// Makes segment `i` of `segments`: kind, flags, inline bytes and references; no gso_size.
void nt_gso_segment(const struct nt_gso *gso, uint32_t i, struct nt_desc *segment);

#endif
