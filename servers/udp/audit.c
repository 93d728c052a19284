// audit.c: every invariant of the arena and of what was made from it.
#include <stdio.h>
#include <stdlib.h>

#include "servers/udp/step.h"

static int fail(char *why, uint64_t why_bytes, const char *what, uint32_t index)
{
    (void)snprintf(why, why_bytes, "socket %u: %s", index, what);
    return -1;
}

static bool groups_in_order(const struct nt_udp *udp, const struct nt_udp_socket *socket)
{
    uint32_t head = socket->tx_head;
    uint32_t fence = 0;
    for (uint32_t i = 0; i < 2 && socket->group[i].fence != 0; i++) {
        if (socket->group[i].fence <= fence || socket->group[i].head - head > NT_DGRAM_SLOTS)
            return false;
        fence = socket->group[i].fence;
        head = socket->group[i].head;
    }
    if (socket->group[0].fence == 0 && socket->group[1].fence != 0)
        return false;
    return fence <= udp->state->globals.fence && socket->tx_sent == head;
}

static uint32_t times_indexed(const struct nt_udp *udp, const struct nt_udp_socket *socket)
{
    uint32_t times = 0, steps = 0;
    for (uint16_t i = udp->port[socket->local_port]; i != NT_UDP_NONE && steps <= NT_UDP_SOCKETS;
         i = udp->next[i], steps++)
        times += &udp->state->socket[i] == socket;
    return times;
}

static const char *wrong(const struct nt_udp *udp, uint32_t index)
{
    const struct nt_udp_socket *socket = &udp->state->socket[index];
    if (socket->state > NT_UDP_LEFT)
        return "in no state that there is";
    if (socket->area >= NT_AREAS_MAX || udp->area[socket->area] == NULL ||
        !udp->area[socket->area]->attached)
        return "of an area that is not there";
    const struct nt_udp_area_private *area = udp->area[socket->area];
    if (socket->slot >= area->view.slots || area->socket[socket->slot] != index)
        return "not the one that its slot belongs to";
    if (udp->state->area[socket->area].state == NT_UDP_AREA_NONE)
        return "of an area that has no record";
    bool arriving = (socket->flags & NT_UDP_ARRIVING) != 0;
    if (arriving && socket->partner == 0)
        return "arrives from nowhere";
    if (socket->partner != 0 && udp->state->socket[socket->partner - 1].partner != index + 1)
        return "paired with one that is not";
    if (socket->partner != 0 && arriving == (socket->state == NT_UDP_LEFT))
        return "neither leaves nor arrives";
    if ((socket->local_port != 0) != (socket->local_port != 0 && times_indexed(udp, socket) == 1))
        return "bound, but not once in the index";
    if (socket->local_port != 0 && socket->state != NT_UDP_OPEN)
        return "has a port, but is not open";
    if ((socket->flags & NT_UDP_CONNECTED) && socket->state == NT_UDP_OPEN &&
        socket->peer_port == 0)
        return "connected to nobody";
    if (!groups_in_order(udp, socket))
        return "its groups are not in order";
    if ((socket->group[0].fence != 0) != (udp->is_waiting[index] != 0))
        return "not waiting for its fence, or for none";
    return NULL;
}

static int audit_slots(const struct nt_udp *udp, char *why, uint64_t why_bytes)
{
    for (uint32_t i = 0; i < NT_AREAS_MAX; i++) {
        const struct nt_udp_area_private *area = udp->area[i];
        if (area == NULL || !area->attached)
            continue;
        uint32_t used = 0;
        for (uint32_t slot = 0; slot < area->view.slots; slot++)
            used += area->socket[slot] != NT_UDP_NONE;
        if (used + area->free_count != area->view.slots) {
            (void)snprintf(why, why_bytes, "area %u: %u slots used and %u free of %u", i, used,
                           area->free_count, area->view.slots);
            return -1;
        }
    }
    return 0;
}

int nt_udp_audit(void *context, char *why, uint64_t why_bytes)
{
    const struct nt_udp *udp = context;
    uint32_t used = 0;
    for (uint32_t i = 0; i < NT_UDP_SOCKETS; i++) {
        if (udp->state->socket[i].state == NT_UDP_FREE)
            continue;
        used++;
        const char *what = wrong(udp, i);
        if (what != NULL)
            return fail(why, why_bytes, what, i);
    }
    if (used + udp->free_count != NT_UDP_SOCKETS)
        return fail(why, why_bytes, "records in use and free ones don't add up", used);
    return audit_slots(udp, why, why_bytes);
}
