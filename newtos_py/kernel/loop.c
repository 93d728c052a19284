// loop.c: the hot loop of a server process. The ladder is described in loop.h.
#include "newtos_py/kernel/loop.h"

#include "newtos_py/kernel/clock.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    // A yield that comes back sooner ran nobody else: switching to another process and back costs
    // about 2 us on one core, the system call alone 0.2 us (architecture §6).
    EMPTY_YIELD_NS = 1000,
    // One that comes back later than this gave the core to somebody who is busy, not to a neighbour
    // with a slice of 100 us: who sleeps is woken sooner than who yields (17-29 us against 2.8 ms).
    LOST_YIELD_NS = 1000000,
    // Somebody busy is likely still there: yields in vain use up this process's share of the core,
    // and then it waits for the busy one when there is work. With 20 yields instead of 4, such a
    // machine did a third of the short connections (docs/performance.md).
    LOST_MEMORY_NS = 50000000,
    YIELDS_BESIDE_BUSY = 4,
    WAITED_FDS = 2 + NT_LOOP_ENGINES,
    STATUS_PAGES = 1 + NT_LOOP_ENGINES,
};

// The distinct status pages of the process: the loop's own and those of fused engines.
struct pages {
    struct nt_status *page[STATUS_PAGES];
    uint32_t count;
};

static void add_page(struct pages *pages, struct nt_status *page)
{
    for (uint32_t i = 0; i < pages->count; i++)
        if (pages->page[i] == page)
            return;
    if (page != NULL)
        pages->page[pages->count++] = page;
}

static struct pages collect_pages(const struct nt_loop *loop)
{
    struct pages pages = {.count = 0};
    add_page(&pages, loop->status);
    for (uint32_t i = 0; i < loop->engine_count; i++)
        add_page(&pages, loop->engine[i]->status);
    return pages;
}

static void set_sleeping(const struct pages *pages, uint32_t sleeping)
{
    for (uint32_t i = 0; i < pages->count; i++)
        nt_store_relaxed(&pages->page[i]->sleeping, sleeping);
}

static void count(const struct pages *pages, size_t field)
{
    for (uint32_t i = 0; i < pages->count; i++) {
        uint64_t *counter = (void *)((uint8_t *)pages->page[i] + field);
        nt_store_relaxed(counter, *counter + 1);
    }
}
#define COUNT(pages, field) count((pages), offsetof(struct nt_status, field))

static uint32_t step_all(struct nt_loop *loop, uint64_t now_ns)
{
    uint32_t work = 0;
    for (uint32_t i = 0; i < loop->engine_count; i++) {
        struct nt_engine *engine = loop->engine[i];
        work += engine->step(engine->context, now_ns, loop->tunables.budget);
        // After each step, not after all: the neighbour can start while the next engine works.
        if (engine->bells != NULL) {
            uint32_t rung = nt_bells_ring(engine->bells);
            if (rung != 0 && engine->status != NULL)
                nt_store_relaxed(&engine->status->wakes_sent, engine->status->wakes_sent + rung);
        }
    }
    return work;
}

static bool any_has_work(const struct nt_loop *loop)
{
    for (uint32_t i = 0; i < loop->engine_count; i++)
        if (loop->engine[i]->has_work(loop->engine[i]->context))
            return true;
    return false;
}

static uint64_t earliest_deadline(const struct nt_loop *loop)
{
    uint64_t earliest = NT_NEVER;
    for (uint32_t i = 0; i < loop->engine_count; i++)
        earliest = nt_min_u64(earliest, loop->engine[i]->next_deadline(loop->engine[i]->context));
    return earliest;
}

static bool control_readable(const struct nt_loop *loop)
{
    struct pollfd control = {.fd = loop->control_fd, .events = POLLIN};
    return poll(&control, 1, 0) > 0;
}

// Blocks until a doorbell, a device, the control descriptor or the deadline. True if the control
// descriptor wants to be read.
static bool block(const struct nt_loop *loop, uint64_t now_ns, uint64_t deadline_ns)
{
    struct pollfd fd[WAITED_FDS] = {
        {.fd = loop->doorbell_fd, .events = POLLIN},
        {.fd = loop->control_fd, .events = POLLIN}, // -1 is passed over
    };
    nfds_t fds = 2;
    for (uint32_t i = 0; i < loop->engine_count; i++)
        if (loop->engine[i]->device_fd >= 0)
            fd[fds++] = (struct pollfd){.fd = loop->engine[i]->device_fd, .events = POLLIN};

    struct timespec timeout;
    if (deadline_ns != NT_NEVER) {
        timeout.tv_sec = (time_t)((deadline_ns - now_ns) / 1000000000u);
        timeout.tv_nsec = (long)((deadline_ns - now_ns) % 1000000000u);
    }
    int ready = ppoll(fd, fds, deadline_ns != NT_NEVER ? &timeout : NULL, NULL);
    if (ready <= 0)
        return false; // the deadline, or a signal: the loop looks at `stop`
    if (fd[0].revents != 0) {
        uint64_t rings;
        ssize_t drained = read(loop->doorbell_fd, &rings, sizeof(rings));
        (void)drained; // EAGAIN: another look already drained it
    }
    return fd[1].revents != 0;
}

