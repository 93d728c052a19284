// context.h: the engine's private context, and what its files share; nobody else includes it.
//
// Theory. A step handles a batch of inputs in one transaction (arena.h): timers, requests,
// segments, socket areas, then it serves the send lists, commits, and publishes. An object of the
// arena is touched before it is changed; touching a TCB or a binding also puts its slot on the list
// of those to publish, so what the program sees follows from what was committed. Private state
// (this file) needs no journal: after a crash all of it is made anew.
//
// A batch that would fill the journal is committed early, but only between two inputs.
#ifndef NT_TCP_CONTEXT_H
#define NT_TCP_CONTEXT_H

#include "newtos_py/net/addr.h"
#include "newtos_py/net/tcp.h"
#include "servers/tcp/busy.h"
#include "servers/tcp/engine.h"
#include "servers/tcp/seq.h"

#define NT_NO_INDEX UINT32_MAX

enum {
    // Timer buckets of 1 ms (mTCP §4.2.2): a power of two. Deadlines beyond the last are looked at
    // again when it comes round.
    NT_TCP_BUCKETS = 4096,
    NT_TCP_PORT_BUCKETS = 256, // listeners by port
    NT_TCP_AREAS = NT_AREAS_MAX,
    // What one input can add to the journal, generously: a TCB, a TIME-WAIT block, a listener,
    // two bindings, an area record and its page, counters.
    NT_TCP_INPUT_JOURNAL_BYTES = 4096,
    NT_TCP_JOURNAL_BYTES = 524288,
    // Slots of tcp0>ip that data leave free for acknowledgements and control segments.
    NT_TCP_CONTROL_ROOM = 64,
    // And acknowledgements for inputs.
    NT_TCP_ACK_ROOM = 48,
    // Inputs wait while there is less room than this, so that their answers find some.
    NT_TCP_INPUT_ROOM = 32,
    // Segments one connection sends before the next one's turn.
    NT_TCP_QUANTUM = 16,

    NT_TCP_TICK_NS = 1000000,
    NT_TCP_DELAYED_ACK_MS = 40,   // RFC 9293 §3.8.6.3 allows 500; Linux's least
    NT_TCP_QUICK_ACK_MS = 1,      // while the peer may still be in its first slow start
    NT_TCP_QUICK_ACKS = 16,       // for so many acknowledgements
    NT_TCP_RTO_FIRST_MS = 1000,   // RFC 6298 §2.1
    NT_TCP_RTO_MIN_MS = 200,      // Linux's; RFC 6298 §2.4 would have 1 s
    NT_TCP_PROBE_MIN_MS = 10,     // RFC 8985 §7.2; a busy peer may need some turns of its core
    NT_TCP_RTO_MAX_MS = 60000,    // RFC 6298 §2.5
    NT_TCP_RETRIES = 15,          // about 15 minutes; RFC 9293 R2 asks for 100 s at least
    NT_TCP_SYN_RETRIES = 6,       // 127 s, as Linux
    NT_TCP_SYN_ACK_RETRIES = 5,   // 63 s, as Linux
    NT_TCP_ORPHAN_RETRIES = 8,    // where no program waits for the outcome
    NT_TCP_TIME_WAIT_MS = 60000,  // as Linux
    NT_TCP_FIN_WAIT_2_MS = 60000, // without a program, as Linux
    NT_TCP_CORK_MS = 200,         // as Linux
    NT_TCP_KEEP_IDLE_S = 7200,    // RFC 9293 §3.8.4
    NT_TCP_KEEP_INTERVAL_S = 75,
    NT_TCP_KEEP_COUNT = 9,
    NT_TCP_FENCE_AGAIN_MS = 100,
    NT_TCP_CHALLENGES_A_SECOND = 1000, // RFC 5961 §7: throttled, over all connections
    NT_TCP_PAWS_IDLE_MS = 2073600000,  // 24 days (RFC 7323 §5.5)
    NT_TCP_DEFAULT_TTL = 64,
    NT_TCP_RCV_WSCALE = 7,     // the least that can announce a ring of 4 MB
    NT_TCP_PORT_FIRST = 32768, // as Linux
    NT_TCP_PORT_LAST = 60999,
    NT_TCP_GRANTS_LOW = 16, // slots kept granted a program
    NT_TCP_GRANTS_HIGH = 64,
};

// -- Private tables ----------------------------------------------------------------------------

struct nt_tcp_node { // of the hash table: a TCB, or (from `tcbs` on) a TIME-WAIT block
    uint32_t next;
    uint32_t hash;
};

enum nt_tcp_queued { // send lists a TCB is on
    NT_TCP_ON_CONTROL = 1,
    NT_TCP_ON_ACK = 2,
    NT_TCP_ON_DATA = 4,
};

