// gso.c: see gso.h. Why C: it runs for every segment.
#include "newtos_py/net/gso.h"

#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/ipv4.h"

enum {
    IP_OFFSET = NT_ETHERNET_HEADER_BYTES,
    TCP_MIN_BYTES = 20,
    // Offsets within the TCP header (RFC 9293 §3.1).
    TCP_SEQ = 4,
    TCP_DATA_OFFSET = 12,
    TCP_FLAGS = 13,
    TCP_CHECKSUM = 16,
    FIN = 0x01,
    PSH = 0x08,
    CWR = 0x80,
};

// Ethernet, IPv4 and TCP header bytes if all of them are inline, else 0.
static uint32_t header_bytes(const struct nt_desc *super)
{
    const uint8_t *data = super->data;
    if (super->inline_len < IP_OFFSET + NT_IPV4_HEADER_BYTES + TCP_MIN_BYTES ||
        nt_ethernet_type(data) != NT_ETHERTYPE_IPV4)
        return 0;
    const uint8_t *ip = data + IP_OFFSET;
    uint32_t l4 = IP_OFFSET + nt_ipv4_header_bytes(ip);
    if (nt_ipv4_version(ip) != 4 || nt_ipv4_header_bytes(ip) < NT_IPV4_HEADER_BYTES ||
        nt_ipv4_protocol(ip) != NT_IPPROTO_TCP || super->l4_offset != l4 ||
        l4 + TCP_MIN_BYTES > super->inline_len)
        return 0;
    uint32_t tcp_bytes = (uint32_t)(data[l4 + TCP_DATA_OFFSET] >> 4) * 4;
    bool whole = tcp_bytes >= TCP_MIN_BYTES && l4 + tcp_bytes <= super->inline_len;
    return whole ? l4 + tcp_bytes : 0;
}

int nt_gso_open(struct nt_gso *gso, const struct nt_desc *super, uint64_t frame_bytes)
{
    gso->super = super;
    gso->header_bytes = header_bytes(super);
    if (gso->header_bytes == 0 || super->gso_size == 0 ||
        (super->flags & NT_DESC_CSUM_PARTIAL) == 0 ||
        frame_bytes > IP_OFFSET + NT_IPV4_TOTAL_MAX_BYTES || frame_bytes <= gso->header_bytes)
        return -1;
    gso->payload_bytes = (uint32_t)frame_bytes - gso->header_bytes;
    gso->segments = (gso->payload_bytes + super->gso_size - 1) / super->gso_size;
    return gso->segments <= NT_GSO_SEGMENTS_MAX ? 0 : -1;
}

// Payload [from, from + len): the inline bytes after the headers come first, then the references.
static void take_payload(const struct nt_gso *gso, uint32_t from, uint32_t len,
                         struct nt_desc *segment)
{
    const struct nt_desc *super = gso->super;
    uint32_t inline_bytes = super->inline_len - gso->header_bytes;
    if (from < inline_bytes) {
        uint32_t n = nt_min_u32(len, inline_bytes - from);
        memcpy(segment->data + segment->inline_len, super->data + gso->header_bytes + from, n);
        segment->inline_len = (uint8_t)(segment->inline_len + n);
        from += n;
        len -= n;
    }
    from -= inline_bytes;
    for (uint32_t i = 0; i < super->ref_count && len != 0; i++) {
        struct nt_ref ref = super->ref[i];
        if (from >= ref.len) {
            from -= ref.len;
            continue;
        }
        ref.offset += from;
        ref.len = nt_min_u32(len, ref.len - from);
        segment->ref[segment->ref_count++] = ref;
        len -= ref.len;
        from = 0;
    }
}

static void fix_ip(uint8_t *ip, uint32_t i, uint32_t total_bytes)
{
    nt_ipv4_set_total_bytes(ip, (uint16_t)total_bytes);
    // RFC 6864 asks for distinct identifications only where DF is clear; they are always.
    nt_put16(ip + NT_IPV4_ID, (uint16_t)(nt_ipv4_id(ip) + i));
    nt_ipv4_fill_checksum(ip, nt_ipv4_header_bytes(ip));
}

static void fix_tcp(uint8_t *tcp, uint32_t from, uint32_t shorter_by, bool first, bool last)
{
    nt_put32(tcp + TCP_SEQ, nt_get32(tcp + TCP_SEQ) + from);
    uint8_t clear = (uint8_t)((last ? 0 : FIN | PSH) | (first ? 0 : CWR));
    tcp[TCP_FLAGS] = (uint8_t)(tcp[TCP_FLAGS] & ~clear);
    // The partial sum holds the super-segment's TCP length: take off what this one is shorter by.
    uint8_t delta[2];
    nt_put16(delta, (uint16_t)~shorter_by);
    uint32_t sum = nt_csum(delta, sizeof(delta), 0);
    sum = nt_csum(tcp + TCP_CHECKSUM, 2, sum);
    nt_csum_store(tcp + TCP_CHECKSUM, nt_csum_fold(sum));
}

void nt_gso_segment(const struct nt_gso *gso, uint32_t i, struct nt_desc *segment)
{
    const struct nt_desc *super = gso->super;
    uint32_t from = i * super->gso_size;
    uint32_t len = nt_min_u32(super->gso_size, gso->payload_bytes - from);
    memset(segment, 0, offsetof(struct nt_desc, data));
    segment->kind = NT_DESC_FRAME;
    segment->flags = super->flags;
    segment->l4_offset = super->l4_offset;
    segment->flow_hash = super->flow_hash;
    segment->inline_len = (uint8_t)gso->header_bytes;
    memcpy(segment->data, super->data, gso->header_bytes);
    take_payload(gso, from, len, segment);
    fix_ip(segment->data + IP_OFFSET, i, gso->header_bytes - IP_OFFSET + len);
    fix_tcp(segment->data + super->l4_offset, from, gso->payload_bytes - len, i == 0,
            i == gso->segments - 1);
}
