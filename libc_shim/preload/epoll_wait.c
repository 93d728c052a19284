// epoll_wait.c: the waiting half of epoll.h.

#include "libc_shim/preload/epoll.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"
#include "libc_shim/preload/slab.h"

#include <errno.h>
#include <limits.h>

enum {
    BELLS = 8, // of `both`, taken at once
    SWEEP_BATCH = 32,
    SWEEP_BATCHES = 2 * NT_AREA_SLOTS_MAX / SWEEP_BATCH, // if news keeps coming, go on all the same
    // How long the kernel's descriptors may go unseen while newtos sockets stay ready
    // (architecture §6).
    KERNEL_SKIP_CALLS = 64,
    KERNEL_SKIP_NS = 1000000,
    NS_PER_MS = 1000000,
    MAX_EVENTS = (int)(INT_MAX / sizeof(struct epoll_event)), // fs/eventpoll.c: EINVAL above
};

#define ITEM_OF(link, member) \
    ((struct nt_epoll_item *)(void *)((uint8_t *)(link)-offsetof(struct nt_epoll_item, member)))

// -- Looking ---------------------------------------------------------------------------------

// A socket of the queue's bitmap: its registrations here are worth a look.
static void push_file(const struct nt_epoll *epoll, struct nt_file *file)
{
    nt_lock(&file->watch_lock);
    for (struct nt_watch *watch = file->watches; watch != NULL; watch = watch->next)
        if (watch->item != NULL && watch->item->epoll == epoll)
            nt_epoll_push(watch->item);
    nt_unlock(&file->watch_lock);
}

// Asks for all registrations of a batch, and what finds them, before the first is looked at.
static void look_ahead(struct nt_sock *const *sock, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct nt_file *file = sock[i]->user;
        nt_prefetch(&file->watches);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct nt_file *file = sock[i]->user;
        const struct nt_watch *watch = nt_load_relaxed(&file->watches);
        if (watch == NULL)
            continue;
        const struct nt_epoll_item *item = ITEM_OF(watch, watch);
        nt_prefetch(item);
        nt_prefetch(&item->queued);
        nt_prefetch(&item->data);
    }
}

// All that is new goes behind what is on the list already, whoever takes how much of it: so sockets
// that stay ready don't hide others.
static void sweep(struct nt_epoll *epoll)
{
    struct nt_sock *sock[SWEEP_BATCH];
    for (uint32_t batch = 0; batch < SWEEP_BATCHES; batch++) {
        uint32_t count = nt_queue_collect(&nt_context, &epoll->queue->queue, sock, SWEEP_BATCH);
        if (count > 1)
            look_ahead(sock, count);
        for (uint32_t i = 0; i < count; i++)
            push_file(epoll, sock[i]->user);
        if (count < SWEEP_BATCH)
            return;
    }
}

// Takes the whole ready list, how many that are; the registrations on it stay `queued` until looked
// at.
static uint32_t take_ready(struct nt_epoll *epoll, struct nt_link *local)
{
    nt_lock(&epoll->ready_lock);
    uint32_t count = epoll->ready_count;
    *local = epoll->ready;
    local->next->prev = local;
    local->prev->next = local;
    if (count == 0)
        local->next = local->prev = local;
    epoll->ready.next = epoll->ready.prev = &epoll->ready;
    nt_store_relaxed(&epoll->ready_count, 0u);
    nt_unlock(&epoll->ready_lock);
    return count;
}

// Puts back what was not looked at, before what came meanwhile.
static void put_back(struct nt_epoll *epoll, struct nt_link *local, uint32_t count)
{
    if (local->next == local)
        return;
    nt_lock(&epoll->ready_lock);
    local->prev->next = epoll->ready.next;
    epoll->ready.next->prev = local->prev;
    epoll->ready.next = local->next;
    local->next->prev = &epoll->ready;
    nt_store_relaxed(&epoll->ready_count, epoll->ready_count + count);
    nt_unlock(&epoll->ready_lock);
}

