#include "servers/ip/input.h"

#include "newtos_py/net/bytes.h"
#include "newtos_py/net/flow.h"
#include "newtos_py/net/icmp.h"
#include "newtos_py/net/ipv6.h"
#include "servers/ip/ethernet.h"
#include "servers/ip/exact.h"
#include "servers/ip/groups.h"
#include "servers/ip/icmp.h"
#include "servers/ip/reassembly.h"

// By its four-tuple alone.
static uint32_t home_of(const struct nt_ip *ip, const struct nt_flow *arriving, uint32_t nic_hash)
{
    return nic_hash != 0 ? nt_steering_lane_hashed(&ip->steering, arriving, nic_hash)
                         : nt_steering_lane(&ip->steering, arriving);
}

uint32_t nt_ip_lane(struct nt_ip *ip, const struct nt_flow *arriving, uint32_t nic_hash)
{
    if (NT_LIKELY(ip->lanes <= 1))
        return 0;
    uint32_t exact = nt_ip_exact_find(ip, arriving);
    return exact < NT_IP_LANES ? exact : home_of(ip, arriving, nic_hash);
}

// The lane that a whole TCP packet is handed to; `asked` is the one that has handed it back
// (NT_IP_LANES: none). One too short for ports is no lane's, which will say so. Where the card put
// it into another lane's queue, this is what Fastsocket §3.3 does in software.
static uint32_t lane_of(struct nt_ip *ip, struct nt_ip_in *in, uint32_t asked)
{
    in->asked = 0;
    if (NT_LIKELY(ip->lanes <= 1) || in->ip.total_bytes < in->ip.header_bytes + 4u)
        return 0;
    const uint8_t *ports = in->bytes + in->ip.header_bytes;
    struct nt_flow arriving = {in->src, in->dst, nt_get16(ports), nt_get16(ports + 2)};
    uint32_t lane = nt_ip_exact_find(ip, &arriving);
    if (lane == NT_IP_LANES) {
        uint32_t home = home_of(ip, &arriving, in->nic_hash);
        lane = nt_ip_exact_ask(ip, &arriving, home, asked);
        if (lane == NT_IP_LANES && asked == NT_IP_LANES)
            lane = nt_ip_groups_ask(ip, &arriving, home);
        if (NT_UNLIKELY(lane != NT_IP_LANES)) {
            in->asked = NT_PACKET_IF_YOURS;
            nt_ip_count(ip, NT_IP_COUNT_ASKED);
            return lane;
        }
        lane = home;
    }
    if (in->nic_queue != 0 && in->nic_queue != lane + 1)
        nt_ip_count(ip, NT_IP_COUNT_FORWARDED);
    return lane;
}

// Ports stand first in TCP's and UDP's headers alike.
static uint32_t flow_hash(const struct nt_ip_in *in)
{
    if (in->ip.total_bytes < in->ip.header_bytes + 4u)
        return 0;
    const uint8_t *ports = in->bytes + in->ip.header_bytes;
    return nt_flow_hash(in->src, nt_get16(ports), in->dst, nt_get16(ports + 2));
}

static bool push_up(struct nt_ip *ip, uint32_t to, enum nt_desc_kind kind, uint32_t hash,
                    const struct nt_ip_in *in)
{
    struct nt_ip_upper *upper = &ip->upper[to];
    if (!upper->exists) {
        nt_ip_count(ip, NT_IP_COUNT_NO_PROTOCOL);
        return false;
    }
    if (nt_producer_room(&upper->out, 1) == 0) {
        nt_ip_count(ip, NT_IP_COUNT_UP_FULL);
        return false;
    }
    struct nt_desc *desc = nt_producer_slot(&upper->out);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = (uint8_t)kind;
    desc->flags = in->flags;
    desc->ref_count = 1;
    desc->gso_size = in->gso_size;
    desc->l4_offset = in->ip.header_bytes;
    desc->flow_hash = hash;
    desc->tag = in->interface;
    desc->arg = in->nic_queue | in->asked;
    desc->check = nt_desc_check(upper->out.tail);
    desc->ref[0] = in->ref;
    desc->ref[0].len = in->ip.total_bytes; // without the link's padding
    nt_producer_advance(&upper->out);
    upper->pushed = true;
    nt_txn_crash_point(&ip->txn);
    nt_ip_count(ip, NT_IP_COUNT_IN_DELIVERED);
    return true;
}

