// tap.h: the state of the TAP driver, shared by the files of this folder and by nobody else.
//
// Sending (tx.c): one writev a frame, straight from where the bytes are: offload header, inline
// headers, payload in the program's own memory. The kernel's copy into its socket buffer is the
// only one.
//
// Receiving (rx.c): one readv a frame, into a small buffer first and a large one behind it, so that
// nobody need know a frame's size beforehand. Both are still free while they are read into (nobody
// else knows of them), and the one that is used becomes UP in the arena.
//
// Death between a device's system call and the commit repeats a sent frame or loses a received one:
// the one place where that may happen (architecture §9).
#ifndef NT_TAP_TAP_H
#define NT_TAP_TAP_H

#include "drivers/tap/engine.h"
#include "drivers/tap/virtio.h"

enum {
    NT_TAP_ARENA_KIND = 0x4e545450, // "NTTP"
    NT_TAP_ARENA_LAYOUT = 1,
    // A device that takes nothing (no memory for socket buffers) is asked again after RETRY_NS;
    // what has waited for BLOCKED_NS is dropped, so that nobody above waits for long.
    NT_TAP_RETRY_NS = 1000000,
    NT_TAP_BLOCKED_NS = 10000000,
};

struct nt_tap_state { // the arena's body
    struct nt_uplink_state uplink;
};

struct nt_tap {
    struct nt_engine engine;
    struct nt_uplink uplink;
    int fd;
    uint64_t blocked_since_ns; // 0: not blocked
    uint64_t retry_ns;
    uint8_t scratch[NT_POOL_LARGE_BYTES]; // what no buffer is free for is read into this
};

// tx.c
uint32_t nt_tap_send(struct nt_tap *tap, uint64_t now_ns, uint32_t budget);
// rx.c
uint32_t nt_tap_receive(struct nt_tap *tap, uint32_t budget);

#endif
