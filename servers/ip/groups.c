#include "servers/ip/groups.h"

enum {
    INTERVAL_MS = 100, // Affinity-Accept §3.3.2
    // Exact matches in use beyond which nothing moves: a group may bring some more.
    EXACTS_MOST = NT_IP_EXACTS / 4 * 3,
    CHUNK_GROUPS = 1024, // a GROUPS message: 128 bytes
    CHUNKS = NT_STEERING_GROUPS / CHUNK_GROUPS,
};

static bool in_use(const struct nt_ip *ip)
{
    return ip->lanes > 1 && ip->steering.config.kind == NT_STEERING_FLOW_GROUPS;
}

// -- The table -------------------------------------------------------------------------------

// Where the cards of drivers look (net/nic.h).
static void show(struct nt_ip *ip, uint32_t group)
{
    uint8_t *both = &ip->status->group[group / 2];
    uint8_t lane = ip->steering.group[group];
    uint32_t low = group % 2 == 0 ? lane : *both & 15u;
    uint32_t high = group % 2 == 0 ? *both >> 4 : lane;
    nt_store_relaxed(both, (uint8_t)(low | high << 4));
}

static void set_group(struct nt_ip *ip, uint32_t group, uint32_t lane)
{
    uint8_t *entry = &ip->state->group[group];
    nt_txn_touch(&ip->txn, entry, sizeof *entry);
    *entry = (uint8_t)lane;
    ip->steering.group[group] = (uint8_t)lane;
    show(ip, group);
}

static void set_move(struct nt_ip *ip, uint32_t from, enum nt_ip_move_state state)
{
    struct nt_ip_move *move = &ip->state->move[from];
    NT_IP_TOUCH(ip, move);
    ip->moves -= move->state != NT_IP_MOVE_NONE;
    ip->moves += state != NT_IP_MOVE_NONE;
    ip->settling -= move->state == NT_IP_MOVE_SETTLING;
    ip->settling += state == NT_IP_MOVE_SETTLING;
    move->state = (uint8_t)state;
    nt_txn_crash_point(&ip->txn);
}

static void tell_all(struct nt_ip *ip, uint32_t lane)
{
    struct nt_ip_untold *untold = &ip->state->untold[lane];
    NT_IP_TOUCH(ip, untold);
    ip->moves += untold->groups == 0;
    untold->groups = (1u << CHUNKS) - 1;
}

void nt_ip_groups_recover(struct nt_ip *ip, bool recovered)
{
    if (!in_use(ip))
        return;
    for (uint32_t i = 0; i < NT_STEERING_GROUPS; i++) {
        if (!recovered || ip->state->group[i] >= ip->lanes)
            ip->state->group[i] = ip->steering.group[i];
        ip->steering.group[i] = ip->state->group[i];
        show(ip, i);
    }
    for (uint32_t lane = 0; lane < ip->lanes; lane++) {
        const struct nt_ip_move *move = &ip->state->move[lane];
        ip->moves += move->state != NT_IP_MOVE_NONE;
        ip->settling += move->state == NT_IP_MOVE_SETTLING;
        if (!recovered) // not a change yet, but how it begins
            ip->state->untold[lane].groups = (1u << CHUNKS) - 1;
        ip->moves += ip->state->untold[lane].groups != 0;
    }
}

uint32_t nt_ip_groups_ask(const struct nt_ip *ip, const struct nt_flow *arriving, uint32_t home)
{
    if (NT_LIKELY(ip->settling == 0))
        return NT_IP_LANES;
    uint32_t group = nt_steering_flow_group(arriving);
    for (uint32_t from = 0; from < ip->lanes; from++) {
        const struct nt_ip_move *move = &ip->state->move[from];
        if (move->state == NT_IP_MOVE_SETTLING && move->group == group && from != home)
            return from;
    }
    return NT_IP_LANES;
}

// -- Choosing --------------------------------------------------------------------------------

void nt_ip_groups_stolen(struct nt_ip *ip, uint32_t victim, const struct nt_stolen *stolen)
{
    if (!in_use(ip))
        return;
    for (uint32_t thief = 0; thief < ip->lanes; thief++)
        if (thief != victim)
            ip->stolen[victim][thief] += nt_min_u32(stolen->by_lane[thief], UINT16_MAX);
    if (ip->migrate_ns == 0)
        ip->migrate_ns = ip->now_ns + INTERVAL_MS * NT_IP_MS;
    nt_ip_timer(ip, ip->migrate_ns);
}

// A lane that others steal from is busy, and takes no group (§3.3.2).
static bool is_victim(const struct nt_ip *ip, uint32_t lane)
{
    uint32_t taken = 0;
    for (uint32_t thief = 0; thief < ip->lanes; thief++)
        taken |= ip->stolen[lane][thief];
    return taken != 0;
}

static uint32_t victim_of(const struct nt_ip *ip, uint32_t thief)
{
    uint32_t found = NT_IP_LANES, most = 0;
    for (uint32_t lane = 0; lane < ip->lanes; lane++)
        if (ip->stolen[lane][thief] > most) {
            most = ip->stolen[lane][thief];
            found = lane;
        }
    return found;
}

static void move_one(struct nt_ip *ip, uint32_t from, uint32_t to)
{
    uint32_t group = NT_STEERING_GROUPS;
    for (uint32_t i = 0; i < NT_STEERING_GROUPS && group == NT_STEERING_GROUPS; i++) {
        uint32_t next = (ip->next_group + i) % NT_STEERING_GROUPS;
        if (ip->state->group[next] == from)
            group = next;
    }
    if (group == NT_STEERING_GROUPS) // it has none left
        return;
    ip->next_group = group + 1;
    struct nt_ip_move *move = &ip->state->move[from];
    NT_IP_TOUCH(ip, move);
    move->group = (uint16_t)group;
    move->to = (uint8_t)to;
    set_move(ip, from, NT_IP_MOVE_CHOSEN);
}

