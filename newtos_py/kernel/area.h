// area.h: the socket area, shared memory between one program and one TCP (or UDP) server.
//
// An area holds thousands of socket slots and is mapped once per program and server, so that
// neither accept nor close maps anything. It is three sealed memfds:
//
//   program side  written by the program; read by its server, by drivers and by IP (read-only)
//                 header, event queue flags, slot blocks (struct nt_slot_program), TX data
//   server side   written by the server; read by the program (read-only)
//                 header, grant ring, slot blocks (struct nt_slot_server), RX data
//   hint side     written by both: any value costs at most a look in vain
//                 activity word and bitmap (program to server), ready bitmaps (server to program)
//
// Slots. The server owns all slots. It hands some out for socket() (state GRANTED, pushed to the
// grant ring), binds others to incoming connections (ACCEPTABLE), and takes each back when the
// program has said CLOSE and nothing in it is needed. `generation` (server block) changes each time
// a slot is handed out; the program copies it into its own block when it takes the slot, and the
// server ignores a program block with another generation.
//
// Byte rings (TCP). Cursors are free-running 32-bit byte counts, 0 at the start of each generation.
// Where a cursor lies is given by the ring's geometry word, written by whoever writes the data:
//     position = (cursor - base) & (size - 1)         nt_geometry_position()
// A full ring may double when its tail is just at its end: then everything in it lies in one piece
// and keeps its position under the new geometry (base = tail - old size). The word is published
// before the tail that needs it, so a reader that loads the tail first, then the geometry, is
// always right.
//
// Every slot has two places for a ring a direction: rings that have not grown (2^14 bytes) lie side
// by side, so that those of many idle connections share page tables, and what the processor keeps
// of these; one that grows goes to 4 MB of address space of its own. Who doubles it for the first
// time copies it there before it publishes the geometry (nt_area_ring_doubled()), and never writes
// the old place again in this generation: whoever still reads there reads the same.
//
// Datagram rings (UDP) lie in the 4 MB. The first page of a slot's data are NT_DGRAM_SLOTS
// descriptors, data follow, each datagram in one piece. Cursors count datagrams.
//
// Requests. A socket has at most one request open to the server (connect): the program fills the
// mailbox, then bumps `request`; the server answers by copying it to `reply`, with `reply_errno`.
// Half-closes and close are flags in `control`, set once a generation: idempotent, and they cannot
// overflow; a restarted server finds all of them by sweeping the slots.
//
// Telling each other. The program sets the slot's activity bit, its summary bit, then the activity
// word, then rings the server's doorbell if it sleeps. The server bumps `events` (edge), sets the
// slot's bit in the ready bitmap of the event queue that the slot names, and marks that queue's
// bell. Levels are always read from the cursors and states, never from hints.
//
// What the server bumps `events` for: bytes or a datagram, FIN, a change of state, error or names,
// a reply, and room to send:
//     byte ring       nt_ring_writable() became true; or tx_max_log2 grew while the ring was full
//     datagram ring   it held more than 8 since the last such event, and now is empty, or half
//     empty for the first time
// Data come before what follows them: rx_tail is stored before RX_FIN and before BROKEN. A server
// publishes a batch's cursors, then fences once, then reads `queue` of the slots and sets their
// ready bits, so that a program that changes `queue`, fences and looks misses nothing. With a grant
// after the ring was empty it sets the ready bit of that slot in queue 0.
//
// What the program sets the activity bit for: bytes, a datagram or a request to send, control and
// options changed, room in the RX ring where the server may have run short of it, and that it has
// read all, where the server asks for that (NT_SLOT_ACK_ON_READ).
//
// Freezing. The program of a socket that others hold, too, learns only afterwards that it was moved
// to another area, perhaps in the middle of a call. So it moves tx_tail and rx_head on by compare
// and swap, and who moves the socket first makes both what they can never be, half of all numbers
// away: what was published before goes along, and what comes later fails and is done again at the
// socket's new place. No byte is lost, and none sent or read twice. FROZEN does the same for what
// is set and not counted (control, options): stored, fenced, and repeated where FROZEN is found
// then.
//
// Urgent data (RFC 9293 §3.8.5). A sender names the byte before `tx_urgent`, stored before the
// tx_tail that covers it. A receiver is told with NT_SLOT_URGENT and `rx_urgent`, stored before the
// rx_tail that covers that byte, that one is marked; with URGENT_HERE, which is never set while the
// mark changes, that it lies in the RX ring, perhaps beyond rx_tail. The mark is of no interest
// once rx_head has passed it, and its flag then goes some time later. What the reader stands at and
// lies before `rx_gone` were urgent bytes that this one has taken the place of (stored before it).
//
// `error` holds an errno in its low 16 bits. For datagrams, where errors come and go, the rest
// counts them, so that the program can tell a new error from the one it has reported.
#ifndef NT_KERNEL_AREA_H
#define NT_KERNEL_AREA_H

