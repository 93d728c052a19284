// event_queue.h: who is woken: event queues (libc_shim/sockets/queue.h) with their eventfd.
//
// A thread takes a queue when it first blocks and keeps it to its end; an epoll instance takes one
// with its first newtos socket. The numbers 1 .. NT_AREA_QUEUES - 1 are made known to the servers
// once (QUEUE) and reused afterwards.
//
// Queue 0 is everybody's: sockets that are waited for in several places are in it, and so is
// whoever finds no number left. Nobody sleeps on it alone: every sleeper sleeps on queue 0 beside
// its own queue, unless no socket is in it and no other thread is there to put one in meanwhile.
// Whoever is woken by it, or sweeps before it sleeps, spreads the news to all that watch those
// sockets (nt_shared_spread, in watch.c), ringing their own eventfds.
#ifndef NT_PRELOAD_EVENT_QUEUE_H
#define NT_PRELOAD_EVENT_QUEUE_H

#include "libc_shim/sockets/queue.h"

struct nt_event_queue {
    struct nt_queue queue; // number 0: none was left, the sockets are in everybody's
    int fd;                // eventfd
    // Signal handlers that rang it for their own thread, which has not noticed yet: of several
    // threads that sleep here another may have taken the ring, and then rings again.
    uint32_t signalled;
    struct nt_event_queue *next_free;
} NT_ALIGNED(64);

// NULL: no descriptor or memory left, or the host is gone.
struct nt_event_queue *nt_event_queue_take(void);
void nt_event_queue_give(struct nt_event_queue *queue);
// Wakes whoever sleeps on it, from within the program.
void nt_event_queue_ring(struct nt_event_queue *queue);
// Takes back what was rung; never blocks.
void nt_event_queue_drain(struct nt_event_queue *queue);

// Everybody's queue; NULL if it cannot be had.
struct nt_event_queue *nt_event_queue_shared(void);

void nt_event_queues_child(void);

#endif
