// poll.c: see poll.h.

#include "libc_shim/preload/poll.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <sys/mman.h>

enum {
    SMALL = 32, // sets up to this size are kept on the stack
    KERNEL_SKIP_CALLS = 64,
    KERNEL_SKIP_NS = 1000000,
    BELLS = 3, // the thread's, everybody's, and the control connection's end
};

// To mix numbers: 2^64 divided by the golden ratio.
#define SUM_FACTOR UINT64_C(0x9e3779b97f4a7c15)

// What is asked for, and where the answers come from. `kernel` holds a copy of the entries that the
// kernel answers, then one for each epoll instance's bell, then room for BELLS.
struct set {
    struct pollfd *fds;
    nfds_t count;
    struct nt_file **file; // held; NULL: the kernel's, or nobody's
    struct pollfd *kernel;
    nfds_t *origin; // of a kernel entry: its index in fds
    nfds_t kernel_count;
    uint64_t kernel_sum; // tells sets of kernel entries apart
    nfds_t epoll_bells;
    bool raised;  // the epoll instances are slept on
    bool is_lost; // a socket that another process has taken can't be taken back
    uint32_t forks;
    const struct nt_watch *mark; // the thread's watches below this call's
    void *mapped;
    size_t mapped_bytes;
    void *selected; // select()'s entries, if they were mapped
    size_t selected_bytes;
};

bool nt_poll_concerns(const struct pollfd *fds, nfds_t count)
{
    for (nfds_t i = 0; i < count; i++)
        if (fds[i].fd >= 0 && !nt_fd_is_kernel(fds[i].fd) && !nt_share_is_pumped(fds[i].fd))
            return true;
    return false;
}

static void ask_kernel(struct set *set, nfds_t index)
{
    set->kernel[set->kernel_count] = set->fds[index];
    set->kernel[set->kernel_count].revents = 0;
    set->origin[set->kernel_count++] = index;
    set->kernel_sum = (set->kernel_sum ^ (uint64_t)set->fds[index].fd) * SUM_FACTOR +
                      (uint64_t)(uint16_t)set->fds[index].events;
}

// Sorts the entries; what is a number without a descriptor behind it is answered at once.
static void open_set(struct set *set)
{
    for (nfds_t i = 0; i < set->count; i++) {
        int fd = set->fds[i].fd;
        set->fds[i].revents = 0;
        set->file[i] = NULL;
        if (fd < 0)
            continue;
        if (nt_fd_is_kernel(fd)) {
            ask_kernel(set, i);
        } else {
            int answer = nt_file_hold_any(fd, &set->file[i]);
            if (answer == -EBADF)
                set->fds[i].revents = POLLNVAL;
            else if (answer == NT_IS_KERNELS || set->file[i]->kind == NT_FILE_EPOLL)
                ask_kernel(set, i);
            if (set->file[i] != NULL && set->file[i]->kind == NT_FILE_EPOLL)
                nt_epoll_revive(set->file[i]->epoll, fd);
        }
    }
}

static void close_set(const struct set *set)
{
    for (nfds_t i = 0; i < set->count; i++)
        if (set->file[i] != NULL)
            nt_file_drop(set->file[i]);
}

static uint32_t level_of(struct nt_file *file)
{
    switch ((enum nt_file_kind)file->kind) {
    case NT_FILE_SOCKET:
    case NT_FILE_LENT:
        return nt_level_of(&file->sock);
    case NT_FILE_EPOLL:
        return nt_epoll_readable(file->epoll) ? POLLIN | POLLRDNORM : 0;
    case NT_FILE_PUMPED:
        return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
    case NT_FILE_INHERITED:
    case NT_FILE_FREE:
        break;
    }
    return POLLERR | POLLHUP;
}

// What level_of() says of it means nothing.
static bool is_away(const struct nt_file *file)
{
    return file->kind == NT_FILE_PUMPED || nt_share_is_elsewhere(file);
}

// Event masks are 16 bits that poll(2) declares as a short.
static short as_short(uint32_t mask)
{
    uint16_t bits = (uint16_t)mask;
    short events;
    memcpy(&events, &bits, sizeof events);
    return events;
}

// How many entries are ready, from what user space knows; -ERESTART: nobody knows, as another
// process has taken a socket since the call began.
static int look(const struct set *set)
{
    int ready = 0;
    for (nfds_t i = 0; i < set->count; i++) {
        struct pollfd *entry = &set->fds[i];
        if (set->file[i] != NULL) {
            uint32_t level = level_of(set->file[i]);
            if (NT_UNLIKELY(set->file[i]->kind != NT_FILE_SOCKET) && level != 0 &&
                is_away(set->file[i]) && !set->is_lost)
                return -ERESTART;
            entry->revents =
                as_short(level & ((uint32_t)(uint16_t)entry->events | POLLERR | POLLHUP));
        }
        ready += entry->revents != 0;
    }
    return ready;
}

