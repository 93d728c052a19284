// tcp.c: the TCP server's inputs: segments of a peer that follows its connections and then strays,
// raw packets, ICMP errors, requests, fences, time, and a program that scribbles over every byte it
// may write. The audit runs after every step; at the end, with the evil program dead and all timers
// past, no buffer is missing, and a second program still gets its SYN out.
#include "newtos_py/net/tcp.h"
#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/listener.h"
#include "newtos_py/kernel/request.h"
#include "newtos_py/net/addr.h"
#include "servers/tcp/engine.h"
#include "tests/fuzz/packets.h"
#include "tests/fuzz/samples.h"

enum {
    SMALL = 24,
    LARGE = 6,
    SLOTS = 8,
    GOOD = 0, // areas
    EVIL = 1,
    PORT = 80,
    PEERS = 8, // ports that the peer uses: 1000 and on
    ENTRIES = 16,
    SEGMENT_MAX = 3000,
};

enum operation {
    OP_SEGMENT,  // of a connection that is followed, more or less
    OP_RAW,      // bytes behind an IPv4 header
    OP_ICMP,     // about a connection
    OP_SCRIBBLE, // where, length, bytes: in what the evil program writes
    OP_HINTS,
    OP_WRITE, // the evil program sends or reads as it should
    OP_CONTROL,
    OP_CONNECT,
    OP_ACCEPT,
    OP_REQUEST,
    OP_TIME,
    OP_PASS_FENCES,
    OPERATIONS,
};

struct area {
    uint8_t *program;
    uint8_t *hint;
    struct nt_area view;
};

struct peer { // what the other host knows of a connection
    uint32_t seq;
    uint32_t ack;
    uint16_t our_port;
};

struct lab {
    struct fuzz_memory memory;
    struct nt_tcp_engine *tcp;
    struct nt_engine *engine;
    uint64_t now_ns;
    struct nt_producer from_ip;
    struct nt_consumer to_ip;
    struct nt_producer from_syscall;
    struct nt_consumer to_syscall;
    struct nt_consumer returns;
    struct nt_pool_owner pool;
    uint32_t stack[SMALL + LARGE];
    uint32_t out;
    struct nt_status *driver_status;
    struct area area[2];
    struct nt_listener listener;
    struct peer peer[PEERS];
    uint64_t fence;
    uint32_t requests;
    uint32_t syns;
};

static struct lab lab;

static struct nt_tcp_span span(void *base, uint64_t bytes)
{
    return (struct nt_tcp_span){.base = base, .bytes = bytes};
}

static struct nt_tcp_span channel(uint32_t slot_bytes)
{
    return span(fuzz_channel(&lab.memory, slot_bytes), nt_channel_bytes(FUZZ_SLOTS, slot_bytes));
}

// -- The neighbours --------------------------------------------------------------------------

static void take_returns(void)
{
    struct nt_return ret;
    while (nt_consumer_pop(&lab.returns, &ret)) {
        nt_assert(nt_pool_give_back(&lab.pool, ret));
        lab.out--;
    }
}

// What the peer learns from a segment: where its own acknowledgements and data go on.
static void follow(const struct nt_desc *desc)
{
    struct nt_tcp_header header;
    if (!nt_tcp_parse(&header, desc->data + NT_TX_META_BYTES,
                      (uint64_t)desc->inline_len - NT_TX_META_BYTES))
        return;
    lab.syns += (header.flags & NT_TCP_SYN) != 0;
    uint32_t index = header.dst_port - 1000u;
    if (index >= PEERS)
        return;
    struct peer *peer = &lab.peer[index];
    uint32_t len = desc->ref_count > 0 ? desc->ref[0].len : 0;
    len += desc->ref_count > 1 ? desc->ref[1].len : 0;
    len += (header.flags & NT_TCP_SYN ? 1u : 0) + (header.flags & NT_TCP_FIN ? 1u : 0);
    peer->our_port = header.src_port;
    peer->ack = header.seq + len;
    if (header.flags & NT_TCP_ACK)
        peer->seq = header.ack;
}

