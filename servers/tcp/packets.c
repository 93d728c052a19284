// packets.c: from descriptors of IP to parsed segments, and the buffers back to their owners.
//
// A packet is parsed where it lies. Its reference is input: out of bounds, or to a buffer that was
// taken back (a driver's cold start), it is counted and dropped. The buffer goes back to its pool's
// owner in the same transaction.
//
// A batch is parsed before the first of it is handled, so that what all of it needs can be asked
// for (ahead.h).
#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/ipv6.h"
#include "servers/tcp/ahead.h"
#include "servers/tcp/context.h"

enum {
    // Returns that may wait before their owner is woken for them: a small part of its pool.
    RETURNS_BEFORE_BELL = 16,
    BATCH = 16, // read at once: a step's budget
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

// What a descriptor brought.
struct arrived {
    struct nt_segment segment; // of a TCP segment; pool, buffer and use of whatever has a buffer
    struct nt_ref ref;
    uint32_t l4_offset;
    uint8_t kind; // enum nt_desc_kind; NT_DESC_NONE: nothing but a problem
    bool has_buffer;
    enum nt_tcp_counter problem; // to be counted
};

// A TCP segment, up to where its connection comes in; false: there is a problem.
static bool look_at_segment(const struct nt_tcp_engine *tcp, const struct nt_desc *desc,
                            struct arrived *a)
{
    struct nt_segment *segment = &a->segment;
    const uint8_t *ip = segment->pool->base + a->ref.offset;
    uint32_t end = parse_ip(segment, ip, a->ref.len), l4 = a->l4_offset;
    if (end > a->ref.len || l4 < NT_IPV4_HEADER_BYTES || l4 > end ||
        !nt_tcp_parse(&segment->header, ip + l4, end - l4)) {
        a->problem = NT_TCP_BAD_SEGMENTS;
        return false;
    }
    // PARTIAL comes from memory (a virtio device, our own loopback): nothing can have changed it.
    if (!(desc->flags & (NT_DESC_CSUM_VALID | NT_DESC_CSUM_PARTIAL))) {
        uint32_t sum = nt_csum_pseudo(segment->src, segment->dst, NT_IPPROTO_TCP, end - l4);
        if (nt_csum_finish(nt_csum(ip + l4, end - l4, sum)) != 0) {
            a->problem = NT_TCP_BAD_CHECKSUMS;
            return false;
        }
    }
    segment->seq = segment->header.seq;
    segment->len = end - l4 - segment->header.header_bytes;
    segment->payload = ip + l4 + segment->header.header_bytes;
    segment->desc_flags = desc->flags;
    segment->nic_queue = desc->arg;
    struct nt_tcp_tuple tuple = {segment->dst, segment->src, segment->header.dst_port,
                                 segment->header.src_port};
    segment->hash = nt_tcp_hash(tcp, &tuple);
    return true;
}

// Reads a descriptor and what it refers to, and changes nothing.
static void look(const struct nt_tcp_engine *tcp, const struct nt_desc *desc, uint32_t index,
                 struct arrived *a)
{
    a->ref = desc->ref[0];
    a->l4_offset = desc->l4_offset;
    uint8_t kind = nt_load_relaxed(&desc->kind);
    a->kind = NT_DESC_NONE;
    a->has_buffer = false;
    a->problem = NT_TCP_BAD_DESCRIPTORS;
    if (NT_UNLIKELY(kind == NT_DESC_GROUP || kind == NT_DESC_GROUPS)) {
        a->kind = desc->check == nt_desc_check(index) ? kind : (uint8_t)NT_DESC_NONE;
        return;
    }
    if (desc->check != nt_desc_check(index) || desc->ref_count != 1 ||
        a->ref.region >= NT_TCP_POOLS || tcp->regions.entry[a->ref.region].pool == NULL)
        return;
    const struct nt_pool *pool = tcp->regions.entry[a->ref.region].pool;
    int64_t buffer = nt_pool_buffer_at(pool, a->ref.offset, a->ref.len);
    a->has_buffer = buffer >= 0;
    a->segment.pool = pool;
    a->segment.buffer = (uint32_t)buffer;
    a->segment.use = a->ref.use;
    if (!a->has_buffer || !nt_pool_is_lent(pool, (uint32_t)buffer, a->ref.use))
        a->problem = NT_TCP_STALE_BUFFERS;
    else if (kind == NT_DESC_ICMP || (kind == NT_DESC_PACKET && look_at_segment(tcp, desc, a)))
        a->kind = kind;
}

// IP asked whether a connection here has the segment at hand. True: none has, and IP has it again.
static bool hand_back(struct nt_tcp_engine *tcp, const struct nt_segment *segment)
{
    struct nt_tcp_tuple tuple = {segment->dst, segment->src, segment->header.dst_port,
                                 segment->header.src_port};
    return nt_tcp_hash_find_hashed(tcp, &tuple, segment->hash) == NT_NO_INDEX &&
           nt_tcp_emit_not_mine(tcp, nt_consumer_slot(&tcp->from_ip));
}

static void handle(struct nt_tcp_engine *tcp, struct arrived *a)
{
    struct nt_segment *segment = &a->segment;
    if (a->kind == NT_DESC_NONE) {
        nt_tcp_count(tcp, a->problem);
        if (!a->has_buffer)
            return;
    } else if (NT_UNLIKELY(!a->has_buffer)) {
        nt_tcp_groups_heard(tcp, nt_consumer_slot(&tcp->from_ip));
        return;
    } else if (!nt_pool_is_lent(segment->pool, segment->buffer, segment->use)) {
        nt_tcp_count(tcp, NT_TCP_STALE_BUFFERS); // since it was read
    } else if (a->kind == NT_DESC_PACKET) {
        if (NT_UNLIKELY(segment->nic_queue & NT_PACKET_IF_YOURS) && hand_back(tcp, segment))
            return;
        nt_tcp_count(tcp, NT_TCP_SEGMENTS_IN);
        nt_tcp_input(tcp, segment);
    } else {
        nt_tcp_input_icmp(tcp, segment->pool->base + a->ref.offset, a->ref.len, a->l4_offset);
    }
    nt_txn_crash_point(&tcp->txn);
    return_buffer(tcp, &a->ref, segment->buffer);
}

// The passes of ahead.h.
static void look_ahead(const struct nt_tcp_engine *tcp, const struct arrived *a, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (a[i].kind == NT_DESC_PACKET)
            nt_tcp_ahead_bucket(tcp, a[i].segment.hash);
    for (uint32_t i = 0; i < count; i++) {
        if (a[i].kind != NT_DESC_PACKET)
            continue;
        nt_tcp_ahead_node(tcp, a[i].segment.hash);
        uint32_t len = nt_min_u32(a[i].segment.len, NT_TCP_AHEAD_LINES * NT_CACHE_LINE);
        for (uint32_t at = 0; at < len; at += NT_CACHE_LINE)
            nt_prefetch(a[i].segment.payload + at);
    }
    for (uint32_t i = 0; i < count; i++)
        if (a[i].kind == NT_DESC_PACKET)
            nt_tcp_ahead_slot(tcp, a[i].segment.hash, a[i].segment.len);
}

uint32_t nt_tcp_handle_packets(struct nt_tcp_engine *tcp, uint32_t budget)
{
    struct nt_consumer *in = &tcp->from_ip;
    struct arrived arrived[BATCH];
    uint32_t done = 0, count;
    while (done < budget && (count = nt_consumer_pending(in)) != 0) {
        count = nt_min_u32(count, nt_min_u32(budget - done, BATCH));
        for (uint32_t i = 0; i < count; i++)
            look(tcp, nt_consumer_slot_ahead(in, i), in->head + i, &arrived[i]);
        if (nt_tcp_ahead_pays(tcp))
            look_ahead(tcp, arrived, count);
        for (uint32_t i = 0; i < count; i++, done++) {
            if (nt_producer_room(&tcp->to_ip, NT_TCP_INPUT_ROOM) < NT_TCP_INPUT_ROOM)
                return done;
            handle(tcp, &arrived[i]);
            nt_consumer_advance(in);
            nt_tcp_commit_if_full(tcp);
        }
    }
    return done;
}