#include "newtos_py/kernel/base.h"

enum {
    NT_AREA_MAGIC = 0x4e544153,
    NT_AREA_VERSION = 4,
    NT_AREA_SLOTS_MAX = 8192,
    NT_AREA_QUEUES = 256,
    NT_RING_RESERVE = 4194304, // bytes of address space a slot and direction: the largest ring
    NT_RING_FIRST_LOG2 = 14,   // 16 kB
    NT_RING_LAST_LOG2 = 22,    // 4 MB
    NT_DGRAM_SLOTS = 64,
    NT_DGRAM_DATA_OFFSET = 4096,   // of a slot's data: after 64 descriptors of 64 bytes
    NT_DGRAM_DATA_BYTES = 1048576, // data ring of a datagram slot, reused from its start when empty
    NT_BITMAP_WORDS = 128,         // 8192 bits
    NT_SUMMARY_WORDS = 2,
};

enum nt_slot_state {     // server block; what the program sees
    NT_SLOT_FREE = 0,    // the server's
    NT_SLOT_GRANTED = 1, // the program may use it for socket()
    NT_SLOT_CONNECTING = 2,
    NT_SLOT_CONNECTED = 3, // also while closing: see flags
    NT_SLOT_LISTENING = 4,
    NT_SLOT_ACCEPTABLE = 5, // an established connection bound at the handshake; accept() claims it
    NT_SLOT_BROKEN = 6,     // reset, refused or timed out: `error` says which
};

enum nt_slot_flags {      // server block
    NT_SLOT_RX_FIN = 1,   // the peer's FIN follows the byte before rx_tail
    NT_SLOT_TX_DONE = 2,  // our FIN is acknowledged
    NT_SLOT_BOUND = 4,    // local address and port are set
    NT_SLOT_PEER_SET = 8, // remote address and port are set
    // TCP: an acknowledgement waits for the program to read all there is, which it then tells
    // (the activity bit). Stored before rx_tail.
    NT_SLOT_ACK_ON_READ = 16,
    NT_SLOT_URGENT = 32,      // TCP: rx_urgent counts. Stored before rx_tail.
    NT_SLOT_URGENT_HERE = 64, // its byte has arrived
};

enum nt_slot_control { // program block; bits are set once a generation
    NT_CONTROL_SHUT_RD = 1,
    NT_CONTROL_SHUT_WR = 2, // FIN after tx_tail
    NT_CONTROL_CLOSE = 4,   // nobody will look at this slot again; finish like close(2)
    NT_CONTROL_RESET = 8,   // with CLOSE: SO_LINGER with time 0
    NT_CONTROL_TAKEN = 16,  // the program has taken a granted slot, or claimed an accepted one
    NT_CONTROL_FROZEN = 32, // not the program's: its socket was moved elsewhere (nt_slot_freeze)
};

enum nt_slot_options { // program block, bits of `options`; read by the server at each sweep
    NT_OPTION_NODELAY = 1,
    NT_OPTION_CORK = 2,
    NT_OPTION_KEEPALIVE = 4,
    NT_OPTION_QUICKACK = 8,
    NT_OPTION_REUSEADDR = 16,
    NT_OPTION_REUSEPORT = 32,
    NT_OPTION_V6ONLY = 64,
    NT_OPTION_BROADCAST = 128,
    NT_OPTION_PMTU_PROBE = 256,
    NT_OPTION_URGENT = 512, // tx_urgent counts (MSG_OOB)
};

enum nt_request_kind { // low 8 bits of `request`; the rest is a sequence number
    NT_MAIL_NONE = 0,
    NT_MAIL_CONNECT = 1, // TCP: connect; UDP: set or clear (port 0) the peer
    NT_MAIL_ACCEPT = 2,  // TCP: bind the connection that was claimed for this slot (listener.h)
};

// An Internet endpoint; addresses are 128 bit, IPv4 mapped (::ffff:a.b.c.d). Port in host byte
// order.
struct nt_endpoint {
    uint8_t addr[16];
    uint16_t port;
    uint16_t pad;
    uint32_t scope;
};

