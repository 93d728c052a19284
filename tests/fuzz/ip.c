// ip.c: the IP server's whole input path: frames, segments, descriptors, returns and time, in any
// order; its audit after every step. Whatever comes, at the end every buffer of the driver that it
// was given has been returned, and those of its own pool are free again once given back and after
// the longest timeout.
#include "newtos_py/net/addr.h"
#include "newtos_py/net/netconf.h"
#include "servers/ip/engine.h"
#include "tests/fuzz/packets.h"
#include "tests/fuzz/samples.h"

enum {
    SMALL = 24,
    LARGE = 10,
    DRIVER_SMALL = 16,
    DRIVER_LARGE = 4,
    AREA_BYTES = 1 << 20,
    FRAME_MAX = 4096,
};

enum operation {
    OP_FRAME,     // flags, length, bytes
    OP_SEGMENT,   // inline length, bytes, references
    OP_RAW_FRAME, // a descriptor with a reference of any kind
    OP_RETURN,    // of a buffer that may not be out
    OP_TIME,
    OP_DRAIN,
    OP_FRAGMENTS, // of one datagram: a byte each for place and length
    OPERATIONS,
};

enum frame_fix { FIX_MAC = 1, FIX_IPV4 = 2, FIX_ICMP = 4, FIX_TAP = 8 };

struct lab {
    struct fuzz_memory memory;
    struct nt_engine *engine;
    uint64_t now_ns;
    struct nt_producer to_ip;
    struct nt_consumer from_ip;
    struct nt_consumer returns;
    struct nt_pool_owner driver;
    uint32_t stack[DRIVER_SMALL + DRIVER_LARGE];
    uint32_t driver_out;
    struct nt_status *driver_status;
    struct nt_producer upper_out[2]; // TCP's and UDP's
    struct nt_consumer upper_in[2];
    struct nt_producer upper_returns[2];
    struct nt_pool ip_pool;
};

static struct lab lab;

static struct nt_ip_memory span(uint8_t *base, uint64_t bytes)
{
    return (struct nt_ip_memory){.base = base, .bytes = bytes};
}

static struct nt_ip_memory channel(uint32_t slot_bytes)
{
    return span(fuzz_channel(&lab.memory, slot_bytes), nt_channel_bytes(FUZZ_SLOTS, slot_bytes));
}

static struct nt_ip_memory pool(uint32_t small, uint32_t large)
{
    uint8_t *base = fuzz_region(&lab.memory, nt_pool_bytes(small, large));
    nt_pool_format(base, small, large);
    return span(base, nt_pool_bytes(small, large));
}

static void fill_netconf(struct nt_netconf *conf)
{
    conf->interface[0] = (struct nt_interface){.mtu = 1500, .gso_max = 65415};
    memcpy(conf->interface[0].mac, fuzz_our_mac, 6);
    conf->interface[NT_INTERFACE_LOOPBACK].mtu = 65535;
    conf->address_count = 1;
    conf->address[0] = (struct nt_local_address){.prefix_bits = 120};
    nt_addr_from_v4(conf->address[0].addr, fuzz_our_ip);
}

static void open_driver(struct nt_ip_config *config)
{
    struct nt_ip_driver_config *driver = &config->driver[0];
    driver->into = channel(sizeof(struct nt_desc));
    driver->out = channel(sizeof(struct nt_desc));
    driver->returns_out = channel(sizeof(struct nt_return));
    driver->pool = pool(DRIVER_SMALL, DRIVER_LARGE);
    driver->status = span(fuzz_region(&lab.memory, NT_PAGE), NT_PAGE);
    lab.driver_status = driver->status.base;
    fuzz_open_out(&lab.to_ip, driver->into.base, sizeof(struct nt_desc));
    fuzz_open_in(&lab.from_ip, driver->out.base, sizeof(struct nt_desc));
    fuzz_open_in(&lab.returns, driver->returns_out.base, sizeof(struct nt_return));
    nt_assert(nt_pool_own(&lab.driver, driver->pool.base, driver->pool.bytes, NT_REGION_DRIVER_POOL,
                          lab.stack) == 0);
}

