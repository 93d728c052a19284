// engine.h: the face of the TCP server's engine: what its Python face, the simulator and observers
// use.
//
// An engine is made by nt_tcp_new() from mapped memory (all of which stays the caller's and must
// outlive the engine), is told of areas, queues and listener regions, and is started once. From
// then on its owner calls nt_engine.step; the other functions only between two steps. One process
// owns it; none of these functions may be called from another.
#ifndef NT_TCP_ENGINE_H
#define NT_TCP_ENGINE_H

#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/arena.h"
#include "newtos_py/kernel/channel.h"
#include "newtos_py/kernel/desc.h"
#include "newtos_py/kernel/engine.h"
#include "newtos_py/kernel/listener.h"
#include "newtos_py/kernel/pool.h"
#include "newtos_py/kernel/regions.h"
#include "newtos_py/kernel/request.h"
#include "newtos_py/net/netconf.h"
#include "servers/tcp/tcb.h"

enum {
    // Pools by region number: IP's and the drivers' (NT_REGION_IP_POOL, NT_REGION_DRIVER_POOL + n).
    NT_TCP_POOLS = 10,
};

enum nt_tcp_bell { // of nt_engine.bells; the caller sets those of its neighbours
    NT_TCP_BELL_IP = 0,
    NT_TCP_BELL_SYSCALL = 1,
    NT_TCP_BELL_POOL = 8,    // + region number of the pool: its owner
    NT_TCP_BELL_QUEUES = 64, // from here on: event queues
};

enum nt_tcp_counter { // nt_status.counter; the names are in servers/tcp/__init__.py
    NT_TCP_SEGMENTS_IN = 0,
    NT_TCP_SEGMENTS_OUT = 1,
    NT_TCP_BYTES_IN = 2,
    NT_TCP_BYTES_OUT = 3,
    NT_TCP_ACTIVE_OPENS = 4,
    NT_TCP_PASSIVE_OPENS = 5,
    NT_TCP_ESTABLISHED_TOTAL = 6,
    NT_TCP_RETRANSMITS = 7,
    NT_TCP_FAST_RETRANSMITS = 8,
    NT_TCP_TIMEOUTS = 9,
    NT_TCP_RESETS_IN = 10,
    NT_TCP_RESETS_OUT = 11,
    NT_TCP_CHALLENGE_ACKS = 12,
    NT_TCP_PAWS_DROPS = 13,
    NT_TCP_OUT_OF_WINDOW = 14,
    NT_TCP_OUT_OF_ORDER = 15,
    NT_TCP_OOO_DROPS = 16,
    NT_TCP_DUPLICATE_BYTES = 17,
    NT_TCP_BAD_DESCRIPTORS = 18,
    NT_TCP_BAD_SEGMENTS = 19,
    NT_TCP_BAD_CHECKSUMS = 20,
    NT_TCP_STALE_BUFFERS = 21,
    NT_TCP_LISTEN_OVERFLOWS = 22,
    NT_TCP_LISTEN_DROPS = 23,
    NT_TCP_NO_SLOT = 24,
    NT_TCP_NO_TCB = 25,
    NT_TCP_NO_TIME_WAIT = 26,
    NT_TCP_TIME_WAIT_REUSED = 27,
    NT_TCP_BAD_PROGRAM = 28,
    NT_TCP_UNSENT_REPLIES = 29,
    NT_TCP_ICMP_ERRORS = 30,
    NT_TCP_RX_GROWTHS = 31,
    NT_TCP_FENCES = 32,
    NT_TCP_PERSIST_PROBES = 33,
    NT_TCP_KEEPALIVE_PROBES = 34,
    NT_TCP_DELAYED_ACKS = 35,
    NT_TCP_TCBS_IN_USE = 36,
    NT_TCP_TIME_WAITS_IN_USE = 37,
    NT_TCP_RECOVERIES = 38,
    NT_TCP_COMMITS = 39,
    NT_TCP_ACTIVITY_LOOKS = 40,
    NT_TCP_LOSS_PROBES = 41,
    NT_TCP_SPURIOUS_LOSSES = 42,
    NT_TCP_ACCEPT_MOVES = 43,     // connections that another acceptor than the chosen one took
    NT_TCP_ACCEPT_AGAIN = 44,     // entered once more: a dead acceptor's, or a dead listener's
    NT_TCP_ACCEPT_REMINDERS = 45, // all were told of what one had not taken
    NT_TCP_MOVES = 46,            // sockets that went to another area
    NT_TCP_ACCEPT_STEALS = 47,    // accepted by processes of other, less busy lanes (affinity)
    NT_TCP_STOLEN_BY_0 = 48,      // of those, by processes of lane 0, and so on
    NT_TCP_STOLEN_BY_1 = 49,
    NT_TCP_STOLEN_BY_2 = 50,
    NT_TCP_STOLEN_BY_3 = 51,
    NT_TCP_STOLEN_BY_4 = 52,
    NT_TCP_STOLEN_BY_5 = 53,
    NT_TCP_STOLEN_BY_6 = 54,
    NT_TCP_STOLEN_BY_7 = 55,
    // Only with several lanes: whether segments arrived where their program runs (locality.c).
    NT_TCP_LOCAL_ACTIVE_SEGMENTS = 56,
    NT_TCP_FAR_ACTIVE_SEGMENTS = 57,
    NT_TCP_LOCAL_PASSIVE_SEGMENTS = 58,
    NT_TCP_FAR_PASSIVE_SEGMENTS = 59,
    // Likewise: look-ups of connections and listeners, and how many entries they looked at.
    NT_TCP_HASH_LOOKUPS = 60,
    NT_TCP_HASH_ENTRIES_SEEN = 61,
    NT_TCP_LISTEN_LOOKUPS = 62,
    NT_TCP_LISTEN_ENTRIES_SEEN = 63,
    NT_TCP_COOKIES_SENT = 64,     // SYN-ACKs without a TCB: the SYN queue was full
    NT_TCP_COOKIES_ACCEPTED = 65, // connections made of their acknowledgements
    NT_TCP_COOKIES_REFUSED = 66,  // acknowledgements that might have been, and were not
    NT_TCP_ACCEPT_LOOKS = 67,     // members looked at to choose whose a connection is
    NT_TCP_ACCEPT_GLOBAL = 68,    // offered to anybody, for want of a local process (fastsocket)
    NT_TCP_ACCEPT_RESCUES = 69,   // times that all was shared because the head had not moved
    NT_TCP_COUNTERS = 70,
};