struct nt_tcp_private { // beside each TCB
    uint32_t timer_next;
    uint32_t timer_prev;
    uint32_t answered_ms; // an unacceptable segment without text; 0: never
    uint32_t timer_ms;    // when its bucket comes; 0: in none
    uint8_t queued;       // enum nt_tcp_queued
    uint8_t hashed;
    uint16_t early; // segments before its program was known (locality.c)
};

struct nt_tcp_fifo { // of TCB indices; holds each at most once
    uint32_t *entry;
    uint32_t mask;
    uint32_t head;
    uint32_t tail;
};

struct nt_tcp_timers {
    uint32_t bucket[NT_TCP_BUCKETS];
    uint64_t used[NT_TCP_BUCKETS / 64];
    uint32_t now_ms;   // all buckets before it are done
    uint64_t run_tick; // millisecond of the last run
    bool started;
};

struct nt_tcp_link { // of a doubly-linked list of TIME-WAIT blocks in order of expiry
    uint32_t next;
    uint32_t prev;
};

struct nt_tcp_area_private {
    struct nt_area view;
    bool attached;
    uint32_t free_head; // free slots, last in first out, by binding
    uint32_t free_count;
    uint32_t next_page; // slots from here on have no page yet
    uint32_t in_use;    // bindings that are not free
    uint32_t spill;     // in attached[]: a hint where its program still had room
    uint32_t granted_published;
    bool look;              // at its grants, whatever its hints say
    uint32_t pending_count; // bits set in pending[]
    uint32_t sweep;         // word of pending[] to go on with
    uint64_t pending[NT_BITMAP_WORDS];
    uint16_t bell[NT_AREA_QUEUES];
};

struct nt_tcp_dirty { // a binding to publish, and what publishing it found
    uint32_t binding;
    uint32_t old_tx_head;
    uint8_t old_tx_max_log2;
    bool changed; // worth a wake-up whatever the TX ring says
};

struct nt_tcp_page { // who a page of bindings belongs to
    uint16_t area;
    uint16_t first_slot;
};

enum { NT_TCP_LOCALS = 16 }; // processes on one core; more of them are local to no lane

struct nt_tcp_local_table { // local_table.c
    uint32_t count;
    uint32_t turn; // place of the one to be considered first
    uint64_t made_ns;
    uint32_t member[NT_TCP_LOCALS];
};

struct nt_tcp_listener_private {
    uint32_t next;   // of its port bucket
    uint32_t region; // index of its region, NT_NO_INDEX: not mapped
    uint32_t syn_count;
    uint32_t scan;    // CLOSING: TCBs looked at so far
    uint32_t members; // bindings, by binding_next[]
    uint32_t member_count;
    uint32_t turn;     // the member to be considered first
    uint32_t old_head; // accept_head before transaction `head_moved`
    uint32_t head_moved;
    struct nt_busy busy;
    uint32_t stolen_by[NT_STEERING_LANES_MAX]; // as counted so far
    bool stolen_known;
    bool shared;           // it has several members, or claims of such a time are not settled
    bool ask_again;        // requests may end now that there is a member
    uint64_t tell_ns;      // when all are told of what is open still; 0: nothing to tell
    uint64_t tell_step_ns; // until they are told again
    uint32_t stuck_index;  // the first open entry when all were to be told last
    uint64_t stuck_ns;     // since when it is
    struct nt_tcp_local_table local;
};

struct nt_tcp_region { // a mapped listener region
    bool mapped;
    uint32_t number;
    struct nt_listener view;
};