static void open_upper(struct nt_ip_config *config, uint32_t upper, uint32_t index)
{
    struct nt_ip_upper_config *end = &config->upper[upper];
    end->into = channel(sizeof(struct nt_desc));
    end->out = channel(sizeof(struct nt_desc));
    end->returns_in = channel(sizeof(struct nt_return));
    fuzz_open_out(&lab.upper_out[index], end->into.base, sizeof(struct nt_desc));
    fuzz_open_in(&lab.upper_in[index], end->out.base, sizeof(struct nt_desc));
    fuzz_open_out(&lab.upper_returns[index], end->returns_in.base, sizeof(struct nt_return));
}

static void open_lab(void)
{
    char why[256] = "";
    struct nt_netconf conf = {0};
    struct nt_ip_config config = {0};
    fuzz_zero(&lab.memory);
    fill_netconf(&conf);
    config.arena = span(fuzz_region(&lab.memory, nt_ip_arena_bytes()), nt_ip_arena_bytes());
    config.pool = pool(SMALL, LARGE);
    config.status = span(fuzz_region(&lab.memory, NT_PAGE), NT_PAGE);
    config.netconf = (struct nt_ip_memory){.base = &conf, .bytes = sizeof conf};
    open_driver(&config);
    open_upper(&config, 0, 0);
    open_upper(&config, NT_IP_UPPER_UDP, 1);
    nt_assert(nt_pool_open(&lab.ip_pool, config.pool.base, config.pool.bytes, NT_REGION_IP_POOL) ==
              0);
    lab.engine = nt_ip_new(&config, why, sizeof why);
    nt_assert(lab.engine != NULL);
    nt_assert(nt_ip_map_area(lab.engine, 0, fuzz_region(&lab.memory, AREA_BYTES), AREA_BYTES) == 0);
    nt_ip_start(lab.engine);
    lab.now_ns = NT_NEVER / 4;
    lab.driver_out = 0;
}

// -- The neighbours --------------------------------------------------------------------------

static void take_returns(void)
{
    struct nt_return ret;
    while (nt_consumer_pop(&lab.returns, &ret)) {
        nt_assert(nt_pool_give_back(&lab.driver, ret));
        lab.driver_out--;
    }
}

static void give_back(uint32_t upper, const struct nt_ref *ref)
{
    struct nt_return ret = {.use = ref->use, .region = ref->region};
    if (ref->region == NT_REGION_IP_POOL) {
        ret.buffer = (uint32_t)nt_pool_buffer_at(&lab.ip_pool, ref->offset, ref->len);
        nt_assert(nt_producer_push(&lab.upper_returns[upper], &ret));
        return;
    }
    ret.buffer = (uint32_t)nt_pool_buffer_at(&lab.driver.view, ref->offset, ref->len);
    nt_assert(nt_pool_give_back(&lab.driver, ret)); // what goes up is whole, current and in bounds
    lab.driver_out--;
}

// Takes everything out of IP's channels, as correct neighbours do.
static void drain(void)
{
    struct nt_desc desc;
    for (uint32_t i = 0; i < 2; i++) {
        while (nt_consumer_pop(&lab.upper_in[i], &desc)) {
            nt_assert(desc.ref_count == 1 && desc.l4_offset >= NT_IPV4_HEADER_BYTES &&
                      desc.l4_offset <= desc.ref[0].len);
            give_back(i, &desc.ref[0]);
        }
    }
    while (nt_consumer_pop(&lab.from_ip, &desc)) {
        nt_assert(desc.inline_len <= NT_DESC_INLINE_BYTES && desc.ref_count <= 2);
        if (desc.kind == NT_DESC_FENCE && lab.driver_status->fence[desc.tag] < desc.arg)
            lab.driver_status->fence[desc.tag] = desc.arg;
    }
    take_returns();
    fuzz_settle(lab.engine, lab.now_ns);
    take_returns();
}

// -- Operations ------------------------------------------------------------------------------

