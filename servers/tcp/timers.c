// timers.c: timer buckets of one millisecond (mTCP §4.2.2).
//
// A TCB has several deadlines but one place in the buckets: that of its earliest. Putting a
// deadline off costs nothing: the TCB is looked at when its old bucket comes, finds nothing due and
// moves on. Only a deadline earlier than its place moves it. A deadline further away than the
// buckets reach waits in the last one.
#include "servers/tcp/context.h"

static uint32_t earliest(const struct nt_tcb *t)
{
    const uint32_t deadlines[3] = {t->rtx_deadline_ms, t->ack_deadline_ms, t->idle_deadline_ms};
    uint32_t first = 0;
    for (int i = 0; i < 3; i++)
        if (deadlines[i] != 0 && (first == 0 || nt_seq_lt(deadlines[i], first)))
            first = deadlines[i];
    return first;
}

static void insert(struct nt_tcp_engine *tcp, uint32_t index, uint32_t ms)
{
    struct nt_tcp_timers *timers = &tcp->timers;
    if (nt_seq_lt(ms, timers->now_ms))
        ms = timers->now_ms;
    if (ms - timers->now_ms >= NT_TCP_BUCKETS)
        ms = timers->now_ms + NT_TCP_BUCKETS - 1;
    if (ms == 0)
        ms = 1;
    uint32_t bucket = ms & (NT_TCP_BUCKETS - 1);
    struct nt_tcp_private *own = &tcp->private[index];
    own->timer_ms = ms;
    own->timer_prev = NT_NO_INDEX;
    own->timer_next = timers->bucket[bucket];
    if (own->timer_next != NT_NO_INDEX)
        tcp->private[own->timer_next].timer_prev = index;
    timers->bucket[bucket] = index;
    timers->used[bucket / 64] |= UINT64_C(1) << bucket % 64;
}

static void take_out(struct nt_tcp_engine *tcp, uint32_t index)
{
    struct nt_tcp_timers *timers = &tcp->timers;
    struct nt_tcp_private *own = &tcp->private[index];
    uint32_t bucket = own->timer_ms & (NT_TCP_BUCKETS - 1);
    if (own->timer_next != NT_NO_INDEX)
        tcp->private[own->timer_next].timer_prev = own->timer_prev;
    if (own->timer_prev != NT_NO_INDEX)
        tcp->private[own->timer_prev].timer_next = own->timer_next;
    else
        timers->bucket[bucket] = own->timer_next;
    if (timers->bucket[bucket] == NT_NO_INDEX)
        timers->used[bucket / 64] &= ~(UINT64_C(1) << bucket % 64);
    own->timer_ms = 0;
}

void nt_tcp_timer_arm(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t index = nt_tcb_index(tcp, t);
    struct nt_tcp_private *own = &tcp->private[index];
    uint32_t deadline = earliest(t);
    if (deadline == 0 || !tcp->timers.started)
        return; // nt_tcp_timers_start() arms what was set before
    if (own->timer_ms != 0) {
        if (nt_seq_le(own->timer_ms, deadline))
            return;
        take_out(tcp, index);
    }
    insert(tcp, index, deadline);
}

void nt_tcp_timer_forget(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t index = nt_tcb_index(tcp, t);
    if (tcp->private[index].timer_ms != 0)
        take_out(tcp, index);
}

void nt_tcp_timers_start(struct nt_tcp_engine *tcp)
{
    tcp->timers.now_ms = tcp->now_ms;
    tcp->timers.run_tick = tcp->now_ns / NT_TCP_TICK_NS;
    tcp->timers.started = true;
    for (uint32_t i = 0; i < tcp->config.shape.tcbs; i++)
        if (tcp->tcb[i].state != NT_TCP_FREE)
            nt_tcp_timer_arm(tcp, &tcp->tcb[i]);
}

// The first used bucket at or after `from`, as a distance; NT_TCP_BUCKETS if there is none.
static uint32_t distance_to_used(const struct nt_tcp_timers *timers, uint32_t from)
{
    uint32_t start = from & (NT_TCP_BUCKETS - 1);
    for (uint32_t passed = 0; passed < NT_TCP_BUCKETS + 64;) {
        uint32_t bucket = (start + passed) & (NT_TCP_BUCKETS - 1);
        uint64_t word = timers->used[bucket / 64] >> bucket % 64;
        if (word != 0) {
            uint32_t found = passed + (uint32_t)__builtin_ctzll(word);
            return nt_min_u32(found, NT_TCP_BUCKETS);
        }
        passed += 64 - bucket % 64;
    }
    return NT_TCP_BUCKETS;
}

// Does what is due in the bucket of timers->now_ms; false if the budget ran out first.
static bool run_bucket(struct nt_tcp_engine *tcp, uint32_t budget, uint32_t *done)
{
    uint32_t bucket = tcp->timers.now_ms & (NT_TCP_BUCKETS - 1);
    while (tcp->timers.bucket[bucket] != NT_NO_INDEX) {
        if (*done == budget)
            return false;
        uint32_t index = tcp->timers.bucket[bucket];
        struct nt_tcb *t = &tcp->tcb[index];
        take_out(tcp, index);
        nt_tcp_timeout(tcp, t);
        // Whatever is armed now comes in a later bucket.
        if (t->state != NT_TCP_FREE && tcp->private[index].timer_ms == 0) {
            uint32_t deadline = earliest(t);
            if (deadline != 0)
                insert(tcp, index, nt_seq_max(deadline, tcp->timers.now_ms + 1));
        } else if (tcp->private[index].timer_ms == tcp->timers.now_ms) {
            take_out(tcp, index);
            insert(tcp, index, tcp->timers.now_ms + 1);
        }
        ++*done;
        nt_tcp_commit_if_full(tcp);
    }
    return true;
}

uint32_t nt_tcp_timers_run(struct nt_tcp_engine *tcp, uint32_t budget)
{
    struct nt_tcp_timers *timers = &tcp->timers;
    uint32_t done = 0;
    // Nobody had any business here for 24 days: the difference has no sign any more (RFC 1982
    // §3.2).
    uint64_t tick = tcp->now_ns / NT_TCP_TICK_NS;
    if (tick - timers->run_tick > INT32_MAX)
        timers->now_ms = tcp->now_ms;
    timers->run_tick = tick;
    while (nt_seq_le(timers->now_ms, tcp->now_ms)) {
        uint32_t skip = distance_to_used(timers, timers->now_ms);
        uint32_t behind = tcp->now_ms - timers->now_ms;
        if (skip > behind) {
            timers->now_ms = tcp->now_ms + 1; // nothing is due
            break;
        }
        timers->now_ms += skip;
        if (!run_bucket(tcp, budget, &done))
            break;
        timers->now_ms++;
    }
    return done;
}

uint64_t nt_tcp_timers_next_ns(const struct nt_tcp_engine *tcp)
{
    uint32_t skip = distance_to_used(&tcp->timers, tcp->timers.now_ms);
    if (skip == NT_TCP_BUCKETS)
        return NT_NEVER;
    // now_ms counts the same milliseconds as now_ns: the difference is exact.
    int32_t ahead = (int32_t)(tcp->timers.now_ms + skip - tcp->now_ms);
    uint64_t tick = tcp->now_ns / NT_TCP_TICK_NS;
    return (ahead > 0 ? tick + (uint32_t)ahead : tick) * NT_TCP_TICK_NS;
}
