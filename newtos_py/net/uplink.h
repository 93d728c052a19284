// uplink.h: the host side of every driver: its RX pool, its channels with IP, the returns, the
// fences, the counters, and the transaction over all of them.
//
// A driver's step reads
//
//     nt_uplink_take_returns()                       buffers come back from IP, TCP, UDP
//     while (nt_uplink_peek() == FRAME)              a frame to send: uplink->frame, a private copy
//         ... gather and send it; nt_uplink_done()
//     ... receive into a buffer; nt_uplink_hand_up()
//     nt_uplink_commit()                             all of it becomes true at once
//
// and adds its own channels, objects and ports to the same transaction (ports from
// NT_UPLINK_PORT_NEXT on). Fences are handled inside: a fence is published only after the commit
// that covers it, because what was gathered before a commit may be gathered again after a crash,
// and the fence gives up the memory it was gathered from (docs/decisions/0004-fences.md).
//
// Everything else that a third party's driver needs to plug in is the engine contract
// (kernel/engine.h).
#ifndef NT_NET_UPLINK_H
#define NT_NET_UPLINK_H

#include "newtos_py/kernel/arena.h"
#include "newtos_py/kernel/capture.h"
#include "newtos_py/kernel/doorbell.h"
#include "newtos_py/kernel/engine.h"
#include "newtos_py/kernel/regions.h"
#include "newtos_py/net/buffers.h"
#include "newtos_py/net/nic.h"

enum {
    NT_UPLINK_RETURNS_MAX = 10, // IP, UDP and 8 lanes of TCP
    NT_UPLINK_PORT_FROM_IP = 0,
    NT_UPLINK_PORT_TO_IP = 1,
    NT_UPLINK_PORT_RETURNS = 2,
    NT_UPLINK_PORT_NEXT = 16, // a driver's own ports
    NT_UPLINK_POOLS_MAX = 10, // pools that frames may refer to: IP's and every driver's
    NT_UPLINK_COUNTERS = 32,
    NT_UPLINK_BELL_IP = 0,
    NT_UPLINK_BELL_NEXT = 1, // a driver's own bells
    NT_UPLINK_JOURNAL_BYTES = 262144,
    NT_UPLINK_INPUT_ROOM = 65536,   // of the journal: what handling one input may need
    NT_UPLINK_FRAME_MIN_BYTES = 14, // an Ethernet header
};

// Counters that every driver has; its own follow from NT_UPLINK_COUNTER_NEXT on.
enum nt_uplink_counter {
    NT_UPLINK_RX_FRAMES = 0, // handed up
    NT_UPLINK_RX_BYTES = 1,
    NT_UPLINK_TX_FRAMES = 2, // accepted from IP and sent
    NT_UPLINK_TX_BYTES = 3,
    NT_UPLINK_FENCES = 4,
    NT_UPLINK_BAD_DESC = 5,      // descriptors that no correct neighbour makes
    NT_UPLINK_BAD_REF = 6,       // frames whose payload reference was out of bounds or stale
    NT_UPLINK_STALE_RETURNS = 7, // returns of buffers that are not out, or not with that use count
    NT_UPLINK_COUNTER_NEXT = 8,
};

struct nt_span { // mapped memory
    void *base;
    uint64_t bytes;
};

struct nt_uplink_pool { // a pool that frames to send may refer to; our own is one
    struct nt_span memory;
    uint16_t region;
};

struct nt_uplink_config {
    struct nt_span arena;
    struct nt_span status;
    struct nt_span pool; // our own
    struct nt_span from_ip;
    struct nt_span to_ip;
    struct nt_span returns[10];
    struct nt_uplink_pool pools[10];
    struct nt_span capture;             // of frames, for observers; base NULL: none
    struct nt_steering_config steering; // of the host; zeroed: it has one lane
    struct nt_span ip_status;           // where IP shows its flow groups; base NULL: as at boot
    uint32_t return_count;
    uint32_t pool_count;
    uint16_t region; // of our own pool
};

