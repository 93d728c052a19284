// host.c: one host's memory and wiring, as rs would make it (newtos_py/rs/wiring.py says what there
// is), and what comes and goes with its programs.
#include "newtos_py/sim/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "newtos_py/kernel/channel.h"
#include "newtos_py/kernel/desc.h"
#include "newtos_py/kernel/pool.h"

enum {
    RING_SLOTS = 1024,
    DRIVER_SMALL = 448,
    DRIVER_LARGE = 64,
    IP_SMALL = 128,
    IP_LARGE = 32,
    // From here on a server's bells are those of programs' event queues, by area and queue.
    BELL_QUEUE = 64,
    WRAP_WITHIN = 3000, // slots before an index wraps, at most
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
};

// -- Nodes -------------------------------------------------------------------------------------

static const char *const role_names[NT_WORLD_ROLES] = {"wire", "ip",      "udp",
                                                       "tcp",  "syscall", "program"};

struct nt_world_node *nt_world_node_new(struct nt_world *world, struct nt_world_host *host,
                                        uint32_t role, uint32_t number)
{
    struct nt_world_node *node = calloc(1, sizeof(*node));
    nt_assert(node != NULL && world->node_count < NT_WORLD_NODES_MAX);
    node->world = world;
    node->host = host;
    node->index = world->node_count;
    node->role = role;
    node->number = number;
    node->weight = 1;
    node->crashes_left = UINT32_MAX;
    node->wake_ns = NT_NEVER;
    (void)snprintf(node->name, sizeof(node->name), "%s.%s%u", host->name, role_names[role], number);
    node->status = nt_world_map(&world->memory, NT_PAGE).base;
    nt_status_format(node->status);
    world->node[world->node_count++] = node;
    return node;
}

int nt_world_node_make(struct nt_world_node *node)
{
    char why[256] = "";
    node->status->generation++;
    node->status->sleeping = 0;
    node->engine = node->kind->make(node, why, sizeof(why));
    if (node->engine == NULL) {
        nt_world_fail(node->world, node->name, why);
        return -1;
    }
    node->state = NT_WORLD_AWAKE;
    node->wake_ns = NT_NEVER;
    return 0;
}

// -- Memory ------------------------------------------------------------------------------------

struct nt_world_span nt_world_channel(struct nt_world *world, uint32_t slot_bytes)
{
    struct nt_world_span span =
        nt_world_map(&world->memory, nt_channel_bytes(RING_SLOTS, slot_bytes));
    nt_channel_format(span.base, RING_SLOTS, slot_bytes);
    if (world->tuning.wrap) {
        uint32_t first = 0u - (uint32_t)nt_world_draw_below(world, WRAP_WITHIN);
        ((struct nt_channel_consumer_page *)span.base)->head = first;
        ((struct nt_channel_producer_page *)((uint8_t *)span.base + NT_PAGE))->tail = first;
    }
    return span;
}

static struct nt_world_span descriptors(struct nt_world *world)
{
    return nt_world_channel(world, sizeof(struct nt_desc));
}

static struct nt_world_span returns(struct nt_world *world)
{
    return nt_world_channel(world, sizeof(struct nt_return));
}

static struct nt_world_span pool(struct nt_world *world, uint32_t small, uint32_t large)
{
    struct nt_world_span span = nt_world_map(&world->memory, nt_pool_bytes(small, large));
    nt_pool_format(span.base, small, large);
    return span;
}

static void make_upper(struct nt_world_host *host, struct nt_world_upper *upper, uint32_t role,
                       uint32_t number, const struct nt_world_engine_kind *kind)
{
    struct nt_world *world = host->world;
    upper->node = nt_world_node_new(world, host, role, number);
    upper->node->kind = kind;
    upper->to_ip = descriptors(world);
    upper->from_ip = descriptors(world);
    upper->returns_ip = returns(world);
    upper->to_syscall = descriptors(world);
    upper->from_syscall = descriptors(world);
    nt_assert(nt_producer_open(&upper->requests, upper->from_syscall.base,
                               upper->from_syscall.bytes, sizeof(struct nt_desc)) == 0 &&
              nt_consumer_open(&upper->replies, upper->to_syscall.base, upper->to_syscall.bytes,
                               sizeof(struct nt_desc)) == 0);
}

