#include "servers/ip/ethernet.h"

#include "servers/ip/arp.h"
#include "servers/ip/input.h"

const uint8_t nt_ip_broadcast_mac[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

void nt_ip_group_mac(const uint8_t dst[16], uint8_t mac[6])
{
    memcpy(mac, nt_ip_broadcast_mac, 6);
    if (!nt_addr_is_multicast(dst))
        return;
    const uint8_t *v4 = nt_addr_v4(dst);
    const uint8_t group[6] = {0x01, 0x00, 0x5e, v4[1] & 0x7f, v4[2], v4[3]};
    memcpy(mac, group, 6);
}

struct nt_desc *nt_ip_frame(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                            uint16_t type)
{
    struct nt_ip_link *link = &ip->link[interface];
    if (!link->exists || nt_producer_room(&link->out, 1) == 0) {
        nt_ip_count(ip, NT_IP_COUNT_DRIVER_FULL);
        return NULL;
    }
    struct nt_desc *desc = nt_producer_slot(&link->out);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_FRAME;
    desc->check = nt_desc_check(link->out.tail);
    desc->inline_len = NT_ETHERNET_HEADER_BYTES;
    struct nt_ethernet header = {.type = type};
    memcpy(header.dst, mac, 6);
    memcpy(header.src, ip->conf.interface[interface].mac, 6);
    nt_ethernet_emit(&header, desc->data);
    return desc;
}

void nt_ip_frame_push(struct nt_ip *ip, uint32_t interface)
{
    nt_producer_advance(&ip->link[interface].out);
    ip->link[interface].pushed = true;
    nt_txn_crash_point(&ip->txn);
}

void nt_ip_frame_return(struct nt_ip *ip, uint32_t interface, const struct nt_ref *ref)
{
    struct nt_ip_link *link = &ip->link[interface];
    int64_t buffer = nt_pool_buffer_at(&link->pool, ref->offset, ref->len);
    // A return channel has as many slots as the pool has buffers: it is full only if the driver
    // hands out what it has not got back. Then the buffer is the driver's to find.
    if (buffer < 0 || nt_producer_room(&link->returns, 1) == 0) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
        return;
    }
    struct nt_return *slot = nt_producer_slot(&link->returns);
    *slot = (struct nt_return){
        .buffer = (uint32_t)buffer, .use = ref->use, .region = link->pool.region};
    nt_producer_advance(&link->returns);
    nt_txn_crash_point(&ip->txn);
}

// True if the station with our MAC should look at a frame for `dst`.
static bool for_us(const struct nt_ip *ip, uint32_t interface, const uint8_t dst[6])
{
    return nt_mac_is_group(dst) || memcmp(dst, ip->conf.interface[interface].mac, 6) == 0;
}

// Returns true if the buffer was handed on.
static bool frame_bytes(struct nt_ip *ip, uint32_t interface, const struct nt_desc *desc,
                        const uint8_t *bytes)
{
    const struct nt_ref *ref = &desc->ref[0];
    struct nt_ethernet header;
    if (!nt_ethernet_parse(&header, bytes, ref->len)) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_ETHERNET);
        return false;
    }
    if (!for_us(ip, interface, header.dst)) {
        nt_ip_count(ip, NT_IP_COUNT_OTHER_STATION);
        return false;
    }
    if (header.type == NT_ETHERTYPE_ARP) {
        nt_ip_arp_input(ip, interface, bytes + NT_IP_L2_BYTES, ref->len - NT_IP_L2_BYTES);
        return false;
    }
    if (header.type != NT_ETHERTYPE_IPV4) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_ETHERNET);
        return false;
    }
    struct nt_ip_in in = {
        .bytes = bytes + NT_IP_L2_BYTES,
        .ref = *ref,
        .interface = interface,
        .nic_hash = desc->flow_hash,
        .nic_queue = desc->arg,
        .gso_size = desc->gso_size,
        .flags = desc->flags & (NT_DESC_CSUM_PARTIAL | NT_DESC_CSUM_VALID),
        .link_group = nt_mac_is_group(header.dst),
    };
    in.ref.offset += NT_IP_L2_BYTES;
    in.ref.len -= NT_IP_L2_BYTES;
    return nt_ip_input(ip, &in);
}

void nt_ip_frame_input(struct nt_ip *ip, uint32_t interface)
{
    struct nt_ip_link *link = &ip->link[interface];
    struct nt_desc desc; // only its head: nothing is inline on the way up
    memcpy(&desc, nt_consumer_slot(&link->in), offsetof(struct nt_desc, data));
    bool whole = desc.check == nt_desc_check(link->in.head) && desc.kind == NT_DESC_FRAME &&
                 desc.ref_count == 1 && desc.ref[0].region == link->pool.region;
    nt_consumer_advance(&link->in);
    if (!whole) {
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
        return;
    }
    nt_ip_count(ip, NT_IP_COUNT_IN_PACKETS);
    const uint8_t *bytes = nt_pool_read(&link->pool, &desc.ref[0]);
    if (bytes == NULL) {
        // The driver was started anew meanwhile and has the buffer back.
        nt_ip_count(ip, NT_IP_COUNT_STALE_REFERENCE);
        return;
    }
    if (!frame_bytes(ip, interface, &desc, bytes))
        nt_ip_frame_return(ip, interface, &desc.ref[0]);
    nt_txn_crash_point(&ip->txn);
}
