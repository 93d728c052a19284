// capture.h: frames as a driver's device sees them, for observers: a ring that overwrites.
//
// One region a driver, each part page-aligned so that it can be mapped with the protection it
// needs:
//     page 0       control page: lease, snap length    written by observers, read-only to the
//     driver page 1       header: shape, head, reserved       written by the driver, read-only to
//     observers page 2 ...   records                             written by the driver, read-only
//     to observers
//
// The lease is a time (CLOCK_MONOTONIC) until which frames are wanted. Observers renew it as long
// as they look, so that a dead one's capture ends by itself. While nobody looks, a frame costs the
// driver one load. The control page is a hint: any value costs at most a useless copy.
//
// The driver never waits: it overwrites the oldest records. Positions are free-running 64-bit byte
// counts; a record starts at a multiple of 8 and wraps at the ring's end. The driver
//     1. stores `reserved`, the position up to which it is about to write,
//     2. fences, writes the record with relaxed stores of whole words,
//     3. stores `head` (release).
// A reader copies a record that lies before `head`, fences, and loads `reserved`: if that is more
// than the capacity past the record's start, the copy may be torn. It then goes on at `head`, with
// all of the ring ahead of it. Each record carries its number, so that the reader knows exactly how
// many it has lost, and its own position, so that it never takes another thing for a record.
//
// A driver that dies in a record leaves `head` before it: its next generation writes there.
// Engines read no clock, so records carry the step's time; observers turn it into wall-clock time.
#ifndef NT_KERNEL_CAPTURE_H
#define NT_KERNEL_CAPTURE_H

#include "newtos_py/kernel/base.h"

enum {
    NT_CAPTURE_MAGIC = 0x4e544350,
    NT_CAPTURE_VERSION = 1,
    // 64 super-segments of 64 kB, or a few thousand frames. Part of each driver's boot cost.
    NT_CAPTURE_RING_BYTES = 4194304,
    // A super-segment with its headers and some room: a longer frame is cut.
    NT_CAPTURE_SNAP_MAX = 66560,
};

enum nt_capture_direction { // as in the flags word of pcapng's Enhanced Packet Block
    NT_CAPTURE_IN = 1,
    NT_CAPTURE_OUT = 2,
};

struct nt_capture_control {
    uint64_t until_ns;   // frames are wanted before this time; 0: not at all
    uint32_t snap_bytes; // of each frame; 0: all
    uint32_t pad[13];
};

struct nt_capture_header {
    uint32_t magic;
    uint32_t version;
    uint64_t capacity; // bytes of the ring, a power of two
    uint64_t pad[6];
    uint64_t head;     // position after the last whole record. On a cache line of its own
    uint64_t reserved; // position after the record being written
    uint64_t records;  // written so far
    uint64_t pad2[5];
};

struct nt_capture_record { // followed by the frame, padded to 8 bytes
    uint64_t position;     // of this record
    uint64_t number;       // counts records, from 0
    uint64_t time_ns;      // CLOCK_MONOTONIC
    uint32_t captured_bytes;
    uint32_t original_bytes; // of the frame at the device
    uint32_t direction;      // enum nt_capture_direction
    uint32_t pad;
};

// The driver's end.
struct nt_capture {
    const struct nt_capture_control *control; // NULL: there is no region
    struct nt_capture_header *header;
    uint8_t *ring;
    uint64_t mask;
};

// An observer's end.
struct nt_capture_reader {
    struct nt_capture_control *control;
    const struct nt_capture_header *header;
    const uint8_t *ring;
    uint64_t mask;
    uint64_t position; // of the next record
    uint64_t number;   // of the next record
    uint64_t lost;     // records overwritten before they were read
};

// A frame lies in pieces where it is gathered.
struct nt_capture_piece {
    const void *bytes;
    uint64_t len;
};

// Bytes of a region with a ring of `capacity` bytes.
uint64_t nt_capture_bytes(uint64_t capacity);
// Formats a zeroed region.
void nt_capture_format(void *base, uint64_t capacity);
// The driver opens its end; goes on where a former generation stopped. 0, or -1 if the region is no
// capture ring or is larger than `bytes`.
int nt_capture_open(struct nt_capture *capture, void *base, uint64_t bytes);
// Records a frame; cuts it at what observers want. Call it only where nt_capture_wanted says so.
void nt_capture_frame(struct nt_capture *capture, uint64_t now_ns, uint32_t direction,
                      const struct nt_capture_piece *pieces, uint32_t count);

// An observer opens its end, at the present head. 0 or -1.
int nt_capture_reader_open(struct nt_capture_reader *reader, void *base, uint64_t bytes);
// Asks for frames until `until_ns`, and `snap_bytes` (0: all) of each. Observers do not take from
// each other: where another's lease still runs at `now_ns`, the longer lease and snap length win.
void nt_capture_renew(struct nt_capture_reader *reader, uint64_t now_ns, uint64_t until_ns,
                      uint32_t snap_bytes);
// Copies the next record and up to `out_bytes` of its frame (the rest is passed over). True if
// there was one. What was overwritten meanwhile is counted as lost and passed over.
bool nt_capture_next(struct nt_capture_reader *reader, struct nt_capture_record *record, void *out,
                     uint64_t out_bytes);

#ifndef NT_CDEF
_Static_assert(sizeof(struct nt_capture_control) == 64, "layout");
_Static_assert(offsetof(struct nt_capture_header, head) == 64, "a line of its own");
_Static_assert(sizeof(struct nt_capture_record) == 40, "a multiple of 8");

static inline bool nt_capture_wanted(const struct nt_capture *capture, uint64_t now_ns)
{
    return capture->control != NULL &&
           NT_UNLIKELY(now_ns < nt_load_relaxed(&capture->control->until_ns));
}
#endif

#endif
