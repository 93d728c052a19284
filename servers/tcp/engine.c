// engine.c: making the engine, and its step.
//
// A step is: timers, requests, segments, socket areas, send lists; one commit; publishing. Each
// source gives at most `budget` inputs. Ports of the transaction have fixed numbers, the same in
// every generation.
#include <stdio.h>
#include <stdlib.h>

#include "servers/tcp/context.h"

enum port {
    PORT_FROM_IP = 0,
    PORT_TO_IP = 1,
    PORT_FROM_SYSCALL = 2,
    PORT_TO_SYSCALL = 3,
    PORT_RETURNS = 8, // + region number of the pool
};

// -- The arena
// -------------------------------------------------------------------------------------

struct layout { // offsets in the arena's body
    uint64_t tcb;
    uint64_t time_wait;
    uint64_t listener;
    uint64_t area;
    uint64_t binding;
    uint64_t bytes;
};

static uint64_t lines(uint64_t bytes)
{
    return (bytes + NT_CACHE_LINE - 1) & ~(uint64_t)(NT_CACHE_LINE - 1);
}

static struct layout layout_of(const struct nt_tcp_shape *shape)
{
    struct layout at;
    at.tcb = lines(sizeof(struct nt_tcp_globals));
    at.time_wait = at.tcb + (uint64_t)shape->tcbs * sizeof(struct nt_tcb);
    at.listener = lines(at.time_wait + (uint64_t)shape->time_waits * sizeof(struct nt_time_wait));
    at.area = at.listener + (uint64_t)shape->listeners * sizeof(struct nt_tcp_listener);
    at.binding = lines(at.area + (uint64_t)NT_TCP_AREAS * sizeof(struct nt_tcp_area));
    at.bytes = at.binding +
               (uint64_t)shape->binding_pages * NT_TCP_BINDING_PAGE * sizeof(struct nt_tcp_binding);
    return at;
}

uint64_t nt_tcp_arena_bytes(const struct nt_tcp_shape *shape)
{
    return nt_arena_bytes(layout_of(shape).bytes, NT_TCP_JOURNAL_BYTES);
}

void nt_tcp_view_tables(struct nt_tcp_view *view, const struct nt_tcp_globals *globals,
                        const struct nt_tcp_shape *shape)
{
    const uint8_t *body = (const uint8_t *)globals;
    struct layout at = layout_of(shape);
    view->globals = globals;
    view->tcb = (const struct nt_tcb *)(body + at.tcb);
    view->time_wait = (const struct nt_time_wait *)(body + at.time_wait);
    view->listener = (const struct nt_tcp_listener *)(body + at.listener);
    view->area = (const struct nt_tcp_area *)(body + at.area);
}

static void derive_key(uint8_t key[16], uint64_t seed, uint8_t purpose)
{
    for (uint8_t half = 0; half < 2; half++) {
        uint8_t from[16] = {purpose, half};
        memcpy(from + 8, &seed, sizeof(seed));
        uint64_t word = nt_siphash(from, &seed, sizeof(seed));
        memcpy(&key[(size_t)8 * half], &word, sizeof(word));
    }
}

// After a cold start the drivers' pages still show the last fence of the life before.
static uint32_t last_fence_seen(const struct nt_tcp_config *config)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < NT_DRIVERS_MAX; i++) {
        const struct nt_status *status = config->driver_status[i];
        if (status != NULL)
            last = nt_max_u32(last, (uint32_t)status->fence[NT_FENCE_TCP + config->lane]);
    }
    return last;
}

static void init_arena(struct nt_tcp_engine *tcp)
{
    struct nt_tcp_globals *globals = tcp->globals;
    *globals = (struct nt_tcp_globals){
        .magic = NT_TCP_ARENA_KIND,
        .tcbs = tcp->config.shape.tcbs,
        .time_waits = tcp->config.shape.time_waits,
        .listeners = tcp->config.shape.listeners,
        .areas = NT_TCP_AREAS,
        .binding_pages = tcp->config.shape.binding_pages,
        .fence_number = last_fence_seen(&tcp->config),
    };
    derive_key(globals->isn_key, tcp->config.seed, 'i');
    derive_key(globals->port_key, tcp->config.seed, 'p');
    derive_key(globals->hash_key, tcp->config.seed, 'h');
    for (uint32_t i = 0; i < NT_TCP_PORT_CURSORS; i++)
        globals->port_cursor[i] = (uint32_t)nt_siphash(globals->port_key, &i, sizeof(i));
    nt_tcp_groups_init(tcp);
    for (uint32_t i = 0; i < tcp->config.shape.tcbs; i++)
        tcp->tcb[i].area = NT_TCP_NO_AREA;
}

