// rx.c: from the peer to IP: descriptors checked, emulation applied, frames handed up, free buffers
// lent to the peer again. Why C: it runs for every packet.
#include "drivers/wire/wire.h"
#include "newtos_py/net/ethernet.h"

// Our buffer that a descriptor of the peer names, if we lent it and it is still out; else -1.
static int64_t lent_buffer(const struct nt_wire *wire, const struct nt_desc *desc)
{
    const struct nt_buffers *buffers = &wire->uplink.buffers;
    const struct nt_ref *ref = &desc->ref[0];
    if (desc->kind != NT_DESC_FRAME || desc->ref_count != 1)
        return -1;
    int64_t buffer = nt_pool_buffer_at(&buffers->owner.view, ref->offset, ref->len);
    if (buffer < 0 || buffers->record[buffer].state != NT_BUFFER_GRANTED ||
        buffers->record[buffer].use != ref->use)
        return -1;
    return buffer;
}

static bool frame_sensible(const struct nt_desc *desc)
{
    const uint8_t known_flags = NT_DESC_CSUM_PARTIAL | NT_DESC_CSUM_VALID;
    uint32_t len = desc->ref[0].len;
    return len >= NT_ETHERNET_HEADER_BYTES && (desc->flags & ~known_flags) == 0 &&
           desc->l4_offset < len && desc->gso_size < len;
}

// A frame that goes up now, or as soon as it is due.
static void pass_on(struct nt_wire *wire, uint64_t now_ns, uint64_t due_ns, uint32_t buffer,
                    const struct nt_uplink_frame *frame)
{
    struct nt_wire_state *state = wire->state;
    int64_t first = nt_delay_first(&wire->delay);
    // Not before another that is due, too, and only this step's budget holds back.
    if (due_ns <= now_ns && (first < 0 || state->delayed[first].due_ns > due_ns)) {
        nt_uplink_hand_up(&wire->uplink, buffer, frame);
        return;
    }
    state->delayed[buffer] = (struct nt_delayed_frame){
        .due_ns = due_ns, .order = state->emulate.order++, .frame = *frame};
    nt_buffers_set_state(&wire->uplink.buffers, buffer, NT_BUFFER_DELAYED);
    nt_delay_push(&wire->delay, buffer);
}

// A frame's twin, in another buffer of ours. Only if one of those that are kept back is free.
static void duplicate(struct nt_wire *wire, uint64_t now_ns, uint64_t due_ns,
                      const struct nt_uplink_frame *frame)
{
    struct nt_buffers *buffers = &wire->uplink.buffers;
    const struct nt_pool *pool = &buffers->owner.view;
    if (!nt_uplink_can_hand_up(&wire->uplink))
        return;
    int64_t buffer = nt_buffers_take(buffers, frame->len, NT_BUFFER_GRANTED);
    if (buffer < 0)
        return;
    struct nt_uplink_frame twin = *frame;
    twin.offset = nt_buffers_frame_offset(pool, (uint32_t)buffer);
    memcpy(pool->base + twin.offset, pool->base + frame->offset, frame->len);
    pass_on(wire, now_ns, due_ns, (uint32_t)buffer, &twin);
    nt_uplink_count(&wire->uplink, NT_WIRE_DUPLICATED, 1);
}

// Overwrites a byte; false if nobody above would notice, and the frame must be lost instead.
static bool corrupt(struct nt_wire *wire, const struct nt_uplink_frame *frame,
                    const struct nt_emulate_verdict *verdict)
{
    uint8_t *bytes = wire->uplink.buffers.owner.view.base + frame->offset;
    nt_uplink_count(&wire->uplink, NT_WIRE_CORRUPTED, 1);
    if (nt_ethernet_type(bytes) == NT_ETHERTYPE_ARP)
        return false;
    bytes[verdict->corrupt_at] = verdict->corrupt_to;
    return true;
}

