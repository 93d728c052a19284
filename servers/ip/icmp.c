#include "servers/ip/icmp.h"

#include "servers/ip/input.h"
#include "servers/ip/output.h"

enum {
    ERRORS_PER_S = 1000, // Linux's icmp_msgs_per_sec and icmp_msgs_burst
    ERRORS_BURST = 50,
    // Bytes of the packet an error is about: what fits inline. RFC 792 asks for 8 behind the
    // header.
    QUOTE_MAX = NT_IP_INLINE_MAX - NT_ICMP_HEADER_BYTES,
    QUOTE_MIN = 8,
};

bool nt_ip_icmp_allow(struct nt_ip *ip)
{
    uint64_t elapsed = ip->now_ns - ip->icmp_refilled_ns;
    uint64_t fresh = elapsed / (NT_IP_S / ERRORS_PER_S);
    if (fresh != 0) {
        ip->icmp_tokens = (uint32_t)nt_min_u64(ip->icmp_tokens + fresh, ERRORS_BURST);
        ip->icmp_refilled_ns = ip->now_ns;
    }
    if (ip->icmp_tokens == 0) {
        nt_ip_count(ip, NT_IP_COUNT_ICMP_LIMITED);
        return false;
    }
    ip->icmp_tokens--;
    return true;
}

// -- Echo ------------------------------------------------------------------------------------

static struct nt_ip_out answer_to(const struct nt_ip_in *in)
{
    struct nt_ip_out out = {
        .protocol = NT_IPPROTO_ICMP,
        .ttl = NT_IP_DEFAULT_TTL,
        .tos = in->ip.tos,
        .upper = NT_IP_UPPERS,
    };
    nt_addr_copy(out.src, in->dst);
    nt_addr_copy(out.dst, in->src);
    return out;
}

// False if the driver took the buffer back while we were copying from it.
static bool still_there(const struct nt_ip *ip, const struct nt_ip_in *in)
{
    const struct nt_pool *pool = ip->regions.entry[in->ref.region].pool;
    return nt_pool_current(pool, &in->ref);
}

static void small_echo(struct nt_ip *ip, const struct nt_ip_in *in, struct nt_ip_out *out,
                       const struct nt_icmp *reply)
{
    memcpy(out->data, in->bytes + in->ip.header_bytes, out->len);
    out->inline_len = (uint8_t)out->len;
    nt_icmp_emit(reply, out->data, out->len);
    if (still_there(ip, in))
        nt_ip_output(ip, out);
}

static void large_echo(struct nt_ip *ip, const struct nt_ip_in *in, struct nt_ip_out *out,
                       const struct nt_icmp *reply)
{
    int64_t buffer = nt_buffers_take(&ip->buffers, out->len, NT_BUFFER_DELAYED);
    if (buffer < 0) {
        nt_ip_count(ip, NT_IP_COUNT_NO_BUFFER);
        return;
    }
    const struct nt_pool *pool = &ip->buffers.owner.view;
    uint64_t offset = nt_pool_offset(pool, (uint32_t)buffer) + NT_POOL_HEADROOM;
    memcpy(pool->base + offset, in->bytes + in->ip.header_bytes, out->len);
    nt_icmp_emit(reply, pool->base + offset, out->len);
    memcpy(out->data, pool->base + offset, NT_ICMP_HEADER_BYTES);
    out->inline_len = NT_ICMP_HEADER_BYTES;
    out->ref_count = 1;
    out->ref[0] = (struct nt_ref){
        .offset = offset + NT_ICMP_HEADER_BYTES,
        .len = out->len - NT_ICMP_HEADER_BYTES,
        .region = pool->region,
        .use = ip->buffers.record[buffer].use,
    };
    nt_txn_crash_point(&ip->txn);
    if (still_there(ip, in))
        nt_ip_output_buffer(ip, out, (uint32_t)buffer);
    else
        nt_ip_release(ip, (uint32_t)buffer);
}

