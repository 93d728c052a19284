// desc.h: what travels on the channels between servers.
//
// A descriptor says what the message is (kind), carries up to 136 inline bytes (enough for the
// largest header stack: Ethernet + IPv6 + TCP with all options) and refers to at most two pieces of
// payload by region, offset and length: never by pointer. It is three cache lines; a plain
// acknowledgement or a received packet touches only one or two of them.
//
// A reference into a pool names the whole buffer implicitly (the offset lies inside it) and carries
// the buffer's use count at hand-out, so that a stale reference is told from a fresh one.
//
// Life of a received packet:  driver --FRAME--> IP --PACKET--> TCP/UDP --nt_return--> driver
// Life of a sent segment:     TCP/UDP --SEGMENT--> IP --FRAME--> driver (gathers)
#ifndef NT_KERNEL_DESC_H
#define NT_KERNEL_DESC_H

#include "newtos_py/kernel/base.h"

enum nt_desc_kind {
    NT_DESC_NONE = 0,
    NT_DESC_FRAME = 1, // an Ethernet frame; up: ref[0] is all of it; down: inline headers + refs
    NT_DESC_PACKET =
        2, // up, IP to TCP/UDP: ref[0] starts at the IP header, l4_offset counts from it
    NT_DESC_SEGMENT =
        3,            // down, TCP/UDP to IP: struct nt_tx_meta, then the transport header, inline
    NT_DESC_ICMP = 4, // up, IP to TCP/UDP: an ICMP error about one of its packets; ref[0] as PACKET
    NT_DESC_FENCE = 5,   // down: `arg` is the fence number, `tag` its source; see nt_status.fence
    NT_DESC_REQUEST = 6, // syscall server to TCP/UDP: struct nt_request inline
    NT_DESC_REPLY = 7,   // TCP/UDP to syscall server: struct nt_request inline, filled in
    NT_DESC_STEER = 8,   // down, TCP to IP: struct nt_steer inline
    // Down, TCP to IP: a PACKET with NT_PACKET_IF_YOURS, all but its kind as it came: no connection
    // here has it. Its buffer is IP's to pass on or to return.
    NT_DESC_NOT_MINE = 9,
    // Flow groups that move from lane to lane (servers/ip/groups.h).
    NT_DESC_STOLEN = 10, // down, TCP to IP: struct nt_stolen inline
    NT_DESC_GROUP = 11,  // TCP and IP: `tag` is a group, `arg` an enum nt_group_word
    NT_DESC_GROUPS = 12, // up, IP to TCP: those from `tag` on that are its, a bit each, inline
};

enum nt_group_word {
    NT_GROUP_GIVE = 1,    // up: new connections of it will be another lane's; keep yours
    NT_GROUP_GIVEN = 2,   // down: those that are here are known by exact match
    NT_GROUP_SETTLE = 3,  // up: it is another's now; said behind all that came before
    NT_GROUP_SETTLED = 4, // down: that is handled, too
    NT_GROUP_TAKE = 5,    // up: it is yours from now on
    NT_GROUP_WHOSE = 6,   // down: an arena was lost: which are mine? Answered by GROUPS
};

enum nt_packet_arg {          // `arg` of a PACKET
    NT_PACKET_QUEUE = 0xff,   // 1 + the card's queue; 0: none said
    NT_PACKET_IF_YOURS = 256, // hand it back if no connection here has it: others are asked, too
};

enum nt_desc_flags {
    NT_DESC_CSUM_PARTIAL =
        1,                  // transport checksum field holds the pseudo-header sum; rest to be done
    NT_DESC_CSUM_VALID = 2, // transport checksum was verified, or the bytes never left memory
    NT_DESC_LOOPBACK = 4,   // came from this host's own loopback
};

struct nt_ref {
    uint64_t offset; // bytes from the region's start
    uint32_t len;    // bytes
    uint16_t region; // host-wide region number (nt_region_number)
    uint16_t use;    // the pool buffer's use count at hand-out; 0 for socket areas
};

struct nt_desc {
    uint8_t kind;       // enum nt_desc_kind
    uint8_t flags;      // enum nt_desc_flags
    uint8_t inline_len; // bytes used of data[]
    uint8_t ref_count;  // 0, 1 or 2
    uint16_t gso_size;  // payload bytes a wire segment; 0: not a super-segment
    uint16_t l4_offset; // transport header's offset: from ref[0].offset (up) or in data[] (down)
    // Symmetric hash of the 4-tuple, 0 if not computed. FRAME, up: the card's (net/nic.h).
    uint32_t flow_hash;
    uint32_t tag;   // meaning depends on kind. FRAME, down: 1 + the lane that sends it, else 0
    uint32_t arg;   // meaning depends on kind. FRAME, PACKET: 1 + the card's queue; 0: none said
    uint32_t check; // nt_desc_check() of the slot's index: torn or misplaced slots show
    struct nt_ref ref[2];
    uint8_t data[136];
};

// What the transport tells IP with each segment; the first bytes of data[] of an NT_DESC_SEGMENT.
struct nt_tx_meta {
    uint8_t src[16]; // 128-bit addresses, IPv4 mapped (RFC 4291 §2.5.5.2)
    uint8_t dst[16];
    uint8_t protocol; // IP protocol number
    uint8_t ttl;
    uint8_t tos;
    uint8_t df; // 1: don't fragment
};

// A connection that its four-tuple does not lead to: an exact match comes before every other rule.
struct nt_steer {
    uint8_t local[16];
    uint8_t remote[16];
    uint16_t local_port; // in host byte order
    uint16_t remote_port;
    uint32_t here; // 1: segments of it go to whoever says this; 0: no longer
};

struct nt_stolen {       // connections that processes of other lanes took, since this was last said
    uint32_t by_lane[8]; // NT_STEERING_LANES_MAX
};

// A buffer on its way back to the pool it came from.
struct nt_return {
    uint32_t buffer; // index within the pool
    uint16_t use;    // as it was handed out
    uint16_t region;
};

enum {
    NT_DESC_INLINE_BYTES = 136,
    NT_TX_META_BYTES = 36,
};

// Region numbers are the same in all servers of a host.
enum nt_region_number {
    NT_REGION_NONE = 0,
    NT_REGION_IP_POOL = 1,
    NT_REGION_DRIVER_POOL = 2, // + driver index, up to NT_DRIVERS_MAX
    NT_REGION_AREA = 16,       // + area number: the program side (TX data) of a socket area
    NT_DRIVERS_MAX = 8,
    NT_AREAS_MAX = 256,
    NT_REGIONS_MAX = 16 + 256,
};

#ifndef NT_CDEF
_Static_assert(sizeof(struct nt_ref) == 16, "layout");
_Static_assert(offsetof(struct nt_desc, ref) == 24, "layout");
_Static_assert(offsetof(struct nt_desc, data) == 56, "layout");
_Static_assert(sizeof(struct nt_desc) == 192, "three cache lines");
_Static_assert(sizeof(struct nt_tx_meta) == NT_TX_META_BYTES, "layout");
_Static_assert(sizeof(struct nt_return) == 8, "layout");

static inline uint32_t nt_desc_check(uint32_t index) { return index * 2654435761u ^ 0x6e746f73u; }
#endif

#endif
