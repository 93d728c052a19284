#include "servers/ip/neighbour.h"

#include <stdio.h>

#include "servers/ip/arp.h"
#include "servers/ip/ethernet.h"
#include "servers/ip/icmp.h"
#include "servers/ip/output.h"

enum {
    PROBES_MAX = 3,           // RFC 4861 §10 MAX_MULTICAST_SOLICIT
    PROBE_INTERVAL_MS = 1000, // RFC 1122 §2.3.2.1: at most one a second and destination
    CONFIRMED_S = 60,         // RFC 1122 §2.3.2.1: a timeout of the order of a minute
    // Whoever we are to answer can choose whom we ask for. So what waits for an answer takes at
    // most so many ways of a set by one interface, gives way to the next only after so long, and
    // takes the way of a station that is known only if we have not spoken to it for so long.
    ASKED_A_SET = 2,
    ANSWER_MS = 100,
    KEPT_S = 10,
};

static uint32_t index_of(const struct nt_ip *ip, const struct nt_ip_neighbour *neighbour)
{
    return (uint32_t)(neighbour - ip->state->neighbour);
}

static struct nt_ip_neighbour *first_way(struct nt_ip *ip, const uint8_t addr[16])
{
    uint32_t set = nt_addr_hash(addr) % NT_IP_NEIGHBOUR_SETS;
    return &ip->state->neighbour[(size_t)set * NT_IP_NEIGHBOUR_WAYS];
}

static struct nt_ip_neighbour *find(struct nt_ip *ip, uint32_t interface, const uint8_t addr[16])
{
    struct nt_ip_neighbour *way = first_way(ip, addr);
    for (uint32_t i = 0; i < NT_IP_NEIGHBOUR_WAYS; i++, way++)
        if (way->state != NT_IP_NEIGHBOUR_FREE && way->interface == interface &&
            nt_addr_equal(way->addr, addr))
            return way;
    return NULL;
}

// -- Waiting packets -------------------------------------------------------------------------

static void free_waiting(struct nt_ip *ip, struct nt_ip_waiting *waiting)
{
    NT_IP_TOUCH(ip, waiting);
    waiting->neighbour = 0;
}

// The oldest packet that waits for the neighbour, or NULL; how many there are.
static struct nt_ip_waiting *oldest(struct nt_ip *ip, uint32_t neighbour, uint32_t *count)
{
    struct nt_ip_waiting *found = NULL;
    *count = 0;
    for (uint32_t i = 0; i < NT_IP_WAITING; i++) {
        struct nt_ip_waiting *waiting = &ip->state->waiting[i];
        if (waiting->neighbour != neighbour + 1)
            continue;
        *count += 1;
        if (found == NULL || (int32_t)(waiting->order - found->order) < 0)
            found = waiting;
    }
    return found;
}

static void drop_waiting(struct nt_ip *ip, struct nt_ip_waiting *waiting)
{
    nt_ip_release(ip, waiting->buffer);
    free_waiting(ip, waiting);
    nt_ip_count(ip, NT_IP_COUNT_WAITING_DROPPED);
}

static struct nt_ip_waiting *free_entry(struct nt_ip *ip)
{
    for (uint32_t i = 0; i < NT_IP_WAITING; i++)
        if (ip->state->waiting[i].neighbour == 0)
            return &ip->state->waiting[i];
    return NULL;
}

static void wait_for(struct nt_ip *ip, struct nt_ip_neighbour *neighbour,
                     const struct nt_ip_out *out)
{
    uint32_t index = index_of(ip, neighbour), count;
    struct nt_ip_waiting *first = oldest(ip, index, &count);
    if (count >= NT_IP_WAITING_A_NEIGHBOUR)
        drop_waiting(ip, first);
    struct nt_ip_waiting *waiting = free_entry(ip);
    if (waiting == NULL) {
        nt_ip_count(ip, NT_IP_COUNT_WAITING_DROPPED);
        return;
    }
    uint32_t len;
    int64_t buffer = nt_ip_gather(ip, out, &len);
    if (buffer < 0)
        return;
    struct nt_ip_sequence *sequence = &ip->state->sequence;
    NT_IP_TOUCH(ip, sequence);
    NT_IP_TOUCH(ip, waiting);
    *waiting = (struct nt_ip_waiting){
        .mark = waiting->mark,
        .buffer = (uint32_t)buffer,
        .neighbour = (uint16_t)(index + 1),
        .gso_size = out->gso_size,
        .len = len,
        .order = sequence->waiting++,
        .flow_hash = out->flow_hash,
        .flags = out->flags,
        .upper = out->upper,
    };
}

