// accept.c: taking a connection that waits in a listening socket's accept rings.
//
// A ring a lane; the host's listen design (accept_order.h) says in which accept() looks, in which
// order, and at which entries. What it finds is bound to a slot already: if that is one of ours,
// claiming the entry is all; otherwise it is claimed for a granted slot of ours, and the server
// asked to move it there (listener.h).
#include "libc_shim/sockets/accept_order.h"
#include "libc_shim/sockets/inner.h"

// True if the entry names a slot that is really waiting for us.
static bool entry_holds(const struct nt_accept_entry *entry, const struct nt_sock_area *area)
{
    if (entry->slot >= area->view.slots)
        return false;
    const struct nt_slot_server *server = &area->view.slot_server[entry->slot];
    return nt_load_acquire(&server->generation) == entry->generation &&
           nt_load_relaxed(&server->state) >= NT_SLOT_CONNECTED &&
           nt_sock_slot_is_free(area, entry->slot, entry->generation);
}

// The slot has been entered.
static void make_accepted(const struct nt_sock *listening, struct nt_sock *accepted,
                          const struct nt_accept_entry *entry)
{
    nt_sock_init(accepted, listening->family, SOCK_STREAM);
    accepted->flags = NT_SOCKF_NAMED | (listening->flags & (NT_SOCKF_CORK | NT_SOCKF_OOB_INLINE));
    accepted->tx_limit_log2 = listening->tx_limit_log2;
    accepted->sndbuf = listening->sndbuf;
    accepted->rcvbuf = listening->rcvbuf;
    accepted->rcvtimeo_ns = listening->rcvtimeo_ns;
    accepted->sndtimeo_ns = listening->sndtimeo_ns;
    accepted->linger_s = listening->linger_s;
    memcpy(accepted->kept, listening->kept, sizeof accepted->kept);
    accepted->kept_bits = listening->kept_bits;
    accepted->peer = entry->peer;
    accepted->bound_to = entry->local;
    nt_store_release(&accepted->phase, (uint8_t)NT_SOCK_CONNECTED);
}

// The area that an entry's connection is bound to, if it is ours.
static struct nt_sock_area *own_area(struct nt_sock *sock, const struct nt_accept_entry *entry)
{
    if (NT_LIKELY(entry->area == sock->area->view.number))
        return sock->area;
    return nt_sock_area_numbered(sock->area->context, IPPROTO_TCP, entry->area);
}

// Claims what was found where it is bound to an area of ours. False: it went to somebody else, or
// it is not what the entry says.
static bool claim_own(const struct nt_sock *sock, struct nt_sock *accepted,
                      struct nt_sock_area *area, const struct nt_accept_offer *offer,
                      struct nt_sock_wake *wake)
{
    const struct nt_accept_entry *entry = &offer->entry;
    if (!nt_listener_claim(sock->listener, offer, area->view.number, entry->slot) ||
        !entry_holds(entry, area))
        return false;
    nt_sock_enter_slot(accepted, area, entry->slot, entry->generation, sock->program);
    make_accepted(sock, accepted, entry);
    // Claiming is no news for the server, but a timer to arm is.
    if ((nt_sock_options(accepted) & NT_OPTION_KEEPALIVE) != 0)
        nt_sock_tell(accepted, wake);
    return true;
}

// Claims what is bound to another acceptor's area, for the granted slot that `accepted` has.
static bool claim_others(const struct nt_sock *sock, struct nt_sock *accepted,
                         const struct nt_accept_offer *offer, struct nt_sock_wake *wake)
{
    struct nt_slot_program *program = accepted->program;
    if (!nt_listener_claim(sock->listener, offer, accepted->area->view.number, accepted->slot))
        return false;
    program->accept_listener = nt_load_relaxed(&sock->listener->header->number);
    program->accept_index = offer->index;
    accepted->request = (((accepted->request >> 8) + 1) << 8) | NT_MAIL_ACCEPT;
    nt_store_release(&program->request, accepted->request);
    make_accepted(sock, accepted, &offer->entry);
    nt_sock_tell(accepted, wake);
    return true;
}