struct nt_area_program_header {
    uint32_t magic;
    uint32_t version;
    uint32_t slots;
    uint32_t pid;
    uint32_t grant_head; // grant ring: how many grants the program has taken
    uint32_t pad[11];
};

struct nt_area_queue { // an event queue's sleeping flag, alone on its line
    uint32_t sleeping;
    uint32_t pad[15];
};

struct nt_slot_program {
    // line 0: data path
    uint32_t tx_tail; // bytes (datagrams) written so far
    uint32_t rx_head; // bytes (datagrams) read so far
    uint64_t tx_geometry;
    uint32_t generation;      // of the slot as the program took it
    uint32_t control;         // enum nt_slot_control
    uint32_t options;         // enum nt_slot_options
    uint16_t queue;           // event queue that hears of this slot
    uint16_t rx_want_log2;    // 0, or the RX ring size class asked for (SO_RCVBUF)
    uint32_t rx_wake_bytes;   // SO_RCVLOWAT; 0 means 1
    uint32_t user_timeout_ms; // TCP_USER_TIMEOUT; 0: default
    uint16_t keep_idle_s;     // 0: default
    uint16_t keep_interval_s;
    uint16_t keep_count;
    uint8_t ttl; // 0: default
    uint8_t tos;
    uint32_t max_segment; // TCP_MAXSEG; 0: from the route
    uint32_t request;     // sequence << 8 | enum nt_request_kind
    uint32_t accepting;   // a listening socket: enum nt_accepting, from its first accept or poll on
    uint32_t tx_urgent;   // cursor after the last urgent byte sent; see NT_OPTION_URGENT
    // line 1: what a request says
    uint32_t linger_ms;
    uint32_t accept_listener; // ACCEPT: number of the listener, as its header says
    struct nt_endpoint target;
    uint32_t accept_index; // ACCEPT: of the entry
    uint32_t core; // 1 + the one its program ran on when it connected or accepted; 0: not known
    uint32_t pad2[6];
};

struct nt_area_server_header {
    uint32_t magic;
    uint32_t version;
    uint32_t slots;
    uint32_t protocol;    // 6 TCP, 17 UDP
    uint32_t grant_tail;  // grant ring: how many slots were granted so far
    uint32_t generation;  // of the server; changes when it was restarted
    uint32_t cold_starts; // changes when the server came back without its arena
    uint32_t core;        // 1 + the server's: programs there connect in its lane; 0: anywhere
    uint32_t pad[8];
    uint32_t grant[8192]; // slot numbers, index & (NT_AREA_SLOTS_MAX - 1)
};

struct nt_slot_server {
    // line 0: data path
    uint32_t rx_tail; // bytes (datagrams) delivered so far
    uint32_t tx_head; // bytes (datagrams) that the server no longer needs
    uint64_t rx_geometry;
    uint32_t generation;
    uint32_t events;     // bumped at every change worth a wake-up
    uint8_t state;       // enum nt_slot_state
    uint8_t flags;       // enum nt_slot_flags
    uint8_t tx_max_log2; // largest TX ring that the connection can use now
    uint8_t pad0;
    uint32_t error;   // errno of a broken socket; UDP: count << 16 | errno of the last error
    uint32_t reply;   // copy of the last request handled
    uint32_t mss;     // payload bytes a segment
    uint32_t srtt_us; // for TCP_INFO
    uint32_t cwnd_bytes;
    uint32_t retransmits;
    uint32_t tcp_state; // RFC 9293 state, for TCP_INFO and ss
    uint32_t rttvar_us;
    uint32_t rto_us;
    // line 1: names
    uint32_t rx_urgent; // cursor of the urgent byte; see NT_SLOT_URGENT
    uint32_t reply_errno;
    struct nt_endpoint local;
    struct nt_endpoint remote;
    uint32_t rx_gone; // see NT_SLOT_URGENT
    uint32_t pad2;
};

// One datagram in a datagram ring; 64 bytes, so that descriptors share no line.
struct nt_dgram {
    uint32_t offset; // from the start of the slot's data
    uint32_t len;
    struct nt_endpoint peer; // RX: source; TX: destination (port 0: the connected peer)
    uint8_t local_addr[16];  // RX: where it was sent to; TX: its source, or :: (IP_PKTINFO)
    uint8_t ttl;
    uint8_t tos;
    uint16_t pad;
    uint32_t next_offset; // TX and RX: where the writer goes on
    uint32_t pad2;
    uint32_t pad3;
};