static int open_arena(struct nt_tcp_engine *tcp, char *why, uint64_t why_bytes)
{
    const struct nt_tcp_config *config = &tcp->config;
    struct layout at = layout_of(&config->shape);
    int opened =
        nt_arena_open(&tcp->txn, config->arena.base, config->arena.bytes, NT_TCP_ARENA_KIND,
                      NT_TCP_ARENA_LAYOUT, at.bytes, NT_TCP_JOURNAL_BYTES);
    if (opened == NT_ARENA_BAD) {
        (void)snprintf(why, why_bytes, "the arena is damaged, or of another version or shape");
        return -1;
    }
    uint8_t *body = nt_arena_body(&tcp->txn);
    tcp->recovered = opened == NT_ARENA_RECOVERED;
    tcp->globals = (struct nt_tcp_globals *)body;
    tcp->tcb = (struct nt_tcb *)(body + at.tcb);
    tcp->time_wait = (struct nt_time_wait *)(body + at.time_wait);
    tcp->listener = (struct nt_tcp_listener *)(body + at.listener);
    tcp->area = (struct nt_tcp_area *)(body + at.area);
    tcp->binding = (struct nt_tcp_binding *)(body + at.binding);
    if (!tcp->recovered)
        init_arena(tcp);
    return 0;
}

static int add_ports(struct nt_tcp_engine *tcp)
{
    bool again = tcp->recovered;
    int result = nt_txn_add_consumer(&tcp->txn, PORT_FROM_IP, &tcp->from_ip, again);
    result |= nt_txn_add_producer(&tcp->txn, PORT_TO_IP, &tcp->to_ip, again);
    result |= nt_txn_add_consumer(&tcp->txn, PORT_FROM_SYSCALL, &tcp->from_syscall, again);
    result |= nt_txn_add_producer(&tcp->txn, PORT_TO_SYSCALL, &tcp->to_syscall, again);
    for (uint32_t i = 0; i < NT_TCP_POOLS; i++)
        if (tcp->returns[i].page != NULL)
            result |= nt_txn_add_producer(&tcp->txn, PORT_RETURNS + i, &tcp->returns[i], again);
    return result;
}

static int open_channels(struct nt_tcp_engine *tcp)
{
    enum { DESC = sizeof(struct nt_desc), RETURN = sizeof(struct nt_return) };
    const struct nt_tcp_config *c = &tcp->config;
    return nt_consumer_open(&tcp->from_ip, c->from_ip.base, c->from_ip.bytes, DESC) |
           nt_producer_open(&tcp->to_ip, c->to_ip.base, c->to_ip.bytes, DESC) |
           nt_consumer_open(&tcp->from_syscall, c->from_syscall.base, c->from_syscall.bytes, DESC) |
           nt_producer_open(&tcp->to_syscall, c->to_syscall.base, c->to_syscall.bytes, DESC);
}

static int open_pools(struct nt_tcp_engine *tcp)
{
    const struct nt_tcp_config *c = &tcp->config;
    int result = 0;
    for (uint32_t i = 0; i < NT_TCP_POOLS; i++) {
        if (c->pool[i].base == NULL)
            continue;
        result |= nt_pool_open(&tcp->pool[i], c->pool[i].base, c->pool[i].bytes, (uint16_t)i);
        result |=
            nt_regions_set(&tcp->regions, i, c->pool[i].base, c->pool[i].bytes, &tcp->pool[i]);
        result |= nt_producer_open(&tcp->returns[i], c->returns[i].base, c->returns[i].bytes,
                                   sizeof(struct nt_return));
    }
    return result;
}

