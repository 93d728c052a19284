#include "servers/ip/output.h"

#include "newtos_py/net/checksum.h"
#include "newtos_py/net/icmp.h"
#include "newtos_py/net/ipv6.h"
#include "newtos_py/net/udp.h"
#include "servers/ip/ethernet.h"
#include "servers/ip/exact.h"
#include "servers/ip/fence.h"
#include "servers/ip/fragment.h"
#include "servers/ip/groups.h"
#include "servers/ip/icmp.h"
#include "servers/ip/input.h"
#include "servers/ip/loopback.h"
#include "servers/ip/neighbour.h"

enum {
    TCP_HEADER_BYTES = 20,
    TCP_DATA_OFFSET = 12,
    TCP_CHECKSUM = 16,
};

// -- Routes ----------------------------------------------------------------------------------

// The netconf never changes, so what was found once stays true.
static const struct nt_ip_cached_path *find_path(struct nt_ip *ip, const uint8_t dst[16])
{
    struct nt_ip_cached_path *entry = &ip->path[nt_addr_hash(dst) % NT_IP_PATHS_CACHED];
    if (NT_LIKELY(entry->valid && nt_addr_equal(entry->dst, dst)))
        return entry;
    entry->valid = false;
    bool none = !nt_addr_is_v4(dst) && !nt_netconf_is_local(&ip->conf, dst); // on no wire yet
    if (none || nt_netconf_path(&ip->conf, dst, &entry->path) != 0)
        return NULL;
    entry->valid = true;
    entry->group = nt_addr_is_multicast(dst) || nt_netconf_is_broadcast(&ip->conf, dst);
    nt_addr_copy(entry->dst, dst);
    return entry;
}

// -- Headers and checksums -------------------------------------------------------------------

void nt_ip_header(const struct nt_ip_out *out, uint16_t id, uint32_t payload,
                  uint32_t fragment_offset, bool more, uint8_t *header)
{
    struct nt_ipv4 repr = {
        .protocol = out->protocol,
        .ttl = out->ttl,
        .tos = out->tos,
        .total_bytes = (uint16_t)(NT_IPV4_HEADER_BYTES + payload),
        .id = id,
        .fragment_offset = (uint16_t)fragment_offset,
        .dont_fragment = out->df,
        .more_fragments = more,
    };
    memcpy(repr.src, nt_addr_v4(out->src), 4);
    memcpy(repr.dst, nt_addr_v4(out->dst), 4);
    nt_ipv4_emit(&repr, header);
}

static void ipv6_header(const struct nt_ip_out *out, uint8_t *header)
{
    struct nt_ipv6 repr = {
        .next_header = out->protocol,
        .hop_limit = out->ttl,
        .traffic_class = out->tos,
        .payload_bytes = (uint16_t)out->len,
    };
    nt_addr_copy(repr.src, out->src);
    nt_addr_copy(repr.dst, out->dst);
    nt_ipv6_emit(&repr, header);
}

uint32_t nt_ip_header_bytes(const struct nt_ip_out *out)
{
    return nt_addr_is_v4(out->dst) ? (uint32_t)NT_IPV4_HEADER_BYTES
                                   : (uint32_t)NT_IPV6_HEADER_BYTES;
}

uint16_t nt_ip_next_id(struct nt_ip *ip, const struct nt_ip_out *out)
{
    if (out->df)
        return 0; // an atomic datagram's means nothing (RFC 6864 §4.1)
    struct nt_ip_sequence *sequence = &ip->state->sequence;
    NT_IP_TOUCH(ip, sequence);
    sequence->id++;
    // Not the same counter for everybody, so that nobody can count our packets to others.
    return (uint16_t)(sequence->id + nt_addr_hash(out->dst) * (uint32_t)(ip->seed | 1));
}

static uint32_t checksum_offset(uint8_t protocol)
{
    return protocol == NT_IPPROTO_TCP ? TCP_CHECKSUM : NT_UDP_CHECKSUM;
}

bool nt_ip_complete_checksum(struct nt_ip *ip, struct nt_ip_out *out)
{
    uint32_t field = checksum_offset(out->protocol);
    if (out->inline_len < field + 2)
        return false;
    uint32_t sum = nt_csum(out->data, out->inline_len, 0);
    size_t offset = out->inline_len;
    for (uint32_t i = 0; i < out->ref_count; i++) {
        const uint8_t *bytes = nt_regions_resolve(&ip->regions, &out->ref[i]);
        if (bytes == NULL)
            return false;
        sum = nt_csum_add_at(sum, nt_csum(bytes, out->ref[i].len, 0), offset);
        offset += out->ref[i].len;
    }
    uint16_t checksum = nt_csum_finish(sum);
    if (checksum == 0 && out->protocol == NT_IPPROTO_UDP)
        checksum = 0xffff; // RFC 768
    nt_csum_store(out->data + field, checksum);
    out->flags &= (uint8_t)~NT_DESC_CSUM_PARTIAL;
    return true;
}