// A socket that another process has taken, to be taken back where no lock is held.
struct away {
    const struct nt_file *file; // NULL: none; only compared, it may have ended
    int fd;
    bool is_lost; // one can't be taken back: whatever is away is reported, for the next call to say
};

// Whether `item`'s socket is to be taken back before anything is said of it. What is not there
// would be reported otherwise, and a program whose socket blocks would wait for ever in the next
// call.
static __attribute__((noinline)) bool find_away(const struct nt_epoll_item *item, struct away *away)
{
    if (away->is_lost || item->events == 0 || !nt_share_is_elsewhere(item->watch.file))
        return false;
    if (away->file == NULL) {
        away->file = item->watch.file;
        away->fd = item->fd;
    }
    return true;
}

static void take_back(struct away *away)
{
    struct nt_file *file = nt_file_hold(away->fd);
    int result = file == away->file ? nt_share_use_to_wait(away->fd, file) : -EBADF;
    away->is_lost = result < 0;
    away->file = NULL;
    if (result == 0)
        nt_watch_notify(file); // its edges are counted anew
    if (file != NULL)
        nt_file_drop(file);
}

// What is to be reported now, or 0. The registration is off the list.
static uint32_t look(struct nt_epoll_item *item, struct away *away)
{
    // Off the list first, then the level: a change after the look puts it on again.
    __atomic_exchange_n(&item->queued, 0u, __ATOMIC_SEQ_CST);
    struct nt_sock *sock = &item->watch.file->sock;
    if (NT_UNLIKELY(item->watch.file->kind == NT_FILE_LENT) && find_away(item, away)) {
        nt_epoll_keep_ready(item);
        return 0;
    }
    struct nt_sock_seen now;
    uint32_t kicks = nt_load_acquire(&item->kicks);
    if ((item->events & EPOLLET) != 0)
        nt_sock_see(sock, &now); // before the level
    now.level = nt_level_of(sock);
    uint32_t ready = now.level & item->events;
    if ((item->events & EPOLLET) != 0) {
        bool edge = !item->was_reported || kicks != item->kicks_seen ||
                    nt_sock_is_edge(sock, &item->seen, &now, item->events);
        item->kicks_seen = kicks;
        item->was_reported = item->was_reported || ready != 0;
        item->seen = now;
        if (!edge)
            return 0;
    }
    if (ready == 0)
        return 0;
    if ((item->events & EPOLLONESHOT) != 0)
        item->events = 0; // not even errors, until EPOLL_CTL_MOD
    else if ((item->events & EPOLLET) == 0)
        nt_epoll_keep_ready(item);
    return ready;
}

// The host is gone: all sockets are broken, which no server says any more. Under the lock.
static void tell_gone(struct nt_epoll *epoll)
{
    epoll->told_gone = true;
    for (struct nt_link *link = epoll->all.next; link != &epoll->all; link = link->next) {
        ITEM_OF(link, all)->was_reported = false;
        nt_epoll_push(ITEM_OF(link, all));
    }
}

// Adds to `events`, of which the kernel wrote the first `count`: how many there are now.
static int collect(struct nt_epoll *epoll, const struct nt_epoll_wait *call, int count,
                   struct away *away)
{
    struct epoll_event *events = call->events;
    const int from_kernel = count;
    if (NT_UNLIKELY(nt_shared_any()))
        nt_shared_spread();
    struct nt_link local;
    nt_lock(&epoll->lock);
    if (NT_UNLIKELY(nt_load_relaxed(&nt_host_gone) && !epoll->told_gone))
        tell_gone(epoll);
    sweep(epoll);
    if (nt_load_relaxed(&epoll->ready_count) != 0) {
        uint32_t left = take_ready(epoll, &local);
        while (count < call->max && local.next != &local) {
            struct nt_epoll_item *item = ITEM_OF(local.next, ready);
            local.next = item->ready.next;
            local.next->prev = &local;
            left--;
            uint32_t ready = look(item, away);
            if (ready != 0)
                events[count++] = (struct epoll_event){.events = ready, .data.u64 = item->data};
        }
        put_back(epoll, &local, left);
    }
    if (NT_UNLIKELY(epoll->inner_count != 0))
        count = nt_epoll_collect_inner(epoll, call->epfd, events, from_kernel, count, call->max);
    nt_unlock(&epoll->lock);
    return count;
}

