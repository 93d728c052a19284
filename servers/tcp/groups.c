// groups.c: flow groups that this lane gives to others, and gets (servers/ip/groups.h).
//
// With `flow-groups`, a new connection is this lane's if its group is. Connections never change
// lane: those that are here and whose group is another's, TIME-WAIT included, are known to IP by
// exact match. When a group is to be given away, all that are here are looked through for its
// connections, some a step; what is made meanwhile says so itself (nt_tcp_keep_here).
//
// An active connection takes only ports whose group was this lane's at boot: so no two lanes choose
// the same, whosever the groups are now.
//
// Invariant (audit.c): a connection that its four-tuple does not lead to is STEERED, unless they
// are being looked through just now.
#include "servers/tcp/context.h"

enum {
    LOOKS_A_STEP = 256,    // TCBs and TIME-WAIT blocks
    STOLEN_NS = 100000000, // Affinity-Accept §3.3.2
};

static bool is_own(const struct nt_tcp_engine *tcp, uint32_t group)
{
    return (tcp->globals->groups.own[group / 64] >> group % 64 & 1) != 0;
}

static void touch(struct nt_tcp_engine *tcp)
{
    struct nt_tcp_groups *groups = &tcp->globals->groups;
    nt_txn_touch_once(&tcp->txn, &groups->mark, groups, sizeof *groups);
}

// Those of the beginning, in a new arena.
void nt_tcp_groups_init(struct nt_tcp_engine *tcp)
{
    for (uint32_t i = 0; i < NT_STEERING_GROUPS; i++)
        if (tcp->steering.group[i] == tcp->config.lane)
            tcp->globals->groups.own[i / 64] |= UINT64_C(1) << i % 64;
}

// Where IP delivers segments of a connection that it knows nothing else of; some lane that is none:
// not here.
uint32_t nt_tcp_lane_of(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple)
{
    if (!nt_tcp_has_lanes(tcp))
        return 0;
    struct nt_flow arriving = {tuple->remote_addr, tuple->local_addr, tuple->remote_port,
                               tuple->local_port};
    if (tcp->steering.config.kind != NT_STEERING_FLOW_GROUPS)
        return nt_steering_lane(&tcp->steering, &arriving);
    bool own = is_own(tcp, nt_steering_flow_group(&arriving));
    return own ? tcp->config.lane : (uint32_t)NT_STEERING_LANES_MAX;
}

// A connection was made here by a segment that came here. There is room for what that may say.
void nt_tcp_keep_here(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
    if (nt_tcp_lane_of(tcp, &tuple) != tcp->config.lane && nt_tcp_emit_steer(tcp, &tuple, true))
        t->flags |= NT_TCB_STEERED;
}

// -- Giving ----------------------------------------------------------------------------------

static void begin_looking(struct nt_tcp_engine *tcp)
{
    touch(tcp);
    tcp->globals->groups.looking = 1;
    tcp->globals->groups.next = 0;
}

static void look_at_tcb(struct nt_tcp_engine *tcp, struct nt_tcb *t, bool again)
{
    struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
    if (!nt_tcb_connected(t) || ((t->flags & NT_TCB_STEERED) && !again) ||
        nt_tcp_lane_of(tcp, &tuple) == tcp->config.lane)
        return;
    nt_tcb_touch(tcp, t);
    t->flags |= NT_TCB_STEERED;
    (void)nt_tcp_emit_steer(tcp, &tuple, true);
}

static void look_at_time_wait(struct nt_tcp_engine *tcp, struct nt_time_wait *tw, bool again)
{
    struct nt_tcp_tuple tuple = {tw->local_addr, tw->remote_addr, tw->local_port, tw->remote_port};
    if (tw->state == NT_TCP_FREE || (tw->steered && !again) ||
        nt_tcp_lane_of(tcp, &tuple) == tcp->config.lane)
        return;
    nt_txn_touch_once(&tcp->txn, &tw->mark, tw, sizeof *tw);
    tw->steered = 1;
    (void)nt_tcp_emit_steer(tcp, &tuple, true);
}

static void end_looking(struct nt_tcp_engine *tcp)
{
    struct nt_tcp_groups *groups = &tcp->globals->groups;
    if (groups->giving != 0)
        (void)nt_tcp_emit_group(tcp, groups->giving - 1, NT_GROUP_GIVEN);
    groups->giving = groups->looking = groups->again = 0;
}

