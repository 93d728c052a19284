// state.h: all that the UDP engine knows.
//
// struct nt_udp_state is its arena, journalled before each change: one record a socket, one an
// area, the last reply to the syscall server, the port generator. struct nt_udp is private and made
// anew after a crash: the port index, free lists, what is still to be looked at or published.
//
// What a program sees (struct nt_slot_server) is copied from the records after each commit, so it
// is a function of committed state; payload lies beyond rx_tail until then.
//
// Invariants (audit.c): a record's (area, slot) is unique and the area lives; a bound record stands
// in the index of its port exactly once; an unbound one in none; tx_head <= groups' heads <=
// tx_sent, in order; the fences of its groups are in order and not beyond the last one sent.
#ifndef NT_UDP_STATE_H
#define NT_UDP_STATE_H

#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/arena.h"
#include "newtos_py/kernel/regions.h"
#include "newtos_py/kernel/request.h"
#include "newtos_py/net/addr.h"
#include "newtos_py/net/udp.h"
#include "servers/udp/engine.h"

enum {
    NT_UDP_SOCKETS = 4096, // granted ones included
    // Slots kept granted a program: UDP sockets come few at a time.
    NT_UDP_GRANTS_LOW = 8,
    NT_UDP_GRANTS_HIGH = 32,
    NT_UDP_PORT_FIRST = 32768, // ephemeral ports, as Linux
    NT_UDP_PORT_LAST = 60999,
    NT_UDP_NONE = 0xffff, // no socket
    // Datagrams one socket sends before the next one's turn.
    NT_UDP_QUANTUM = 16,
    // Payload that is copied into the descriptor: then its slot is free at once.
    NT_UDP_INLINE_MAX = NT_DESC_INLINE_BYTES - NT_TX_META_BYTES - NT_UDP_HEADER_BYTES,
    NT_UDP_PAYLOAD_MAX = 65535 - 20 - NT_UDP_HEADER_BYTES,
    // What one input can add to the journal, generously.
    NT_UDP_JOURNAL_AN_INPUT = 8192,
    NT_UDP_JOURNAL_BYTES = 262144,
    NT_UDP_DEFAULT_TTL = 64,
    // Drivers ring nobody for a fence, so it is looked for this often while one is awaited...
    NT_UDP_FENCE_LOOK_US = 200,
    // ... and sent again this long after (docs/decisions/0004-fences.md).
    NT_UDP_FENCE_AGAIN_MS = 100,
    // A full channel to IP is looked at again after this.
    NT_UDP_RETRY_US = 200,
};

#define NT_UDP_US UINT64_C(1000)
#define NT_UDP_MS UINT64_C(1000000)

enum nt_udp_socket_state {
    NT_UDP_FREE = 0,
    NT_UDP_GRANTED = 1,  // the program may take the slot, or has and said nothing yet
    NT_UDP_OPEN = 2,     // bound, connected or sending
    NT_UDP_BROKEN = 3,   // the program wrote what cannot be: ECONNABORTED until it closes
    NT_UDP_DRAINING = 4, // closed; drivers may still read its datagrams
    NT_UDP_LEFT = 5,     // its socket is in another slot (move.c); waits to be closed
};

enum nt_udp_socket_flags {
    NT_UDP_CONNECTED = 1,
    NT_UDP_REUSEADDR = 2, // as they were when it was bound
    NT_UDP_REUSEPORT = 4,
    NT_UDP_V6ONLY = 8,
    NT_UDP_ANY_ADDRESS = 16, // bound to no address: connect chose the local one
    NT_UDP_AUTO_PORT = 32,
    NT_UDP_ARRIVING = 64, // moved here, but its program block is not filled in yet
};

struct nt_udp_group { // datagrams that are the drivers' to read until they have passed `fence`
    uint32_t fence;   // 0: no such group
    uint32_t head;    // tx_head once they have
};

struct nt_udp_socket {
    uint32_t mark;
    uint8_t state; // enum nt_udp_socket_state
    uint8_t flags; // enum nt_udp_socket_flags
    uint16_t area;
    uint16_t slot;
    uint16_t local_port; // 0: not bound
    uint16_t peer_port;
    uint16_t partner; // while it moves: record of the other slot + 1; 0: none
    uint32_t generation;
    uint32_t events;
    uint32_t error; // count << 16 | errno
    uint32_t reply;
    uint32_t reply_errno;
    uint32_t rx_tail;
    uint32_t rx_offset; // where the next datagram may go
    uint32_t tx_head;
    uint32_t tx_sent;
    uint8_t local_addr[16];
    uint8_t peer_addr[16];
    struct nt_udp_group group[2]; // the older one first
};

enum nt_udp_area_state {
    NT_UDP_AREA_NONE = 0,
    NT_UDP_AREA_LIVE = 1,
    NT_UDP_AREA_DEAD = 2, // its program is gone; answered when drained
};