struct nt_area_hints {
    uint32_t activity; // 1: some summary bit may be set
    uint32_t pad[15];
    uint64_t summary[2]; // one bit a bitmap word
    uint64_t pad2[6];
    uint64_t bitmap[128]; // one bit a slot
};

struct nt_area_ready { // one an event queue
    uint64_t summary[2];
    uint64_t pad[6];
    uint64_t bitmap[128];
};

enum {
    NT_AREA_PROGRAM_QUEUES_OFFSET = 4096,
    NT_AREA_PROGRAM_SLOTS_OFFSET = 20480,  // 4096 + 256 * 64
    NT_AREA_PROGRAM_DATA_OFFSET = 1069056, // + 8192 * 128, a multiple of the page size
    NT_AREA_SERVER_SLOTS_OFFSET = 36864,   // header with grants, page-rounded
    NT_AREA_SERVER_DATA_OFFSET = 1085440,  // + 8192 * 128
    NT_AREA_LARGE_OFFSET = 134217728,      // in the data: 8192 * 2^14, after the rings not grown
    NT_AREA_HINT_READY_OFFSET = 4096,
    NT_AREA_HINT_BYTES = 282624, // 4096 + 256 * 1088
};

// A view over a mapped area; the server's and the program's differ only in what may be written.
struct nt_area {
    struct nt_area_program_header *program;
    struct nt_area_queue *queue;
    struct nt_slot_program *slot_program;
    uint8_t *tx_data;
    struct nt_area_server_header *server;
    struct nt_slot_server *slot_server;
    uint8_t *rx_data;
    struct nt_area_hints *hints;
    struct nt_area_ready *ready;
    uint32_t slots;  // private copy, checked when opened
    uint16_t number; // of the area within its host and protocol
    uint16_t lane;   // of the server behind it
};

uint64_t nt_area_program_bytes(uint32_t slots);
uint64_t nt_area_server_bytes(uint32_t slots);
uint64_t nt_area_hint_bytes(void);
// Formats the three zeroed parts.
void nt_area_format(void *program, void *server, void *hint, uint32_t slots, uint32_t protocol);

// Where a program had come to in a slot that its socket has left.
struct nt_slot_cursors {
    uint32_t tx_tail;
    uint32_t rx_head;
};
// Ends what the slot's program can do to its socket from here, and says what it had done. May be
// done twice. Both blocks are input: what cannot be comes out as some cursors.
void nt_slot_freeze(struct nt_slot_program *program, const struct nt_slot_server *server,
                    struct nt_slot_cursors *cursors);

// Checks headers and sizes; 0 or -1. `slots` is what the caller was told, not what the memory says.
int nt_area_open(struct nt_area *area, void *program, void *server, void *hint, uint32_t slots);

#ifndef NT_CDEF
_Static_assert(sizeof(struct nt_endpoint) == 24, "layout");
_Static_assert(sizeof(struct nt_slot_program) == 128, "two lines");
_Static_assert(offsetof(struct nt_slot_program, linger_ms) == 64, "what data need is in a line");
_Static_assert(sizeof(struct nt_slot_server) == 128, "two lines");
_Static_assert(offsetof(struct nt_slot_server, rx_urgent) == 64, "what data need is in a line");
_Static_assert(sizeof(struct nt_dgram) == 64, "one line");
_Static_assert(sizeof(struct nt_area_server_header) <= NT_AREA_SERVER_SLOTS_OFFSET, "layout");
_Static_assert(sizeof(struct nt_area_ready) == 1088, "layout");
_Static_assert(NT_AREA_LARGE_OFFSET == NT_AREA_SLOTS_MAX << NT_RING_FIRST_LOG2, "side by side");