// Adds what the kernel has just answered; how many entries are ready now.
static int merge(const struct set *set)
{
    int ready = 0;
    for (nfds_t i = 0; i < set->kernel_count; i++) {
        struct pollfd *entry = &set->fds[set->origin[i]];
        entry->revents = as_short((uint16_t)entry->revents | (uint16_t)set->kernel[i].revents);
    }
    for (nfds_t i = 0; i < set->count; i++)
        ready += set->fds[i].revents != 0;
    return ready;
}

static int look_at_kernel(struct nt_thread *self, const struct set *set, const sigset_t *mask)
{
    self->kernel_skip = 0;
    self->kernel_looked_ns = nt_now_ns();
    self->kernel_sum = set->kernel_sum;
    if (set->kernel_count == 0)
        return merge(set);
    self->count[NT_COUNT_KERNEL]++;
    if (nt_quiet_poll_look(set->kernel, set->kernel_count, mask) < 0)
        return -errno;
    return merge(set);
}

static bool kernel_is_due(struct nt_thread *self, const struct set *set)
{
    return set->kernel_count != 0 &&
           (set->kernel_sum != self->kernel_sum || ++self->kernel_skip >= KERNEL_SKIP_CALLS ||
            nt_now_ns() - self->kernel_looked_ns >= KERNEL_SKIP_NS);
}

// -- Blocking --------------------------------------------------------------------------------

static struct nt_epoll *epoll_of(const struct set *set, nfds_t index)
{
    const struct nt_file *file = set->file[index];
    bool has_queue =
        file != NULL && file->kind == NT_FILE_EPOLL && nt_load_acquire(&file->epoll->queue) != NULL;
    return has_queue ? file->epoll : NULL;
}

// Epoll instances in the set are slept on as well. False: one has news.
static bool raise_epolls(struct set *set)
{
    bool may_block = true;
    set->epoll_bells = 0;
    for (nfds_t i = 0; i < set->count; i++) {
        struct nt_epoll *epoll = epoll_of(set, i);
        if (epoll == NULL)
            continue;
        struct pollfd *bell = &set->kernel[set->kernel_count + set->epoll_bells++];
        *bell = (struct pollfd){.fd = nt_epoll_bell(epoll), .events = POLLIN};
        nt_epoll_drain(epoll);
        __atomic_add_fetch(&epoll->waiters, 1u, __ATOMIC_SEQ_CST);
        if (!nt_queue_sleep(&nt_context, &epoll->queue->queue) || nt_epoll_readable(epoll))
            may_block = false;
        nt_epoll_ring_again(epoll); // what was drained may have been another thread's
    }
    set->raised = true;
    return may_block;
}

static void lower_epolls(struct set *set)
{
    set->raised = false;
    for (nfds_t i = 0; set->epoll_bells != 0 && i < set->count; i++) {
        struct nt_epoll *epoll = epoll_of(set, i);
        if (epoll == NULL)
            continue;
        nt_queue_wake(&nt_context, &epoll->queue->queue);
        __atomic_sub_fetch(&epoll->waiters, 1u, __ATOMIC_SEQ_CST);
    }
}

static void leave_set(struct set *set)
{
    close_set(set);
    if (set->mapped != NULL)
        munmap(set->mapped, set->mapped_bytes);
    if (set->selected != NULL)
        munmap(set->selected, set->selected_bytes);
}

// The thread never returns.
static void give_up(void *held)
{
    struct set *set = held;
    if (set->raised && set->forks == nt_thread_forks)
        lower_epolls(set);
    leave_set(set);
}

// 1: look again; 0: the deadline has passed; -errno. The kernel's answers are in set->kernel.
static int sleep_once(struct nt_thread *self, struct set *set, uint64_t deadline_ns,
                      const sigset_t *mask, uint32_t before)
{
    struct nt_sleep sleep = {.give_up = give_up, .held = set, .mark = set->mark};
    int result = 1;
    bool may_block = raise_epolls(set);
    if (nt_sleep_enter(&sleep, self, self->queue) && may_block) {
        nfds_t count = set->kernel_count + set->epoll_bells;
        struct pollfd *own = &set->kernel[count];
        own[0] = (struct pollfd){.fd = sleep.queue->fd, .events = POLLIN};
        own[1] =
            (struct pollfd){.fd = sleep.shared == NULL ? -1 : sleep.shared->fd, .events = POLLIN};
        own[2] = (struct pollfd){.fd = nt_control_descriptor(), .events = POLLRDHUP};
        struct timespec left = nt_time_left(deadline_ns);
        uint32_t critical = nt_signals_let_in(self);
        errno = EINTR;
        int ready = self->signals != before
                        ? -1
                        : nt_real.ppoll(set->kernel, count + BELLS,
                                        deadline_ns == NT_FOREVER ? NULL : &left, mask);
        result = ready < 0 ? -errno : ready > 0;
        nt_signals_keep_out(self, critical);
        if (ready > 0 && own[0].revents != 0)
            nt_event_queue_drain(sleep.queue);
        if (ready > 0 && own[1].revents != 0)
            nt_event_queue_drain(sleep.shared); // before the news is spread
        if (ready > 0 && own[2].revents != 0)
            nt_control_hung_up();
    }
    if (!nt_sleep_leave(&sleep))
        return -EINTR;
    lower_epolls(set);
    nt_sleep_sweep(self->queue);
    return result;
}

