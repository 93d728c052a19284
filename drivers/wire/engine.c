// engine.c: a wire driver's life: open, recover, step, audit. The theory stands in wire.h.
// Why C: the step runs for every batch of packets.
#include "drivers/wire/wire.h"

#include <stdio.h>
#include <stdlib.h>

static bool low_on_grants(const struct nt_wire *wire)
{
    const uint32_t *granted = wire->uplink.buffers.in_state[NT_BUFFER_GRANTED];
    return granted[0] < NT_WIRE_LOW_SMALL || granted[1] < NT_WIRE_LOW_LARGE;
}

// The peer hears of descriptors at once. Of grants only when it may be short of them: a wake for
// each batch of returns would cost it more than all of its sending. `was_low`: before this step
// granted; the peer may have slept on that. Counted as granted are also buffers that it has filled
// and that are not yet seen here: when they are, and grants are low then, it hears of what was lent
// meanwhile, so nothing stays unrung.
static void mark_peer(struct nt_wire *wire, bool sent, bool was_low)
{
    bool wants_grants = wire->grants_unrung && (was_low || low_on_grants(wire));
    if (!sent && !wants_grants)
        return;
    wire->grants_unrung = false;
    nt_bells_mark(&wire->uplink.bells, NT_WIRE_BELL_PEER);
}

enum {
    // So many frames at most are sent in parts, each published at once: the peer's core begins with
    // the first while this one still gathers. With more, both have enough to do as it is.
    FEW_FRAMES = 8,
    PART_FRAMES = 4,
};

static uint32_t send(struct nt_wire *wire, uint64_t now_ns, uint32_t budget)
{
    if (nt_consumer_pending(&wire->uplink.from_ip) > FEW_FRAMES || budget <= PART_FRAMES)
        return nt_wire_send(wire, now_ns, budget);
    uint32_t sent = nt_wire_send(wire, now_ns, PART_FRAMES);
    if (sent != PART_FRAMES)
        return sent;
    nt_uplink_commit(&wire->uplink);
    return sent + nt_wire_send(wire, now_ns, budget - PART_FRAMES);
}

static uint32_t step(void *context, uint64_t now_ns, uint32_t budget)
{
    struct nt_wire *wire = context;
    nt_uplink_begin(&wire->uplink, now_ns);
    uint32_t tail = wire->tx.tail;
    nt_wire_send_forgot(wire);
    uint32_t work = wire->tx.tail != tail;
    work += nt_wire_take_grants(wire, budget);
    work += nt_uplink_take_returns(&wire->uplink, budget);
    work += nt_wire_hand_up_due(wire, now_ns, budget);
    work += nt_wire_receive(wire, now_ns, budget);
    work += send(wire, now_ns, budget);
    uint32_t granted = wire->grants_tx.tail;
    bool was_low = low_on_grants(wire);
    nt_wire_grant(wire);
    work += granted != wire->grants_tx.tail;
    if (work == 0)
        return 0;
    nt_txn_crash_point(&wire->uplink.txn);
    nt_uplink_commit(&wire->uplink);
    nt_txn_crash_point(&wire->uplink.txn);
    mark_peer(wire, wire->tx.tail != tail, was_low);
    return work;
}

static bool has_work(void *context)
{
    struct nt_wire *wire = context;
    return nt_consumer_pending(&wire->rx) != 0 || nt_uplink_returns_pending(&wire->uplink) ||
           nt_wire_can_send(wire);
}

static uint64_t next_deadline(void *context)
{
    struct nt_wire *wire = context;
    uint64_t deadline_ns = NT_NEVER;
    if (wire->starved_since_ns != 0 && !wire->peer_silent)
        deadline_ns = wire->starved_since_ns + NT_WIRE_STARVED_NS;
    int64_t first = nt_delay_first(&wire->delay);
    if (first >= 0)
        deadline_ns = nt_min_u64(deadline_ns, wire->state->delayed[first].due_ns);
    return deadline_ns;
}

static int fail(char *why, uint64_t why_bytes, const char *what)
{
    (void)snprintf(why, why_bytes, "%s", what);
    return -1;
}