struct nt_uplink_state { // in the arena, first in the driver's body
    uint64_t fence[16];
    struct nt_buffer_record record[1024];
};

// What the driver knows about a received frame.
struct nt_uplink_frame {
    uint64_t offset; // in our pool
    uint32_t len;
    uint16_t gso_size;
    uint16_t l4_offset; // 0: not known
    uint8_t flags;      // enum nt_desc_flags
};

enum nt_uplink_input {
    NT_UPLINK_NONE = 0,
    NT_UPLINK_FRAME = 1, // uplink->frame is to be sent: then nt_uplink_done
    NT_UPLINK_OTHER = 2, // something was handled (a fence) or refused, and consumed
};

struct nt_uplink {
    struct nt_txn txn;
    struct nt_uplink_state *state;
    struct nt_buffers buffers;
    struct nt_consumer from_ip;
    struct nt_producer to_ip;
    struct nt_consumer returns[10];
    uint32_t return_count;
    uint32_t next_return; // where taking goes on: no source is served first every time
    struct nt_regions regions;
    struct nt_pool pools[10]; // views that `regions` points to
    struct nt_bells bells;
    struct nt_status *status;
    struct nt_capture capture;
    struct nt_nic nic;
    uint64_t now_ns;         // of this step
    struct nt_desc frame;    // private copy of the descriptor that peek found
    uint64_t frame_bytes;    // inline and referenced bytes of it
    uint64_t counted[32];    // since the last commit
    uint64_t stale_returns;  // already counted
    uint64_t fences_pending; // bit a source
};

// Opens everything; rolls back or formats the arena. `body_bytes` includes the leading struct
// nt_uplink_state. Answers enum nt_arena_open_result; BAD with the reason in `why`.
int nt_uplink_open(struct nt_uplink *uplink, const struct nt_uplink_config *config, uint32_t kind,
                   uint32_t layout, uint64_t body_bytes, char *why, uint64_t why_bytes);
// Call when the driver has opened its own part too. The arena is recoverable from now on.
void nt_uplink_start(struct nt_uplink *uplink);
// Takes up to `budget` returns of each source; how many.
uint32_t nt_uplink_take_returns(struct nt_uplink *uplink, uint32_t budget);
bool nt_uplink_returns_pending(struct nt_uplink *uplink);
enum nt_uplink_input nt_uplink_peek(struct nt_uplink *uplink);
void nt_uplink_done(struct nt_uplink *uplink);
// True if one more frame can be handed up.
bool nt_uplink_can_hand_up(struct nt_uplink *uplink);
// The buffer's state becomes UP. The caller has checked nt_uplink_can_hand_up.
void nt_uplink_hand_up(struct nt_uplink *uplink, uint32_t buffer,
                       const struct nt_uplink_frame *frame);
// Commits, then publishes fences and counters and marks IP's bell if there is something for it.
void nt_uplink_commit(struct nt_uplink *uplink);
int nt_uplink_audit(struct nt_uplink *uplink, char *why, uint64_t why_bytes);

#ifndef NT_CDEF
// Says what time it is: first in each step.
static inline void nt_uplink_begin(struct nt_uplink *uplink, uint64_t now_ns)
{
    uplink->now_ns = now_ns;
}
// Shows observers a frame as it is at the device: a driver calls it for what it sends; handing up
// does so for what it receives. A frame of a step that is done again after a crash shows twice.
static inline void nt_uplink_observe(struct nt_uplink *uplink, enum nt_capture_direction direction,
                                     const struct nt_capture_piece *pieces, uint32_t count)
{
    if (nt_capture_wanted(&uplink->capture, uplink->now_ns))
        nt_capture_frame(&uplink->capture, uplink->now_ns, direction, pieces, count);
}
static inline void nt_uplink_count(struct nt_uplink *uplink, uint32_t counter, uint64_t n)
{
    uplink->counted[counter] += n;
}
// False: commit before taking another input.
static inline bool nt_uplink_has_room(const struct nt_uplink *uplink)
{
    return nt_txn_room(&uplink->txn) >= NT_UPLINK_INPUT_ROOM;
}
#endif

#endif