// Everything that is mapped; 0, or -1 and why not.
static int open_memory(struct nt_tcp_engine *tcp, char *why, uint64_t why_bytes)
{
    const struct nt_tcp_config *c = &tcp->config;
    const char *what = NULL;
    nt_bells_init(&tcp->bells);
    if (c->status.bytes < sizeof(struct nt_status) || !nt_status_valid(c->status.base))
        what = "the status page";
    else if (c->netconf.bytes != sizeof(struct nt_netconf))
        what = "the addresses and routes";
    else if (open_channels(tcp) != 0)
        what = "a channel";
    else if (open_pools(tcp) != 0)
        what = "a pool or its return channel";
    if (what != NULL) {
        (void)snprintf(why, why_bytes, "%s: not what it should be", what);
        return -1;
    }
    tcp->status = c->status.base;
    memcpy(&tcp->netconf, c->netconf.base, sizeof(tcp->netconf));
    nt_steering_init(&tcp->steering, &tcp->netconf.steering);
    tcp->groups_move =
        tcp->steering.config.lanes > 1 && tcp->steering.config.kind == NT_STEERING_FLOW_GROUPS;
    return 0;
}

// -- The private part ----------------------------------------------------------------------------

static uint32_t power_of_two(uint32_t at_least)
{
    uint32_t n = 1;
    while (n < at_least)
        n *= 2;
    return n;
}

static bool make_fifo(struct nt_tcp_fifo *fifo, uint32_t entries)
{
    uint32_t n = power_of_two(entries);
    fifo->entry = calloc(n, sizeof(*fifo->entry));
    fifo->mask = n - 1;
    return fifo->entry != NULL;
}

static bool make_tables(struct nt_tcp_engine *tcp)
{
    const struct nt_tcp_shape *shape = &tcp->config.shape;
    uint32_t nodes = shape->tcbs + shape->time_waits;
    uint32_t bindings = shape->binding_pages * NT_TCP_BINDING_PAGE;
    tcp->bucket_mask = power_of_two(nodes) - 1;
    tcp->private = calloc(shape->tcbs, sizeof(*tcp->private));
    tcp->node = calloc(nodes, sizeof(*tcp->node));
    tcp->bucket = calloc((size_t)tcp->bucket_mask + 1, sizeof(*tcp->bucket));
    tcp->tcb_free = calloc(shape->tcbs, sizeof(*tcp->tcb_free));
    tcp->tw_free = calloc(shape->time_waits, sizeof(*tcp->tw_free));
    tcp->tw_link = calloc(shape->time_waits, sizeof(*tcp->tw_link));
    tcp->areas = calloc(NT_TCP_AREAS, sizeof(*tcp->areas));
    tcp->attached = calloc(NT_TCP_AREAS, sizeof(*tcp->attached));
    tcp->page = calloc(shape->binding_pages, sizeof(*tcp->page));
    tcp->page_free = calloc(shape->binding_pages, sizeof(*tcp->page_free));
    tcp->binding_next = calloc(bindings, sizeof(*tcp->binding_next));
    tcp->binding_dirty = calloc(bindings, sizeof(*tcp->binding_dirty));
    tcp->dirty = calloc(bindings, sizeof(*tcp->dirty));
    tcp->listeners = calloc(shape->listeners, sizeof(*tcp->listeners));
    tcp->dirty_listener = calloc(shape->listeners, sizeof(*tcp->dirty_listener));
    tcp->region = calloc(shape->listeners, sizeof(*tcp->region));
    return tcp->private != NULL && tcp->node != NULL && tcp->bucket != NULL &&
           tcp->tcb_free != NULL && tcp->tw_free != NULL && tcp->tw_link != NULL &&
           tcp->areas != NULL && tcp->attached != NULL && tcp->page != NULL &&
           tcp->page_free != NULL && tcp->binding_next != NULL && tcp->binding_dirty != NULL &&
           tcp->dirty != NULL && tcp->listeners != NULL && tcp->dirty_listener != NULL &&
           tcp->region != NULL && make_fifo(&tcp->control, shape->tcbs) &&
           make_fifo(&tcp->ack, shape->tcbs) && make_fifo(&tcp->data, shape->tcbs);
}

