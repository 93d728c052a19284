// tcp_host.c: making the memory, and playing the neighbours.
#include "newtos_py/sim/tcp_host.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "newtos_py/net/addr.h"
#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/tcp.h"

enum { DESC = sizeof(struct nt_desc), RETURN = sizeof(struct nt_return), AUDIT_BYTES = 256 };

struct channel {
    void *base;
    uint64_t bytes;
};

struct area {
    struct channel program, server, hint;
    struct nt_area view;
};

struct listener {
    struct channel ring, claims;
    struct nt_listener view;
    bool mapped;
};

struct nt_sim_host {
    struct nt_tcp_config config;
    struct nt_netconf netconf;
    struct nt_tcp_engine *tcp; // NULL between a crash and the restart
    struct channel arena, status, driver_status, pool;
    struct channel from_ip, to_ip, from_syscall, to_syscall, returns;
    // the neighbours' ends
    struct nt_producer ip_out;
    struct nt_consumer ip_in;
    struct nt_producer syscall_out;
    struct nt_consumer syscall_in;
    struct nt_consumer returns_in;
    struct nt_pool_owner owner;
    uint32_t stack[NT_SIM_POOL_SMALL + NT_SIM_POOL_LARGE];
    struct nt_regions regions; // areas, to gather from
    struct area area[NT_SIM_AREAS];
    struct listener listener[NT_SIM_LISTENERS];
    uint32_t design;                      // of listeners made from now on
    struct nt_steer steer[NT_SIM_STEERS]; // what IP was told of connections, in order
    uint32_t steer_count;
    struct nt_desc word[NT_SIM_WORDS]; // ... and of flow groups
    uint32_t word_count;
    uint32_t packet_arg;
    uint32_t not_mine; // packets that came back
    bool hold_fences;
    uint64_t fence_seen;
    jmp_buf crash;
    char why[AUDIT_BYTES];
};

// Zeroed and page-aligned; only what is touched costs memory.
static struct channel map(uint64_t bytes)
{
    bytes = (bytes + NT_PAGE - 1) & ~(uint64_t)(NT_PAGE - 1);
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    nt_assert(base != MAP_FAILED);
    return (struct channel){base, bytes};
}

static void unmap(struct channel *memory)
{
    if (memory->base != NULL)
        (void)munmap(memory->base, memory->bytes);
    memory->base = NULL;
}

static struct channel map_channel(uint32_t slot_bytes)
{
    struct channel memory = map(nt_channel_bytes(NT_SIM_RING_SLOTS, slot_bytes));
    nt_channel_format(memory.base, NT_SIM_RING_SLOTS, slot_bytes);
    return memory;
}

static struct nt_tcp_span span(struct channel memory)
{
    return (struct nt_tcp_span){memory.base, memory.bytes};
}

static struct nt_status *status_of(struct channel memory) { return memory.base; }

static void make_channels(struct nt_sim_host *host)
{
    host->from_ip = map_channel(DESC);
    host->to_ip = map_channel(DESC);
    host->from_syscall = map_channel(DESC);
    host->to_syscall = map_channel(DESC);
    host->returns = map_channel(RETURN);
    int bad = nt_producer_open(&host->ip_out, host->from_ip.base, host->from_ip.bytes, DESC);
    bad |= nt_consumer_open(&host->ip_in, host->to_ip.base, host->to_ip.bytes, DESC);
    bad |= nt_producer_open(&host->syscall_out, host->from_syscall.base, host->from_syscall.bytes,
                            DESC);
    bad |= nt_consumer_open(&host->syscall_in, host->to_syscall.base, host->to_syscall.bytes, DESC);
    bad |= nt_consumer_open(&host->returns_in, host->returns.base, host->returns.bytes, RETURN);
    nt_assert(bad == 0);
}

static void make_pool(struct nt_sim_host *host)
{
    host->pool = map(nt_pool_bytes(NT_SIM_POOL_SMALL, NT_SIM_POOL_LARGE));
    nt_pool_format(host->pool.base, NT_SIM_POOL_SMALL, NT_SIM_POOL_LARGE);
    nt_assert(nt_pool_own(&host->owner, host->pool.base, host->pool.bytes, NT_SIM_POOL_REGION,
                          host->stack) == 0);
}

