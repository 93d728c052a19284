#include "servers/ip/step.h"

#include "servers/ip/arp.h"
#include "servers/ip/ethernet.h"
#include "servers/ip/fence.h"
#include "servers/ip/groups.h"
#include "servers/ip/neighbour.h"
#include "servers/ip/output.h"
#include "servers/ip/reassembly.h"

enum {
    // A driver that is killed is back in a fraction of it; one that hangs is replaced after 50 ms.
    STUCK_MS = 200,
    // A driver that sleeps is woken for its buffers when so many wait for it: with three returning
    // servers that is less than the large ones it has.
    RETURNS_WORTH_A_WAKE = 16,
    // Slots of a channel from TCP that stay free while its segments wait for a buffer: with less it
    // takes no input, and so gives nothing back.
    WAITING_LEAVES = 32,
};

// -- Committing ------------------------------------------------------------------------------

static void ring_driver(struct nt_ip *ip, uint32_t driver)
{
    struct nt_ip_link *link = &ip->link[driver];
    uint32_t waiting = link->returns.tail - nt_load_relaxed(&link->returns.peer->head);
    if (link->pushed || waiting >= RETURNS_WORTH_A_WAKE)
        nt_bells_mark(&ip->bells, NT_IP_BELL_DRIVER + driver);
    link->pushed = false;
}

static void free_released(struct nt_ip *ip)
{
    for (uint32_t i = 0; i < ip->released_count; i++)
        nt_buffers_free(&ip->buffers, ip->released[i]);
    ip->released_count = 0;
}

static void commit(struct nt_ip *ip)
{
    free_released(ip);
    nt_txn_commit(&ip->txn);
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++)
        if (ip->link[i].exists)
            ring_driver(ip, i);
    for (uint32_t i = 0; i < NT_IP_UPPERS; i++) {
        if (ip->upper[i].pushed)
            nt_bells_mark(&ip->bells, NT_IP_BELL_UPPER + i);
        ip->upper[i].pushed = false;
    }
}

// Before each input, so that no input can exhaust the journal.
static void make_journal_room(struct nt_ip *ip)
{
    if (nt_txn_room(&ip->txn) < NT_IP_JOURNAL_AN_INPUT)
        commit(ip);
}

// -- Sources ---------------------------------------------------------------------------------

static uint32_t take_returns(struct nt_ip *ip, struct nt_ip_upper *upper, uint32_t budget)
{
    uint32_t taken = 0;
    for (; taken < budget && nt_consumer_pending(&upper->returns) != 0; taken++) {
        struct nt_return ret;
        memcpy(&ret, nt_consumer_slot(&upper->returns), sizeof ret);
        nt_consumer_advance(&upper->returns);
        make_journal_room(ip);
        (void)nt_buffers_give_back(&ip->buffers, ret);
        nt_txn_crash_point(&ip->txn);
    }
    uint64_t stale = ip->buffers.owner.stale_returns;
    nt_ip_count_n(ip, NT_IP_COUNT_STALE_RETURNS, stale - ip->stale_returns);
    ip->stale_returns = stale;
    return taken;
}

// Asks for the headers of all frames of a batch: they lie in the cache of the core that sent them.
// What the descriptors say is looked at when their turn comes.
static void look_ahead(struct nt_ip_link *link, uint32_t budget)
{
    uint32_t count = nt_min_u32(nt_consumer_pending(&link->in), budget);
    for (uint32_t i = 0; i < count; i++) {
        const struct nt_desc *desc = nt_consumer_slot_ahead(&link->in, i);
        uint64_t offset = nt_min_u64(desc->ref[0].offset, link->pool.bytes);
        nt_prefetch(link->pool.base + offset);
        nt_prefetch(link->pool.base + offset + NT_CACHE_LINE);
    }
}

static uint32_t take_frames(struct nt_ip *ip, uint32_t driver, uint32_t budget)
{
    uint32_t taken = 0;
    look_ahead(&ip->link[driver], budget);
    for (; taken < budget && nt_consumer_pending(&ip->link[driver].in) != 0; taken++) {
        make_journal_room(ip);
        nt_ip_frame_input(ip, driver);
    }
    if (taken != 0)
        commit(ip);
    return taken;
}

// True if one more input from above cannot find a channel full.
static bool may_take_segment(struct nt_ip *ip)
{
    bool may = true;
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++) {
        struct nt_ip_link *link = &ip->link[i];
        if (!link->exists)
            continue;
        // One more than frames: an input that brings its own fence.
        uint32_t wanted = NT_IP_FRAMES_AN_INPUT + 1;
        if (NT_LIKELY(nt_producer_room(&link->out, wanted) >= wanted)) {
            link->full_since_ns = 0;
            continue;
        }
        if (link->full_since_ns == 0)
            link->full_since_ns = ip->now_ns;
        uint64_t given_up_ns = link->full_since_ns + STUCK_MS * NT_IP_MS;
        if (ip->now_ns < given_up_ns) {
            nt_ip_timer(ip, given_up_ns);
            may = false;
        }
    }
    return may;
}