static void empty_tables(struct nt_tcp_engine *tcp)
{
    memset(tcp->bucket, 0xff, ((size_t)tcp->bucket_mask + 1) * sizeof(*tcp->bucket));
    memset(tcp->timers.bucket, 0xff, sizeof(tcp->timers.bucket));
    memset(tcp->port_bucket, 0xff, sizeof(tcp->port_bucket));
    tcp->tw_first = tcp->tw_last = NT_NO_INDEX;
    tcp->fenced_first = tcp->fenced_last = NT_NO_INDEX;
    for (uint32_t i = 0; i < NT_TCP_AREAS; i++) {
        tcp->areas[i].free_head = NT_NO_INDEX;
        for (uint32_t queue = 0; queue < NT_AREA_QUEUES; queue++)
            tcp->areas[i].bell[queue] = NT_BELL_NONE;
    }
}

void nt_tcp_free(struct nt_tcp_engine *tcp)
{
    if (tcp == NULL)
        return;
    void *owned[] = {tcp->private,       tcp->node,      tcp->bucket,         tcp->tcb_free,
                     tcp->tw_free,       tcp->tw_link,   tcp->areas,          tcp->attached,
                     tcp->page,          tcp->page_free, tcp->binding_next,   tcp->binding_dirty,
                     tcp->dirty,         tcp->listeners, tcp->dirty_listener, tcp->region,
                     tcp->control.entry, tcp->ack.entry, tcp->data.entry};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
    free(tcp);
}

// -- The step
// --------------------------------------------------------------------------------------

void nt_tcp_commit(struct nt_tcp_engine *tcp)
{
    bool sent = tcp->to_ip.tail != tcp->txn.port[PORT_TO_IP].published;
    nt_txn_commit(&tcp->txn);
    nt_tcp_publish(tcp);
    nt_tcp_count(tcp, NT_TCP_COMMITS);
    if (sent)
        nt_bells_mark(&tcp->bells, NT_TCP_BELL_IP);
    if (tcp->to_syscall_used)
        nt_bells_mark(&tcp->bells, NT_TCP_BELL_SYSCALL);
    tcp->to_syscall_used = false;
    nt_tcp_ring_owners(tcp);
}

void nt_tcp_commit_if_full(struct nt_tcp_engine *tcp)
{
    if (NT_UNLIKELY(nt_txn_room(&tcp->txn) < NT_TCP_INPUT_JOURNAL_BYTES))
        nt_tcp_commit(tcp);
}

static void set_time(struct nt_tcp_engine *tcp, uint64_t now_ns)
{
    tcp->now_ns = now_ns;
    tcp->now_ms = (uint32_t)(now_ns / NT_TCP_TICK_NS);
    tcp->now_us = (uint32_t)(now_ns / 1000);
    if (NT_UNLIKELY(!tcp->timers.started))
        nt_tcp_timers_start(tcp);
}

static uint32_t step(void *context, uint64_t now_ns, uint32_t budget)
{
    struct nt_tcp_engine *tcp = context;
    set_time(tcp, now_ns);
    uint32_t done = nt_tcp_timers_run(tcp, 4 * budget);
    done += nt_tcp_time_wait_expire(tcp, budget);
    done += nt_tcp_handle_requests(tcp, budget);
    done += nt_tcp_handle_packets(tcp, budget);
    done += nt_tcp_sweep_areas(tcp, budget);
    if (NT_UNLIKELY(tcp->bind_waits != 0))
        nt_tcp_requests_swept(tcp);
    if (NT_UNLIKELY(tcp->telling != 0 || tcp->unsettled))
        done += nt_tcp_acceptors_look(tcp);
    if (NT_UNLIKELY(tcp->closing_listeners != 0))
        done += nt_tcp_listeners_close_some(tcp, budget);
    if (NT_UNLIKELY(tcp->dying_areas != 0))
        done += nt_tcp_drained_areas(tcp);
    if (NT_UNLIKELY(tcp->groups_move))
        done += nt_tcp_groups_step(tcp);
    if (nt_tcp_lists_waiting(tcp))
        done += nt_tcp_serve_lists(tcp);
    if (NT_UNLIKELY(tcp->fenced_first != NT_NO_INDEX))
        done += nt_tcp_fences_look(tcp);
    nt_tcp_commit(tcp);
    return done;
}

static bool has_work(void *context)
{
    struct nt_tcp_engine *tcp = context;
    bool room = nt_producer_room(&tcp->to_ip, NT_TCP_CONTROL_ROOM) >= NT_TCP_CONTROL_ROOM;
    return (room && nt_consumer_pending(&tcp->from_ip) != 0) ||
           nt_consumer_pending(&tcp->from_syscall) != 0 || nt_tcp_areas_waiting(tcp) ||
           (room && (nt_tcp_lists_waiting(tcp) || nt_tcp_groups_looking(tcp)));
}

