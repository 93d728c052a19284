#include "servers/ip/exact.h"

#include "newtos_py/net/flow.h"

static uint32_t set_of(const struct nt_flow *flow)
{
    uint32_t hash = nt_flow_hash(flow->src, flow->src_port, flow->dst, flow->dst_port);
    return (hash >> 8) % NT_IP_EXACT_SETS;
}

static uint32_t first_way(const struct nt_flow *flow) { return set_of(flow) * NT_IP_EXACT_WAYS; }

static bool matches(const struct nt_ip_exact *entry, const struct nt_flow *flow)
{
    return entry->lane != 0 && entry->remote_port == flow->src_port &&
           entry->local_port == flow->dst_port && nt_addr_equal(entry->remote, flow->src) &&
           nt_addr_equal(entry->local, flow->dst);
}

static uint32_t find(const struct nt_ip *ip, const struct nt_flow *flow)
{
    uint32_t first = first_way(flow);
    for (uint32_t i = first; i < first + NT_IP_EXACT_WAYS; i++)
        if (matches(&ip->state->exact[i], flow))
            return i;
    return NT_IP_EXACTS;
}

static uint32_t place(const struct nt_ip *ip, const struct nt_flow *flow)
{
    uint32_t first = first_way(flow);
    for (uint32_t i = first; i < first + NT_IP_EXACT_WAYS; i++)
        if (ip->state->exact[i].lane == 0)
            return i;
    return NT_IP_EXACTS;
}

// One more connection of a full set, or one less: only the set is known of it.
static void spill(struct nt_ip *ip, const struct nt_flow *flow, bool here)
{
    uint32_t *missing = &ip->state->spilled[set_of(flow)];
    if (!here && *missing == 0)
        return;
    nt_txn_touch(&ip->txn, missing, sizeof *missing);
    *missing += here ? 1 : UINT32_MAX;
    ip->spilled += here ? 1 : UINT32_MAX;
    if (here)
        nt_ip_count(ip, NT_IP_COUNT_EXACT_OVERFLOWS);
    nt_txn_crash_point(&ip->txn);
}

void nt_ip_exact_set(struct nt_ip *ip, uint32_t lane, const struct nt_steer *steer)
{
    struct nt_flow flow = {steer->remote, steer->local, steer->remote_port, steer->local_port};
    uint32_t at = find(ip, &flow);
    bool known = at != NT_IP_EXACTS;
    // Only whose it is takes it out: somebody else's new connection may have its four-tuple by now.
    if (!steer->here && known && ip->state->exact[at].lane != lane + 1)
        return;
    if (!known && steer->here)
        at = place(ip, &flow);
    if (at == NT_IP_EXACTS) {
        spill(ip, &flow, steer->here);
        return;
    }
    struct nt_ip_exact *entry = &ip->state->exact[at];
    nt_txn_touch(&ip->txn, entry, sizeof *entry);
    ip->exact_count -= entry->lane != 0;
    nt_addr_copy(entry->local, steer->local);
    nt_addr_copy(entry->remote, steer->remote);
    entry->local_port = steer->local_port;
    entry->remote_port = steer->remote_port;
    entry->lane = steer->here ? lane + 1 : 0;
    ip->exact_count += entry->lane != 0;
    nt_txn_crash_point(&ip->txn);
}

uint32_t nt_ip_exact_find(struct nt_ip *ip, const struct nt_flow *arriving)
{
    if (NT_LIKELY(ip->exact_count == 0))
        return NT_IP_LANES;
    uint32_t at = find(ip, arriving);
    nt_ip_count(ip, NT_IP_COUNT_EXACT_LOOKUPS);
    nt_ip_count_n(ip, NT_IP_COUNT_EXACT_ENTRIES_SEEN,
                  at == NT_IP_EXACTS ? NT_IP_EXACT_WAYS : at % NT_IP_EXACT_WAYS + 1);
    return at == NT_IP_EXACTS ? (uint32_t)NT_IP_LANES : ip->state->exact[at].lane - 1;
}

uint32_t nt_ip_exact_ask(const struct nt_ip *ip, const struct nt_flow *arriving, uint32_t home,
                         uint32_t after)
{
    if (NT_LIKELY(ip->spilled == 0) || ip->state->spilled[set_of(arriving)] == 0)
        return NT_IP_LANES;
    uint32_t lane = after == NT_IP_LANES ? 0 : after + 1;
    while (lane < NT_IP_LANES && (lane == home || !ip->upper[lane].exists))
        lane++;
    return lane;
}

void nt_ip_exact_recover(struct nt_ip *ip)
{
    ip->exact_count = 0;
    for (uint32_t i = 0; i < NT_IP_EXACTS; i++) {
        if (ip->state->exact[i].lane > NT_IP_LANES) // no lane of ours: forget it
            ip->state->exact[i].lane = 0;
        ip->exact_count += ip->state->exact[i].lane != 0;
    }
    ip->spilled = 0;
    for (uint32_t i = 0; i < NT_IP_EXACT_SETS; i++)
        ip->spilled += ip->state->spilled[i];
}