// A newtos socket may come into an instance while this call sleeps on it.
static void give_queues(const struct set *set)
{
    for (nfds_t i = 0; i < set->count; i++)
        if (set->file[i] != NULL && set->file[i]->kind == NT_FILE_EPOLL)
            (void)nt_epoll_give_queue(set->file[i]->epoll, set->fds[i].fd);
}

static int block(struct nt_thread *self, struct set *set, uint64_t deadline_ns,
                 const sigset_t *mask)
{
    if (nt_thread_queue(self) == NULL)
        return nt_load_relaxed(&nt_host_gone) ? look(set) : -ENOMEM;
    set->mark = self->watches;
    set->forks = nt_thread_forks;
    const uint32_t before = self->signals;
    int result = 0;
    for (nfds_t i = 0; i < set->count && result == 0; i++)
        if (set->file[i] != NULL && nt_file_is_socket(set->file[i]) &&
            !nt_watch_begin(self, set->file[i]))
            result = -ENOMEM;
    give_queues(set);
    while (result == 0) {
        for (nfds_t i = 0; i < set->kernel_count; i++)
            set->kernel[i].revents = 0;
        result = look(set);
        if (result != 0)
            break;
        int woken = sleep_once(self, set, deadline_ns, mask, before);
        int ready = woken < 0 ? woken : look(set);
        if (ready < 0)
            result = ready;
        else if (merge(set) != 0)
            result = merge(set);
        else if (woken == 0)
            break;
    }
    nt_watch_end(self, set->mark);
    return result;
}

static int poll_set(struct set *set, uint64_t deadline_ns, const sigset_t *mask)
{
    struct nt_thread *self = nt_thread_self();
    self->count[NT_COUNT_WAIT]++;
    nt_process_flush(self);
    int ready = look(set);
    if (NT_UNLIKELY(ready < 0))
        return ready;
    if (ready != 0) {
        self->fruitless = 0;
        return kernel_is_due(self, set) ? look_at_kernel(self, set, mask) : ready;
    }
    ready = look_at_kernel(self, set, mask);
    if (ready == 0 && deadline_ns == 0)
        (void)nt_fruitless(self);
    if (ready != 0 || deadline_ns == 0)
        return ready;
    while (nt_idle_again(self))
        if ((ready = look(set)) != 0)
            return ready;
    nt_block_begin(self);
    ready = block(self, set, deadline_ns, mask);
    nt_block_end(self);
    return ready;
}

// -- Calls -----------------------------------------------------------------------------------

