// blocking.c: see blocking.h.

#include "libc_shim/preload/blocking.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/signals.h"
#include "libc_shim/preload/slab.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>

enum {
    FRUITLESS_BEFORE_YIELD = 64, // architecture §6
    SWEEP_BATCH = 32,
    NS_PER_S = 1000000000,
};

uint64_t nt_deadline(uint64_t timeout_ns)
{
    uint64_t now = nt_now_ns();
    return timeout_ns >= NT_FOREVER - now ? NT_FOREVER : now + timeout_ns;
}

uint64_t nt_deadline_of(const struct timespec *timeout)
{
    if (timeout == NULL || timeout->tv_sec > INT32_MAX)
        return NT_FOREVER;
    return nt_deadline((uint64_t)timeout->tv_sec * NS_PER_S + (uint64_t)timeout->tv_nsec);
}

uint64_t nt_deadline_option(uint64_t timeout_ns)
{
    return timeout_ns == 0 ? NT_FOREVER : nt_deadline(timeout_ns);
}

struct timespec nt_time_left(uint64_t deadline_ns)
{
    uint64_t now = nt_now_ns();
    uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    return (struct timespec){.tv_sec = (time_t)(left / NS_PER_S),
                             .tv_nsec = (long)(left % NS_PER_S)};
}

struct nt_event_queue *nt_thread_queue(struct nt_thread *self)
{
    if (self->queue == NULL)
        self->queue = nt_event_queue_take();
    return self->queue;
}

bool nt_idle_again(struct nt_thread *self)
{
    nt_process_flush(self);
    self->count[NT_COUNT_YIELD]++;
    return nt_idle_rung(&self->idle, &nt_idle_tunables, 0);
}

void nt_block_begin(struct nt_thread *self) { self->depth++; }

void nt_block_end(struct nt_thread *self)
{
    if (--self->depth != 0 && self->bell != NULL)
        nt_event_queue_ring(self->bell);
}

// -- Sleeping, and not coming back -----------------------------------------------------------

// libc's list of buffers that live on the stack: run by longjmp() for each whose frame it leaves
// (on alternate stacks, too), and by the unwinding of a cancelled thread.
void _pthread_cleanup_push(struct _pthread_cleanup_buffer *buffer, void (*routine)(void *),
                           void *arg);
void _pthread_cleanup_pop(struct _pthread_cleanup_buffer *buffer, int execute);

// False: the queue and its flags are the parent's.
static bool lower(struct nt_sleep *sleep)
{
    struct nt_thread *self = sleep->self;
    self->bell = sleep->bell_below;
    if (sleep->forks != nt_thread_forks) {
        self->bell = NULL;
        self->signalled = 0;
        return false;
    }
    if (self->signalled != 0)
        __atomic_sub_fetch(&sleep->queue->signalled, self->signalled, __ATOMIC_SEQ_CST);
    self->signalled = sleep->signalled_below;
    nt_queue_wake(&nt_context, &sleep->queue->queue);
    if (sleep->shared == NULL)
        return true;
    nt_queue_wake(&nt_context, &sleep->shared->queue);
    nt_shared_spread();
    return true;
}

// The thread never returns to the call.
static void never_back(void *arg)
{
    struct nt_sleep *sleep = arg;
    struct nt_thread *self = sleep->self;
    int saved = errno;
    self->critical++;
    if (sleep->queue != NULL) {
        if (lower(sleep))
            nt_watch_end(self, sleep->mark);
        nt_block_end(self);
    }
    sleep->give_up(sleep->held);
    nt_leave(self);
    errno = saved;
}

static void enter(struct nt_sleep *sleep, struct nt_thread *self, struct nt_event_queue *queue)
{
    sleep->self = self;
    sleep->queue = queue;
    sleep->forks = nt_thread_forks;
    _pthread_cleanup_push(&sleep->undo, never_back, sleep);
}

void nt_sleep_enter_kernel(struct nt_sleep *sleep, struct nt_thread *self)
{
    enter(sleep, self, NULL);
}

bool nt_sleep_leave_kernel(struct nt_sleep *sleep)
{
    _pthread_cleanup_pop(&sleep->undo, 0);
    return sleep->forks == nt_thread_forks;
}

bool nt_sleep_enter(struct nt_sleep *sleep, struct nt_thread *self, struct nt_event_queue *queue)
{
    nt_process_flush(self);
    enter(sleep, self, queue);
    sleep->bell_below = self->bell;
    sleep->signalled_below = self->signalled;
    self->signalled = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    self->bell = queue;
    // A socket may become shared while this thread sleeps, if there are others.
    sleep->shared = nt_shared_any() || !__libc_single_threaded ? nt_event_queue_shared() : NULL;
    bool may_block = nt_queue_sleep(&nt_context, &queue->queue);
    if (sleep->shared != NULL && !nt_queue_sleep(&nt_context, &sleep->shared->queue))
        may_block = false;
    self->count[NT_COUNT_BLOCK] += may_block;
    return may_block;
}

bool nt_sleep_leave(struct nt_sleep *sleep)
{
    _pthread_cleanup_pop(&sleep->undo, 0);
    return lower(sleep);
}

void nt_sleep_sweep(struct nt_event_queue *queue)
{
    struct nt_sock *sock[SWEEP_BATCH];
    while (nt_queue_collect(&nt_context, &queue->queue, sock, SWEEP_BATCH) != 0) {
    }
}

// How many handlers have run that end a call: all, where it never restarts.
static uint32_t interruptions(const struct nt_thread *self, bool restarts)
{
    return restarts ? self->interrupts : self->signals;
}

