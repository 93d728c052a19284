// udp.c: the UDP server's inputs: packets, ICMP errors, requests of the syscall server, fences, and
// above all a program that scribbles over every byte it may write. Its audit runs after every step;
// at the end a second, well-behaved program still sends and receives.
#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/request.h"
#include "newtos_py/net/addr.h"
#include "servers/udp/engine.h"
#include "tests/fuzz/packets.h"
#include "tests/fuzz/samples.h"

enum {
    SMALL = 16,
    LARGE = 4,
    SLOTS = 4,
    GOOD = 0, // areas
    EVIL = 1,
    GOOD_PORT = 53,
    EVIL_PORT = 54,
    DATA_WRITTEN = 65536, // of each slot's data
};

enum operation {
    OP_PACKET,   // kind, length, bytes
    OP_SCRIBBLE, // where, length, bytes: in what the program writes
    OP_HINTS,    // where, length, bytes
    OP_DATAGRAM, // slot and descriptor: like a program's, with some fields odd
    OP_REQUEST,
    OP_RAW,
    OP_TIME,
    OP_PASS_FENCES,
    OPERATIONS,
};

struct area {
    uint8_t *program;
    uint8_t *server;
    uint8_t *hint;
    struct nt_area view;
    uint64_t gone; // 1: declared dead
};

struct lab {
    struct fuzz_memory memory;
    struct nt_engine *engine;
    uint64_t now_ns;
    struct nt_producer from_ip;
    struct nt_consumer to_ip;
    struct nt_producer from_syscall;
    struct nt_consumer to_syscall;
    struct nt_consumer returns[2]; // IP's, the driver's
    struct nt_pool_owner pool[2];
    uint32_t stack[2][SMALL + LARGE];
    uint32_t out;
    struct nt_status *driver_status;
    struct area area[2];
    uint64_t fence;
    uint32_t requests;
    uint32_t sent;
};

static struct lab lab;

static struct nt_udp_memory span(void *base, uint64_t bytes)
{
    return (struct nt_udp_memory){.base = base, .bytes = bytes};
}

static struct nt_udp_memory channel(uint32_t slot_bytes)
{
    return span(fuzz_channel(&lab.memory, slot_bytes), nt_channel_bytes(FUZZ_SLOTS, slot_bytes));
}

static void open_pool(struct nt_udp_pool_config *config, uint32_t index, uint16_t region)
{
    uint64_t bytes = nt_pool_bytes(SMALL, LARGE);
    uint8_t *base = fuzz_region(&lab.memory, bytes);
    nt_pool_format(base, SMALL, LARGE);
    config->pool = span(base, bytes);
    config->returns_out = channel(sizeof(struct nt_return));
    fuzz_open_in(&lab.returns[index], config->returns_out.base, sizeof(struct nt_return));
    nt_assert(nt_pool_own(&lab.pool[index], base, bytes, region, lab.stack[index]) == 0);
}

static void open_area(struct area *area, uint32_t number)
{
    area->program = fuzz_region(&lab.memory, nt_area_program_bytes(SLOTS));
    area->server = fuzz_region(&lab.memory, nt_area_server_bytes(SLOTS));
    area->hint = fuzz_region(&lab.memory, nt_area_hint_bytes());
    area->gone = 0;
    nt_area_format(area->program, area->server, area->hint, SLOTS, 17);
    nt_assert(nt_area_open(&area->view, area->program, area->server, area->hint, SLOTS) == 0);
    nt_assert(nt_udp_map_area(lab.engine, number, SLOTS, 1, area->program, area->server,
                              area->hint) == 0);
}

static void take_returns(void)
{
    struct nt_return ret;
    for (uint32_t i = 0; i < 2; i++) {
        while (nt_consumer_pop(&lab.returns[i], &ret)) {
            nt_assert(nt_pool_give_back(&lab.pool[i], ret));
            lab.out--;
        }
    }
}

static void pass_fences(void) { lab.driver_status->fence[NT_FENCE_UDP] = lab.fence; }

