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
#ifndef NT_PRELOAD_BLOCKING_H
#define NT_PRELOAD_BLOCKING_H

#include "libc_shim/preload/event_queue.h"
#include "libc_shim/preload/file.h"
#include "libc_shim/preload/thread.h"
#include "newtos_py/kernel/clock.h"

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

// Raises the flags of the queue, and of everybody's if any socket is in it. True: the caller may
// block. nt_sleep_leave() follows in any case; it drains and spreads what was rung.
struct nt_sleep {
    struct nt_event_queue *queue;
    struct nt_event_queue *shared;     // NULL: not slept on
    struct nt_event_queue *bell_below; // of the call that a signal handler interrupted
};
bool nt_sleep_enter(struct nt_sleep *sleep, struct nt_thread *self, struct nt_event_queue *queue);
void nt_sleep_leave(struct nt_sleep *sleep, struct nt_thread *self);
// Forgets the hints of a queue whose owner looks at levels anyway.
void nt_sleep_sweep(struct nt_event_queue *queue);

// Waits until the socket has one of `events` (or POLLERR, POLLHUP): 0, -EINTR, -EAGAIN (the
// deadline has passed), -ENOBUFS, -ENETDOWN (the host is gone).
int nt_wait_for(struct nt_file *file, uint32_t events, uint64_t deadline_ns);
// Waits for anything at all that the server may have to say about it (a mailbox reply).
int nt_wait_for_news(struct nt_file *file, uint32_t events_seen, uint64_t deadline_ns);

// A call that does not block found nothing: one that keeps asking lets others run. -EAGAIN, or
// -ENETDOWN if nothing can come any more.
int nt_fruitless(struct nt_thread *self);

// The level that poll() says: nt_sock_poll(), and that of a broken socket once the host is gone.
uint32_t nt_level_of(struct nt_sock *sock);

#endif
