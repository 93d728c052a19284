// engine.c: making, recovering and freeing a UDP engine; rows for observers.
//
// What is private is rebuilt from the records: the port index, the slots' sockets, free lists, who
// waits for a fence. Then everything committed is published again and every socket is looked at.
#include "servers/udp/engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "servers/udp/area.h"
#include "servers/udp/output.h"
#include "servers/udp/ports.h"
#include "servers/udp/socket.h"
#include "servers/udp/step.h"

enum { // ports of the transaction: the same in all generations
    PORT_FROM_IP = 0,
    PORT_TO_IP = 1,
    PORT_FROM_SYSCALL = 2,
    PORT_TO_SYSCALL = 3,
    PORT_IP_POOL = 4,
    PORT_DRIVER = 5,
};

_Static_assert((int)NT_UDP_COUNTERS <= (int)NT_STATUS_COUNTERS, "counters");

uint64_t nt_udp_arena_bytes(void)
{
    return nt_arena_bytes(sizeof(struct nt_udp_state), NT_UDP_JOURNAL_BYTES);
}

// -- Opening ---------------------------------------------------------------------------------

static int open_in(struct nt_udp *udp, uint32_t port, struct nt_consumer *end,
                   const struct nt_udp_memory *memory)
{
    if (memory->base == NULL ||
        nt_consumer_open(end, memory->base, memory->bytes, sizeof(struct nt_desc)) != 0)
        return -1;
    return nt_txn_add_consumer(&udp->txn, port, end, !udp->fresh);
}

static int open_out(struct nt_udp *udp, uint32_t port, struct nt_producer *end,
                    const struct nt_udp_memory *memory, uint32_t slot_bytes)
{
    if (memory->base == NULL || nt_producer_open(end, memory->base, memory->bytes, slot_bytes) != 0)
        return -1;
    return nt_txn_add_producer(&udp->txn, port, end, !udp->fresh);
}

static int open_pool(struct nt_udp *udp, struct nt_udp_pool *pool, uint32_t port, uint16_t region,
                     const struct nt_udp_pool_config *config)
{
    if (nt_pool_open(&pool->view, config->pool.base, config->pool.bytes, region) != 0 ||
        open_out(udp, port, &pool->returns, &config->returns_out, sizeof(struct nt_return)) != 0)
        return -1;
    pool->status = config->status.base;
    pool->exists = true;
    return 0;
}

static const char *open_channels(struct nt_udp *udp, const struct nt_udp_config *config)
{
    const uint32_t desc_bytes = sizeof(struct nt_desc);
    if (open_in(udp, PORT_FROM_IP, &udp->from_ip, &config->from_ip) != 0 ||
        open_out(udp, PORT_TO_IP, &udp->to_ip, &config->to_ip, desc_bytes) != 0)
        return "a channel with IP is malformed";
    if (open_in(udp, PORT_FROM_SYSCALL, &udp->from_syscall, &config->from_syscall) != 0 ||
        open_out(udp, PORT_TO_SYSCALL, &udp->to_syscall, &config->to_syscall, desc_bytes) != 0)
        return "a channel with the syscall server is malformed";
    if (open_pool(udp, &udp->ip_pool, PORT_IP_POOL, NT_REGION_IP_POOL, &config->ip_pool) != 0)
        return "the IP pool or its return channel is malformed";
    for (uint32_t i = 0; i < NT_UDP_DRIVERS; i++) {
        const struct nt_udp_pool_config *driver = &config->driver[i];
        if (driver->pool.base == NULL)
            continue;
        if (driver->status.bytes < sizeof(struct nt_status) ||
            open_pool(udp, &udp->driver[i], PORT_DRIVER + i, (uint16_t)(NT_REGION_DRIVER_POOL + i),
                      driver) != 0)
            return "a driver's pool, return channel or status page is malformed";
    }
    return NULL;
}

static const char *open_all(struct nt_udp *udp, const struct nt_udp_config *config)
{
    if (config->status.bytes < sizeof(struct nt_status) ||
        config->netconf.bytes != sizeof(struct nt_netconf))
        return "the status page or the network configuration has the wrong size";
    udp->status = config->status.base;
    memcpy(&udp->conf, config->netconf.base, sizeof udp->conf);
    int opened =
        nt_arena_open(&udp->txn, config->arena.base, config->arena.bytes, NT_UDP_ARENA_KIND,
                      NT_UDP_ARENA_LAYOUT, sizeof(struct nt_udp_state), NT_UDP_JOURNAL_BYTES);
    if (opened == NT_ARENA_BAD)
        return "the arena is not the UDP server's, or is damaged";
    udp->fresh = opened == NT_ARENA_FRESH;
    udp->state = nt_arena_body(&udp->txn);
    return open_channels(udp, config);
}