// Goes on where accept() finds connections that are bound to others: takes a granted slot first.
static int accept_others(struct nt_sock *sock, struct nt_sock *accepted,
                         enum nt_listener_scope scope, struct nt_accept_offer *offer,
                         struct nt_sock_wake *wake)
{
    struct nt_sock_area *area = sock->area;
    int result = nt_sock_take_slot(area->context, accepted, IPPROTO_TCP, area->view.lane,
                                   sock->program, wake);
    if (result < 0)
        return result; // -EAGAIN: the server grants more, and tells of the entry again
    bool found = true, claimed = false;
    for (uint32_t i = 0; found && !claimed && i < sock->listener->entries; i++) {
        claimed = claim_others(sock, accepted, offer, wake);
        found = claimed || nt_listener_find_in(sock->listener, scope, area->view.number, offer);
    }
    if (claimed)
        return 0;
    nt_sock_leave_slot(accepted, accepted->area, accepted->slot, 0, wake);
    return -EAGAIN;
}

// One lane's accept ring.
static int accept_here(struct nt_sock *sock, struct nt_sock *accepted, enum nt_listener_scope scope,
                       struct nt_sock_wake *wake)
{
    struct nt_accept_offer offer;
    for (uint32_t i = 0; i < sock->listener->entries; i++) {
        if (!nt_listener_find_in(sock->listener, scope, sock->area->view.number, &offer))
            break;
        struct nt_sock_area *area = own_area(sock, &offer.entry);
        if (NT_UNLIKELY(area == NULL))
            return accept_others(sock, accepted, scope, &offer, wake);
        if (claim_own(sock, accepted, area, &offer, wake))
            return 0;
    }
    return -EAGAIN;
}

// All lanes' rings, as the host's listen design says, for a caller on that core.
static int accept_from(struct nt_sock *const *lane, struct nt_accept_lanes *lanes,
                       struct nt_sock *accepted, struct nt_sock_wake *wake)
{
    struct nt_accept_order order = {.count = 0};
    nt_accept_order(lanes, &order);
    uint32_t own = nt_accept_own_lane(lanes, 0);
    int result = -EAGAIN;
    for (uint32_t i = 0; i < order.count && result != 0; i++) {
        const struct nt_accept_look *look = &order.look[i];
        struct nt_sock *part = lane[look->lane];
        result = accept_here(part, accepted, (enum nt_listener_scope)look->scope, wake);
        if (result != 0 || !look->is_steal || own == lanes->count)
            continue;
        uint32_t thief = lane[own]->area->view.lane;
        if (thief < NT_SOCK_LANES_MAX)
            __atomic_fetch_add(&part->listener->claims->stolen_by[thief], 1u, __ATOMIC_RELAXED);
    }
    return result;
}

// A process accepts where it accepted last, so that it looks where the servers take it to be; if it
// runs elsewhere now, it says so, and where it found nothing it looks once more from there.
static int accept_in_lanes(struct nt_sock *sock, struct nt_sock *accepted,
                           struct nt_sock_wake *wake)
{
    struct nt_sock *lane[NT_SOCK_LANES_MAX];
    struct nt_accept_lanes lanes;
    nt_sock_accept_lanes(sock, &lanes, lane);
    lanes.turn = __atomic_fetch_add(&sock->accept_turn, 1u, __ATOMIC_RELAXED);
    uint32_t before = lanes.core;
    int result = accept_from(lane, &lanes, accepted, wake);
    nt_sock_accepting_in_all(sock);
    lanes.core = nt_sock_accepting_core(sock);
    if (NT_LIKELY(result != -EAGAIN || lanes.core == before))
        return result;
    return accept_from(lane, &lanes, accepted, wake);
}

int nt_sock_accept(struct nt_sock_context *context, struct nt_sock *sock, struct nt_sock *accepted,
                   struct sockaddr *address, socklen_t *length, struct nt_sock_wake *wake)
{
    (void)context;
    if (sock->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    // No lock: claiming an entry is what makes it ours, and threads may do that side by side. The
    // caller keeps the socket from being closed meanwhile.
    if (nt_load_acquire(&sock->phase) != NT_SOCK_LISTENING)
        return -EINVAL;
    nt_sock_accepting(sock);
    int result = NT_LIKELY(sock->beside == NULL)
                     ? accept_here(sock, accepted, nt_accept_scope(sock->listener), wake)
                     : accept_in_lanes(sock, accepted, wake);
    if (result == 0 && address != NULL && length != NULL)
        nt_endpoint_to_sockaddr(&accepted->peer, sock->family, address, length);
    return result;
}