bool nt_ip_hand_up(struct nt_ip *ip, uint32_t upper, enum nt_desc_kind kind,
                   const struct nt_ip_in *in)
{
    return push_up(ip, upper, kind, 0, in);
}

static bool deliver(struct nt_ip *ip, struct nt_ip_in *in)
{
    uint32_t hash;
    switch (in->ip.protocol) {
    case NT_IPPROTO_TCP:
        if (in->group || in->link_group) { // RFC 9293 §3.9.2.3: a segment is for one host
            nt_ip_count(ip, NT_IP_COUNT_IN_MARTIAN);
            return false;
        }
        hash = flow_hash(in);
        return push_up(ip, lane_of(ip, in, NT_IP_LANES), NT_DESC_PACKET, hash, in);
    case NT_IPPROTO_UDP:
        return push_up(ip, NT_IP_UPPER_UDP, NT_DESC_PACKET, flow_hash(in), in);
    case NT_IPPROTO_ICMP:
        return nt_ip_icmp_input(ip, in);
    default:
        nt_ip_count(ip, NT_IP_COUNT_NO_PROTOCOL);
        if (nt_addr_is_v4(in->src))
            nt_ip_icmp_error(ip, in, NT_ICMP_UNREACHABLE, NT_ICMP_PROTOCOL_UNREACHABLE, 0);
        return false;
    }
}

// Addresses that no packet on a wire may bear (RFC 1122 §3.2.1.3, RFC 1812 §5.3.7).
static bool martian(const struct nt_ip *ip, const struct nt_ip_in *in)
{
    if (nt_addr_is_multicast(in->src) || nt_netconf_is_broadcast(&ip->conf, in->src) ||
        nt_addr_is_unspecified(in->dst))
        return true;
    if (in->interface == NT_INTERFACE_LOOPBACK)
        return false;
    return nt_addr_is_loopback(in->dst) || nt_netconf_is_local(&ip->conf, in->src) ||
           (nt_addr_is_unspecified(in->src) && !in->group) || (in->src[12] & 0xf0) == 0xf0;
}

// Reads the header from a private copy: the sender's host may still write to the buffer.
static enum nt_ipv4_error parse(struct nt_ip_in *in)
{
    uint8_t header[NT_IPV4_HEADER_MAX_BYTES];
    memcpy(header, in->bytes, nt_min_u32(in->ref.len, sizeof header));
    enum nt_ipv4_error error = nt_ipv4_parse(&in->ip, header, in->ref.len);
    if (error == NT_IPV4_OK) {
        nt_addr_from_v4(in->src, in->ip.src);
        nt_addr_from_v4(in->dst, in->ip.dst);
    }
    return error;
}

// Reads the header of a packet that we have written ourselves, into memory that is ours.
static void parse_own(struct nt_ip_in *in)
{
    struct nt_ipv6 header;
    if (!nt_ipv6_parse(&header, in->bytes, in->ref.len)) {
        enum nt_ipv4_error error = parse(in);
        nt_assert(error == NT_IPV4_OK);
        return;
    }
    in->ip = (struct nt_ipv4){
        .protocol = header.next_header,
        .ttl = header.hop_limit,
        .tos = header.traffic_class,
        .header_bytes = NT_IPV6_HEADER_BYTES,
        .total_bytes = (uint16_t)(NT_IPV6_HEADER_BYTES + header.payload_bytes),
    };
    nt_addr_copy(in->src, header.src);
    nt_addr_copy(in->dst, header.dst);
}

static void count_error(struct nt_ip *ip, enum nt_ipv4_error error)
{
    switch (error) {
    case NT_IPV4_OK:
        break;
    case NT_IPV4_TRUNCATED:
        nt_ip_count(ip, NT_IP_COUNT_IN_TRUNCATED);
        break;
    case NT_IPV4_MALFORMED:
        nt_ip_count(ip, NT_IP_COUNT_IN_MALFORMED);
        break;
    case NT_IPV4_CHECKSUM:
        nt_ip_count(ip, NT_IP_COUNT_IN_CHECKSUM);
        break;
    }
}