struct nt_world_host *nt_world_host_new(struct nt_world *world, const char *name, uint32_t lanes)
{
    struct nt_world_host *host = calloc(1, sizeof(*host));
    nt_assert(host != NULL && world->host_count < NT_WORLD_HOSTS_MAX && lanes >= 1 &&
              lanes <= NT_WORLD_LANES_MAX);
    host->world = world;
    host->index = world->host_count;
    host->seed = nt_world_draw(world);
    (void)snprintf(host->name, sizeof(host->name), "%s", name);
    host->ip = nt_world_node_new(world, host, NT_WORLD_IP, 0);
    host->ip->kind = &nt_world_kind_ip;
    host->ip_pool = pool(world, IP_SMALL, IP_LARGE);
    make_upper(host, &host->udp, NT_WORLD_UDP, 0, &nt_world_kind_udp);
    host->lanes = lanes;
    for (uint32_t lane = 0; lane < lanes; lane++)
        make_upper(host, &host->tcp[lane], NT_WORLD_TCP, lane, &nt_world_kind_tcp);
    host->syscall = nt_world_node_new(world, host, NT_WORLD_SYSCALL, 0);
    world->host[world->host_count++] = host;
    return host;
}

static struct nt_world_driver *driver_new(struct nt_world_host *host,
                                          const struct nt_world_link *link)
{
    struct nt_world *world = host->world;
    struct nt_world_driver *driver = calloc(1, sizeof(*driver));
    nt_assert(driver != NULL && host->driver_count < NT_DRIVERS_MAX);
    driver->node = nt_world_node_new(world, host, NT_WORLD_WIRE, host->driver_count);
    driver->node->kind = &nt_world_kind_wire;
    driver->pool = pool(world, DRIVER_SMALL, DRIVER_LARGE);
    driver->to_ip = descriptors(world);
    driver->from_ip = descriptors(world);
    driver->returns_ip = returns(world);
    driver->returns_udp = returns(world);
    for (uint32_t lane = 0; lane < host->lanes; lane++)
        driver->returns_tcp[lane] = returns(world);
    driver->link = *link;
    driver->seed = nt_world_draw(world);
    host->driver[host->driver_count++] = driver;
    return driver;
}

void nt_world_wire_new(struct nt_world_host *a, struct nt_world_host *b,
                       const struct nt_world_link *link)
{
    struct nt_world *world = a->world;
    struct nt_world_driver *one = driver_new(a, link), *other = driver_new(b, link);
    one->peer = other;
    other->peer = one;
    one->tx = other->rx = descriptors(world);
    one->rx = other->tx = descriptors(world);
    one->grants_tx = other->grants_rx = returns(world);
    one->grants_rx = other->grants_tx = returns(world);
}

int nt_world_host_boot(struct nt_world_host *host, const void *netconf, uint64_t bytes)
{
    if (bytes != sizeof(host->netconf)) {
        nt_world_fail(host->world, host->name, "the network configuration has the wrong size");
        return -1;
    }
    memcpy(&host->netconf, netconf, sizeof(host->netconf));
    for (uint32_t i = 0; i < host->driver_count; i++)
        if (nt_world_node_make(host->driver[i]->node) != 0)
            return -1;
    if (nt_world_node_make(host->ip) != 0 || nt_world_node_make(host->udp.node) != 0)
        return -1;
    for (uint32_t lane = 0; lane < host->lanes; lane++)
        if (nt_world_node_make(host->tcp[lane].node) != 0)
            return -1;
    return 0;
}

static void free_host(struct nt_world_host *host)
{
    for (uint32_t i = 0; i < host->driver_count; i++)
        free(host->driver[i]);
    free(host);
}

