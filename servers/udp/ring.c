#include "servers/udp/ring.h"

#include "servers/udp/socket.h"

enum {
    DATA_END = NT_DGRAM_DATA_OFFSET + NT_DGRAM_DATA_BYTES,
};

static uint32_t rounded(uint32_t bytes)
{
    return nt_max_u32((bytes + NT_CACHE_LINE - 1) & ~(uint32_t)(NT_CACHE_LINE - 1), NT_CACHE_LINE);
}

static struct nt_dgram *descriptor(uint8_t *ring, uint32_t cursor)
{
    return (struct nt_dgram *)(void *)ring + (cursor & (NT_DGRAM_SLOTS - 1));
}

// Where a datagram of `bytes` (rounded) goes, or 0: nowhere just now. The descriptors are ours
// alone to write, so what they say is true.
static uint32_t place(const struct nt_udp_socket *socket, uint8_t *ring, uint32_t head,
                      uint32_t bytes)
{
    uint32_t next = socket->rx_offset;
    if (head == socket->rx_tail)
        return NT_DGRAM_DATA_OFFSET;
    if (socket->rx_tail - head == NT_DGRAM_SLOTS)
        return 0;
    uint32_t oldest = descriptor(ring, head)->offset;
    if (next <= oldest) // in use: oldest .. end, start .. next
        return oldest - next > bytes ? next : 0;
    if (DATA_END - next >= bytes)
        return next;
    return oldest - NT_DGRAM_DATA_OFFSET > bytes ? NT_DGRAM_DATA_OFFSET : 0;
}

static void describe(struct nt_dgram *dgram, const struct nt_udp_packet *packet, uint32_t offset,
                     uint32_t len)
{
    *dgram = (struct nt_dgram){
        .offset = offset,
        .len = len,
        .peer = {.port = packet->udp.src_port},
        .ttl = packet->ttl,
        .tos = packet->tos,
        .next_offset = offset + rounded(len),
    };
    nt_addr_copy(dgram->peer.addr, packet->src);
    nt_addr_copy(dgram->local_addr, packet->dst);
}

// Where a socket that moves still is: with the slot it comes from, until MOVED copies what is
// there.
static const struct nt_udp_socket *home_of(const struct nt_udp *udp,
                                           const struct nt_udp_socket *socket)
{
    if (NT_LIKELY((socket->flags & NT_UDP_ARRIVING) == 0))
        return socket;
    const struct nt_udp_socket *from =
        socket->partner == 0 ? NULL : &udp->state->socket[socket->partner - 1];
    const struct nt_udp_area_private *area = from == NULL ? NULL : nt_udp_area_of(udp, from);
    return area != NULL && area->attached ? from : NULL;
}

// What its program has read; where that is frozen (area.h), as it was.
static uint32_t read_head(const struct nt_udp_socket *socket, const struct nt_area *area,
                          uint32_t slot)
{
    uint32_t head = nt_load_acquire(&area->slot_program[slot].rx_head);
    if ((socket->flags & NT_UDP_ARRIVING) && socket->rx_tail - head > NT_DGRAM_SLOTS)
        head ^= UINT32_C(1) << 31;
    return head;
}

enum nt_udp_ring_result nt_udp_ring_put(struct nt_udp *udp, struct nt_udp_socket *socket,
                                        const struct nt_udp_packet *packet)
{
    const struct nt_udp_socket *home = home_of(udp, socket);
    if (home == NULL)
        return NT_UDP_RING_FULL;
    const struct nt_area *area = &nt_udp_area_of(udp, home)->view;
    uint32_t head = read_head(socket, area, home->slot);
    if (socket->rx_tail - head > NT_DGRAM_SLOTS)
        return home == socket ? NT_UDP_RING_BAD : NT_UDP_RING_FULL;
    uint8_t *ring = nt_area_rx(area, home->slot);
    uint32_t len = (uint32_t)(packet->udp.length - NT_UDP_HEADER_BYTES);
    uint32_t offset = place(socket, ring, head, rounded(len));
    if (offset == 0)
        return NT_UDP_RING_FULL;
    memcpy(ring + offset, packet->transport + NT_UDP_HEADER_BYTES, len);
    if (!nt_pool_current(packet->pool, &packet->ref))
        return NT_UDP_RING_STALE;
    describe(descriptor(ring, socket->rx_tail), packet, offset, len);
    nt_udp_socket_event(udp, socket);
    socket->rx_offset = offset + rounded(len);
    socket->rx_tail++;
    return NT_UDP_RING_OK;
}