struct nt_engine *nt_udp_new(const struct nt_udp_config *config, char *why, uint64_t why_bytes)
{
    struct nt_udp *udp = calloc(1, sizeof *udp);
    if (udp == NULL) {
        (void)snprintf(why, why_bytes, "no memory");
        return NULL;
    }
    nt_bells_init(&udp->bells);
    memset(udp->port, 0xff, sizeof udp->port);
    memset(udp->next, 0xff, sizeof udp->next);
    udp->seed = config->seed;
    udp->deadline_ns = NT_NEVER;
    const char *error = open_all(udp, config);
    if (error != NULL) {
        (void)snprintf(why, why_bytes, "%s", error);
        free(udp);
        return NULL;
    }
    udp->engine = (struct nt_engine){
        .context = udp,
        .step = nt_udp_step,
        .has_work = nt_udp_has_work,
        .next_deadline = nt_udp_next_deadline,
        .audit = nt_udp_audit,
        .bells = &udp->bells,
        .status = udp->status,
        .device_fd = -1,
    };
    return &udp->engine;
}

void nt_udp_free(struct nt_engine *engine)
{
    struct nt_udp *udp = engine->context;
    for (uint32_t i = 0; i < NT_AREAS_MAX; i++)
        free(udp->area[i]);
    free(udp);
}

// -- Starting --------------------------------------------------------------------------------

static bool attached(const struct nt_udp *udp, uint32_t number)
{
    return number < NT_AREAS_MAX && udp->area[number] != NULL && udp->area[number]->attached;
}

// A record whose area is gone (unmapped while we were dead) has nothing to be kept for.
static int recover_socket(struct nt_udp *udp, uint16_t index)
{
    struct nt_udp_socket *socket = &udp->state->socket[index];
    if (socket->state == NT_UDP_FREE)
        return 0;
    if (socket->partner > NT_UDP_SOCKETS)
        return -1;
    if (socket->area >= NT_AREAS_MAX || socket->state > NT_UDP_LEFT)
        return -1;
    if (!attached(udp, socket->area)) { // needs no journal: it is found again
        socket->state = NT_UDP_FREE;
        return 0;
    }
    struct nt_udp_area_private *area = udp->area[socket->area];
    if (socket->slot >= area->view.slots || area->socket[socket->slot] != NT_UDP_NONE)
        return -1;
    area->socket[socket->slot] = index;
    if (socket->local_port != 0)
        nt_udp_port_index(udp, socket);
    if (socket->group[0].fence != 0)
        nt_udp_wait_for_fence(udp, socket);
    nt_udp_socket_event(udp, socket);
    return 0;
}

static int recover_sockets(struct nt_udp *udp)
{
    // Backwards: the index has the last bound first, and records are taken in order.
    for (uint32_t i = NT_UDP_SOCKETS; i-- > 0;) {
        if (nt_txn_room(&udp->txn) < NT_UDP_JOURNAL_AN_INPUT)
            nt_txn_commit(&udp->txn);
        if (recover_socket(udp, (uint16_t)i) != 0)
            return -1;
        if (udp->state->socket[i].state == NT_UDP_FREE)
            udp->free[udp->free_count++] = (uint16_t)i;
    }
    for (uint32_t i = 0; i < NT_UDP_SOCKETS; i++) {
        const struct nt_udp_socket *socket = &udp->state->socket[i];
        if (socket->state != NT_UDP_FREE && socket->partner != 0 &&
            udp->state->socket[socket->partner - 1].partner != i + 1)
            return -1;
    }
    return 0;
}

// Whoever waits for a socket that is lost must look at it once more.
static void tell_all(struct nt_udp *udp, struct nt_udp_area_private *area)
{
    for (uint32_t slot = 0; slot < area->view.slots; slot++) {
        struct nt_slot_server *server = &area->view.slot_server[slot];
        if (server->generation == 0)
            continue;
        nt_store_release(&server->events, server->events + 1);
        nt_udp_area_tell(udp, area, nt_load_relaxed(&area->view.slot_program[slot].queue), slot);
    }
}

