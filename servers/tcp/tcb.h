// tcb.h: the objects of the TCP server's arena: what survives it.
//
// The arena's body is, in this order: struct nt_tcp_globals, the TCBs, the TIME-WAIT blocks, the
// listeners, one record an area, and pages of slot bindings. Everything else that the engine uses
// (hash table, timers, send lists, free lists) is private and made from these by recover.c.
//
// Every object begins with its transaction mark and is changed only after it was touched
// (context.h). A free object's bytes mean nothing but its state.
//
// Sequence numbers and ring cursors (area.h) belong together by
//     snd: seq = iss + 1 + cursor        rcv: seq = irs + 1 + cursor
// so tx_head is snd_una and rx_tail is rcv_nxt, less one once a FIN is counted in.
//
// Invariants, checked by audit.c:
//     snd_una <= snd_nxt <= snd_max <= tx_end + 1,  rcv_nxt <= rcv_adv,  ranges of ooo[] ascend, do
//     not touch, and lie between rcv_nxt and rcv_adv; snd_up <= tx_end; a binding of kind TCB and
//     its TCB name each other (or, while it moves, one that is LEFT, and one that is ARRIVING); of
//     two objects in the hash table no two have the same four-tuple.
#ifndef NT_TCP_TCB_H
#define NT_TCP_TCB_H

#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/request.h"

enum {
    NT_TCP_ARENA_KIND = 0x4e545450,
    NT_TCP_ARENA_LAYOUT = 5,
    NT_TCP_NO_AREA = 0xffff,
    // Out-of-order ranges kept a connection. More holes than this at once are rare, and what is
    // dropped is sent again.
    NT_TCP_OOO_RANGES = 12,
    NT_TCP_REPLIES = 64,      // replies kept for requests that are repeated
    NT_TCP_PORT_CURSORS = 16, // RFC 6056 §3.3.4: the table of counters
    NT_TCP_BINDING_PAGE = 64, // slots a page of bindings
    NT_TCP_AREA_PAGES = 128,  // pages an area: 8192 slots
};

enum nt_tcp_state { // numbered as Linux does, for TCP_INFO and ss
    NT_TCP_FREE = 0,
    NT_TCP_ESTABLISHED = 1,
    NT_TCP_SYN_SENT = 2,
    NT_TCP_SYN_RCVD = 3,
    NT_TCP_FIN_WAIT_1 = 4,
    NT_TCP_FIN_WAIT_2 = 5,
    NT_TCP_TIME_WAIT = 6, // only of TIME-WAIT blocks
    NT_TCP_CLOSED = 7,    // bound, broken or done: not in the hash table, waits for its program
    NT_TCP_CLOSE_WAIT = 8,
    NT_TCP_LAST_ACK = 9,
    NT_TCP_LISTEN = 10, // only of listeners
    NT_TCP_CLOSING = 11,
};

enum nt_tcb_flags {
    NT_TCB_ACK_NOW = 1,          // an acknowledgement is owed at once
    NT_TCB_SYN_DUE = 2,          // a SYN or SYN-ACK is to be sent
    NT_TCB_RETRANSMIT = 4,       // the segment at snd_una is to be sent again
    NT_TCB_FORCE = 8,            // send at least something, whatever window, Nagle and cork say
    NT_TCB_FIN_QUEUED = 16,      // the program sends no more: FIN after tx_end
    NT_TCB_FIN_SENT = 32,        // at least once
    NT_TCB_FIN_ACKED = 64,       // ours, by the peer
    NT_TCB_RX_FIN = 128,         // the peer's FIN was received in order
    NT_TCB_RX_FIN_AHEAD = 256,   // it was received out of order: rcv_fin_seq
    NT_TCB_PROGRAM_CLOSED = 512, // the program said CLOSE: nobody reads any more
    NT_TCB_TIMESTAMPS = 1024,    // both ends sent the option
    NT_TCB_RECOVERY = 2048,      // in fast recovery until snd_una passes `recover`
    NT_TCB_RTT_TIMING = 4096,    // rtt_seq and rtt_start_us are set
    NT_TCB_PERSIST = 8192,       // the retransmission timer probes a window, or lets go of a cork
    NT_TCB_PASSIVE = 16384,      // made by a SYN to a listener
    NT_TCB_TAKEN = 32768,        // the program's block is of this generation
    NT_TCB_BOUND = 65536,        // by bind(): keeps its port while CLOSED
    NT_TCB_WINDOW_LIMITED = 131072, // in this lap of the RX ring the window was what held the peer
    NT_TCB_CWND_LIMITED = 262144,   // cwnd was what held us since the last acknowledgement
    NT_TCB_FENCE = 524288,          // unacknowledged bytes may be referenced when the slot is freed
    NT_TCB_PROBED = 2097152,        // the probe timeout has come since the last new acknowledgement
    NT_TCB_ONE_WAY = 4194304,       // no answer has come to take an acknowledgement along
    NT_TCB_STEERED = 8388608,       // IP knows it by exact match: its port leads to another lane
    NT_TCB_TX_URGENT = 16777216,    // snd_up counts
    NT_TCB_RX_URGENT = 33554432,    // rcv_up counts
    NT_TCB_FAR = 67108864,          // its program runs on another core than this server
    NT_TCB_UNDO = 1048576, // the next new acknowledgement says whether a loss was one: undo.c
};

