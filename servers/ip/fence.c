#include "servers/ip/fence.h"

#include <stdio.h>

enum {
    // How long a gathered buffer may lie unnoticed when nothing else wakes us: a quarter of the
    // time in which a LAN's ping would fill the table at ten a second.
    COLLECT_INTERVAL_MS = 10,
    // A driver that lost its arena may have lost a fence with it: then another is sent.
    AGAIN_MS = 200,
};

static bool push(struct nt_ip *ip, uint32_t driver, uint32_t source, uint32_t number)
{
    struct nt_ip_link *link = &ip->link[driver];
    if (nt_producer_room(&link->out, 1) == 0)
        return false;
    struct nt_desc *desc = nt_producer_slot(&link->out);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_FENCE;
    desc->tag = source;
    desc->arg = number;
    desc->check = nt_desc_check(link->out.tail);
    nt_producer_advance(&link->out);
    link->pushed = true;
    nt_txn_crash_point(&ip->txn);
    return true;
}

static void pass(struct nt_ip *ip, uint32_t driver, uint32_t source, uint32_t number)
{
    struct nt_ip_pending_fence *pending = &ip->state->fence[driver][source];
    // Never past one that waits already.
    if (pending->number == 0 && push(ip, driver, source, number))
        return;
    NT_IP_TOUCH(ip, pending);
    pending->number = number;
    nt_ip_count(ip, NT_IP_COUNT_FENCES_DEFERRED);
}

void nt_ip_fence(struct nt_ip *ip, uint32_t source, uint32_t number)
{
    nt_ip_count(ip, NT_IP_COUNT_FENCES);
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++)
        if (ip->link[i].exists)
            pass(ip, i, source, number);
}

bool nt_ip_fence_flush(struct nt_ip *ip)
{
    bool flushed = false;
    for (uint32_t i = 0; i < NT_IP_DRIVERS; i++) {
        for (uint32_t source = 0; ip->link[i].exists && source < NT_STATUS_FENCES; source++) {
            struct nt_ip_pending_fence *pending = &ip->state->fence[i][source];
            if (NT_LIKELY(pending->number == 0) || !push(ip, i, source, pending->number))
                continue;
            NT_IP_TOUCH(ip, pending);
            pending->number = 0;
            flushed = true;
        }
    }
    return flushed;
}

static struct nt_ip_in_flight *free_entry(const struct nt_ip *ip)
{
    for (uint32_t i = 0; i < NT_IP_IN_FLIGHT; i++)
        if (ip->state->in_flight[i].buffer == 0)
            return &ip->state->in_flight[i];
    return NULL;
}

bool nt_ip_in_flight_room(const struct nt_ip *ip) { return free_entry(ip) != NULL; }

void nt_ip_in_flight_add(struct nt_ip *ip, uint32_t driver, uint32_t buffer)
{
    struct nt_ip_in_flight *entry = free_entry(ip);
    struct nt_ip_sequence *sequence = &ip->state->sequence;
    nt_assert(entry != NULL);
    NT_IP_TOUCH(ip, sequence);
    NT_IP_TOUCH(ip, entry);
    entry->buffer = buffer + 1;
    entry->driver = driver;
    entry->fence = ++sequence->fence;
    pass(ip, driver, NT_FENCE_IP, entry->fence);
    ip->link[driver].fence_sent_ns = ip->now_ns;
    nt_ip_timer(ip, ip->now_ns + COLLECT_INTERVAL_MS * NT_IP_MS);
}

// What is in flight stays so: the last fence is sent again, which stands for all before it.
static void send_again(struct nt_ip *ip, uint32_t driver)
{
    struct nt_ip_link *link = &ip->link[driver];
    if (ip->now_ns - link->fence_sent_ns < AGAIN_MS * NT_IP_MS)
        return;
    link->fence_sent_ns = ip->now_ns;
    pass(ip, driver, NT_FENCE_IP, ip->state->sequence.fence);
}

void nt_ip_in_flight_collect(struct nt_ip *ip)
{
    for (uint32_t i = 0; i < NT_IP_IN_FLIGHT; i++) {
        struct nt_ip_in_flight *entry = &ip->state->in_flight[i];
        if (entry->buffer == 0)
            continue;
        const struct nt_status *status = ip->link[entry->driver].status;
        if (nt_load_acquire(&status->fence[NT_FENCE_IP]) < entry->fence) {
            send_again(ip, entry->driver);
            nt_ip_timer(ip, ip->now_ns + COLLECT_INTERVAL_MS * NT_IP_MS);
            continue;
        }
        nt_ip_release(ip, entry->buffer - 1);
        NT_IP_TOUCH(ip, entry);
        entry->buffer = 0;
    }
}

int nt_ip_fence_audit(const struct nt_ip *ip, uint8_t held[NT_BUFFERS_MAX], char *why,
                      uint64_t why_bytes)
{
    for (uint32_t i = 0; i < NT_IP_IN_FLIGHT; i++) {
        const struct nt_ip_in_flight *entry = &ip->state->in_flight[i];
        if (entry->buffer == 0)
            continue;
        if (entry->buffer > ip->buffers.count || entry->driver >= NT_IP_DRIVERS ||
            !ip->link[entry->driver].exists || entry->fence > ip->state->sequence.fence) {
            (void)snprintf(why, why_bytes, "in flight %u: no such buffer, driver or fence", i);
            return -1;
        }
        held[entry->buffer - 1]++;
    }
    return 0;
}
