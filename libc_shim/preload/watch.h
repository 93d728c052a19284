// watch.h: who waits for a socket, and so which event queue hears of it.
//
// A watch is one epoll registration, or one thread that blocks in a call. While all watches of a
// socket lead to one event queue the server tells that one; otherwise the socket is *shared*: it is
// in everybody's queue (event_queue.h), and news is spread here. After the last watch is gone the
// socket stays in the queue it was in: news in vain, instead of an update a call.
//
// Changing queues loses nothing: who starts to watch looks at the level afterwards; who watches
// already is told to look again, at the change to shared and back.
//
// Locks, outer first: an epoll instance's, the file's watch_lock, the instance's ready_lock.
#ifndef NT_PRELOAD_WATCH_H
#define NT_PRELOAD_WATCH_H

#include "libc_shim/preload/event_queue.h"
#include "libc_shim/preload/file.h"
#include "libc_shim/preload/thread.h"

struct nt_epoll_item;

struct nt_watch {
    struct nt_watch *next; // of the file
    struct nt_file *file;
    struct nt_event_queue *queue;
    struct nt_epoll_item *item;   // of an epoll registration; NULL: a thread blocks
    struct nt_watch *thread_next; // of the thread
} NT_ALIGNED(64);

void nt_watch_add(struct nt_watch *watch, struct nt_file *file, struct nt_event_queue *queue);
void nt_watch_remove(struct nt_watch *watch);

// A thread that is about to block on `file`, which it holds; false: no memory. Its watches are a
// stack (a signal handler may block, too): nt_watch_end() ends those above `mark`, what
// self->watches was before.
bool nt_watch_begin(struct nt_thread *self, struct nt_file *file);
void nt_watch_end(struct nt_thread *self, const struct nt_watch *mark);

// The description ends: epoll registrations of it go.
void nt_watch_drop_file(struct nt_file *file);

// The program itself changed what poll would say (shutdown, connect, listen).
void nt_watch_notify(struct nt_file *file);

// The socket is in another slot: it is heard of in the queue it was in, and all look again.
void nt_watch_moved(struct nt_file *file);

// How many sockets are in everybody's queue.
extern uint32_t nt_shared_sockets;
static inline bool nt_shared_any(void) { return nt_load_relaxed(&nt_shared_sockets) != 0; }
// Takes what is in everybody's queue and tells all who watch those sockets.
void nt_shared_spread(void);

void nt_watches_child(void);

#endif
