// uplink.c: see uplink.h. Why C: it runs for every packet.
#include "newtos_py/net/uplink.h"

#include <stdio.h>

static int bad(char *why, uint64_t why_bytes, const char *what)
{
    (void)snprintf(why, why_bytes, "%s", what);
    return NT_ARENA_BAD;
}

static int open_ports(struct nt_uplink *uplink, const struct nt_uplink_config *config,
                      bool recovered)
{
    struct nt_txn *txn = &uplink->txn;
    const struct nt_span *from = &config->from_ip;
    const struct nt_span *to = &config->to_ip;
    if (nt_consumer_open(&uplink->from_ip, from->base, from->bytes, sizeof(struct nt_desc)) ||
        nt_producer_open(&uplink->to_ip, to->base, to->bytes, sizeof(struct nt_desc)) ||
        nt_txn_add_consumer(txn, NT_UPLINK_PORT_FROM_IP, &uplink->from_ip, recovered) ||
        nt_txn_add_producer(txn, NT_UPLINK_PORT_TO_IP, &uplink->to_ip, recovered) ||
        config->return_count > NT_UPLINK_RETURNS_MAX)
        return -1;
    for (uint32_t i = 0; i < config->return_count; i++) {
        const struct nt_span *span = &config->returns[i];
        struct nt_consumer *end = &uplink->returns[i];
        if (nt_consumer_open(end, span->base, span->bytes, sizeof(struct nt_return)) ||
            nt_txn_add_consumer(txn, NT_UPLINK_PORT_RETURNS + i, end, recovered))
            return -1;
    }
    uplink->return_count = config->return_count;
    return 0;
}

static int open_regions(struct nt_uplink *uplink, const struct nt_uplink_config *config)
{
    if (config->pool_count > NT_UPLINK_POOLS_MAX)
        return -1;
    for (uint32_t i = 0; i < config->pool_count; i++) {
        const struct nt_uplink_pool *pool = &config->pools[i];
        if (nt_pool_open(&uplink->pools[i], pool->memory.base, pool->memory.bytes, pool->region) ||
            nt_regions_set(&uplink->regions, pool->region, pool->memory.base, pool->memory.bytes,
                           &uplink->pools[i]))
            return -1;
    }
    return 0;
}

static void publish_fences(struct nt_uplink *uplink)
{
    for (uint32_t i = 0; i < NT_STATUS_FENCES; i++)
        if (uplink->fences_pending & (UINT64_C(1) << i))
            nt_store_release(&uplink->status->fence[i], uplink->state->fence[i]);
    uplink->fences_pending = 0;
}

int nt_uplink_open(struct nt_uplink *uplink, const struct nt_uplink_config *config, uint32_t kind,
                   uint32_t layout, uint64_t body_bytes, char *why, uint64_t why_bytes)
{
    memset(uplink, 0, sizeof(*uplink));
    nt_bells_init(&uplink->bells);
    if (config->status.bytes < sizeof(struct nt_status))
        return bad(why, why_bytes, "the status page is too small");
    uplink->status = config->status.base;
    int opened = nt_arena_open(&uplink->txn, config->arena.base, config->arena.bytes, kind, layout,
                               body_bytes, NT_UPLINK_JOURNAL_BYTES);
    if (opened == NT_ARENA_BAD)
        return bad(why, why_bytes, "the arena is not this driver's, or is damaged");
    if (config->capture.base != NULL &&
        nt_capture_open(&uplink->capture, config->capture.base, config->capture.bytes) != 0)
        return bad(why, why_bytes, "the capture ring is malformed");
    const struct nt_status *ip = config->ip_status.base;
    if (ip != NULL && config->ip_status.bytes < sizeof *ip)
        return bad(why, why_bytes, "IP's status page is too small");
    nt_nic_init(&uplink->nic, &config->steering, ip == NULL ? NULL : ip->group);
    bool recovered = opened == NT_ARENA_RECOVERED;
    uplink->state = nt_arena_body(&uplink->txn);
    if (open_ports(uplink, config, recovered) != 0)
        return bad(why, why_bytes, "a channel with the host is malformed");
    if (open_regions(uplink, config) != 0)
        return bad(why, why_bytes, "a packet pool is malformed");
    if (nt_buffers_open(&uplink->buffers, &uplink->txn, uplink->state->record, config->pool.base,
                        config->pool.bytes, config->region, recovered) != 0)
        return bad(why, why_bytes, "our own pool does not fit the arena's records");
    return opened;
}

