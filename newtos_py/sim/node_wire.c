// node_wire.c: one end of a wire in the simulator.
#include "drivers/wire/engine.h"
#include "newtos_py/kernel/desc.h"
#include "newtos_py/sim/world.h"

static struct nt_span memory(struct nt_world_span span)
{
    return (struct nt_span){span.base, span.bytes};
}

static void fill_uplink(struct nt_uplink_config *config, const struct nt_world_node *node)
{
    const struct nt_world_host *host = node->host;
    const struct nt_world_driver *driver = host->driver[node->number];
    *config = (struct nt_uplink_config){
        .arena = memory(node->arena),
        .status = {node->status, NT_PAGE},
        .pool = memory(driver->pool),
        .from_ip = memory(driver->from_ip),
        .to_ip = memory(driver->to_ip),
        .returns = {memory(driver->returns_ip), memory(driver->returns_udp)},
        .return_count = 2 + host->lanes,
        .region = (uint16_t)(NT_REGION_DRIVER_POOL + node->number),
    };
    for (uint32_t lane = 0; lane < host->lanes; lane++)
        config->returns[2 + lane] = memory(driver->returns_tcp[lane]);
    config->pools[config->pool_count++] =
        (struct nt_uplink_pool){memory(host->ip_pool), NT_REGION_IP_POOL};
    for (uint32_t i = 0; i < host->driver_count; i++)
        config->pools[config->pool_count++] = (struct nt_uplink_pool){
            memory(host->driver[i]->pool), (uint16_t)(NT_REGION_DRIVER_POOL + i)};
}

static struct nt_wire_emulation emulation(const struct nt_world_driver *driver)
{
    const struct nt_world_link *link = &driver->link;
    return (struct nt_wire_emulation){
        .latency_ns = link->latency_ns,
        .rate_bits = link->rate_bits,
        .loss_ppb = link->loss_ppb,
        .reorder_ppb = link->reorder_ppb,
        .duplicate_ppb = link->duplicate_ppb,
        .corrupt_ppb = link->corrupt_ppb,
        .seed = driver->seed,
    };
}

static int map_area(struct nt_world_node *node, uint32_t area)
{
    const struct nt_world_span *program = &node->host->area[area].part[0];
    return nt_wire_map_area(node->engine, area, program->base, program->bytes);
}

static void unmap_area(struct nt_world_node *node, uint32_t area)
{
    nt_wire_unmap_area(node->engine, area);
}

static struct nt_engine *make(struct nt_world_node *node, char *why, uint64_t why_bytes)
{
    struct nt_world_host *host = node->host;
    const struct nt_world_driver *driver = host->driver[node->number];
    if (node->arena.base == NULL)
        node->arena = nt_world_map(&node->world->memory, nt_wire_arena_bytes());
    struct nt_wire_config config = {
        .peer_pool = memory(driver->peer->pool),
        .tx = memory(driver->tx),
        .rx = memory(driver->rx),
        .grants_rx = memory(driver->grants_rx),
        .grants_tx = memory(driver->grants_tx),
        .emulation = emulation(driver),
    };
    fill_uplink(&config.uplink, node);
    struct nt_engine *engine = nt_wire_new(&config, why, why_bytes);
    if (engine == NULL)
        return NULL;
    nt_world_set_bell(engine->bells, NT_UPLINK_BELL_IP, host->ip);
    nt_world_set_bell(engine->bells, NT_WIRE_BELL_PEER, driver->peer->node);
    node->engine = engine;
    for (uint32_t i = 0; i < NT_WORLD_AREAS_MAX; i++)
        if (host->area[i].mapped)
            nt_assert(map_area(node, i) == 0);
    return engine;
}

static void free_engine(struct nt_world_node *node) { nt_wire_free(node->engine); }

static void crash_at(struct nt_world_node *node, uint64_t points, void (*crash)(void *), void *arg)
{
    nt_wire_inject(node->engine, points, crash, arg);
}

static uint64_t crash_points(const struct nt_world_node *node)
{
    return nt_wire_crash_points(node->engine);
}

const struct nt_world_engine_kind nt_world_kind_wire = {
    .name = "wire",
    .make = make,
    .free = free_engine,
    .crash_at = crash_at,
    .crash_points = crash_points,
    .map_area = map_area,
    .unmap_area = unmap_area,
};