void nt_world_free_hosts(struct nt_world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        if (world->node[i]->engine != NULL)
            world->node[i]->kind->free(world->node[i]);
        free(world->node[i]);
    }
    for (uint32_t i = 0; i < world->host_count; i++)
        free_host(world->host[i]);
}

// -- Bells: `fd` holds the number of the node to be rung ------------------------------------------

void nt_world_set_bell(struct nt_bells *bells, uint32_t index, const struct nt_world_node *target)
{
    nt_assert(nt_bells_set(bells, index, &target->status->sleeping, (int)target->index) == 0);
}

uint32_t nt_world_set_queue_bell(struct nt_bells *bells, const struct nt_world_host *host,
                                 uint32_t area, uint32_t queue)
{
    const struct nt_world_area *of = &host->area[area];
    uint8_t *queues = (uint8_t *)of->part[0].base + NT_AREA_PROGRAM_QUEUES_OFFSET;
    const struct nt_area_queue *flag = (const struct nt_area_queue *)(const void *)queues + queue;
    uint32_t bell = BELL_QUEUE + area * NT_WORLD_QUEUES + queue;
    nt_assert(nt_bells_set(bells, bell, &flag->sleeping, (int)of->program->index) == 0);
    return bell;
}

// -- Programs ----------------------------------------------------------------------------------

uint32_t nt_world_program_new(struct nt_world_host *host)
{
    return nt_world_node_new(host->world, host, NT_WORLD_PROGRAM, host->programs++)->index;
}

void nt_world_program_end(struct nt_world_host *host, uint32_t node)
{
    host->world->node[node]->state = NT_WORLD_GONE;
    host->world->node[node]->wake_ns = NT_NEVER;
}

uint32_t nt_world_syscall_node(const struct nt_world_host *host) { return host->syscall->index; }

static struct nt_world_upper *upper_of(struct nt_world_host *host, uint32_t protocol, uint32_t lane)
{
    return protocol == PROTOCOL_TCP ? &host->tcp[lane] : &host->udp;
}

static const struct nt_world_node *server_of(const struct nt_world_host *host, uint32_t protocol,
                                             uint32_t lane)
{
    return protocol == PROTOCOL_TCP ? host->tcp[lane].node : host->udp.node;
}

const uint32_t *nt_world_server_sleeping(const struct nt_world_host *host, uint32_t protocol,
                                         uint32_t lane)
{
    return &server_of(host, protocol, lane)->status->sleeping;
}

uint32_t nt_world_server_node(const struct nt_world_host *host, uint32_t protocol, uint32_t lane)
{
    return server_of(host, protocol, lane)->index;
}

bool nt_world_area_of(const struct nt_world_host *host, uint32_t area, uint32_t protocol,
                      uint32_t lane)
{
    const struct nt_world_area *of = &host->area[area];
    return of->mapped && of->protocol == protocol && of->lane == lane;
}

// Who has an area: its server, IP and all drivers; those that are down get it when they are back.
static int for_servers(struct nt_world_host *host, uint32_t area, bool map)
{
    const struct nt_world_area *of = &host->area[area];
    struct nt_world_node *server = upper_of(host, of->protocol, of->lane)->node;
    struct nt_world_node *all[NT_DRIVERS_MAX + 2] = {server, host->ip};
    uint32_t count = 2;
    for (uint32_t i = 0; i < host->driver_count; i++)
        all[count++] = host->driver[i]->node;
    for (uint32_t i = 0; i < count; i++) {
        if (all[i]->engine == NULL)
            continue;
        if (!map)
            all[i]->kind->unmap_area(all[i], area);
        else if (all[i]->kind->map_area(all[i], area) != 0)
            return -1;
    }
    return 0;
}

