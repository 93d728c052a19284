// lanes.c: what a listening socket is in further lanes.
//
// A host may have several TCP servers, each with listeners of its own (request.h). A listening
// socket has a slot in the lane that socket() chose, and a part beside it in every other one: a
// socket object that nobody but the list starting at `beside` knows. They accept, poll and are
// queued as one. The list is made before the socket is seen to listen, and ends with it.
#include "libc_shim/sockets/accept_order.h"
#include "libc_shim/sockets/inner.h"

int nt_sock_add_part(struct nt_sock_context *context, struct nt_sock *sock, struct nt_sock *part,
                     const struct nt_beside *where, struct nt_listener *listener)
{
    int result =
        nt_sock_joined(context, part, sock->family, where->area, where->slot, where->generation);
    if (result != 0)
        return result;
    nt_sock_listening(part, listener);
    nt_sock_copy_options(part, sock);
    nt_store_relaxed(&part->program->queue, nt_load_relaxed(&sock->program->queue));
    nt_store_relaxed(&part->program->accepting, nt_load_relaxed(&sock->program->accepting));
    part->beside = sock->beside;
    nt_store_release(&sock->beside, part);
    return 0;
}

struct nt_sock *nt_sock_take_part(struct nt_sock *sock, struct nt_sock_wake *wake)
{
    nt_sock_lock(sock);
    struct nt_sock *part = sock->beside;
    if (part != NULL)
        nt_store_release(&sock->beside, part->beside);
    nt_sock_unlock(sock);
    if (part != NULL)
        (void)nt_sock_close(part, wake);
    return part;
}

// A connection inherits them from the part in whose lane it is.
void nt_sock_copy_options(struct nt_sock *part, const struct nt_sock *sock)
{
    const struct nt_slot_program *from = sock->program;
    struct nt_slot_program *to = part->program;
    nt_store_relaxed(&to->options, from->options);
    nt_store_relaxed(&to->rx_want_log2, from->rx_want_log2);
    nt_store_relaxed(&to->rx_wake_bytes, from->rx_wake_bytes);
    nt_store_relaxed(&to->user_timeout_ms, from->user_timeout_ms);
    nt_store_relaxed(&to->keep_idle_s, from->keep_idle_s);
    nt_store_relaxed(&to->keep_interval_s, from->keep_interval_s);
    nt_store_relaxed(&to->keep_count, from->keep_count);
    nt_store_relaxed(&to->ttl, from->ttl);
    nt_store_relaxed(&to->tos, from->tos);
    nt_store_relaxed(&to->max_segment, from->max_segment);
    nt_store_relaxed(&to->linger_ms, from->linger_ms);
}

void nt_sock_accept_lanes(struct nt_sock *sock, struct nt_accept_lanes *lanes,
                          struct nt_sock **part)
{
    lanes->count = 0;
    lanes->turn = 0;
    lanes->core = nt_sock_accepting_core(sock);
    struct nt_sock *at = sock;
    for (; at != NULL && lanes->count < NT_SOCK_LANES_MAX; at = nt_load_acquire(&at->beside)) {
        part[lanes->count] = at;
        lanes->ring[lanes->count++] = at->listener;
    }
}

// As accept() would look.
static bool has_pending_by_design(struct nt_sock *sock)
{
    struct nt_sock *part[NT_SOCK_LANES_MAX];
    struct nt_accept_lanes lanes;
    struct nt_accept_order order = {.count = 0};
    nt_sock_accept_lanes(sock, &lanes, part);
    nt_accept_order(&lanes, &order);
    for (uint32_t i = 0; i < order.count; i++) {
        const struct nt_accept_look *look = &order.look[i];
        if (nt_listener_has_open_in(lanes.ring[look->lane], (enum nt_listener_scope)look->scope,
                                    part[look->lane]->area->view.number))
            return true;
    }
    return false;
}

bool nt_sock_has_pending(struct nt_sock *sock)
{
    uint32_t design = sock->listener->design;
    if (design == NT_LISTEN_REUSEPORT || (design == NT_LISTEN_FASTSOCKET && sock->beside != NULL))
        return has_pending_by_design(sock);
    for (const struct nt_sock *part = sock; part != NULL; part = nt_load_acquire(&part->beside))
        if (nt_listener_has_open(part->listener))
            return true;
    return false;
}

uint32_t nt_sock_events_of_all(const struct nt_sock *sock)
{
    uint32_t events = 0;
    for (const struct nt_sock *part = sock; part != NULL; part = nt_load_acquire(&part->beside))
        events += nt_load_acquire(&part->server->events);
    return events;
}

void nt_sock_accepting_in_all(const struct nt_sock *sock)
{
    uint32_t word = NT_ACCEPTING;
    uint32_t (*core)(void) = sock->area->context->core;
    if (sock->beside != NULL && core != NULL) {
        uint32_t here = core();
        word |= (here + 1) << NT_ACCEPTING_CORE_SHIFT;
        for (const struct nt_sock *part = sock; part != NULL; part = nt_load_acquire(&part->beside))
            if (nt_load_relaxed(&part->listener->header->core) == here &&
                nt_load_relaxed(&part->listener->header->busy) != 0)
                word |= NT_ACCEPTING_BUSY;
    }
    for (const struct nt_sock *part = sock; part != NULL; part = nt_load_acquire(&part->beside))
        if (nt_load_relaxed(&part->program->accepting) != word)
            nt_store_relaxed(&part->program->accepting, word);
}
