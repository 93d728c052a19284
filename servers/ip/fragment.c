#include "servers/ip/fragment.h"

#include "servers/ip/ethernet.h"
#include "servers/ip/output.h"

// Puts transport bytes [from, from + len) into a descriptor: what is inline of them is copied, the
// rest referenced. Any range touches at most two references.
static void put_range(const struct nt_ip_out *out, uint32_t from, uint32_t len,
                      struct nt_desc *desc)
{
    uint32_t at = out->inline_len;
    if (from < at) {
        uint32_t part = nt_min_u32(len, at - from);
        memcpy(desc->data + desc->inline_len, out->data + from, part);
        desc->inline_len = (uint8_t)(desc->inline_len + part);
        from += part;
        len -= part;
    }
    for (uint32_t i = 0; i < out->ref_count && len != 0; i++) {
        const struct nt_ref *ref = &out->ref[i];
        if (from < at + ref->len) {
            uint32_t skip = from - at, part = nt_min_u32(len, ref->len - skip);
            desc->ref[desc->ref_count] = *ref;
            desc->ref[desc->ref_count].offset += skip;
            desc->ref[desc->ref_count].len = part;
            desc->ref_count++;
            from += part;
            len -= part;
        }
        at += ref->len;
    }
}

void nt_ip_fragment(struct nt_ip *ip, uint32_t interface, const uint8_t mac[6],
                    const struct nt_ip_out *out)
{
    // All but the last carry a multiple of eight bytes.
    uint32_t piece = (uint32_t)(ip->conf.interface[interface].mtu - NT_IPV4_HEADER_BYTES) & ~7u;
    uint32_t count = (out->len + piece - 1) / piece;
    struct nt_ip_link *link = &ip->link[interface];
    if (count > NT_IP_FRAMES_AN_INPUT || nt_producer_room(&link->out, count) < count) {
        nt_ip_count(ip,
                    count > NT_IP_FRAMES_AN_INPUT ? NT_IP_COUNT_TOO_BIG : NT_IP_COUNT_DRIVER_FULL);
        return;
    }
    uint16_t id = nt_ip_next_id(ip, out);
    for (uint32_t from = 0; from < out->len; from += piece) {
        struct nt_desc *desc = nt_ip_frame(ip, interface, mac, NT_ETHERTYPE_IPV4);
        uint32_t len = nt_min_u32(piece, out->len - from);
        if (desc == NULL)
            return;
        nt_ip_header(out, id, len, from, from + len < out->len, desc->data + NT_IP_L2_BYTES);
        desc->inline_len = NT_IP_HEADERS_BYTES;
        desc->l4_offset = NT_IP_HEADERS_BYTES;
        desc->flow_hash = out->flow_hash;
        put_range(out, from, len, desc);
        nt_ip_frame_push(ip, interface);
    }
    nt_ip_count_n(ip, NT_IP_COUNT_FRAGMENTS_OUT, count);
    nt_ip_count_n(ip, NT_IP_COUNT_OUT_PACKETS, count);
}