int nt_world_area_new(struct nt_world_host *host, uint32_t node, uint32_t protocol, uint32_t lane,
                      uint32_t slots)
{
    uint32_t number = 0;
    while (number < NT_WORLD_AREAS_MAX && host->area[number].program != NULL)
        number++;
    if (number == NT_WORLD_AREAS_MAX)
        return -1;
    struct nt_world_memory *memory = &host->world->memory;
    struct nt_world_area *area = &host->area[number];
    area->mapped = true;
    area->protocol = protocol;
    area->lane = lane;
    area->slots = slots;
    area->program = host->world->node[node];
    area->part[0] = nt_world_map(memory, nt_area_program_bytes(slots));
    area->part[1] = nt_world_map(memory, nt_area_server_bytes(slots));
    area->part[2] = nt_world_map(memory, nt_area_hint_bytes());
    nt_area_format(area->part[0].base, area->part[1].base, area->part[2].base, slots, protocol);
    return for_servers(host, number, true) == 0 ? (int)number : -1;
}

// Whoever looks at the memory from now on faults; the number may be used again.
void nt_world_area_end(struct nt_world_host *host, uint32_t area)
{
    struct nt_world_area *of = &host->area[area];
    of->mapped = false;
    (void)for_servers(host, area, false);
    for (uint32_t i = 0; i < 3; i++)
        nt_world_close(&of->part[i]);
    of->program = NULL;
}

struct nt_world_span nt_world_area_part(const struct nt_world_host *host, uint32_t area,
                                        uint32_t part)
{
    return host->area[area].part[part];
}

int nt_world_listener_new(struct nt_world_host *host, uint32_t lane, uint32_t entries,
                          uint32_t backlog, uint32_t design)
{
    uint32_t number = 0;
    while (number < NT_WORLD_LISTENERS_MAX && host->listener[number].entries != 0)
        number++;
    if (number == NT_WORLD_LISTENERS_MAX)
        return -1;
    struct nt_world_listener *listener = &host->listener[number];
    listener->mapped = true;
    listener->lane = lane;
    listener->entries = entries;
    listener->ring = nt_world_map(&host->world->memory, nt_listener_ring_bytes(entries));
    listener->claims = nt_world_map(&host->world->memory, nt_listener_claims_bytes());
    nt_listener_format(listener->ring.base, listener->claims.base, entries, backlog);
    ((struct nt_listener_header *)listener->ring.base)->design = design;
    struct nt_world_node *tcp = host->tcp[lane].node;
    if (tcp->engine != NULL && tcp->kind->map_listener(tcp, number) != 0)
        return -1;
    return (int)number;
}

void nt_world_listener_end(struct nt_world_host *host, uint32_t listener)
{
    host->listener[listener].mapped = false;
    struct nt_world_node *tcp = host->tcp[host->listener[listener].lane].node;
    if (tcp->engine != NULL)
        tcp->kind->unmap_listener(tcp, listener);
}

struct nt_world_span nt_world_listener_part(const struct nt_world_host *host, uint32_t listener,
                                            uint32_t part)
{
    return part == 0 ? host->listener[listener].ring : host->listener[listener].claims;
}

// -- The syscall server's stand-in ---------------------------------------------------------------

bool nt_world_request(struct nt_world_host *host, uint32_t protocol, uint32_t lane,
                      const struct nt_request *request)
{
    struct nt_world_upper *upper = upper_of(host, protocol, lane);
    struct nt_desc desc = {.kind = NT_DESC_REQUEST, .inline_len = sizeof(*request)};
    desc.check = nt_desc_check(upper->requests.tail);
    memcpy(desc.data, request, sizeof(*request));
    if (!nt_producer_push(&upper->requests, &desc))
        return false;
    if (upper->node->status->sleeping)
        nt_world_wake(host->world, upper->node->index);
    return true;
}

bool nt_world_reply(struct nt_world_host *host, uint32_t protocol, uint32_t lane,
                    struct nt_request *reply)
{
    struct nt_world_upper *upper = upper_of(host, protocol, lane);
    struct nt_desc desc;
    uint32_t check = nt_desc_check(upper->replies.head);
    if (!nt_consumer_pop(&upper->replies, &desc))
        return false;
    nt_assert(desc.check == check && desc.kind == NT_DESC_REPLY);
    memcpy(reply, desc.data, sizeof(*reply));
    return true;
}