static void echo(struct nt_ip *ip, const struct nt_ip_in *in, const struct nt_icmp *request)
{
    if (in->group || in->link_group) // RFC 1122 §3.2.2.6 allows silence; it stops smurfs
        return;
    nt_ip_count(ip, NT_IP_COUNT_ICMP_ECHO);
    nt_ip_count(ip, NT_IP_COUNT_ICMP_OUT);
    const struct nt_icmp reply = {.type = NT_ICMP_ECHO_REPLY, .rest = request->rest};
    struct nt_ip_out out = answer_to(in);
    out.len = (uint32_t)(in->ip.total_bytes - in->ip.header_bytes);
    if (out.len <= NT_IP_INLINE_MAX)
        small_echo(ip, in, &out, &reply);
    else
        large_echo(ip, in, &out, &reply);
}

// -- Errors about our packets ----------------------------------------------------------------

// The lane of the connection whose packet is quoted: where its peer's go.
static uint32_t quoted_lane(struct nt_ip *ip, const uint8_t *header, const uint8_t *ports)
{
    uint8_t src[16], dst[16];
    nt_addr_from_v4(src, nt_ipv4_src(header));
    nt_addr_from_v4(dst, nt_ipv4_dst(header));
    struct nt_flow arriving = {dst, src, nt_get16(ports + 2), nt_get16(ports)};
    return nt_ip_lane(ip, &arriving, 0);
}

// The upper server whose packet is quoted, or NT_IP_UPPERS if it can't be one of ours.
static uint32_t quoted_upper(struct nt_ip *ip, const uint8_t *quote, uint32_t len)
{
    uint8_t header[NT_IPV4_HEADER_MAX_BYTES];
    if (len < NT_IPV4_HEADER_BYTES + QUOTE_MIN)
        return NT_IP_UPPERS;
    memcpy(header, quote, nt_min_u32(len, sizeof header));
    uint32_t header_bytes = nt_ipv4_header_bytes(header);
    uint8_t src[16];
    nt_addr_from_v4(src, nt_ipv4_src(header));
    if (nt_ipv4_version(header) != 4 || header_bytes < NT_IPV4_HEADER_BYTES ||
        len < header_bytes + QUOTE_MIN || !nt_netconf_is_local(&ip->conf, src) ||
        (nt_ipv4_fragment(header) & NT_IPV4_OFFSET_MASK) != 0)
        return NT_IP_UPPERS;
    switch (nt_ipv4_protocol(header)) {
    case NT_IPPROTO_TCP:
        return quoted_lane(ip, header, quote + header_bytes);
    case NT_IPPROTO_UDP:
        return NT_IP_UPPER_UDP;
    default:
        return NT_IP_UPPERS;
    }
}

static bool error_about_ours(struct nt_ip *ip, const struct nt_ip_in *in)
{
    uint32_t at = in->ip.header_bytes + NT_ICMP_HEADER_BYTES;
    uint32_t upper = quoted_upper(ip, in->bytes + at, in->ip.total_bytes - at);
    if (upper == NT_IP_UPPERS || !ip->upper[upper].exists) {
        nt_ip_count(ip, NT_IP_COUNT_ICMP_BAD);
        return false;
    }
    nt_ip_count(ip, NT_IP_COUNT_ICMP_ERRORS_UP);
    return nt_ip_hand_up(ip, upper, NT_DESC_ICMP, in);
}

bool nt_ip_icmp_input(struct nt_ip *ip, const struct nt_ip_in *in)
{
    const uint8_t *message = in->bytes + in->ip.header_bytes;
    uint32_t len = (uint32_t)(in->ip.total_bytes - in->ip.header_bytes);
    struct nt_icmp icmp;
    nt_ip_count(ip, NT_IP_COUNT_ICMP_IN);
    if (!nt_icmp_parse(&icmp, message, len) || !nt_icmp_checksum_ok(message, len)) {
        nt_ip_count(ip, NT_IP_COUNT_ICMP_BAD);
        return false;
    }
    switch (icmp.type) {
    case NT_ICMP_ECHO_REQUEST:
        echo(ip, in, &icmp);
        return false;
    case NT_ICMP_UNREACHABLE:
    case NT_ICMP_TIME_EXCEEDED:
    case NT_ICMP_PARAMETER_PROBLEM:
        return error_about_ours(ip, in);
    default:
        // Echo replies have no socket that waits for them; redirects are not believed (RFC 1122
        // §3.2.2.2 lets a host's routes be fixed); the rest is obsolete.
        return false;
    }
}