void nt_uplink_start(struct nt_uplink *uplink)
{
    // Committed before the crash, but perhaps not published.
    uplink->fences_pending = (UINT64_C(1) << NT_STATUS_FENCES) - 1;
    publish_fences(uplink);
    nt_arena_set_formatted(&uplink->txn);
}

static uint32_t take_returns_of(struct nt_uplink *uplink, struct nt_consumer *source,
                                uint32_t budget)
{
    uint32_t taken = 0;
    while (taken < budget && nt_uplink_has_room(uplink) && nt_consumer_pending(source) != 0) {
        struct nt_return ret;
        memcpy(&ret, nt_consumer_slot(source), sizeof(ret));
        (void)nt_buffers_give_back(&uplink->buffers, ret);
        nt_consumer_advance(source);
        nt_txn_crash_point(&uplink->txn);
        taken++;
    }
    return taken;
}

uint32_t nt_uplink_take_returns(struct nt_uplink *uplink, uint32_t budget)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < uplink->return_count; i++) {
        uint32_t source = (uplink->next_return + i) % uplink->return_count;
        taken += take_returns_of(uplink, &uplink->returns[source], budget);
    }
    if (uplink->return_count != 0)
        uplink->next_return = (uplink->next_return + 1) % uplink->return_count;
    uint64_t stale = uplink->buffers.owner.stale_returns;
    nt_uplink_count(uplink, NT_UPLINK_STALE_RETURNS, stale - uplink->stale_returns);
    uplink->stale_returns = stale;
    return taken;
}

bool nt_uplink_returns_pending(struct nt_uplink *uplink)
{
    for (uint32_t i = 0; i < uplink->return_count; i++)
        if (nt_consumer_pending(&uplink->returns[i]) != 0)
            return true;
    return false;
}

static void take_fence(struct nt_uplink *uplink, uint32_t source, uint32_t number)
{
    if (source >= NT_STATUS_FENCES) {
        nt_uplink_count(uplink, NT_UPLINK_BAD_DESC, 1);
        return;
    }
    uint64_t *fence = &uplink->state->fence[source];
    nt_uplink_count(uplink, NT_UPLINK_FENCES, 1);
    if (number <= *fence)
        return; // sent again after a timeout
    nt_txn_touch(&uplink->txn, fence, sizeof(*fence));
    *fence = number;
    uplink->fences_pending |= UINT64_C(1) << source;
}

// True if the private copy is a frame that can be sent; its references are checked when gathered.
static bool frame_valid(struct nt_uplink *uplink)
{
    const struct nt_desc *frame = &uplink->frame;
    if (frame->inline_len > NT_DESC_INLINE_BYTES || frame->ref_count > 2)
        return false;
    uplink->frame_bytes = frame->inline_len;
    for (uint32_t i = 0; i < frame->ref_count; i++)
        uplink->frame_bytes += frame->ref[i].len;
    return uplink->frame_bytes >= NT_UPLINK_FRAME_MIN_BYTES;
}

enum nt_uplink_input nt_uplink_peek(struct nt_uplink *uplink)
{
    struct nt_consumer *from = &uplink->from_ip;
    struct nt_desc *frame = &uplink->frame;
    if (nt_consumer_pending(from) == 0)
        return NT_UPLINK_NONE;
    memcpy(frame, nt_consumer_slot(from), sizeof(*frame));
    bool whole = frame->check == nt_desc_check(from->head);
    if (whole && frame->kind == NT_DESC_FRAME && frame_valid(uplink))
        return NT_UPLINK_FRAME;
    if (whole && frame->kind == NT_DESC_FENCE)
        take_fence(uplink, frame->tag, frame->arg);
    else
        nt_uplink_count(uplink, NT_UPLINK_BAD_DESC, 1);
    nt_uplink_done(uplink);
    return NT_UPLINK_OTHER;
}

