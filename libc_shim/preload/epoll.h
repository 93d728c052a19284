// epoll.h: epoll instances that hold newtos sockets beside the kernel's descriptors.
//
// Behind each epoll number stays the kernel's own instance, in which the kernel's descriptors are
// registered as ever. An instance without newtos sockets is nothing but that. With its first newtos
// socket it gets an event queue, whose eventfd is registered, edge-triggered, in a second instance
// `both`, together with the first (and everybody's queue, and the control connection, for its end):
// sleeping on `both` is sleeping on everything, one system call a wake-up, and the program's own
// instance holds nothing of ours.
//
// Ready list, as in the kernel: registrations that may be ready, each at most once (`queued`), put
// there by the queue's bitmap, by epoll_ctl, and by what the program itself does to the socket. A
// look takes each off, asks for the level, reports what is wanted; level-triggered ones that were
// reported go back to the end. So a wait costs what is ready, not what is registered. An edge is
// reported once (nt_sock_is_edge).
//
// Locks: `lock` guards registrations and the look; `ready_lock` the list's links only.
//
// Of several threads that sleep on one instance, one is woken; it rings for the next if it leaves
// something on the list, as the kernel does.
#ifndef NT_PRELOAD_EPOLL_H
#define NT_PRELOAD_EPOLL_H

#include "libc_shim/preload/file.h"
#include "libc_shim/preload/watch.h"

enum {                    // what `both` says
    NT_EPOLL_BELL = -3,   // a queue's eventfd, or an inner instance
    NT_EPOLL_KERNEL = -1, // the kernel's instance
    NT_EPOLL_END = -2,    // the control connection's end
};

struct nt_link { // of a list that is a ring through its head
    struct nt_link *next;
    struct nt_link *prev;
};

static inline void nt_link_init(struct nt_link *head) { head->next = head->prev = head; }

struct nt_epoll_item {
    struct nt_watch watch;
    struct nt_epoll *epoll;
    struct nt_link ready; // linked while `queued`
    struct nt_link all;
    uint32_t queued;
    uint32_t events;          // as registered, with flags; 0 after a one-shot report
    struct nt_sock_seen seen; // edge-triggered: at the last look; `events`: an instance's news
    bool was_reported;        // something is in `seen`
    uint32_t kicks;           // edges that the server knows nothing of, under the file's watch_lock
    uint32_t kicks_seen;
    struct nt_epoll *target; // NULL: a socket. Else it is in the list `inner` (epoll_nested.c)
    struct nt_link inner;
    int fd;
    uint64_t data;
    struct nt_epoll_item *next_free;
} NT_ALIGNED(64);

struct nt_epoll {
    struct nt_spin lock;
    struct nt_spin ready_lock;
    struct nt_link ready;
    struct nt_link all;
    struct nt_link inner; // registrations of instances
    uint32_t inner_count;
    uint32_t news;        // moves on with what comes onto the list
    uint32_t ready_count; // of the list, guarded by ready_lock
    uint32_t waiters;     // threads that sleep on `both`
    uint32_t in_kernel;   // threads that sleep in the kernel's instance alone
    uint32_t kernel_fds;  // registered in the kernel's instance, at most; 0: none ever was
    bool told_gone;       // that the host is
    bool inherited;       // its registrations came over fork() and watch nothing so far
    int both;
    int kept; // the kernel's instance, if its number was closed while a call was in it; or -1
    struct nt_event_queue *queue; // NULL: no newtos socket so far
    struct nt_epoll *next_free;
} NT_ALIGNED(64);

// One wait: `timeout` if not NULL (epoll_pwait2), else timeout_ms.
struct nt_epoll_wait {
    int epfd;
    struct epoll_event *events;
    int max;
    int timeout_ms;
    const struct timespec *timeout;
    const sigset_t *mask;
    bool exact; // epoll_pwait2
};

// A description for a new epoll number; the number, or -errno (the number is closed then).
int nt_epoll_adopt(int epfd, bool cloexec);
// What an instance needs before its first newtos socket, or before it is slept on together with
// others; idempotent. In a child of fork() the registrations come to life: each socket is the
// child's, too, from now on (share.h).
int nt_epoll_give_queue(struct nt_epoll *epoll, int epfd);
static inline void nt_epoll_revive(struct nt_epoll *epoll, int epfd)
{
    if (NT_UNLIKELY(nt_load_relaxed(&epoll->inherited)))
        (void)nt_epoll_give_queue(epoll, epfd);
}
int nt_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int nt_epoll_wait(const struct nt_epoll_wait *call);
// A kernel descriptor was registered in the kernel's instance behind `epfd`.
void nt_epoll_kernel_added(int epfd);

// The socket is pumped (share.h): its registrations go to the kernel's instances.
void nt_epoll_become_kernels(struct nt_file *file);

// poll() on an epoll number: whether a newtos socket of it has something to report.
bool nt_epoll_readable(struct nt_epoll *epoll);
// What poll() sleeps on for it, beside the kernel's instance; and takes back what was rung there.
int nt_epoll_bell(const struct nt_epoll *epoll);
void nt_epoll_drain(struct nt_epoll *epoll);
// Takes what others sleep for off the bell of an instance: rings it again, if there is anything.
void nt_epoll_ring_again(struct nt_epoll *epoll);

void nt_epoll_push(struct nt_epoll_item *item);
// The same for what is no news: it was reported, and still holds.
void nt_epoll_keep_ready(struct nt_epoll_item *item);

// The newtos half of an instance inside another, `item->target` in `outer`; under its lock.
int nt_epoll_nest(struct nt_epoll *outer, struct nt_epoll_item *item);
void nt_epoll_unnest(struct nt_epoll *outer, struct nt_epoll_item *item);
bool nt_epoll_inner_readable(struct nt_epoll *outer);
// Adds to `events`, of which the kernel wrote the first `from_kernel`: how many there are now.
int nt_epoll_collect_inner(struct nt_epoll *outer, int epfd, struct epoll_event *events,
                           int from_kernel, int count, int max);
// Ends the first registration of a description that ends.
void nt_epoll_drop_first(struct nt_file *file);
// All registrations in an instance: end; or come to life in a child (nt_epoll_give_queue()).
void nt_epoll_drop_all(struct nt_epoll *epoll);
void nt_epoll_revive_all(struct nt_epoll *epoll, int epfd);
void nt_epoll_items_child(void);
// The number `epfd` of an instance is about to be closed, perhaps while calls are in it.
void nt_epoll_keep(struct nt_file *file, int epfd);
void nt_epoll_end(struct nt_file *file);
// In a child of fork(): of all instances, then of each that has a number.
void nt_epolls_child(void);
void nt_epoll_child(struct nt_file *file);

#endif
