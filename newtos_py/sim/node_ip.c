// node_ip.c: a host's IP server in the simulator.
#include "newtos_py/sim/world.h"
#include "servers/ip/engine.h"

static struct nt_ip_memory memory(struct nt_world_span span)
{
    return (struct nt_ip_memory){span.base, span.bytes};
}

static struct nt_ip_memory page(struct nt_status *status)
{
    return (struct nt_ip_memory){status, NT_PAGE};
}

static struct nt_ip_upper_config upper(const struct nt_world_upper *from)
{
    return (struct nt_ip_upper_config){
        .into = memory(from->to_ip),
        .out = memory(from->from_ip),
        .returns_in = memory(from->returns_ip),
    };
}

static void set_bells(struct nt_bells *bells, const struct nt_world_host *host)
{
    for (uint32_t i = 0; i < host->driver_count; i++)
        nt_world_set_bell(bells, NT_IP_BELL_DRIVER + i, host->driver[i]->node);
    for (uint32_t lane = 0; lane < host->lanes; lane++)
        nt_world_set_bell(bells, NT_IP_BELL_UPPER + lane, host->tcp[lane].node);
    nt_world_set_bell(bells, NT_IP_BELL_UPPER + NT_IP_UPPER_UDP, host->udp.node);
}

static int map_area(struct nt_world_node *node, uint32_t area)
{
    const struct nt_world_span *program = &node->host->area[area].part[0];
    return nt_ip_map_area(node->engine, area, program->base, program->bytes);
}

static void unmap_area(struct nt_world_node *node, uint32_t area)
{
    nt_ip_unmap_area(node->engine, area);
}

static struct nt_engine *make(struct nt_world_node *node, char *why, uint64_t why_bytes)
{
    struct nt_world_host *host = node->host;
    if (node->arena.base == NULL)
        node->arena = nt_world_map(&node->world->memory, nt_ip_arena_bytes());
    struct nt_ip_config config = {
        .arena = memory(node->arena),
        .pool = memory(host->ip_pool),
        .status = page(node->status),
        .netconf = {&host->netconf, sizeof(host->netconf)},
        .seed = host->seed,
    };
    for (uint32_t i = 0; i < host->driver_count; i++) {
        const struct nt_world_driver *driver = host->driver[i];
        config.driver[i] = (struct nt_ip_driver_config){
            .into = memory(driver->to_ip),
            .out = memory(driver->from_ip),
            .returns_out = memory(driver->returns_ip),
            .pool = memory(driver->pool),
            .status = page(driver->node->status),
        };
    }
    for (uint32_t lane = 0; lane < host->lanes; lane++)
        config.upper[lane] = upper(&host->tcp[lane]);
    config.upper[NT_IP_UPPER_UDP] = upper(&host->udp);
    struct nt_engine *engine = nt_ip_new(&config, why, why_bytes);
    if (engine == NULL)
        return NULL;
    set_bells(engine->bells, host);
    node->engine = engine;
    for (uint32_t i = 0; i < NT_WORLD_AREAS_MAX; i++)
        if (host->area[i].mapped)
            nt_assert(map_area(node, i) == 0);
    nt_ip_start(engine);
    return engine;
}

static void free_engine(struct nt_world_node *node) { nt_ip_free(node->engine); }

static void crash_at(struct nt_world_node *node, uint64_t points, void (*crash)(void *), void *arg)
{
    nt_ip_inject(node->engine, points, crash, arg);
}

static uint64_t crash_points(const struct nt_world_node *node)
{
    return nt_ip_crash_points(node->engine);
}

const struct nt_world_engine_kind nt_world_kind_ip = {
    .name = "ip",
    .make = make,
    .free = free_engine,
    .crash_at = crash_at,
    .crash_points = crash_points,
    .map_area = map_area,
    .unmap_area = unmap_area,
};