// -- Between references and buffers ----------------------------------------------------------

// Copies the transport bytes; false if a reference is bad.
static bool copy_payload(struct nt_ip *ip, const struct nt_ip_out *out, uint8_t *to)
{
    memcpy(to, out->data, out->inline_len);
    to += out->inline_len;
    for (uint32_t i = 0; i < out->ref_count; i++) {
        const struct nt_ref *ref = &out->ref[i];
        const uint8_t *bytes = nt_regions_resolve(&ip->regions, ref);
        if (bytes == NULL)
            return false;
        memcpy(to, bytes, ref->len);
        to += ref->len;
        const struct nt_pool *pool = ip->regions.entry[ref->region].pool;
        if (pool != NULL && !nt_pool_current(pool, ref))
            return false;
    }
    return true;
}

static uint8_t *packet_in(const struct nt_ip *ip, uint32_t buffer)
{
    const struct nt_pool *pool = &ip->buffers.owner.view;
    return pool->base + nt_pool_offset(pool, buffer) + NT_POOL_HEADROOM;
}

int64_t nt_ip_gather(struct nt_ip *ip, const struct nt_ip_out *out, uint32_t *len)
{
    uint32_t header_bytes = nt_ip_header_bytes(out);
    *len = header_bytes + out->len;
    int64_t buffer = nt_buffers_take(&ip->buffers, *len, NT_BUFFER_DELAYED);
    if (buffer < 0) {
        nt_ip_count(ip, NT_IP_COUNT_NO_BUFFER);
        return -1;
    }
    uint8_t *packet = packet_in(ip, (uint32_t)buffer);
    if (nt_addr_is_v4(out->dst))
        nt_ip_header(out, nt_ip_next_id(ip, out), out->len, 0, false, packet);
    else
        ipv6_header(out, packet);
    if (!copy_payload(ip, out, packet + header_bytes)) {
        nt_ip_release(ip, (uint32_t)buffer);
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
        return -1;
    }
    nt_txn_crash_point(&ip->txn);
    return buffer;
}

// How much of a packet a driver wants to see inline.
static uint32_t header_bytes(uint8_t protocol, const uint8_t *transport, uint32_t len)
{
    uint32_t bytes = NT_UDP_HEADER_BYTES;
    if (protocol == NT_IPPROTO_TCP && len >= TCP_HEADER_BYTES)
        bytes = (uint32_t)(transport[TCP_DATA_OFFSET] >> 4) * 4;
    return nt_min_u32(nt_min_u32(bytes, len), NT_IP_INLINE_MAX);
}

void nt_ip_out_from_buffer(const struct nt_ip *ip, uint32_t buffer, uint32_t len,
                           struct nt_ip_out *out)
{
    const struct nt_pool *pool = &ip->buffers.owner.view;
    const uint8_t *packet = packet_in(ip, buffer), *transport = packet + NT_IPV4_HEADER_BYTES;
    memset(out, 0, offsetof(struct nt_ip_out, data));
    nt_addr_from_v4(out->src, nt_ipv4_src(packet));
    nt_addr_from_v4(out->dst, nt_ipv4_dst(packet));
    out->protocol = nt_ipv4_protocol(packet);
    out->ttl = nt_ipv4_ttl(packet);
    out->tos = nt_ipv4_tos(packet);
    out->df = (nt_ipv4_fragment(packet) & NT_IPV4_DF) != 0;
    out->upper = NT_IP_UPPERS;
    out->len = len - NT_IPV4_HEADER_BYTES;
    out->inline_len = (uint8_t)header_bytes(out->protocol, transport, out->len);
    memcpy(out->data, transport, out->inline_len);
    if (out->inline_len == out->len)
        return;
    out->ref_count = 1;
    out->ref[0] = (struct nt_ref){
        .offset = (uint64_t)(transport - pool->base) + out->inline_len,
        .len = out->len - out->inline_len,
        .region = pool->region,
        .use = ip->buffers.record[buffer].use,
    };
}

// -- Sending ---------------------------------------------------------------------------------

static void too_big(struct nt_ip *ip, const struct nt_ip_out *out, uint32_t mtu)
{
    nt_ip_count(ip, NT_IP_COUNT_TOO_BIG);
    nt_ip_icmp_local_error(ip, out, NT_ICMP_UNREACHABLE, NT_ICMP_FRAGMENTATION_NEEDED, mtu);
}