struct nt_tcp_engine {
    struct nt_tcp_config config;
    struct nt_engine engine;
    struct nt_txn txn;
    struct nt_status *status;
    struct nt_netconf netconf;
    struct nt_steering steering;
    struct nt_consumer from_ip;
    struct nt_producer to_ip;
    struct nt_consumer from_syscall;
    struct nt_producer to_syscall;
    struct nt_producer returns[NT_TCP_POOLS]; // page NULL: no such pool
    struct nt_pool pool[NT_TCP_POOLS];
    struct nt_regions regions;
    struct nt_bells bells;
    // time of this step
    uint64_t now_ns;
    uint32_t now_ms;
    uint32_t now_us;
    // the arena
    struct nt_tcp_globals *globals;
    struct nt_tcb *tcb;
    struct nt_time_wait *time_wait;
    struct nt_tcp_listener *listener;
    struct nt_tcp_area *area;
    struct nt_tcp_binding *binding;
    // private
    struct nt_tcp_private *private;
    struct nt_tcp_node *node;
    uint32_t *bucket; // of the hash table
    uint32_t bucket_mask;
    uint32_t *tcb_free;
    uint32_t tcb_free_count;
    uint32_t tcb_most; // none from here on was ever used
    uint32_t *tw_free;
    uint32_t tw_free_count;
    uint32_t time_wait_most; // likewise
    struct nt_tcp_link *tw_link;
    uint32_t tw_first;
    uint32_t tw_last;
    struct nt_tcp_timers timers;
    struct nt_tcp_fifo control;
    struct nt_tcp_fifo ack;
    struct nt_tcp_fifo data;
    struct nt_tcp_area_private *areas;
    uint16_t *attached; // numbers of the attached areas
    uint32_t attached_count;
    struct nt_tcp_page *page;
    uint16_t *page_free;
    uint32_t page_free_count;
    uint32_t *binding_next; // links: free list, fences, members of a listener
    uint8_t *binding_dirty;
    struct nt_tcp_dirty *dirty; // bindings to publish
    uint32_t dirty_count;
    struct nt_tcp_listener_private *listeners;
    struct nt_tcp_region *region;
    uint32_t port_bucket[NT_TCP_PORT_BUCKETS];
    uint32_t *dirty_listener; // accept_tail is to be published
    uint32_t dirty_listener_count;
    uint32_t closing_listeners;
    uint32_t bind_waits; // steps that a bind() to a taken port has waited for a sweep
    uint32_t telling;    // listeners whose tell_ns is set
    bool unsettled;      // acceptors died, or claims had to wait
    bool swept_for_bind; // a bind() that has waited is answered now
    uint32_t dying_areas;
    uint32_t fenced_first; // bindings that wait for a fence, in the order of their fences
    uint32_t fenced_last;
    uint32_t return_pending; // bits of the pools that got buffers back in this batch
    uint32_t challenge_second;
    uint32_t challenges;
    bool recovered;
    bool groups_move;        // steering is flow-groups, and there are several lanes
    uint64_t stolen_told[8]; // by lane: what IP has been told of
    uint64_t stolen_ns;      // when it is told more; 0: nothing is known yet
    uint64_t cookies_then;   // sent until then
    bool to_syscall_used;
    bool reply_waiting; // an answer found no room
};

// -- Touching ------------------------------------------------------------------------------------

static inline void nt_tcp_count(struct nt_tcp_engine *tcp, enum nt_tcp_counter counter)
{
    tcp->status->counter[counter]++;
}
static inline void nt_tcp_count_n(struct nt_tcp_engine *tcp, enum nt_tcp_counter counter,
                                  uint64_t n)
{
    tcp->status->counter[counter] += n;
}

static inline uint32_t nt_tcb_index(const struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    return (uint32_t)(t - tcp->tcb);
}

// The binding of a slot, NT_NO_INDEX if it has no page yet.
static inline uint32_t nt_tcp_binding_index(const struct nt_tcp_engine *tcp, uint32_t area,
                                            uint32_t slot)
{
    uint32_t page = tcp->area[area].page[slot / NT_TCP_BINDING_PAGE];
    return page == 0 ? NT_NO_INDEX : (page - 1) * NT_TCP_BINDING_PAGE + slot % NT_TCP_BINDING_PAGE;
}

static inline void nt_tcp_publish_later(struct nt_tcp_engine *tcp, uint32_t binding)
{
    if (tcp->binding_dirty[binding])
        return;
    tcp->binding_dirty[binding] = 1;
    tcp->dirty[tcp->dirty_count++].binding = binding;
}

static inline void nt_tcb_publish_later(struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    if (t->area != NT_TCP_NO_AREA)
        nt_tcp_publish_later(tcp, nt_tcp_binding_index(tcp, t->area, t->slot));
}

static inline void nt_tcb_touch(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->mark == tcp->txn.number)
        return;
    nt_txn_touch(&tcp->txn, t, offsetof(struct nt_tcb, cold_mark));
    t->mark = tcp->txn.number;
    nt_tcb_publish_later(tcp, t);
}

static inline void nt_tcb_touch_cold(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_txn_touch_once(&tcp->txn, &t->cold_mark, &t->cold_mark,
                      sizeof(*t) - offsetof(struct nt_tcb, cold_mark));
}

static inline struct nt_tcp_binding *nt_tcp_binding_touch(struct nt_tcp_engine *tcp, uint32_t index)
{
    struct nt_tcp_binding *binding = &tcp->binding[index];
    nt_txn_touch_once(&tcp->txn, &binding->mark, binding, sizeof(*binding));
    nt_tcp_publish_later(tcp, index);
    return binding;
}

static inline void nt_tcp_listener_touch(struct nt_tcp_engine *tcp,
                                         struct nt_tcp_listener *listener)
{
    nt_txn_touch_once(&tcp->txn, &listener->mark, listener, sizeof(*listener));
}

static inline void nt_tcp_area_touch(struct nt_tcp_engine *tcp, struct nt_tcp_area *area)
{
    nt_txn_touch_once(&tcp->txn, &area->mark, area, offsetof(struct nt_tcp_area, page));
}

