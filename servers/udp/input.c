// input.c: see input.h. The packet's memory may be written by others meanwhile (architecture §5):
// headers are copied once, payload is copied once, and the buffer's use count is looked at again
// behind that, before the commit.
#include "servers/udp/input.h"

#include "newtos_py/net/bytes.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/ipv6.h"
#include "servers/udp/icmp.h"
#include "servers/udp/ports.h"
#include "servers/udp/ring.h"
#include "servers/udp/socket.h"

static struct nt_udp_pool *pool_of(struct nt_udp *udp, uint32_t region)
{
    struct nt_udp_pool *pool = NULL;
    if (region == NT_REGION_IP_POOL)
        pool = &udp->ip_pool;
    else if (region >= NT_REGION_DRIVER_POOL && region < NT_REGION_DRIVER_POOL + NT_UDP_DRIVERS)
        pool = &udp->driver[region - NT_REGION_DRIVER_POOL];
    return pool != NULL && pool->exists ? pool : NULL;
}

static void give_back(struct nt_udp *udp, struct nt_udp_pool *pool, const struct nt_ref *ref)
{
    int64_t buffer = nt_pool_buffer_at(&pool->view, ref->offset, ref->len);
    // Return channels have as many slots as their pools have buffers.
    if (buffer < 0 || nt_producer_room(&pool->returns, 1) == 0) {
        nt_udp_count(udp, NT_UDP_COUNT_BAD_DESCRIPTOR);
        return;
    }
    struct nt_return *slot = nt_producer_slot(&pool->returns);
    *slot = (struct nt_return){
        .buffer = (uint32_t)buffer, .use = ref->use, .region = pool->view.region};
    nt_producer_advance(&pool->returns);
    pool->pushed = true;
}

// -- Datagrams -------------------------------------------------------------------------------

static bool checksum_ok(const struct nt_udp_packet *packet)
{
    if (!packet->udp.has_checksum ||
        (packet->flags & (NT_DESC_CSUM_VALID | NT_DESC_CSUM_PARTIAL)) != 0)
        return true;
    return nt_udp_checksum_ok(packet->transport, packet->udp.length, packet->src, packet->dst);
}

static void put(struct nt_udp *udp, struct nt_udp_socket *socket,
                const struct nt_udp_packet *packet)
{
    switch (nt_udp_ring_put(udp, socket, packet)) {
    case NT_UDP_RING_OK:
        nt_udp_count(udp, NT_UDP_COUNT_IN_DATAGRAMS);
        nt_udp_count_n(udp, NT_UDP_COUNT_IN_BYTES, packet->udp.length - NT_UDP_HEADER_BYTES);
        break;
    case NT_UDP_RING_FULL:
        nt_udp_count(udp, NT_UDP_COUNT_RX_FULL);
        break;
    case NT_UDP_RING_STALE:
        nt_udp_count(udp, NT_UDP_COUNT_STALE_REFERENCE);
        break;
    case NT_UDP_RING_BAD:
        nt_udp_socket_break(udp, socket);
        break;
    }
    nt_txn_crash_point(&udp->txn);
}

static void to_group(struct nt_udp *udp, const struct nt_udp_packet *packet)
{
    struct nt_udp_socket *socket = NULL, *next;
    uint32_t count = 0;
    next = nt_udp_port_next(udp, NULL, packet->dst, packet->udp.dst_port, packet->src,
                            packet->udp.src_port);
    while ((socket = next) != NULL) {
        // Putting may break the socket and take it out of the list.
        next = nt_udp_port_next(udp, socket, packet->dst, packet->udp.dst_port, packet->src,
                                packet->udp.src_port);
        put(udp, socket, packet);
        if (++count == NT_UDP_GROUP_MAX)
            return;
    }
    if (count == 0) // silently: RFC 1122 §3.2.2 forbids an answer
        nt_udp_count(udp, NT_UDP_COUNT_NO_PORT);
}

