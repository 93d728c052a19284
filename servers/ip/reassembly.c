#include "servers/ip/reassembly.h"

#include <stdio.h>

#include "servers/ip/icmp.h"
#include "servers/ip/input.h"

enum {
    TIMEOUT_S = 30, // Linux's ipfrag_time; RFC 1122 §3.3.2 wants 60 to 120, of slower days
    // Payload lies here in the buffer, so that the longest header fits before it, aligned.
    PAYLOAD_AT = NT_POOL_HEADROOM + 64,
    ECN_MASK = 3,
    ECN_NOT_ECT = 0,
    ECN_CE = 3,
};

static uint8_t *payload_of(const struct nt_ip *ip, const struct nt_ip_reassembly *entry)
{
    const struct nt_pool *pool = &ip->buffers.owner.view;
    return pool->base + nt_pool_offset(pool, entry->buffer) + PAYLOAD_AT;
}

// -- Entries ---------------------------------------------------------------------------------

static bool same_datagram(const struct nt_ip_reassembly *entry, const struct nt_ip_in *in)
{
    return entry->id == in->ip.id && entry->protocol == in->ip.protocol &&
           memcmp(entry->src, in->ip.src, 4) == 0 && memcmp(entry->dst, in->ip.dst, 4) == 0;
}

static void forget(struct nt_ip *ip, struct nt_ip_reassembly *entry)
{
    NT_IP_TOUCH(ip, entry);
    entry->started_ns = 0;
}

static void discard(struct nt_ip *ip, struct nt_ip_reassembly *entry)
{
    nt_ip_release(ip, entry->buffer);
    forget(ip, entry);
}

static struct nt_ip_reassembly *find(struct nt_ip *ip, const struct nt_ip_in *in)
{
    for (uint32_t i = 0; i < NT_IP_REASSEMBLIES; i++) {
        struct nt_ip_reassembly *entry = &ip->state->reassembly[i];
        if (entry->started_ns != 0 && same_datagram(entry, in))
            return entry;
    }
    return NULL;
}

// A free entry; if there is none, that of the datagram that has waited longest.
static struct nt_ip_reassembly *make_room(struct nt_ip *ip)
{
    struct nt_ip_reassembly *victim = &ip->state->reassembly[0];
    for (uint32_t i = 0; i < NT_IP_REASSEMBLIES; i++) {
        struct nt_ip_reassembly *entry = &ip->state->reassembly[i];
        if (entry->started_ns == 0)
            return entry;
        if (entry->started_ns < victim->started_ns)
            victim = entry;
    }
    nt_ip_count(ip, NT_IP_COUNT_REASSEMBLY_EVICTED);
    discard(ip, victim);
    return victim;
}

static struct nt_ip_reassembly *begin(struct nt_ip *ip, const struct nt_ip_in *in)
{
    struct nt_ip_reassembly *entry = make_room(ip);
    // How long the datagram is nobody knows yet.
    int64_t buffer = nt_buffers_take(&ip->buffers, NT_IPV4_TOTAL_MAX_BYTES, NT_BUFFER_DELAYED);
    if (buffer < 0) {
        nt_ip_count(ip, NT_IP_COUNT_NO_BUFFER);
        return NULL;
    }
    NT_IP_TOUCH(ip, entry);
    *entry = (struct nt_ip_reassembly){
        .mark = entry->mark,
        .buffer = (uint32_t)buffer,
        .started_ns = ip->now_ns != 0 ? ip->now_ns : 1,
        .id = in->ip.id,
        .protocol = in->ip.protocol,
        .interface = (uint8_t)in->interface,
        .group = in->group || in->link_group,
    };
    memcpy(entry->src, in->ip.src, 4);
    memcpy(entry->dst, in->ip.dst, 4);
    nt_ip_timer(ip, entry->started_ns + TIMEOUT_S * NT_IP_S);
    return entry;
}

// -- Ranges ----------------------------------------------------------------------------------

enum fit { FIT_NEW, FIT_DUPLICATE, FIT_OVERLAP };

static enum fit fits(const struct nt_ip_reassembly *entry, uint32_t start, uint32_t end)
{
    for (uint32_t i = 0; i < entry->range_count; i++) {
        const struct nt_ip_range *range = &entry->range[i];
        if (start >= range->start && end <= range->end)
            return FIT_DUPLICATE;
        if (start < range->end && end > range->start)
            return FIT_OVERLAP;
    }
    return FIT_NEW;
}

static void remove_range(struct nt_ip_reassembly *entry, uint32_t index)
{
    entry->range_count--;
    memmove(&entry->range[index], &entry->range[index + 1],
            (entry->range_count - index) * sizeof(struct nt_ip_range));
}