// -- Errors about others' packets ------------------------------------------------------------

static bool may_be_answered(const struct nt_ip_in *in)
{
    if (in->group || in->link_group || in->ip.fragment_offset != 0 ||
        nt_addr_is_unspecified(in->src) || in->interface == NT_INTERFACE_LOOPBACK)
        return false;
    if (in->ip.protocol != NT_IPPROTO_ICMP)
        return true;
    return in->ip.total_bytes > in->ip.header_bytes &&
           !nt_icmp_is_error(in->bytes[in->ip.header_bytes]);
}

void nt_ip_icmp_error(struct nt_ip *ip, const struct nt_ip_in *in, uint8_t type, uint8_t code,
                      uint32_t rest)
{
    if (!may_be_answered(in) || !nt_ip_icmp_allow(ip))
        return;
    const struct nt_icmp icmp = {.type = type, .code = code, .rest = rest};
    struct nt_ip_out out = answer_to(in);
    uint32_t quote = nt_min_u32(in->ip.total_bytes, QUOTE_MAX);
    out.tos = 0xc0; // RFC 1812 §4.3.2.5: internetwork control
    out.len = NT_ICMP_HEADER_BYTES + quote;
    out.inline_len = (uint8_t)out.len;
    memcpy(out.data + NT_ICMP_HEADER_BYTES, in->bytes, quote);
    nt_icmp_emit(&icmp, out.data, out.len);
    nt_ip_count(ip, NT_IP_COUNT_ICMP_OUT);
    nt_ip_output(ip, &out);
}

void nt_ip_icmp_local_error(struct nt_ip *ip, const struct nt_ip_out *out, uint8_t type,
                            uint8_t code, uint32_t rest)
{
    if (out->upper >= NT_IP_UPPERS || out->inline_len < QUOTE_MIN || !nt_addr_is_v4(out->src))
        return; // of IPv6 there is loopback only, where nothing can be wrong
    const struct nt_icmp icmp = {.type = type, .code = code, .rest = rest};
    struct nt_ip_out error = {.protocol = NT_IPPROTO_ICMP, .ttl = NT_IP_DEFAULT_TTL, .df = true};
    nt_addr_copy(error.src, out->src);
    nt_addr_copy(error.dst, out->src);
    uint8_t message[NT_ICMP_HEADER_BYTES + NT_IPV4_HEADER_BYTES + NT_IP_INLINE_MAX];
    uint32_t len = NT_ICMP_HEADER_BYTES + NT_IPV4_HEADER_BYTES + out->inline_len;
    nt_ip_header(out, 0, out->len, 0, false, message + NT_ICMP_HEADER_BYTES);
    memcpy(message + NT_ICMP_HEADER_BYTES + NT_IPV4_HEADER_BYTES, out->data, out->inline_len);
    nt_icmp_emit(&icmp, message, len);
    int64_t buffer = nt_buffers_take(&ip->buffers, NT_IPV4_HEADER_BYTES + len, NT_BUFFER_DELAYED);
    if (buffer < 0) {
        nt_ip_count(ip, NT_IP_COUNT_NO_BUFFER);
        return;
    }
    const struct nt_pool *pool = &ip->buffers.owner.view;
    uint8_t *packet = pool->base + nt_pool_offset(pool, (uint32_t)buffer) + NT_POOL_HEADROOM;
    nt_ip_header(&error, 0, len, 0, false, packet);
    memcpy(packet + NT_IPV4_HEADER_BYTES, message, len);
    struct nt_ip_in in = {
        .interface = NT_INTERFACE_LOOPBACK,
        .flags = NT_DESC_LOOPBACK | NT_DESC_CSUM_VALID,
    };
    nt_ip_input_own(ip, &in, (uint32_t)buffer, NT_POOL_HEADROOM, NT_IPV4_HEADER_BYTES + len);
}