bool nt_ip_input(struct nt_ip *ip, struct nt_ip_in *in)
{
    enum nt_ipv4_error error = parse(in);
    if (error != NT_IPV4_OK) {
        count_error(ip, error);
        return false;
    }
    in->group = nt_addr_is_multicast(in->dst) || nt_netconf_is_broadcast(&ip->conf, in->dst);
    if (martian(ip, in)) {
        nt_ip_count(ip, NT_IP_COUNT_IN_MARTIAN);
        return false;
    }
    if (!in->group && !nt_netconf_is_local(&ip->conf, in->dst)) {
        nt_ip_count(ip, NT_IP_COUNT_NOT_LOCAL);
        return false;
    }
    // A unicast packet in a broadcast frame is somebody's mistake (RFC 1122 §3.3.6).
    if (in->link_group && !in->group) {
        nt_ip_count(ip, NT_IP_COUNT_IN_MARTIAN);
        return false;
    }
    if (NT_UNLIKELY(in->ip.more_fragments || in->ip.fragment_offset != 0)) {
        nt_ip_reassembly_input(ip, in);
        return false;
    }
    return deliver(ip, in);
}

// The pool that a lane hands a buffer of back from; NULL: none that it could have been given.
static const struct nt_pool *pool_of(const struct nt_ip *ip, const struct nt_ref *ref)
{
    uint32_t driver = ref->region - (uint32_t)NT_REGION_DRIVER_POOL; // far too large for our own
    if (ref->region == NT_REGION_IP_POOL)
        return &ip->buffers.owner.view;
    return driver < NT_IP_DRIVERS && ip->link[driver].exists ? &ip->link[driver].pool : NULL;
}

static void return_to(struct nt_ip *ip, const struct nt_pool *pool, const struct nt_ref *ref)
{
    if (ref->region == NT_REGION_IP_POOL)
        nt_ip_release(ip, (uint32_t)nt_pool_buffer_at(pool, ref->offset, ref->len));
    else
        nt_ip_frame_return(ip, ref->region - (uint32_t)NT_REGION_DRIVER_POOL, ref);
}

void nt_ip_not_mine(struct nt_ip *ip, uint32_t lane, const struct nt_desc *desc)
{
    const struct nt_pool *pool = desc->ref_count == 1 ? pool_of(ip, &desc->ref[0]) : NULL;
    if (pool == NULL || desc->tag > NT_INTERFACE_LOOPBACK) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
        return;
    }
    struct nt_ip_in in = {
        .bytes = nt_pool_read(pool, &desc->ref[0]),
        .ref = desc->ref[0],
        .interface = desc->tag,
        .nic_queue = desc->arg & NT_PACKET_QUEUE,
        .gso_size = desc->gso_size,
        .flags = desc->flags,
    };
    if (in.bytes == NULL) { // its driver was started anew meanwhile and has the buffer back
        nt_ip_count(ip, NT_IP_COUNT_STALE_REFERENCE);
        return;
    }
    bool whole = true;
    if (in.ref.region == NT_REGION_IP_POOL)
        parse_own(&in);
    else
        whole = parse(&in) == NT_IPV4_OK;
    if (!whole || in.ip.protocol != NT_IPPROTO_TCP ||
        !push_up(ip, lane_of(ip, &in, lane), NT_DESC_PACKET, flow_hash(&in), &in))
        return_to(ip, pool, &in.ref);
}

void nt_ip_input_own(struct nt_ip *ip, struct nt_ip_in *in, uint32_t buffer, uint32_t at,
                     uint32_t len)
{
    const struct nt_pool *pool = &ip->buffers.owner.view;
    in->ref = (struct nt_ref){
        .offset = nt_pool_offset(pool, buffer) + at,
        .len = len,
        .region = pool->region,
        .use = ip->buffers.record[buffer].use,
    };
    in->bytes = pool->base + in->ref.offset;
    parse_own(in);
    in->group = in->group || nt_netconf_is_broadcast(&ip->conf, in->dst);
    if (deliver(ip, in))
        nt_buffers_set_state(&ip->buffers, buffer, NT_BUFFER_UP);
    else
        nt_ip_release(ip, buffer);
}
