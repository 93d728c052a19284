// tcp_crash.c: the TCP server dying under bad input. Segments made from what its connections
// expect, give or take something; packets, descriptors and ICMP errors of any kind; requests; a
// program that does what programs do and scribbles over every byte it may write; time; and crashes
// at any crash point (tcp.c is the same without them, and closer to one connection). The audit runs
// after every step; at the end the evil program dies and drains, no buffer is missing, and a
// second, well-behaved one still gets a connection.
#include "newtos_py/net/addr.h"
#include "newtos_py/net/netconf.h"
#include "newtos_py/net/tcp.h"
#include "newtos_py/sim/tcp_host.h"
#include "servers/tcp/seq.h"
#include "tests/fuzz/packets.h"
#include "tests/fuzz/samples.h"

enum {
    EVIL = 0, // areas
    GOOD = 1,
    EVIL_PORT = 80,
    GOOD_PORT = 81,
    PEERS = 6, // remote ports
    FIRST_PEER = 1000,
    SECOND_NS = 1000000000,
};

enum operation {
    OP_SEGMENT,  // peer, flags, seq, ack, window, length, options
    OP_PACKET,   // kind, flags, bytes
    OP_DESC,     // bytes
    OP_SCRIBBLE, // where, bytes
    OP_HINTS,    // where, bytes
    OP_PROGRAM,  // slot, action, amount
    OP_REQUEST,
    OP_TIME,
    OP_CRASH,
    OP_FENCES,
    OPERATIONS,
};

struct lab {
    struct nt_sim_host *host;
    uint64_t now_ns;
    uint32_t requests;
    uint32_t said; // segments the engine sent
    uint32_t last_seq, last_ack;
    uint8_t last_flags;
    uint16_t last_dst;
    struct nt_sim_packet packet;
    const struct nt_area *area[2];
    struct nt_tcp_view view;
};

static struct lab lab;

// -- The lab -------------------------------------------------------------------------------------

static void hear(void)
{
    while (nt_sim_host_collect(lab.host, &lab.packet)) {
        struct nt_tcp_header header;
        nt_assert(lab.packet.len >= NT_IPV4_HEADER_BYTES);
        nt_assert(nt_tcp_parse(&header, lab.packet.data + NT_IPV4_HEADER_BYTES,
                               lab.packet.len - NT_IPV4_HEADER_BYTES));
        lab.said++;
        lab.last_seq = header.seq;
        lab.last_ack = header.ack;
        lab.last_flags = header.flags;
        lab.last_dst = header.dst_port;
    }
}

static void fail(const char *why)
{
    if (why == NULL)
        return;
    fprintf(stderr, "audit: %s\n", why);
    abort();
}

static void settle(void)
{
    for (int turn = 0; turn < 64; turn++) {
        int64_t done = nt_sim_host_step(lab.host, lab.now_ns, NT_ENGINE_BUDGET);
        if (done < 0)
            fail(nt_sim_host_restart(lab.host, false));
        fail(nt_sim_host_audit(lab.host));
        hear();
        if (done == 0 && !nt_sim_host_has_work(lab.host))
            return;
    }
}

static void pass_time(uint64_t ns)
{
    uint64_t end = lab.now_ns + ns;
    settle();
    for (int i = 0; i < 2000 && nt_sim_host_deadline(lab.host) <= end; i++) {
        uint64_t due = nt_sim_host_deadline(lab.host);
        lab.now_ns = due > lab.now_ns ? due : lab.now_ns + 1;
        settle();
    }
    lab.now_ns = end;
    settle();
}

static struct nt_request ask(struct nt_request request)
{
    struct nt_request reply = {.error = UINT32_MAX};
    request.number = ++lab.requests;
    if (nt_sim_host_push_request(lab.host, &request)) {
        settle();
        while (nt_sim_host_pop_reply(lab.host, &reply))
            ;
    }
    return reply;
}

