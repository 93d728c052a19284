// state.h: all that the IP engine knows.
//
// struct nt_ip_state is its arena: everything that must outlive the process, journalled before each
// change (kernel/arena.h). struct nt_ip is private: opened ends of channels, and what may be
// forgotten (the path cache, the ICMP allowance, when the next timer is due).
//
// Invariants (audit.c): a buffer of the IP pool that is neither free nor handed up stands in
// exactly one of: a reassembly, the packets waiting for a neighbour, the packets whose fence a
// driver has not passed.
#ifndef NT_IP_STATE_H
#define NT_IP_STATE_H

#include "newtos_py/kernel/arena.h"
#include "newtos_py/net/addr.h"
#include "newtos_py/net/buffers.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/ipv4.h"
#include "servers/ip/engine.h"

enum {
    // A LAN's worth; a full set of ways evicts its least recently used.
    NT_IP_NEIGHBOUR_SETS = 64,
    NT_IP_NEIGHBOUR_WAYS = 4,
    NT_IP_NEIGHBOURS = NT_IP_NEIGHBOUR_SETS * NT_IP_NEIGHBOUR_WAYS,
    // Packets that wait for an address: RFC 1122 §2.3.2.2 wants at least one a neighbour.
    NT_IP_WAITING = 32,
    NT_IP_WAITING_A_NEIGHBOUR = 8,
    // Each holds a large buffer of the pool's 32: a quarter of them at most.
    NT_IP_REASSEMBLIES = 8,
    // Disjoint pieces of a datagram: one as long as fragments arrive in order; 45 make up the
    // largest datagram at Ethernet's MTU.
    NT_IP_RANGES = 48,
    // Buffers that a driver is still to gather from.
    NT_IP_IN_FLIGHT = 48,
    // Frames that one input may become: what fragmenting 64 kB at an MTU of 1,100 makes.
    NT_IP_FRAMES_AN_INPUT = 64,
    // Journal bytes that one input may need, with plenty to spare: a neighbour, a reassembly, some
    // dozens of buffer records and small objects.
    NT_IP_JOURNAL_AN_INPUT = 16384,
    NT_IP_JOURNAL_BYTES = 262144,
    NT_IP_PATHS_CACHED = 64,
    // Connections whose port the program named, and whose lane is not where it leads (exact.h).
    NT_IP_EXACT_SETS = 512,
    NT_IP_EXACT_WAYS = 8,
    NT_IP_EXACTS = NT_IP_EXACT_SETS * NT_IP_EXACT_WAYS,
    NT_IP_INLINE_MAX =
        NT_DESC_INLINE_BYTES - NT_TX_META_BYTES, // transport header bytes of a segment
    NT_IP_L2_BYTES = NT_ETHERNET_HEADER_BYTES,
    NT_IP_HEADERS_BYTES = NT_ETHERNET_HEADER_BYTES + NT_IPV4_HEADER_BYTES,
    NT_IP_DEFAULT_TTL = 64, // RFC 1700
};

#define NT_IP_MS UINT64_C(1000000)
#define NT_IP_S  UINT64_C(1000000000)

enum nt_ip_neighbour_state {
    NT_IP_NEIGHBOUR_FREE = 0,
    NT_IP_NEIGHBOUR_INCOMPLETE = 1, // asked, not answered; packets wait
    NT_IP_NEIGHBOUR_RESOLVED = 2,
};

struct nt_ip_neighbour {
    uint32_t mark;
    uint8_t state; // enum nt_ip_neighbour_state
    uint8_t interface;
    uint8_t probes; // requests since it last answered
    uint8_t pad;
    uint8_t addr[16];
    uint8_t mac[6];
    uint8_t pad2[2];
    uint64_t confirmed_ns;
    uint64_t retry_ns; // when a request may be repeated
    uint64_t used_ns;  // a hint for eviction: not journalled
};

struct nt_ip_waiting { // a packet in an IP pool buffer, waiting for a neighbour
    uint32_t mark;
    uint32_t buffer;    // the IP packet starts NT_POOL_HEADROOM into it
    uint16_t neighbour; // index + 1; 0: the entry is free
    uint16_t gso_size;
    uint32_t len;   // IP header included
    uint32_t order; // smaller: came earlier
    uint32_t flow_hash;
    uint8_t flags; // enum nt_desc_flags
    uint8_t upper; // who sent it, NT_IP_UPPERS: ourselves
    uint16_t pad;
};

