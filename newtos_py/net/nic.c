// nic.c: see nic.h. Why C: it runs for every packet.
#include "newtos_py/net/nic.h"

#include "newtos_py/net/addr.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/tcp.h"

struct headers { // of a TCP segment over IPv4, as they stand in the frame
    uint8_t src[16];
    uint8_t dst[16];
    uint16_t src_port;
    uint16_t dst_port;
};

// False if it is none, or a fragment: the ports are in the first one only. Copied first: the
// sender's host may still write to a received frame.
static bool read_headers(const uint8_t *frame, uint32_t bytes, struct headers *out)
{
    enum { PORTS_BYTES = 4 };
    uint8_t copy[NT_ETHERNET_HEADER_BYTES + NT_IPV4_HEADER_MAX_BYTES + PORTS_BYTES];
    uint32_t len = nt_min_u32(bytes, sizeof copy);
    if (len < NT_ETHERNET_HEADER_BYTES + NT_IPV4_HEADER_BYTES + PORTS_BYTES)
        return false;
    memcpy(copy, frame, len);
    const uint8_t *ip = copy + NT_ETHERNET_HEADER_BYTES;
    uint32_t header_bytes = nt_ipv4_header_bytes(ip);
    if (nt_ethernet_type(copy) != NT_ETHERTYPE_IPV4 || nt_ipv4_version(ip) != 4 ||
        nt_ipv4_protocol(ip) != NT_IPPROTO_TCP || header_bytes < NT_IPV4_HEADER_BYTES ||
        (nt_ipv4_fragment(ip) & (NT_IPV4_MF | NT_IPV4_OFFSET_MASK)) != 0 ||
        len < NT_ETHERNET_HEADER_BYTES + header_bytes + PORTS_BYTES)
        return false;
    nt_addr_from_v4(out->src, nt_ipv4_src(ip));
    nt_addr_from_v4(out->dst, nt_ipv4_dst(ip));
    out->src_port = nt_get16(ip + header_bytes);
    out->dst_port = nt_get16(ip + header_bytes + 2);
    return true;
}

void nt_nic_init(struct nt_nic *nic, const struct nt_steering_config *config, const uint8_t *groups)
{
    memset(nic, 0, sizeof *nic);
    nt_steering_init(&nic->steering, config);
    nic->groups = groups;
}

static uint32_t group_queue(const struct nt_nic *nic, uint32_t group)
{
    if (nic->groups == NULL)
        return nic->steering.group[group];
    uint32_t both = nt_load_relaxed(&nic->groups[group / 2]);
    return (group % 2 == 0 ? both : both >> 4) & 15;
}

static uint32_t queue_of(const struct nt_nic *nic, const struct nt_flow *flow, uint32_t hash)
{
    const struct nt_steering *steering = &nic->steering;
    switch ((enum nt_steering_kind)steering->config.kind) {
    case NT_STEERING_RSS:
        break;
    case NT_STEERING_FLOW_GROUPS:
        return group_queue(nic, nt_steering_flow_group(flow));
    case NT_STEERING_RFD:
        return nt_steering_rfd(steering, flow, hash);
    case NT_STEERING_TWENTY: {
        uint32_t known = nt_twenty_find(&nic->twenty, hash);
        if (known < steering->config.lanes)
            return known;
        break;
    }
    }
    return nt_steering_rss(steering, hash);
}

struct nt_nic_choice nt_nic_receive(struct nt_nic *nic, const uint8_t *frame, uint32_t bytes)
{
    struct headers headers;
    if (!read_headers(frame, bytes, &headers))
        return (struct nt_nic_choice){0};
    struct nt_flow flow = {headers.src, headers.dst, headers.src_port, headers.dst_port};
    uint32_t hash = nt_steering_rss_flow_hash(&nic->steering, &flow);
    return (struct nt_nic_choice){.hash = hash, .queue = queue_of(nic, &flow, hash) + 1};
}

void nt_nic_sent(struct nt_nic *nic, const struct nt_desc *frame)
{
    struct headers headers;
    uint32_t queue = frame->tag - 1; // tag 0: from no lane
    if (nic->steering.config.kind != NT_STEERING_TWENTY || queue >= nic->steering.config.lanes ||
        !read_headers(frame->data, frame->inline_len, &headers) ||
        !nt_twenty_sample(&nic->twenty, queue))
        return;
    // As its answers arrive.
    struct nt_flow flow = {headers.dst, headers.src, headers.dst_port, headers.src_port};
    nt_twenty_learn(&nic->twenty, nt_steering_rss_flow_hash(&nic->steering, &flow), queue);
}
