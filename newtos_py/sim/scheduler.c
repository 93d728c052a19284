// scheduler.c: who runs next, for how long, and who dies; what time it is. The theory stands in
// world.h. Why C: it makes a decision for every step of every engine.
#include "newtos_py/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WEIGHT_ONE_IN = 4,         // nodes that are chosen seldom for a while
    WEIGHT_MAX = 16,           // ... so many times as seldom as others
    WEIGHTS_LAST_STEPS = 2048, // how long, at most
    STAYS_AWAKE_ONE_IN = 3,    // an idle node polls once more instead of going to sleep
    DIES_UNRUNG_ONE_IN = 8,    // deaths after the step's last store, before its bells are rung
    LATE_NS = 60000,           // a sleeper's timer is late by at most so much (timer slack)
    POINTS_MIN = 8,            // crash points that a step is taken to have at least
    SETTLE_ROUNDS = 10000,
};

// -- Chance --------------------------------------------------------------------------------------

// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
uint64_t nt_world_draw(struct nt_world *world)
{
    uint64_t z = world->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t nt_world_draw_below(struct nt_world *world, uint64_t bound)
{
    return nt_world_draw(world) % bound;
}

bool nt_world_chance(struct nt_world *world, uint32_t ppm)
{
    return ppm != 0 && nt_world_draw_below(world, 1000000) < ppm;
}

static bool one_in(struct nt_world *world, uint32_t n)
{
    return nt_world_draw_below(world, n) == 0;
}

// -- Making and ending ---------------------------------------------------------------------------

struct nt_world *nt_world_new(const struct nt_world_tuning *tuning, uint32_t trace_level)
{
    struct nt_world *world = calloc(1, sizeof(*world));
    nt_assert(world != NULL);
    world->tuning = *tuning;
    world->random = tuning->seed;
    world->now_ns = tuning->start_ns;
    world->trace.level = trace_level;
    world->trace.start_ns = tuning->start_ns;
    return world;
}

void nt_world_free(struct nt_world *world)
{
    nt_world_free_hosts(world);
    nt_world_unmap_all(&world->memory);
    nt_world_trace_free(&world->trace);
    free(world);
}

void nt_world_fail(struct nt_world *world, const char *name, const char *what)
{
    if (world->why[0] == '\0') // the first failure is the cause
        (void)snprintf(world->why, sizeof(world->why), "%s: %s", name, what);
    NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_EVENTS, world->now_ns, "%s FAILED: %s", name,
                   what);
}

// -- Waking --------------------------------------------------------------------------------------

static void wake(struct nt_world_node *node)
{
    if (node->state != NT_WORLD_ASLEEP)
        return; // one that is down starts awake
    node->state = NT_WORLD_AWAKE;
    node->wake_ns = NT_NEVER;
    node->status->sleeping = 0;
}

void nt_world_wake(struct nt_world *world, uint32_t node) { wake(world->node[node]); }

void nt_world_sleep(struct nt_world *world, uint32_t node, uint64_t deadline_ns)
{
    world->node[node]->state = NT_WORLD_ASLEEP;
    world->node[node]->wake_ns = deadline_ns;
    world->node[node]->status->sleeping = 1;
}

// What nt_bells_ring() does with eventfds: `fd` is a node's number here.
static void ring(struct nt_world *world, struct nt_bells *bells)
{
    for (uint32_t i = 0; i < bells->marked_count; i++) {
        struct nt_bell *bell = &bells->bell[bells->marked[i]];
        bell->marked = 0;
        if (bell->sleeping != NULL && *bell->sleeping != 0)
            wake(world->node[bell->fd]);
    }
    bells->marked_count = 0;
}

// What a new generation does once: nt_bells_ring_all().
static void ring_all(struct nt_world *world, struct nt_bells *bells)
{
    ring(world, bells);
    for (uint32_t i = 0; i < NT_BELLS_MAX; i++)
        if (bells->bell[i].sleeping != NULL)
            wake(world->node[bells->bell[i].fd]);
}

// -- One step ------------------------------------------------------------------------------------

static void trace_wires(struct nt_world_node *node)
{
    if (node->world->trace.level != NT_WORLD_TRACE_OFF && node->role == NT_WORLD_WIRE)
        nt_world_trace_wire(node->world, node->host->driver[node->number]);
}

static int audit(struct nt_world_node *node)
{
    char why[NT_ENGINE_AUDIT_BYTES] = "";
    if (node->engine == NULL || node->engine->audit(node->engine->context, why, sizeof(why)) == 0)
        return 0;
    nt_world_fail(node->world, node->name, why);
    return -1;
}

static void jump_out(void *world)
{
    longjmp(((struct nt_world *)world)->crash, 1); // NOLINT: a death has no way back
}

static bool loses_arena(struct nt_world_node *node)
{
    bool may = node->role == NT_WORLD_WIRE || node->role == NT_WORLD_IP;
    return may && nt_world_chance(node->world, node->world->tuning.cold_ppm);
}