void nt_uplink_done(struct nt_uplink *uplink)
{
    if (nt_nic_has_queues(&uplink->nic) && uplink->frame.kind == NT_DESC_FRAME)
        nt_nic_sent(&uplink->nic, &uplink->frame);
    nt_consumer_advance(&uplink->from_ip);
    nt_txn_crash_point(&uplink->txn);
}

bool nt_uplink_can_hand_up(struct nt_uplink *uplink)
{
    return nt_producer_room(&uplink->to_ip, 1) != 0;
}

void nt_uplink_hand_up(struct nt_uplink *uplink, uint32_t buffer,
                       const struct nt_uplink_frame *frame)
{
    nt_buffers_set_state(&uplink->buffers, buffer, NT_BUFFER_UP);
    struct nt_desc *desc = nt_producer_slot(&uplink->to_ip);
    // The inline bytes are not written: a received frame costs one line.
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_FRAME;
    desc->flags = frame->flags;
    desc->ref_count = 1;
    desc->gso_size = frame->gso_size;
    desc->l4_offset = frame->l4_offset;
    desc->check = nt_desc_check(uplink->to_ip.tail);
    desc->ref[0] = (struct nt_ref){
        .offset = frame->offset,
        .len = frame->len,
        .region = uplink->buffers.owner.view.region,
        .use = uplink->buffers.record[buffer].use,
    };
    if (nt_nic_has_queues(&uplink->nic)) {
        const uint8_t *bytes = uplink->buffers.owner.view.base + frame->offset;
        struct nt_nic_choice choice = nt_nic_receive(&uplink->nic, bytes, frame->len);
        desc->flow_hash = choice.hash;
        desc->arg = choice.queue;
    }
    nt_producer_advance(&uplink->to_ip);
    struct nt_capture_piece whole = {uplink->buffers.owner.view.base + frame->offset, frame->len};
    nt_uplink_observe(uplink, NT_CAPTURE_IN, &whole, 1);
    nt_uplink_count(uplink, NT_UPLINK_RX_FRAMES, 1);
    nt_uplink_count(uplink, NT_UPLINK_RX_BYTES, frame->len);
    nt_txn_crash_point(&uplink->txn);
}

// True if IP may be waiting for room in the channel that this transaction has read from: it does
// so only while the channel is nearly full, and ringing it otherwise would be a wake in vain.
static bool relieves_ip(const struct nt_uplink *uplink)
{
    const struct nt_consumer *from = &uplink->from_ip;
    uint32_t published = uplink->txn.port[NT_UPLINK_PORT_FROM_IP].published;
    if (from->head == published)
        return false;
    return nt_load_acquire(&from->peer->tail) - published > from->mask / 2;
}

void nt_uplink_commit(struct nt_uplink *uplink)
{
    bool for_ip = uplink->counted[NT_UPLINK_RX_FRAMES] != 0 || relieves_ip(uplink) ||
                  uplink->fences_pending != 0;
    nt_txn_commit(&uplink->txn);
    publish_fences(uplink);
    for (uint32_t i = 0; i < NT_UPLINK_COUNTERS; i++) {
        if (uplink->counted[i] == 0)
            continue;
        uint64_t *counter = &uplink->status->counter[i];
        nt_store_relaxed(counter, *counter + uplink->counted[i]);
        uplink->counted[i] = 0;
    }
    if (for_ip)
        nt_bells_mark(&uplink->bells, NT_UPLINK_BELL_IP);
}

int nt_uplink_audit(struct nt_uplink *uplink, char *why, uint64_t why_bytes)
{
    if (nt_buffers_audit(&uplink->buffers, why, why_bytes) != 0)
        return -1;
    if (uplink->txn.header->journal_bytes != 0)
        return (void)snprintf(why, why_bytes, "a transaction is open between two steps"), -1;
    return 0;
}
