#include "servers/udp/socket.h"

#include <errno.h>

#include "servers/udp/area.h"
#include "servers/udp/move.h"
#include "servers/udp/ports.h"

static void make_dirty(struct nt_udp *udp, uint16_t index, uint8_t dirt)
{
    if (udp->dirt[index] == 0)
        udp->dirty[udp->dirty_count++] = index;
    udp->dirt[index] |= dirt;
}

void nt_udp_socket_touch(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    NT_UDP_TOUCH(udp, socket);
    make_dirty(udp, nt_udp_index(udp, socket), NT_UDP_DIRTY);
}

void nt_udp_socket_event(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    nt_udp_socket_touch(udp, socket);
    socket->events++;
    make_dirty(udp, nt_udp_index(udp, socket), NT_UDP_EVENT);
}

struct nt_udp_socket *nt_udp_socket_grant(struct nt_udp *udp, uint32_t area, uint32_t slot)
{
    if (udp->free_count == 0) {
        nt_udp_count(udp, NT_UDP_COUNT_NO_SOCKET);
        return NULL;
    }
    struct nt_udp_area_private *private = udp->area[area];
    struct nt_udp_socket *socket = &udp->state->socket[udp->free[--udp->free_count]];
    // What the slot's last owner knew it by is in the area, and only we write there.
    uint32_t generation = private->view.slot_server[slot].generation + 1;
    nt_udp_socket_touch(udp, socket);
    *socket = (struct nt_udp_socket){
        .mark = socket->mark,
        .state = NT_UDP_GRANTED,
        .area = (uint16_t)area,
        .slot = (uint16_t)slot,
        .generation = generation != 0 ? generation : 1,
        .reply = private->view.slot_server[slot].reply,
        .rx_offset = NT_DGRAM_DATA_OFFSET,
    };
    private->socket[slot] = nt_udp_index(udp, socket);
    return socket;
}

struct nt_udp_socket *nt_udp_socket_of(struct nt_udp *udp, uint32_t area, uint32_t slot)
{
    if (area >= NT_AREAS_MAX || udp->area[area] == NULL || !udp->area[area]->attached ||
        slot >= udp->area[area]->view.slots || udp->area[area]->socket[slot] == NT_UDP_NONE)
        return NULL;
    return &udp->state->socket[udp->area[area]->socket[slot]];
}

void nt_udp_socket_error(struct nt_udp *udp, struct nt_udp_socket *socket, int error)
{
    nt_udp_socket_event(udp, socket);
    socket->error = (((socket->error >> 16) + 1) << 16) | (uint32_t)error;
}

void nt_udp_socket_break(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    nt_udp_count(udp, NT_UDP_COUNT_BAD_PROGRAM);
    nt_udp_socket_error(udp, socket, ECONNABORTED);
    nt_udp_port_release(udp, socket);
    socket->state = NT_UDP_BROKEN;
}

void nt_udp_socket_close(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    nt_udp_count(udp, NT_UDP_COUNT_CLOSES);
    nt_udp_move_end(udp, socket);
    nt_udp_socket_touch(udp, socket);
    nt_udp_port_release(udp, socket);
    socket->state = NT_UDP_DRAINING;
    nt_udp_socket_free_if_drained(udp, socket);
}

void nt_udp_socket_free_if_drained(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    if (socket->state != NT_UDP_DRAINING || socket->group[0].fence != 0)
        return;
    struct nt_udp_area_private *area = nt_udp_area_of(udp, socket);
    nt_udp_socket_touch(udp, socket);
    socket->state = NT_UDP_FREE;
    area->socket[socket->slot] = NT_UDP_NONE;
    nt_udp_area_slot_free(area, socket->slot);
    nt_udp_area_again(area, socket->slot); // its program may wait for a slot: a look grants it
}

// -- Publishing ------------------------------------------------------------------------------