struct nt_tcb_range {
    uint32_t start;
    uint32_t end;
};

struct nt_tcb {
    // line 0: names
    uint32_t mark;
    uint8_t state; // enum nt_tcp_state
    uint8_t snd_wscale;
    uint8_t rcv_wscale;
    uint8_t ooo_count;
    uint8_t local_addr[16];
    uint8_t remote_addr[16];
    uint16_t local_port;
    uint16_t remote_port;
    uint32_t flags;      // enum nt_tcb_flags
    uint32_t generation; // of the slot
    uint16_t area;       // NT_TCP_NO_AREA: no slot
    uint16_t slot;
    uint32_t listener; // SYN-RCVD, or offered (acceptors.c): whose it is; else UINT32_MAX
    uint32_t error;    // errno of a connection that broke
    // line 1: sending
    uint32_t iss;
    uint32_t snd_una;
    uint32_t snd_nxt;
    uint32_t snd_max; // after the last byte ever sent; snd_nxt falls back at a timeout
    uint32_t tx_end;  // after the last byte that the program has written
    uint32_t snd_wnd;
    uint32_t snd_wl1;
    uint32_t snd_wl2;
    uint64_t tx_geometry;
    uint32_t cwnd;
    uint32_t ssthresh;
    uint32_t recover;     // RFC 6582
    uint32_t snd_small;   // after the last segment shorter than MSS: Minshall's Nagle
    uint32_t snd_wnd_max; // largest window ever offered
    uint16_t mss;         // payload bytes a segment, options taken off
    uint16_t dup_acks;
    // line 2: receiving, deadlines
    uint32_t irs;
    uint32_t rcv_nxt;
    uint32_t rcv_adv;   // right edge of the window as announced; never moves back
    uint32_t rcv_acked; // rcv_nxt as last sent (RFC 7323: Last.ACK.sent)
    uint64_t rx_geometry;
    uint32_t rx_head; // the program's, as last seen and found possible
    uint32_t rcv_fin_seq;
    uint32_t ts_recent;
    uint32_t ts_recent_ms;
    uint32_t rtx_deadline_ms;
    uint32_t ack_deadline_ms;
    uint32_t idle_deadline_ms; // keepalive; FIN-WAIT-2 of a connection without a program
    uint32_t rtt_seq;
    uint32_t rtt_start_us;
    uint32_t srtt_us; // 0: no sample yet
    // line 3: the rest
    uint32_t rttvar_us;
    uint32_t rto_ms;
    uint32_t ts_offset;
    uint32_t gso_max; // 0: one segment at a time
    uint32_t last_heard_ms;
    uint32_t last_sent_ms;
    uint32_t stuck_since_ms; // first retransmission without an answer; 0: none
    uint32_t retransmits;    // of all its life
    uint32_t request;        // the mailbox request last handled
    uint32_t reply_errno;
    uint32_t user_timeout_ms;
    uint16_t keep_idle_s;
    uint16_t keep_interval_s;
    uint8_t keep_count;
    uint8_t keep_probes; // sent without an answer
    uint8_t retries;     // of the retransmission timer
    uint8_t quick_acks;  // acknowledgements still to be sent without much delay
    uint8_t ttl;
    uint8_t tos;
    uint8_t options; // low bits of enum nt_slot_options
    uint8_t rx_want_log2;
    uint16_t rcv_mss;       // what the peer's full segments carry
    uint16_t data_heard_ms; // when data came last, low bits
    uint32_t accept_index;  // offered: of its entry; moving (move.c): the binding to arrive in
    // lines 4 and 5: out of order, losses
    uint32_t cold_mark;
    // What a loss changed, to be put back if it was none (UNDO; undo.c).
    uint32_t undo_cwnd;
    uint32_t undo_ssthresh;
    uint32_t undo_timestamp;
    // Urgent data (urgent.c).
    uint32_t snd_up; // after the last urgent byte (TX_URGENT)
    uint32_t rcv_up; // the urgent byte itself (RX_URGENT)
    // Before it, the reader stood at urgent bytes that are not the urgent one any more.
    uint32_t rcv_gone;
    uint32_t pad2;
    struct nt_tcb_range ooo[12];
};

struct nt_time_wait {
    uint32_t mark;
    uint8_t state; // NT_TCP_FREE, NT_TCP_TIME_WAIT
    uint8_t timestamps : 1;
    uint8_t steered : 1; // IP knows it by exact match
    uint16_t window;     // as the last header said
    uint8_t local_addr[16];
    uint8_t remote_addr[16];
    uint16_t local_port;
    uint16_t remote_port;
    uint32_t snd_nxt;
    uint32_t rcv_nxt;
    uint32_t ts_recent;
    uint32_t expires_ms;
};