struct nt_tcp_shape { // sizes of the arena's tables
    uint32_t tcbs;
    uint32_t time_waits;
    uint32_t listeners;
    uint32_t binding_pages; // of 64 slots
};

struct nt_tcp_span { // mapped memory; base NULL: none
    void *base;
    uint64_t bytes;
};

struct nt_tcp_config {
    struct nt_tcp_shape shape;
    struct nt_tcp_span arena;
    struct nt_tcp_span status;
    struct nt_tcp_span netconf; // struct nt_netconf, copied
    struct nt_tcp_span from_ip;
    struct nt_tcp_span to_ip;
    struct nt_tcp_span from_syscall;
    struct nt_tcp_span to_syscall;
    struct nt_tcp_span pool[10];              // by region number
    struct nt_tcp_span returns[10];           // to the pool's owner, by the pool's region number
    const struct nt_status *driver_status[8]; // whom fences wait for; NULL: no such driver
    uint64_t seed;                            // of the keys, where the arena is fresh
    uint32_t lane;
};

struct nt_tcp_engine;

uint64_t nt_tcp_arena_bytes(const struct nt_tcp_shape *shape);
// Opens the arena: what it holds is recovered, or it is made. NULL if it can be neither, or memory
// is short: `why` says so.
struct nt_tcp_engine *nt_tcp_new(const struct nt_tcp_config *config, char *why, uint64_t why_bytes);
void nt_tcp_free(struct nt_tcp_engine *tcp);
// Rebuilds what is private, publishes what was committed and looks at every slot again. Called
// once, when all areas and listeners are mapped. -1: the arena makes no sense, `why` says where.
int nt_tcp_start(struct nt_tcp_engine *tcp, char *why, uint64_t why_bytes);
struct nt_engine *nt_tcp_face(struct nt_tcp_engine *tcp);
int nt_tcp_set_bell(struct nt_tcp_engine *tcp, uint32_t bell, const uint32_t *sleeping, int fd);
bool nt_tcp_was_recovered(const struct nt_tcp_engine *tcp);

// `area` is copied; its memory must stay mapped until detach. -1: number out of range.
int nt_tcp_attach_area(struct nt_tcp_engine *tcp, const struct nt_area *area);
void nt_tcp_detach_area(struct nt_tcp_engine *tcp, uint32_t number);
// The eventfd of an event queue of an attached area. -1: no such queue, or too many.
int nt_tcp_set_queue(struct nt_tcp_engine *tcp, uint32_t area, uint32_t queue, int fd);
int nt_tcp_map_listener(struct nt_tcp_engine *tcp, uint32_t number,
                        const struct nt_listener *listener);
void nt_tcp_unmap_listener(struct nt_tcp_engine *tcp, uint32_t number);

// Fault injection: dies at the n-th crash point from now (0: never). `crash` NULL: SIGKILL.
void nt_tcp_crash_at(struct nt_tcp_engine *tcp, uint64_t points, void (*crash)(void *), void *arg);
uint64_t nt_tcp_crash_points(const struct nt_tcp_engine *tcp);

// -- Observers: read an arena (mapped read-only, perhaps changing meanwhile) without its engine.

struct nt_tcp_view {
    const struct nt_tcp_globals *globals;
    const struct nt_tcb *tcb;
    const struct nt_time_wait *time_wait;
    const struct nt_tcp_listener *listener;
    const struct nt_tcp_area *area;
};

struct nt_tcp_row { // one socket, as ss shows it
    uint32_t state; // enum nt_tcp_state; 0: no socket here
    uint16_t local_port;
    uint16_t remote_port;
    uint8_t local_addr[16];
    uint8_t remote_addr[16];
    uint32_t recv_q; // bytes the program has not read; LISTEN: connections not accepted
    uint32_t send_q; // bytes not acknowledged; LISTEN: backlog
    uint32_t pid;    // of the program that owns it, 0: nobody
    uint32_t snd_wscale;
    uint32_t rcv_wscale;
    uint32_t mss;
    uint32_t flight_bytes;
    uint32_t cwnd_bytes;
    uint32_t ssthresh_bytes;
    uint32_t srtt_us;
    uint32_t rttvar_us;
    uint32_t rto_ms;
    uint32_t retransmits;
    uint32_t snd_wnd_bytes;
    uint32_t rcv_wnd_bytes;
    uint32_t timer_ms; // deadline of the retransmission timer or TIME-WAIT, 0: none
};

// 0, or -1 if it is no arena of this version's TCP server.
int nt_tcp_view_open(struct nt_tcp_view *view, const void *arena, uint64_t bytes);
uint32_t nt_tcp_view_rows(const struct nt_tcp_view *view);
// Row i of nt_tcp_view_rows(); false if nothing is there.
bool nt_tcp_view_row(const struct nt_tcp_view *view, uint32_t index, struct nt_tcp_row *row);

#endif
