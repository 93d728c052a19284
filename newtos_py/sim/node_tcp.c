// node_tcp.c: a host's TCP server in the simulator, one of as many as it has lanes.
#include "newtos_py/kernel/desc.h"
#include "newtos_py/sim/world.h"
#include "servers/tcp/engine.h"

enum {
    PROTOCOL_TCP = 6,
    // Small tables: simulations have few connections, and a new generation walks all of them.
    TCBS = 256,
    TIME_WAITS = 256,
    LISTENERS = 16,
    BINDING_PAGES = 16,
};

static const struct nt_tcp_shape shape = {
    .tcbs = TCBS,
    .time_waits = TIME_WAITS,
    .listeners = LISTENERS,
    .binding_pages = BINDING_PAGES,
};

static struct nt_tcp_engine *of(const struct nt_world_node *node) { return node->private; }

static struct nt_tcp_span memory(struct nt_world_span span)
{
    return (struct nt_tcp_span){span.base, span.bytes};
}

static int map_area(struct nt_world_node *node, uint32_t number)
{
    const struct nt_world_area *from = &node->host->area[number];
    struct nt_area view;
    if (!nt_world_area_of(node->host, number, PROTOCOL_TCP, node->number))
        return 0;
    if (nt_area_open(&view, from->part[0].base, from->part[1].base, from->part[2].base,
                     from->slots) != 0)
        return -1;
    view.number = (uint16_t)number;
    if (nt_tcp_attach_area(of(node), &view) != 0)
        return -1;
    for (uint32_t queue = 0; queue < NT_WORLD_QUEUES; queue++)
        if (nt_tcp_set_queue(of(node), number, queue, (int)from->program->index) != 0)
            return -1;
    return 0;
}

static void unmap_area(struct nt_world_node *node, uint32_t area)
{
    nt_tcp_detach_area(of(node), area);
}

static int map_listener(struct nt_world_node *node, uint32_t number)
{
    const struct nt_world_listener *from = &node->host->listener[number];
    struct nt_listener view;
    if (from->lane != node->number)
        return 0;
    if (nt_listener_open(&view, from->ring.base, from->claims.base, from->entries) != 0)
        return -1;
    return nt_tcp_map_listener(of(node), number, &view);
}

static void unmap_listener(struct nt_world_node *node, uint32_t number)
{
    nt_tcp_unmap_listener(of(node), number);
}

static void fill_config(struct nt_tcp_config *config, struct nt_world_node *node)
{
    struct nt_world_host *host = node->host;
    const struct nt_world_upper *own = &host->tcp[node->number];
    *config = (struct nt_tcp_config){
        .shape = shape,
        .arena = memory(node->arena),
        .status = {node->status, NT_PAGE},
        .netconf = {&host->netconf, sizeof(host->netconf)},
        .from_ip = memory(own->from_ip),
        .to_ip = memory(own->to_ip),
        .from_syscall = memory(own->from_syscall),
        .to_syscall = memory(own->to_syscall),
        .seed = host->seed + node->number,
        .lane = node->number,
    };
    config->pool[NT_REGION_IP_POOL] = memory(host->ip_pool);
    config->returns[NT_REGION_IP_POOL] = memory(own->returns_ip);
    for (uint32_t i = 0; i < host->driver_count; i++) {
        config->pool[NT_REGION_DRIVER_POOL + i] = memory(host->driver[i]->pool);
        config->returns[NT_REGION_DRIVER_POOL + i] =
            memory(host->driver[i]->returns_tcp[node->number]);
        config->driver_status[i] = host->driver[i]->node->status;
    }
}

static void set_bells(struct nt_bells *bells, const struct nt_world_host *host)
{
    nt_world_set_bell(bells, NT_TCP_BELL_IP, host->ip);
    nt_world_set_bell(bells, NT_TCP_BELL_SYSCALL, host->syscall);
    nt_world_set_bell(bells, NT_TCP_BELL_POOL + NT_REGION_IP_POOL, host->ip);
    for (uint32_t i = 0; i < host->driver_count; i++)
        nt_world_set_bell(bells, NT_TCP_BELL_POOL + NT_REGION_DRIVER_POOL + i,
                          host->driver[i]->node);
}

static void free_engine(struct nt_world_node *node)
{
    nt_tcp_free(of(node));
    node->private = NULL;
}

static struct nt_engine *make(struct nt_world_node *node, char *why, uint64_t why_bytes)
{
    struct nt_world_host *host = node->host;
    if (node->arena.base == NULL)
        node->arena = nt_world_map(&node->world->memory, nt_tcp_arena_bytes(&shape));
    struct nt_tcp_config config;
    fill_config(&config, node);
    node->private = nt_tcp_new(&config, why, why_bytes);
    if (node->private == NULL)
        return NULL;
    struct nt_engine *engine = nt_tcp_face(of(node));
    set_bells(engine->bells, host);
    for (uint32_t i = 0; i < NT_WORLD_AREAS_MAX; i++)
        nt_assert(!host->area[i].mapped || map_area(node, i) == 0);
    for (uint32_t i = 0; i < NT_WORLD_LISTENERS_MAX; i++)
        nt_assert(!host->listener[i].mapped || map_listener(node, i) == 0);
    if (nt_tcp_start(of(node), why, why_bytes) != 0) {
        free_engine(node);
        return NULL;
    }
    return engine;
}

static void crash_at(struct nt_world_node *node, uint64_t points, void (*crash)(void *), void *arg)
{
    nt_tcp_crash_at(of(node), points, crash, arg);
}

static uint64_t crash_points(const struct nt_world_node *node)
{
    return nt_tcp_crash_points(of(node));
}

const struct nt_world_engine_kind nt_world_kind_tcp = {
    .name = "tcp",
    .make = make,
    .free = free_engine,
    .crash_at = crash_at,
    .crash_points = crash_points,
    .map_area = map_area,
    .unmap_area = unmap_area,
    .map_listener = map_listener,
    .unmap_listener = unmap_listener,
};
