#include "servers/udp/step.h"

#include "servers/udp/area.h"
#include "servers/udp/input.h"
#include "servers/udp/output.h"
#include "servers/udp/request.h"
#include "servers/udp/socket.h"

enum {
    // As in IP: a sleeping driver is woken for its buffers when so many wait for it.
    RETURNS_WORTH_A_WAKE = 16,
};

static void ring_pool(struct nt_udp *udp, struct nt_udp_pool *pool, uint32_t bell)
{
    if (!pool->exists || !pool->pushed)
        return;
    pool->pushed = false;
    uint32_t waiting = pool->returns.tail - nt_load_relaxed(&pool->returns.peer->head);
    if (waiting >= RETURNS_WORTH_A_WAKE)
        nt_bells_mark(&udp->bells, bell);
}

static void mark_bells(struct nt_udp *udp)
{
    ring_pool(udp, &udp->ip_pool, NT_UDP_BELL_IP);
    for (uint32_t i = 0; i < NT_UDP_DRIVERS; i++)
        ring_pool(udp, &udp->driver[i], NT_UDP_BELL_DRIVER + i);
    if (udp->ip_pushed)
        nt_bells_mark(&udp->bells, NT_UDP_BELL_IP);
    if (udp->syscall_pushed)
        nt_bells_mark(&udp->bells, NT_UDP_BELL_SYSCALL);
    udp->ip_pushed = udp->syscall_pushed = false;
}

void nt_udp_commit(struct nt_udp *udp)
{
    nt_udp_fence(udp);
    nt_txn_commit(&udp->txn);
    nt_udp_publish(udp);
    mark_bells(udp);
}

static void make_journal_room(struct nt_udp *udp)
{
    if (nt_txn_room(&udp->txn) < UINT64_C(2) * NT_UDP_JOURNAL_AN_INPUT)
        nt_udp_commit(udp);
}

static uint32_t take_requests(struct nt_udp *udp, uint32_t budget)
{
    uint32_t taken = 0;
    for (; taken < budget && nt_consumer_pending(&udp->from_syscall) != 0 &&
           nt_producer_room(&udp->to_syscall, 1) != 0;
         taken++) {
        make_journal_room(udp);
        nt_udp_request_input(udp);
    }
    nt_udp_dead_areas(udp);
    nt_udp_commit(udp);
    return taken;
}

static uint32_t take_packets(struct nt_udp *udp, uint32_t budget)
{
    uint32_t taken = 0;
    for (; taken < budget && nt_consumer_pending(&udp->from_ip) != 0; taken++) {
        // A broadcast may touch many sockets.
        if (nt_txn_room(&udp->txn) < UINT64_C(4) * NT_UDP_JOURNAL_AN_INPUT)
            nt_udp_commit(udp);
        nt_udp_packet_input(udp);
    }
    nt_udp_commit(udp);
    return taken;
}

static uint32_t sweep_area(struct nt_udp *udp, uint32_t number, uint32_t budget)
{
    struct nt_udp_area_private *area = udp->area[number];
    uint32_t looked = 0;
    while (looked < budget && !udp->ip_full) {
        int32_t slot = nt_udp_area_next(area);
        if (slot < 0)
            break;
        struct nt_udp_socket *socket = nt_udp_socket_of(udp, number, (uint32_t)slot);
        make_journal_room(udp);
        if (socket != NULL)
            nt_udp_look(udp, socket);
        looked += !udp->ip_full; // a look in vain is no work: there is a deadline for the next one
    }
    make_journal_room(udp);
    nt_udp_area_grant(udp, number);
    return looked;
}

// Areas take turns at being first.
static uint32_t sweep_areas(struct nt_udp *udp, uint32_t budget)
{
    uint32_t looked = 0;
    udp->ip_full = false;
    for (uint32_t i = 0; i < udp->area_limit; i++) {
        uint32_t number = (udp->next_area + i) % udp->area_limit;
        struct nt_udp_area_private *area = udp->area[number];
        if (area == NULL || !area->attached || !nt_udp_area_active(area))
            continue;
        looked += sweep_area(udp, number, budget);
    }
    udp->next_area = udp->next_area + 1 < udp->area_limit ? udp->next_area + 1 : 0;
    if (udp->ip_full)
        nt_udp_timer(udp, udp->now_ns + NT_UDP_RETRY_US * NT_UDP_US);
    nt_udp_commit(udp);
    return looked;
}

uint32_t nt_udp_step(void *context, uint64_t now_ns, uint32_t budget)
{
    struct nt_udp *udp = context;
    uint32_t work = 0;
    udp->now_ns = now_ns;
    udp->deadline_ns = NT_NEVER;
    nt_udp_collect(udp);
    nt_udp_commit(udp);
    work += take_requests(udp, budget);
    work += take_packets(udp, budget);
    work += sweep_areas(udp, budget);
    return work;
}

bool nt_udp_has_work(void *context)
{
    struct nt_udp *udp = context;
    if (nt_consumer_pending(&udp->from_ip) != 0 || nt_consumer_pending(&udp->from_syscall) != 0 ||
        nt_udp_fence_passed(udp))
        return true;
    if (udp->ip_full) // there is a deadline for it
        return false;
    for (uint32_t i = 0; i < udp->area_limit; i++)
        if (udp->area[i] != NULL && udp->area[i]->attached && nt_udp_area_active(udp->area[i]))
            return true;
    return false;
}

uint64_t nt_udp_next_deadline(void *context)
{
    const struct nt_udp *udp = context;
    return udp->deadline_ns;
}
