// program.c: what programs tell us through their socket areas.
//
// A program's activity bits say which slots to look at; they are hints, taken over word by word and
// worked off sixteen a step. Everything read from a program's block is read once, then checked: a
// value that cannot be breaks that socket (ECONNABORTED) and is counted, nothing else. A block
// whose generation is not the slot's is not read at all.
#include <errno.h>

#include "servers/tcp/ahead.h"
#include "servers/tcp/context.h"

enum { SWEEP_BATCH = 16 }; // slots looked at together: a step's budget

struct snapshot { // of a program's block
    uint32_t tx_tail;
    uint32_t rx_head;
    uint64_t tx_geometry;
    uint32_t control;
    uint32_t options;
    uint32_t request;
    uint32_t queue;
    uint32_t rx_want_log2;
};

static struct snapshot take_snapshot(const struct nt_slot_program *program)
{
    return (struct snapshot){
        .control = nt_load_acquire(&program->control), // first: what comes before CLOSE counts
        .request = nt_load_acquire(&program->request),
        .tx_tail = nt_load_acquire(&program->tx_tail), // before its geometry (area.h)
        .tx_geometry = nt_load_acquire(&program->tx_geometry),
        .rx_head = nt_load_acquire(&program->rx_head),
        .options = nt_load_relaxed(&program->options),
        .queue = nt_load_relaxed(&program->queue),
        .rx_want_log2 = nt_load_relaxed(&program->rx_want_log2),
    };
}

static void broken_by_program(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcp_count(tcp, NT_TCP_BAD_PROGRAM);
    nt_tcb_reset(tcp, t, ECONNABORTED);
}

// -- Data ----------------------------------------------------------------------------------------

// False: the cursors cannot be.
static bool take_tx(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct snapshot *seen)
{
    uint32_t known = t->tx_end - t->iss - 1, head = nt_tcb_tx_head(t);
    if (seen->tx_tail == known)
        return true;
    if (!nt_geometry_valid(seen->tx_geometry) || (t->flags & NT_TCB_FIN_QUEUED) ||
        seen->tx_tail - head > nt_geometry_size(seen->tx_geometry) ||
        nt_seq_lt(seen->tx_tail, known))
        return false;
    t->tx_geometry = seen->tx_geometry;
    t->tx_end = t->iss + 1 + seen->tx_tail;
    if (nt_tcb_can_send(t))
        nt_tcp_send_data(tcp, t);
    return true;
}

// A peer that sends and is never answered may wait for the acknowledgement before it sends more
// (Nagle): it gets it when the program has read all, as from Linux (tcp_cleanup_rbuf).
static bool reading_acknowledges(const struct nt_tcb *t)
{
    return nt_tcb_acks_on_read(t) && t->rx_head == nt_tcb_rx_tail(t);
}

static bool take_rx(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (!nt_tcp_look_at_reader(tcp, t))
        return false;
    if (t->state == NT_TCP_ESTABLISHED || t->state == NT_TCP_FIN_WAIT_1 ||
        t->state == NT_TCP_FIN_WAIT_2) {
        if (nt_tcp_window_update_due(t) || reading_acknowledges(t))
            nt_tcp_ack_now(tcp, t);
    }
    return true;
}

