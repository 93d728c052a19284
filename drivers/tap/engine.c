// engine.c: the TAP driver's life: open, recover, step, audit. The theory stands in tap.h.
// Why C: the step runs for every batch of packets.
#include "drivers/tap/tap.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t step(void *context, uint64_t now_ns, uint32_t budget)
{
    struct nt_tap *tap = context;
    nt_uplink_begin(&tap->uplink, now_ns);
    uint32_t work = nt_uplink_take_returns(&tap->uplink, budget);
    work += nt_tap_receive(tap, budget);
    work += nt_tap_send(tap, now_ns, budget);
    if (work == 0)
        return 0;
    nt_txn_crash_point(&tap->uplink.txn);
    nt_uplink_commit(&tap->uplink);
    return work;
}

// The device is looked at by whoever waits for it (device_fd).
static bool has_work(void *context)
{
    struct nt_tap *tap = context;
    return nt_uplink_returns_pending(&tap->uplink) ||
           (tap->blocked_since_ns == 0 && nt_consumer_pending(&tap->uplink.from_ip) != 0);
}

static uint64_t next_deadline(void *context)
{
    const struct nt_tap *tap = context;
    return tap->blocked_since_ns != 0 ? tap->retry_ns : NT_NEVER;
}

static int audit(void *context, char *why, uint64_t why_bytes)
{
    struct nt_tap *tap = context;
    const struct nt_buffers *buffers = &tap->uplink.buffers;
    for (uint32_t state = NT_BUFFER_UP + 1; state < NT_BUFFER_STATES; state++)
        if (buffers->in_state[state][0] + buffers->in_state[state][1] != 0) {
            (void)snprintf(why, why_bytes, "a buffer is neither free nor up");
            return -1;
        }
    return nt_uplink_audit(&tap->uplink, why, why_bytes);
}

uint64_t nt_tap_arena_bytes(void)
{
    return nt_arena_bytes(sizeof(struct nt_tap_state), NT_UPLINK_JOURNAL_BYTES);
}

struct nt_engine *nt_tap_new(const struct nt_tap_config *config, char *why, uint64_t why_bytes)
{
    struct nt_tap *tap = calloc(1, sizeof(*tap));
    if (tap == NULL) {
        (void)snprintf(why, why_bytes, "out of memory");
        return NULL;
    }
    int opened = nt_uplink_open(&tap->uplink, &config->uplink, NT_TAP_ARENA_KIND,
                                NT_TAP_ARENA_LAYOUT, sizeof(struct nt_tap_state), why, why_bytes);
    if (opened == NT_ARENA_BAD) {
        free(tap);
        return NULL;
    }
    nt_uplink_start(&tap->uplink);
    tap->fd = config->device_fd;
    tap->engine = (struct nt_engine){
        .context = tap,
        .step = step,
        .has_work = has_work,
        .next_deadline = next_deadline,
        .audit = audit,
        .bells = &tap->uplink.bells,
        .status = tap->uplink.status,
        .device_fd = config->device_fd,
    };
    return &tap->engine;
}

void nt_tap_free(struct nt_engine *engine) { free(engine->context); }

int nt_tap_map_area(struct nt_engine *engine, uint32_t number, void *base, uint64_t bytes)
{
    struct nt_tap *tap = engine->context;
    if (number >= NT_AREAS_MAX)
        return -1;
    return nt_regions_set(&tap->uplink.regions, NT_REGION_AREA + number, base, bytes, NULL);
}

void nt_tap_unmap_area(struct nt_engine *engine, uint32_t number)
{
    struct nt_tap *tap = engine->context;
    if (number < NT_AREAS_MAX)
        nt_regions_clear(&tap->uplink.regions, NT_REGION_AREA + number);
}

void nt_tap_crash_at(struct nt_engine *engine, uint64_t n)
{
    struct nt_txn *txn = &((struct nt_tap *)engine->context)->uplink.txn;
    txn->crash_at = txn->crash_points + n;
}