// What is held of the peer's buffers stands on the right stack exactly once.
static int audit_held(const struct nt_wire *wire, char *why, uint64_t why_bytes)
{
    uint32_t listed = 0;
    for (uint32_t i = 0; i < NT_BUFFERS_MAX; i++) {
        const struct nt_wire_held *held = &wire->state->held[i];
        if (held->held > 1 || (held->held == 1) != ((held->use & 1) == 1))
            return fail(why, why_bytes, "a record of a granted buffer is neither held nor empty");
        listed += held->held;
    }
    if (listed != wire->held[0].count + wire->held[1].count)
        return fail(why, why_bytes, "granted buffers listed and stacked differ in number");
    uint64_t seen[NT_BUFFERS_MAX / 64] = {0};
    for (uint32_t class = 0; class < 2; class ++)
        for (uint32_t i = 0; i < wire->held[class].count; i++) {
            uint32_t buffer = wire->held[class].buffer[i];
            uint64_t bit = UINT64_C(1) << (buffer % 64);
            if (wire->state->held[buffer].held == 0 || (seen[buffer / 64] & bit) != 0 ||
                (class == 0) != (buffer < wire->peer_pool.small_count))
                return fail(why, why_bytes, "a stacked buffer is not held, or is stacked twice");
            seen[buffer / 64] |= bit;
        }
    return 0;
}

static int audit(void *context, char *why, uint64_t why_bytes)
{
    struct nt_wire *wire = context;
    const struct nt_buffers *buffers = &wire->uplink.buffers;
    if (nt_uplink_audit(&wire->uplink, why, why_bytes) != 0)
        return -1;
    const uint32_t *delayed = buffers->in_state[NT_BUFFER_DELAYED];
    if (delayed[0] + delayed[1] != wire->delay.count)
        return fail(why, why_bytes, "delayed buffers and the delay queue differ in number");
    for (uint32_t i = 0; i < wire->delay.count; i++)
        if (buffers->record[wire->delay.heap[i]].state != NT_BUFFER_DELAYED)
            return fail(why, why_bytes, "a buffer in the delay queue is not delayed");
    if (!nt_delay_ordered(&wire->delay))
        return fail(why, why_bytes, "the delay queue is out of order");
    return audit_held(wire, why, why_bytes);
}

uint64_t nt_wire_arena_bytes(void)
{
    return nt_arena_bytes(sizeof(struct nt_wire_state), NT_UPLINK_JOURNAL_BYTES);
}

static int open_ends(struct nt_wire *wire, const struct nt_wire_config *config, bool recovered)
{
    struct nt_txn *txn = &wire->uplink.txn;
    const struct nt_span *tx = &config->tx;
    const struct nt_span *rx = &config->rx;
    const struct nt_span *lent = &config->grants_rx;
    const struct nt_span *lend = &config->grants_tx;
    if (nt_producer_open(&wire->tx, tx->base, tx->bytes, sizeof(struct nt_desc)) ||
        nt_consumer_open(&wire->rx, rx->base, rx->bytes, sizeof(struct nt_desc)) ||
        nt_consumer_open(&wire->grants_rx, lent->base, lent->bytes, sizeof(struct nt_return)) ||
        nt_producer_open(&wire->grants_tx, lend->base, lend->bytes, sizeof(struct nt_return)))
        return -1;
    if (nt_txn_add_producer(txn, NT_WIRE_PORT_TX, &wire->tx, recovered) ||
        nt_txn_add_consumer(txn, NT_WIRE_PORT_RX, &wire->rx, recovered) ||
        nt_txn_add_consumer(txn, NT_WIRE_PORT_GRANTS_RX, &wire->grants_rx, recovered) ||
        nt_txn_add_producer(txn, NT_WIRE_PORT_GRANTS_TX, &wire->grants_tx, recovered))
        return -1;
    return 0;
}

// Private state from durable state.
static void rebuild(struct nt_wire *wire)
{
    for (uint32_t i = wire->peer_pool.small_count + wire->peer_pool.large_count; i-- > 0;) {
        struct nt_wire_stack *stack = &wire->held[i < wire->peer_pool.small_count ? 0 : 1];
        if (wire->state->held[i].held != 0)
            stack->buffer[stack->count++] = i;
    }
    nt_delay_init(&wire->delay, wire->state->delayed);
    for (uint32_t i = 0; i < wire->uplink.buffers.count; i++)
        if (wire->state->uplink.record[i].state == NT_BUFFER_DELAYED)
            nt_delay_push(&wire->delay, i);
}