static void take_segments(void)
{
    struct nt_desc desc;
    while (nt_consumer_pop(&lab.to_ip, &desc)) {
        if (desc.kind == NT_DESC_FENCE) {
            lab.fence = desc.arg;
            continue;
        }
        nt_assert(desc.kind == NT_DESC_SEGMENT && desc.ref_count <= 2 &&
                  desc.inline_len >= NT_TX_META_BYTES + NT_TCP_HEADER_BYTES &&
                  desc.inline_len <= NT_DESC_INLINE_BYTES);
        for (uint32_t i = 0; i < desc.ref_count; i++)
            nt_assert(desc.ref[i].offset >= NT_AREA_PROGRAM_DATA_OFFSET &&
                      desc.ref[i].offset + desc.ref[i].len <= nt_area_program_bytes(SLOTS));
        follow(&desc);
    }
}

static void settle(void)
{
    struct nt_desc reply;
    fuzz_settle(lab.engine, lab.now_ns);
    take_segments();
    take_returns();
    while (nt_consumer_pop(&lab.to_syscall, &reply))
        nt_assert(reply.kind == NT_DESC_REPLY);
}

static void request(uint16_t kind, uint32_t area, uint32_t slot, uint32_t generation, uint16_t port)
{
    struct nt_request request = {.number = ++lab.requests,
                                 .kind = kind,
                                 .area = (uint16_t)area,
                                 .slot = slot,
                                 .generation = generation,
                                 .endpoint = {.port = port}};
    nt_addr_from_v4(request.endpoint.addr, fuzz_our_ip);
    struct nt_desc desc = {.kind = NT_DESC_REQUEST, .inline_len = sizeof request};
    memcpy(desc.data, &request, sizeof request);
    fuzz_push(&lab.from_syscall, &desc, true);
}

// -- Opening ---------------------------------------------------------------------------------

static void open_area(struct area *area, uint32_t number)
{
    area->program = fuzz_region(&lab.memory, nt_area_program_bytes(SLOTS));
    uint8_t *server = fuzz_region(&lab.memory, nt_area_server_bytes(SLOTS));
    area->hint = fuzz_region(&lab.memory, nt_area_hint_bytes());
    nt_area_format(area->program, server, area->hint, SLOTS, 6);
    nt_assert(nt_area_open(&area->view, area->program, server, area->hint, SLOTS) == 0);
    area->view.number = (uint16_t)number;
    nt_assert(nt_tcp_attach_area(lab.tcp, &area->view) == 0);
}

static void open_listener(void)
{
    uint8_t *ring = fuzz_region(&lab.memory, nt_listener_ring_bytes(ENTRIES));
    uint8_t *claims = fuzz_region(&lab.memory, nt_listener_claims_bytes());
    nt_listener_format(ring, claims, ENTRIES, ENTRIES);
    nt_assert(nt_listener_open(&lab.listener, ring, claims, ENTRIES) == 0);
    nt_assert(nt_tcp_map_listener(lab.tcp, 1, &lab.listener) == 0);
}

// Takes a granted slot as a program does; its number.
static uint32_t take_slot(uint32_t number, uint32_t grant)
{
    struct nt_area *view = &lab.area[number].view;
    nt_assert(view->server->grant_tail > grant);
    uint32_t slot = view->server->grant[grant];
    nt_assert(slot < SLOTS);
    view->program->grant_head = grant + 1;
    view->slot_program[slot].tx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2);
    view->slot_program[slot].control = NT_CONTROL_TAKEN;
    view->slot_program[slot].generation = view->slot_server[slot].generation;
    return slot;
}

static void open_socket(void)
{
    uint32_t slot = take_slot(EVIL, 0);
    uint32_t generation = lab.area[EVIL].view.slot_server[slot].generation;
    request(NT_REQ_BIND, EVIL, slot, generation, PORT);
    settle();
    struct nt_request listen = {.number = ++lab.requests,
                                .kind = NT_REQ_LISTEN,
                                .area = EVIL,
                                .slot = slot,
                                .generation = generation,
                                .arg = 1};
    struct nt_desc desc = {.kind = NT_DESC_REQUEST, .inline_len = sizeof listen};
    memcpy(desc.data, &listen, sizeof listen);
    fuzz_push(&lab.from_syscall, &desc, true);
    settle();
}

static void fill_netconf(struct nt_netconf *conf)
{
    conf->address_count = 1;
    conf->interface[0] = (struct nt_interface){.mtu = 1500, .gso_max = 65415, .flags = 1};
    conf->interface[NT_INTERFACE_LOOPBACK].mtu = 65535;
    conf->address[0].prefix_bits = 120;
    nt_addr_from_v4(conf->address[0].addr, fuzz_our_ip);
}