struct nt_ip_range { // [start, end) of a datagram's payload is there
    uint32_t start;
    uint32_t end;
};

struct nt_ip_reassembly {
    uint32_t mark;
    uint32_t buffer;
    uint64_t started_ns; // 0: the entry is free
    uint8_t src[4];
    uint8_t dst[4];
    uint16_t id;
    uint8_t protocol;
    uint8_t ecn_seen; // bit (1 << ECN field) of every fragment (RFC 3168 §5.3)
    uint8_t interface;
    uint8_t header_bytes; // of the first fragment; 0: not there yet
    uint8_t group;        // 1: broadcast or multicast
    uint8_t pad;
    uint32_t total; // payload bytes; 0: the last fragment is not there yet
    uint32_t range_count;
    uint32_t pad2;
    struct nt_ip_range range[NT_IP_RANGES]; // sorted, disjoint, not even touching
};

struct nt_ip_in_flight { // an IP pool buffer that a frame given to a driver refers to
    uint32_t mark;
    uint32_t buffer; // + 1; 0: the entry is free
    uint32_t driver;
    uint32_t fence; // the driver has gathered it once it has passed this one
};

struct nt_ip_pending_fence { // the highest fence not yet passed on, by driver and source
    uint32_t mark;
    uint32_t number; // 0: none
};

struct nt_ip_sequence { // counters that must not go back
    uint32_t mark;
    uint32_t id;      // IPv4 identification
    uint32_t fence;   // our own fences
    uint32_t waiting; // order of waiting packets
};

struct nt_ip_exact { // a connection
    uint8_t local[16];
    uint8_t remote[16];
    uint16_t local_port;
    uint16_t remote_port;
    uint32_t lane; // + 1; 0: the entry is free
};

enum nt_ip_move_state {
    NT_IP_MOVE_NONE = 0,
    NT_IP_MOVE_CHOSEN = 1,   // the lane that gives is to be told
    NT_IP_MOVE_GIVING = 2,   // it steers what it has
    NT_IP_MOVE_GIVEN = 3,    // the table is to be changed, and both are to be told
    NT_IP_MOVE_SETTLING = 4, // the one that gave may have what it was not known to have
};

struct nt_ip_move { // of a flow group, from the lane that is its index
    uint32_t mark;
    uint16_t group;
    uint8_t to;
    uint8_t state; // enum nt_ip_move_state
};

struct nt_ip_untold { // what a lane has not yet been told
    uint32_t mark;
    uint32_t groups; // a bit for each 1,024 flow groups
};

struct nt_ip_state {
    struct nt_ip_sequence sequence;
    struct nt_ip_pending_fence fence[NT_IP_DRIVERS][NT_STATUS_FENCES];
    struct nt_ip_in_flight in_flight[NT_IP_IN_FLIGHT];
    struct nt_ip_waiting waiting[NT_IP_WAITING];
    struct nt_ip_reassembly reassembly[NT_IP_REASSEMBLIES];
    struct nt_ip_neighbour neighbour[NT_IP_NEIGHBOURS];
    struct nt_buffer_record record[NT_BUFFERS_MAX];
    struct nt_ip_exact exact[NT_IP_EXACTS];
    uint32_t spilled[NT_IP_EXACT_SETS]; // connections that found their set full
    uint8_t group[NT_STEERING_GROUPS];  // lanes of flow groups
    struct nt_ip_move move[NT_IP_LANES];
    struct nt_ip_untold untold[NT_IP_LANES];
};

struct nt_ip_link { // a driver
    bool exists;
    bool pushed; // something since the last commit: ring
    struct nt_consumer in;
    struct nt_producer out;
    struct nt_producer returns;
    struct nt_pool pool;
    const struct nt_status *status;
    uint64_t full_since_ns; // its channel has had no room for an input since then; 0: it has
    uint64_t fence_sent_ns; // of our own fences, the last one
};

struct nt_ip_upper { // a TCP server, or UDP
    bool exists;
    bool pushed;
    struct nt_consumer in;
    struct nt_producer out;
    struct nt_consumer returns;
};

