// engine.c: making, recovering and freeing an IP engine.
//
// Everything that must survive is journalled state in the arena; so recovery is what nt_arena_open
// does (roll back), what nt_txn_add_* do (publish again) and what nt_buffers_open does (set the
// pool's use counts to what the records say). Nothing else is rebuilt.
#include "servers/ip/engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "servers/ip/exact.h"
#include "servers/ip/groups.h"
#include "servers/ip/step.h"

enum { // ports of the transaction: the same in all generations
    PORT_DRIVER = 0,
    PORTS_A_DRIVER = 3,
    PORT_UPPER = PORT_DRIVER + PORTS_A_DRIVER * NT_IP_DRIVERS,
    PORTS_AN_UPPER = 3,
};

_Static_assert((int)PORT_UPPER + (int)PORTS_AN_UPPER * NT_IP_UPPERS <= (int)NT_ARENA_PORTS,
               "ports");
_Static_assert((int)NT_IP_COUNTERS <= (int)NT_STATUS_COUNTERS, "counters");

uint64_t nt_ip_arena_bytes(void)
{
    return nt_arena_bytes(sizeof(struct nt_ip_state), NT_IP_JOURNAL_BYTES);
}

static int open_driver(struct nt_ip *ip, uint32_t index, const struct nt_ip_driver_config *config,
                       bool recovered)
{
    struct nt_ip_link *link = &ip->link[index];
    uint32_t port = PORT_DRIVER + PORTS_A_DRIVER * index;
    uint16_t region = (uint16_t)(NT_REGION_DRIVER_POOL + index);
    if (config->status.bytes < sizeof(struct nt_status) ||
        nt_consumer_open(&link->in, config->into.base, config->into.bytes,
                         sizeof(struct nt_desc)) ||
        nt_producer_open(&link->out, config->out.base, config->out.bytes, sizeof(struct nt_desc)) ||
        nt_producer_open(&link->returns, config->returns_out.base, config->returns_out.bytes,
                         sizeof(struct nt_return)) ||
        nt_pool_open(&link->pool, config->pool.base, config->pool.bytes, region) ||
        nt_regions_set(&ip->regions, region, config->pool.base, config->pool.bytes, &link->pool) ||
        nt_txn_add_consumer(&ip->txn, port, &link->in, recovered) ||
        nt_txn_add_producer(&ip->txn, port + 1, &link->out, recovered) ||
        nt_txn_add_producer(&ip->txn, port + 2, &link->returns, recovered))
        return -1;
    link->status = config->status.base;
    link->exists = true;
    return 0;
}

static int open_upper(struct nt_ip *ip, uint32_t index, const struct nt_ip_upper_config *config,
                      bool recovered)
{
    struct nt_ip_upper *upper = &ip->upper[index];
    uint32_t port = PORT_UPPER + PORTS_AN_UPPER * index;
    if (nt_consumer_open(&upper->in, config->into.base, config->into.bytes,
                         sizeof(struct nt_desc)) ||
        nt_producer_open(&upper->out, config->out.base, config->out.bytes,
                         sizeof(struct nt_desc)) ||
        nt_consumer_open(&upper->returns, config->returns_in.base, config->returns_in.bytes,
                         sizeof(struct nt_return)) ||
        nt_txn_add_consumer(&ip->txn, port, &upper->in, recovered) ||
        nt_txn_add_producer(&ip->txn, port + 1, &upper->out, recovered) ||
        nt_txn_add_consumer(&ip->txn, port + 2, &upper->returns, recovered))
        return -1;
    upper->exists = true;
    if (index < NT_IP_LANES)
        ip->lanes++;
    return 0;
}

static const char *open_channels(struct nt_ip *ip, const struct nt_ip_config *config,
                                 bool recovered)
{
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++)
        if (config->driver[i].into.base != NULL &&
            open_driver(ip, i, &config->driver[i], recovered) != 0)
            return "a driver's channel, pool or status page is malformed";
    for (uint32_t i = 0; i < NT_IP_UPPERS; i++)
        if (config->upper[i].into.base != NULL &&
            open_upper(ip, i, &config->upper[i], recovered) != 0)
            return "a channel with an upper server is malformed";
    return NULL;
}

static const char *open_pool(struct nt_ip *ip, const struct nt_ip_config *config, bool recovered)
{
    const struct nt_ip_memory *pool = &config->pool;
    if (nt_buffers_open(&ip->buffers, &ip->txn, ip->state->record, pool->base, pool->bytes,
                        NT_REGION_IP_POOL, recovered) != 0 ||
        nt_regions_set(&ip->regions, NT_REGION_IP_POOL, pool->base, pool->bytes,
                       &ip->buffers.owner.view) != 0)
        return "the IP pool does not fit the arena's records";
    return NULL;
}