static bool give_room(struct set *set)
{
    // Entries are of 8 bytes, or are pointers and counts of 8.
    size_t kernel_room = 2 * (size_t)set->count + BELLS;
    set->mapped_bytes = kernel_room * sizeof set->kernel[0] +
                        (size_t)set->count * (sizeof(void *) + sizeof(nfds_t));
    set->mapped =
        mmap(NULL, set->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (set->mapped == MAP_FAILED)
        return false;
    set->file = set->mapped;
    set->origin = (nfds_t *)(void *)(set->file + set->count);
    set->kernel = (struct pollfd *)(void *)(set->origin + set->count);
    return true;
}

// Takes back what other processes have taken, and opens the set again: what is there is ready, not
// what was elsewhere. A program whose socket blocks would wait for ever in the next call.
static void reopen(struct set *set)
{
    for (nfds_t i = 0; i < set->count; i++) {
        struct nt_file *file = set->file[i];
        if (file != NULL && file->kind != NT_FILE_EPOLL && is_away(file) &&
            nt_share_use_to_wait(set->fds[i].fd, file) < 0)
            set->is_lost = true;
    }
    close_set(set);
    set->kernel_count = 0;
    set->kernel_sum = 0;
    open_set(set);
}

// `selected`: memory that holds `fds`, to be unmapped should the thread never return; or NULL.
static int poll_entries(struct pollfd *fds, nfds_t count, uint64_t deadline_ns,
                        const sigset_t *mask, void *selected)
{
    struct nt_file *file[SMALL];
    nfds_t origin[SMALL];
    struct pollfd kernel[2 * SMALL + BELLS];
    struct set set = {.fds = fds,
                      .count = count,
                      .file = file,
                      .origin = origin,
                      .kernel = kernel,
                      .selected = selected,
                      .selected_bytes = (size_t)count * sizeof fds[0]};
    if (count > SMALL && !give_room(&set))
        return -ENOMEM;
    int saved = errno;
    open_set(&set);
    int result;
    while ((result = poll_set(&set, deadline_ns, mask)) == -ERESTART)
        reopen(&set);
    set.selected = NULL; // the caller's
    leave_set(&set);
    errno = saved;
    return result;
}

int nt_poll(struct pollfd *fds, nfds_t count, uint64_t deadline_ns, const sigset_t *mask)
{
    return poll_entries(fds, count, deadline_ns, mask, NULL);
}

// -- select ----------------------------------------------------------------------------------

// As fs/select.c of Linux maps them.
enum {
    IN_EVENTS = POLLIN | POLLRDNORM | POLLRDBAND,
    OUT_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND,
    WORD_BITS = 64,
};

typedef unsigned long set_word;
_Static_assert(sizeof(set_word) == 8, "fd_set is an array of 64-bit words");

// Sets may be larger than FD_SETSIZE: the program allocates them, `count` says how far they go.
static bool has(const fd_set *set, int fd)
{
    if (set == NULL)
        return false;
    const set_word *word = (const set_word *)(const void *)set;
    return (word[fd / WORD_BITS] >> (fd % WORD_BITS) & 1) != 0;
}

static void put(fd_set *set, int fd, bool ready)
{
    if (set == NULL)
        return;
    set_word *word = (set_word *)(void *)set + fd / WORD_BITS;
    set_word bit = (set_word)1 << (fd % WORD_BITS);
    *word = ready ? *word | bit : *word & ~bit;
}

bool nt_select_concerns(int count, const fd_set *r, const fd_set *w, const fd_set *e)
{
    if (nt_fd_limit == 0)
        return false;
    for (int fd = 0; fd < count; fd++)
        if (!nt_fd_is_kernel(fd) && !nt_share_is_pumped(fd) &&
            (has(r, fd) || has(w, fd) || has(e, fd)))
            return true;
    return false;
}

static nfds_t entries_of(struct pollfd *fds, int count, const fd_set *r, const fd_set *w,
                         const fd_set *e)
{
    nfds_t used = 0;
    for (int fd = 0; fd < count; fd++) {
        int events = (has(r, fd) ? IN_EVENTS : 0) | (has(w, fd) ? OUT_EVENTS : 0) |
                     (has(e, fd) ? POLLPRI : 0);
        if (events == 0)
            continue;
        if (fds != NULL)
            fds[used] = (struct pollfd){.fd = fd, .events = (short)events};
        used++;
    }
    return used;
}

static int answer(const struct pollfd *entry, fd_set *r, fd_set *w, fd_set *e)
{
    bool in = has(r, entry->fd) && (entry->revents & (IN_EVENTS | POLLHUP | POLLERR)) != 0;
    bool out = has(w, entry->fd) && (entry->revents & (OUT_EVENTS | POLLERR)) != 0;
    bool except = has(e, entry->fd) && (entry->revents & POLLPRI) != 0;
    put(r, entry->fd, in);
    put(w, entry->fd, out);
    put(e, entry->fd, except);
    return in + out + except;
}

static int select_entries(struct pollfd *fds, nfds_t used, fd_set *r, fd_set *w, fd_set *e,
                          uint64_t deadline_ns, const sigset_t *mask, void *mapped)
{
    int result = poll_entries(fds, used, deadline_ns, mask, mapped);
    if (result < 0)
        return result;
    for (nfds_t i = 0; i < used; i++)
        if ((fds[i].revents & POLLNVAL) != 0)
            return -EBADF;
    result = 0;
    for (nfds_t i = 0; i < used; i++)
        result += answer(&fds[i], r, w, e);
    return result;
}

int nt_select(int count, fd_set *r, fd_set *w, fd_set *e, uint64_t deadline_ns,
              const sigset_t *mask)
{
    struct pollfd small[SMALL];
    nfds_t used = entries_of(NULL, count, r, w, e);
    size_t bytes = (size_t)used * sizeof small[0];
    struct pollfd *fds = small;
    if (used > SMALL) {
        fds = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fds == MAP_FAILED)
            return -ENOMEM;
    }
    (void)entries_of(fds, count, r, w, e);
    int result = select_entries(fds, used, r, w, e, deadline_ns, mask, fds == small ? NULL : fds);
    if (fds != small)
        munmap(fds, bytes);
    return result;
}