// Nobody rings when a channel has room again, or a fence has passed: those are looked at in turn.
static uint64_t next_deadline(void *context)
{
    enum { LOOK_AGAIN_NS = 1000000 };
    const struct nt_tcp_engine *tcp = context;
    uint64_t first = nt_min_u64(nt_tcp_timers_next_ns(tcp), nt_tcp_acceptors_next_ns(tcp));
    if (tcp->tw_first != NT_NO_INDEX) {
        int32_t ahead = (int32_t)(tcp->time_wait[tcp->tw_first].expires_ms - tcp->now_ms);
        uint64_t tick = tcp->now_ns / NT_TCP_TICK_NS + (uint32_t)(ahead > 0 ? ahead : 0);
        first = nt_min_u64(first, tick * NT_TCP_TICK_NS);
    }
    if (nt_tcp_lists_waiting(tcp) || tcp->fenced_first != NT_NO_INDEX || tcp->reply_waiting ||
        tcp->closing_listeners != 0 || tcp->unsettled || nt_tcp_groups_looking(tcp))
        first = nt_min_u64(first, tcp->now_ns + LOOK_AGAIN_NS);
    return first;
}

// -- Making
// ----------------------------------------------------------------------------------------

struct nt_tcp_engine *nt_tcp_new(const struct nt_tcp_config *config, char *why, uint64_t why_bytes)
{
    struct nt_tcp_engine *tcp = calloc(1, sizeof(*tcp));
    if (tcp == NULL) {
        (void)snprintf(why, why_bytes, "out of memory");
        return NULL;
    }
    tcp->config = *config;
    if (!make_tables(tcp)) {
        (void)snprintf(why, why_bytes, "out of memory for %u TCBs", config->shape.tcbs);
        nt_tcp_free(tcp);
        return NULL;
    }
    empty_tables(tcp);
    if (open_memory(tcp, why, why_bytes) != 0 || open_arena(tcp, why, why_bytes) != 0) {
        nt_tcp_free(tcp);
        return NULL;
    }
    tcp->engine = (struct nt_engine){
        .context = tcp,
        .step = step,
        .has_work = has_work,
        .next_deadline = next_deadline,
        .audit = nt_tcp_audit,
        .bells = &tcp->bells,
        .status = tcp->status,
        .device_fd = -1,
    };
    return tcp;
}

int nt_tcp_start(struct nt_tcp_engine *tcp, char *why, uint64_t why_bytes)
{
    if (add_ports(tcp) != 0) {
        (void)snprintf(why, why_bytes, "the arena's cursors do not fit the channels");
        return -1;
    }
    if (nt_tcp_recover(tcp, why, why_bytes) != 0)
        return -1;
    if (!tcp->recovered)
        nt_arena_set_formatted(&tcp->txn);
    else
        nt_tcp_count(tcp, NT_TCP_RECOVERIES);
    nt_tcp_publish(tcp);
    for (uint32_t i = 0; i < tcp->attached_count; i++) {
        struct nt_area *area = &tcp->areas[tcp->attached[i]].view;
        nt_store_release(&area->server->generation, tcp->status->generation);
        // Every program looks at everything once: hints of the last generation may be lost. After a
        // cold start also at what is free now: whoever waits for a socket there waits in vain.
        for (uint32_t slot = 0; slot < area->slots; slot++)
            if (area->slot_server[slot].state != NT_SLOT_FREE ||
                (!tcp->recovered && area->slot_server[slot].generation != 0))
                nt_tcp_wake_slot(tcp, area, slot);
    }
    return 0;
}

struct nt_engine *nt_tcp_face(struct nt_tcp_engine *tcp) { return &tcp->engine; }

int nt_tcp_set_bell(struct nt_tcp_engine *tcp, uint32_t bell, const uint32_t *sleeping, int fd)
{
    return bell < NT_TCP_BELL_QUEUES ? nt_bells_set(&tcp->bells, bell, sleeping, fd) : -1;
}

bool nt_tcp_was_recovered(const struct nt_tcp_engine *tcp) { return tcp->recovered; }