static void take_options(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                         const struct nt_slot_program *program, const struct snapshot *seen)
{
    uint32_t held_back = (t->options & ~seen->options & NT_OPTION_CORK) |
                         (~(uint32_t)t->options & seen->options & NT_OPTION_NODELAY);
    bool keepalive = (seen->options & ~(uint32_t)t->options & NT_OPTION_KEEPALIVE) != 0;
    t->options = (uint8_t)seen->options;
    t->user_timeout_ms = nt_load_relaxed(&program->user_timeout_ms);
    t->keep_idle_s = nt_load_relaxed(&program->keep_idle_s);
    t->keep_interval_s = nt_load_relaxed(&program->keep_interval_s);
    t->keep_count = (uint8_t)nt_min_u32(nt_load_relaxed(&program->keep_count), UINT8_MAX);
    uint8_t ttl = nt_load_relaxed(&program->ttl);
    t->ttl = ttl != 0 ? ttl : NT_TCP_DEFAULT_TTL;
    t->tos = nt_load_relaxed(&program->tos);
    if (seen->rx_want_log2 >= NT_RING_FIRST_LOG2 && seen->rx_want_log2 <= NT_RING_LAST_LOG2)
        t->rx_want_log2 = (uint8_t)seen->rx_want_log2;
    if (held_back != 0)
        nt_tcp_send_data(tcp, t);
    if (keepalive || (t->options & NT_OPTION_KEEPALIVE)) {
        uint32_t idle_s = t->keep_idle_s != 0 ? t->keep_idle_s : (uint32_t)NT_TCP_KEEP_IDLE_S;
        uint32_t deadline = nt_ms_after(t->last_heard_ms, idle_s * 1000);
        if (nt_tcb_connected(t) && t->keep_probes == 0 &&
            (t->idle_deadline_ms == 0 || nt_seq_lt(deadline, t->idle_deadline_ms))) {
            t->idle_deadline_ms = deadline;
            nt_tcp_timer_arm(tcp, t);
        }
    }
}

// -- Ending --------------------------------------------------------------------------------------

// RFC 9293 §3.10.4, CLOSE, and shutdown(SHUT_WR).
void nt_tcp_queue_fin(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->flags |= NT_TCB_FIN_QUEUED;
    if (t->state == NT_TCP_ESTABLISHED)
        t->state = NT_TCP_FIN_WAIT_1;
    else if (t->state == NT_TCP_CLOSE_WAIT)
        t->state = NT_TCP_LAST_ACK;
    if (nt_tcb_can_send(t))
        nt_tcp_send_data(tcp, t);
}

// Linux's send() puts on the wire what the window allows; a close() that aborts (SO_LINGER) or that
// finds unread data comes after it, and does not take it back.
static void send_before_reset(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    bool more;
    do
        more = false;
    while (nt_tcp_output(tcp, t, &more) && more);
}

// close(2): nobody will read any more. Unread data mean a reset, as on Linux (RFC 2525 §2.17).
static void close_socket(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct snapshot *seen)
{
    bool unread = nt_tcb_rx_tail(t) != t->rx_head;
    t->flags |= NT_TCB_PROGRAM_CLOSED;
    nt_txn_crash_point(&tcp->txn);
    if (!nt_tcb_connected(t)) {
        nt_tcb_release_slot(tcp, t);
        nt_tcb_free(tcp, t);
        return;
    }
    if (t->state == NT_TCP_SYN_SENT || t->state == NT_TCP_SYN_RCVD || unread ||
        (seen->control & NT_CONTROL_RESET)) {
        send_before_reset(tcp, t);
        nt_tcb_reset(tcp, t, 0);
        return;
    }
    nt_tcp_queue_fin(tcp, t);
    if (t->state == NT_TCP_FIN_WAIT_2) {
        t->idle_deadline_ms = nt_ms_after(tcp->now_ms, NT_TCP_FIN_WAIT_2_MS);
        nt_tcp_timer_arm(tcp, t);
    } else {
        t->idle_deadline_ms = 0; // keepalive is a socket's
    }
    if (nt_seq_ge(t->snd_una, t->tx_end))
        nt_tcb_release_slot(tcp, t);
}

// -- Slots ---------------------------------------------------------------------------------------

