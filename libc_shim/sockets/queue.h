// queue.h: event queues, what a thread that waits for several sockets sweeps and sleeps on.
//
// A queue is a number (1 .. NT_AREA_QUEUES - 1, the caller gives them out; the same in all areas)
// and an eventfd, told to the servers over the control connection (NT_CTL_QUEUE) before the first
// socket names it. Queue 0 is for sockets that are waited for in several places; its collector fans
// out. A server that has news of a socket sets the socket's bit in the queue's ready bitmap, and
// writes the eventfd if the queue's sleeping flag is up.
//
// Waiting, by the thread that owns the queue:
//     for (;;) {
//         collect, until 0; look at each socket's level (nt_sock_poll); return what is ready
//         if (nt_queue_sleep(...)) { flush; block in poll() on the eventfd, with a timeout }
//         nt_queue_wake(...)       // drain the eventfd when it was readable
//     }
// Bits are hints: a socket that is collected need not be ready, and one put into the queue must be
// looked at once after nt_sock_set_queue(), because its news may have gone elsewhere before. For
// level-triggered reports, the caller keeps the sockets that were ready and looks at them again;
// for edge-triggered ones it compares nt_sock_events() with what it last reported.
//
// Any number of threads may use one queue; `lock` guards what is private to it. The flag counts its
// sleepers in `sleepers`, so that it stays up while one is left.
#ifndef NT_SHIM_QUEUE_H
#define NT_SHIM_QUEUE_H

#include "libc_shim/sockets/context.h"

struct nt_queue {
    struct nt_spin lock;
    uint32_t number;
    uint32_t is_mute; // no server tells it: see nt_queue_init_mute()
    uint32_t sleepers;
    // Where the sweep goes on.
    uint32_t next_area;
    uint32_t next_word;
    // Slots taken out of a bitmap word but not yet handed over.
    uint64_t left_bits;
    uint32_t left_area;
    uint32_t left_word;
};

// Forgets what is in the bitmaps of that number (an earlier owner's).
void nt_queue_init(struct nt_sock_context *context, struct nt_queue *queue, uint32_t number);

// Without a number of its own: its sockets are in queue 0, and only whoever collects that one and
// fans out wakes it. It must not touch the bitmaps and the flag of queue 0, which are another's;
// collecting finds nothing.
void nt_queue_init_mute(struct nt_queue *queue);

// Takes up to `max` sockets out of the ready bitmaps; 0 when all were empty. One comes twice only
// if it has news while the call lasts. The sweep goes round areas and words, so that busy ones
// don't starve others. A socket object may be closed by another thread at any time, so its memory
// must stay what it is (a struct nt_sock) for the life of the context; one that was reused
// meanwhile is just looked at in vain.
uint32_t nt_queue_collect(struct nt_sock_context *context, struct nt_queue *queue,
                          struct nt_sock **out, uint32_t max);

// Raises the flag in every area, fences, looks again. True: the caller may block. False: there is
// something to collect. nt_queue_wake() must follow in both cases.
bool nt_queue_sleep(struct nt_sock_context *context, struct nt_queue *queue);
void nt_queue_wake(struct nt_sock_context *context, struct nt_queue *queue);

// In a child of fork().
void nt_queue_child(struct nt_queue *queue);

#endif