struct nt_udp_area {
    uint32_t mark;
    uint32_t state; // enum nt_udp_area_state
    uint32_t grant_tail;
    uint32_t dead_request; // number of the NT_REQ_AREA_DEAD to be answered
    uint32_t pid;          // of its program, for observers
};

struct nt_udp_globals {
    uint32_t mark;
    uint32_t fence;  // the last one sent
    uint64_t random; // of the port generator
};

struct nt_udp_replied { // the last reply to the syscall server
    uint32_t mark;
    uint32_t valid;
    struct nt_request reply;
};

struct nt_udp_state {
    struct nt_udp_globals globals;
    struct nt_udp_replied replied;
    struct nt_udp_area area[NT_AREAS_MAX];
    struct nt_udp_socket socket[NT_UDP_SOCKETS];
};

struct nt_udp_area_private {
    struct nt_area view;
    uint32_t pid;
    bool attached;
    bool grants_dirty;      // grant_tail is to be published
    bool grants_were_empty; // ... and the program may be waiting for it
    uint32_t granted_published;
    uint32_t pending_count;
    uint32_t sweep; // word of pending[] to go on with
    uint32_t free_count;
    uint64_t pending[NT_BITMAP_WORDS];
    uint16_t bell[NT_AREA_QUEUES];
    uint16_t free[NT_AREA_SLOTS_MAX];   // last in, first out
    uint16_t socket[NT_AREA_SLOTS_MAX]; // by slot; NT_UDP_NONE
};

enum nt_udp_dirt {
    NT_UDP_DIRTY = 1, // to be published
    NT_UDP_EVENT = 2, // ... and told
};

struct nt_udp_pool {
    bool exists;
    bool pushed;
    struct nt_pool view;
    struct nt_producer returns;
    const struct nt_status *status; // NULL: IP's
};

struct nt_udp {
    struct nt_engine engine;
    struct nt_txn txn;
    struct nt_udp_state *state;
    struct nt_regions regions;
    struct nt_netconf conf;
    struct nt_bells bells;
    struct nt_status *status;
    struct nt_consumer from_ip;
    struct nt_producer to_ip;
    struct nt_consumer from_syscall;
    struct nt_producer to_syscall;
    struct nt_udp_pool ip_pool;
    struct nt_udp_pool driver[NT_UDP_DRIVERS];
    struct nt_udp_area_private *area[NT_AREAS_MAX]; // NULL: never attached
    uint64_t now_ns;
    uint64_t deadline_ns;
    uint64_t fence_sent_ns;
    uint64_t seed;
    uint32_t fence_passed;
    uint32_t next_area;
    uint32_t area_limit; // no area has had a number from here on
    bool fresh;          // the arena was new
    bool ip_pushed;
    bool syscall_pushed;
    bool references; // this transaction sent some: a fence must follow
    bool ip_full;    // look at pending slots again later
    bool dead_areas; // some area waits to be drained
    uint16_t free_count;
    uint16_t dirty_count;
    uint16_t waiting_count;
    uint16_t free[NT_UDP_SOCKETS];    // free records
    uint16_t dirty[NT_UDP_SOCKETS];   // to be published
    uint16_t waiting[NT_UDP_SOCKETS]; // with groups
    uint8_t dirt[NT_UDP_SOCKETS];     // enum nt_udp_dirt
    uint8_t is_waiting[NT_UDP_SOCKETS];
    uint8_t crowded[NT_UDP_SOCKETS]; // its program may wait for room: the ring held many
    uint16_t port[65536];            // first socket of a port; NT_UDP_NONE
    uint16_t next[NT_UDP_SOCKETS];   // of the same port
};

static inline void nt_udp_count_n(struct nt_udp *udp, enum nt_udp_counter counter, uint64_t n)
{
    uint64_t *word = &udp->status->counter[counter];
    nt_store_relaxed(word, *word + n);
}

static inline void nt_udp_count(struct nt_udp *udp, enum nt_udp_counter counter)
{
    nt_udp_count_n(udp, counter, 1);
}

static inline void nt_udp_timer(struct nt_udp *udp, uint64_t at_ns)
{
    udp->deadline_ns = nt_min_u64(udp->deadline_ns, at_ns);
}

// The journal's copy of an object, once a transaction.
#define NT_UDP_TOUCH(udp, object) \
    nt_txn_touch_once(&(udp)->txn, &(object)->mark, (object), sizeof(*(object)))

static inline uint16_t nt_udp_index(const struct nt_udp *udp, const struct nt_udp_socket *socket)
{
    return (uint16_t)(socket - udp->state->socket);
}

// A socket's area; only sockets of attached areas are ever looked at.
static inline struct nt_udp_area_private *nt_udp_area_of(const struct nt_udp *udp,
                                                         const struct nt_udp_socket *socket)
{
    return udp->area[socket->area];
}

#endif