static void make_area(struct nt_sim_host *host, uint32_t number)
{
    struct area *area = &host->area[number];
    area->program = map(nt_area_program_bytes(NT_SIM_SLOTS));
    area->server = map(nt_area_server_bytes(NT_SIM_SLOTS));
    area->hint = map(nt_area_hint_bytes());
    nt_area_format(area->program.base, area->server.base, area->hint.base, NT_SIM_SLOTS, 6);
    nt_assert(nt_area_open(&area->view, area->program.base, area->server.base, area->hint.base,
                           NT_SIM_SLOTS) == 0);
    area->view.number = (uint16_t)number;
    nt_assert(nt_regions_set(&host->regions, NT_REGION_AREA + number, area->program.base,
                             area->program.bytes, NULL) == 0);
}

static void make_config(struct nt_sim_host *host, const struct nt_sim_host_config *config)
{
    host->config = (struct nt_tcp_config){
        .shape = config->shape,
        .arena = span(host->arena),
        .status = span(host->status),
        .netconf = {&host->netconf, sizeof(host->netconf)},
        .from_ip = span(host->from_ip),
        .to_ip = span(host->to_ip),
        .from_syscall = span(host->from_syscall),
        .to_syscall = span(host->to_syscall),
        .seed = config->seed,
    };
    host->config.pool[NT_SIM_POOL_REGION] = span(host->pool);
    host->config.returns[NT_SIM_POOL_REGION] = span(host->returns);
    host->config.driver_status[0] = status_of(host->driver_status);
}

struct nt_sim_host *nt_sim_host_new(const struct nt_sim_host_config *config)
{
    struct nt_sim_host *host = calloc(1, sizeof(*host));
    nt_assert(host != NULL && config->netconf_bytes == sizeof(host->netconf));
    memcpy(&host->netconf, config->netconf, sizeof(host->netconf));
    host->arena = map(nt_tcp_arena_bytes(&config->shape));
    host->status = map(NT_PAGE);
    host->driver_status = map(NT_PAGE);
    nt_status_format(host->status.base);
    nt_status_format(host->driver_status.base);
    make_channels(host);
    make_pool(host);
    for (uint32_t i = 0; i < NT_SIM_AREAS; i++)
        make_area(host, i);
    make_config(host, config);
    const char *why = nt_sim_host_restart(host, false);
    if (why != NULL)
        nt_panic(__FILE__, __LINE__, why);
    return host;
}

void nt_sim_host_free(struct nt_sim_host *host)
{
    nt_tcp_free(host->tcp);
    struct channel *all[] = {&host->arena,        &host->status,     &host->driver_status,
                             &host->pool,         &host->from_ip,    &host->to_ip,
                             &host->from_syscall, &host->to_syscall, &host->returns};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        unmap(all[i]);
    for (uint32_t i = 0; i < NT_SIM_AREAS; i++) {
        unmap(&host->area[i].program);
        unmap(&host->area[i].server);
        unmap(&host->area[i].hint);
    }
    for (uint32_t i = 0; i < NT_SIM_LISTENERS; i++) {
        unmap(&host->listener[i].ring);
        unmap(&host->listener[i].claims);
    }
    free(host);
}

// -- The engine ----------------------------------------------------------------------------------

const char *nt_sim_host_restart(struct nt_sim_host *host, bool cold)
{
    nt_tcp_free(host->tcp);
    if (cold)
        memset(host->arena.base, 0, host->arena.bytes);
    status_of(host->status)->generation++;
    host->tcp = nt_tcp_new(&host->config, host->why, sizeof(host->why));
    if (host->tcp == NULL)
        return host->why;
    static const uint32_t awake = 0;
    nt_assert(nt_tcp_set_bell(host->tcp, NT_TCP_BELL_IP, &awake, -1) == 0);
    nt_assert(nt_tcp_set_bell(host->tcp, NT_TCP_BELL_SYSCALL, &awake, -1) == 0);
    for (uint32_t i = 0; i < NT_SIM_AREAS; i++) {
        nt_assert(nt_tcp_attach_area(host->tcp, &host->area[i].view) == 0);
        nt_assert(nt_tcp_set_queue(host->tcp, i, NT_SIM_QUEUE, -1) == 0);
    }
    for (uint32_t i = 0; i < NT_SIM_LISTENERS; i++)
        if (host->listener[i].mapped)
            nt_assert(nt_tcp_map_listener(host->tcp, i, &host->listener[i].view) == 0);
    return nt_tcp_start(host->tcp, host->why, sizeof(host->why)) == 0 ? NULL : host->why;
}