static void fix(uint8_t *frame, uint32_t len, uint8_t fixes)
{
    uint8_t *packet = frame + NT_ETHERNET_HEADER_BYTES;
    if ((fixes & FIX_MAC) && len >= NT_ETHERNET_HEADER_BYTES)
        memcpy(frame, fuzz_our_mac, 6);
    if (!(fixes & FIX_IPV4) || len < NT_ETHERNET_HEADER_BYTES + NT_IPV4_HEADER_BYTES)
        return;
    uint32_t left = len - NT_ETHERNET_HEADER_BYTES;
    uint8_t header_bytes = nt_ipv4_header_bytes(packet);
    if (header_bytes < NT_IPV4_HEADER_BYTES || header_bytes > left)
        return;
    if ((fixes & FIX_ICMP) && left > (uint32_t)header_bytes + NT_ICMP_HEADER_BYTES) {
        uint8_t *message = packet + header_bytes;
        struct nt_icmp repr = {.type = message[0], .code = message[1], .rest = 1};
        nt_icmp_emit(&repr, message, left - header_bytes);
        nt_ipv4_set_total_bytes(packet, (uint16_t)left);
    }
    nt_ipv4_fill_checksum(packet, header_bytes);
}

static void frame(struct fuzz_input *in)
{
    uint8_t fixes = fuzz_u8(in);
    uint32_t len = fuzz_u16(in) % FRAME_MAX;
    int64_t buffer = nt_pool_take(&lab.driver, len);
    if (buffer < 0)
        return;
    lab.driver_out++;
    uint64_t offset = nt_pool_offset(&lab.driver.view, (uint32_t)buffer) + 50;
    uint8_t *bytes = lab.driver.view.base + offset;
    len = fuzz_bytes(in, bytes, len);
    fix(bytes, len, fixes);
    struct nt_desc desc = {
        .kind = NT_DESC_FRAME,
        .flags = (uint8_t)(fixes >> 4),
        .ref_count = 1,
        .ref[0] = {.offset = offset,
                   .len = len,
                   .region = NT_REGION_DRIVER_POOL,
                   .use = lab.driver.view.use[buffer]},
    };
    if (len == 0) { // an empty reference names no buffer: the driver would never send one
        lab.driver_out--;
        (void)nt_pool_give_back(&lab.driver, (struct nt_return){.buffer = (uint32_t)buffer,
                                                                .use = desc.ref[0].use,
                                                                .region = NT_REGION_DRIVER_POOL});
        return;
    }
    fuzz_push(&lab.to_ip, &desc, true);
}

static void deliver(const uint8_t *bytes, uint32_t len)
{
    uint8_t record[FRAME_MAX];
    struct fuzz_input in = {.at = record, .end = record + 3 + len};
    record[0] = FIX_MAC;
    nt_put16(record + 1, (uint16_t)len);
    memcpy(record + 3, bytes, len);
    frame(&in);
}

// Pieces on a grid of 64 bytes, so that they meet, repeat and overlap.
static void fragments(struct fuzz_input *in)
{
    uint8_t bytes[256] = {0};
    struct nt_ethernet header = {.type = NT_ETHERTYPE_IPV4};
    memcpy(header.src, fuzz_peer_mac, 6);
    nt_ethernet_emit(&header, bytes);
    uint8_t id = fuzz_u8(in) % 4;
    for (uint32_t i = 0; i < 8 && in->at < in->end; i++) {
        uint8_t piece = fuzz_u8(in);
        uint32_t place = piece % 4;
        uint32_t len = piece & 0x40 ? 72 : 64;
        len = fuzz_ipv4(bytes + NT_ETHERNET_HEADER_BYTES, piece & 0x80 ? 1 : 17, id,
                        (uint16_t)(place * 8 | (place == 3 ? 0 : 0x2000)), len);
        deliver(bytes, NT_ETHERNET_HEADER_BYTES + len);
        fuzz_settle(lab.engine, lab.now_ns);
        take_returns();
    }
}