static int open_wire(struct nt_wire *wire, const struct nt_wire_config *config, char *why,
                     uint64_t why_bytes)
{
    int opened = nt_uplink_open(&wire->uplink, &config->uplink, NT_WIRE_ARENA_KIND,
                                NT_WIRE_ARENA_LAYOUT, sizeof(struct nt_wire_state), why, why_bytes);
    if (opened == NT_ARENA_BAD)
        return -1;
    wire->state = nt_arena_body(&wire->uplink.txn);
    wire->emulation = config->emulation;
    const struct nt_span *peer = &config->peer_pool;
    if (nt_pool_open(&wire->peer_pool, peer->base, peer->bytes, NT_REGION_NONE) ||
        wire->peer_pool.small_count > NT_BUFFERS_MAX ||
        wire->peer_pool.large_count > NT_BUFFERS_MAX - wire->peer_pool.small_count)
        return fail(why, why_bytes, "the peer's packet pool is malformed");
    if (open_ends(wire, config, opened == NT_ARENA_RECOVERED) != 0)
        return fail(why, why_bytes, "a channel with the peer is malformed");
    if (opened == NT_ARENA_FRESH) {
        nt_emulate_init(&wire->state->emulate, &config->emulation);
        // Or the same frames would meet the same fate after each cold start.
        wire->state->emulate.random += wire->uplink.status->generation;
        if (wire->tx.tail != 0 || wire->grants_tx.tail != 0 || wire->grants_rx.head != 0)
            wire->state->renewal = (struct nt_wire_renewal){
                .number = (uint16_t)wire->uplink.status->generation, .unsent = 1, .awaited = 1};
    }
    nt_uplink_commit(&wire->uplink);
    nt_uplink_start(&wire->uplink);
    rebuild(wire);
    return 0;
}

struct nt_engine *nt_wire_new(const struct nt_wire_config *config, char *why, uint64_t why_bytes)
{
    struct nt_wire *wire = calloc(1, sizeof(*wire));
    if (wire == NULL) {
        (void)fail(why, why_bytes, "out of memory");
        return NULL;
    }
    if (open_wire(wire, config, why, why_bytes) != 0) {
        free(wire);
        return NULL;
    }
    // The peer may sleep, and what it was lent before the restart may be all it waits for.
    wire->grants_unrung = true;
    wire->engine = (struct nt_engine){
        .context = wire,
        .step = step,
        .has_work = has_work,
        .next_deadline = next_deadline,
        .audit = audit,
        .bells = &wire->uplink.bells,
        .status = wire->uplink.status,
        .device_fd = -1,
    };
    return &wire->engine;
}

void nt_wire_free(struct nt_engine *engine) { free(engine->context); }

int nt_wire_map_area(struct nt_engine *engine, uint32_t number, void *base, uint64_t bytes)
{
    struct nt_wire *wire = engine->context;
    if (number >= NT_AREAS_MAX)
        return -1;
    return nt_regions_set(&wire->uplink.regions, NT_REGION_AREA + number, base, bytes, NULL);
}

void nt_wire_unmap_area(struct nt_engine *engine, uint32_t number)
{
    struct nt_wire *wire = engine->context;
    if (number < NT_AREAS_MAX)
        nt_regions_clear(&wire->uplink.regions, NT_REGION_AREA + number);
}

void nt_wire_crash_at(struct nt_engine *engine, uint64_t n)
{
    struct nt_txn *txn = &((struct nt_wire *)engine->context)->uplink.txn;
    txn->crash_at = txn->crash_points + n;
}

void nt_wire_inject(struct nt_engine *engine, uint64_t crash_at, void (*crash)(void *), void *arg)
{
    struct nt_txn *txn = &((struct nt_wire *)engine->context)->uplink.txn;
    txn->crash_at = crash_at == 0 ? 0 : txn->crash_points + crash_at;
    txn->crash = crash;
    txn->crash_arg = arg;
}

uint32_t nt_wire_held(const struct nt_engine *engine)
{
    const struct nt_wire *wire = engine->context;
    return wire->held[0].count + wire->held[1].count;
}

uint64_t nt_wire_crash_points(const struct nt_engine *engine)
{
    return ((const struct nt_wire *)engine->context)->uplink.txn.crash_points;
}