// A listening socket made by hand, as the shim makes one.
static void open_listener(uint32_t number, uint32_t region, uint16_t port)
{
    const struct nt_area *area = lab.area[number];
    uint32_t slot = area->server->grant[area->program->grant_head++ & (NT_AREA_SLOTS_MAX - 1)];
    nt_assert(slot < NT_SIM_SLOTS);
    uint32_t generation = area->slot_server[slot].generation;
    area->slot_program[slot].control = NT_CONTROL_TAKEN;
    area->slot_program[slot].tx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2);
    area->slot_program[slot].generation = generation;
    (void)nt_sim_host_listener(lab.host, region, 4);
    struct nt_request request = {.area = (uint16_t)number, .slot = slot, .generation = generation};
    request.kind = NT_REQ_BIND;
    nt_addr_from_v4(request.endpoint.addr, fuzz_our_ip);
    request.endpoint.port = port;
    nt_assert(ask(request).error == 0);
    request.kind = NT_REQ_LISTEN;
    request.arg = region;
    nt_assert(ask(request).error == 0);
}

static void open_lab(void)
{
    static struct nt_netconf conf;
    conf = (struct nt_netconf){.address_count = 1};
    conf.interface[0].mtu = 1500;
    conf.interface[0].gso_max = 60000;
    conf.interface[NT_INTERFACE_LOOPBACK].mtu = 65535;
    conf.address[0].prefix_bits = 120;
    nt_addr_from_v4(conf.address[0].addr, fuzz_our_ip);
    struct nt_sim_host_config config = {
        .netconf = &conf,
        .netconf_bytes = sizeof(conf),
        .seed = 1,
        .shape = {.tcbs = 32, .time_waits = 4, .listeners = 4, .binding_pages = 4},
    };
    lab.host = nt_sim_host_new(&config);
    lab.now_ns = UINT64_C(1000) * SECOND_NS;
    lab.requests = 0;
    uint64_t bytes;
    const void *arena = nt_sim_host_arena(lab.host, &bytes);
    nt_assert(nt_tcp_view_open(&lab.view, arena, bytes) == 0);
    for (uint32_t i = 0; i < 2; i++) {
        lab.area[i] = nt_sim_host_area(lab.host, i);
        nt_assert(ask((struct nt_request){.kind = NT_REQ_AREA_NEW, .area = (uint16_t)i}).error ==
                  0);
    }
    open_listener(EVIL, 0, EVIL_PORT);
    open_listener(GOOD, 1, GOOD_PORT);
}

// -- Segments ------------------------------------------------------------------------------------

static const struct nt_tcb *connection_of(uint16_t remote_port, uint16_t local_port)
{
    for (uint32_t i = 0; i < lab.view.globals->tcbs; i++) {
        const struct nt_tcb *t = &lab.view.tcb[i];
        if (t->state != NT_TCP_FREE && t->state != NT_TCP_CLOSED && t->remote_port == remote_port &&
            (local_port == 0 || t->local_port == local_port))
            return t;
    }
    return NULL;
}

static void send_segment(const struct nt_tcp_header *header, uint32_t len)
{
    uint8_t packet[NT_IPV4_HEADER_BYTES + NT_TCP_HEADER_MAX_BYTES + 4096];
    uint8_t *l4 = packet + NT_IPV4_HEADER_BYTES;
    uint32_t bytes = nt_tcp_emit(header, l4);
    memset(l4 + bytes, 'x', len);
    uint8_t src[16], dst[16];
    nt_addr_from_v4(src, fuzz_peer_ip);
    nt_addr_from_v4(dst, fuzz_our_ip);
    uint32_t sum = nt_csum_pseudo(src, dst, NT_IPPROTO_TCP, bytes + len);
    nt_csum_store(l4 + NT_TCP_CHECKSUM, nt_csum_finish(nt_csum(l4, bytes + len, sum)));
    uint32_t whole = fuzz_ipv4(packet, NT_IPPROTO_TCP, 1, 0, bytes + len);
    (void)nt_sim_host_deliver(lab.host, packet, whole, 0, NT_DESC_PACKET);
}

