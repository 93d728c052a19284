// tx.c: from IP to the peer: grants in, frames gathered into granted buffers, descriptors out.
// Why C: it copies every byte that is sent.
#include "drivers/wire/wire.h"
#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/gso.h"
#include "newtos_py/net/ipv4.h"

enum {
    TCP_CHECKSUM = 16, // offset of the field in the transport header (RFC 9293 §3.1)
    UDP_CHECKSUM = 6,  // (RFC 768)
};

static uint32_t class_of(const struct nt_wire *wire, uint32_t buffer)
{
    return buffer < wire->peer_pool.small_count ? 0 : 1;
}

static void set_held(struct nt_wire *wire, uint32_t buffer, struct nt_wire_held held)
{
    struct nt_wire_held *record = &wire->state->held[buffer];
    nt_txn_touch(&wire->uplink.txn, record, sizeof(*record));
    *record = held;
}

// True if this is no buffer that we may fill: our peer's answer, or lent to our former life.
static bool of_former_life(struct nt_wire *wire, const struct nt_return *grant)
{
    struct nt_wire_renewal *renewal = &wire->state->renewal;
    bool answer = grant->buffer == NT_WIRE_RENEWED;
    if (!renewal->awaited)
        return answer; // to a life before
    if (answer && grant->use == renewal->number) {
        nt_txn_touch(&wire->uplink.txn, renewal, sizeof(*renewal));
        renewal->awaited = 0;
    }
    return true;
}

// A peer that came back without its arena lends again what we hold: then the new use count counts.
static void take_grant(struct nt_wire *wire, const struct nt_return *grant)
{
    if (of_former_life(wire, grant))
        return;
    if (grant->buffer >= wire->peer_pool.small_count + wire->peer_pool.large_count ||
        (grant->use & 1) == 0) {
        nt_uplink_count(&wire->uplink, NT_WIRE_BAD_GRANT, 1);
        return;
    }
    bool stacked = wire->state->held[grant->buffer].held != 0;
    set_held(wire, grant->buffer, (struct nt_wire_held){.use = grant->use, .held = 1});
    if (stacked)
        return;
    struct nt_wire_stack *stack = &wire->held[class_of(wire, grant->buffer)];
    stack->buffer[stack->count++] = grant->buffer;
}

// Its use counts tell what the peer, back without its arena, still means to have lent.
void nt_wire_drop_stale(struct nt_wire *wire)
{
    for (uint32_t class = 0; class < 2; class ++) {
        struct nt_wire_stack *stack = &wire->held[class];
        uint32_t kept = 0;
        for (uint32_t i = 0; i < stack->count; i++) {
            uint32_t buffer = stack->buffer[i];
            if (wire->state->held[buffer].use == nt_load_acquire(&wire->peer_pool.use[buffer]))
                stack->buffer[kept++] = buffer;
            else
                set_held(wire, buffer, (struct nt_wire_held){0});
        }
        stack->count = kept;
    }
}

uint32_t nt_wire_take_grants(struct nt_wire *wire, uint32_t budget)
{
    struct nt_consumer *grants = &wire->grants_rx;
    uint32_t taken = 0;
    while (taken < budget * NT_WIRE_GRANTS_A_FRAME && nt_uplink_has_room(&wire->uplink) &&
           nt_consumer_pending(grants) != 0) {
        struct nt_return grant;
        memcpy(&grant, nt_consumer_slot(grants), sizeof(grant));
        take_grant(wire, &grant);
        nt_consumer_advance(grants);
        nt_txn_crash_point(&wire->uplink.txn);
        taken++;
    }
    return taken;
}

// The class of granted buffers that `bytes` fit, or -1 if they fit none. A small frame may use a
// large buffer when there is no small one, but leaves enough of them to the super-segments.
static int choose_class(const struct nt_wire *wire, uint64_t bytes)
{
    const uint32_t before_frame = NT_POOL_HEADROOM - NT_ETHERNET_HEADER_BYTES;
    if (bytes > NT_POOL_LARGE_BYTES - before_frame)
        return -1;
    if (bytes > NT_POOL_SMALL_BYTES - before_frame)
        return 1;
    return wire->held[0].count == 0 && wire->held[1].count > NT_WIRE_LOW_LARGE ? 1 : 0;
}

