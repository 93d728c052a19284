// listen.c: listening sockets: SYN queue, accept ring and the end of both.
//
// A connection request makes a TCB in SYN-RCVD, counted against the listener's backlog. When the
// handshake completes the connection is bound to a slot of the listening program's area and put
// into the accept ring (listener.h); where there is no room for it, the last ACK is dropped, and
// comes again (as Linux does). Claiming it is the program's business: the claim words say how far
// the ring is taken.
//
// A listener that closes resets what nobody accepted. It withdraws an entry with a claim word of
// its own making, so that a restarted server tells those it withdrew from those a program took.
#include <errno.h>

#include "servers/tcp/context.h"

struct nt_listener *nt_tcp_listener_region(struct nt_tcp_engine *tcp,
                                           const struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    for (uint32_t i = 0; own->region == NT_NO_INDEX && i < tcp->config.shape.listeners; i++)
        if (tcp->region[i].mapped && tcp->region[i].number == listener->number)
            own->region = i;
    if (own->region == NT_NO_INDEX || !tcp->region[own->region].mapped ||
        tcp->region[own->region].number != listener->number)
        return NULL;
    return &tcp->region[own->region].view;
}

static void publish_later(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    uint32_t index = (uint32_t)(listener - tcp->listener);
    for (uint32_t i = 0; i < tcp->dirty_listener_count; i++)
        if (tcp->dirty_listener[i] == index)
            return;
    tcp->dirty_listener[tcp->dirty_listener_count++] = index;
}

// -- Finding
// ---------------------------------------------------------------------------------------

void nt_tcp_listener_link(struct nt_tcp_engine *tcp, uint32_t index)
{
    uint32_t *bucket = &tcp->port_bucket[tcp->listener[index].port % NT_TCP_PORT_BUCKETS];
    tcp->listeners[index].next = *bucket;
    *bucket = index;
}

static void unlink_listener(struct nt_tcp_engine *tcp, uint32_t index)
{
    uint32_t *link = &tcp->port_bucket[tcp->listener[index].port % NT_TCP_PORT_BUCKETS];
    while (*link != index)
        link = &tcp->listeners[*link].next;
    *link = tcp->listeners[index].next;
}

// How well a listener's address fits: 0 not at all, the wildcards, then the address itself.
static uint32_t fit(const struct nt_tcp_listener *listener, const uint8_t addr[16])
{
    if (nt_addr_equal(listener->addr, addr))
        return 3;
    if (!nt_addr_is_unspecified(listener->addr))
        return 0;
    if (nt_addr_is_v4(listener->addr) == nt_addr_is_v4(addr))
        return 2;
    return nt_addr_is_v4(addr) && !(listener->options & NT_OPTION_V6ONLY) ? 1 : 0;
}

// Among several that fit equally (SO_REUSEPORT) the flow's hash chooses.
struct nt_tcp_listener *nt_tcp_listener_find(struct nt_tcp_engine *tcp, const uint8_t addr[16],
                                             uint16_t port, const uint8_t remote_addr[16],
                                             uint16_t remote_port)
{
    uint32_t best = 0, count = 0;
    uint32_t first = tcp->port_bucket[port % NT_TCP_PORT_BUCKETS];
    struct nt_tcp_listener *found = NULL;
    for (uint32_t i = first; i != NT_NO_INDEX; i = tcp->listeners[i].next) {
        uint32_t fits = tcp->listener[i].port == port ? fit(&tcp->listener[i], addr) : 0;
        if (fits == 0 || fits < best)
            continue;
        count = fits > best ? 1 : count + 1;
        best = fits;
        found = &tcp->listener[i];
    }
    if (count <= 1)
        return found;
    uint32_t choice = (nt_addr_hash(remote_addr) ^ remote_port * UINT32_C(2654435761)) % count;
    for (uint32_t i = first; i != NT_NO_INDEX; i = tcp->listeners[i].next)
        if (tcp->listener[i].port == port && fit(&tcp->listener[i], addr) == best && choice-- == 0)
            return &tcp->listener[i];
    return found;
}

// -- Opening -----------------------------------------------------------------------------------

static uint32_t free_listener(struct nt_tcp_engine *tcp)
{
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++)
        if (tcp->listener[i].state == NT_TCP_LISTENER_FREE)
            return i;
    return NT_NO_INDEX;
}