// True if three quarters of a class are on their way: then the link drops like a router whose queue
// is full, instead of stopping the peer for want of buffers.
static bool pool_crowded(const struct nt_wire *wire)
{
    const struct nt_buffers *buffers = &wire->uplink.buffers;
    const struct nt_pool *pool = &buffers->owner.view;
    const uint32_t *delayed = buffers->in_state[NT_BUFFER_DELAYED];
    return delayed[0] > pool->small_count / 4 * 3 || delayed[1] > pool->large_count / 4 * 3;
}

static void emulate(struct nt_wire *wire, uint64_t now_ns, uint32_t buffer,
                    const struct nt_uplink_frame *frame)
{
    struct nt_uplink *uplink = &wire->uplink;
    struct nt_emulate_verdict verdict;
    nt_emulate_judge(&uplink->txn, &wire->state->emulate, &wire->emulation, now_ns, frame->len,
                     &verdict);
    if (verdict.fate == NT_EMULATE_PASS && verdict.due_ns > now_ns && pool_crowded(wire))
        verdict.fate = NT_EMULATE_QUEUE_FULL;
    if (verdict.fate != NT_EMULATE_PASS) {
        bool lost = verdict.fate == NT_EMULATE_LOST;
        nt_uplink_count(uplink, lost ? NT_WIRE_LOST : NT_WIRE_QUEUE_DROPPED, 1);
        nt_buffers_free(&uplink->buffers, buffer);
        return;
    }
    // First, so that a duplicate made again after a crash is the same one.
    if (verdict.corrupt && !corrupt(wire, frame, &verdict)) {
        nt_buffers_free(&uplink->buffers, buffer);
        return;
    }
    if (verdict.duplicate)
        duplicate(wire, now_ns, verdict.duplicate_due_ns, frame);
    if (verdict.reorder)
        nt_uplink_count(uplink, NT_WIRE_REORDERED, 1);
    pass_on(wire, now_ns, verdict.due_ns, buffer, frame);
}

// The peer lost its arena: what it held of ours is free again, and will be lent anew. What it had
// sent before stood in the channel before this message, so every buffer still granted counts.
static void forget_grants(struct nt_wire *wire, uint16_t number)
{
    struct nt_buffers *buffers = &wire->uplink.buffers;
    nt_uplink_count(&wire->uplink, NT_WIRE_FORGOTTEN, 1);
    for (uint32_t i = 0; i < buffers->count; i++)
        if (buffers->record[i].state == NT_BUFFER_GRANTED)
            nt_buffers_free(buffers, i);
    nt_wire_drop_stale(wire);
    struct nt_return *answer = nt_producer_slot(&wire->grants_tx);
    *answer = (struct nt_return){.buffer = NT_WIRE_RENEWED, .use = number};
    nt_producer_advance(&wire->grants_tx);
}

// The peer's message that it forgot waits until all that it lent before is taken, because that is
// dropped with the rest and would count as lent anew later; and until there is room for the answer.
static bool must_wait(struct nt_wire *wire, const struct nt_desc *desc)
{
    return desc->kind == NT_WIRE_DESC_FORGOT && (nt_consumer_pending(&wire->grants_rx) != 0 ||
                                                 nt_producer_room(&wire->grants_tx, 1) == 0);
}

