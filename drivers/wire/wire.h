// wire.h: the state of a wire driver, shared by the files of this folder and by nobody else.
//
// Sending (tx.c). The peer lends buffers of its own RX pool (grants). What we hold of them is
// listed in the arena (`held`, by the peer's buffer index) and stacked in private memory, last in
// first out, so that the warm ones circulate. A frame is gathered straight into such a buffer and
// its descriptor pushed to the peer: one copy between the two hosts.
//
// Receiving (rx.c). A descriptor from the peer is input: it must name a buffer that we lent and
// that is still out with that use count. Then emulation decides its fate, and it goes up to IP, or
// waits in the delay queue (delay.c), or its buffer is lent again.
//
// Lending. Every free buffer is lent to the peer at once, but for a few kept for duplicates where
// those are emulated. So a buffer is always in exactly one of the states of buffers.h: free, up
// with the consumers, granted (with the peer, or in one of the two channels), or delayed.
//
// Coming back without the arena. Neither end then knows what the other holds of its buffers, or
// goes on holding what is no longer lent. So the one that came back says FORGOT in its frames'
// channel, with the number of its life; the other frees all it had lent, answers RENEWED among its
// grants, and lends anew. Grants before that answer are of the former life and dropped. And what
// the other holds of the one that came back it keeps only if the use counts say that it was lent
// since.
//
// A wire stands still rather than loses frames when the peer is merely slow: frames wait in IP's
// channel until the peer grants a buffer. After 10 ms without any, the peer is taken for dead and
// frames are dropped, until a grant arrives.
#ifndef NT_WIRE_WIRE_H
#define NT_WIRE_WIRE_H

#include "drivers/wire/delay.h"
#include "drivers/wire/emulate.h"
#include "drivers/wire/engine.h"
#include "newtos_py/net/uplink.h"

enum {
    NT_WIRE_ARENA_KIND = 0x4e545752, // "NTWR"
    NT_WIRE_ARENA_LAYOUT = 2,
    NT_WIRE_PORT_TX = NT_UPLINK_PORT_NEXT,
    NT_WIRE_PORT_RX,
    NT_WIRE_PORT_GRANTS_RX,
    NT_WIRE_PORT_GRANTS_TX,
    // A descriptor kind that only the two ends of a wire know; ref[0].use is the number of the
    // life.
    NT_WIRE_DESC_FORGOT = 64,
    // The buffer of a grant that is none, but the answer; its use count is that number.
    NT_WIRE_RENEWED = 0xffff,
    NT_WIRE_STARVED_NS = 10000000,
    // Bytes gathered in one step before the peer hears of them: four super-segments.
    NT_WIRE_STEP_BYTES = 262144,
    // Grants are so cheap that more are taken a step than frames: a super-segment that is cut up
    // needs dozens of buffers.
    NT_WIRE_GRANTS_A_FRAME = 4,
    // Kept back for duplicates, where those are emulated.
    NT_WIRE_SPARE_SMALL = 32,
    NT_WIRE_SPARE_LARGE = 4,
    // With fewer than these lent and unused the peer may be waiting: wake it for a grant.
    NT_WIRE_LOW_SMALL = 64,
    NT_WIRE_LOW_LARGE = 16,
};

struct nt_wire_held { // a buffer of the peer's that we may fill; in the arena
    uint16_t use;
    uint16_t held; // 0 or 1
};

struct nt_wire_renewal { // after a start without an arena; in the arena
    uint16_t number;     // of this life
    uint8_t unsent;      // 1: the peer is still to be told
    uint8_t awaited;     // 1: its answer has not come
};

struct nt_wire_state { // the arena's body
    struct nt_uplink_state uplink;
    struct nt_emulate_state emulate;
    struct nt_wire_held held[1024];        // by the peer's buffer index
    struct nt_delayed_frame delayed[1024]; // by our buffer index; valid where the buffer is DELAYED
    struct nt_wire_renewal renewal;
};

struct nt_wire_stack {
    uint32_t count;
    uint32_t buffer[1024];
};

struct nt_wire {
    struct nt_engine engine;
    struct nt_uplink uplink;
    struct nt_wire_state *state;
    struct nt_wire_emulation emulation;
    struct nt_pool peer_pool;
    struct nt_producer tx;
    struct nt_consumer rx;
    struct nt_consumer grants_rx;
    struct nt_producer grants_tx;
    struct nt_wire_stack held[2]; // small, large
    struct nt_delay_queue delay;
    uint64_t starved_since_ns; // 0: not starved
    bool peer_silent;          // starved for 10 ms: drop
    bool grants_unrung;        // granted since the peer's bell was last marked
};

// tx.c
uint32_t nt_wire_take_grants(struct nt_wire *wire, uint32_t budget);
uint32_t nt_wire_send(struct nt_wire *wire, uint64_t now_ns, uint32_t budget);
bool nt_wire_can_send(struct nt_wire *wire);
// The peer lost its arena: forgets what it lent before and does not know of. It would else be
// written to while it is the peer's own (a spare), or somebody's above it.
void nt_wire_drop_stale(struct nt_wire *wire);
// Tells the peer, as soon as its channel has room, that we know nothing of its grants.
void nt_wire_send_forgot(struct nt_wire *wire);

// rx.c
uint32_t nt_wire_hand_up_due(struct nt_wire *wire, uint64_t now_ns, uint32_t budget);
uint32_t nt_wire_receive(struct nt_wire *wire, uint64_t now_ns, uint32_t budget);
void nt_wire_grant(struct nt_wire *wire);

#endif