// The engine is gone, its memory stays; all of it, or all but its arena.
static void die(struct nt_world_node *node, const char *how)
{
    struct nt_world *world = node->world;
    if (loses_arena(node)) {
        memset(node->arena.base, 0, node->arena.bytes);
        how = "dies and loses its arena";
    }
    NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_EVENTS, world->now_ns, "%s %s", node->name, how);
    trace_wires(node);
    node->kind->free(node);
    node->engine = NULL;
    node->crashes++;
    if (node->crashes_left != UINT32_MAX)
        node->crashes_left--;
    node->state = NT_WORLD_DOWN;
    node->wake_ns = world->now_ns + nt_world_draw_below(world, world->tuning.restart_ns + 1);
}

void nt_world_kill(struct nt_world *world, uint32_t node, bool cold)
{
    struct nt_world_node *victim = world->node[node];
    if (victim->engine == NULL)
        return;
    die(victim, cold ? "is killed and loses its arena" : "is killed");
    if (cold)
        memset(victim->arena.base, 0, victim->arena.bytes);
}

void nt_world_stall(struct nt_world *world, uint32_t node, uint64_t ns)
{
    world->node[node]->stalled_ns = world->now_ns + ns;
}

void nt_world_take_down(struct nt_world *world, uint32_t node)
{
    nt_world_kill(world, node, false);
    world->node[node]->wake_ns = NT_NEVER;
}

void nt_world_bring_back(struct nt_world *world, uint32_t node)
{
    if (world->node[node]->state == NT_WORLD_DOWN)
        world->node[node]->wake_ns = world->now_ns;
}

static void restart(struct nt_world_node *node)
{
    struct nt_world *world = node->world;
    if (nt_world_node_make(node) != 0)
        return;
    NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_EVENTS, world->now_ns,
                   "%s is back, generation %" PRIu32, node->name, node->status->generation);
    node->safe_ns = world->now_ns + world->tuning.life_ns;
    trace_wires(node);
    ring_all(world, node->engine->bells);
    (void)audit(node);
}

// Arms a crash point that this step may come to.
static bool arm(struct nt_world_node *node)
{
    struct nt_world *world = node->world;
    if (world->calm || world->now_ns < node->safe_ns || node->crashes_left == 0 ||
        !nt_world_chance(world, world->tuning.crash_ppm[node->role]))
        return false;
    uint64_t points = node->points < POINTS_MIN ? POINTS_MIN : node->points;
    node->kind->crash_at(node, 1 + nt_world_draw_below(world, points + points / 4), jump_out,
                         world);
    return true;
}

static void go_to_sleep(struct nt_world_node *node)
{
    struct nt_engine *engine = node->engine;
    node->status->sleeping = 1;
    uint64_t deadline_ns = engine->next_deadline(engine->context);
    if (deadline_ns <= node->world->now_ns || engine->has_work(engine->context)) {
        node->status->sleeping = 0;
        return;
    }
    node->state = NT_WORLD_ASLEEP;
    node->wake_ns = deadline_ns;
}

// A step that came to its end.
static void after_step(struct nt_world_node *node, uint32_t work, bool armed)
{
    struct nt_world *world = node->world;
    NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_STEPS, world->now_ns, "%s steps: %" PRIu32,
                   node->name, work);
    if (armed && work != 0 && one_in(world, DIES_UNRUNG_ONE_IN)) {
        die(node, "dies before it rings");
        return;
    }
    if (armed)
        node->kind->crash_at(node, 0, NULL, NULL);
    ring(world, node->engine->bells);
    trace_wires(node);
    if (world->tuning.audit_every != 0 && work != 0 && node->steps % world->tuning.audit_every == 0)
        (void)audit(node);
    if (work == 0 && !one_in(world, STAYS_AWAKE_ONE_IN))
        go_to_sleep(node);
    else if (!world->calm && nt_world_chance(world, world->tuning.stall_ppm))
        node->stalled_ns = world->now_ns + nt_world_draw_below(world, world->tuning.stall_ns + 1);
}

static void step(struct nt_world_node *node)
{
    struct nt_world *world = node->world;
    uint32_t budget = 1 + (uint32_t)nt_world_draw_below(world, world->tuning.budget_max);
    uint64_t before = node->kind->crash_points(node);
    bool armed = arm(node);
    node->steps++;
    if (setjmp(world->crash) != 0) {
        die(node, "dies");
        return;
    }
    uint32_t work = node->engine->step(node->engine->context, world->now_ns, budget);
    if (work != 0)
        node->points = node->kind->crash_points(node) - before;
    after_step(node, work, armed);
}

// -- Who is next ---------------------------------------------------------------------------------

// For a while some are seldom chosen: their rings fill up, and what they should have done is late.
static void draw_weights(struct nt_world *world)
{
    if (world->steps < world->next_weights)
        return;
    world->next_weights = world->steps + 1 + nt_world_draw_below(world, WEIGHTS_LAST_STEPS);
    for (uint32_t i = 0; i < world->node_count; i++)
        world->node[i]->weight = one_in(world, WEIGHT_ONE_IN) ? 1 : WEIGHT_MAX;
}