static void open_pools(struct nt_tcp_config *config)
{
    uint64_t bytes = nt_pool_bytes(SMALL, LARGE);
    for (uint32_t region = NT_REGION_IP_POOL; region <= NT_REGION_DRIVER_POOL; region++) {
        uint8_t *base = fuzz_region(&lab.memory, bytes);
        nt_pool_format(base, SMALL, LARGE);
        config->pool[region] = span(base, bytes);
        config->returns[region] = channel(sizeof(struct nt_return));
    }
    struct nt_tcp_span *own = &config->pool[NT_REGION_DRIVER_POOL];
    fuzz_open_in(&lab.returns, config->returns[NT_REGION_DRIVER_POOL].base,
                 sizeof(struct nt_return));
    nt_assert(nt_pool_own(&lab.pool, own->base, own->bytes, NT_REGION_DRIVER_POOL, lab.stack) == 0);
}

static void open_lab(void)
{
    char why[256] = "";
    struct nt_netconf conf = {0};
    struct nt_tcp_config config = {
        .shape = {.tcbs = 64, .time_waits = 16, .listeners = 4, .binding_pages = 4}, .seed = 7};
    fuzz_zero(&lab.memory);
    fill_netconf(&conf);
    uint64_t arena_bytes = nt_tcp_arena_bytes(&config.shape);
    config.arena = span(fuzz_region(&lab.memory, arena_bytes), arena_bytes);
    config.status = span(fuzz_region(&lab.memory, NT_PAGE), NT_PAGE);
    config.netconf = span(&conf, sizeof conf);
    config.from_ip = channel(sizeof(struct nt_desc));
    config.to_ip = channel(sizeof(struct nt_desc));
    config.from_syscall = channel(sizeof(struct nt_desc));
    config.to_syscall = channel(sizeof(struct nt_desc));
    open_pools(&config);
    lab.driver_status = (void *)fuzz_region(&lab.memory, NT_PAGE);
    nt_status_format(config.status.base);
    nt_status_format(lab.driver_status);
    config.driver_status[0] = lab.driver_status;
    fuzz_open_out(&lab.from_ip, config.from_ip.base, sizeof(struct nt_desc));
    fuzz_open_in(&lab.to_ip, config.to_ip.base, sizeof(struct nt_desc));
    fuzz_open_out(&lab.from_syscall, config.from_syscall.base, sizeof(struct nt_desc));
    fuzz_open_in(&lab.to_syscall, config.to_syscall.base, sizeof(struct nt_desc));
    lab.tcp = nt_tcp_new(&config, why, sizeof why);
    nt_assert(lab.tcp != NULL);
    lab.engine = nt_tcp_face(lab.tcp);
    for (uint32_t i = 0; i < 2; i++)
        open_area(&lab.area[i], i);
    open_listener();
    nt_assert(nt_tcp_start(lab.tcp, why, sizeof why) == 0);
    lab.now_ns = UINT64_C(1000000000000);
    lab.out = lab.requests = lab.syns = 0;
    lab.fence = 0;
    memset(lab.peer, 0, sizeof lab.peer);
    for (uint32_t i = 0; i < PEERS; i++)
        lab.peer[i] = (struct peer){.seq = i * 0x20000000u, .our_port = PORT};
    for (uint32_t i = 0; i < 2; i++)
        request(NT_REQ_AREA_NEW, i, 0, 0, 0);
    settle();
    open_socket();
}

// -- Operations ------------------------------------------------------------------------------

static void deliver(const uint8_t *bytes, uint32_t len, uint8_t kind, uint8_t flags)
{
    int64_t buffer = nt_pool_take(&lab.pool, len);
    if (buffer < 0)
        return;
    lab.out++;
    uint64_t offset = nt_pool_offset(&lab.pool.view, (uint32_t)buffer) + NT_POOL_HEADROOM;
    memcpy(lab.pool.view.base + offset, bytes, len);
    struct nt_desc desc = {.kind = kind,
                           .flags = flags,
                           .ref_count = 1,
                           .l4_offset = NT_IPV4_HEADER_BYTES,
                           .flow_hash = 0,
                           .ref[0] = {.offset = offset,
                                      .len = len,
                                      .region = NT_REGION_DRIVER_POOL,
                                      .use = lab.pool.view.use[buffer]}};
    fuzz_push(&lab.from_ip, &desc, true);
}

// Up to 32 kB in either direction.
static uint32_t astray(struct fuzz_input *in) { return fuzz_u16(in) - 0x8000u; }