// What the connection expects next, off by a little.
static void segment(struct fuzz_input *in)
{
    uint8_t which = fuzz_u8(in);
    struct nt_tcp_header header = {
        .src_port = (uint16_t)(FIRST_PEER + which % PEERS),
        .dst_port = which & 0x80 ? GOOD_PORT : EVIL_PORT,
        .flags = fuzz_u8(in),
        .seq = 5000,
        .mss = 1460,
        .wscale = 7,
    };
    const struct nt_tcb *t = connection_of(header.src_port, 0);
    uint8_t off = fuzz_u8(in);
    if (t != NULL) {
        header.dst_port = t->local_port;
        header.seq = t->rcv_nxt;
        header.ack = off & 1 ? t->snd_una : t->snd_max;
        header.ts_echo = t->ts_recent;
        header.ts_value = t->ts_recent + 1;
    }
    if (off & 2)
        header.seq += fuzz_u16(in) - 32768u;
    if (off & 4)
        header.ack += fuzz_u16(in) - 32768u;
    if (off & 8)
        header.ts_value -= fuzz_u8(in);
    header.window = off & 16 ? fuzz_u16(in) : 60000;
    header.options = off & 32 ? fuzz_u8(in) & 7 : NT_TCP_OPTION_TIMESTAMPS;
    if ((header.flags & NT_TCP_SYN) && !(off & 32))
        header.options = 7;
    send_segment(&header, fuzz_u16(in) % 3000);
}

static void packet(struct fuzz_input *in)
{
    uint8_t bytes[2048];
    uint8_t how = fuzz_u8(in);
    uint32_t len = fuzz_bytes(in, bytes, sizeof bytes);
    if (len != 0)
        (void)nt_sim_host_deliver(lab.host, bytes, len, how >> 4,
                                  how & 1 ? NT_DESC_ICMP : NT_DESC_PACKET);
}

static void descriptor(struct fuzz_input *in)
{
    struct nt_desc desc;
    uint8_t how = fuzz_u8(in);
    memset(&desc, 0, sizeof desc);
    (void)fuzz_bytes(in, (uint8_t *)&desc, sizeof desc);
    for (uint32_t i = 0; i < 2; i++)
        desc.ref[i].use &= 0xfffe; // of no buffer that is out
    (void)nt_sim_host_push_desc(lab.host, &desc, how & 1);
}

// -- The evil program ----------------------------------------------------------------------------

// Header (but for magic and shape, read once at the attach), queue flags, slot blocks, data.
static void scribble(struct fuzz_input *in)
{
    uint64_t bytes;
    uint8_t *base = nt_sim_host_area_part(lab.host, EVIL, NT_SIM_PROGRAM_SIDE, &bytes);
    uint8_t how = fuzz_u8(in);
    uint32_t at = fuzz_u16(in);
    if (how % 4 == 0)
        at = 16 + at % (NT_AREA_PROGRAM_SLOTS_OFFSET - 512);
    else
        at = NT_AREA_PROGRAM_SLOTS_OFFSET + at % (24 * sizeof(struct nt_slot_program));
    (void)fuzz_bytes(in, base + at, 256);
    struct nt_area area = *lab.area[EVIL];
    nt_area_set_activity(&area, how >> 2 & 31);
}

static void hints(struct fuzz_input *in)
{
    uint64_t bytes;
    uint8_t *base = nt_sim_host_area_part(lab.host, EVIL, NT_SIM_HINT_SIDE, &bytes);
    uint32_t at = fuzz_u16(in) % 2048;
    (void)fuzz_bytes(in, base + at, 256);
    lab.area[EVIL]->hints->activity = 1;
}