static void send_frame(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                       const struct nt_ip_out *out)
{
    struct nt_desc *desc = nt_ip_frame(ip, interface, mac, NT_ETHERTYPE_IPV4);
    if (desc == NULL)
        return;
    nt_ip_header(out, nt_ip_next_id(ip, out), out->len, 0, false, desc->data + NT_IP_L2_BYTES);
    memcpy(desc->data + NT_IP_HEADERS_BYTES, out->data, out->inline_len);
    desc->inline_len = (uint8_t)(NT_IP_HEADERS_BYTES + out->inline_len);
    desc->l4_offset = NT_IP_HEADERS_BYTES;
    desc->flags = out->flags;
    desc->gso_size = out->gso_size;
    desc->flow_hash = out->flow_hash;
    desc->tag = out->upper < NT_IP_LANES ? out->upper + 1u : 0;
    desc->ref_count = out->ref_count;
    memcpy(desc->ref, out->ref, sizeof desc->ref);
    nt_ip_frame_push(ip, interface);
    nt_ip_count(ip, NT_IP_COUNT_OUT_PACKETS);
}

// What a wire segment of a super-segment comes to, IP header included.
static uint32_t segment_bytes(const struct nt_ip_out *out)
{
    uint32_t header = header_bytes(out->protocol, out->data, out->inline_len);
    return NT_IPV4_HEADER_BYTES + header + out->gso_size;
}

static void transmit(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                     const struct nt_ip_out *packet)
{
    const struct nt_interface *conf = &ip->conf.interface[interface];
    struct nt_ip_out out = *packet;
    bool super = out.gso_size != 0;
    if (super && out.len > (uint64_t)conf->gso_max + NT_IP_INLINE_MAX) {
        nt_ip_count(ip, NT_IP_COUNT_TOO_BIG); // the transport knows gso_max: its mistake
        return;
    }
    uint32_t wire_bytes = super ? segment_bytes(&out) : NT_IPV4_HEADER_BYTES + out.len;
    bool cut = wire_bytes > conf->mtu;
    if (cut && (out.df || super)) {
        too_big(ip, &out, conf->mtu);
        return;
    }
    bool software = cut || (conf->flags & NT_INTERFACE_CSUM_TX) == 0;
    if ((out.flags & NT_DESC_CSUM_PARTIAL) && software && !nt_ip_complete_checksum(ip, &out)) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
        return;
    }
    if (cut)
        nt_ip_fragment(ip, interface, mac, &out);
    else
        send_frame(ip, interface, mac, &out);
}

void nt_ip_transmit_buffer(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                           const struct nt_ip_out *out, uint32_t buffer)
{
    if (!nt_ip_in_flight_room(ip)) {
        nt_ip_count(ip, NT_IP_COUNT_DRIVER_FULL);
        nt_ip_release(ip, buffer);
        return;
    }
    uint32_t before = ip->link[interface].out.tail;
    transmit(ip, interface, mac, out);
    if (ip->link[interface].out.tail != before && out->ref_count != 0)
        nt_ip_in_flight_add(ip, interface, buffer);
    else
        nt_ip_release(ip, buffer);
}

// Where a packet goes; NULL, and everything done, if it goes nowhere or has been copied.
static const uint8_t *next_hop(struct nt_ip *ip, const struct nt_ip_out *out, uint32_t *interface,
                               uint8_t group_mac[6])
{
    const struct nt_ip_cached_path *path = find_path(ip, out->dst);
    if (path == NULL) {
        nt_ip_count(ip, NT_IP_COUNT_NO_ROUTE);
        nt_ip_icmp_local_error(ip, out, NT_ICMP_UNREACHABLE, NT_ICMP_NET_UNREACHABLE, 0);
        return NULL;
    }
    *interface = path->path.interface;
    if (*interface == NT_INTERFACE_LOOPBACK) {
        nt_ip_loopback(ip, out);
        return NULL;
    }
    if (nt_addr_is_loopback(out->src)) { // RFC 1122 §3.2.1.3 (g): never outside of a host
        nt_ip_count(ip, NT_IP_COUNT_BAD_SOURCE);
        return NULL;
    }
    if (path->group) {
        nt_ip_group_mac(out->dst, group_mac);
        return group_mac;
    }
    return nt_ip_neighbour_resolve(ip, &path->path, out);
}

void nt_ip_output(struct nt_ip *ip, const struct nt_ip_out *out)
{
    uint32_t interface;
    uint8_t group_mac[6];
    const uint8_t *mac = next_hop(ip, out, &interface, group_mac);
    if (mac != NULL)
        transmit(ip, interface, mac, out);
}

void nt_ip_output_buffer(struct nt_ip *ip, const struct nt_ip_out *out, uint32_t buffer)
{
    uint32_t interface;
    uint8_t group_mac[6];
    const uint8_t *mac = next_hop(ip, out, &interface, group_mac);
    if (mac != NULL)
        nt_ip_transmit_buffer(ip, interface, mac, out, buffer);
    else
        nt_ip_release(ip, buffer);
}