static void segment(struct fuzz_input *in)
{
    uint8_t bytes[NT_IPV4_HEADER_BYTES + NT_TCP_HEADER_MAX_BYTES + SEGMENT_MAX];
    uint8_t *tcp = bytes + NT_IPV4_HEADER_BYTES;
    uint8_t which = fuzz_u8(in), how = fuzz_u8(in);
    struct peer *peer = &lab.peer[which % PEERS];
    struct nt_tcp_header header = {.src_port = (uint16_t)(1000 + which % PEERS),
                                   .dst_port = peer->our_port,
                                   .seq = peer->seq,
                                   .ack = peer->ack,
                                   .options = how & 4 ? NT_TCP_OPTION_TIMESTAMPS : 0};
    header.flags = fuzz_u8(in);
    header.window = fuzz_u16(in);
    header.seq += how & 1 ? astray(in) : 0u;
    header.ack += how & 2 ? astray(in) : 0u;
    header.ts_value = how & 4 ? fuzz_u16(in) : 0;
    header.urgent = how & 8 ? fuzz_u16(in) : 0;
    if (header.flags & NT_TCP_SYN) {
        header.options |= NT_TCP_OPTION_MSS | NT_TCP_OPTION_WSCALE;
        header.mss = fuzz_u16(in);
        header.wscale = fuzz_u8(in) % 15;
    }
    uint32_t payload = fuzz_u16(in) % (how & 16 ? (uint32_t)SEGMENT_MAX : 64u);
    uint32_t header_bytes = nt_tcp_emit(&header, tcp);
    memset(tcp + header_bytes, 'd', payload);
    if (how & 32) // odd options, or an odd header length
        (void)fuzz_bytes(in, tcp + 12, 40);
    uint32_t len = fuzz_ipv4(bytes, NT_IPPROTO_TCP, 1, 0, header_bytes + payload);
    if ((how & 1) == 0)
        peer->seq +=
            payload + ((header.flags & NT_TCP_SYN) != 0) + ((header.flags & NT_TCP_FIN) != 0);
    deliver(bytes, len, NT_DESC_PACKET, NT_DESC_CSUM_VALID);
}

static void raw_packet(struct fuzz_input *in)
{
    uint8_t bytes[512];
    uint8_t how = fuzz_u8(in);
    uint32_t len =
        fuzz_ipv4(bytes, NT_IPPROTO_TCP, 1, 0, fuzz_bytes(in, bytes + NT_IPV4_HEADER_BYTES, 256));
    if (how & 1)
        len = fuzz_bytes(in, bytes, sizeof bytes);
    if (len != 0)
        deliver(bytes, len, how & 2 ? NT_DESC_ICMP : NT_DESC_PACKET, how >> 6);
}

static void icmp_error(struct fuzz_input *in)
{
    uint8_t bytes[256];
    uint8_t which = fuzz_u8(in);
    struct peer *peer = &lab.peer[which % PEERS];
    uint32_t len = fuzz_icmp_error(bytes, NT_IPPROTO_TCP, fuzz_u8(in) % 6, peer->our_port);
    uint8_t *quote = bytes + NT_IPV4_HEADER_BYTES + NT_ICMP_HEADER_BYTES + NT_IPV4_HEADER_BYTES;
    nt_put16(quote + NT_TCP_DST_PORT, (uint16_t)(1000 + which % PEERS));
    nt_put32(quote + NT_TCP_SEQ, peer->ack - fuzz_u8(in));
    nt_put16(bytes + NT_IPV4_HEADER_BYTES + NT_ICMP_REST + 2, fuzz_u16(in));
    deliver(bytes, len, NT_DESC_ICMP, NT_DESC_CSUM_VALID);
}

static void scribble(struct fuzz_input *in)
{
    uint8_t how = fuzz_u8(in);
    uint64_t at = fuzz_u16(in);
    uint8_t *base = lab.area[EVIL].program;
    uint32_t max = 256;
    if (how % 4 == 0) {
        at = at % (NT_AREA_PROGRAM_SLOTS_OFFSET - max);
        base += at < 16 ? 16 : at; // magic and shape were read once, at the attach
    } else if (how % 4 == 1) {
        base = (uint8_t *)lab.listener.claims;
        at = at % 192;
        base += at;
        max = 64;
    } else {
        base += NT_AREA_PROGRAM_SLOTS_OFFSET + at % (SLOTS * sizeof(struct nt_slot_program));
        max = (uint32_t)sizeof(struct nt_slot_program);
    }
    (void)fuzz_bytes(in, base, max);
    nt_area_set_activity(&lab.area[EVIL].view, how >> 4 & (SLOTS - 1));
}

