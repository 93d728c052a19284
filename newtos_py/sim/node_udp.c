// node_udp.c: a host's UDP server in the simulator.
#include "newtos_py/sim/world.h"
#include "servers/udp/engine.h"

enum { PROTOCOL_UDP = 17 };

static struct nt_udp_memory memory(struct nt_world_span span)
{
    return (struct nt_udp_memory){span.base, span.bytes};
}

static int map_area(struct nt_world_node *node, uint32_t area)
{
    const struct nt_world_host *host = node->host;
    const struct nt_world_area *of = &host->area[area];
    if (!nt_world_area_of(host, area, PROTOCOL_UDP, 0))
        return 0;
    if (nt_udp_map_area(node->engine, area, of->slots, of->program->index, of->part[0].base,
                        of->part[1].base, of->part[2].base) != 0)
        return -1;
    for (uint32_t queue = 0; queue < NT_WORLD_QUEUES; queue++) {
        uint32_t bell = nt_world_set_queue_bell(node->engine->bells, host, area, queue);
        if (nt_udp_set_queue(node->engine, area, queue, bell) != 0)
            return -1;
    }
    return 0;
}

static void unmap_area(struct nt_world_node *node, uint32_t area)
{
    nt_udp_unmap_area(node->engine, area);
}

static void fill_config(struct nt_udp_config *config, struct nt_world_node *node)
{
    struct nt_world_host *host = node->host;
    const struct nt_world_upper *own = &host->udp;
    *config = (struct nt_udp_config){
        .arena = memory(node->arena),
        .status = {node->status, NT_PAGE},
        .netconf = {&host->netconf, sizeof(host->netconf)},
        .from_ip = memory(own->from_ip),
        .to_ip = memory(own->to_ip),
        .from_syscall = memory(own->from_syscall),
        .to_syscall = memory(own->to_syscall),
        .ip_pool = {.pool = memory(host->ip_pool), .returns_out = memory(own->returns_ip)},
        .seed = host->seed,
    };
    for (uint32_t i = 0; i < host->driver_count; i++)
        config->driver[i] = (struct nt_udp_pool_config){
            .pool = memory(host->driver[i]->pool),
            .returns_out = memory(host->driver[i]->returns_udp),
            .status = {host->driver[i]->node->status, NT_PAGE},
        };
}

static struct nt_engine *make(struct nt_world_node *node, char *why, uint64_t why_bytes)
{
    struct nt_world_host *host = node->host;
    if (node->arena.base == NULL)
        node->arena = nt_world_map(&node->world->memory, nt_udp_arena_bytes());
    struct nt_udp_config config;
    fill_config(&config, node);
    struct nt_engine *engine = nt_udp_new(&config, why, why_bytes);
    if (engine == NULL)
        return NULL;
    nt_world_set_bell(engine->bells, NT_UDP_BELL_IP, host->ip);
    nt_world_set_bell(engine->bells, NT_UDP_BELL_SYSCALL, host->syscall);
    for (uint32_t i = 0; i < host->driver_count; i++)
        nt_world_set_bell(engine->bells, NT_UDP_BELL_DRIVER + i, host->driver[i]->node);
    node->engine = engine;
    for (uint32_t i = 0; i < NT_WORLD_AREAS_MAX; i++)
        nt_assert(!host->area[i].mapped || map_area(node, i) == 0);
    if (nt_udp_start(engine, why, why_bytes) == 0)
        return engine;
    nt_udp_free(engine);
    return NULL;
}

static void free_engine(struct nt_world_node *node) { nt_udp_free(node->engine); }

static void crash_at(struct nt_world_node *node, uint64_t points, void (*crash)(void *), void *arg)
{
    nt_udp_inject(node->engine, points, crash, arg);
}

static uint64_t crash_points(const struct nt_world_node *node)
{
    return nt_udp_crash_points(node->engine);
}

const struct nt_world_engine_kind nt_world_kind_udp = {
    .name = "udp",
    .make = make,
    .free = free_engine,
    .crash_at = crash_at,
    .crash_points = crash_points,
    .map_area = map_area,
    .unmap_area = unmap_area,
};