static struct nt_ref reference(struct fuzz_input *in)
{
    uint8_t how = fuzz_u8(in);
    struct nt_ref ref = {.region = NT_REGION_AREA};
    ref.offset = fuzz_u16(in);
    ref.len = fuzz_u16(in);
    if (how & 0x80) {
        ref.region = fuzz_u16(in);
        ref.use = fuzz_u16(in);
        ref.offset = (uint64_t)fuzz_u32(in) << (how & 31);
        ref.len = fuzz_u32(in) >> (how & 15);
    }
    return ref;
}

static void segment(struct fuzz_input *in)
{
    struct nt_desc desc = {.kind = NT_DESC_SEGMENT};
    uint8_t how = fuzz_u8(in);
    desc.inline_len = fuzz_u8(in);
    (void)fuzz_bytes(in, desc.data, sizeof desc.data);
    if (how & 1)
        desc.kind = fuzz_u8(in);
    desc.flags = fuzz_u8(in);
    desc.gso_size = (how & 2) ? fuzz_u16(in) : 0;
    desc.ref_count = how >> 6;
    for (uint32_t i = 0; i < 2; i++)
        desc.ref[i] = reference(in);
    desc.tag = (how & 4) ? NT_FENCE_UDP : fuzz_u8(in);
    desc.arg = fuzz_u16(in);
    fuzz_push(&lab.upper_out[how >> 3 & 1], &desc, (how & 0x30) != 0x30);
}

static void raw_frame(struct fuzz_input *in)
{
    struct nt_desc desc = {.kind = fuzz_u8(in)};
    desc.ref_count = fuzz_u8(in);
    desc.ref[0] = reference(in);
    // A driver's own buffer that is out may not be handed up twice: this is about nonsense.
    if (desc.ref[0].region == NT_REGION_DRIVER_POOL)
        desc.ref[0].use &= 0xfffe;
    fuzz_push(&lab.to_ip, &desc, true);
}

static void bad_return(struct fuzz_input *in)
{
    struct nt_return ret = {.buffer = fuzz_u16(in) % 64};
    ret.region = fuzz_u8(in);
    ret.use = fuzz_u16(in) & 0xfffe; // even: of no buffer that is out
    (void)nt_producer_push(&lab.upper_returns[ret.buffer & 1], &ret);
}

static void operation(struct fuzz_input *in)
{
    switch ((enum operation)(fuzz_u8(in) % OPERATIONS)) {
    case OP_FRAME:
        frame(in);
        break;
    case OP_SEGMENT:
        segment(in);
        break;
    case OP_RAW_FRAME:
        raw_frame(in);
        break;
    case OP_RETURN:
        bad_return(in);
        break;
    case OP_TIME:
        lab.now_ns += (uint64_t)fuzz_u16(in) * 1000000;
        break;
    case OP_FRAGMENTS:
        fragments(in);
        break;
    case OP_DRAIN:
    case OPERATIONS:
        drain();
        break;
    }
    fuzz_settle(lab.engine, lab.now_ns);
    take_returns();
}

static uint32_t ip_buffers_out(void)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < SMALL + LARGE; i++)
        out += lab.ip_pool.use[i] & 1;
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {.at = data, .end = data + size}, one;
    open_lab();
    while (fuzz_next(&in, &one))
        operation(&one);
    drain();
    nt_assert(lab.driver_out == 0);
    for (int second = 0; second < 40; second++) {
        lab.now_ns += UINT64_C(1000000000);
        fuzz_settle(lab.engine, lab.now_ns);
        drain();
    }
    lab.now_ns += 20000000;
    fuzz_settle(lab.engine, lab.now_ns);
    drain();
    nt_assert(ip_buffers_out() == 0);
    nt_ip_free(lab.engine);
    return 0;
}

// -- Samples ---------------------------------------------------------------------------------