// TCBs first: what goes into TIME-WAIT meanwhile is found there.
static uint32_t look_on(struct nt_tcp_engine *tcp)
{
    struct nt_tcp_groups *groups = &tcp->globals->groups;
    uint32_t done = 0, all = tcp->tcb_most + tcp->time_wait_most;
    for (; done < LOOKS_A_STEP && groups->looking != 0; done++) {
        if (nt_producer_room(&tcp->to_ip, NT_TCP_INPUT_ROOM) < NT_TCP_INPUT_ROOM)
            break;
        touch(tcp);
        uint32_t at = groups->next++;
        if (at < tcp->tcb_most)
            look_at_tcb(tcp, &tcp->tcb[at], groups->again != 0);
        else if (at < all)
            look_at_time_wait(tcp, &tcp->time_wait[at - tcp->tcb_most], groups->again != 0);
        else
            end_looking(tcp);
        nt_tcp_commit_if_full(tcp);
    }
    return done;
}

// -- What IP says ----------------------------------------------------------------------------

static void take_all(struct nt_tcp_engine *tcp, const struct nt_desc *desc)
{
    uint32_t first = desc->tag, count = desc->inline_len * 8u;
    touch(tcp);
    for (uint32_t i = 0; i < count && first + i < NT_STEERING_GROUPS; i++) {
        uint64_t bit = UINT64_C(1) << (first + i) % 64;
        uint64_t *word = &tcp->globals->groups.own[(first + i) / 64];
        *word = desc->data[i / 8] >> i % 8 & 1 ? *word | bit : *word & ~bit;
    }
    tcp->globals->groups.again = 1; // IP may have lost what it knew
    begin_looking(tcp);
}

static bool take_word(struct nt_tcp_engine *tcp, uint32_t group, uint32_t word)
{
    struct nt_tcp_groups *groups = &tcp->globals->groups;
    uint64_t bit = UINT64_C(1) << group % 64;
    touch(tcp);
    switch (word) {
    case NT_GROUP_GIVE:
        if (groups->giving != 0)
            return false;
        groups->own[group / 64] &= ~bit;
        groups->giving = group + 1;
        begin_looking(tcp);
        return true;
    case NT_GROUP_SETTLE:
        return nt_tcp_emit_group(tcp, group, NT_GROUP_SETTLED);
    case NT_GROUP_TAKE:
        groups->own[group / 64] |= bit;
        return true;
    default:
        return false;
    }
}

void nt_tcp_groups_heard(struct nt_tcp_engine *tcp, const struct nt_desc *desc)
{
    bool sensible = tcp->groups_move && desc->tag < NT_STEERING_GROUPS &&
                    desc->inline_len <= NT_DESC_INLINE_BYTES;
    if (sensible && desc->kind == NT_DESC_GROUPS)
        take_all(tcp, desc);
    else if (!sensible || !take_word(tcp, desc->tag, desc->arg))
        nt_tcp_count(tcp, NT_TCP_BAD_DESCRIPTORS);
    nt_txn_crash_point(&tcp->txn);
}

// -- What it is told ---------------------------------------------------------------------------

// While SYN cookies are sent, connections are under way that are nowhere but in the peers' heads:
// no group should move then.
static void tell_stolen(struct nt_tcp_engine *tcp)
{
    const uint64_t *counter = tcp->status->counter;
    struct nt_stolen stolen = {{0}};
    uint64_t any = 0;
    for (uint32_t lane = 0; lane < NT_STEERING_LANES_MAX; lane++) {
        uint64_t more = counter[NT_TCP_STOLEN_BY_0 + lane] - tcp->stolen_told[lane];
        stolen.by_lane[lane] = (uint32_t)nt_min_u64(more, UINT32_MAX);
        any |= more;
        tcp->stolen_told[lane] = counter[NT_TCP_STOLEN_BY_0 + lane];
    }
    bool flooded = counter[NT_TCP_COOKIES_SENT] != tcp->cookies_then;
    tcp->cookies_then = counter[NT_TCP_COOKIES_SENT];
    if (any != 0 && !flooded && tcp->stolen_ns != 0)
        (void)nt_tcp_emit_stolen(tcp, &stolen); // a hint: what finds no room is forgotten
    tcp->stolen_ns = tcp->now_ns + STOLEN_NS;
}

uint32_t nt_tcp_groups_step(struct nt_tcp_engine *tcp)
{
    struct nt_tcp_groups *groups = &tcp->globals->groups;
    if (groups->asked == 0 && nt_tcp_emit_group(tcp, 0, NT_GROUP_WHOSE)) {
        touch(tcp);
        groups->asked = 1;
    }
    if (tcp->now_ns >= tcp->stolen_ns)
        tell_stolen(tcp);
    return groups->looking != 0 ? look_on(tcp) : 0;
}

bool nt_tcp_groups_looking(const struct nt_tcp_engine *tcp)
{
    return tcp->globals->groups.looking != 0;
}