static void hints(struct fuzz_input *in)
{
    uint32_t at = fuzz_u16(in) % 2048;
    (void)fuzz_bytes(in, lab.area[EVIL].hint + at, 256);
    lab.area[EVIL].view.hints->activity = 1;
}

static void write_or_read(struct fuzz_input *in)
{
    struct nt_area *view = &lab.area[EVIL].view;
    uint32_t slot = fuzz_u8(in) % SLOTS;
    uint8_t how = fuzz_u8(in);
    struct nt_slot_program *program = &view->slot_program[slot];
    if (how & 1)
        program->tx_tail += fuzz_u16(in) % (how & 2 ? 20000u : 200u);
    if (how & 4)
        program->rx_head = view->slot_server[slot].rx_tail;
    if ((how & 8) && nt_geometry_valid(program->tx_geometry))
        program->tx_geometry = nt_geometry_double(program->tx_geometry, program->tx_tail);
    nt_area_set_activity(view, slot);
}

static void control(struct fuzz_input *in)
{
    struct nt_area *view = &lab.area[EVIL].view;
    uint32_t slot = fuzz_u8(in) % SLOTS;
    view->slot_program[slot].control |= fuzz_u8(in) & 31;
    view->slot_program[slot].options = fuzz_u8(in);
    nt_area_set_activity(view, slot);
}

static void connect(struct fuzz_input *in)
{
    struct nt_area *view = &lab.area[EVIL].view;
    uint32_t slot = fuzz_u8(in) % SLOTS;
    struct nt_slot_program *program = &view->slot_program[slot];
    uint8_t how = fuzz_u8(in);
    if (how & 1) {
        program->generation = view->slot_server[slot].generation;
        program->control = NT_CONTROL_TAKEN;
        program->tx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2);
    }
    nt_addr_from_v4(program->target.addr, how & 2 ? fuzz_our_ip : fuzz_peer_ip);
    program->target.port = (uint16_t)(1000 + how % PEERS);
    program->request += 1 << 8;
    program->request = (program->request & ~0xffu) | (how & 4 ? how : NT_MAIL_CONNECT);
    nt_area_set_activity(view, slot);
}

static void accept(struct fuzz_input *in)
{
    struct nt_area *view = &lab.area[EVIL].view;
    struct nt_accept_offer offer;
    if (!nt_listener_find(&lab.listener, EVIL, &offer))
        return;
    struct nt_accept_entry entry = offer.entry;
    if (!nt_listener_claim(&lab.listener, &offer, EVIL, entry.slot) || entry.slot >= SLOTS ||
        entry.area != EVIL)
        return;
    struct nt_slot_program *program = &view->slot_program[entry.slot];
    program->tx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2);
    program->tx_tail = program->rx_head = 0;
    program->control = NT_CONTROL_TAKEN;
    program->generation = entry.generation + (fuzz_u8(in) == 77);
    nt_area_set_activity(view, entry.slot);
}

static void any_request(struct fuzz_input *in)
{
    uint16_t kind = (uint16_t)(fuzz_u8(in) % 7);
    uint32_t area = fuzz_u8(in), slot = fuzz_u8(in);
    // The syscall server never lies about a living program.
    if (area == GOOD && (kind == NT_REQ_AREA_DEAD || kind == NT_REQ_BIND))
        return;
    uint32_t generation = fuzz_u8(in);
    request(kind, area, slot, generation, fuzz_u16(in));
}

static void pass_fences(void) { lab.driver_status->fence[NT_FENCE_TCP] = lab.fence; }

static void operation(struct fuzz_input *in)
{
    switch ((enum operation)(fuzz_u8(in) % OPERATIONS)) {
    case OP_SEGMENT:
        segment(in);
        break;
    case OP_RAW:
        raw_packet(in);
        break;
    case OP_ICMP:
        icmp_error(in);
        break;
    case OP_SCRIBBLE:
        scribble(in);
        break;
    case OP_HINTS:
        hints(in);
        break;
    case OP_WRITE:
        write_or_read(in);
        break;
    case OP_CONTROL:
        control(in);
        break;
    case OP_CONNECT:
        connect(in);
        break;
    case OP_ACCEPT:
        accept(in);
        break;
    case OP_REQUEST:
        any_request(in);
        break;
    case OP_TIME:
        lab.now_ns += (uint64_t)fuzz_u16(in) * 1000000;
        break;
    case OP_PASS_FENCES:
    case OPERATIONS:
        pass_fences();
        break;
    }
    settle();
}