// Completes a partial transport checksum over the gathered frame. Done before the bytes can be
// corrupted, so that the receiver notices.
static void complete_checksum(uint8_t *frame, uint32_t len, uint32_t l4_offset)
{
    if (l4_offset < NT_ETHERNET_HEADER_BYTES + NT_IPV4_HEADER_BYTES || l4_offset >= len)
        return;
    uint8_t protocol = nt_ipv4_protocol(frame + NT_ETHERNET_HEADER_BYTES);
    uint32_t field = protocol == NT_IPPROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
    if (l4_offset + field + 2 > len)
        return;
    uint16_t sum = nt_csum_finish(nt_csum(frame + l4_offset, len - l4_offset, 0));
    // A UDP checksum of zero says "none": the other zero of one's complement stands for it.
    nt_csum_store(frame + l4_offset + field,
                  sum == 0 && protocol == NT_IPPROTO_UDP ? UINT16_MAX : sum);
}

static void push_descriptor(struct nt_wire *wire, const struct nt_desc *frame, uint8_t flags,
                            struct nt_ref ref)
{
    struct nt_desc *desc = nt_producer_slot(&wire->tx);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_FRAME;
    desc->flags = flags;
    desc->ref_count = 1;
    desc->gso_size = frame->gso_size;
    desc->l4_offset = frame->l4_offset;
    desc->check = nt_desc_check(wire->tx.tail);
    desc->ref[0] = ref;
    nt_producer_advance(&wire->tx);
}

// Gathers one frame into a granted buffer of `class`, of which there is one, and passes it on. A
// frame with a bad reference is dropped; the buffer stays ours.
static void send_one(struct nt_wire *wire, const struct nt_desc *frame, uint32_t class)
{
    struct nt_uplink *uplink = &wire->uplink;
    struct nt_wire_stack *stack = &wire->held[class];
    uint32_t buffer = stack->buffer[stack->count - 1];
    uint64_t offset = nt_buffers_frame_offset(&wire->peer_pool, buffer);
    uint8_t *out = wire->peer_pool.base + offset;
    int64_t len = nt_regions_gather(&uplink->regions, frame, 0, out,
                                    nt_buffers_frame_capacity(&wire->peer_pool, buffer));
    if (len < 0) {
        nt_uplink_count(uplink, NT_UPLINK_BAD_REF, 1);
        return;
    }
    nt_txn_crash_point(&uplink->txn);
    uint8_t flags = frame->flags & (NT_DESC_CSUM_PARTIAL | NT_DESC_CSUM_VALID);
    if (wire->emulation.corrupt_ppb != 0) {
        if (flags & NT_DESC_CSUM_PARTIAL)
            complete_checksum(out, (uint32_t)len, frame->l4_offset);
        flags = 0;
    }
    struct nt_ref ref = {.offset = offset,
                         .len = (uint32_t)len,
                         .region = wire->peer_pool.region,
                         .use = wire->state->held[buffer].use};
    stack->count--;
    set_held(wire, buffer, (struct nt_wire_held){0});
    push_descriptor(wire, frame, flags, ref);
    struct nt_capture_piece whole = {out, (uint64_t)len};
    nt_uplink_observe(uplink, NT_CAPTURE_OUT, &whole, 1);
    nt_uplink_count(uplink, NT_UPLINK_TX_FRAMES, 1);
    nt_uplink_count(uplink, NT_UPLINK_TX_BYTES, (uint64_t)len);
    nt_txn_crash_point(&uplink->txn);
}

enum send_result {
    SENT,    // or dropped for good
    STARVED, // no buffer: keep it
};

// All segments of a super-segment or none.
static enum send_result send_segments(struct nt_wire *wire, const struct nt_gso *gso)
{
    if (wire->held[0].count < gso->segments ||
        nt_producer_room(&wire->tx, gso->segments) < gso->segments)
        return STARVED;
    struct nt_desc segment;
    for (uint32_t i = 0; i < gso->segments; i++) {
        nt_gso_segment(gso, i, &segment);
        send_one(wire, &segment, 0);
    }
    nt_uplink_count(&wire->uplink, NT_WIRE_SEGMENTED, 1);
    return SENT;
}