static uint8_t shown_state(const struct nt_udp_socket *socket)
{
    switch ((enum nt_udp_socket_state)socket->state) {
    case NT_UDP_FREE:
    case NT_UDP_DRAINING:
    case NT_UDP_LEFT:
        return NT_SLOT_FREE;
    case NT_UDP_GRANTED:
        return NT_SLOT_GRANTED;
    case NT_UDP_OPEN:
        return NT_SLOT_CONNECTED;
    case NT_UDP_BROKEN:
        return NT_SLOT_BROKEN;
    }
    return NT_SLOT_BROKEN;
}

static void show_endpoint(struct nt_endpoint *shown, const uint8_t addr[16], uint16_t port)
{
    nt_addr_copy(shown->addr, addr);
    shown->port = port;
}

static void show_names(struct nt_slot_server *shown, const struct nt_udp_socket *socket)
{
    bool bound = socket->local_port != 0, connected = (socket->flags & NT_UDP_CONNECTED) != 0;
    if (shown->local.port != socket->local_port ||
        !nt_addr_equal(shown->local.addr, socket->local_addr))
        show_endpoint(&shown->local, socket->local_addr, socket->local_port);
    if (shown->remote.port != socket->peer_port ||
        !nt_addr_equal(shown->remote.addr, socket->peer_addr))
        show_endpoint(&shown->remote, socket->peer_addr, socket->peer_port);
    nt_store_release(&shown->flags,
                     (uint8_t)((bound ? NT_SLOT_BOUND : 0) | (connected ? NT_SLOT_PEER_SET : 0)));
}

// Names before what says that they are there; cursors before the event that tells of them.
static void show(struct nt_slot_server *shown, const struct nt_udp_socket *socket)
{
    bool handed_out = shown->generation != socket->generation;
    if (handed_out) // nobody may take it for the old one while it changes
        nt_store_release(&shown->state, (uint8_t)NT_SLOT_FREE);
    show_names(shown, socket);
    nt_store_relaxed(&shown->tx_head, socket->tx_head);
    nt_store_relaxed(&shown->error, socket->error);
    nt_store_release(&shown->rx_tail, socket->rx_tail);
    nt_store_relaxed(&shown->reply_errno, socket->reply_errno);
    nt_store_release(&shown->reply, socket->reply);
    nt_store_release(&shown->generation, socket->generation);
    nt_store_release(&shown->state, shown_state(socket));
    nt_store_release(&shown->events, socket->events);
}

static void publish_sockets(struct nt_udp *udp)
{
    for (uint32_t i = 0; i < udp->dirty_count; i++) {
        const struct nt_udp_socket *socket = &udp->state->socket[udp->dirty[i]];
        struct nt_udp_area_private *area = nt_udp_area_of(udp, socket);
        if (area == NULL || !area->attached)
            continue;
        show(&area->view.slot_server[socket->slot], socket);
        nt_txn_crash_point(&udp->txn);
    }
}

static void tell(struct nt_udp *udp, uint16_t index)
{
    const struct nt_udp_socket *socket = &udp->state->socket[index];
    struct nt_udp_area_private *area = nt_udp_area_of(udp, socket);
    if ((udp->dirt[index] & NT_UDP_EVENT) == 0 || area == NULL || !area->attached)
        return;
    uint32_t queue = nt_load_relaxed(&area->view.slot_program[socket->slot].queue);
    nt_udp_area_tell(udp, area, queue, socket->slot);
}

void nt_udp_publish(struct nt_udp *udp)
{
    publish_sockets(udp);
    nt_udp_publish_grants(udp);
    if (udp->dirty_count == 0)
        return;
    nt_fence(); // area.h: a program that changes `queue`, fences and looks misses nothing
    for (uint32_t i = 0; i < udp->dirty_count; i++) {
        uint16_t index = udp->dirty[i];
        tell(udp, index);
        udp->dirt[index] = 0;
        // Not before its slot's end was shown: another slot's grant may take the record.
        if (udp->state->socket[index].state == NT_UDP_FREE)
            udp->free[udp->free_count++] = index;
    }
    udp->dirty_count = 0;
}