// What a program does, on a slot that may or may not be in the state for it.
static void program(struct fuzz_input *in)
{
    struct nt_area area = *lab.area[EVIL];
    uint32_t slot = fuzz_u8(in) % 32;
    uint8_t action = fuzz_u8(in);
    uint32_t amount = fuzz_u16(in);
    struct nt_slot_program *block = &area.slot_program[slot];
    const struct nt_slot_server *server = &area.slot_server[slot];
    if (block->generation != server->generation) { // takes or claims it
        memset(block, 0, sizeof(*block));
        block->tx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2);
        block->control = NT_CONTROL_TAKEN;
        block->request = server->reply;
        block->generation = server->generation;
        area.program->grant_head++;
    }
    switch (action % 8) {
    case 0:
    case 1:
        block->tx_tail += amount;
        break;
    case 2:
        block->rx_head = server->rx_tail;
        break;
    case 3:
        block->control |= amount & 0xf;
        break;
    case 4:
        block->options = amount;
        block->user_timeout_ms = amount * 100;
        block->keep_idle_s = (uint16_t)(amount & 7);
        break;
    case 5:
        block->target.port = (uint16_t)(FIRST_PEER + amount % PEERS);
        nt_addr_from_v4(block->target.addr, amount & 0x100 ? fuzz_our_ip : fuzz_peer_ip);
        block->request = (block->request & 0xffffff00) + 0x100 + NT_MAIL_CONNECT;
        break;
    case 6:
        block->rx_want_log2 = (uint16_t)amount;
        break;
    default:
        if (nt_geometry_valid(block->tx_geometry))
            block->tx_geometry = nt_geometry_double(block->tx_geometry, block->tx_tail);
        break;
    }
    nt_area_set_activity(&area, slot);
}

static void any_request(struct fuzz_input *in)
{
    struct nt_request request = {.kind = (uint16_t)(fuzz_u8(in) % 5), .area = fuzz_u8(in) % 3};
    request.slot = fuzz_u8(in) % 40;
    request.generation = fuzz_u8(in) % 3 + 1;
    request.arg = fuzz_u8(in) % 3;
    request.options = fuzz_u8(in);
    request.endpoint.port = fuzz_u8(in);
    nt_addr_from_v4(request.endpoint.addr, fuzz_our_ip);
    // The syscall server never lies about a living program, nor about its own regions.
    if (request.area == GOOD || request.kind == NT_REQ_AREA_DEAD ||
        (request.kind == NT_REQ_LISTEN && request.arg == 1))
        return;
    (void)ask(request);
}

static void operation(struct fuzz_input *in)
{
    switch ((enum operation)(fuzz_u8(in) % OPERATIONS)) {
    case OP_SEGMENT:
        segment(in);
        break;
    case OP_PACKET:
        packet(in);
        break;
    case OP_DESC:
        descriptor(in);
        break;
    case OP_SCRIBBLE:
        scribble(in);
        break;
    case OP_HINTS:
        hints(in);
        break;
    case OP_PROGRAM:
        program(in);
        break;
    case OP_REQUEST:
        any_request(in);
        break;
    case OP_TIME:
        pass_time((uint64_t)fuzz_u16(in) * 1000000 >> fuzz_u8(in) % 16);
        break;
    case OP_CRASH:
        nt_sim_host_crash_at(lab.host, 1 + fuzz_u8(in));
        break;
    case OP_FENCES:
    case OPERATIONS:
        nt_sim_host_hold_fences(lab.host, fuzz_u8(in) & 1);
        break;
    }
    settle();
}

// -- The end -------------------------------------------------------------------------------------

static void evil_program_ends(void)
{
    nt_sim_host_crash_at(lab.host, 0);
    nt_sim_host_hold_fences(lab.host, false);
    struct nt_request dead = {.number = 1 << 20, .kind = NT_REQ_AREA_DEAD, .area = EVIL}, reply;
    nt_assert(nt_sim_host_push_request(lab.host, &dead));
    pass_time(UINT64_C(2000) * SECOND_NS);
    bool answered = false;
    while (nt_sim_host_pop_reply(lab.host, &reply))
        answered |= reply.number == dead.number;
    nt_assert(answered);
    nt_assert(nt_sim_host_buffers_out(lab.host) == 0);
    for (uint32_t i = 0; i < lab.view.globals->tcbs; i++)
        nt_assert(lab.view.tcb[i].state == NT_TCP_FREE || lab.view.tcb[i].area != EVIL);
}