// Blocks on the eventfd of the queue: 0: look again; -EINTR; -EAGAIN at the deadline. `before`: how
// many interruptions there had been when the call began.
static int block_on(struct nt_thread *self, const struct nt_sleep *sleep, uint64_t deadline_ns,
                    uint32_t before)
{
    const bool restarts = deadline_ns == NT_FOREVER;
    struct pollfd fds[3] = {
        {.fd = sleep->queue->fd, .events = POLLIN},
        {.fd = nt_control_descriptor(), .events = POLLRDHUP},
        {.fd = sleep->shared == NULL ? -1 : sleep->shared->fd, .events = POLLIN}};
    struct timespec left = nt_time_left(deadline_ns);
    uint32_t critical = nt_signals_let_in(self);
    const uint32_t signals = self->signals;
    errno = EINTR;
    int ready = interruptions(self, restarts) != before
                    ? -1
                    : nt_real.ppoll(fds, 3, restarts ? NULL : &left, NULL);
    int error = errno;
    nt_signals_keep_out(self, critical);
    if (ready > 0 && fds[0].revents != 0)
        nt_event_queue_drain(sleep->queue);
    if (ready > 0 && fds[1].revents != 0)
        nt_control_hung_up();
    if (ready > 0 && fds[2].revents != 0)
        nt_event_queue_drain(sleep->shared); // before the news is spread
    if (interruptions(self, restarts) != before)
        return -EINTR;
    if (ready < 0 && self->signals != signals)
        return 0; // a handler with SA_RESTART
    return ready > 0 ? 0 : ready == 0 ? -EAGAIN : -error;
}

// What is waited for: a level, or any change since `events_seen`.
struct wanted {
    struct nt_file *file;
    uint32_t events;
    bool any_news;
    uint32_t events_seen;
    void (*give_up)(void *held); // what the caller holds
    void *held;
};

static bool is_there(const struct wanted *wanted)
{
    if (wanted->any_news && nt_sock_events(&wanted->file->sock) != wanted->events_seen)
        return true;
    return (nt_sock_poll(&wanted->file->sock) & wanted->events) != 0;
}

static void drop_file(void *file) { nt_file_drop(file); }

static int sleep_for(const struct wanted *wanted, struct nt_thread *self, uint64_t deadline_ns)
{
    const uint32_t before = interruptions(self, deadline_ns == NT_FOREVER);
    const struct nt_watch *mark = self->watches;
    struct nt_event_queue *queue = nt_thread_queue(self);
    if (queue == NULL || !nt_watch_begin(self, wanted->file))
        return nt_load_relaxed(&nt_host_gone) ? -ENETDOWN : -ENOBUFS;
    int result = 0;
    while (result == 0 && !is_there(wanted)) {
        if (nt_load_relaxed(&nt_host_gone)) {
            result = -ENETDOWN;
            break;
        }
        struct nt_sleep sleep = {.give_up = wanted->give_up, .held = wanted->held, .mark = mark};
        if (nt_sleep_enter(&sleep, self, queue))
            result = block_on(self, &sleep, deadline_ns, before);
        if (!nt_sleep_leave(&sleep))
            return -EINTR;
        nt_sleep_sweep(queue);
    }
    nt_watch_end(self, mark);
    // What came with the signal counts more than the signal.
    if (result == -EINTR && is_there(wanted))
        result = 0;
    return result;
}

static int wait_for(const struct wanted *wanted, uint64_t deadline_ns)
{
    struct nt_thread *self = nt_thread_self();
    nt_process_flush(self);
    do {
        if (is_there(wanted))
            return 0;
    } while (nt_idle_again(self));
    int saved = errno;
    nt_block_begin(self);
    int result = sleep_for(wanted, self, deadline_ns);
    nt_block_end(self);
    errno = saved;
    return result;
}

int nt_wait_for(struct nt_file *file, uint32_t events, uint64_t deadline_ns)
{
    return nt_wait_holding(file, events, deadline_ns, drop_file, file);
}

int nt_wait_holding(struct nt_file *file, uint32_t events, uint64_t deadline_ns,
                    void (*give_up)(void *held), void *held)
{
    const struct wanted wanted = {
        .file = file, .events = events | POLLERR | POLLHUP, .give_up = give_up, .held = held};
    return wait_for(&wanted, deadline_ns);
}

int nt_wait_for_news(struct nt_file *file, uint32_t events_seen, uint64_t deadline_ns)
{
    const struct wanted wanted = {.file = file,
                                  .any_news = true,
                                  .events_seen = events_seen,
                                  .give_up = drop_file,
                                  .held = file};
    return wait_for(&wanted, deadline_ns);
}

int nt_fruitless(struct nt_thread *self)
{
    if (++self->fruitless >= FRUITLESS_BEFORE_YIELD) {
        self->fruitless = 0;
        nt_process_flush(self);
        nt_yield();
    }
    return nt_load_relaxed(&nt_host_gone) ? -ENETDOWN : -EAGAIN;
}

uint32_t nt_level_of(struct nt_sock *sock)
{
    uint32_t level = nt_sock_poll(sock);
    // Another process uses it: who asked calls now, and finds that out (share.h).
    if (NT_UNLIKELY((level & POLLERR) != 0) && nt_sock_was_moved(sock))
        level = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
    // A listening socket stays silent, as on Linux without a network: programs that log accept()'s
    // error and poll again would do nothing else.
    if (NT_UNLIKELY(nt_load_relaxed(&nt_host_gone)) && sock->phase != NT_SOCK_LISTENING)
        level |= POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLERR | POLLHUP;
    return level;
}