// -- From above ------------------------------------------------------------------------------

// Reads a descriptor that the transport made; false if it cannot be one of ours.
static bool read_segment(const struct nt_desc *desc, uint32_t upper, struct nt_ip_out *out)
{
    if (desc->inline_len < NT_TX_META_BYTES || desc->inline_len > NT_DESC_INLINE_BYTES ||
        desc->ref_count > 2)
        return false;
    struct nt_tx_meta meta;
    memcpy(&meta, desc->data, sizeof meta);
    nt_addr_copy(out->src, meta.src);
    nt_addr_copy(out->dst, meta.dst);
    out->protocol = meta.protocol;
    out->ttl = meta.ttl != 0 ? meta.ttl : NT_IP_DEFAULT_TTL;
    out->tos = meta.tos;
    out->df = meta.df != 0;
    out->flags = desc->flags & (NT_DESC_CSUM_PARTIAL | NT_DESC_CSUM_VALID);
    out->upper = (uint8_t)upper;
    out->gso_size = desc->gso_size;
    out->flow_hash = desc->flow_hash;
    out->inline_len = (uint8_t)(desc->inline_len - NT_TX_META_BYTES);
    memcpy(out->data, desc->data + NT_TX_META_BYTES, out->inline_len);
    out->ref_count = desc->ref_count;
    memcpy(out->ref, desc->ref, sizeof out->ref);
    uint64_t len = out->inline_len;
    for (uint32_t i = 0; i < out->ref_count; i++)
        len += out->ref[i].len;
    out->len = (uint32_t)nt_min_u64(len, UINT32_MAX);
    return len <= NT_IPV4_TOTAL_MAX_BYTES - NT_IPV4_HEADER_BYTES;
}

static bool is_icmp_error(const struct nt_ip_out *out)
{
    return out->protocol == NT_IPPROTO_ICMP &&
           (out->inline_len == 0 || nt_icmp_is_error(out->data[0]));
}

static void segment(struct nt_ip *ip, const struct nt_desc *desc, uint32_t upper)
{
    struct nt_ip_out out;
    if (!read_segment(desc, upper, &out)) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
        return;
    }
    nt_ip_count(ip, NT_IP_COUNT_OUT_SEGMENTS);
    if (nt_addr_is_v4(out.src) != nt_addr_is_v4(out.dst) ||
        !nt_netconf_is_local(&ip->conf, out.src)) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_SOURCE);
        return;
    }
    // UDP makes "port unreachable" itself; the allowance is the host's.
    if (is_icmp_error(&out) && !nt_ip_icmp_allow(ip))
        return;
    nt_ip_output(ip, &out);
}

static void steer(struct nt_ip *ip, const struct nt_desc *desc, uint32_t upper)
{
    struct nt_steer said;
    memcpy(&said, desc->data, sizeof said);
    nt_ip_exact_set(ip, upper, &said);
}

static void stolen(struct nt_ip *ip, const struct nt_desc *desc, uint32_t upper)
{
    struct nt_stolen said;
    memcpy(&said, desc->data, sizeof said);
    nt_ip_groups_stolen(ip, upper, &said);
}

void nt_ip_segment_input(struct nt_ip *ip, uint32_t upper)
{
    struct nt_consumer *in = &ip->upper[upper].in;
    struct nt_desc desc;
    memcpy(&desc, nt_consumer_slot(in), sizeof desc);
    bool whole = desc.check == nt_desc_check(in->head);
    nt_consumer_advance(in);
    if (whole && desc.kind == NT_DESC_SEGMENT)
        segment(ip, &desc, upper);
    else if (whole && desc.kind == NT_DESC_FENCE && desc.tag == nt_ip_fence_source(upper))
        nt_ip_fence(ip, desc.tag, desc.arg);
    else if (whole && desc.kind == NT_DESC_STEER && upper < NT_IP_LANES &&
             desc.inline_len == sizeof(struct nt_steer))
        steer(ip, &desc, upper);
    else if (whole && desc.kind == NT_DESC_NOT_MINE && upper < NT_IP_LANES)
        nt_ip_not_mine(ip, upper, &desc);
    else if (whole && desc.kind == NT_DESC_GROUP && upper < NT_IP_LANES)
        nt_ip_groups_word(ip, upper, desc.tag, desc.arg);
    else if (whole && desc.kind == NT_DESC_STOLEN && upper < NT_IP_LANES &&
             desc.inline_len == sizeof(struct nt_stolen))
        stolen(ip, &desc, upper);
    else
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
    nt_txn_crash_point(&ip->txn);
}
