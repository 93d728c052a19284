// listen.c: listening sockets and the connection requests to them.
//
// A connection request makes a TCB in SYN-RCVD, counted against the listener's backlog; beyond that
// it is answered by a SYN cookie (cookies.c). When the handshake completes the connection is bound
// to a slot of an acceptor's area and put into the accept ring (acceptors.c); where there is no
// room for it, the last ACK is dropped, and comes again (as Linux does). How a listener ends is in
// listen_end.c.
#include <errno.h>

#include "servers/tcp/context.h"

// -- Finding
// ---------------------------------------------------------------------------------------

void nt_tcp_listener_link(struct nt_tcp_engine *tcp, uint32_t index)
{
    uint32_t *bucket = &tcp->port_bucket[tcp->listener[index].port % NT_TCP_PORT_BUCKETS];
    tcp->listeners[index].next = *bucket;
    *bucket = index;
}

void nt_tcp_listener_unlink(struct nt_tcp_engine *tcp, uint32_t index)
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
    uint32_t best = 0, count = 0, seen = 0;
    uint32_t first = tcp->port_bucket[port % NT_TCP_PORT_BUCKETS];
    struct nt_tcp_listener *found = NULL;
    for (uint32_t i = first; i != NT_NO_INDEX; i = tcp->listeners[i].next) {
        seen++;
        uint32_t fits = tcp->listener[i].port == port ? fit(&tcp->listener[i], addr) : 0;
        if (fits == 0 || fits < best)
            continue;
        count = fits > best ? 1 : count + 1;
        best = fits;
        found = &tcp->listener[i];
    }
    if (nt_tcp_has_lanes(tcp)) {
        nt_tcp_count(tcp, NT_TCP_LISTEN_LOOKUPS);
        nt_tcp_count_n(tcp, NT_TCP_LISTEN_ENTRIES_SEEN, seen);
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

// 0, with a listener of that name and number, not yet with a member; or an errno.
static uint32_t open_listener(struct nt_tcp_engine *tcp, uint32_t number, const uint8_t addr[16],
                              uint16_t port, uint32_t options, uint32_t *index)
{
    *index = free_listener(tcp);
    if (*index == NT_NO_INDEX)
        return ENOBUFS;
    struct nt_tcp_listener *listener = &tcp->listener[*index];
    nt_tcp_listener_touch(tcp, listener);
    uint32_t mark = listener->mark;
    *listener = (struct nt_tcp_listener){
        .mark = mark,
        .state = NT_TCP_LISTENER_OPEN,
        .options = (uint8_t)options,
        .port = port,
        .area = NT_TCP_NO_AREA,
        .number = number,
    };
    nt_addr_copy(listener->addr, addr);
    tcp->listeners[*index] =
        (struct nt_tcp_listener_private){.region = NT_NO_INDEX, .members = NT_NO_INDEX};
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region == NULL) {
        listener->state = NT_TCP_LISTENER_FREE;
        return EINVAL;
    }
    listener->backlog = region->header->backlog;
    // The region may have been another server generation's: go on where its tail is.
    listener->accept_head = listener->accept_tail = region->header->tail;
    tcp->listeners[*index].old_head = listener->accept_head;
    nt_store_relaxed(&region->header->number, number);
    nt_store_relaxed(&region->header->core, tcp->status->core);
    nt_txn_crash_point(&tcp->txn);
    return 0;
}

// The part in this lane of a socket that listens in another one, too: its binding, a slot of
// `area`, and 0 or an errno.
uint32_t nt_tcp_listen_beside(struct nt_tcp_engine *tcp, uint32_t number, uint32_t area,
                              const struct nt_endpoint *local, uint32_t options, uint32_t *binding)
{
    uint32_t index;
    *binding = NT_NO_INDEX;
    if (area >= NT_TCP_AREAS || tcp->area[area].state != NT_TCP_AREA_LIVE)
        return EBADF;
    if (nt_tcp_check_bind(tcp, local->addr, local->port, options | NT_OPTION_REUSEADDR, NULL) != 0)
        return EADDRINUSE;
    *binding = nt_tcp_slot_take(tcp, area);
    if (*binding == NT_NO_INDEX)
        return ENOBUFS;
    uint32_t error = open_listener(tcp, number, local->addr, local->port, options, &index);
    if (error != 0) {
        nt_tcp_slot_free(tcp, *binding, false);
        return error;
    }
    nt_tcp_member_add(tcp, &tcp->listener[index], *binding);
    nt_tcp_listener_link(tcp, index);
    return 0;
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
    uint32_t index, error = open_listener(tcp, number, addr, port, options, &index);
    if (error != 0)
        return error;
    nt_tcp_member_add(tcp, &tcp->listener[index], binding);
    if (bound != NULL) {
        nt_tcb_free(tcp, bound);
    }
    nt_tcp_listener_link(tcp, index);
    return 0;
}