// Rung 4. True if the control descriptor wants to be read.
static bool sleep_until_rung(struct nt_loop *loop, const struct pages *pages)
{
    set_sleeping(pages, 1);
    nt_fence(); // pairs with the wakers', between what they published and their look at the flag
    bool control = false;
    uint64_t deadline_ns = earliest_deadline(loop);
    uint64_t now_ns = nt_now_ns();
    if (!loop->stop && deadline_ns > now_ns && !any_has_work(loop)) {
        COUNT(pages, sleeps);
        control = block(loop, now_ns, deadline_ns);
        COUNT(pages, heartbeat);
    }
    set_sleeping(pages, 0);
    return control;
}

// What the loop remembers between turns.
struct turn {
    struct nt_idle idle;
    uint64_t idle_since_ns; // 0: busy
    uint64_t control_looked_ns;
};

// A turn that found work. True if the control descriptor wants to be read.
static bool after_work(struct nt_loop *loop, struct turn *turn, const struct pages *pages,
                       uint64_t now_ns)
{
    COUNT(pages, heartbeat);
    COUNT(pages, steps_with_work);
    turn->idle.used = 0;
    turn->idle_since_ns = 0;
    if (now_ns - turn->control_looked_ns < loop->tunables.control_period_ns)
        return false;
    turn->control_looked_ns = now_ns;
    return control_readable(loop);
}

// A turn that found none. True if the control descriptor wants to be read.
static bool after_nothing(struct nt_loop *loop, struct turn *turn, const struct pages *pages,
                          uint64_t now_ns)
{
    if (turn->idle_since_ns == 0)
        turn->idle_since_ns = now_ns;
    if (nt_idle_rung(&turn->idle, &loop->tunables, turn->idle_since_ns)) {
        // A dedicated core may spin for ever: control is looked at there as under load.
        if (now_ns - turn->control_looked_ns < loop->tunables.control_period_ns)
            return false;
        turn->control_looked_ns = now_ns;
        return control_readable(loop);
    }
    turn->idle_since_ns = 0;
    return sleep_until_rung(loop, pages);
}

int nt_loop_run(struct nt_loop *loop)
{
    nt_assert(loop->engine_count <= NT_LOOP_ENGINES && loop->tunables.budget != 0);
    // A 10 us sleep takes 95 us with the default slack (architecture §6).
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    const struct pages pages = collect_pages(loop);
    struct turn turn = {.idle = {.yields = loop->tunables.yields}};
    set_sleeping(&pages, 0); // a generation that died asleep left it up
    while (!loop->stop) {
        uint64_t now_ns = nt_now_ns();
        bool control = step_all(loop, now_ns) != 0 ? after_work(loop, &turn, &pages, now_ns)
                                                   : after_nothing(loop, &turn, &pages, now_ns);
        if (control)
            return NT_LOOP_CONTROL;
    }
    return NT_LOOP_STOP;
}

bool nt_idle_rung(struct nt_idle *idle, const struct nt_loop_tunables *tunables,
                  uint64_t idle_since_ns)
{
    uint64_t before_ns = nt_now_ns();
    if (tunables->spin_ns != 0 && before_ns - idle_since_ns < tunables->spin_ns) {
        nt_cpu_relax();
        return true;
    }
    // One yield is always tried, to learn when there is somebody to hand over to again.
    uint32_t most = tunables->yields;
    if (before_ns < idle->lost_ns + LOST_MEMORY_NS)
        most = nt_min_u32(most, YIELDS_BESIDE_BUSY);
    uint32_t allowed = nt_min_u32(nt_max_u32(idle->yields, 1), most);
    if (idle->used >= allowed) {
        idle->used = 0;
        return false;
    }
    idle->used++;
    (void)sched_yield();
    uint64_t away_ns = nt_now_ns() - before_ns;
    if (away_ns < EMPTY_YIELD_NS || away_ns > LOST_YIELD_NS) {
        idle->yields = allowed / 2;
        if (away_ns > LOST_YIELD_NS)
            idle->lost_ns = before_ns + away_ns;
        idle->used = 0;
        return false;
    }
    idle->yields = nt_min_u32(allowed + 1, most);
    return true;
}

// Signals --------------------------------------------------------------------------------------

static struct nt_loop *volatile caught_loop;

static void on_stop_signal(int signal_number)
{
    (void)signal_number;
    int saved = errno;
    struct nt_loop *loop = caught_loop;
    if (loop != NULL) {
        loop->stop = 1;
        // A signal between the last look at `stop` and ppoll must not be slept through.
        const uint64_t one = 1;
        ssize_t written = write(loop->doorbell_fd, &one, sizeof(one));
        (void)written;
    }
    errno = saved;
}

int nt_loop_stop_on_signal(struct nt_loop *loop, int signal_number)
{
    caught_loop = loop;
    struct sigaction action = {.sa_handler = loop != NULL ? on_stop_signal : SIG_DFL};
    (void)sigemptyset(&action.sa_mask);
    return sigaction(signal_number, &action, NULL) == 0 ? 0 : -errno;
}