static inline uint64_t nt_geometry(uint32_t base, uint32_t size_log2)
{
    return ((uint64_t)base << 8) | size_log2;
}
static inline uint32_t nt_geometry_log2(uint64_t geometry) { return (uint32_t)(geometry & 0xff); }
static inline bool nt_geometry_valid(uint64_t geometry)
{
    uint32_t log2 = nt_geometry_log2(geometry);
    return log2 >= 12 && log2 <= NT_RING_LAST_LOG2 && geometry >> 40 == 0;
}
static inline uint32_t nt_geometry_size(uint64_t geometry)
{
    return 1u << nt_geometry_log2(geometry);
}
static inline uint32_t nt_geometry_position(uint64_t geometry, uint32_t cursor)
{
    return (cursor - (uint32_t)(geometry >> 8)) & (nt_geometry_size(geometry) - 1);
}
// True if a ring whose tail is at `tail` may double now (its end, and not the largest yet).
static inline bool nt_geometry_can_double(uint64_t geometry, uint32_t tail)
{
    return nt_geometry_log2(geometry) < NT_RING_LAST_LOG2 &&
           nt_geometry_position(geometry, tail) == 0 && tail != (uint32_t)(geometry >> 8);
}
// True if a ring of `size` bytes that holds `used` has room worth telling a writer of: at least
// half of what it holds, as Linux's sk_stream_is_writeable(). Both sides ask this one, so that a
// writer is told exactly when it stops waiting.
static inline bool nt_ring_writable(uint32_t size, uint32_t used)
{
    return size - used >= used / 2 + 1;
}
static inline uint64_t nt_geometry_double(uint64_t geometry, uint32_t tail)
{
    return nt_geometry(tail - nt_geometry_size(geometry), nt_geometry_log2(geometry) + 1);
}

// Where a slot's datagrams are, in the data of either side.
static inline uint64_t nt_area_large_offset(uint32_t slot)
{
    return NT_AREA_LARGE_OFFSET + (uint64_t)slot * NT_RING_RESERVE;
}
// Where a slot's byte ring of that geometry is.
static inline uint64_t nt_area_ring_offset(uint32_t slot, uint64_t geometry)
{
    return nt_geometry_log2(geometry) <= NT_RING_FIRST_LOG2 ? (uint64_t)slot << NT_RING_FIRST_LOG2
                                                            : nt_area_large_offset(slot);
}
static inline uint8_t *nt_area_tx(const struct nt_area *area, uint32_t slot)
{
    return area->tx_data + nt_area_large_offset(slot);
}
static inline uint8_t *nt_area_rx(const struct nt_area *area, uint32_t slot)
{
    return area->rx_data + nt_area_large_offset(slot);
}
static inline uint8_t *nt_area_tx_ring(const struct nt_area *area, uint32_t slot, uint64_t geometry)
{
    return area->tx_data + nt_area_ring_offset(slot, geometry);
}
static inline uint8_t *nt_area_rx_ring(const struct nt_area *area, uint32_t slot, uint64_t geometry)
{
    return area->rx_data + nt_area_ring_offset(slot, geometry);
}
// Writer of a ring, before it publishes that it has doubled: brings the ring where it is now.
static inline void nt_area_ring_doubled(uint8_t *data, uint32_t slot, uint64_t before,
                                        uint64_t after)
{
    uint64_t from = nt_area_ring_offset(slot, before), to = nt_area_ring_offset(slot, after);
    if (from != to)
        memcpy(data + to, data + from, nt_geometry_size(before));
}
// Offsets of a slot's TX data in the program side: what a struct nt_ref into NT_REGION_AREA + n
// carries.
static inline uint64_t nt_area_tx_offset(uint32_t slot)
{
    return NT_AREA_PROGRAM_DATA_OFFSET + nt_area_large_offset(slot);
}
static inline uint64_t nt_area_tx_ring_offset(uint32_t slot, uint64_t geometry)
{
    return NT_AREA_PROGRAM_DATA_OFFSET + nt_area_ring_offset(slot, geometry);
}

// A cursor of a slot that may be frozen meanwhile moves on; false: it was.
static inline bool nt_cursor_advance(uint32_t *cursor, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(cursor, &from, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

// Program to server: something changed in `slot`. The caller then rings the server if it sleeps.
static inline void nt_area_set_activity(struct nt_area *area, uint32_t slot)
{
    struct nt_area_hints *hints = area->hints;
    uint32_t word = slot >> 6;
    __atomic_fetch_or(&hints->bitmap[word], UINT64_C(1) << (slot & 63), __ATOMIC_RELEASE);
    __atomic_fetch_or(&hints->summary[word >> 6], UINT64_C(1) << (word & 63), __ATOMIC_RELEASE);
    nt_store_release(&hints->activity, 1u);
}
// Server to program: `slot` of event queue `queue` is worth a look.
static inline void nt_area_set_ready(struct nt_area *area, uint32_t queue, uint32_t slot)
{
    struct nt_area_ready *ready = &area->ready[queue];
    uint32_t word = slot >> 6;
    __atomic_fetch_or(&ready->bitmap[word], UINT64_C(1) << (slot & 63), __ATOMIC_RELEASE);
    __atomic_fetch_or(&ready->summary[word >> 6], UINT64_C(1) << (word & 63), __ATOMIC_RELEASE);
}
#endif

#endif