// What goes to IP is whole, and payload is only referenced where a program may have it.
static void take_segments(void)
{
    struct nt_desc desc;
    while (nt_consumer_pop(&lab.to_ip, &desc)) {
        nt_assert(desc.kind == NT_DESC_SEGMENT || desc.kind == NT_DESC_FENCE);
        if (desc.kind == NT_DESC_FENCE) {
            nt_assert(desc.tag == NT_FENCE_UDP && desc.arg >= lab.fence);
            lab.fence = desc.arg;
            continue;
        }
        lab.sent++;
        nt_assert(desc.inline_len >= NT_TX_META_BYTES + NT_UDP_HEADER_BYTES &&
                  desc.inline_len <= NT_DESC_INLINE_BYTES && desc.ref_count <= 1);
        if (desc.ref_count == 1)
            nt_assert(desc.ref[0].offset >= NT_AREA_PROGRAM_DATA_OFFSET &&
                      desc.ref[0].offset + desc.ref[0].len <= nt_area_program_bytes(SLOTS));
    }
}

static void settle(void)
{
    fuzz_settle(lab.engine, lab.now_ns);
    take_segments();
    take_returns();
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

// Takes the first granted slot, as a program does, and binds it.
static void open_socket(uint32_t number, uint16_t port)
{
    struct area *area = &lab.area[number];
    uint32_t slot = area->view.server->grant[0];
    nt_assert(area->view.server->grant_tail != 0 && slot < SLOTS);
    area->view.program->grant_head = 1;
    uint32_t generation = area->view.slot_server[slot].generation;
    area->view.slot_program[slot].control = NT_CONTROL_TAKEN;
    area->view.slot_program[slot].generation = generation;
    request(NT_REQ_BIND, number, slot, generation, port);
    settle();
    nt_assert(area->view.slot_server[slot].local.port == port);
}

static void open_lab(void)
{
    char why[256] = "";
    struct nt_netconf conf = {.address_count = 1};
    struct nt_udp_config config = {0};
    fuzz_zero(&lab.memory);
    conf.interface[0].mtu = 1500;
    conf.interface[NT_INTERFACE_LOOPBACK].mtu = 65535;
    conf.address[0].prefix_bits = 120;
    nt_addr_from_v4(conf.address[0].addr, fuzz_our_ip);
    config.arena = span(fuzz_region(&lab.memory, nt_udp_arena_bytes()), nt_udp_arena_bytes());
    config.status = span(fuzz_region(&lab.memory, NT_PAGE), NT_PAGE);
    config.netconf = span(&conf, sizeof conf);
    config.from_ip = channel(sizeof(struct nt_desc));
    config.to_ip = channel(sizeof(struct nt_desc));
    config.from_syscall = channel(sizeof(struct nt_desc));
    config.to_syscall = channel(sizeof(struct nt_desc));
    open_pool(&config.ip_pool, 0, NT_REGION_IP_POOL);
    open_pool(&config.driver[0], 1, NT_REGION_DRIVER_POOL);
    config.driver[0].status = span(fuzz_region(&lab.memory, NT_PAGE), NT_PAGE);
    lab.driver_status = config.driver[0].status.base;
    fuzz_open_out(&lab.from_ip, config.from_ip.base, sizeof(struct nt_desc));
    fuzz_open_in(&lab.to_ip, config.to_ip.base, sizeof(struct nt_desc));
    fuzz_open_out(&lab.from_syscall, config.from_syscall.base, sizeof(struct nt_desc));
    fuzz_open_in(&lab.to_syscall, config.to_syscall.base, sizeof(struct nt_desc));
    lab.engine = nt_udp_new(&config, why, sizeof why);
    nt_assert(lab.engine != NULL);
    for (uint32_t i = 0; i < 2; i++)
        open_area(&lab.area[i], i);
    nt_assert(nt_udp_start(lab.engine, why, sizeof why) == 0);
    lab.now_ns = NT_NEVER / 4;
    lab.out = lab.requests = lab.sent = 0;
    lab.fence = 0;
    for (uint32_t i = 0; i < 2; i++)
        request(NT_REQ_AREA_NEW, i, 0, 0, 0);
    settle();
    open_socket(GOOD, GOOD_PORT);
    open_socket(EVIL, EVIL_PORT);
}

// -- Operations ------------------------------------------------------------------------------

static void deliver(const uint8_t *bytes, uint32_t len, uint8_t kind, uint8_t flags, uint32_t owner)
{
    struct nt_pool_owner *pool = &lab.pool[owner];
    int64_t buffer = nt_pool_take(pool, len);
    if (buffer < 0)
        return;
    lab.out++;
    uint64_t offset = nt_pool_offset(&pool->view, (uint32_t)buffer) + NT_POOL_HEADROOM;
    memcpy(pool->view.base + offset, bytes, len);
    struct nt_desc desc = {.kind = kind,
                           .flags = flags,
                           .ref_count = 1,
                           .l4_offset = NT_IPV4_HEADER_BYTES,
                           .flow_hash = len,
                           .ref[0] = {.offset = offset,
                                      .len = len,
                                      .region = pool->view.region,
                                      .use = pool->view.use[buffer]}};
    fuzz_push(&lab.from_ip, &desc, true);
}

static void packet(struct fuzz_input *in)
{
    uint8_t bytes[2048];
    uint8_t how = fuzz_u8(in);
    uint32_t len = fuzz_bytes(in, bytes, sizeof bytes);
    if (len != 0)
        deliver(bytes, len, how & 1 ? NT_DESC_ICMP : NT_DESC_PACKET, how >> 4, how >> 1 & 1);
}

// Where a program may write and a server reads: header, queues, slot blocks; the rings' starts.
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
        base += nt_area_tx_offset(at % SLOTS) + at / SLOTS % 4096;
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

static void datagram(struct fuzz_input *in)
{
    struct area *area = &lab.area[EVIL];
    uint32_t slot = fuzz_u8(in) % SLOTS;
    uint8_t how = fuzz_u8(in);
    struct nt_slot_program *program = &area->view.slot_program[slot];
    struct nt_dgram dgram = {.offset = NT_DGRAM_DATA_OFFSET, .len = fuzz_u16(in)};
    if (how & 1)
        dgram.offset = fuzz_u32(in);
    if (how & 2)
        dgram.len = fuzz_u32(in);
    nt_addr_from_v4(dgram.peer.addr, how & 4 ? fuzz_our_ip : fuzz_peer_ip);
    dgram.peer.port = how & 8 ? 0 : 99;
    memcpy(nt_area_tx(&area->view, slot) + (program->tx_tail % NT_DGRAM_SLOTS) * sizeof dgram,
           &dgram, sizeof dgram);
    if (how & 16)
        program->generation = area->view.slot_server[slot].generation;
    program->tx_tail += 1 + (how >> 6);
    nt_area_set_activity(&area->view, slot);
}

static void any_request(struct fuzz_input *in)
{
    uint16_t kind = (uint16_t)(fuzz_u8(in) % 7);
    uint32_t area = fuzz_u8(in), slot = fuzz_u8(in);
    // The syscall server never lies about a living program.
    if ((kind == NT_REQ_AREA_DEAD && area == GOOD) || (kind == NT_REQ_BIND && area == GOOD))
        return;
    uint32_t generation = fuzz_u8(in);
    request(kind, area, slot, generation, fuzz_u16(in));
}

static void raw(struct fuzz_input *in)
{
    struct nt_desc desc;
    uint8_t how = fuzz_u8(in);
    memset(&desc, 0, sizeof desc);
    (void)fuzz_bytes(in, (uint8_t *)&desc, sizeof desc);
    for (uint32_t i = 0; i < 2; i++)
        desc.ref[i].use &= 0xfffe; // of no buffer that is out
    fuzz_push(how & 1 ? &lab.from_ip : &lab.from_syscall, &desc, (how & 6) != 0);
}

static void operation(struct fuzz_input *in)
{
    struct nt_desc reply;
    switch ((enum operation)(fuzz_u8(in) % OPERATIONS)) {
    case OP_PACKET:
        packet(in);
        break;
    case OP_SCRIBBLE:
        scribble(in);
        break;
    case OP_HINTS:
        hints(in);
        break;
    case OP_DATAGRAM:
        datagram(in);
        break;
    case OP_REQUEST:
        any_request(in);
        break;
    case OP_RAW:
        raw(in);
        break;
    case OP_TIME:
        lab.now_ns += (uint64_t)fuzz_u16(in) * 100000;
        break;
    case OP_PASS_FENCES:
    case OPERATIONS:
        pass_fences();
        break;
    }
    settle();
    while (nt_consumer_pop(&lab.to_syscall, &reply))
        nt_assert(reply.kind == NT_DESC_REPLY);
}

// -- The well-behaved program ----------------------------------------------------------------

static void good_program_goes_on(void)
{
    struct nt_area *area = &lab.area[GOOD].view;
    uint32_t slot = area->server->grant[0], sent = lab.sent;
    struct nt_slot_program *program = &area->slot_program[slot];
    program->rx_head = area->slot_server[slot].rx_tail; // it has read what came so far
    uint8_t bytes[256];
    uint32_t head = program->rx_head;
    deliver(bytes, fuzz_udp_packet(bytes, GOOD_PORT, 40), NT_DESC_PACKET, 0, 0);
    struct nt_dgram dgram = {.offset = NT_DGRAM_DATA_OFFSET, .len = 10, .peer = {.port = 9}};
    nt_addr_from_v4(dgram.peer.addr, fuzz_peer_ip);
    memcpy(nt_area_tx(area, slot), &dgram, sizeof dgram);
    program->tx_tail = 1;
    nt_area_set_activity(area, slot);
    settle();
    nt_assert(area->slot_server[slot].rx_tail == head + 1);
    nt_assert(lab.sent == sent + 1 && area->slot_server[slot].tx_head == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {.at = data, .end = data + size}, one;
    open_lab();
    while (fuzz_next(&in, &one))
        operation(&one);
    // A flood of the evil one's may have to drain first.
    for (int turn = 0; turn < 200; turn++) {
        lab.now_ns += 1000000;
        settle();
        pass_fences();
    }
    nt_assert(lab.out == 0);
    good_program_goes_on();
    nt_udp_free(lab.engine);
    return 0;
}

// -- Samples ---------------------------------------------------------------------------------

static size_t packet_sample(uint32_t number, uint8_t *out)
{
    out[0] = OP_PACKET;
    out[1] = (uint8_t)((number >> 4) % 2 << 1 | ((number >> 5) % 2 ? 0x20 : 0));
    uint16_t port = (uint16_t)(GOOD_PORT + (number >> 6) % 4);
    if ((number >> 8) % 4 != 0)
        return 2 + fuzz_udp_packet(out + 2, port, (number >> 10) % 600);
    out[1] |= 1;
    return 2 + fuzz_icmp_error(out + 2, 17, (uint8_t)((number >> 10) % 16), port);
}

static size_t scribble_sample(uint32_t number, uint8_t *out)
{
    uint32_t len = (number >> 4) % 128;
    out[0] = number & 1 ? OP_SCRIBBLE : OP_HINTS;
    out[1] = (uint8_t)(number >> 2);
    nt_put16(out + 2, (uint16_t)(number >> 8));
    for (uint32_t i = 0; i < len; i++)
        out[4 + i] = (uint8_t)((number >> 11) % 4 == 0 ? 0xff : number * (i + 7) >> 9);
    return 4 + len;
}

size_t fuzz_sample(uint32_t number, uint8_t out[FUZZ_SAMPLE_MAX])
{
    switch (number % 8) {
    case 0:
    case 1:
        return packet_sample(number >> 3, out);
    case 2:
        return scribble_sample(number >> 3, out);
    case 3:
    case 4: // mostly what a program really does
        out[0] = OP_DATAGRAM;
        out[1] = (uint8_t)((number >> 4) % SLOTS);
        out[2] = (uint8_t)(0x10 | ((number >> 6) % 16 == 0 ? number >> 10 : (number >> 8) & 4));
        nt_put16(out + 3, (uint16_t)((number >> 12) % 2 ? 40 : 1400));
        memset(out + 5, (int)number, 8);
        return 13;
    default:
        out[0] = (uint8_t)(OP_REQUEST + (number >> 3) % 4);
        for (uint32_t i = 1; i < 40; i++)
            out[i] = (uint8_t)(number >> i % 24);
        return 40;
    }
}
