// blocking.h: how a thread waits: the idle ladder, and the sleep at its end (architecture §6).
//
//     yield while there may be somebody to hand over to, looking in between
//     watch the sockets; look; raise the flags; look at the bitmaps; block on the eventfd
//
// A call that waits for one socket without a limit goes on after a signal, or says EINTR, as
// SA_RESTART asks (signals.h). With a limit (SO_RCVTIMEO, poll) Linux says EINTR always.
//
// Every sleeper also hears when the control connection ends: then the host is gone, and sockets
// answer ENETDOWN.
//
// A thread may never come back from a sleep: a signal handler leaves it by siglongjmp(), or it is
// cancelled. Each sleep is on libc's own list of what those undo, and lets go of what its call has
// in hand: flags, watches, descriptions. And a handler may fork: the child comes back from a sleep
// that was its parent's, finds nothing of that in place, and says EINTR.
#ifndef NT_PRELOAD_BLOCKING_H
#define NT_PRELOAD_BLOCKING_H

#include "libc_shim/preload/event_queue.h"
#include "libc_shim/preload/file.h"
#include "libc_shim/preload/thread.h"
#include "newtos_py/kernel/clock.h"

#include <pthread.h>

#define NT_FOREVER UINT64_MAX // no deadline

// The deadline of a call that starts now and may take so long.
uint64_t nt_deadline(uint64_t timeout_ns);
uint64_t nt_deadline_of(const struct timespec *timeout); // NULL: NT_FOREVER
uint64_t nt_deadline_option(uint64_t timeout_ns);        // SO_RCVTIMEO, SO_SNDTIMEO; 0: NT_FOREVER
struct timespec nt_time_left(uint64_t deadline_ns);

// The thread's own queue; NULL if none can be had.
struct nt_event_queue *nt_thread_queue(struct nt_thread *self);

// One rung of the ladder: true if the caller should look again.
bool nt_idle_again(struct nt_thread *self);

// Around all that a call does to block. What a signal handler's blocking call took off the thread's
// queue may have been meant for the call below it, which is made to look again.
void nt_block_begin(struct nt_thread *self);
void nt_block_end(struct nt_thread *self);

// One sleep of a call between nt_block_begin() and nt_block_end(). `give_up(held)` lets go of what
// the call holds, should the thread never return to it; watches above `mark` are ended before.
struct nt_sleep {
    void (*give_up)(void *held);
    void *held;
    const struct nt_watch *mark;
    // The rest is for the functions below.
    struct _pthread_cleanup_buffer undo;
    struct nt_thread *self;
    struct nt_event_queue *queue;      // NULL: asleep in the kernel alone
    struct nt_event_queue *shared;     // NULL: not slept on
    struct nt_event_queue *bell_below; // of the call that a signal handler interrupted
    uint32_t signalled_below;
    uint32_t forks;
};

// Raises the flags of the queue, and of everybody's if any socket is in it or may come into it.
// True: the caller may block. nt_sleep_leave() follows in any case; it spreads what was rung. Who
// blocked on the eventfds themselves drains them before; in an epoll instance they are edges.
// False: this is a child, forked in between: nothing of the sleep is left, the call ends with
// EINTR.
bool nt_sleep_enter(struct nt_sleep *sleep, struct nt_thread *self, struct nt_event_queue *queue);
bool nt_sleep_leave(struct nt_sleep *sleep);
// The same for a sleep in the kernel alone, outside of nt_block_begin() and nt_block_end().
void nt_sleep_enter_kernel(struct nt_sleep *sleep, struct nt_thread *self);
bool nt_sleep_leave_kernel(struct nt_sleep *sleep);
// Forgets the hints of a queue whose owner looks at levels anyway.
void nt_sleep_sweep(struct nt_event_queue *queue);

// Waits until the socket has one of `events` (or POLLERR, POLLHUP): 0, -EINTR, -EAGAIN (the
// deadline has passed), -ENOBUFS, -ENETDOWN (the host is gone). If the thread never returns, the
// caller's hold of the file is dropped.
int nt_wait_for(struct nt_file *file, uint32_t events, uint64_t deadline_ns);
// The same for a caller that holds more: `give_up(held)` lets go of all, the file too.
int nt_wait_holding(struct nt_file *file, uint32_t events, uint64_t deadline_ns,
                    void (*give_up)(void *held), void *held);
// Waits for anything at all that the server may have to say about it (a mailbox reply).
int nt_wait_for_news(struct nt_file *file, uint32_t events_seen, uint64_t deadline_ns);

// A call that does not block found nothing: one that keeps asking lets others run. -EAGAIN, or
// -ENETDOWN if nothing can come any more.
int nt_fruitless(struct nt_thread *self);

// The level that poll() says: nt_sock_poll(), and that of a broken socket once the host is gone.
uint32_t nt_level_of(struct nt_sock *sock);

#endif