static const uint8_t any_v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};

// The slot is GRANTED, or names a bound TCB, or listens already (a new backlog). 0 or an errno.
uint32_t nt_tcp_listen(struct nt_tcp_engine *tcp, uint32_t binding, uint32_t number,
                       uint32_t options)
{
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
    struct nt_tcb *bound = b->kind == NT_TCP_BINDING_TCB ? &tcp->tcb[b->object] : NULL;
    if (b->kind == NT_TCP_BINDING_LISTENER) {
        struct nt_tcp_listener *again = &tcp->listener[b->object];
        struct nt_listener *region = nt_tcp_listener_region(tcp, again);
        if (region == NULL || again->number != number)
            return EINVAL;
        nt_tcp_listener_touch(tcp, again);
        again->backlog = region->header->backlog;
        return 0;
    }
    if (bound != NULL && (bound->state != NT_TCP_CLOSED || bound->remote_port != 0))
        return EINVAL;
    const uint8_t *addr = bound != NULL ? bound->local_addr : any_v4;
    uint16_t port = bound != NULL ? bound->local_port : nt_tcp_choose_bind_port(tcp, any_v4);
    options |= bound != NULL ? bound->options : 0;
    if (port == 0 || nt_tcp_check_bind(tcp, addr, port, options | NT_OPTION_REUSEADDR, bound) != 0)
        return EADDRINUSE;
    uint32_t index = free_listener(tcp);
    if (index == NT_NO_INDEX)
        return ENOBUFS;
    struct nt_tcp_listener *listener = &tcp->listener[index];
    nt_tcp_listener_touch(tcp, listener);
    uint32_t mark = listener->mark;
    *listener = (struct nt_tcp_listener){
        .mark = mark,
        .state = NT_TCP_LISTENER_OPEN,
        .options = (uint8_t)options,
        .port = port,
        .area = (uint16_t)nt_tcp_binding_area(tcp, binding),
        .slot = (uint16_t)nt_tcp_binding_slot(tcp, binding),
        .generation = b->generation,
        .number = number,
    };
    nt_addr_copy(listener->addr, addr);
    tcp->listeners[index] = (struct nt_tcp_listener_private){.region = NT_NO_INDEX};
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region == NULL) {
        listener->state = NT_TCP_LISTENER_FREE;
        return EINVAL;
    }
    listener->backlog = region->header->backlog;
    // The region may have been another server generation's: go on where its tail is.
    listener->accept_head = listener->accept_tail = region->header->tail;
    nt_txn_crash_point(&tcp->txn);
    b->kind = NT_TCP_BINDING_LISTENER;
    b->object = index;
    if (bound != NULL) {
        nt_tcb_free(tcp, bound);
    }
    nt_tcp_listener_link(tcp, index);
    return 0;
}

// -- Connection requests -----------------------------------------------------------------------

// Entries that nobody has taken yet, after looking at the claims.
static uint32_t accept_queue(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                             const struct nt_listener *region)
{
    uint32_t head = listener->accept_head;
    while (head != listener->accept_tail && !nt_listener_is_open(region, head))
        head++;
    if (head != listener->accept_head) {
        nt_tcp_listener_touch(tcp, listener);
        listener->accept_head = head;
    }
    return listener->accept_tail - head;
}

// Linux lets one more wait than the backlog says.
bool nt_tcp_accept_queue_full(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region == NULL)
        return true;
    uint32_t most = nt_min_u32(listener->backlog + 1, region->entries);
    return accept_queue(tcp, listener, region) >= most ||
           !nt_listener_reusable(region, listener->accept_tail);
}

void nt_tcp_accept_seen(struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    struct nt_tcp_listener *listener =
        nt_tcp_listener_find(tcp, t->local_addr, t->local_port, t->remote_addr, t->remote_port);
    struct nt_listener *region = listener == NULL ? NULL : nt_tcp_listener_region(tcp, listener);
    if (region != NULL)
        (void)accept_queue(tcp, listener, region);
}

static bool syn_queue_full(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    enum { LEAST = 16 };
    uint32_t most = nt_max_u32(listener->backlog, LEAST);
    return tcp->listeners[listener - tcp->listener].syn_count >= most;
}

