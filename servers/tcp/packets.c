// packets.c: from descriptors of IP to parsed segments, and the buffers back to their owners.
//
// A packet is parsed where it lies. Its reference is input: out of bounds, or to a buffer that was
// taken back (a driver's cold start), it is counted and dropped. The buffer goes back to its pool's
// owner in the same transaction.
#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/ipv6.h"
#include "servers/tcp/context.h"

enum {
    // Returns that may wait before their owner is woken for them: a small part of its pool.
    RETURNS_BEFORE_BELL = 16,
};

static void return_buffer(struct nt_tcp_engine *tcp, const struct nt_ref *ref, uint32_t buffer)
{
    struct nt_producer *out = &tcp->returns[ref->region];
    if (out->page == NULL || nt_producer_room(out, 1) == 0)
        return; // nobody's; and a ring has as many slots as its pool has buffers
    struct nt_return back = {.buffer = buffer, .use = ref->use, .region = ref->region};
    memcpy(nt_producer_slot(out), &back, sizeof(back));
    nt_producer_advance(out);
    tcp->return_pending |= 1u << ref->region;
}

// After the commit: wakes the owners that have many to fetch.
void nt_tcp_ring_owners(struct nt_tcp_engine *tcp)
{
    for (uint32_t pools = tcp->return_pending; pools != 0; pools &= pools - 1) {
        uint32_t region = (uint32_t)__builtin_ctz(pools);
        const struct nt_producer *out = &tcp->returns[region];
        if (out->tail - nt_load_relaxed(&out->peer->head) >= RETURNS_BEFORE_BELL)
            nt_bells_mark(&tcp->bells, NT_TCP_BELL_POOL + region);
    }
    tcp->return_pending = 0;
}

// Addresses and the end of the IP packet (padding may follow it): 0 if it is none.
static uint32_t parse_ip(struct nt_segment *segment, const uint8_t *ip, uint32_t len)
{
    if (len >= NT_IPV4_HEADER_BYTES && nt_ipv4_version(ip) == 4) {
        nt_addr_from_v4(segment->src, nt_ipv4_src(ip));
        nt_addr_from_v4(segment->dst, nt_ipv4_dst(ip));
        return nt_ipv4_total_bytes(ip);
    }
    struct nt_ipv6 header;
    if (!nt_ipv6_parse(&header, ip, len))
        return 0;
    nt_addr_copy(segment->src, header.src);
    nt_addr_copy(segment->dst, header.dst);
    return (uint32_t)NT_IPV6_HEADER_BYTES + header.payload_bytes;
}

static void handle_packet(struct nt_tcp_engine *tcp, const struct nt_desc *desc,
                          const struct nt_pool *pool, const struct nt_ref *ref, uint32_t buffer)
{
    const uint8_t *ip = pool->base + ref->offset;
    struct nt_segment segment;
    uint32_t end = parse_ip(&segment, ip, ref->len), l4 = desc->l4_offset;
    if (end > ref->len || l4 < NT_IPV4_HEADER_BYTES || l4 > end ||
        !nt_tcp_parse(&segment.header, ip + l4, end - l4)) {
        nt_tcp_count(tcp, NT_TCP_BAD_SEGMENTS);
        return;
    }
    // PARTIAL comes from memory (a virtio device, our own loopback): nothing can have changed it.
    if (!(desc->flags & (NT_DESC_CSUM_VALID | NT_DESC_CSUM_PARTIAL))) {
        uint32_t sum = nt_csum_pseudo(segment.src, segment.dst, NT_IPPROTO_TCP, end - l4);
        if (nt_csum_finish(nt_csum(ip + l4, end - l4, sum)) != 0) {
            nt_tcp_count(tcp, NT_TCP_BAD_CHECKSUMS);
            return;
        }
    }
    if (!nt_pool_is_lent(pool, buffer, ref->use)) {
        nt_tcp_count(tcp, NT_TCP_STALE_BUFFERS);
        return;
    }
    segment.seq = segment.header.seq;
    segment.len = end - l4 - segment.header.header_bytes;
    segment.payload = ip + l4 + segment.header.header_bytes;
    segment.pool = pool;
    segment.buffer = buffer;
    segment.use = ref->use;
    segment.desc_flags = desc->flags;
    segment.nic_queue = desc->arg;
    nt_tcp_count(tcp, NT_TCP_SEGMENTS_IN);
    nt_tcp_input(tcp, &segment);
}

static void handle(struct nt_tcp_engine *tcp, const struct nt_desc *desc, uint32_t index)
{
    struct nt_ref ref = desc->ref[0];
    if (desc->check != nt_desc_check(index) || desc->ref_count != 1 || ref.region >= NT_TCP_POOLS ||
        tcp->regions.entry[ref.region].pool == NULL) {
        nt_tcp_count(tcp, NT_TCP_BAD_DESCRIPTORS);
        return;
    }
    const struct nt_pool *pool = tcp->regions.entry[ref.region].pool;
    int64_t buffer = nt_pool_buffer_at(pool, ref.offset, ref.len);
    if (buffer < 0) {
        nt_tcp_count(tcp, NT_TCP_STALE_BUFFERS);
        return;
    }
    if (!nt_pool_is_lent(pool, (uint32_t)buffer, ref.use))
        nt_tcp_count(tcp, NT_TCP_STALE_BUFFERS);
    else if (desc->kind == NT_DESC_PACKET)
        handle_packet(tcp, desc, pool, &ref, (uint32_t)buffer);
    else if (desc->kind == NT_DESC_ICMP)
        nt_tcp_input_icmp(tcp, pool->base + ref.offset, ref.len, desc->l4_offset);
    else
        nt_tcp_count(tcp, NT_TCP_BAD_DESCRIPTORS);
    nt_txn_crash_point(&tcp->txn);
    return_buffer(tcp, &ref, (uint32_t)buffer);
}

uint32_t nt_tcp_handle_packets(struct nt_tcp_engine *tcp, uint32_t budget)
{
    struct nt_consumer *in = &tcp->from_ip;
    uint32_t done = 0;
    for (; done < budget && nt_consumer_pending(in) != 0; done++) {
        if (nt_producer_room(&tcp->to_ip, NT_TCP_INPUT_ROOM) < NT_TCP_INPUT_ROOM)
            break;
        handle(tcp, nt_consumer_slot(in), in->head);
        nt_consumer_advance(in);
        nt_tcp_commit_if_full(tcp);
    }
    return done;
}