static void good_program_goes_on(void)
{
    struct nt_tcp_header header = {
        .src_port = 9999, .dst_port = GOOD_PORT, .flags = NT_TCP_SYN, .seq = 77, .window = 1000};
    send_segment(&header, 0);
    settle();
    nt_assert(lab.last_flags == (NT_TCP_SYN | NT_TCP_ACK) && lab.last_dst == 9999);
    const struct nt_tcb *t = connection_of(9999, GOOD_PORT);
    nt_assert(t != NULL);
    header.flags = NT_TCP_ACK;
    header.seq = 78;
    header.ack = lab.last_seq + 1;
    send_segment(&header, 5);
    settle();
    nt_assert(t->state == NT_TCP_ESTABLISHED && t->area == GOOD);
    nt_assert(lab.area[GOOD]->slot_server[t->slot].rx_tail == 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {.at = data, .end = data + size}, one;
    open_lab();
    while (fuzz_next(&in, &one))
        operation(&one);
    evil_program_ends();
    // Whoever connected to the good one meanwhile may fill its queue: it accepts them all.
    struct nt_listener *region = nt_sim_host_listener_view(lab.host, 1);
    struct nt_accept_offer offer;
    while (nt_listener_find(region, GOOD, &offer))
        nt_assert(nt_listener_claim(region, &offer, offer.entry.area, offer.entry.slot));
    good_program_goes_on();
    nt_sim_host_free(lab.host);
    return 0;
}

// -- Samples -------------------------------------------------------------------------------------

static size_t segment_sample(uint32_t number, uint8_t *out)
{
    static const uint8_t flags[8] = {NT_TCP_SYN,
                                     NT_TCP_ACK,
                                     NT_TCP_ACK,
                                     NT_TCP_ACK | NT_TCP_PSH,
                                     NT_TCP_ACK | NT_TCP_FIN,
                                     NT_TCP_ACK,
                                     NT_TCP_SYN | NT_TCP_ACK,
                                     NT_TCP_RST | NT_TCP_ACK};
    out[0] = OP_SEGMENT;
    out[1] = (uint8_t)(number % 4); // few peers, so that they get somewhere
    out[2] = flags[(number >> 2) % 8];
    out[3] = (number >> 5) % 4 == 0 ? (uint8_t)(number >> 7 & 63) : 0;
    for (uint32_t i = 4; i < 12; i++)
        out[i] = (uint8_t)((number >> 5) % 2 ? 0u : number >> i);
    return 12;
}

size_t fuzz_sample(uint32_t number, uint8_t out[FUZZ_SAMPLE_MAX])
{
    uint32_t rest = number >> 4;
    memset(out, 0, 64);
    switch (number % 16) {
    case 0:
        out[0] = OP_PACKET;
        out[1] = (uint8_t)(rest & 0xf1);
        return 2 + fuzz_icmp_error(out + 2, NT_IPPROTO_TCP, (uint8_t)(rest % 5), EVIL_PORT);
    case 1:
        out[0] = OP_SCRIBBLE;
        break;
    case 2:
        out[0] = rest % 2 ? OP_HINTS : OP_DESC;
        break;
    case 3:
        out[0] = OP_REQUEST;
        break;
    case 4:
        out[0] = OP_TIME;
        break;
    case 5:
        out[0] = rest % 2 ? OP_CRASH : OP_FENCES;
        break;
    case 6:
    case 7:
    case 8:
        out[0] = OP_PROGRAM;
        out[1] = (uint8_t)(15 + rest % 6); // those of accepted connections, mostly
        out[2] = (uint8_t)(rest >> 3);
        nt_put16(out + 3, (uint16_t)(rest >> 8));
        return 5;
    default:
        return segment_sample(rest, out);
    }
    for (uint32_t i = 1; i < 40; i++)
        out[i] = (uint8_t)(rest * (i + 3) >> i % 16);
    return 40;
}