// Adds a range that overlaps none, joined with those it touches; false if there is no room.
static bool add_range(struct nt_ip_reassembly *entry, uint32_t start, uint32_t end)
{
    uint32_t at = 0;
    while (at < entry->range_count && entry->range[at].end < start)
        at++;
    if (at < entry->range_count && entry->range[at].end == start) {
        entry->range[at].end = end;
        if (at + 1 < entry->range_count && entry->range[at + 1].start == end) {
            entry->range[at].end = entry->range[at + 1].end;
            remove_range(entry, at + 1);
        }
        return true;
    }
    if (at < entry->range_count && entry->range[at].start == end) {
        entry->range[at].start = start;
        return true;
    }
    if (entry->range_count == NT_IP_RANGES)
        return false;
    memmove(&entry->range[at + 1], &entry->range[at],
            (entry->range_count - at) * sizeof(struct nt_ip_range));
    entry->range[at] = (struct nt_ip_range){.start = start, .end = end};
    entry->range_count++;
    return true;
}

static uint32_t known_end(const struct nt_ip_reassembly *entry)
{
    return entry->range_count == 0 ? 0 : entry->range[entry->range_count - 1].end;
}

// False if the last fragment contradicts what is there, or another one lies beyond it.
static bool end_agrees(const struct nt_ip_reassembly *entry, uint32_t end, bool last)
{
    if (entry->total != 0)
        return last ? end == entry->total : end <= entry->total;
    return !last || known_end(entry) <= end;
}

// -- Fragments -------------------------------------------------------------------------------

// A length that is no multiple of eight, an empty fragment, or one that reaches beyond 64 kB.
static bool malformed(const struct nt_ip_in *in, uint32_t start, uint32_t end)
{
    return start == end || (in->ip.more_fragments && (end - start) % 8 != 0) ||
           in->ip.header_bytes + end > NT_IPV4_TOTAL_MAX_BYTES;
}

// Copies payload, and the header if it is the first fragment's; false if the driver took the
// buffer back meanwhile.
static bool copy(struct nt_ip *ip, struct nt_ip_reassembly *entry, const struct nt_ip_in *in,
                 uint32_t start, uint32_t end)
{
    uint8_t *payload = payload_of(ip, entry);
    memcpy(payload + start, in->bytes + in->ip.header_bytes, end - start);
    if (start == 0) {
        memcpy(payload - in->ip.header_bytes, in->bytes, in->ip.header_bytes);
        entry->header_bytes = in->ip.header_bytes;
    }
    const struct nt_pool *pool = ip->regions.entry[in->ref.region].pool;
    return nt_pool_current(pool, &in->ref);
}

static bool complete(const struct nt_ip_reassembly *entry)
{
    return entry->total != 0 && entry->range_count == 1 && entry->range[0].start == 0 &&
           entry->range[0].end == entry->total;
}

// RFC 3168 §5.3: one fragment's CE is the datagram's, unless another says that it is not ECT.
static bool merge_ecn(const struct nt_ip_reassembly *entry, uint8_t *tos)
{
    if ((entry->ecn_seen & 1 << ECN_CE) == 0)
        return true;
    *tos |= ECN_CE;
    return (entry->ecn_seen & 1 << ECN_NOT_ECT) == 0;
}

// The header is made anew from what was parsed of the first fragment's: options, which nobody above
// reads, stay as they were.
static bool finish_header(const struct nt_ip_reassembly *entry, uint8_t *header)
{
    uint32_t total = entry->header_bytes + entry->total;
    if (total > NT_IPV4_TOTAL_MAX_BYTES || !merge_ecn(entry, &header[NT_IPV4_TOS]))
        return false;
    header[NT_IPV4_VERSION_IHL] = (uint8_t)(4 << 4 | entry->header_bytes / 4);
    memcpy(header + NT_IPV4_SRC, entry->src, 4);
    memcpy(header + NT_IPV4_DST, entry->dst, 4);
    header[NT_IPV4_PROTOCOL] = entry->protocol;
    nt_ipv4_set_total_bytes(header, (uint16_t)total);
    nt_ipv4_set_fragment(header, 0);
    nt_ipv4_fill_checksum(header, entry->header_bytes);
    return true;
}

static void finish(struct nt_ip *ip, struct nt_ip_reassembly *entry)
{
    uint8_t *header = payload_of(ip, entry) - entry->header_bytes;
    if (!finish_header(entry, header)) {
        nt_ip_count(ip, NT_IP_COUNT_FRAGMENTS_BAD);
        discard(ip, entry);
        return;
    }
    nt_ip_count(ip, NT_IP_COUNT_REASSEMBLED);
    struct nt_ip_in in = {
        .interface = entry->interface, .group = entry->group != 0, .link_group = entry->group != 0};
    forget(ip, entry);
    nt_ip_input_own(ip, &in, entry->buffer, PAYLOAD_AT - entry->header_bytes,
                    entry->header_bytes + entry->total);
}