static inline bool nt_tcp_has_lanes(const struct nt_tcp_engine *tcp) // more than this one
{
    return NT_UNLIKELY(tcp->steering.config.lanes > 1);
}

// -- Small questions -----------------------------------------------------------------------------

static inline uint32_t nt_tcb_unsent(const struct nt_tcb *t)
{
    return nt_seq_lt(t->snd_nxt, t->tx_end) ? t->tx_end - t->snd_nxt : 0;
}
static inline bool nt_tcb_fin_due(const struct nt_tcb *t)
{
    return (t->flags & NT_TCB_FIN_QUEUED) && nt_seq_le(t->snd_nxt, t->tx_end);
}
// May send data and FIN (again).
static inline bool nt_tcb_can_send(const struct nt_tcb *t)
{
    switch ((enum nt_tcp_state)t->state) {
    case NT_TCP_ESTABLISHED:
    case NT_TCP_CLOSE_WAIT:
    case NT_TCP_FIN_WAIT_1:
    case NT_TCP_CLOSING:
    case NT_TCP_LAST_ACK:
        return true;
    case NT_TCP_FREE:
    case NT_TCP_SYN_SENT:
    case NT_TCP_SYN_RCVD:
    case NT_TCP_FIN_WAIT_2:
    case NT_TCP_TIME_WAIT:
    case NT_TCP_CLOSED:
    case NT_TCP_LISTEN:
        return false;
    }
    return false;
}
static inline bool nt_tcb_connected(const struct nt_tcb *t) // in the hash table
{
    return t->state != NT_TCP_FREE && t->state != NT_TCP_CLOSED;
}
// An acknowledgement waits, and no answer of the program's will take it along.
static inline bool nt_tcb_acks_on_read(const struct nt_tcb *t)
{
    bool answered = (t->flags & NT_TCB_ONE_WAY) == 0 && (t->options & NT_OPTION_QUICKACK) == 0;
    return !answered && t->ack_deadline_ms != 0 && t->rcv_acked != t->rcv_nxt;
}
// Urgent bytes are still unacknowledged (tcp_urg_mode()).
static inline bool nt_tcb_sends_urgent(const struct nt_tcb *t)
{
    return NT_UNLIKELY(t->flags & NT_TCB_TX_URGENT) && nt_seq_gt(t->snd_up, t->snd_una);
}
static inline bool nt_tcb_has_slot(const struct nt_tcb *t) { return t->area != NT_TCP_NO_AREA; }
static inline bool nt_tcb_offered(const struct nt_tcb *t) // to accept()
{
    return (t->flags & (NT_TCB_PASSIVE | NT_TCB_TAKEN)) == NT_TCB_PASSIVE && nt_tcb_has_slot(t);
}

// The mapped area of a TCB's slot, NULL if it has none or it is not mapped.
static inline struct nt_area *nt_tcb_area(struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    if (t->area == NT_TCP_NO_AREA || !tcp->areas[t->area].attached)
        return NULL;
    return &tcp->areas[t->area].view;
}

// Bytes of the RX ring's cursor for a sequence number.
static inline uint32_t nt_tcb_rx_cursor(const struct nt_tcb *t, uint32_t seq)
{
    return seq - t->irs - 1;
}
// rx_tail: what the program may read.
static inline uint32_t nt_tcb_rx_tail(const struct nt_tcb *t)
{
    return nt_tcb_rx_cursor(t, t->rcv_nxt) - (t->flags & NT_TCB_RX_FIN ? 1 : 0);
}
// tx_head: what the program may overwrite.
static inline uint32_t nt_tcb_tx_head(const struct nt_tcb *t)
{
    if (t->state == NT_TCP_SYN_SENT || t->snd_una == t->iss)
        return 0;
    return t->snd_una - t->iss - 1 - (t->flags & NT_TCB_FIN_ACKED ? 1 : 0);
}
static inline uint32_t nt_tcp_timestamp(const struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    return tcp->now_ms + t->ts_offset;
}

// -- Segments ------------------------------------------------------------------------------------

struct nt_segment { // an arrived segment, parsed once; trimmed on its way through the steps
    uint8_t src[16];
    uint8_t dst[16];
    struct nt_tcp_header header;
    uint32_t seq; // of the first byte that still counts
    uint32_t len; // payload bytes that still count
    const uint8_t *payload;
    const struct nt_pool *pool; // where it lies
    uint32_t buffer;            // there
    uint32_t hash;              // of its four-tuple (hash.c)
    uint16_t use;
    uint8_t desc_flags; // enum nt_desc_flags, as it was handed up
    uint32_t nic_queue; // enum nt_packet_arg: the card's queue, and whether IP only asks
};

