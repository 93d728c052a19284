// emulate.h: what a link does to a frame: loss, rate, latency, reordering, duplication, corruption.
//
// All of it is decided at the receiving end, frame by frame, from a generator whose state is in the
// arena: the same seed and the same arrivals give the same fate, and a driver that is killed goes
// on exactly where it was. Only chances that are set draw a number, so a link is unchanged by the
// features it does not use.
//
// The link is a queue, a transmitter and a pipe, as in Linux's netem with a rate: a frame waits for
// those before it (tail drop if more than NT_EMULATE_QUEUE_BYTES wait), takes its length at the
// link rate, and arrives `latency` later. A reordered frame is held back for a little longer, so
// that those after it overtake it. Frames that are not reordered keep their order.
//
// Corruption overwrites one byte after the Ethernet header: a burst error of up to 8 bits, which
// the checksums of IP, TCP, UDP and ICMP always notice. (It is a byte's new value that is drawn,
// and not which bits to flip, so that doing it again after a crash changes nothing more; one time
// in 256 it changes nothing at all.) ARP has no checksum of its own: a corrupted ARP frame is lost,
// as the frame check sequence of a real link would see to.
#ifndef NT_WIRE_EMULATE_H
#define NT_WIRE_EMULATE_H

#include "drivers/wire/engine.h"
#include "newtos_py/kernel/arena.h"

enum {
    NT_EMULATE_QUEUE_BYTES = 262144, // about 170 full frames, far below what the pool holds
    NT_EMULATE_REORDER_NS = 1000000, // how long a frame is held back: some 80 frames at 1 Gbit/s
};

struct nt_emulate_state {  // in the arena
    uint64_t random;       // SplitMix64: a counter and a hash of it
    uint64_t link_free_ns; // when the transmitter has sent what it has
    uint64_t last_due_ns;  // of the frames that keep their order
    uint64_t order;        // frames delayed so far
    uint32_t mark;         // of the transaction that has journalled this
    uint32_t pad;
};

enum nt_emulate_fate {
    NT_EMULATE_PASS = 0,
    NT_EMULATE_LOST = 1,
    NT_EMULATE_QUEUE_FULL = 2,
};

struct nt_emulate_verdict {
    enum nt_emulate_fate fate;
    uint64_t due_ns;
    uint64_t duplicate_due_ns;
    bool duplicate;
    bool reorder;
    bool corrupt;
    uint32_t corrupt_at; // offset in the frame
    uint8_t corrupt_to;  // that byte's new value
};

// True if the sender must cut super-segments, because what happens happens to wire segments.
bool nt_emulate_needs_segments(const struct nt_wire_emulation *emulation);
// True if any frame can be changed or delayed at all.
bool nt_emulate_active(const struct nt_wire_emulation *emulation);
void nt_emulate_init(struct nt_emulate_state *state, const struct nt_wire_emulation *emulation);
// The fate of a frame of `len` bytes (at least an Ethernet header) that arrives now.
void nt_emulate_judge(struct nt_txn *txn, struct nt_emulate_state *state,
                      const struct nt_wire_emulation *emulation, uint64_t now_ns, uint32_t len,
                      struct nt_emulate_verdict *verdict);

#endif