static void sweep_tcb(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                      const struct nt_slot_program *program)
{
    struct snapshot seen = take_snapshot(program);
    nt_tcb_touch(tcp, t);
    if (nt_tcb_offered(t) && !nt_tcp_accept_seen(tcp, t)) {
        nt_tcp_count(tcp, NT_TCP_BAD_PROGRAM); // not its to use
        return;
    }
    if (nt_tcp_has_lanes(tcp) && (!(t->flags & NT_TCB_TAKEN) || t->request != seen.request))
        nt_tcp_note_core(tcp, t, program);
    t->flags |= NT_TCB_TAKEN;
    take_options(tcp, t, program, &seen);
    if (t->request != seen.request && (seen.request & 0xff) == NT_MAIL_CONNECT) {
        struct nt_endpoint target = program->target;
        t->request = seen.request;
        t->reply_errno =
            nt_tcb_connected(t) || t->remote_port != 0 ? EISCONN : nt_tcp_connect(tcp, t, &target);
    } else if (t->request != seen.request && (seen.request & 0xff) == NT_MAIL_ACCEPT) {
        t->request = seen.request; // it has what it asks for
        t->reply_errno = 0;
    }
    if (nt_tcb_connected(t) &&
        (seen.queue >= NT_AREA_QUEUES || !take_tx(tcp, t, &seen) || !take_rx(tcp, t))) {
        if (seen.control & NT_CONTROL_CLOSE)
            t->flags |= NT_TCB_PROGRAM_CLOSED;
        broken_by_program(tcp, t);
        return;
    }
    if (NT_UNLIKELY(seen.options & NT_OPTION_URGENT))
        nt_tcp_take_urgent(tcp, t, nt_load_relaxed(&program->tx_urgent));
    if (!nt_tcb_connected(t))
        (void)nt_tcp_look_at_reader(tcp, t);
    if ((seen.control & NT_CONTROL_SHUT_WR) && !(t->flags & NT_TCB_FIN_QUEUED) &&
        nt_tcb_connected(t))
        nt_tcp_queue_fin(tcp, t);
    if ((seen.control & NT_CONTROL_CLOSE) && !(t->flags & NT_TCB_PROGRAM_CLOSED))
        close_socket(tcp, t, &seen);
}

// Without a TCB there is nowhere to keep the answer but the slot itself: a restart may look at the
// request once more.
static void answer_granted(struct nt_tcp_engine *tcp, struct nt_area *area, uint32_t slot,
                           uint32_t request, uint32_t error)
{
    struct nt_slot_server *server = &area->slot_server[slot];
    nt_store_relaxed(&server->reply_errno, error);
    nt_store_release(&server->reply, request);
    nt_tcp_wake_slot(tcp, area, slot);
}

// accept() of a connection that was bound to another slot.
static void accept_granted(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_area *area,
                           uint32_t slot, uint32_t request)
{
    const struct nt_slot_program *program = &area->slot_program[slot];
    uint32_t error = nt_tcp_accept_claimed(tcp, binding, nt_load_relaxed(&program->accept_listener),
                                           nt_load_relaxed(&program->accept_index));
    if (error == 0)
        sweep_tcb(tcp, &tcp->tcb[tcp->binding[binding].object], program);
    else
        answer_granted(tcp, area, slot, request, error);
}

// connect() on a socket that was never bound.
static void connect_granted(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_area *area,
                            uint32_t slot, uint32_t request)
{
    struct nt_tcb *t = nt_tcb_new(tcp);
    if (t == NULL) {
        answer_granted(tcp, area, slot, request, ENOBUFS);
        return;
    }
    nt_tcp_slot_bind(tcp, binding, t);
    sweep_tcb(tcp, t, &area->slot_program[slot]);
}

static void sweep_granted(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_area *area,
                          uint32_t slot)
{
    const struct nt_slot_program *program = &area->slot_program[slot];
    uint32_t control = nt_load_acquire(&program->control);
    uint32_t request = nt_load_acquire(&program->request);
    if (request != area->slot_server[slot].reply && (request & 0xff) == NT_MAIL_CONNECT)
        connect_granted(tcp, binding, area, slot, request);
    else if (request != area->slot_server[slot].reply && (request & 0xff) == NT_MAIL_ACCEPT)
        accept_granted(tcp, binding, area, slot, request);
    else if (control & NT_CONTROL_CLOSE)
        nt_tcp_slot_free(tcp, binding, false);
}

// A dead program's socket that is to be what it has accepted: only if it did something with it.
// Else nobody has seen the connection, and others may have it (acceptors.c).
static void accept_dead(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_area *area,
                        uint32_t slot)
{
    const struct nt_slot_program *program = &area->slot_program[slot];
    uint32_t request = nt_load_acquire(&program->request);
    bool used = nt_load_acquire(&program->tx_tail) != 0 ||
                (nt_load_acquire(&program->control) & (NT_CONTROL_CLOSE | NT_CONTROL_SHUT_WR));
    if (used && request != area->slot_server[slot].reply && (request & 0xff) == NT_MAIL_ACCEPT)
        accept_granted(tcp, binding, area, slot, request);
}