// Fences of a life whose arena is gone must not count for this one.
static void skip_old_fences(struct nt_ip *ip)
{
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++) {
        if (!ip->link[i].exists)
            continue;
        uint32_t seen = (uint32_t)nt_load_acquire(&ip->link[i].status->fence[NT_FENCE_IP]);
        struct nt_ip_sequence *sequence = &ip->state->sequence;
        sequence->fence = nt_max_u32(sequence->fence, seen);
    }
}

static const char *open_all(struct nt_ip *ip, const struct nt_ip_config *config)
{
    if (config->status.bytes < sizeof(struct nt_status) ||
        config->netconf.bytes != sizeof(struct nt_netconf))
        return "the status page or the network configuration has the wrong size";
    ip->status = config->status.base;
    memcpy(&ip->conf, config->netconf.base, sizeof ip->conf);
    int opened = nt_arena_open(&ip->txn, config->arena.base, config->arena.bytes, NT_IP_ARENA_KIND,
                               NT_IP_ARENA_LAYOUT, sizeof(struct nt_ip_state), NT_IP_JOURNAL_BYTES);
    if (opened == NT_ARENA_BAD)
        return "the arena is not the IP server's, or is damaged";
    bool recovered = opened == NT_ARENA_RECOVERED;
    ip->state = nt_arena_body(&ip->txn);
    const char *error = open_channels(ip, config, recovered);
    if (error == NULL)
        error = open_pool(ip, config, recovered);
    if (error != NULL)
        return error;
    if (!recovered)
        skip_old_fences(ip);
    nt_ip_exact_recover(ip);
    // A lane is there or not, whatever the configuration says.
    struct nt_steering_config steering = ip->conf.steering;
    steering.lanes = ip->lanes;
    nt_steering_init(&ip->steering, &steering);
    nt_ip_groups_recover(ip, recovered);
    ip->announced = recovered;
    return NULL;
}

struct nt_engine *nt_ip_new(const struct nt_ip_config *config, char *why, uint64_t why_bytes)
{
    struct nt_ip *ip = calloc(1, sizeof *ip);
    if (ip == NULL) {
        (void)snprintf(why, why_bytes, "no memory");
        return NULL;
    }
    nt_bells_init(&ip->bells);
    ip->seed = config->seed;
    ip->deadline_ns = 0; // timers that were armed in an earlier life are looked at once
    const char *error = open_all(ip, config);
    ip->engine = (struct nt_engine){
        .context = ip,
        .step = nt_ip_step,
        .has_work = nt_ip_has_work,
        .next_deadline = nt_ip_next_deadline,
        .audit = nt_ip_audit,
        .bells = &ip->bells,
        .status = ip->status,
        .device_fd = -1,
    };
    if (error == NULL && nt_ip_audit(ip, why, why_bytes) != 0) {
        free(ip);
        return NULL;
    }
    if (error != NULL) {
        (void)snprintf(why, why_bytes, "%s", error);
        free(ip);
        return NULL;
    }
    return &ip->engine;
}

void nt_ip_start(struct nt_engine *engine)
{
    struct nt_ip *ip = engine->context;
    nt_arena_set_formatted(&ip->txn);
    for (uint32_t i = 0; i < NT_IP_BELL_UPPER + NT_IP_UPPERS; i++)
        nt_bells_mark(&ip->bells, i);
}

void nt_ip_free(struct nt_engine *engine) { free(engine->context); }

int nt_ip_map_area(struct nt_engine *engine, uint32_t number, void *base, uint64_t bytes)
{
    struct nt_ip *ip = engine->context;
    if (number >= NT_AREAS_MAX)
        return -1;
    return nt_regions_set(&ip->regions, NT_REGION_AREA + number, base, bytes, NULL);
}

void nt_ip_unmap_area(struct nt_engine *engine, uint32_t number)
{
    struct nt_ip *ip = engine->context;
    if (number < NT_AREAS_MAX)
        nt_regions_clear(&ip->regions, NT_REGION_AREA + number);
}

void nt_ip_inject(struct nt_engine *engine, uint64_t crash_at, void (*crash)(void *), void *arg)
{
    struct nt_ip *ip = engine->context;
    ip->txn.crash_at = crash_at == 0 ? 0 : ip->txn.crash_points + crash_at;
    ip->txn.crash = crash;
    ip->txn.crash_arg = arg;
}

uint64_t nt_ip_crash_points(const struct nt_engine *engine)
{
    const struct nt_ip *ip = engine->context;
    return ip->txn.crash_points;
}
