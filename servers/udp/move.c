// move.c: see move.h.
//
// MOVE makes a record for the new slot that is the socket from now on: names, port, cursors,
// errors. What is in the old ring counts as sent as far as it was; the rest is sent from the new
// ring, which the requester fills before it says MOVED. Until then the new record is ARRIVING: its
// program block says nothing yet, and what comes for it goes into the old ring. MOVED copies what
// was not read.
// The old record is LEFT, and waits for its program's CLOSE and for the drivers to be past what it
// had sent.
#include "servers/udp/move.h"

#include <errno.h>

#include "servers/udp/area.h"
#include "servers/udp/ports.h"
#include "servers/udp/socket.h"

static struct nt_udp_socket *partner_of(struct nt_udp *udp, const struct nt_udp_socket *socket)
{
    return socket->partner == 0 ? NULL : &udp->state->socket[socket->partner - 1];
}

static uint32_t generation_after(uint32_t generation)
{
    return generation + 1 != 0 ? generation + 1 : 1;
}

static void pair_up(struct nt_udp *udp, struct nt_udp_socket *from, struct nt_udp_socket *to)
{
    from->partner = (uint16_t)(nt_udp_index(udp, to) + 1);
    to->partner = (uint16_t)(nt_udp_index(udp, from) + 1);
}

// The socket itself, from one record to the other. Both have been touched.
static void hand_over(struct nt_udp *udp, struct nt_udp_socket *from, struct nt_udp_socket *to)
{
    uint16_t port = from->local_port;
    to->state = from->state;
    to->flags = from->flags | NT_UDP_ARRIVING;
    to->peer_port = from->peer_port;
    to->error = from->error;
    to->reply = from->reply;
    to->reply_errno = from->reply_errno;
    to->rx_tail = from->rx_tail;
    to->rx_offset = from->rx_offset;
    to->tx_head = to->tx_sent = from->tx_sent;
    nt_addr_copy(to->local_addr, from->local_addr);
    nt_addr_copy(to->peer_addr, from->peer_addr);
    nt_udp_port_release(udp, from);
    nt_txn_crash_point(&udp->txn);
    if (port != 0) {
        to->local_port = port;
        nt_udp_port_index(udp, to);
    }
    from->state = NT_UDP_LEFT;
    from->flags = 0;
    from->generation = generation_after(from->generation);
}

static void answer_with(const struct nt_udp_socket *socket, struct nt_request *request)
{
    request->area = socket->area;
    request->slot = socket->slot;
    request->generation = socket->generation;
}

uint32_t nt_udp_move(struct nt_udp *udp, struct nt_request *request)
{
    uint32_t number = request->arg;
    struct nt_udp_socket *from = nt_udp_socket_of(udp, request->area, request->slot);
    if (from == NULL || number >= NT_AREAS_MAX || udp->area[number] == NULL ||
        !udp->area[number]->attached || udp->state->area[number].state != NT_UDP_AREA_LIVE)
        return EBADF;
    struct nt_udp_socket *to = partner_of(udp, from);
    if (from->state == NT_UDP_LEFT && to != NULL && to->area == number &&
        from->generation == generation_after(request->generation)) {
        answer_with(to, request); // asked for again
        return 0;
    }
    if (from->generation != request->generation || to != NULL ||
        (from->state != NT_UDP_GRANTED && from->state != NT_UDP_OPEN &&
         from->state != NT_UDP_BROKEN))
        return EBADF;
    struct nt_udp_area_private *area = udp->area[number];
    if (area->free_count == 0)
        return ENOBUFS;
    to = nt_udp_socket_grant(udp, number, area->free[area->free_count - 1]);
    if (to == NULL)
        return ENOBUFS;
    area->free_count--;
    nt_udp_socket_event(udp, from); // whoever sleeps on it looks, and finds it gone
    hand_over(udp, from, to);
    pair_up(udp, from, to);
    answer_with(to, request);
    return 0;
}

// What lies unread from `head` on: the descriptors, and the bytes that they tell of.
static void copy_unread(const struct nt_area *old, uint32_t old_slot, const struct nt_area *new,
                        uint32_t new_slot, uint32_t head, uint32_t tail)
{
    const uint8_t *source = nt_area_rx(old, old_slot);
    uint8_t *ring = nt_area_rx(new, new_slot);
    memcpy(ring, source, NT_DGRAM_DATA_OFFSET);
    for (uint32_t i = head; i != tail; i++) { // written by us alone
        const struct nt_dgram *dgram =
            (const struct nt_dgram *)(const void *)source + (i & (NT_DGRAM_SLOTS - 1));
        memcpy(ring + dgram->offset, source + dgram->offset, dgram->len);
    }
}

static void unpair(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    struct nt_udp_socket *other = partner_of(udp, socket);
    nt_udp_socket_touch(udp, socket);
    socket->partner = 0;
    socket->flags &= (uint8_t)~NT_UDP_ARRIVING;
    if (other == NULL)
        return;
    nt_udp_socket_touch(udp, other);
    other->partner = 0;
    nt_txn_crash_point(&udp->txn);
    if (other->state == NT_UDP_LEFT)
        nt_udp_left_look(udp, other);
}

uint32_t nt_udp_moved(struct nt_udp *udp, const struct nt_request *request)
{
    struct nt_udp_socket *to = nt_udp_socket_of(udp, request->area, request->slot);
    if (to == NULL || to->generation != request->generation || to->state == NT_UDP_DRAINING ||
        to->state == NT_UDP_LEFT)
        return EBADF;
    if ((to->flags & NT_UDP_ARRIVING) == 0)
        return 0; // done before
    const struct nt_udp_socket *from = partner_of(udp, to);
    const struct nt_area *new = &nt_udp_area_of(udp, to)->view;
    const struct nt_slot_program *program = &new->slot_program[to->slot];
    uint32_t head = nt_load_acquire(&program->rx_head);
    bool good = nt_load_acquire(&program->generation) == to->generation &&
                to->rx_tail - head <= NT_DGRAM_SLOTS;
    if (good && from != NULL)
        copy_unread(&nt_udp_area_of(udp, from)->view, from->slot, new, to->slot, head, to->rx_tail);
    nt_txn_crash_point(&udp->txn);
    unpair(udp, to);
    nt_udp_socket_event(udp, to);
    if (!good)
        nt_udp_socket_break(udp, to);
    nt_udp_area_again(nt_udp_area_of(udp, to), to->slot);
    return 0;
}

void nt_udp_left_look(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    const struct nt_area *area = &nt_udp_area_of(udp, socket)->view;
    const struct nt_slot_program *program = &area->slot_program[socket->slot];
    bool its = generation_after(nt_load_acquire(&program->generation)) == socket->generation;
    bool closed = its && (nt_load_acquire(&program->control) & NT_CONTROL_CLOSE);
    bool dead = udp->state->area[socket->area].state == NT_UDP_AREA_DEAD;
    if (socket->partner == 0 && (closed || dead))
        nt_udp_socket_close(udp, socket);
}

void nt_udp_move_end(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    if (socket->partner != 0)
        unpair(udp, socket);
}