struct nt_ip_cached_path {
    bool valid;
    bool group; // broadcast or multicast
    uint8_t dst[16];
    struct nt_path path;
};

struct nt_ip {
    struct nt_engine engine;
    struct nt_txn txn;
    struct nt_ip_state *state;
    struct nt_buffers buffers;
    struct nt_regions regions;
    struct nt_netconf conf;
    struct nt_bells bells;
    struct nt_status *status;
    struct nt_ip_link link[NT_IP_DRIVERS];
    struct nt_ip_upper upper[NT_IP_UPPERS];
    struct nt_ip_cached_path path[NT_IP_PATHS_CACHED];
    uint64_t now_ns;
    uint64_t seed;
    uint64_t deadline_ns; // no timer is due before it
    uint64_t icmp_refilled_ns;
    uint32_t icmp_tokens;
    uint32_t lanes;
    uint32_t exact_count; // entries of the exact-match table in use
    uint32_t spilled;     // connections that found no room there
    struct nt_steering steering;
    uint32_t moves;    // flow groups under way, and lanes that are to be told: look at them
    uint32_t settling; // of these, those that have left
    uint32_t stolen[NT_IP_LANES][NT_IP_LANES]; // lately, from a lane by a lane
    uint64_t migrate_ns;    // when that decides what moves; 0: nothing was stolen
    uint32_t next_group;    // where looking for one goes on
    bool announced;         // our addresses, once after the arena was new
    uint64_t defended_ns;   // when an address of ours was last defended
    uint64_t stale_returns; // already counted
    uint32_t released_count;
    uint32_t released[NT_BUFFERS_MAX]; // held buffers that the next commit frees
};

// A packet that came in, as far as it has been looked at.
struct nt_ip_in {
    const uint8_t *bytes; // IP header; other processes may write here, so lengths are in `ip`
    struct nt_ref ref;    // the same bytes, as they are handed on
    struct nt_ipv4 ip;    // of an IPv6 packet the same fields, without the addresses
    uint8_t src[16];
    uint8_t dst[16];
    uint32_t interface;
    uint32_t nic_hash;  // of the card (net/nic.h), 0: not computed
    uint32_t nic_queue; // ... and where it put it, + 1; 0: it said nothing
    uint32_t asked;     // NT_PACKET_IF_YOURS, or 0
    uint16_t gso_size;
    uint8_t flags;   // enum nt_desc_flags
    bool link_group; // broadcast or multicast on the link
    bool group;      // ... or as an IP destination
};

// A packet on its way out: transport bytes are inline ones, then references.
struct nt_ip_out {
    uint8_t src[16];
    uint8_t dst[16];
    uint8_t protocol;
    uint8_t ttl;
    uint8_t tos;
    bool df;
    uint8_t flags; // enum nt_desc_flags
    uint8_t upper; // who sent it; NT_IP_UPPERS: ourselves
    uint8_t ref_count;
    uint8_t inline_len;
    uint16_t gso_size;
    uint32_t flow_hash;
    uint32_t len; // transport bytes in all
    struct nt_ref ref[2];
    uint8_t data[NT_IP_INLINE_MAX];
};

static inline void nt_ip_count_n(struct nt_ip *ip, enum nt_ip_counter counter, uint64_t n)
{
    uint64_t *word = &ip->status->counter[counter];
    nt_store_relaxed(word, *word + n);
}

static inline void nt_ip_count(struct nt_ip *ip, enum nt_ip_counter counter)
{
    nt_ip_count_n(ip, counter, 1);
}

static inline void nt_ip_timer(struct nt_ip *ip, uint64_t at_ns)
{
    ip->deadline_ns = nt_min_u64(ip->deadline_ns, at_ns);
}

// Frees a held buffer with the next commit, not before: if we die until then, what it holds is
// needed again, so nothing of this transaction may be written into it.
static inline void nt_ip_release(struct nt_ip *ip, uint32_t buffer)
{
    nt_assert(ip->released_count < NT_BUFFERS_MAX);
    ip->released[ip->released_count++] = buffer;
}

// The journal's copy of an object, once a transaction.
#define NT_IP_TOUCH(ip, object) \
    nt_txn_touch_once(&(ip)->txn, &(object)->mark, (object), sizeof(*(object)))

#endif