// The program is dead: as if it had closed everything (and had claimed nothing more).
static void sweep_dead(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_area *area,
                       uint32_t slot)
{
    struct nt_tcp_binding *b = &tcp->binding[binding];
    const struct nt_slot_program *program = &area->slot_program[slot];
    bool taken = nt_load_acquire(&program->generation) == b->generation;
    if (b->kind == NT_TCP_BINDING_GRANTED && taken)
        accept_dead(tcp, binding, area, slot);
    if (b->kind == NT_TCP_BINDING_GRANTED) {
        nt_tcp_slot_free(tcp, binding, false);
    } else if (b->kind == NT_TCP_BINDING_LISTENER) {
        nt_tcp_member_leave(tcp, binding);
    } else if (b->kind == NT_TCP_BINDING_LEFT) {
        nt_tcp_slot_left(tcp, binding, true);
    } else if (b->kind == NT_TCP_BINDING_ARRIVING) {
        nt_tcp_move_died(tcp, binding);
    } else if (b->kind == NT_TCP_BINDING_TCB) {
        struct nt_tcb *t = &tcp->tcb[b->object];
        if (nt_tcb_offered(t) && !nt_tcp_died_accepting(tcp, t, taken))
            return;
        if (taken)
            sweep_tcb(tcp, t, program);
        // What was just swept may be gone.
        if (b->kind != NT_TCP_BINDING_TCB || (t->flags & NT_TCB_PROGRAM_CLOSED))
            return;
        nt_tcb_touch(tcp, t);
        struct snapshot dead = {.control = taken ? 0 : NT_CONTROL_RESET};
        close_socket(tcp, t, &dead);
    }
}

void nt_tcp_sweep_slot(struct nt_tcp_engine *tcp, uint32_t number, uint32_t slot)
{
    struct nt_area *area = &tcp->areas[number].view;
    if (slot >= area->slots || slot >= tcp->area[number].slots)
        return;
    uint32_t binding = nt_tcp_binding_index(tcp, number, slot);
    if (binding == NT_NO_INDEX)
        return;
    nt_tcp_count(tcp, NT_TCP_ACTIVITY_LOOKS);
    if (tcp->area[number].state == NT_TCP_AREA_DYING) {
        sweep_dead(tcp, binding, area, slot);
        return;
    }
    const struct nt_tcp_binding *b = &tcp->binding[binding];
    const struct nt_slot_program *program = &area->slot_program[slot];
    if (b->kind == NT_TCP_BINDING_LEFT)
        nt_tcp_slot_left(tcp, binding, false);
    if (nt_load_acquire(&program->generation) != b->generation)
        return;
    switch ((enum nt_tcp_binding_kind)b->kind) {
    case NT_TCP_BINDING_FREE:
    case NT_TCP_BINDING_FENCED:
    case NT_TCP_BINDING_LEFT:
    case NT_TCP_BINDING_ARRIVING: // its program's word counts once it has arrived
        break;
    case NT_TCP_BINDING_GRANTED:
        sweep_granted(tcp, binding, area, slot);
        break;
    case NT_TCP_BINDING_TCB:
        sweep_tcb(tcp, &tcp->tcb[b->object], program);
        break;
    case NT_TCP_BINDING_LISTENER:
        if (nt_load_acquire(&program->control) & NT_CONTROL_CLOSE)
            nt_tcp_member_leave(tcp, binding);
        break;
    }
    nt_txn_crash_point(&tcp->txn);
}

// -- Activity ------------------------------------------------------------------------------------

static void note(struct nt_tcp_area_private *own, uint32_t word, uint64_t bits)
{
    uint64_t fresh = bits & ~own->pending[word];
    own->pending[word] |= fresh;
    own->pending_count += (uint32_t)__builtin_popcountll(fresh);
}