void nt_ip_groups_timers(struct nt_ip *ip)
{
    if (ip->migrate_ns == 0)
        return;
    if (ip->now_ns < ip->migrate_ns) {
        nt_ip_timer(ip, ip->migrate_ns);
        return;
    }
    bool room = ip->exact_count < EXACTS_MOST && ip->spilled == 0;
    for (uint32_t thief = 0; thief < ip->lanes && room; thief++) {
        uint32_t victim = is_victim(ip, thief) ? (uint32_t)NT_IP_LANES : victim_of(ip, thief);
        if (victim != NT_IP_LANES && ip->state->move[victim].state == NT_IP_MOVE_NONE)
            move_one(ip, victim, thief);
    }
    memset(ip->stolen, 0, sizeof ip->stolen);
    ip->migrate_ns = 0;
}

// -- What is said ----------------------------------------------------------------------------

// A message for a lane, whose ring has room; to be pushed.
static struct nt_desc *begin(struct nt_ip *ip, uint32_t lane, enum nt_desc_kind kind, uint32_t tag)
{
    struct nt_producer *out = &ip->upper[lane].out;
    struct nt_desc *desc = nt_producer_slot(out);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = (uint8_t)kind;
    desc->tag = tag;
    desc->check = nt_desc_check(out->tail);
    return desc;
}

static void push(struct nt_ip *ip, uint32_t lane)
{
    nt_producer_advance(&ip->upper[lane].out);
    ip->upper[lane].pushed = true;
    nt_txn_crash_point(&ip->txn);
}

static void say(struct nt_ip *ip, uint32_t lane, uint32_t group, enum nt_group_word word)
{
    begin(ip, lane, NT_DESC_GROUP, group)->arg = word;
    push(ip, lane);
}

static bool has_room(struct nt_ip *ip, uint32_t lane)
{
    return ip->upper[lane].exists && nt_producer_room(&ip->upper[lane].out, 1) != 0;
}

static uint32_t tell_groups(struct nt_ip *ip, uint32_t lane)
{
    struct nt_ip_untold *untold = &ip->state->untold[lane];
    uint32_t told = 0;
    for (; untold->groups != 0 && has_room(ip, lane); told++) {
        uint32_t chunk = (uint32_t)__builtin_ctz(untold->groups), first = chunk * CHUNK_GROUPS;
        struct nt_desc *desc = begin(ip, lane, NT_DESC_GROUPS, first);
        memset(desc->data, 0, CHUNK_GROUPS / 8);
        desc->inline_len = CHUNK_GROUPS / 8;
        for (uint32_t i = 0; i < CHUNK_GROUPS; i++)
            if (ip->state->group[first + i] == lane)
                desc->data[i / 8] |= (uint8_t)(1u << i % 8);
        NT_IP_TOUCH(ip, untold);
        untold->groups &= untold->groups - 1;
        ip->moves -= untold->groups == 0;
        push(ip, lane);
    }
    return told;
}

static uint32_t step_move(struct nt_ip *ip, uint32_t from)
{
    const struct nt_ip_move *move = &ip->state->move[from];
    if (move->state == NT_IP_MOVE_CHOSEN && has_room(ip, from)) {
        say(ip, from, move->group, NT_GROUP_GIVE);
        set_move(ip, from, NT_IP_MOVE_GIVING);
        return 1;
    }
    if (move->state == NT_IP_MOVE_GIVEN && has_room(ip, from) && has_room(ip, move->to)) {
        set_group(ip, move->group, move->to);
        say(ip, move->to, move->group, NT_GROUP_TAKE);
        say(ip, from, move->group, NT_GROUP_SETTLE);
        set_move(ip, from, NT_IP_MOVE_SETTLING);
        nt_ip_count(ip, NT_IP_COUNT_GROUPS_MOVED);
        return 1;
    }
    return 0;
}

uint32_t nt_ip_groups_step(struct nt_ip *ip)
{
    uint32_t done = 0;
    for (uint32_t lane = 0; lane < ip->lanes; lane++)
        done += step_move(ip, lane) + tell_groups(ip, lane);
    return done;
}

// It began anew: whatever it was to give, it does not know of.
static void whose(struct nt_ip *ip, uint32_t lane)
{
    if (ip->state->move[lane].state != NT_IP_MOVE_NONE)
        set_move(ip, lane, NT_IP_MOVE_NONE);
    tell_all(ip, lane);
}

void nt_ip_groups_word(struct nt_ip *ip, uint32_t lane, uint32_t group, uint32_t word)
{
    const struct nt_ip_move *move = &ip->state->move[lane];
    if (!in_use(ip))
        return;
    if (word == NT_GROUP_WHOSE)
        whose(ip, lane);
    else if (word == NT_GROUP_GIVEN && move->state == NT_IP_MOVE_GIVING && move->group == group)
        set_move(ip, lane, NT_IP_MOVE_GIVEN);
    else if (word == NT_GROUP_SETTLED && move->state == NT_IP_MOVE_SETTLING && move->group == group)
        set_move(ip, lane, NT_IP_MOVE_NONE);
    else
        nt_ip_count(ip, NT_IP_COUNT_BAD_DESCRIPTOR);
}