bool nt_epoll_readable(struct nt_epoll *epoll)
{
    if (nt_load_acquire(&epoll->queue) == NULL)
        return false;
    if (nt_shared_any())
        nt_shared_spread();
    bool readable = false;
    nt_lock(&epoll->lock);
    sweep(epoll);
    nt_lock(&epoll->ready_lock);
    for (struct nt_link *link = epoll->ready.next; link != &epoll->ready && !readable;
         link = link->next) {
        const struct nt_epoll_item *item = ITEM_OF(link, ready);
        readable = (nt_level_of(&item->watch.file->sock) & item->events) != 0;
    }
    nt_unlock(&epoll->ready_lock);
    if (!readable && epoll->inner_count != 0)
        readable = nt_epoll_inner_readable(epoll);
    nt_unlock(&epoll->lock);
    return readable;
}

void nt_epoll_ring_again(struct nt_epoll *epoll)
{
    if (nt_load_acquire(&epoll->waiters) < 2)
        return;
    if (nt_load_relaxed(&epoll->ready_count) != 0 || nt_load_relaxed(&epoll->inner_count) != 0 ||
        nt_load_relaxed(&epoll->queue->signalled) != 0)
        nt_event_queue_ring(epoll->queue);
}

// Takes out the event of call_out_of_kernel() (epoll.c).
static int without_call(const struct nt_epoll *epoll, struct epoll_event *events, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr != epoll)
            events[kept++] = events[i];
    return kept;
}

// The kernel's descriptors, without waiting.
static int look_at_kernel(struct nt_thread *self, const struct nt_epoll *epoll,
                          const struct nt_epoll_wait *call, int max)
{
    if (nt_load_relaxed(&epoll->kernel_fds) == 0)
        return 0;
    self->kernel_skip = 0;
    self->kernel_looked_ns = nt_now_ns();
    self->count[NT_COUNT_KERNEL]++;
    int epfd = nt_load_relaxed(&epoll->kept);
    int count = nt_quiet_epoll_look(epfd >= 0 ? epfd : call->epfd, call->events, max, call->mask);
    return count >= 0 ? without_call(epoll, call->events, count) : -errno;
}

static bool kernel_is_due(struct nt_thread *self, const struct nt_epoll *epoll)
{
    if (nt_load_relaxed(&epoll->kernel_fds) == 0)
        return false;
    return ++self->kernel_skip >= KERNEL_SKIP_CALLS ||
           nt_now_ns() - self->kernel_looked_ns >= KERNEL_SKIP_NS;
}

// -- Sleeping --------------------------------------------------------------------------------

enum woken {
    WOKEN_BELL = 1,
    WOKEN_KERNEL = 2, // the kernel's instance has something
    WOKEN_GONE = 4,   // the control connection has ended
};

// Which of enum woken it was, 0 at the deadline, or -errno.
static int sleep_on_both(const struct nt_epoll *epoll, const struct nt_epoll_wait *call,
                         uint64_t deadline_ns)
{
    struct epoll_event event[BELLS];
    struct timespec left = nt_time_left(deadline_ns);
    int count;
    if (deadline_ns == NT_FOREVER) {
        count = nt_real.epoll_pwait(epoll->both, event, BELLS, -1, call->mask);
    } else if (call->exact) {
        count = nt_real.epoll_pwait2(epoll->both, event, BELLS, &left, call->mask);
    } else {
        int64_t ms = left.tv_sec * 1000 + (left.tv_nsec + NS_PER_MS - 1) / NS_PER_MS;
        count = nt_real.epoll_pwait(epoll->both, event, BELLS, ms > INT32_MAX ? INT32_MAX : (int)ms,
                                    call->mask);
    }
    if (count < 0)
        return -errno;
    int woken = 0;
    for (int i = 0; i < count; i++) {
        woken |= event[i].data.fd == NT_EPOLL_KERNEL ? WOKEN_KERNEL : WOKEN_BELL;
        woken |= event[i].data.fd == NT_EPOLL_END ? WOKEN_GONE : 0;
    }
    return woken;
}

