// engine.h: what the IP server's Python face (and the simulator) sees of its engine.
//
// All memory is mapped by the caller, with the protections of architecture §4, and stays mapped for
// the life of the engine; regions of programs come and go with nt_ip_map_area / nt_ip_unmap_area,
// between two steps. Why C: every packet of a host passes here, twice if it is answered.
#ifndef NT_IP_ENGINE_H
#define NT_IP_ENGINE_H

#include "newtos_py/kernel/engine.h"
#include "newtos_py/kernel/regions.h"
#include "newtos_py/net/netconf.h"

enum {
    NT_IP_DRIVERS = 8,
    NT_IP_LANES = 8,  // TCP servers
    NT_IP_UPPERS = 9, // ... and UDP, the last one
    NT_IP_UPPER_UDP = 8,
    NT_IP_ARENA_KIND = 0x4e544950,
    NT_IP_ARENA_LAYOUT = 3,
    NT_IP_BELL_DRIVER = 0, // + driver
    NT_IP_BELL_UPPER = 8,  // + upper
};

// Indices of nt_status.counter; the Python face takes the names from here.
enum nt_ip_counter {
    NT_IP_COUNT_IN_PACKETS = 0, // received, good or bad
    NT_IP_COUNT_IN_DELIVERED = 1,
    NT_IP_COUNT_OUT_PACKETS = 2,  // frames with IP packets that went to a driver
    NT_IP_COUNT_OUT_SEGMENTS = 3, // taken from TCP and UDP
    NT_IP_COUNT_LOOPBACK_PACKETS = 4,
    NT_IP_COUNT_BAD_DESCRIPTOR = 5, // from a neighbour: malformed, or its reference out of bounds
    NT_IP_COUNT_STALE_REFERENCE = 6,
    NT_IP_COUNT_BAD_ETHERNET = 7,  // too short, or a type nobody here speaks
    NT_IP_COUNT_OTHER_STATION = 8, // the frame was for somebody else
    NT_IP_COUNT_IN_TRUNCATED = 9,
    NT_IP_COUNT_IN_MALFORMED = 10,
    NT_IP_COUNT_IN_CHECKSUM = 11,
    NT_IP_COUNT_IN_MARTIAN = 12,  // a source or destination that cannot be (RFC 1812 §5.3.7)
    NT_IP_COUNT_NOT_LOCAL = 13,   // for another host: nothing is forwarded
    NT_IP_COUNT_NO_PROTOCOL = 14, // nobody above speaks it
    NT_IP_COUNT_UP_FULL = 15,     // the channel to TCP or UDP had no room
    NT_IP_COUNT_NO_ROUTE = 16,
    NT_IP_COUNT_BAD_SOURCE = 17,  // a segment from above with an address that is not ours
    NT_IP_COUNT_TOO_BIG = 18,     // more than MTU and may not be cut, or more than the driver takes
    NT_IP_COUNT_DRIVER_FULL = 19, // no room in its channel: dropped
    NT_IP_COUNT_NO_BUFFER = 20,   // the IP pool was exhausted
    NT_IP_COUNT_FRAGMENTS_IN = 21,
    NT_IP_COUNT_FRAGMENTS_BAD = 22, // odd length, beyond 64 kB, contradicting ends
    NT_IP_COUNT_FRAGMENTS_OVERLAP = 23,
    NT_IP_COUNT_REASSEMBLED = 24,
    NT_IP_COUNT_REASSEMBLY_TIMEOUT = 25,
    NT_IP_COUNT_REASSEMBLY_EVICTED = 26,
    NT_IP_COUNT_FRAGMENTS_OUT = 27,
    NT_IP_COUNT_ARP_IN = 28,
    NT_IP_COUNT_ARP_BAD = 29,
    NT_IP_COUNT_ARP_OUT = 30,
    NT_IP_COUNT_ARP_CONFLICT = 31,
    NT_IP_COUNT_NEIGHBOUR_FAILED = 32,
    NT_IP_COUNT_NEIGHBOUR_EVICTED = 33,
    NT_IP_COUNT_WAITING_DROPPED = 34, // too many waited for one neighbour, or it never answered
    NT_IP_COUNT_ICMP_IN = 35,
    NT_IP_COUNT_ICMP_BAD = 36,
    NT_IP_COUNT_ICMP_ECHO = 37,
    NT_IP_COUNT_ICMP_ERRORS_UP = 38,
    NT_IP_COUNT_ICMP_OUT = 39,
    NT_IP_COUNT_ICMP_LIMITED = 40,
    NT_IP_COUNT_FENCES = 41,
    NT_IP_COUNT_FENCES_DEFERRED = 42,
    NT_IP_COUNT_STALE_RETURNS = 43,
    NT_IP_COUNT_NEIGHBOUR_REFUSED = 44, // packets to somebody whom there was no room to ask for
    // Only with several lanes.
    NT_IP_COUNT_FORWARDED = 45,          // segments that the card had put into another lane's queue
    NT_IP_COUNT_EXACT_LOOKUPS = 46,      // of connections by exact match (exact.h)
    NT_IP_COUNT_EXACT_ENTRIES_SEEN = 47, // by these
    NT_IP_COUNT_EXACT_OVERFLOWS = 48,    // connections that found no room there
    NT_IP_COUNT_ASKED = 49,              // segments that lanes were asked for
    NT_IP_COUNT_GROUPS_MOVED = 50,       // flow groups that went to another lane (groups.h)
    NT_IP_COUNTERS = 51,
};

struct nt_ip_memory { // mapped; base NULL: there is none
    void *base;
    uint64_t bytes;
};

struct nt_ip_driver_config {         // base NULL in `into`: no such driver
    struct nt_ip_memory into;        // D>ip
    struct nt_ip_memory out;         // ip>D
    struct nt_ip_memory returns_out; // rt.ip>D
    struct nt_ip_memory pool;        // D's RX pool
    struct nt_ip_memory status;      // D's: where its fences are
};

struct nt_ip_upper_config {
    struct nt_ip_memory into;       // tcp0>ip
    struct nt_ip_memory out;        // ip>tcp0
    struct nt_ip_memory returns_in; // rt.tcp0>ip
};

struct nt_ip_config {
    struct nt_ip_memory arena;
    struct nt_ip_memory pool; // our own
    struct nt_ip_memory status;
    struct nt_ip_memory netconf; // struct nt_netconf, copied
    uint64_t seed;               // of this host; the same in all generations
    struct nt_ip_driver_config driver[8];
    struct nt_ip_upper_config upper[9];
};

uint64_t nt_ip_arena_bytes(void);
// Opens everything; initialises or recovers the arena. NULL with the reason in `why`: then only a
// cold start (a zeroed arena) helps, or nothing.
struct nt_engine *nt_ip_new(const struct nt_ip_config *config, char *why, uint64_t why_bytes);
// All areas are mapped: the engine may step. Marks every bell.
void nt_ip_start(struct nt_engine *engine);
void nt_ip_free(struct nt_engine *engine);
// The program side of a socket area, read-only: what segments refer to. 0 or -1.
int nt_ip_map_area(struct nt_engine *engine, uint32_t number, void *base, uint64_t bytes);
void nt_ip_unmap_area(struct nt_engine *engine, uint32_t number);
// Dies at the n-th crash point from now (0: never) by calling `crash`; NULL: SIGKILL to ourselves.
void nt_ip_inject(struct nt_engine *engine, uint64_t crash_at, void (*crash)(void *), void *arg);
uint64_t nt_ip_crash_points(const struct nt_engine *engine);

#endif