// -- The end ---------------------------------------------------------------------------------

static void pass_time(uint32_t turns, uint64_t step_ns)
{
    for (uint32_t turn = 0; turn < turns; turn++) {
        lab.now_ns += step_ns;
        settle();
        pass_fences();
    }
}

static void good_program_connects(void)
{
    uint32_t slot = take_slot(GOOD, 0), syns = lab.syns;
    struct nt_slot_program *program = &lab.area[GOOD].view.slot_program[slot];
    nt_addr_from_v4(program->target.addr, fuzz_peer_ip);
    program->target.port = 7;
    program->request = 1 << 8 | NT_MAIL_CONNECT;
    nt_area_set_activity(&lab.area[GOOD].view, slot);
    settle();
    nt_assert(lab.syns == syns + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {.at = data, .end = data + size}, one;
    open_lab();
    while (fuzz_next(&in, &one))
        operation(&one);
    pass_time(8, 1000000);
    good_program_connects();
    request(NT_REQ_AREA_DEAD, EVIL, 0, 0, 0);
    pass_time(64, 1000000);
    pass_time(150, UINT64_C(10000000000));
    nt_assert(lab.out == 0);
    nt_tcp_free(lab.tcp);
    return 0;
}

// -- Samples ---------------------------------------------------------------------------------

static size_t segment_sample(uint32_t number, uint8_t *out)
{
    static const uint8_t flags[8] = {NT_TCP_SYN,
                                     NT_TCP_ACK,
                                     NT_TCP_ACK,
                                     NT_TCP_ACK | NT_TCP_PSH,
                                     NT_TCP_ACK,
                                     NT_TCP_FIN | NT_TCP_ACK,
                                     NT_TCP_SYN | NT_TCP_ACK,
                                     NT_TCP_RST};
    memset(out, 0, 64);
    out[0] = OP_SEGMENT;
    out[1] = (uint8_t)((number >> 1) % 4);
    // Mostly as the peer should; now and then astray by a little, with odd options, or long.
    out[2] = (uint8_t)(((number >> 3) % 8 == 0 ? 1 : 0) | ((number >> 6) % 8 == 0 ? 2 : 0) |
                       ((number >> 9) % 32 == 0 ? 32 : 0) | ((number >> 14) % 2 ? 16 : 0));
    out[3] = flags[(number >> 15) % 32 == 0 ? 7 : (number >> 20) % 7];
    nt_put16(out + 4, (number >> 18) % 8 == 0 ? 0 : 8000);
    uint32_t at = 6;
    for (uint8_t bit = 1; bit <= 2; bit = (uint8_t)(bit * 2)) {
        if ((out[2] & bit) == 0)
            continue;
        nt_put16(out + at, (uint16_t)(0x8000 + (number >> 17) % 4000 - 2000));
        at += 2;
    }
    if (out[3] & NT_TCP_SYN) {
        nt_put16(out + at, 1460);
        at += 3;
    }
    nt_put16(out + at, (uint16_t)((number >> 21) % 4 == 0 ? 0 : number >> 10));
    return at + 2 + (out[2] & 32 ? 40 : 0);
}

size_t fuzz_sample(uint32_t number, uint8_t out[FUZZ_SAMPLE_MAX])
{
    uint32_t rest = number >> 4;
    if (number % 16 < 8)
        return segment_sample(rest, out);
    memset(out, 0, 64);
    for (uint32_t i = 1; i < 16; i++)
        out[i] = (uint8_t)(rest >> i % 20);
    switch (number % 16) {
    case 8:
    case 9:
        out[0] = OP_WRITE;
        return 6;
    case 10:
        out[0] = OP_ACCEPT;
        return 2;
    case 11:
        out[0] = OP_CONNECT;
        return 3;
    case 12:
        out[0] = OP_CONTROL;
        return 4;
    case 13:
        out[0] = OP_TIME;
        return 3;
    case 14:
        out[0] = OP_PASS_FENCES;
        return 1;
    default:
        out[0] = (uint8_t)(rest % OPERATIONS);
        for (uint32_t i = 1; i < 140; i++)
            out[i] = (uint8_t)(rest * (i | 1) >> (i % 9));
        return 140;
    }
}
