// rest.c: what a world must look like when all programs are done: every packet buffer is where it
// belongs, and no server remembers a connection. What is left over is a leak.
#include <inttypes.h>
#include <stdio.h>

#include "drivers/wire/engine.h"
#include "newtos_py/kernel/arena.h"
#include "newtos_py/kernel/pool.h"
#include "newtos_py/net/uplink.h"
#include "newtos_py/sim/world.h"
#include "servers/tcp/engine.h"
#include "servers/udp/engine.h"

static int left(struct nt_world *world, const struct nt_world_node *node, uint64_t count,
                const char *what)
{
    char text[128];
    if (count == 0)
        return 0;
    (void)snprintf(text, sizeof(text), "%" PRIu64 " %s", count, what);
    nt_world_fail(world, node->name, text);
    return -1;
}

// The driver's records are the truth about its buffers (net/buffers.h).
static uint64_t buffers_with(const struct nt_world_driver *driver, enum nt_buffer_state state)
{
    const struct nt_arena_header *arena = driver->node->arena.base;
    const struct nt_uplink_state *body =
        (const void *)((const uint8_t *)driver->node->arena.base + arena->body_offset);
    uint64_t count = 0;
    for (uint32_t i = 0; i < NT_BUFFERS_MAX; i++)
        count += body->record[i].state == state;
    return count;
}

// What is lent to the peer is with the peer, or on its way to it.
static int grants_at_rest(struct nt_world *world, const struct nt_world_driver *driver)
{
    struct nt_consumer on_the_way;
    nt_assert(nt_consumer_open(&on_the_way, driver->grants_tx.base, driver->grants_tx.bytes,
                               sizeof(struct nt_return)) == 0);
    uint64_t lent = buffers_with(driver, NT_BUFFER_GRANTED);
    uint64_t there = nt_consumer_pending(&on_the_way) + nt_wire_held(driver->peer->node->engine);
    if (left(world, driver->node, lent > there ? lent - there : 0,
             "buffers that it lent were lost") != 0)
        return -1;
    return left(world, driver->peer->node, there > lent ? there - lent : 0,
                "buffers that it holds are not lent");
}

// IP keeps none of its buffers for long: what is out is with somebody above.
static uint64_t ip_buffers_out(const struct nt_world_host *host)
{
    struct nt_pool pool;
    uint64_t count = 0;
    nt_assert(nt_pool_open(&pool, host->ip_pool.base, host->ip_pool.bytes, 1) == 0);
    for (uint32_t i = 0; i < pool.small_count + pool.large_count; i++)
        count += pool.use[i] & 1u;
    return count;
}

static int host_at_rest(struct nt_world *world, const struct nt_world_host *host)
{
    for (uint32_t i = 0; i < host->driver_count; i++) {
        const struct nt_world_driver *driver = host->driver[i];
        if (left(world, driver->node, buffers_with(driver, NT_BUFFER_UP),
                 "buffers never came back from above") != 0 ||
            left(world, driver->node, buffers_with(driver, NT_BUFFER_DELAYED),
                 "frames are still under way") != 0 ||
            grants_at_rest(world, driver) != 0)
            return -1;
    }
    if (left(world, host->ip, ip_buffers_out(host), "buffers never came back") != 0)
        return -1;
    for (uint32_t lane = 0; lane < host->lanes; lane++) {
        const struct nt_world_node *tcp = host->tcp[lane].node;
        if (left(world, tcp, tcp->status->counter[NT_TCP_TCBS_IN_USE], "TCBs are in use") != 0 ||
            left(world, tcp, tcp->status->counter[NT_TCP_TIME_WAITS_IN_USE],
                 "TIME-WAIT blocks are in use") != 0)
            return -1;
    }
    return 0;
}

int nt_world_at_rest(struct nt_world *world)
{
    for (uint32_t i = 0; i < world->host_count; i++)
        if (host_at_rest(world, world->host[i]) != 0)
            return -1;
    return 0;
}