static inline uint32_t nt_segment_len(const struct nt_segment *segment) // in sequence space
{
    return segment->len + (segment->header.flags & NT_TCP_SYN ? 1 : 0) +
           (segment->header.flags & NT_TCP_FIN ? 1 : 0);
}

enum nt_tcp_next { // what a step of segment arrival says
    NT_TCP_CONTINUE = 0,
    NT_TCP_DONE = 1,
};

// -- What each file offers the others ----------------------------------------------------------

// hash.c: four-tuple to TCB or TIME-WAIT block.
struct nt_tcp_tuple {
    const uint8_t *local_addr;
    const uint8_t *remote_addr;
    uint16_t local_port;
    uint16_t remote_port;
};
uint32_t nt_tcp_hash(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple);
uint32_t nt_tcp_hash_find(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple);
// The same for whoever knows the hash.
uint32_t nt_tcp_hash_find_hashed(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple,
                                 uint32_t hash);
void nt_tcp_hash_add_tcb(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_hash_remove_tcb(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_hash_add_time_wait(struct nt_tcp_engine *tcp, uint32_t index);
void nt_tcp_hash_remove_time_wait(struct nt_tcp_engine *tcp, uint32_t index);

// siphash.c
uint64_t nt_siphash(const uint8_t key[16], const void *data, size_t len);

// isn.c: initial sequence numbers and timestamp offsets.
uint32_t nt_tcp_isn(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple);
uint32_t nt_tcp_timestamp_offset(const struct nt_tcp_engine *tcp, const uint8_t local[16],
                                 const uint8_t remote[16]);

// ports.c
// A port for a connection to `remote`; 0: none is free. *time_wait: the TIME-WAIT block that is to
// be taken over, or NT_NO_INDEX.
uint32_t nt_tcp_lane_of(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple);
uint16_t nt_tcp_choose_port(struct nt_tcp_engine *tcp, const uint8_t local[16],
                            const uint8_t remote[16], uint16_t remote_port, uint32_t *time_wait);
// For bind() with port 0; 0: none is free.
uint16_t nt_tcp_choose_bind_port(struct nt_tcp_engine *tcp, const uint8_t local[16]);
// 0 or EADDRINUSE. `except`: a TCB that does not count.
uint32_t nt_tcp_check_bind(const struct nt_tcp_engine *tcp, const uint8_t local[16], uint16_t port,
                           uint32_t options, const struct nt_tcb *except);

// timers.c
void nt_tcp_timers_start(struct nt_tcp_engine *tcp);
// Has the TCB looked at when the first of its deadlines comes; to be called after one was set.
void nt_tcp_timer_arm(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_timer_forget(struct nt_tcp_engine *tcp, struct nt_tcb *t);
uint32_t nt_tcp_timers_run(struct nt_tcp_engine *tcp, uint32_t budget);
uint64_t nt_tcp_timers_next_ns(const struct nt_tcp_engine *tcp);
// timeouts.c: what happens when a TCB's deadlines come.
void nt_tcp_timeout(struct nt_tcp_engine *tcp, struct nt_tcb *t);

// sendlist.c
void nt_tcp_send_control(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_send_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_send_data(struct nt_tcp_engine *tcp, struct nt_tcb *t);
uint32_t nt_tcp_serve_lists(struct nt_tcp_engine *tcp);
bool nt_tcp_lists_waiting(const struct nt_tcp_engine *tcp);

// output.c
// Sends all that may be sent now, at most a quantum. False: the channel is full.
bool nt_tcp_output(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool *more);
bool nt_tcp_output_control(struct nt_tcp_engine *tcp, struct nt_tcb *t);
bool nt_tcp_output_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t);
bool nt_tcp_output_probe(struct nt_tcp_engine *tcp, struct nt_tcb *t); // keepalive
// emit.c: one segment into the channel. Best effort where the caller keeps no state: counted if
// there is no room.
bool nt_tcp_emit_segment(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t seq, uint32_t len,
                         uint8_t flags);
void nt_tcp_emit_reset(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_answer_reset(struct nt_tcp_engine *tcp, const struct nt_segment *segment);
void nt_tcp_answer_time_wait(struct nt_tcp_engine *tcp, const struct nt_time_wait *tw);
bool nt_tcp_emit_steer(struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple, bool here);
bool nt_tcp_emit_group(struct nt_tcp_engine *tcp, uint32_t group, enum nt_group_word word);
bool nt_tcp_emit_stolen(struct nt_tcp_engine *tcp, const struct nt_stolen *stolen);
bool nt_tcp_emit_not_mine(struct nt_tcp_engine *tcp, const struct nt_desc *packet);
bool nt_tcp_emit_fence(struct nt_tcp_engine *tcp, uint32_t number);

// window.c: the receive window, and the program's cursors.
// Reads rx_head; false: it cannot be, and the socket is broken now.
bool nt_tcp_look_at_reader(struct nt_tcp_engine *tcp, struct nt_tcb *t);
// Moves rcv_adv as far as the ring has room; the window field of the next header.
uint16_t nt_tcp_announce_window(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool syn);
// True if there is much more room than the peer knows of.
bool nt_tcp_window_update_due(const struct nt_tcb *t);

// connection.c: making, ending and freeing TCBs.
struct nt_tcb *nt_tcb_new(struct nt_tcp_engine *tcp);
void nt_tcb_init(const struct nt_tcp_engine *tcp, struct nt_tcb *t); // but for its marks
void nt_tcb_free(struct nt_tcp_engine *tcp, struct nt_tcb *t);
// Fills in what follows from the path to the remote address.
void nt_tcb_set_path(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_path *path);
void nt_tcb_obey_program(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t area, uint32_t slot);
void nt_tcb_set_iss(struct nt_tcb *t, uint32_t iss);
// Ends a connection in any state with an errno (0: none) and without a word to the peer.
void nt_tcb_abort(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t error);
void nt_tcb_reset(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t error); // with RST
void nt_tcb_enter_established(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcb_enter_time_wait(struct nt_tcp_engine *tcp, struct nt_tcb *t);
// After our FIN and the peer's: nothing is left but what the program has not read.
void nt_tcb_enter_closed(struct nt_tcp_engine *tcp, struct nt_tcb *t);
// The program will look at it no more: gives back the slot as soon as nothing in it is needed.
void nt_tcb_release_slot(struct nt_tcp_engine *tcp, struct nt_tcb *t);
uint32_t nt_tcp_connect(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                        const struct nt_endpoint *target);

// timewait.c
uint32_t nt_tcp_time_wait_add(struct nt_tcp_engine *tcp, const struct nt_tcb *t);
void nt_tcp_time_wait_free(struct nt_tcp_engine *tcp, uint32_t index);
void nt_tcp_time_wait_link(struct nt_tcp_engine *tcp, uint32_t index); // as the last to expire
uint32_t nt_tcp_time_wait_expire(struct nt_tcp_engine *tcp, uint32_t budget);
void nt_tcp_input_time_wait(struct nt_tcp_engine *tcp, uint32_t index, struct nt_segment *segment);

// listen.c
void nt_tcp_listener_link(struct nt_tcp_engine *tcp, uint32_t index);
struct nt_tcp_listener *nt_tcp_listener_find(struct nt_tcp_engine *tcp, const uint8_t addr[16],
                                             uint16_t port, const uint8_t remote_addr[16],
                                             uint16_t remote_port);
bool nt_tcp_listener_is_here(const struct nt_tcp_engine *tcp, uint32_t number);
uint32_t nt_tcp_listen_beside(struct nt_tcp_engine *tcp, uint32_t number, uint32_t area,
                              const struct nt_endpoint *local, uint32_t options, uint32_t *binding);
uint32_t nt_tcp_listen(struct nt_tcp_engine *tcp, uint32_t binding, uint32_t number,
                       uint32_t options);
void nt_tcp_listener_unlink(struct nt_tcp_engine *tcp, uint32_t index);
void nt_tcp_input_listen(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                         struct nt_segment *segment, uint32_t after_seq, bool has_after);
// Fills in a new TCB, whose segment is (as if it were) the SYN, but for its ISS.
void nt_tcp_listener_begin(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                           struct nt_tcb *t, const struct nt_segment *syn,
                           const struct nt_path *path);
void nt_tcp_listener_forget_syn(struct nt_tcp_engine *tcp, struct nt_tcb *t);

// cookies.c
void nt_tcp_answer_cookie(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                          const struct nt_segment *syn, const struct nt_path *path);
// An acknowledgement for no connection. False: it has nothing to do with a cookie.
bool nt_tcp_input_cookie(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                         struct nt_segment *segment);

// acceptors.c, offer.c, claims.c: members of listeners, and what is offered to them.
struct nt_listener *nt_tcp_listener_region(struct nt_tcp_engine *tcp,
                                           const struct nt_tcp_listener *listener);
struct nt_tcp_listener *nt_tcp_listener_numbered(struct nt_tcp_engine *tcp, uint32_t number);
void nt_tcp_listener_publish_later(struct nt_tcp_engine *tcp,
                                   const struct nt_tcp_listener *listener);
void nt_tcp_member_link(struct nt_tcp_engine *tcp, uint32_t binding); // private; recover's
void nt_tcp_member_add(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                       uint32_t binding);
void nt_tcp_member_leaves(struct nt_tcp_engine *tcp, uint32_t binding);
void nt_tcp_member_remove(struct nt_tcp_engine *tcp, uint32_t binding);
uint32_t nt_tcp_member_of(const struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                          uint32_t area);
uint32_t nt_tcp_join(struct nt_tcp_engine *tcp, uint32_t number, uint32_t area, uint32_t *binding);
void nt_tcp_tell_all(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener);
uint32_t nt_tcp_acceptors_look(struct nt_tcp_engine *tcp);
uint64_t nt_tcp_acceptors_next_ns(const struct nt_tcp_engine *tcp);
bool nt_tcp_accept_queue_full(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener);
// Binds a connection that completed its handshake to a slot, and offers it to accept(). False: no
// room just now.
bool nt_tcp_offer(struct nt_tcp_engine *tcp, struct nt_tcb *t);
bool nt_tcp_offer_elsewhere(struct nt_tcp_engine *tcp, struct nt_tcb *t);
struct nt_tcb *nt_tcp_settle_last(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                                  const struct nt_listener *region, uint32_t index);
uint32_t nt_tcp_accept_claimed(struct nt_tcp_engine *tcp, uint32_t binding, uint32_t number,
                               uint32_t index);
bool nt_tcp_accept_seen(struct nt_tcp_engine *tcp, struct nt_tcb *t);
bool nt_tcp_died_accepting(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool entered);

// listen_end.c
void nt_tcp_listener_close(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener);
void nt_tcp_member_leave(struct nt_tcp_engine *tcp, uint32_t binding);
bool nt_tcp_unlisten(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_request *request);
bool nt_tcp_hold(struct nt_tcp_engine *tcp, struct nt_request *request);
// Goes on with closing listeners; how much was done.
uint32_t nt_tcp_listeners_close_some(struct nt_tcp_engine *tcp, uint32_t budget);

// move.c
void nt_tcp_move_offer(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t to);
void nt_tcp_move_offered(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t to);
uint32_t nt_tcp_move(struct nt_tcp_engine *tcp, struct nt_request *request);
uint32_t nt_tcp_moved(struct nt_tcp_engine *tcp, const struct nt_request *request);
void nt_tcp_move_died(struct nt_tcp_engine *tcp, uint32_t to);
void nt_tcp_slot_left(struct nt_tcp_engine *tcp, uint32_t binding, bool dead);

// slots.c: bindings of slots, grants, and what the program sees.
uint32_t nt_tcp_slot_take(struct nt_tcp_engine *tcp, uint32_t area); // a binding, or NT_NO_INDEX
// The same, or where that is full, of another area of the same program.
uint32_t nt_tcp_slot_take_near(struct nt_tcp_engine *tcp, uint32_t area);
static inline bool nt_tcp_one_program(const struct nt_tcp_engine *tcp, uint32_t area,
                                      uint32_t other)
{
    return area == other ||
           (tcp->area[area].owner != 0 && tcp->area[area].owner == tcp->area[other].owner);
}
void nt_tcp_slot_free(struct nt_tcp_engine *tcp, uint32_t binding, bool fence);
void nt_tcp_slot_bind(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_tcb *t);
void nt_tcp_slot_adopt(struct nt_tcp_engine *tcp, uint32_t binding);   // onto the free list
void nt_tcp_slot_refence(struct nt_tcp_engine *tcp, uint32_t binding); // recover's
void nt_tcp_grant(struct nt_tcp_engine *tcp, uint32_t area);
uint32_t nt_tcp_fences_look(struct nt_tcp_engine *tcp);
uint32_t nt_tcp_drained_areas(struct nt_tcp_engine *tcp);
void nt_tcp_page_take(struct nt_tcp_engine *tcp, uint32_t area, uint32_t page, uint32_t first_slot);
static inline uint32_t nt_tcp_binding_area(const struct nt_tcp_engine *tcp, uint32_t binding)
{
    return tcp->page[binding / NT_TCP_BINDING_PAGE].area;
}
static inline uint32_t nt_tcp_binding_slot(const struct nt_tcp_engine *tcp, uint32_t binding)
{
    return tcp->page[binding / NT_TCP_BINDING_PAGE].first_slot + binding % NT_TCP_BINDING_PAGE;
}

// publish.c
void nt_tcp_publish(struct nt_tcp_engine *tcp);
void nt_tcp_wake_slot(struct nt_tcp_engine *tcp, struct nt_area *area, uint32_t slot);

// program.c: what programs tell us through their areas.
uint32_t nt_tcp_sweep_areas(struct nt_tcp_engine *tcp, uint32_t budget);
void nt_tcp_sweep_slot(struct nt_tcp_engine *tcp, uint32_t area, uint32_t slot);
// The program's end of the stream: FIN after tx_end.
void nt_tcp_queue_fin(struct nt_tcp_engine *tcp, struct nt_tcb *t);
bool nt_tcp_areas_waiting(const struct nt_tcp_engine *tcp);
// Nothing is left of what was set when the areas were last looked at.
bool nt_tcp_areas_swept(const struct nt_tcp_engine *tcp);
void nt_tcp_sweep_all(struct nt_tcp_engine *tcp, uint32_t area);

// requests.c
uint32_t nt_tcp_handle_requests(struct nt_tcp_engine *tcp, uint32_t budget);
void nt_tcp_requests_swept(struct nt_tcp_engine *tcp); // the socket areas were, in this step
bool nt_tcp_reply(struct nt_tcp_engine *tcp, const struct nt_request *reply);

// packets.c
uint32_t nt_tcp_handle_packets(struct nt_tcp_engine *tcp, uint32_t budget);
void nt_tcp_ring_owners(struct nt_tcp_engine *tcp);

// groups.c: flow groups that move from lane to lane.
void nt_tcp_groups_init(struct nt_tcp_engine *tcp);
void nt_tcp_keep_here(struct nt_tcp_engine *tcp, struct nt_tcb *t); // only with several lanes
void nt_tcp_groups_heard(struct nt_tcp_engine *tcp, const struct nt_desc *desc);
uint32_t nt_tcp_groups_step(struct nt_tcp_engine *tcp); // only where tcp->groups_move
bool nt_tcp_groups_looking(const struct nt_tcp_engine *tcp);

// locality.c: only with several lanes.
// Its program is this one from now on: says where it runs.
void nt_tcp_note_core(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                      const struct nt_slot_program *program);
void nt_tcp_count_arrival(struct nt_tcp_engine *tcp, const struct nt_tcb *t,
                          const struct nt_segment *segment);

// input.c and its steps
void nt_tcp_input(struct nt_tcp_engine *tcp, struct nt_segment *segment);
// Takes over what a SYN says: sequence number and options.
void nt_tcp_take_syn(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_segment *segment);
void nt_tcp_input_syn_sent(struct nt_tcp_engine *tcp, struct nt_tcb *t, struct nt_segment *segment);
void nt_tcp_input_synchronized(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                               struct nt_segment *segment);
enum nt_tcp_next nt_tcp_input_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                  struct nt_segment *segment);
enum nt_tcp_next nt_tcp_input_text(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                   struct nt_segment *segment);
void nt_tcp_input_fin(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                      const struct nt_segment *segment);
void nt_tcp_challenge(struct nt_tcp_engine *tcp, struct nt_tcb *t); // RFC 5961 §7
void nt_tcp_ack_soon(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_ack_now(struct nt_tcp_engine *tcp, struct nt_tcb *t);
// reassembly.c
void nt_tcp_ooo_add(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t start, uint32_t end);
// Moves rcv_nxt over ranges that are contiguous with it now.
void nt_tcp_ooo_absorb(struct nt_tcp_engine *tcp, struct nt_tcb *t);
// urgent.c (RFC 9293 §3.8.5)
void nt_tcp_input_urgent(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                         const struct nt_segment *segment);
void nt_tcp_take_urgent(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t tx_urgent);
void nt_tcp_mark_urgent(struct nt_tcb *t, struct nt_tcp_header *header);
bool nt_tcp_urgent_is_here(const struct nt_tcb *t);
void nt_tcp_forget_passed_mark(struct nt_tcb *t);
// icmp.c
void nt_tcp_input_icmp(struct nt_tcp_engine *tcp, const uint8_t *ip, uint32_t len,
                       uint32_t l4_offset);

// rtt.c (RFC 6298)
void nt_tcp_rtt_start(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t seq_end);
void nt_tcp_rtt_acked(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t ack);
void nt_tcp_rto_restart(struct nt_tcp_engine *tcp, struct nt_tcb *t);
// True if the probe timeout is what the retransmission timer waits for.
bool nt_tcp_probe_first(const struct nt_tcb *t);
// The start of fast recovery, or, in it, the first unacknowledged segment once more.
void nt_tcp_recover_loss(struct nt_tcp_engine *tcp, struct nt_tcb *t);
void nt_tcp_rto_backoff(struct nt_tcb *t);
// undo.c: before a loss changes anything, and with the first new acknowledgement after it. True: it
// was none, and all is as before.
void nt_tcp_undo_save(struct nt_tcp_engine *tcp, struct nt_tcb *t);
bool nt_tcp_undo(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_tcp_header *header);

// recover.c, audit.c
int nt_tcp_recover(struct nt_tcp_engine *tcp, char *why, uint64_t why_bytes);
int nt_tcp_audit(void *context, char *why, uint64_t why_bytes);

// engine.c
void nt_tcp_view_tables(struct nt_tcp_view *view, const struct nt_tcp_globals *globals,
                        const struct nt_tcp_shape *shape);
// Commits and publishes if the journal could not hold another input. Only between two inputs.
void nt_tcp_commit_if_full(struct nt_tcp_engine *tcp);
void nt_tcp_commit(struct nt_tcp_engine *tcp);

#endif