// After a cold start, what programs hold is void, and says so.
static void begin_area(struct nt_udp *udp, uint32_t number)
{
    struct nt_udp_area_private *area = udp->area[number];
    struct nt_udp_area *record = &udp->state->area[number];
    struct nt_area_server_header *header = area->view.server;
    if (udp->fresh) {
        NT_UDP_TOUCH(udp, record);
        record->state = NT_UDP_AREA_LIVE;
        record->pid = area->pid;
        record->grant_tail = header->grant_tail;
        nt_store_release(&header->cold_starts, header->cold_starts + 1);
        tell_all(udp, area);
    }
    if (record->state == NT_UDP_AREA_DEAD)
        udp->dead_areas = true;
    nt_udp_area_recover(udp, number);
    nt_store_release(&header->generation, header->generation + 1);
}

// Fences of a life whose arena is gone must not count for this one.
static void skip_old_fences(struct nt_udp *udp)
{
    struct nt_udp_globals *globals = &udp->state->globals;
    NT_UDP_TOUCH(udp, globals);
    for (uint32_t i = 0; i < NT_UDP_DRIVERS; i++)
        if (udp->driver[i].exists)
            globals->fence =
                nt_max_u32(globals->fence,
                           (uint32_t)nt_load_acquire(&udp->driver[i].status->fence[NT_FENCE_UDP]));
}

int nt_udp_start(struct nt_engine *engine, char *why, uint64_t why_bytes)
{
    struct nt_udp *udp = engine->context;
    if (udp->fresh)
        skip_old_fences(udp);
    if (recover_sockets(udp) != 0) {
        (void)snprintf(why, why_bytes, "a socket's record contradicts another's");
        return -1;
    }
    for (uint32_t i = 0; i < NT_AREAS_MAX; i++)
        if (attached(udp, i))
            begin_area(udp, i);
    udp->fence_passed = nt_udp_last_fence_passed(udp) == 0 ? 0 : nt_udp_last_fence_passed(udp) - 1;
    nt_arena_set_formatted(&udp->txn);
    nt_udp_commit(udp);
    for (uint32_t i = 0; i < NT_AREAS_MAX; i++)
        if (attached(udp, i))
            nt_udp_area_grant(udp, i);
    nt_udp_commit(udp);
    for (uint32_t i = 0; i < NT_BELLS_MAX; i++)
        nt_bells_mark(&udp->bells, i);
    return nt_udp_audit(udp, why, why_bytes);
}

void nt_udp_inject(struct nt_engine *engine, uint64_t crash_at, void (*crash)(void *), void *arg)
{
    struct nt_udp *udp = engine->context;
    udp->txn.crash_at = crash_at == 0 ? 0 : udp->txn.crash_points + crash_at;
    udp->txn.crash = crash;
    udp->txn.crash_arg = arg;
}

uint64_t nt_udp_crash_points(const struct nt_engine *engine)
{
    const struct nt_udp *udp = engine->context;
    return udp->txn.crash_points;
}

// -- Observers -------------------------------------------------------------------------------

uint32_t nt_udp_rows(void) { return NT_UDP_SOCKETS; }

bool nt_udp_row(const void *arena, uint64_t bytes, uint32_t index, struct nt_udp_row *row)
{
    const struct nt_arena_header *header = arena;
    if (bytes < nt_udp_arena_bytes() || header->magic != NT_ARENA_MAGIC ||
        header->kind != NT_UDP_ARENA_KIND || header->layout != NT_UDP_ARENA_LAYOUT ||
        header->body_offset > bytes - sizeof(struct nt_udp_state) || index >= NT_UDP_SOCKETS)
        return false;
    const struct nt_udp_state *state = (const void *)((const uint8_t *)arena + header->body_offset);
    struct nt_udp_socket socket = state->socket[index];
    if (socket.state != NT_UDP_OPEN || socket.local_port == 0)
        return false;
    *row = (struct nt_udp_row){
        .state = (socket.flags & NT_UDP_CONNECTED) ? 2 : 1,
        .local_port = socket.local_port,
        .remote_port = socket.peer_port,
        .pid = state->area[socket.area % NT_AREAS_MAX].pid,
        .area = socket.area,
        .slot = socket.slot,
        .rx_datagrams = socket.rx_tail,
        .tx_datagrams = socket.tx_sent,
        .tx_ungathered = socket.tx_sent - socket.tx_head,
    };
    nt_addr_copy(row->local_addr, socket.local_addr);
    nt_addr_copy(row->remote_addr, socket.peer_addr);
    return true;
}