static enum send_result send_frame(struct nt_wire *wire)
{
    const struct nt_desc *frame = &wire->uplink.frame;
    struct nt_gso gso;
    // What cannot be cut (no correct IP server makes it) travels whole.
    if (frame->gso_size != 0 && nt_emulate_needs_segments(&wire->emulation) &&
        nt_gso_open(&gso, frame, wire->uplink.frame_bytes) == 0 &&
        frame->gso_size + gso.header_bytes <= NT_POOL_SMALL_BYTES - NT_POOL_HEADROOM)
        return send_segments(wire, &gso);
    int class = choose_class(wire, wire->uplink.frame_bytes);
    if (class < 0) {
        nt_uplink_count(&wire->uplink, NT_UPLINK_BAD_DESC, 1);
        return SENT;
    }
    if (wire->held[class].count == 0 || nt_producer_room(&wire->tx, 1) == 0)
        return STARVED;
    send_one(wire, frame, (uint32_t) class);
    return SENT;
}

// A frame found no buffer. True if it is to be dropped, because the peer has been silent too long.
static bool starve(struct nt_wire *wire, uint64_t now_ns)
{
    if (wire->starved_since_ns == 0)
        wire->starved_since_ns = now_ns == 0 ? 1 : now_ns;
    if (now_ns - wire->starved_since_ns >= NT_WIRE_STARVED_NS)
        wire->peer_silent = true;
    return wire->peer_silent;
}

// Asks for the beginning of all payloads of a batch: with many connections, each is on a page that
// the processor has not seen for long.
static void look_ahead(struct nt_uplink *uplink, uint32_t budget)
{
    uint32_t count = nt_min_u32(nt_consumer_pending(&uplink->from_ip), budget);
    for (uint32_t i = 0; i < count; i++) {
        const struct nt_desc *desc = nt_consumer_slot_ahead(&uplink->from_ip, i);
        struct nt_ref ref = desc->ref[0];
        const uint8_t *bytes = nt_regions_resolve(&uplink->regions, &ref);
        if (desc->ref_count != 0 && bytes != NULL)
            nt_prefetch(bytes);
    }
}

uint32_t nt_wire_send(struct nt_wire *wire, uint64_t now_ns, uint32_t budget)
{
    struct nt_uplink *uplink = &wire->uplink;
    look_ahead(uplink, budget);
    uint32_t work = 0;
    uint64_t gathered = 0;
    for (; work < budget && gathered < NT_WIRE_STEP_BYTES && nt_uplink_has_room(uplink); work++) {
        enum nt_uplink_input input = nt_uplink_peek(uplink);
        if (input == NT_UPLINK_NONE)
            break;
        if (input == NT_UPLINK_OTHER)
            continue;
        if (send_frame(wire) == STARVED) {
            if (!starve(wire, now_ns))
                break;
            nt_uplink_count(uplink, NT_WIRE_NO_GRANT, 1);
        } else {
            wire->starved_since_ns = 0;
            wire->peer_silent = false;
        }
        gathered += uplink->frame_bytes;
        nt_uplink_done(uplink);
    }
    return work;
}

bool nt_wire_can_send(struct nt_wire *wire)
{
    if (nt_consumer_pending(&wire->grants_rx) != 0)
        return true;
    bool waits = wire->starved_since_ns != 0 && !wire->peer_silent;
    return !waits && nt_consumer_pending(&wire->uplink.from_ip) != 0;
}

void nt_wire_send_forgot(struct nt_wire *wire)
{
    struct nt_wire_renewal *renewal = &wire->state->renewal;
    if (!renewal->unsent || nt_producer_room(&wire->tx, 1) == 0)
        return;
    struct nt_desc *desc = nt_producer_slot(&wire->tx);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_WIRE_DESC_FORGOT;
    desc->ref[0].use = renewal->number;
    desc->check = nt_desc_check(wire->tx.tail);
    nt_producer_advance(&wire->tx);
    nt_txn_touch(&wire->uplink.txn, renewal, sizeof(*renewal));
    renewal->unsent = 0;
}