static void crashed(void *arg)
{
    struct nt_sim_host *host = arg;
    longjmp(host->crash, 1);
}

int64_t nt_sim_host_step(struct nt_sim_host *host, uint64_t now_ns, uint32_t budget)
{
    if (setjmp(host->crash) != 0) {
        nt_tcp_free(host->tcp);
        host->tcp = NULL;
        return -1;
    }
    struct nt_engine *engine = nt_tcp_face(host->tcp);
    int64_t done = engine->step(engine->context, now_ns, budget);
    (void)nt_bells_ring(engine->bells);
    return done;
}

__attribute__((noinline, used)) int64_t nt_sim_host_step_counted(struct nt_sim_host *host,
                                                                 uint64_t now_ns, uint32_t budget)
{
    return nt_sim_host_step(host, now_ns, budget);
}

bool nt_sim_host_has_work(struct nt_sim_host *host)
{
    struct nt_engine *engine = nt_tcp_face(host->tcp);
    return engine->has_work(engine->context);
}

uint64_t nt_sim_host_deadline(struct nt_sim_host *host)
{
    struct nt_engine *engine = nt_tcp_face(host->tcp);
    return engine->next_deadline(engine->context);
}

const char *nt_sim_host_audit(struct nt_sim_host *host)
{
    struct nt_engine *engine = nt_tcp_face(host->tcp);
    return engine->audit(engine->context, host->why, sizeof(host->why)) == 0 ? NULL : host->why;
}

void nt_sim_host_crash_at(struct nt_sim_host *host, uint64_t points)
{
    nt_tcp_crash_at(host->tcp, points, crashed, host);
}

uint64_t nt_sim_host_crash_points(struct nt_sim_host *host)
{
    return nt_tcp_crash_points(host->tcp);
}

uint64_t nt_sim_host_counter(const struct nt_sim_host *host, uint32_t counter)
{
    return counter < NT_STATUS_COUNTERS ? status_of(host->status)->counter[counter] : 0;
}

const void *nt_sim_host_arena(const struct nt_sim_host *host, uint64_t *bytes)
{
    *bytes = host->arena.bytes;
    return host->arena.base;
}

// -- As IP and driver ----------------------------------------------------------------------------

static void take_returns(struct nt_sim_host *host)
{
    struct nt_return back;
    while (nt_consumer_pop(&host->returns_in, &back))
        (void)nt_pool_give_back(&host->owner, back);
}

uint32_t nt_sim_host_not_mine(const struct nt_sim_host *host) { return host->not_mine; }

void nt_sim_host_set_arg(struct nt_sim_host *host, uint32_t arg) { host->packet_arg = arg; }

bool nt_sim_host_deliver(struct nt_sim_host *host, const uint8_t *packet, uint32_t len,
                         uint8_t flags, uint8_t kind)
{
    take_returns(host);
    if (nt_producer_room(&host->ip_out, 1) == 0)
        return false;
    int64_t buffer = nt_pool_take(&host->owner, len);
    if (buffer < 0)
        return false;
    uint64_t offset = nt_pool_offset(&host->owner.view, (uint32_t)buffer) + NT_POOL_HEADROOM;
    memcpy(host->owner.view.base + offset, packet, len);
    struct nt_desc desc = {
        .kind = kind,
        .flags = flags,
        .ref_count = 1,
        .l4_offset = (uint16_t)(len != 0 ? (packet[0] & 15) * 4 : 0),
        .arg = host->packet_arg,
        .check = nt_desc_check(host->ip_out.tail),
        .ref = {{.offset = offset,
                 .len = len,
                 .region = NT_SIM_POOL_REGION,
                 .use = host->owner.view.use[buffer]}},
    };
    return nt_producer_push(&host->ip_out, &desc);
}

