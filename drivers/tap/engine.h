// engine.h: the TAP driver's engine, as its Python face sees it.
//
// The engine joins a host to the Linux kernel's network by way of a TAP device: a descriptor on
// which each read and write is one Ethernet frame, behind a virtio-net header that carries checksum
// and segmentation offload both ways. The descriptor is opened by rs (device.py) and outlives the
// driver. README.md has the theory; this engine's step makes system calls, its device's I/O, and no
// others.
#ifndef NT_TAP_ENGINE_H
#define NT_TAP_ENGINE_H

#include "newtos_py/kernel/engine.h"
#include "newtos_py/net/uplink.h"

// After enum nt_uplink_counter.
enum nt_tap_counter {
    NT_TAP_NO_BUFFER = 8,  // frames read and dropped because the pool was exhausted
    NT_TAP_BAD_HEADER = 9, // frames from the device whose offload header makes no sense
    NT_TAP_REFUSED = 10,   // frames that the device refused: it is down, or gone
    NT_TAP_BLOCKED = 11,   // frames dropped because the device took none for 10 ms
    NT_TAP_RX_SUPERS = 12, // super-segments
    NT_TAP_TX_SUPERS = 13,
    NT_TAP_COUNTERS = 14,
};

struct nt_tap_config {
    struct nt_uplink_config uplink;
    int device_fd; // non-blocking; stays the caller's
};

uint64_t nt_tap_arena_bytes(void);
// Opens everything, initialises or recovers. NULL with the reason in `why`: the arena needs a cold
// start, or the wiring is wrong.
struct nt_engine *nt_tap_new(const struct nt_tap_config *config, char *why, uint64_t why_bytes);
void nt_tap_free(struct nt_engine *engine);
// A socket area's program side (TX data), as region NT_REGION_AREA + number. -1: no such number.
int nt_tap_map_area(struct nt_engine *engine, uint32_t number, void *base, uint64_t bytes);
void nt_tap_unmap_area(struct nt_engine *engine, uint32_t number);
// For tests and `newtos inject`: the n-th crash point from now is fatal.
void nt_tap_crash_at(struct nt_engine *engine, uint64_t n);

#endif