// A server that lost its arena: what programs hold is gone, and they are told (area.h).
static void forget_slots(struct nt_area *area)
{
    bool used = area->server->grant_tail != 0;
    for (uint32_t slot = 0; slot < area->slots; slot++) {
        used = used || area->slot_server[slot].generation != 0;
        nt_store_release(&area->slot_server[slot].state, (uint8_t)NT_SLOT_FREE);
    }
    if (used)
        nt_store_release(&area->server->cold_starts, area->server->cold_starts + 1);
}

int nt_tcp_attach_area(struct nt_tcp_engine *tcp, const struct nt_area *area)
{
    if (area->number >= NT_TCP_AREAS || tcp->areas[area->number].attached)
        return -1;
    struct nt_tcp_area_private *own = &tcp->areas[area->number];
    own->view = *area;
    own->attached = true;
    own->pending_count = 0;
    memset(own->pending, 0, sizeof(own->pending));
    tcp->attached[tcp->attached_count++] = area->number;
    if (tcp->area[area->number].state == NT_TCP_AREA_NONE)
        forget_slots(&own->view);
    nt_store_relaxed(&own->view.server->core,
                     nt_steering_follows_core(&tcp->steering) ? tcp->status->core + 1 : 0);
    nt_store_release(&own->view.server->generation, tcp->status->generation);
    return 0;
}

void nt_tcp_detach_area(struct nt_tcp_engine *tcp, uint32_t number)
{
    if (number >= NT_TCP_AREAS || !tcp->areas[number].attached)
        return;
    uint32_t i = 0;
    while (tcp->attached[i] != number)
        i++;
    tcp->attached[i] = tcp->attached[--tcp->attached_count];
    struct nt_tcp_area_private *own = &tcp->areas[number];
    own->attached = false;
    own->pending_count = 0;
    for (uint32_t queue = 0; queue < NT_AREA_QUEUES; queue++) {
        if (own->bell[queue] != NT_BELL_NONE)
            nt_bells_clear(&tcp->bells, own->bell[queue]);
        own->bell[queue] = NT_BELL_NONE;
    }
}

static uint32_t free_bell(const struct nt_tcp_engine *tcp)
{
    for (uint32_t i = NT_TCP_BELL_QUEUES; i < NT_BELLS_MAX; i++)
        if (tcp->bells.bell[i].sleeping == NULL)
            return i;
    return NT_BELL_NONE;
}

int nt_tcp_set_queue(struct nt_tcp_engine *tcp, uint32_t area, uint32_t queue, int fd)
{
    if (area >= NT_TCP_AREAS || queue >= NT_AREA_QUEUES || !tcp->areas[area].attached)
        return -1;
    struct nt_tcp_area_private *own = &tcp->areas[area];
    uint32_t bell = own->bell[queue] != NT_BELL_NONE ? own->bell[queue] : free_bell(tcp);
    if (bell == NT_BELL_NONE ||
        nt_bells_set(&tcp->bells, bell, &own->view.queue[queue].sleeping, fd) != 0)
        return -1;
    own->bell[queue] = (uint16_t)bell;
    return 0;
}

int nt_tcp_map_listener(struct nt_tcp_engine *tcp, uint32_t number,
                        const struct nt_listener *listener)
{
    nt_tcp_unmap_listener(tcp, number);
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++) {
        if (tcp->region[i].mapped)
            continue;
        tcp->region[i] =
            (struct nt_tcp_region){.mapped = true, .number = number, .view = *listener};
        return 0;
    }
    return -1;
}

void nt_tcp_unmap_listener(struct nt_tcp_engine *tcp, uint32_t number)
{
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++)
        if (tcp->region[i].mapped && tcp->region[i].number == number)
            tcp->region[i].mapped = false;
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++)
        tcp->listeners[i].region = NT_NO_INDEX;
}

void nt_tcp_crash_at(struct nt_tcp_engine *tcp, uint64_t points, void (*crash)(void *), void *arg)
{
    tcp->txn.crash_at = points == 0 ? 0 : tcp->txn.crash_points + points;
    tcp->txn.crash = crash;
    tcp->txn.crash_arg = arg;
}

uint64_t nt_tcp_crash_points(const struct nt_tcp_engine *tcp) { return tcp->txn.crash_points; }