bool nt_sim_host_push_desc(struct nt_sim_host *host, const struct nt_desc *desc, bool whole)
{
    struct nt_desc copy = *desc;
    if (whole)
        copy.check = nt_desc_check(host->ip_out.tail);
    return nt_producer_push(&host->ip_out, &copy);
}

static void pass_fence(struct nt_sim_host *host, uint32_t number)
{
    host->fence_seen = number > host->fence_seen ? number : host->fence_seen;
    if (!host->hold_fences)
        status_of(host->driver_status)->fence[NT_FENCE_TCP] = host->fence_seen;
}

void nt_sim_host_hold_fences(struct nt_sim_host *host, bool hold)
{
    host->hold_fences = hold;
    if (!hold)
        status_of(host->driver_status)->fence[NT_FENCE_TCP] = host->fence_seen;
}

// What IP and a driver do with a segment: header in front, checksums complete.
static void finish_packet(const struct nt_desc *desc, struct nt_sim_packet *packet, uint32_t l4_len)
{
    struct nt_tx_meta meta;
    memcpy(&meta, desc->data, sizeof(meta));
    struct nt_ipv4 header = {
        .protocol = meta.protocol,
        .ttl = meta.ttl,
        .tos = meta.tos,
        .dont_fragment = meta.df,
        .total_bytes = (uint16_t)(NT_IPV4_HEADER_BYTES + l4_len),
    };
    memcpy(header.src, nt_addr_v4(meta.src), 4);
    memcpy(header.dst, nt_addr_v4(meta.dst), 4);
    nt_ipv4_emit(&header, packet->data);
    uint8_t *l4 = packet->data + NT_IPV4_HEADER_BYTES;
    uint16_t partial = nt_csum_fold(nt_csum_pseudo(meta.src, meta.dst, meta.protocol, l4_len));
    nt_assert(memcmp(l4 + NT_TCP_CHECKSUM, &partial, sizeof(partial)) == 0);
    nt_csum_store(l4 + NT_TCP_CHECKSUM, nt_csum_finish(nt_csum(l4, l4_len, 0)));
}

bool nt_sim_host_collect(struct nt_sim_host *host, struct nt_sim_packet *packet)
{
    for (;;) {
        uint32_t index = host->ip_in.head;
        struct nt_desc desc;
        if (!nt_consumer_pop(&host->ip_in, &desc))
            return false;
        nt_assert(desc.check == nt_desc_check(index));
        if (desc.kind == NT_DESC_FENCE) {
            pass_fence(host, desc.arg);
            continue;
        }
        if (desc.kind == NT_DESC_STEER) {
            nt_assert(desc.inline_len == sizeof(struct nt_steer));
            nt_assert(host->steer_count < NT_SIM_STEERS);
            memcpy(&host->steer[host->steer_count++], desc.data, sizeof(struct nt_steer));
            continue;
        }
        if (desc.kind == NT_DESC_GROUP || desc.kind == NT_DESC_STOLEN) {
            nt_assert(host->word_count < NT_SIM_WORDS);
            host->word[host->word_count] = desc;
            host->word[host->word_count++].flow_hash = host->steer_count;
            continue;
        }
        if (desc.kind == NT_DESC_NOT_MINE) {
            struct nt_return back = {
                .buffer = (uint32_t)nt_pool_buffer_at(&host->owner.view, desc.ref[0].offset,
                                                      desc.ref[0].len),
                .use = desc.ref[0].use,
                .region = desc.ref[0].region,
            };
            nt_assert(nt_pool_give_back(&host->owner, back));
            host->not_mine++;
            continue;
        }
        nt_assert(desc.kind == NT_DESC_SEGMENT && desc.l4_offset == NT_TX_META_BYTES);
        int64_t len = nt_regions_gather(&host->regions, &desc, desc.l4_offset,
                                        packet->data + NT_IPV4_HEADER_BYTES,
                                        sizeof(packet->data) - NT_IPV4_HEADER_BYTES);
        nt_assert(len >= NT_TCP_HEADER_BYTES);
        packet->len = (uint32_t)len + NT_IPV4_HEADER_BYTES;
        packet->gso_size = desc.gso_size;
        finish_packet(&desc, packet, (uint32_t)len);
        return true;
    }
}