void nt_ip_reassembly_input(struct nt_ip *ip, const struct nt_ip_in *in)
{
    uint32_t start = in->ip.fragment_offset;
    uint32_t end = start + in->ip.total_bytes - in->ip.header_bytes;
    bool last = !in->ip.more_fragments;
    nt_ip_count(ip, NT_IP_COUNT_FRAGMENTS_IN);
    if (malformed(in, start, end)) {
        nt_ip_count(ip, NT_IP_COUNT_FRAGMENTS_BAD);
        return;
    }
    struct nt_ip_reassembly *entry = find(ip, in);
    if (entry == NULL)
        entry = begin(ip, in);
    if (entry == NULL)
        return;
    NT_IP_TOUCH(ip, entry);
    enum fit fit = fits(entry, start, end);
    if (fit == FIT_DUPLICATE)
        return;
    if (fit == FIT_OVERLAP || !end_agrees(entry, end, last)) {
        nt_ip_count(ip,
                    fit == FIT_OVERLAP ? NT_IP_COUNT_FRAGMENTS_OVERLAP : NT_IP_COUNT_FRAGMENTS_BAD);
        discard(ip, entry);
        return;
    }
    // A stale copy, or no room for its range: the datagram cannot be trusted to be whole.
    if (!copy(ip, entry, in, start, end) || !add_range(entry, start, end)) {
        nt_ip_count(ip, NT_IP_COUNT_FRAGMENTS_BAD);
        discard(ip, entry);
        return;
    }
    entry->ecn_seen |= (uint8_t)(1 << (in->ip.tos & ECN_MASK));
    if (last)
        entry->total = end;
    nt_txn_crash_point(&ip->txn);
    if (complete(entry))
        finish(ip, entry);
}

// -- Timers ----------------------------------------------------------------------------------

// RFC 1122 §3.3.2: the sender hears of it if the first fragment came.
static void time_exceeded(struct nt_ip *ip, const struct nt_ip_reassembly *entry)
{
    if (entry->header_bytes == 0)
        return;
    const struct nt_pool *pool = &ip->buffers.owner.view;
    struct nt_ip_in in = {.bytes = payload_of(ip, entry) - entry->header_bytes,
                          .interface = entry->interface,
                          .group = entry->group != 0};
    in.ref = (struct nt_ref){.offset = (uint64_t)(in.bytes - pool->base),
                             .len = entry->header_bytes + entry->range[0].end,
                             .region = pool->region,
                             .use = ip->buffers.record[entry->buffer].use};
    in.ip = (struct nt_ipv4){.header_bytes = entry->header_bytes,
                             .protocol = entry->protocol,
                             .total_bytes = (uint16_t)in.ref.len};
    nt_addr_from_v4(in.src, entry->src);
    nt_addr_from_v4(in.dst, entry->dst);
    nt_ip_icmp_error(ip, &in, NT_ICMP_TIME_EXCEEDED, NT_ICMP_REASSEMBLY_EXCEEDED, 0);
}

void nt_ip_reassembly_timers(struct nt_ip *ip)
{
    for (uint32_t i = 0; i < NT_IP_REASSEMBLIES; i++) {
        struct nt_ip_reassembly *entry = &ip->state->reassembly[i];
        uint64_t due_ns = entry->started_ns + TIMEOUT_S * NT_IP_S;
        if (entry->started_ns == 0)
            continue;
        if (due_ns > ip->now_ns) {
            nt_ip_timer(ip, due_ns);
            continue;
        }
        nt_ip_count(ip, NT_IP_COUNT_REASSEMBLY_TIMEOUT);
        time_exceeded(ip, entry);
        discard(ip, entry);
    }
}

static bool ranges_sorted(const struct nt_ip_reassembly *entry)
{
    if (entry->range_count > NT_IP_RANGES)
        return false;
    for (uint32_t i = 0; i < entry->range_count; i++) {
        const struct nt_ip_range *range = &entry->range[i];
        if (range->start >= range->end || (i != 0 && range[-1].end >= range->start))
            return false;
    }
    return entry->total == 0 || known_end(entry) <= entry->total;
}

int nt_ip_reassembly_audit(const struct nt_ip *ip, uint8_t held[NT_BUFFERS_MAX], char *why,
                           uint64_t why_bytes)
{
    for (uint32_t i = 0; i < NT_IP_REASSEMBLIES; i++) {
        const struct nt_ip_reassembly *entry = &ip->state->reassembly[i];
        if (entry->started_ns == 0)
            continue;
        if (!ranges_sorted(entry) || complete(entry) || entry->buffer >= ip->buffers.count) {
            (void)snprintf(why, why_bytes, "reassembly %u: its ranges are not in order", i);
            return -1;
        }
        held[entry->buffer]++;
    }
    return 0;
}