// The packet in a buffer again as one to be sent; its transport header inline, as drivers want it.
static void thaw(struct nt_ip *ip, const struct nt_ip_waiting *waiting, struct nt_ip_out *out)
{
    nt_ip_out_from_buffer(ip, waiting->buffer, waiting->len, out);
    out->gso_size = waiting->gso_size;
    out->flags = waiting->flags;
    out->flow_hash = waiting->flow_hash;
    out->upper = waiting->upper;
}

static void send_waiting(struct nt_ip *ip, const struct nt_ip_neighbour *neighbour)
{
    struct nt_ip_waiting *waiting;
    uint32_t count;
    while ((waiting = oldest(ip, index_of(ip, neighbour), &count)) != NULL) {
        struct nt_ip_out out;
        thaw(ip, waiting, &out);
        uint32_t buffer = waiting->buffer;
        free_waiting(ip, waiting);
        nt_ip_transmit_buffer(ip, neighbour->interface, neighbour->mac, &out, buffer);
    }
}

static void fail_waiting(struct nt_ip *ip, const struct nt_ip_neighbour *neighbour)
{
    struct nt_ip_waiting *waiting;
    uint32_t count;
    while ((waiting = oldest(ip, index_of(ip, neighbour), &count)) != NULL) {
        struct nt_ip_out out;
        thaw(ip, waiting, &out);
        nt_ip_icmp_local_error(ip, &out, NT_ICMP_UNREACHABLE, NT_ICMP_HOST_UNREACHABLE, 0);
        drop_waiting(ip, waiting);
    }
}

// -- Entries ---------------------------------------------------------------------------------

static void forget(struct nt_ip *ip, struct nt_ip_neighbour *neighbour)
{
    fail_waiting(ip, neighbour);
    NT_IP_TOUCH(ip, neighbour);
    neighbour->state = NT_IP_NEIGHBOUR_FREE;
}

static bool is_asked(const struct nt_ip_neighbour *way, uint32_t interface)
{
    return way->state == NT_IP_NEIGHBOUR_INCOMPLETE && way->interface == interface;
}

static bool asks_too_many(const struct nt_ip_neighbour *ways, uint32_t interface)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NT_IP_NEIGHBOUR_WAYS; i++)
        count += is_asked(&ways[i], interface);
    return count >= ASKED_A_SET;
}

static bool may_give_way_to_asked(const struct nt_ip *ip, const struct nt_ip_neighbour *way)
{
    if (way->state == NT_IP_NEIGHBOUR_FREE)
        return true;
    if (way->state == NT_IP_NEIGHBOUR_INCOMPLETE)
        return way->probes > 1 ||
               ip->now_ns + (PROBE_INTERVAL_MS - ANSWER_MS) * NT_IP_MS >= way->retry_ns;
    return ip->now_ns - way->used_ns >= KEPT_S * NT_IP_S;
}

// States are numbered by what they are worth.
static bool is_worth_less(const struct nt_ip_neighbour *a, const struct nt_ip_neighbour *b)
{
    return a->state != b->state ? a->state < b->state : a->used_ns < b->used_ns;
}

// A free way for `addr`, if need be that of another; NULL: none may be taken now.
static struct nt_ip_neighbour *make_room(struct nt_ip *ip, uint32_t interface,
                                         const uint8_t addr[16], enum nt_ip_neighbour_state state)
{
    struct nt_ip_neighbour *way = first_way(ip, addr), *victim = NULL;
    bool asked = state == NT_IP_NEIGHBOUR_INCOMPLETE;
    bool of_asked_only = asked && asks_too_many(way, interface);
    for (uint32_t i = 0; i < NT_IP_NEIGHBOUR_WAYS; i++, way++) {
        if ((of_asked_only && !is_asked(way, interface)) ||
            (asked && !may_give_way_to_asked(ip, way)))
            continue;
        if (victim == NULL || is_worth_less(way, victim))
            victim = way;
    }
    if (victim != NULL && victim->state != NT_IP_NEIGHBOUR_FREE) {
        nt_ip_count(ip, NT_IP_COUNT_NEIGHBOUR_EVICTED);
        forget(ip, victim);
    }
    return victim;
}

static struct nt_ip_neighbour *add(struct nt_ip *ip, uint32_t interface, const uint8_t addr[16],
                                   enum nt_ip_neighbour_state state)
{
    struct nt_ip_neighbour *neighbour = make_room(ip, interface, addr, state);
    if (neighbour == NULL)
        return NULL;
    NT_IP_TOUCH(ip, neighbour);
    *neighbour = (struct nt_ip_neighbour){
        .mark = neighbour->mark,
        .state = (uint8_t)state,
        .interface = (uint8_t)interface,
        .used_ns = ip->now_ns,
        .retry_ns = NT_NEVER,
    };
    nt_addr_copy(neighbour->addr, addr);
    return neighbour;
}