void nt_tcp_listener_forget_syn(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->listener == NT_NO_INDEX)
        return;
    tcp->listeners[t->listener].syn_count--;
    t->listener = NT_NO_INDEX;
}

static void inherit_options(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                            const struct nt_tcp_listener *listener)
{
    t->options = listener->options;
    if (!tcp->areas[listener->area].attached)
        return;
    const struct nt_slot_program *program =
        &tcp->areas[listener->area].view.slot_program[listener->slot];
    t->options = (uint8_t)nt_load_relaxed(&program->options);
    nt_tcb_obey_program(tcp, t, listener->area, listener->slot);
}

// RFC 9293 §3.10.7.2. `has_after`: the connection follows one in TIME-WAIT that ended at after_seq.
void nt_tcp_input_listen(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                         struct nt_segment *segment, uint32_t after_seq, bool has_after)
{
    const struct nt_tcp_header *header = &segment->header;
    if (header->flags & NT_TCP_RST)
        return;
    if (header->flags & NT_TCP_ACK) {
        nt_tcp_answer_reset(tcp, segment);
        return;
    }
    if (!(header->flags & NT_TCP_SYN))
        return;
    struct nt_path path;
    if (nt_tcp_accept_queue_full(tcp, listener) || syn_queue_full(tcp, listener) ||
        nt_netconf_path(&tcp->netconf, segment->src, &path) != 0) {
        nt_tcp_count(tcp, NT_TCP_LISTEN_DROPS);
        return;
    }
    struct nt_tcb *t = nt_tcb_new(tcp);
    if (t == NULL)
        return;
    nt_addr_copy(t->local_addr, segment->dst);
    nt_addr_copy(t->remote_addr, segment->src);
    t->local_port = header->dst_port;
    t->remote_port = header->src_port;
    t->flags = NT_TCB_PASSIVE | NT_TCB_SYN_DUE;
    t->listener = (uint32_t)(listener - tcp->listener);
    nt_tcb_set_path(tcp, t, &path);
    inherit_options(tcp, t, listener);
    nt_tcp_take_syn(tcp, t, segment);
    struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
    uint32_t iss = nt_tcp_isn(tcp, &tuple);
    if (has_after && !nt_seq_gt(iss, after_seq))
        iss = after_seq + 65537; // RFC 1122 §4.2.2.13: beyond all of the old connection
    nt_tcb_set_iss(t, iss);
    t->state = NT_TCP_SYN_RCVD;
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_hash_add_tcb(tcp, t);
    tcp->listeners[t->listener].syn_count++;
    nt_tcp_count(tcp, NT_TCP_PASSIVE_OPENS);
    nt_tcp_send_control(tcp, t);
}

bool nt_tcp_offer(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    struct nt_tcp_listener *listener = &tcp->listener[t->listener];
    if (listener->state != NT_TCP_LISTENER_OPEN || nt_tcp_accept_queue_full(tcp, listener)) {
        nt_tcp_count(tcp, NT_TCP_LISTEN_OVERFLOWS);
        return false;
    }
    uint32_t binding = nt_tcp_slot_take(tcp, listener->area);
    if (binding == NT_NO_INDEX)
        return false;
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    nt_tcp_slot_bind(tcp, binding, t);
    struct nt_accept_entry entry = {
        .area = t->area,
        .slot = t->slot,
        .generation = t->generation,
        .peer = {.port = t->remote_port},
        .local = {.port = t->local_port},
    };
    nt_addr_copy(entry.peer.addr, t->remote_addr);
    nt_addr_copy(entry.local.addr, t->local_addr);
    nt_tcp_listener_touch(tcp, listener);
    nt_listener_fill(region, listener->accept_tail, &entry);
    nt_txn_crash_point(&tcp->txn);
    listener->accept_tail++;
    publish_later(tcp, listener);
    nt_tcp_listener_forget_syn(tcp, t);
    return true;
}

// -- Closing -----------------------------------------------------------------------------------

// New segments find it no more; its connections are dealt with bit by bit.
void nt_tcp_listener_close(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    if (listener->state != NT_TCP_LISTENER_OPEN)
        return;
    uint32_t index = (uint32_t)(listener - tcp->listener);
    nt_tcp_listener_touch(tcp, listener);
    listener->state = NT_TCP_LISTENER_CLOSING;
    unlink_listener(tcp, index);
    tcp->listeners[index].scan = 0;
    tcp->closing_listeners++;
    publish_later(tcp, listener);
    nt_txn_crash_point(&tcp->txn);
}