static void give_up_waiting(void *held)
{
    struct nt_file *file = held;
    if (nt_load_relaxed(&file->epoll->waiters) != 0) // none in a child of fork()
        __atomic_sub_fetch(&file->epoll->waiters, 1u, __ATOMIC_SEQ_CST);
    nt_file_drop(file);
}

static int sleep_once(struct nt_thread *self, struct nt_file *file,
                      const struct nt_epoll_wait *call, uint64_t deadline_ns, uint32_t before)
{
    struct nt_epoll *epoll = file->epoll;
    struct nt_sleep sleep = {.give_up = give_up_waiting, .held = file, .mark = self->watches};
    int woken = WOKEN_BELL;
    __atomic_add_fetch(&epoll->waiters, 1u, __ATOMIC_SEQ_CST);
    // A push between the last look and here found no waiter to ring for.
    if (nt_sleep_enter(&sleep, self, epoll->queue) && nt_load_acquire(&epoll->ready_count) == 0) {
        uint32_t critical = nt_signals_let_in(self);
        woken = -EINTR;
        if (self->signals == before)
            woken = sleep_on_both(epoll, call, deadline_ns);
        nt_signals_keep_out(self, critical);
        if (woken > 0 && (woken & WOKEN_GONE) != 0)
            nt_control_hung_up();
    }
    if (!nt_sleep_leave(&sleep))
        return -EINTR;
    __atomic_sub_fetch(&epoll->waiters, 1u, __ATOMIC_SEQ_CST);
    return woken;
}

// -- Waiting ---------------------------------------------------------------------------------

static uint64_t deadline_of(const struct nt_epoll_wait *call)
{
    if (call->exact)
        return nt_deadline_of(call->timeout);
    return call->timeout_ms < 0 ? NT_FOREVER : nt_deadline((uint64_t)call->timeout_ms * NS_PER_MS);
}

static bool is_patient(const struct nt_epoll_wait *call)
{
    if (call->exact)
        return call->timeout == NULL || call->timeout->tv_sec != 0 || call->timeout->tv_nsec != 0;
    return call->timeout_ms != 0;
}

// Other threads sleep on the instance while there is more than this one could take.
static void pass_on(struct nt_epoll *epoll)
{
    if (nt_load_acquire(&epoll->waiters) != 0 && nt_load_relaxed(&epoll->ready_count) != 0)
        nt_event_queue_ring(epoll->queue);
}

// The kernel alone had something: that may be of an inner instance, too.
static int inner_of(struct nt_epoll *epoll, const struct nt_epoll_wait *call, int count)
{
    if (count > 0 && nt_load_relaxed(&epoll->inner_count) != 0) {
        nt_lock(&epoll->lock);
        count = nt_epoll_collect_inner(epoll, call->epfd, call->events, count, count, call->max);
        nt_unlock(&epoll->lock);
    }
    return count;
}