static void receive_one(struct nt_wire *wire, uint64_t now_ns, const struct nt_desc *desc)
{
    struct nt_uplink *uplink = &wire->uplink;
    if (desc->check != nt_desc_check(wire->rx.head)) {
        nt_uplink_count(uplink, NT_WIRE_BAD_PEER_DESC, 1);
        return;
    }
    if (desc->kind == NT_WIRE_DESC_FORGOT) {
        forget_grants(wire, desc->ref[0].use);
        return;
    }
    int64_t buffer = lent_buffer(wire, desc);
    if (buffer < 0 || !frame_sensible(desc)) {
        nt_uplink_count(uplink, NT_WIRE_BAD_PEER_DESC, 1);
        if (buffer >= 0)
            nt_buffers_free(&uplink->buffers, (uint32_t)buffer);
        return;
    }
    struct nt_uplink_frame frame = {
        .offset = desc->ref[0].offset,
        .len = desc->ref[0].len,
        .gso_size = desc->gso_size,
        .l4_offset = desc->l4_offset,
        .flags = desc->flags,
    };
    // The bytes never left memory: nothing but emulation changes them, and where it does, the
    // sender has completed the checksum and set no flag.
    if (frame.flags & NT_DESC_CSUM_PARTIAL)
        frame.flags |= NT_DESC_CSUM_VALID;
    emulate(wire, now_ns, (uint32_t)buffer, &frame);
}

// Asks for all descriptors of a batch: they lie in the cache of the peer's core.
static void look_ahead(struct nt_consumer *rx, uint32_t budget)
{
    uint32_t count = nt_min_u32(nt_consumer_pending(rx), budget);
    for (uint32_t i = 1; i < count; i++)
        nt_prefetch(nt_consumer_slot_ahead(rx, i));
}

uint32_t nt_wire_receive(struct nt_wire *wire, uint64_t now_ns, uint32_t budget)
{
    struct nt_consumer *rx = &wire->rx;
    uint32_t work = 0;
    look_ahead(rx, budget);
    while (work < budget && nt_uplink_has_room(&wire->uplink) && nt_consumer_pending(rx) != 0 &&
           nt_uplink_can_hand_up(&wire->uplink)) {
        struct nt_desc desc;
        memcpy(&desc, nt_consumer_slot(rx), offsetof(struct nt_desc, data));
        if (must_wait(wire, &desc))
            break;
        receive_one(wire, now_ns, &desc);
        nt_consumer_advance(rx);
        nt_txn_crash_point(&wire->uplink.txn);
        work++;
    }
    return work;
}

uint32_t nt_wire_hand_up_due(struct nt_wire *wire, uint64_t now_ns, uint32_t budget)
{
    struct nt_wire_state *state = wire->state;
    uint32_t work = 0;
    while (work < budget && nt_uplink_has_room(&wire->uplink) &&
           nt_uplink_can_hand_up(&wire->uplink)) {
        int64_t buffer = nt_delay_first(&wire->delay);
        if (buffer < 0 || state->delayed[buffer].due_ns > now_ns)
            break;
        nt_delay_pop(&wire->delay);
        nt_uplink_hand_up(&wire->uplink, (uint32_t)buffer, &state->delayed[buffer].frame);
        work++;
    }
    return work;
}

static void grant_class(struct nt_wire *wire, uint32_t class, uint32_t keep)
{
    struct nt_buffers *buffers = &wire->uplink.buffers;
    struct nt_producer *grants = &wire->grants_tx;
    const uint32_t *free_count = &buffers->in_state[NT_BUFFER_FREE][class];
    uint32_t len = class == 0 ? 1 : NT_POOL_SMALL_BYTES;
    while (*free_count > keep && nt_uplink_has_room(&wire->uplink) &&
           nt_producer_room(grants, 1) != 0) {
        uint32_t buffer = (uint32_t)nt_buffers_take(buffers, len, NT_BUFFER_GRANTED);
        struct nt_return *grant = nt_producer_slot(grants);
        *grant = (struct nt_return){.buffer = buffer,
                                    .use = buffers->record[buffer].use,
                                    .region = buffers->owner.view.region};
        nt_producer_advance(grants);
        nt_txn_crash_point(&wire->uplink.txn);
        wire->grants_unrung = true;
    }
}

void nt_wire_grant(struct nt_wire *wire)
{
    bool spare = wire->emulation.duplicate_ppb != 0;
    grant_class(wire, 0, spare ? NT_WIRE_SPARE_SMALL : 0);
    grant_class(wire, 1, spare ? NT_WIRE_SPARE_LARGE : 0);
}