// -- Connection requests -----------------------------------------------------------------------

static bool syn_queue_full(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener)
{
    enum { LEAST = 16 };
    uint32_t most = nt_max_u32(listener->backlog, LEAST);
    return tcp->listeners[listener - tcp->listener].syn_count >= most;
}

void nt_tcp_listener_forget_syn(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (t->listener == NT_NO_INDEX || t->state != NT_TCP_SYN_RCVD)
        return;
    tcp->listeners[t->listener].syn_count--;
    t->listener = NT_NO_INDEX;
}

static void inherit_options(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                            const struct nt_tcp_listener *listener)
{
    t->options = listener->options;
    if (listener->area == NT_TCP_NO_AREA || !tcp->areas[listener->area].attached)
        return;
    const struct nt_slot_program *program =
        &tcp->areas[listener->area].view.slot_program[listener->slot];
    t->options = (uint8_t)nt_load_relaxed(&program->options);
    nt_tcb_obey_program(tcp, t, listener->area, listener->slot);
}

void nt_tcp_listener_begin(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                           struct nt_tcb *t, const struct nt_segment *syn,
                           const struct nt_path *path)
{
    nt_addr_copy(t->local_addr, syn->dst);
    nt_addr_copy(t->remote_addr, syn->src);
    t->local_port = syn->header.dst_port;
    t->remote_port = syn->header.src_port;
    t->flags = NT_TCB_PASSIVE;
    t->listener = (uint32_t)(listener - tcp->listener);
    nt_tcb_set_path(tcp, t, path);
    inherit_options(tcp, t, listener);
    nt_tcp_take_syn(tcp, t, syn);
}

// RFC 9293 §3.10.7.2. `has_after`: the connection follows one in TIME-WAIT that ended at after_seq.
void nt_tcp_input_listen(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                         struct nt_segment *segment, uint32_t after_seq, bool has_after)
{
    const struct nt_tcp_header *header = &segment->header;
    if (header->flags & NT_TCP_RST)
        return;
    if (header->flags & NT_TCP_ACK) {
        if (!nt_tcp_input_cookie(tcp, listener, segment))
            nt_tcp_answer_reset(tcp, segment);
        return;
    }
    if (!(header->flags & NT_TCP_SYN))
        return;
    struct nt_path path;
    if (nt_tcp_accept_queue_full(tcp, listener) ||
        nt_netconf_path(&tcp->netconf, segment->src, &path) != 0) {
        nt_tcp_count(tcp, NT_TCP_LISTEN_DROPS);
        return;
    }
    if (NT_UNLIKELY(syn_queue_full(tcp, listener))) {
        nt_tcp_answer_cookie(tcp, listener, segment, &path);
        return;
    }
    struct nt_tcb *t = nt_tcb_new(tcp);
    if (t == NULL)
        return;
    nt_tcp_listener_begin(tcp, listener, t, segment, &path);
    t->flags |= NT_TCB_SYN_DUE;
    struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
    uint32_t iss = nt_tcp_isn(tcp, &tuple);
    if (has_after && !nt_seq_gt(iss, after_seq))
        iss = after_seq + 65537; // RFC 1122 §4.2.2.13: beyond all of the old connection
    nt_tcb_set_iss(t, iss);
    t->state = NT_TCP_SYN_RCVD;
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_hash_add_tcb(tcp, t);
    if (nt_tcp_has_lanes(tcp))
        nt_tcp_keep_here(tcp, t);
    tcp->listeners[t->listener].syn_count++;
    nt_tcp_count(tcp, NT_TCP_PASSIVE_OPENS);
    nt_tcp_send_control(tcp, t);
}