static uint32_t reset_requests(struct nt_tcp_engine *tcp, uint32_t index, uint32_t budget)
{
    enum { LOOKS_AN_INPUT = 256 }; // a look at a TCB costs far less than an input
    struct nt_tcp_listener_private *own = &tcp->listeners[index];
    uint32_t done = 0, looks = budget * LOOKS_AN_INPUT;
    if (own->syn_count == 0)
        own->scan = tcp->config.shape.tcbs;
    for (; own->scan < tcp->config.shape.tcbs && done < budget && looks != 0; looks--) {
        struct nt_tcb *t = &tcp->tcb[own->scan++];
        if (t->state != NT_TCP_SYN_RCVD || t->listener != index)
            continue;
        nt_tcb_reset(tcp, t, 0);
        done++;
        nt_tcp_commit_if_full(tcp);
    }
    return done + (looks == 0);
}

static void reset_entry(struct nt_tcp_engine *tcp, const struct nt_accept_entry *entry)
{
    uint32_t binding = nt_tcp_binding_index(tcp, entry->area, entry->slot);
    if (binding == NT_NO_INDEX)
        return;
    const struct nt_tcp_binding *b = &tcp->binding[binding];
    if (b->kind != NT_TCP_BINDING_TCB || b->generation != entry->generation)
        return;
    struct nt_tcb *t = &tcp->tcb[b->object];
    nt_tcb_touch(tcp, t);
    t->flags |= NT_TCB_PROGRAM_CLOSED;
    nt_tcb_reset(tcp, t, 0);
}

static uint32_t reset_unaccepted(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                                 uint32_t budget)
{
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    uint32_t done = 0;
    if (region == NULL) { // unmapped by its owner: none is left
        nt_tcp_listener_touch(tcp, listener);
        listener->accept_head = listener->accept_tail;
        return 0;
    }
    for (; listener->accept_head != listener->accept_tail && done < budget; done++) {
        // The ring is written by us alone.
        struct nt_accept_entry entry = region->entry[listener->accept_head & (region->entries - 1)];
        if (nt_listener_withdraw(region, listener->accept_head))
            reset_entry(tcp, &entry);
        nt_txn_crash_point(&tcp->txn);
        nt_tcp_listener_touch(tcp, listener);
        listener->accept_head++;
        nt_tcp_commit_if_full(tcp);
    }
    return done;
}

// False: no room for the answer.
static bool finish_closing(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    struct nt_request reply = {
        .number = listener->unlisten,
        .kind = NT_REQ_UNLISTEN,
        .area = listener->area,
        .slot = listener->slot,
        .generation = listener->generation,
    };
    if (listener->answer_unlisten && !nt_tcp_reply(tcp, &reply))
        return false;
    nt_tcp_listener_touch(tcp, listener);
    uint32_t binding = nt_tcp_binding_index(tcp, listener->area, listener->slot);
    listener->state = NT_TCP_LISTENER_FREE;
    nt_txn_crash_point(&tcp->txn);
    if (listener->slot_closed) {
        nt_tcp_slot_free(tcp, binding, false);
    } else {
        // shutdown() ended the listening: the socket is as good as new to its program.
        struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
        b->kind = NT_TCP_BINDING_GRANTED;
    }
    tcp->closing_listeners--;
    return true;
}

uint32_t nt_tcp_listeners_close_some(struct nt_tcp_engine *tcp, uint32_t budget)
{
    uint32_t done = 0;
    for (uint32_t i = 0; tcp->closing_listeners != 0 && i < tcp->config.shape.listeners; i++) {
        struct nt_tcp_listener *listener = &tcp->listener[i];
        if (listener->state != NT_TCP_LISTENER_CLOSING)
            continue;
        done += reset_requests(tcp, i, budget) + reset_unaccepted(tcp, listener, budget);
        if (tcp->listeners[i].scan == tcp->config.shape.tcbs &&
            listener->accept_head == listener->accept_tail)
            done += finish_closing(tcp, listener);
    }
    return done;
}