static void probe(struct nt_ip *ip, struct nt_ip_neighbour *neighbour)
{
    struct nt_path path;
    NT_IP_TOUCH(ip, neighbour);
    neighbour->probes++;
    neighbour->retry_ns = ip->now_ns + PROBE_INTERVAL_MS * NT_IP_MS;
    nt_ip_timer(ip, neighbour->retry_ns);
    bool known = neighbour->state == NT_IP_NEIGHBOUR_RESOLVED;
    if (nt_netconf_path(&ip->conf, neighbour->addr, &path) == 0)
        nt_ip_arp_request(ip, neighbour->interface, path.source, neighbour->addr,
                          known ? neighbour->mac : nt_ip_broadcast_mac);
}

const uint8_t *nt_ip_neighbour_resolve(struct nt_ip *ip, const struct nt_path *path,
                                       const struct nt_ip_out *out)
{
    struct nt_ip_neighbour *neighbour = find(ip, path->interface, path->next_hop);
    bool is_new = neighbour == NULL;
    if (is_new)
        neighbour = add(ip, path->interface, path->next_hop, NT_IP_NEIGHBOUR_INCOMPLETE);
    if (NT_UNLIKELY(neighbour == NULL)) {
        nt_ip_count(ip, NT_IP_COUNT_NEIGHBOUR_REFUSED);
        return NULL;
    }
    neighbour->used_ns = ip->now_ns;
    if (neighbour->state == NT_IP_NEIGHBOUR_INCOMPLETE) {
        wait_for(ip, neighbour, out);
        if (is_new)
            probe(ip, neighbour);
        return NULL;
    }
    if (NT_UNLIKELY(neighbour->probes == 0 &&
                    ip->now_ns - neighbour->confirmed_ns > CONFIRMED_S * NT_IP_S))
        probe(ip, neighbour);
    return neighbour->mac;
}

void nt_ip_neighbour_heard(struct nt_ip *ip, uint32_t interface, const uint8_t addr[16],
                           const uint8_t mac[6], bool create)
{
    struct nt_ip_neighbour *neighbour = find(ip, interface, addr);
    if (neighbour == NULL && !create)
        return;
    if (neighbour == NULL)
        neighbour = add(ip, interface, addr, NT_IP_NEIGHBOUR_RESOLVED);
    nt_assert(neighbour != NULL); // any way will do for a station that is there
    NT_IP_TOUCH(ip, neighbour);
    memcpy(neighbour->mac, mac, 6);
    neighbour->state = NT_IP_NEIGHBOUR_RESOLVED;
    neighbour->probes = 0;
    neighbour->confirmed_ns = ip->now_ns;
    neighbour->retry_ns = NT_NEVER;
    send_waiting(ip, neighbour);
}

void nt_ip_neighbour_timers(struct nt_ip *ip)
{
    for (uint32_t i = 0; i < NT_IP_NEIGHBOURS; i++) {
        struct nt_ip_neighbour *neighbour = &ip->state->neighbour[i];
        if (neighbour->state == NT_IP_NEIGHBOUR_FREE || neighbour->retry_ns == NT_NEVER)
            continue;
        if (neighbour->retry_ns > ip->now_ns) {
            nt_ip_timer(ip, neighbour->retry_ns);
            continue;
        }
        if (neighbour->probes >= PROBES_MAX) {
            nt_ip_count(ip, NT_IP_COUNT_NEIGHBOUR_FAILED);
            forget(ip, neighbour);
        } else {
            probe(ip, neighbour);
        }
    }
}

int nt_ip_neighbour_audit(const struct nt_ip *ip, uint8_t held[NT_BUFFERS_MAX], char *why,
                          uint64_t why_bytes)
{
    for (uint32_t i = 0; i < NT_IP_NEIGHBOURS; i++) {
        const struct nt_ip_neighbour *neighbour = &ip->state->neighbour[i];
        if (neighbour->state > NT_IP_NEIGHBOUR_RESOLVED || neighbour->probes > PROBES_MAX) {
            (void)snprintf(why, why_bytes, "neighbour %u: in no state that there is", i);
            return -1;
        }
        if (neighbour->state == NT_IP_NEIGHBOUR_INCOMPLETE && neighbour->retry_ns == NT_NEVER) {
            (void)snprintf(why, why_bytes, "neighbour %u: incomplete without a timer", i);
            return -1;
        }
    }
    for (uint32_t i = 0; i < NT_IP_WAITING; i++) {
        const struct nt_ip_waiting *waiting = &ip->state->waiting[i];
        if (waiting->neighbour == 0)
            continue;
        if (waiting->neighbour > NT_IP_NEIGHBOURS || waiting->buffer >= ip->buffers.count ||
            ip->state->neighbour[waiting->neighbour - 1].state != NT_IP_NEIGHBOUR_INCOMPLETE) {
            (void)snprintf(why, why_bytes, "waiting packet %u: its neighbour is not incomplete", i);
            return -1;
        }
        held[waiting->buffer]++;
    }
    return 0;
}