// Wakes and brings back those whose time has come.
static void pass_deadlines(struct nt_world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct nt_world_node *node = world->node[i];
        if (node->wake_ns > world->now_ns)
            continue;
        if (node->state == NT_WORLD_ASLEEP)
            wake(node);
        else if (node->state == NT_WORLD_DOWN)
            restart(node);
    }
}

static struct nt_world_node *choose(struct nt_world *world)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < world->node_count; i++)
        if (world->node[i]->state == NT_WORLD_AWAKE && world->node[i]->stalled_ns <= world->now_ns)
            total += world->node[i]->weight;
    if (total == 0)
        return NULL;
    uint64_t chosen = nt_world_draw_below(world, total);
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct nt_world_node *node = world->node[i];
        if (node->state != NT_WORLD_AWAKE || node->stalled_ns > world->now_ns)
            continue;
        if (chosen < node->weight)
            return node;
        chosen -= node->weight;
    }
    return NULL;
}

// When something happens if nobody can run now; NT_NEVER: never.
static uint64_t next_event(const struct nt_world *world)
{
    uint64_t next_ns = NT_NEVER;
    for (uint32_t i = 0; i < world->node_count; i++) {
        const struct nt_world_node *node = world->node[i];
        uint64_t at_ns = node->state == NT_WORLD_AWAKE ? node->stalled_ns : node->wake_ns;
        if (node->state != NT_WORLD_GONE)
            next_ns = nt_min_u64(next_ns, at_ns);
    }
    return next_ns;
}

// Nobody can run: lets time pass. What to stop for, or 0.
static uint32_t let_time_pass(struct nt_world *world, uint64_t until_ns)
{
    uint64_t next_ns = next_event(world);
    if (next_ns == NT_NEVER)
        return NT_WORLD_STOP_IDLE;
    if (next_ns > until_ns) {
        world->now_ns = until_ns;
        return NT_WORLD_STOP_TIME;
    }
    if (next_ns > world->now_ns)
        world->now_ns = next_ns + (one_in(world, 2) ? nt_world_draw_below(world, LATE_NS) : 0);
    return 0;
}

enum nt_world_stop nt_world_run(struct nt_world *world, uint64_t until_ns, uint64_t steps)
{
    uint64_t last = world->steps + steps;
    for (;;) {
        if (world->why[0] != '\0')
            return NT_WORLD_STOP_FAILED;
        if (world->now_ns >= until_ns)
            return NT_WORLD_STOP_TIME;
        if (world->steps >= last)
            return NT_WORLD_STOP_STEPS;
        draw_weights(world);
        pass_deadlines(world);
        struct nt_world_node *node = choose(world);
        if (node == NULL) {
            uint32_t stop = let_time_pass(world, until_ns);
            if (stop != 0)
                return stop;
            continue;
        }
        world->steps++;
        world->now_ns += 1 + nt_world_draw_below(world, world->tuning.step_ns);
        if (node->kind == NULL) {
            world->stopped_at = node->index;
            return NT_WORLD_STOP_NODE;
        }
        step(node);
    }
}

// -- At the end ----------------------------------------------------------------------------------

void nt_world_calm(struct nt_world *world)
{
    world->calm = true;
    for (uint32_t i = 0; i < world->node_count; i++)
        world->node[i]->stalled_ns = 0;
}

int nt_world_audit(struct nt_world *world)
{
    for (uint32_t i = 0; i < world->node_count; i++)
        if (audit(world->node[i]) != 0)
            return -1;
    return 0;
}

void nt_world_settle(struct nt_world *world)
{
    for (uint32_t round = 0; round < SETTLE_ROUNDS; round++) {
        uint32_t work = 0;
        for (uint32_t i = 0; i < world->node_count; i++) {
            struct nt_world_node *node = world->node[i];
            if (node->engine == NULL || !node->engine->has_work(node->engine->context))
                continue;
            work += node->engine->step(node->engine->context, world->now_ns, NT_ENGINE_BUDGET);
            ring(world, node->engine->bells);
        }
        if (work == 0)
            return;
    }
    nt_world_fail(world, "simulation", "the engines do not come to rest");
}

// -- Looking -------------------------------------------------------------------------------------

uint32_t nt_world_stopped_at(const struct nt_world *world) { return world->stopped_at; }
const char *nt_world_why(const struct nt_world *world) { return world->why; }
uint64_t nt_world_now(const struct nt_world *world) { return world->now_ns; }
uint64_t nt_world_steps(const struct nt_world *world) { return world->steps; }
void nt_world_spend(struct nt_world *world, uint64_t ns) { world->now_ns += ns; }
uint32_t nt_world_nodes(const struct nt_world *world) { return world->node_count; }

const struct nt_world_node *nt_world_node_at(const struct nt_world *world, uint32_t node)
{
    return world->node[node];
}

uint64_t nt_world_counter(const struct nt_world *world, uint32_t node, uint32_t counter)
{
    return world->node[node]->status->counter[counter];
}

void nt_world_note(struct nt_world *world, const char *line)
{
    NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_EVENTS, world->now_ns, "%s", line);
}

const char *nt_world_trace_text(const struct nt_world *world) { return world->trace.text; }
uint64_t nt_world_trace_bytes(const struct nt_world *world) { return world->trace.bytes; }