enum nt_tcp_listener_state {
    NT_TCP_LISTENER_FREE = 0,
    NT_TCP_LISTENER_OPEN = 1,
    NT_TCP_LISTENER_CLOSING = 2, // what nobody accepted is being reset, or taken over
};

struct nt_tcp_listener {
    uint32_t mark;
    uint8_t state;   // enum nt_tcp_listener_state
    uint8_t options; // low bits of enum nt_slot_options
    uint16_t port;
    uint8_t addr[16];
    uint16_t area; // of the member that speaks for it (acceptors.c); NT_TCP_NO_AREA: it has none
    uint16_t slot;
    uint32_t generation;
    uint32_t number; // of its region
    uint32_t backlog;
    uint32_t accept_head;    // entries before it are taken
    uint32_t accept_tail;    // entries filled
    uint32_t unlisten;       // CLOSING: number of the request to answer
    uint8_t answer_unlisten; // its kind (enum nt_server_request_kind); 0: there is none
    uint8_t slot_closed;     // 1: the last program said CLOSE, its slot is free afterwards
    uint8_t held;            // 1: it stays without a member (NT_REQ_HOLD)
    uint8_t pad;
    uint32_t pad2[2];
};

enum nt_tcp_area_state {
    NT_TCP_AREA_NONE = 0,
    NT_TCP_AREA_LIVE = 1,
    NT_TCP_AREA_DYING = 2, // its program is gone; answered when no slot is in use
};

struct nt_tcp_area {
    uint32_t mark;
    uint32_t state; // enum nt_tcp_area_state
    uint32_t slots;
    uint32_t grant_tail;
    uint32_t dead_request; // DYING: number of the request to answer
    uint32_t pid;          // of its program, for observers
    uint32_t owner;        // the program's number: areas of the same are one program's; 0: alone
    uint32_t pad[9];
    uint16_t page[128]; // page of bindings + 1, by slot / 64; 0: none yet
};

enum nt_tcp_binding_kind {
    NT_TCP_BINDING_FREE = 0,
    NT_TCP_BINDING_GRANTED = 1,  // the program's, for socket(); not bound, connected or listening
    NT_TCP_BINDING_TCB = 2,      // object: the TCB
    NT_TCP_BINDING_LISTENER = 3, // object: the listener that it is a member of
    NT_TCP_BINDING_FENCED = 4,   // object: the fence to wait for (decision 0004)
    NT_TCP_BINDING_LEFT = 5,     // object: the binding its socket moved to; UINT32_MAX: it is there
    NT_TCP_BINDING_ARRIVING = 6, // object: the TCB that is to come (move.c)
};

struct nt_tcp_binding {
    uint32_t mark;
    uint32_t generation;
    uint32_t object;
    uint8_t kind; // enum nt_tcp_binding_kind
    uint8_t pad[3];
};

struct nt_tcp_groups { // flow groups (groups.c)
    uint32_t mark;
    uint32_t giving; // the one that is being given away, + 1; 0: none
    uint32_t next;   // of all TCBs and TIME-WAIT blocks, the one to look at next
    uint8_t looking; // 1: through them, for those that IP must know by exact match
    uint8_t again;   // 1: also for those that it was told of
    uint8_t asked;   // 1: IP was asked whose they are, since this arena is new
    uint8_t pad;
    uint64_t own[64]; // NT_STEERING_GROUPS bits: new connections of these are this lane's
};

struct nt_tcp_globals {
    uint32_t magic;
    uint32_t tcbs;
    uint32_t time_waits;
    uint32_t listeners;
    uint32_t areas;
    uint32_t binding_pages;
    uint8_t isn_key[16];  // RFC 6528
    uint8_t port_key[16]; // RFC 6056
    uint8_t hash_key[16];
    uint32_t port_cursor[16];
    uint32_t fence_number; // last fence sent
    uint32_t fence_sent_ms;
    uint32_t pad;
    uint32_t cookie_period; // the last one in which a SYN cookie was sent, and 1 (cookies.c)
    struct nt_tcp_groups groups;
    struct nt_request reply[64]; // by request number; kind 0: none
};

#ifndef NT_CDEF
_Static_assert(offsetof(struct nt_tcb, iss) == 64, "line of sending");
_Static_assert(offsetof(struct nt_tcb, irs) == 128, "line of receiving");
_Static_assert(offsetof(struct nt_tcb, rttvar_us) == 192, "line of the rest");
_Static_assert(offsetof(struct nt_tcb, cold_mark) == 256, "cold lines");
_Static_assert(sizeof(struct nt_tcb) == 384, "six lines");
_Static_assert(sizeof(struct nt_time_wait) == 60, "a line");
_Static_assert(sizeof(struct nt_tcp_listener) == 64, "a line");
_Static_assert(sizeof(struct nt_tcp_binding) == 16, "layout");
_Static_assert(sizeof(struct nt_tcp_area) == 320, "layout");
#endif

#endif