static int wait_with_sockets(struct nt_thread *self, struct nt_file *file,
                             const struct nt_epoll_wait *call)
{
    struct nt_epoll *epoll = file->epoll;
    const bool patient = is_patient(call);
    uint64_t deadline_ns = 0; // not known yet
    bool look_now = false;
    struct away away = {.file = NULL};
    const uint32_t before = self->signals;
    self->count[NT_COUNT_WAIT]++;
    nt_process_flush(self);
    for (;;) {
        bool due = kernel_is_due(self, epoll) || look_now;
        int count = 0;
        if (due) // half of the room at most: newtos sockets get the rest
            count = look_at_kernel(self, epoll, call, (call->max + 1) / 2);
        if (count < 0)
            return count;
        count = collect(epoll, call, count, &away);
        if (NT_UNLIKELY(away.file != NULL)) {
            take_back(&away);
            look_now = true; // it may be the kernel's now
            if (count == 0)
                continue;
        }
        if (count == 0 && !patient) {
            (void)nt_fruitless(self);
            return due ? 0 : inner_of(epoll, call, look_at_kernel(self, epoll, call, call->max));
        }
        if (count > 0) {
            self->fruitless = 0;
            pass_on(epoll);
            return count;
        }
        if (deadline_ns != 0 && deadline_ns != NT_FOREVER && nt_now_ns() >= deadline_ns)
            return 0;
        if (nt_idle_again(self))
            continue;
        if (deadline_ns == 0)
            deadline_ns = deadline_of(call);
        if (NT_UNLIKELY(nt_load_relaxed(&epoll->queue->signalled) != 0)) {
            nt_event_queue_ring(epoll->queue); // it was for another thread's signal (event_queue.h)
            nt_yield();
        }
        int woken = sleep_once(self, file, call, deadline_ns, before);
        if (woken < 0)
            return woken;
        look_now = (woken & WOKEN_KERNEL) != 0;
    }
}

static int call_kernel(const struct nt_epoll_wait *call)
{
    int count = call->exact ? nt_real.epoll_pwait2(call->epfd, call->events, call->max,
                                                   call->timeout, call->mask)
                            : nt_real.epoll_pwait(call->epfd, call->events, call->max,
                                                  call->timeout_ms, call->mask);
    return count >= 0 ? count : -errno;
}

static void give_up_in_kernel(void *held)
{
    struct nt_file *file = held;
    if (nt_load_relaxed(&file->epoll->in_kernel) != 0) // none in a child of fork()
        __atomic_sub_fetch(&file->epoll->in_kernel, 1u, __ATOMIC_SEQ_CST);
    nt_file_drop(file);
}

static int wait_in_kernel(struct nt_thread *self, struct nt_file *file,
                          const struct nt_epoll_wait *call)
{
    struct nt_epoll *epoll = file->epoll;
    struct nt_sleep sleep = {.give_up = give_up_in_kernel, .held = file};
    __atomic_add_fetch(&epoll->in_kernel, 1u, __ATOMIC_SEQ_CST);
    int count = -EAGAIN; // a newtos socket came
    if (nt_load_acquire(&epoll->queue) == NULL) {
        nt_sleep_enter_kernel(&sleep, self);
        uint32_t critical = nt_signals_let_in(self);
        count = call_kernel(call);
        nt_signals_keep_out(self, critical);
        if (!nt_sleep_leave_kernel(&sleep))
            return count; // in a child that a handler forked, nobody is in the kernel
    }
    __atomic_sub_fetch(&epoll->in_kernel, 1u, __ATOMIC_SEQ_CST);
    if (count > 0 && nt_load_acquire(&epoll->queue) != NULL) {
        count = without_call(epoll, call->events, count);
        if (count == 0)
            count = -EAGAIN;
    }
    return count;
}

int nt_epoll_wait(const struct nt_epoll_wait *call)
{
    struct nt_thread *self = nt_thread_self();
    struct nt_file *file = nt_file_hold(call->epfd);
    if (file == NULL)
        return -EBADF;
    int count = -EINVAL;
    if (file->kind == NT_FILE_EPOLL && call->max > 0 && call->max <= MAX_EVENTS) {
        count = -EAGAIN;
        nt_epoll_revive(file->epoll, call->epfd);
        if (nt_load_acquire(&file->epoll->queue) == NULL)
            count = wait_in_kernel(self, file, call);
        if (count == -EAGAIN) {
            nt_block_begin(self);
            count = wait_with_sockets(self, file, call);
            nt_block_end(self);
        }
    }
    nt_file_drop(file);
    return count;
}