bool nt_sim_host_take_steer(struct nt_sim_host *host, struct nt_steer *steer)
{
    if (host->steer_count == 0)
        return false;
    *steer = host->steer[0];
    host->steer_count--;
    memmove(host->steer, host->steer + 1, host->steer_count * sizeof(*steer));
    return true;
}

bool nt_sim_host_take_word(struct nt_sim_host *host, struct nt_desc *desc)
{
    if (host->word_count == 0)
        return false;
    *desc = host->word[0];
    host->word_count--;
    memmove(host->word, host->word + 1, host->word_count * sizeof(*desc));
    return true;
}

uint32_t nt_sim_host_buffers_out(struct nt_sim_host *host)
{
    take_returns(host);
    return NT_SIM_POOL_SMALL + NT_SIM_POOL_LARGE - host->owner.free_small_count -
           host->owner.free_large_count;
}

__attribute__((noinline, used)) uint32_t nt_sim_host_unsent(const struct nt_sim_host *host)
{
    return nt_load_acquire(&host->ip_in.peer->tail) - host->ip_in.head;
}

// -- As syscall server ---------------------------------------------------------------------------

bool nt_sim_host_push_request(struct nt_sim_host *host, const struct nt_request *request)
{
    struct nt_desc desc = {
        .kind = NT_DESC_REQUEST,
        .inline_len = sizeof(*request),
        .check = nt_desc_check(host->syscall_out.tail),
    };
    memcpy(desc.data, request, sizeof(*request));
    return nt_producer_push(&host->syscall_out, &desc);
}

bool nt_sim_host_pop_reply(struct nt_sim_host *host, struct nt_request *reply)
{
    struct nt_desc desc;
    if (!nt_consumer_pop(&host->syscall_in, &desc))
        return false;
    nt_assert(desc.kind == NT_DESC_REPLY && desc.inline_len == sizeof(*reply));
    memcpy(reply, desc.data, sizeof(*reply));
    return true;
}

const struct nt_area *nt_sim_host_area(struct nt_sim_host *host, uint32_t number)
{
    return number < NT_SIM_AREAS ? &host->area[number].view : NULL;
}

void nt_sim_host_set_core(struct nt_sim_host *host, uint32_t core)
{
    status_of(host->status)->core = core;
}

void nt_sim_host_set_design(struct nt_sim_host *host, uint32_t design) { host->design = design; }

struct nt_listener *nt_sim_host_listener(struct nt_sim_host *host, uint32_t number,
                                         uint32_t backlog)
{
    nt_assert(number < NT_SIM_LISTENERS);
    struct listener *listener = &host->listener[number];
    uint32_t entries = 2;
    while (entries < backlog + 2)
        entries *= 2;
    unmap(&listener->ring);
    unmap(&listener->claims);
    listener->ring = map(nt_listener_ring_bytes(entries));
    listener->claims = map(nt_listener_claims_bytes());
    nt_listener_format(listener->ring.base, listener->claims.base, entries, backlog);
    ((struct nt_listener_header *)listener->ring.base)->design = host->design;
    nt_assert(nt_listener_open(&listener->view, listener->ring.base, listener->claims.base,
                               entries) == 0);
    listener->mapped = true;
    nt_assert(nt_tcp_map_listener(host->tcp, number, &listener->view) == 0);
    return &listener->view;
}

struct nt_listener *nt_sim_host_listener_view(struct nt_sim_host *host, uint32_t number)
{
    return &host->listener[number].view;
}

void *nt_sim_host_area_part(struct nt_sim_host *host, uint32_t number, uint32_t part,
                            uint64_t *bytes)
{
    struct area *area = &host->area[number];
    const struct channel *memory = &area->program;
    if (part == NT_SIM_SERVER_SIDE)
        memory = &area->server;
    else if (part == NT_SIM_HINT_SIDE)
        memory = &area->hint;
    *bytes = memory->bytes;
    return memory->base;
}