static bool is_looped_back(const struct nt_ip *ip, const struct nt_desc *desc)
{
    struct nt_tx_meta meta;
    memcpy(&meta, desc->data, sizeof meta);
    return desc->kind == NT_DESC_SEGMENT && nt_netconf_is_local(&ip->conf, meta.dst);
}

// A packet to ourselves needs a buffer of the pool, and a burst of them more than there are. What
// TCP keeps is not lost: its segment waits for those that are with TCP now. It is the only thing
// here that waits for what is behind it, so it must not when TCP might wait for us.
static bool has_buffer(struct nt_ip *ip, uint32_t upper)
{
    const struct nt_buffers *buffers = &ip->buffers;
    const struct nt_pool_owner *owner = &buffers->owner;
    if (NT_LIKELY(owner->free_small_count != 0 && owner->free_large_count != 0))
        return true;
    struct nt_consumer *in = &ip->upper[upper].in;
    uint32_t pending = nt_load_acquire(&in->peer->tail) - in->head; // now, not as last looked
    if (upper == NT_IP_UPPER_UDP || pending > in->mask + 1 - WAITING_LEAVES)
        return true;
    const struct nt_desc *desc = nt_consumer_slot(in);
    uint64_t bytes = NT_IPV4_HEADER_BYTES + desc->inline_len;
    for (uint32_t i = 0; i < nt_min_u32(desc->ref_count, 2); i++)
        bytes += desc->ref[i].len;
    uint32_t large = bytes > NT_POOL_SMALL_BYTES - NT_POOL_HEADROOM;
    uint32_t left = large ? owner->free_large_count : owner->free_small_count;
    return left != 0 || buffers->in_state[NT_BUFFER_UP][large] == 0 || !is_looped_back(ip, desc);
}

static uint32_t take_segments(struct nt_ip *ip, uint32_t upper, uint32_t budget)
{
    uint32_t taken = 0;
    for (; taken < budget && nt_consumer_pending(&ip->upper[upper].in) != 0; taken++) {
        if (!may_take_segment(ip) || !has_buffer(ip, upper))
            break;
        make_journal_room(ip);
        nt_ip_segment_input(ip, upper);
    }
    if (taken != 0)
        commit(ip);
    return taken;
}

// -- The engine ------------------------------------------------------------------------------

static void run_timers(struct nt_ip *ip)
{
    ip->deadline_ns = NT_NEVER;
    nt_ip_in_flight_collect(ip);
    commit(ip);
    nt_ip_neighbour_timers(ip);
    commit(ip);
    nt_ip_reassembly_timers(ip);
    commit(ip);
    nt_ip_groups_timers(ip);
    commit(ip);
}

static void announce_once(struct nt_ip *ip)
{
    if (ip->announced)
        return;
    ip->announced = true;
    nt_ip_arp_announce(ip);
}

static uint32_t step_groups(struct nt_ip *ip)
{
    make_journal_room(ip);
    uint32_t done = nt_ip_groups_step(ip);
    commit(ip);
    return done;
}

uint32_t nt_ip_step(void *context, uint64_t now_ns, uint32_t budget)
{
    struct nt_ip *ip = context;
    uint32_t work = 0;
    ip->now_ns = now_ns;
    announce_once(ip);
    work += nt_ip_fence_flush(ip);
    for (uint32_t i = 0; i < NT_IP_UPPERS; i++)
        if (ip->upper[i].exists)
            work += take_returns(ip, &ip->upper[i], budget);
    commit(ip);
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++)
        if (ip->link[i].exists)
            work += take_frames(ip, i, budget);
    for (uint32_t i = 0; i < NT_IP_UPPERS; i++)
        if (ip->upper[i].exists)
            work += take_segments(ip, i, budget);
    if (now_ns >= ip->deadline_ns)
        run_timers(ip);
    if (NT_UNLIKELY(ip->moves != 0))
        work += step_groups(ip);
    return work;
}

bool nt_ip_has_work(void *context)
{
    struct nt_ip *ip = context;
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++)
        if (ip->link[i].exists && nt_consumer_pending(&ip->link[i].in) != 0)
            return true;
    bool may = may_take_segment(ip);
    for (uint32_t i = 0; i < NT_IP_UPPERS; i++) {
        struct nt_ip_upper *upper = &ip->upper[i];
        if (upper->exists && (nt_consumer_pending(&upper->returns) != 0 ||
                              (may && nt_consumer_pending(&upper->in) != 0 && has_buffer(ip, i))))
            return true;
    }
    return false;
}

uint64_t nt_ip_next_deadline(void *context)
{
    const struct nt_ip *ip = context;
    return ip->deadline_ns;
}
