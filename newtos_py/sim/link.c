// link.c: a heap of packets under way.
#include "newtos_py/sim/link.h"

#include <stdlib.h>

#include "newtos_py/net/addr.h"
#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/tcp.h"

void nt_sim_link_init(struct nt_sim_link *link, const struct nt_sim_link_config *config,
                      uint64_t seed)
{
    *link = (struct nt_sim_link){.config = *config, .random = {seed}};
}

void nt_sim_link_free(struct nt_sim_link *link)
{
    for (uint32_t i = 0; i < link->count; i++)
        free(link->heap[i].data);
    free(link->heap);
    free(link->trace);
    *link = (struct nt_sim_link){0};
}

// -- The heap ------------------------------------------------------------------------------------

static bool earlier(const struct nt_sim_flight *a, const struct nt_sim_flight *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void swap(struct nt_sim_link *link, uint32_t a, uint32_t b)
{
    struct nt_sim_flight flight = link->heap[a];
    link->heap[a] = link->heap[b];
    link->heap[b] = flight;
}

static void push(struct nt_sim_link *link, struct nt_sim_flight flight)
{
    if (link->count == link->room) {
        link->room = link->room == 0 ? 64 : link->room * 2;
        link->heap = realloc(link->heap, link->room * sizeof(*link->heap));
        nt_assert(link->heap != NULL);
    }
    flight.order = link->order++;
    uint32_t i = link->count++;
    link->heap[i] = flight;
    for (; i != 0 && earlier(&link->heap[i], &link->heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(link, i, (i - 1) / 2);
}

uint64_t nt_sim_link_next_ns(const struct nt_sim_link *link)
{
    return link->count == 0 ? NT_NEVER : link->heap[0].due_ns;
}

void nt_sim_link_take(struct nt_sim_link *link, struct nt_sim_flight *flight)
{
    nt_assert(link->count != 0);
    *flight = link->heap[0];
    link->heap[0] = link->heap[--link->count];
    for (uint32_t i = 0;;) {
        uint32_t least = i;
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < link->count; child++)
            if (earlier(&link->heap[child], &link->heap[least]))
                least = child;
        if (least == i)
            return;
        swap(link, i, least);
        i = least;
    }
}

// -- Trace ---------------------------------------------------------------------------------------

static void note(struct nt_sim_link *link, uint64_t now_ns, uint32_t to, const uint8_t *data,
                 uint32_t len, enum nt_sim_fate fate)
{
    if (!link->config.trace)
        return;
    if (link->trace_count == link->trace_room) {
        link->trace_room = link->trace_room == 0 ? 1024 : link->trace_room * 2;
        link->trace = realloc(link->trace, link->trace_room * sizeof(*link->trace));
        nt_assert(link->trace != NULL);
    }
    const uint8_t *tcp = data + NT_IPV4_HEADER_BYTES;
    uint32_t headers = NT_IPV4_HEADER_BYTES + (uint32_t)(tcp[NT_TCP_DATA_OFFSET] >> 4) * 4;
    link->trace[link->trace_count++] = (struct nt_sim_trace){
        .at_ns = now_ns,
        .to = to,
        .seq = nt_get32(tcp + NT_TCP_SEQ),
        .ack = nt_get32(tcp + NT_TCP_ACKNOWLEDGMENT),
        .len = len - headers,
        .src_port = nt_get16(tcp + NT_TCP_SRC_PORT),
        .dst_port = nt_get16(tcp + NT_TCP_DST_PORT),
        .window = nt_get16(tcp + NT_TCP_WINDOW),
        .flags = tcp[NT_TCP_FLAGS],
        .fate = (uint8_t)fate,
    };
}

// -- Sending -------------------------------------------------------------------------------------

static void send_copy(struct nt_sim_link *link, uint64_t now_ns, uint32_t to, const uint8_t *data,
                      uint32_t len)
{
    enum nt_sim_fate fate = NT_SIM_SENT;
    struct nt_sim_flight flight = {.due_ns = now_ns + link->config.delay_ns, .to = to, .len = len};
    if (link->config.jitter_ns != 0)
        flight.due_ns += nt_sim_next(&link->random) % link->config.jitter_ns;
    flight.data = malloc(len);
    nt_assert(flight.data != NULL);
    memcpy(flight.data, data, len);
    if (nt_sim_chance(&link->random, link->config.corrupt_ppm)) {
        uint32_t at = nt_sim_below(&link->random, len - NT_IPV4_HEADER_BYTES);
        flight.data[NT_IPV4_HEADER_BYTES + at] ^= (uint8_t)(1 + nt_sim_below(&link->random, 255));
        link->corrupted++;
        fate = NT_SIM_CORRUPTED;
    }
    note(link, now_ns, to, data, len, fate);
    push(link, flight);
}

static void send_one(struct nt_sim_link *link, uint64_t now_ns, uint32_t to, const uint8_t *data,
                     uint32_t len)
{
    link->sent++;
    if (nt_sim_chance(&link->random, link->config.loss_ppm)) {
        link->lost++;
        note(link, now_ns, to, data, len, NT_SIM_LOST);
        return;
    }
    send_copy(link, now_ns, to, data, len);
    if (nt_sim_chance(&link->random, link->config.duplicate_ppm))
        send_copy(link, now_ns, to, data, len);
}

// One wire segment of a super-segment, as a network card cuts it.
static uint32_t cut_segment(const struct nt_sim_packet *super, uint32_t offset, uint8_t *out)
{
    const uint8_t *tcp = super->data + NT_IPV4_HEADER_BYTES;
    uint32_t header_bytes = (uint32_t)(tcp[NT_TCP_DATA_OFFSET] >> 4) * 4;
    uint32_t payload = super->len - NT_IPV4_HEADER_BYTES - header_bytes;
    uint32_t len = nt_min_u32(super->gso_size, payload - offset);
    memcpy(out, super->data, NT_IPV4_HEADER_BYTES + header_bytes);
    memcpy(out + NT_IPV4_HEADER_BYTES + header_bytes, tcp + header_bytes + offset, len);
    uint8_t *own = out + NT_IPV4_HEADER_BYTES;
    nt_put32(own + NT_TCP_SEQ, nt_get32(tcp + NT_TCP_SEQ) + offset);
    if (offset + len != payload)
        own[NT_TCP_FLAGS] &= (uint8_t) ~(NT_TCP_FIN | NT_TCP_PSH);
    nt_put16(own + NT_TCP_CHECKSUM, 0);
    nt_ipv4_set_total_bytes(out, (uint16_t)(NT_IPV4_HEADER_BYTES + header_bytes + len));
    nt_ipv4_fill_checksum(out, NT_IPV4_HEADER_BYTES);
    uint8_t src[16], dst[16];
    nt_addr_from_v4(src, nt_ipv4_src(out));
    nt_addr_from_v4(dst, nt_ipv4_dst(out));
    uint32_t sum = nt_csum_pseudo(src, dst, NT_IPPROTO_TCP, header_bytes + len);
    nt_csum_store(own + NT_TCP_CHECKSUM, nt_csum_finish(nt_csum(own, header_bytes + len, sum)));
    return NT_IPV4_HEADER_BYTES + header_bytes + len;
}

void nt_sim_link_send(struct nt_sim_link *link, uint64_t now_ns, uint32_t to,
                      const struct nt_sim_packet *packet)
{
    if (!link->config.cut || packet->gso_size == 0) {
        send_one(link, now_ns, to, packet->data, packet->len);
        return;
    }
    uint32_t tcp_bytes =
        (uint32_t)(packet->data[NT_IPV4_HEADER_BYTES + NT_TCP_DATA_OFFSET] >> 4) * 4;
    uint32_t payload = packet->len - NT_IPV4_HEADER_BYTES - tcp_bytes;
    uint8_t segment[2048];
    nt_assert(packet->gso_size + 80u <= sizeof(segment));
    for (uint32_t offset = 0; offset < payload; offset += packet->gso_size)
        send_one(link, now_ns, to, segment, cut_segment(packet, offset, segment));
}