static void datagram(struct nt_udp *udp, struct nt_udp_packet *packet)
{
    bool group =
        nt_addr_is_multicast(packet->dst) || nt_netconf_is_broadcast(&udp->conf, packet->dst);
    if (!nt_udp_parse(&packet->udp, packet->header, packet->len)) {
        nt_udp_count(udp, NT_UDP_COUNT_IN_MALFORMED);
        return;
    }
    if (!checksum_ok(packet)) {
        nt_udp_count(udp, NT_UDP_COUNT_IN_CHECKSUM);
        return;
    }
    if (group) {
        to_group(udp, packet);
        return;
    }
    struct nt_udp_socket *socket =
        nt_udp_port_find(udp, packet->dst, packet->udp.dst_port, packet->src, packet->udp.src_port,
                         packet->flow_hash);
    if (socket != NULL) {
        put(udp, socket, packet);
        return;
    }
    nt_udp_count(udp, NT_UDP_COUNT_NO_PORT);
    nt_udp_icmp_unreachable(udp, packet);
}

// -- Descriptors -----------------------------------------------------------------------------

// Reads names and marks from a private copy of the IP header; false if it is cut off.
static bool read_ip_header(const uint8_t *bytes, uint32_t len, struct nt_udp_packet *packet)
{
    uint8_t header[NT_IPV6_HEADER_BYTES];
    memcpy(header, bytes, nt_min_u32(len, sizeof header));
    if (nt_ipv4_version(header) == 4) {
        nt_addr_from_v4(packet->src, nt_ipv4_src(header));
        nt_addr_from_v4(packet->dst, nt_ipv4_dst(header));
        packet->ttl = nt_ipv4_ttl(header);
        packet->tos = nt_ipv4_tos(header);
        return true;
    }
    if (packet->header_len < NT_IPV6_HEADER_BYTES)
        return false;
    nt_addr_copy(packet->src, header + NT_IPV6_SRC);
    nt_addr_copy(packet->dst, header + NT_IPV6_DST);
    packet->ttl = header[NT_IPV6_HOP_LIMIT];
    packet->tos = nt_ipv6_class(header);
    return true;
}

// Fills a packet from a descriptor; false if its lengths cannot be.
static bool read_packet(const struct nt_desc *desc, const uint8_t *bytes,
                        struct nt_udp_packet *packet)
{
    uint32_t len = desc->ref[0].len;
    if (len < NT_IPV4_HEADER_BYTES || desc->l4_offset < NT_IPV4_HEADER_BYTES ||
        desc->l4_offset > NT_IPV4_HEADER_MAX_BYTES || desc->l4_offset > len)
        return false;
    packet->ref = desc->ref[0];
    packet->flags = desc->flags;
    packet->flow_hash = desc->flow_hash;
    packet->ip = bytes;
    packet->transport = bytes + desc->l4_offset;
    packet->len = len - desc->l4_offset;
    packet->header_len = desc->l4_offset;
    memset(packet->header, 0, sizeof packet->header);
    memcpy(packet->header, packet->transport, nt_min_u32(packet->len, sizeof packet->header));
    return read_ip_header(bytes, len, packet);
}

static void handle(struct nt_udp *udp, const struct nt_desc *desc, struct nt_udp_pool *pool)
{
    struct nt_udp_packet packet;
    const uint8_t *bytes = nt_pool_read(&pool->view, &desc->ref[0]);
    if (bytes == NULL) {
        nt_udp_count(udp, NT_UDP_COUNT_STALE_REFERENCE);
        return;
    }
    packet.pool = &pool->view;
    if (!read_packet(desc, bytes, &packet))
        nt_udp_count(udp, NT_UDP_COUNT_IN_MALFORMED);
    else if (desc->kind == NT_DESC_PACKET)
        datagram(udp, &packet);
    else
        nt_udp_icmp_input(udp, &packet);
    give_back(udp, pool, &desc->ref[0]);
}

void nt_udp_packet_input(struct nt_udp *udp)
{
    struct nt_desc desc; // only its head: nothing is inline on the way up
    memcpy(&desc, nt_consumer_slot(&udp->from_ip), offsetof(struct nt_desc, data));
    bool whole = desc.check == nt_desc_check(udp->from_ip.head) && desc.ref_count == 1 &&
                 (desc.kind == NT_DESC_PACKET || desc.kind == NT_DESC_ICMP);
    nt_consumer_advance(&udp->from_ip);
    struct nt_udp_pool *pool = pool_of(udp, desc.ref[0].region);
    if (whole && pool != NULL)
        handle(udp, &desc, pool);
    else
        nt_udp_count(udp, NT_UDP_COUNT_BAD_DESCRIPTOR);
    nt_txn_crash_point(&udp->txn);
}
