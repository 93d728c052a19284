// engine.h: what the UDP server's Python face (and the simulator) sees of its engine.
//
// All memory is mapped by the caller, with the protections of architecture §4, and stays mapped for
// the life of the engine; areas come and go with nt_udp_map_area / nt_udp_unmap_area, between two
// steps. Why C: every datagram of a host passes here.
#ifndef NT_UDP_ENGINE_H
#define NT_UDP_ENGINE_H

#include "newtos_py/kernel/engine.h"
#include "newtos_py/net/netconf.h"

enum {
    NT_UDP_DRIVERS = 8,
    NT_UDP_ARENA_KIND = 0x4e545544,
    NT_UDP_ARENA_LAYOUT = 1,
    NT_UDP_BELL_IP = 0,
    NT_UDP_BELL_SYSCALL = 1,
    NT_UDP_BELL_DRIVER = 2, // + driver
    NT_UDP_BELL_QUEUE = 64, // event queues of programs, from here on
};

// Indices of nt_status.counter; the Python face takes the names from here.
enum nt_udp_counter {
    NT_UDP_COUNT_IN_DATAGRAMS = 0, // put into a socket's ring
    NT_UDP_COUNT_IN_BYTES = 1,
    NT_UDP_COUNT_OUT_DATAGRAMS = 2,
    NT_UDP_COUNT_OUT_BYTES = 3,
    NT_UDP_COUNT_BAD_DESCRIPTOR = 4, // from a neighbour: malformed, or its reference out of bounds
    NT_UDP_COUNT_STALE_REFERENCE = 5,
    NT_UDP_COUNT_IN_MALFORMED = 6, // headers or lengths that cannot be
    NT_UDP_COUNT_IN_CHECKSUM = 7,
    NT_UDP_COUNT_NO_PORT = 8, // nobody listens there
    NT_UDP_COUNT_RX_FULL = 9, // the socket's ring had no room: dropped
    NT_UDP_COUNT_ICMP_IN = 10,
    NT_UDP_COUNT_ICMP_OUT = 11,
    NT_UDP_COUNT_TX_REFUSED = 12,  // no route, no peer, broadcast without leave
    NT_UDP_COUNT_BAD_PROGRAM = 13, // cursors or datagrams that cannot be: the socket was broken
    NT_UDP_COUNT_FENCES = 14,
    NT_UDP_COUNT_FENCES_REPEATED = 15,
    NT_UDP_COUNT_GRANTS = 16,
    NT_UDP_COUNT_NO_SOCKET = 17, // the table of sockets was full
    NT_UDP_COUNT_NO_PORT_FREE = 18,
    NT_UDP_COUNT_BINDS = 19,
    NT_UDP_COUNT_CONNECTS = 20,
    NT_UDP_COUNT_CLOSES = 21,
    NT_UDP_COUNT_BAD_REQUEST = 22,
    NT_UDP_COUNTERS = 23,
};

struct nt_udp_memory { // mapped; base NULL: there is none
    void *base;
    uint64_t bytes;
};

struct nt_udp_pool_config { // a pool that packets lie in, and the way back to it
    struct nt_udp_memory pool;
    struct nt_udp_memory returns_out;
    struct nt_udp_memory status; // of a driver: its fences; base NULL for IP's
};

struct nt_udp_config {
    struct nt_udp_memory arena;
    struct nt_udp_memory status;
    struct nt_udp_memory netconf; // struct nt_netconf, copied
    struct nt_udp_memory from_ip;
    struct nt_udp_memory to_ip;
    struct nt_udp_memory from_syscall;
    struct nt_udp_memory to_syscall;
    struct nt_udp_pool_config ip_pool;
    struct nt_udp_pool_config driver[8];
    uint64_t seed;
};

uint64_t nt_udp_arena_bytes(void);
// Opens everything; initialises or rolls back the arena. NULL with the reason in `why`.
struct nt_engine *nt_udp_new(const struct nt_udp_config *config, char *why, uint64_t why_bytes);
// All areas are mapped and their queues set: recovers, publishes, marks every bell. -1 and `why` if
// the arena makes no sense.
int nt_udp_start(struct nt_engine *engine, char *why, uint64_t why_bytes);
void nt_udp_free(struct nt_engine *engine);
// All three parts of an area are mapped, for the program `pid`. 0 or -1.
int nt_udp_map_area(struct nt_engine *engine, uint32_t number, uint32_t slots, uint32_t pid,
                    void *program, void *server, void *hint);
void nt_udp_unmap_area(struct nt_engine *engine, uint32_t number);
// Bell index of an area's event queue; NT_BELL_NONE: none.
int nt_udp_set_queue(struct nt_engine *engine, uint32_t area, uint32_t queue, uint32_t bell);
// Dies at the n-th crash point from now (0: never) by calling `crash`; NULL: SIGKILL to ourselves.
void nt_udp_inject(struct nt_engine *engine, uint64_t crash_at, void (*crash)(void *), void *arg);
uint64_t nt_udp_crash_points(const struct nt_engine *engine);

// -- Observers: read an arena (mapped read-only, perhaps changing meanwhile) without its engine.

struct nt_udp_row { // one socket, as ss shows it
    uint32_t state; // 0: no socket here, 1: unconnected, 2: connected
    uint16_t local_port;
    uint16_t remote_port;
    uint8_t local_addr[16];
    uint8_t remote_addr[16];
    uint32_t pid;
    uint32_t area;
    uint32_t slot;
    uint32_t rx_datagrams; // delivered so far
    uint32_t tx_datagrams; // sent so far
    uint32_t tx_ungathered;
};

uint32_t nt_udp_rows(void);
// Row i of nt_udp_rows(); false if nothing is there, or this is no arena of this version.
bool nt_udp_row(const void *arena, uint64_t bytes, uint32_t index, struct nt_udp_row *row);

#endif