// Takes the hints over, word by word.
static void collect(struct nt_tcp_area_private *own)
{
    struct nt_area_hints *hints = own->view.hints;
    __atomic_store_n(&hints->activity, 0u, __ATOMIC_SEQ_CST);
    nt_fence();
    for (uint32_t s = 0; s < NT_SUMMARY_WORDS; s++) {
        if (nt_load_relaxed(&hints->summary[s]) == 0)
            continue;
        uint64_t words = __atomic_exchange_n(&hints->summary[s], 0, __ATOMIC_SEQ_CST);
        for (; words != 0; words &= words - 1) {
            uint32_t word = s * 64 + (uint32_t)__builtin_ctzll(words);
            note(own, word, __atomic_exchange_n(&hints->bitmap[word], 0, __ATOMIC_ACQ_REL));
        }
    }
}

// The next slots that were noted, in turn.
static uint32_t take_noted(struct nt_tcp_area_private *own, uint32_t *slot, uint32_t max)
{
    uint32_t taken = 0;
    while (own->pending_count != 0 && taken < max) {
        uint64_t *word = &own->pending[own->sweep];
        if (*word == 0) {
            own->sweep = (own->sweep + 1) % NT_BITMAP_WORDS;
            continue;
        }
        slot[taken++] = own->sweep * 64 + (uint32_t)__builtin_ctzll(*word);
        *word &= *word - 1;
        own->pending_count--;
    }
    return taken;
}

// The passes of ahead.h.
static void look_ahead(const struct nt_tcp_engine *tcp, uint32_t number, const uint32_t *slot,
                       uint32_t count)
{
    const struct nt_area *area = &tcp->areas[number].view;
    for (uint32_t i = 0; i < count; i++) {
        nt_prefetch(&area->slot_program[slot[i]]);
        nt_prefetch_write(&area->slot_server[slot[i]]);
        nt_prefetch(&tcp->binding[nt_tcp_binding_index(tcp, number, slot[i])]);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t binding = nt_tcp_binding_index(tcp, number, slot[i]);
        if (binding != NT_NO_INDEX && tcp->binding[binding].kind == NT_TCP_BINDING_TCB)
            nt_tcp_ahead_tcb(tcp, tcp->binding[binding].object);
    }
}

static uint32_t sweep_area(struct nt_tcp_engine *tcp, uint32_t number, uint32_t budget)
{
    uint32_t slot[SWEEP_BATCH], done = 0;
    while (done < budget) {
        uint32_t count =
            take_noted(&tcp->areas[number], slot, nt_min_u32(budget - done, SWEEP_BATCH));
        if (count == 0)
            break;
        if (nt_tcp_ahead_pays(tcp))
            look_ahead(tcp, number, slot, count);
        for (uint32_t i = 0; i < count; i++) {
            nt_tcp_sweep_slot(tcp, number, slot[i]);
            nt_tcp_commit_if_full(tcp);
        }
        done += count;
    }
    return done;
}

uint32_t nt_tcp_sweep_areas(struct nt_tcp_engine *tcp, uint32_t budget)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < tcp->attached_count; i++) {
        uint32_t number = tcp->attached[i];
        struct nt_tcp_area_private *own = &tcp->areas[number];
        bool active = nt_load_acquire(&own->view.hints->activity) != 0;
        if (active)
            collect(own);
        if (active || own->pending_count != 0 || own->look) {
            own->look = false;
            done += sweep_area(tcp, number, budget) + 1;
            nt_tcp_grant(tcp, number);
            nt_tcp_commit_if_full(tcp);
        }
    }
    return done;
}

bool nt_tcp_areas_waiting(const struct nt_tcp_engine *tcp)
{
    for (uint32_t i = 0; i < tcp->attached_count; i++) {
        const struct nt_tcp_area_private *own = &tcp->areas[tcp->attached[i]];
        if (own->pending_count != 0 || own->look ||
            nt_load_acquire(&own->view.hints->activity) != 0)
            return true;
    }
    return false;
}

bool nt_tcp_areas_swept(const struct nt_tcp_engine *tcp)
{
    for (uint32_t i = 0; i < tcp->attached_count; i++)
        if (tcp->areas[tcp->attached[i]].pending_count != 0)
            return false;
    return true;
}

void nt_tcp_sweep_all(struct nt_tcp_engine *tcp, uint32_t number)
{
    tcp->areas[number].look = true;
    for (uint32_t page = 0; page < NT_TCP_AREA_PAGES; page++)
        if (tcp->area[number].page[page] != 0)
            note(&tcp->areas[number], page, UINT64_MAX);
}