static size_t frame_sample(uint32_t number, uint8_t *out)
{
    uint8_t *ethernet = out + 4, *packet = ethernet + NT_ETHERNET_HEADER_BYTES;
    struct nt_ethernet header = {.type = NT_ETHERTYPE_IPV4};
    uint32_t size = (number >> 12) % 1400, len = 0;
    memcpy(header.dst, fuzz_our_mac, 6);
    memcpy(header.src, fuzz_peer_mac, 6);
    switch ((number >> 4) % 6) {
    case 0:
        len = fuzz_udp_packet(packet, 9, size);
        break;
    case 1:
        len = fuzz_icmp_packet(packet, 8, 0, size);
        break;
    case 2:
        len = fuzz_icmp_error(packet, (number >> 9) % 2 ? 6 : 17, (uint8_t)((number >> 12) % 6), 9);
        break;
    case 3:
        out[0] = OP_FRAGMENTS;
        out[1] = (uint8_t)(number >> 8);
        for (uint32_t i = 0; i < 6; i++) // mostly whole, in some order; seldom a longer piece
            out[2 + i] =
                (uint8_t)((i + (number >> 10)) % 4 | ((number >> (12 + i)) % 16 ? 0 : 0x40));
        return 8;
    case 4: {
        struct nt_arp arp = {.operation = (uint16_t)(1 + (number >> 9) % 2)};
        memcpy(arp.sender_mac, fuzz_peer_mac, 6);
        memcpy(arp.sender_ip, fuzz_peer_ip, 4);
        arp.sender_ip[3] = (uint8_t)(3 + (number >> 10) % 4);
        memcpy(arp.target_ip, fuzz_our_ip, 4);
        nt_arp_emit(&arp, packet);
        header.type = NT_ETHERTYPE_ARP;
        len = NT_ARP_BYTES;
        break;
    }
    case 5:
        memset(packet + 20, 0, size);
        len = fuzz_ipv4(packet, (uint8_t)(number >> 8), 4, 0, size);
        break;
    }
    nt_ethernet_emit(&header, ethernet);
    len += NT_ETHERNET_HEADER_BYTES;
    out[0] = OP_FRAME;
    out[1] = (uint8_t)(FIX_MAC | ((number >> 7) % 8 ? FIX_IPV4 : 0));
    nt_put16(out + 2, (uint16_t)len);
    return 4 + len;
}

static size_t segment_sample(uint32_t number, uint8_t *out)
{
    struct nt_tx_meta meta = {.protocol = (number >> 4) % 2 ? 6 : 17, .df = (number >> 5) % 2};
    nt_addr_from_v4(meta.src, fuzz_our_ip);
    nt_addr_from_v4(meta.dst, (number >> 6) % 4 == 0 ? fuzz_our_ip : fuzz_peer_ip);
    meta.dst[15] = (uint8_t)(meta.dst[15] + (number >> 8) % 3);
    memset(out, 0, 256);
    out[0] = OP_SEGMENT;
    out[1] = (uint8_t)((number >> 10) % 3 << 6 | ((number >> 12) % 2 ? 8 : 0) |
                       ((number >> 13) % 5 == 0 ? 2 : 0));
    out[2] = NT_TX_META_BYTES + 20;
    memcpy(out + 3, &meta, sizeof meta);
    out[3 + NT_TX_META_BYTES + 12] = 0x50;
    uint8_t *at = out + 3 + NT_DESC_INLINE_BYTES;
    *at++ = (uint8_t)((number >> 16) % 2); // flags
    if (out[1] & 2) {
        nt_put16(at, 1460);
        at += 2;
    }
    for (uint32_t i = 0; i < 2; i++) {
        *at++ = 0;
        nt_put16(at, (uint16_t)(number >> 8));
        nt_put16(at + 2, (uint16_t)((number >> 17) % 3 ? 100 : 30000));
        at += 4;
    }
    return (size_t)(at - out) + 3;
}

size_t fuzz_sample(uint32_t number, uint8_t out[FUZZ_SAMPLE_MAX])
{
    switch (number % 8) {
    case 0:
    case 1:
    case 2:
    case 3:
        return frame_sample(number >> 3, out);
    case 4:
    case 5:
        return segment_sample(number >> 3, out);
    case 6:
        out[0] = OP_DRAIN;
        return 1;
    default:
        out[0] = (uint8_t)(OP_RAW_FRAME + (number >> 3) % 3);
        for (uint32_t i = 1; i < 12; i++)
            out[i] = (uint8_t)(number >> i);
        return 12;
    }
}
