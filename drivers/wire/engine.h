// engine.h: a wire driver's engine, as its Python face (and the simulator) sees it.
//
// One end of a wire between two hosts of this machine. The engine is pure (kernel/engine.h): it
// makes no system call at all. What it owns and how a frame travels stands in README.md; wire.h has
// its state.
#ifndef NT_WIRE_ENGINE_H
#define NT_WIRE_ENGINE_H

#include "newtos_py/kernel/engine.h"
#include "newtos_py/net/uplink.h"

enum {
    NT_WIRE_BELL_PEER = NT_UPLINK_BELL_NEXT,
    NT_WIRE_CHANCE_ONE = 1000000000, // chances are in parts per 1e9
};

// After enum nt_uplink_counter.
enum nt_wire_counter {
    NT_WIRE_NO_GRANT = 8,       // frames dropped because the peer gave no buffer for 10 ms
    NT_WIRE_BAD_PEER_DESC = 9,  // from the peer: malformed, or about a buffer that it does not hold
    NT_WIRE_BAD_GRANT = 10,     // from the peer: for a buffer that its pool does not have
    NT_WIRE_LOST = 11,          // by emulation, as are the next four
    NT_WIRE_QUEUE_DROPPED = 12, // the link's queue was full
    NT_WIRE_REORDERED = 13,
    NT_WIRE_DUPLICATED = 14,
    NT_WIRE_CORRUPTED = 15,
    NT_WIRE_SEGMENTED = 16, // super-segments cut up before they were sent
    NT_WIRE_FORGOTTEN = 17, // times the peer came back without its arena
    NT_WIRE_COUNTERS = 18,
};

// What this end does to frames that it receives.
struct nt_wire_emulation {
    uint64_t latency_ns;
    uint64_t rate_bits; // a second; 0: as fast as it goes
    uint32_t loss_ppb;
    uint32_t reorder_ppb;
    uint32_t duplicate_ppb;
    uint32_t corrupt_ppb;
    uint64_t seed; // the two ends' seeds should differ
};

struct nt_wire_config {
    struct nt_uplink_config uplink;
    struct nt_span peer_pool;           // data writable, the rest read-only
    struct nt_span tx;                  // producer of descriptors for the peer
    struct nt_span rx;                  // consumer of the peer's
    struct nt_span grants_rx;           // consumer: buffers that the peer lends us to fill
    struct nt_span grants_tx;           // producer: buffers of ours that the peer may fill
    struct nt_wire_emulation emulation; // the same at both ends, but for the seed
};

uint64_t nt_wire_arena_bytes(void);
// Opens everything, initialises or recovers. NULL with the reason in `why`: the arena needs a cold
// start, or the wiring is wrong.
struct nt_engine *nt_wire_new(const struct nt_wire_config *config, char *why, uint64_t why_bytes);
void nt_wire_free(struct nt_engine *engine);
// A socket area's program side (TX data), as region NT_REGION_AREA + number. -1: no such number.
int nt_wire_map_area(struct nt_engine *engine, uint32_t number, void *base, uint64_t bytes);
void nt_wire_unmap_area(struct nt_engine *engine, uint32_t number);
// For tests and `newtos inject`: the n-th crash point from now is fatal.
void nt_wire_crash_at(struct nt_engine *engine, uint64_t n);
// The same (0: never), but dying is a call of `crash`; NULL: SIGKILL to ourselves.
void nt_wire_inject(struct nt_engine *engine, uint64_t crash_at, void (*crash)(void *), void *arg);
// How many of the peer's buffers it may fill.
uint32_t nt_wire_held(const struct nt_engine *engine);
uint64_t nt_wire_crash_points(const struct nt_engine *engine);

#endif
