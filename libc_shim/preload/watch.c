// watch.c: see watch.h.

#include "libc_shim/preload/watch.h"

#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/slab.h"

enum {
    SPREAD_BATCH = 32,
};

uint32_t nt_shared_sockets;

static struct nt_slab slab = NT_SLAB(struct nt_watch, thread_next);

static void tell(const struct nt_watch *watch)
{
    if (watch->item != NULL)
        nt_epoll_push(watch->item);
    nt_event_queue_ring(watch->queue);
}

static void tell_all(const struct nt_file *file)
{
    for (const struct nt_watch *watch = file->watches; watch != NULL; watch = watch->next)
        tell(watch);
}

// The queue number that fits the watches, or -1: none watches.
static int64_t fitting_queue(const struct nt_file *file)
{
    const struct nt_watch *first = file->watches;
    if (first == NULL)
        return -1;
    for (const struct nt_watch *watch = first->next; watch != NULL; watch = watch->next)
        if (watch->queue != first->queue)
            return 0;
    return first->queue->queue.number;
}

// Under the file's watch_lock.
static void choose_queue(struct nt_file *file)
{
    if (!nt_file_is_socket(file))
        return;
    int64_t number = fitting_queue(file);
    bool shared = number == 0;
    if (shared != (file->shared != 0)) {
        file->shared = shared;
        __atomic_add_fetch(&nt_shared_sockets, shared ? 1u : UINT32_MAX, __ATOMIC_SEQ_CST);
        if (number >= 0)
            nt_sock_set_queue(&file->sock, (uint32_t)number);
        tell_all(file);
    } else if (number > 0 && nt_sock_queue(&file->sock) != (uint32_t)number) {
        nt_sock_set_queue(&file->sock, (uint32_t)number);
    }
}

void nt_watch_add(struct nt_watch *watch, struct nt_file *file, struct nt_event_queue *queue)
{
    watch->file = file;
    watch->queue = queue;
    // Everybody's queue must be known to the servers before a socket names it; asking for it may
    // block, so not under the lock. A watch too many here costs a descriptor, nothing else.
    if (queue->queue.number == 0 || nt_load_relaxed(&file->watches) != NULL)
        (void)nt_event_queue_shared();
    nt_lock(&file->watch_lock);
    watch->next = file->watches;
    nt_store_relaxed(&file->watches, watch);
    choose_queue(file);
    nt_unlock(&file->watch_lock);
}

void nt_watch_remove(struct nt_watch *watch)
{
    struct nt_file *file = watch->file;
    nt_lock(&file->watch_lock);
    for (struct nt_watch **at = &file->watches; *at != NULL; at = &(*at)->next) {
        if (*at == watch) {
            nt_store_relaxed(at, watch->next);
            break;
        }
    }
    choose_queue(file);
    nt_unlock(&file->watch_lock);
}

bool nt_watch_begin(struct nt_thread *self, struct nt_file *file)
{
    struct nt_watch *watch = nt_slab_take(&slab);
    if (watch == NULL)
        return false;
    watch->item = NULL;
    nt_watch_add(watch, file, self->queue);
    watch->thread_next = self->watches;
    self->watches = watch;
    return true;
}

static void end_first(struct nt_thread *self)
{
    struct nt_watch *watch = self->watches;
    self->watches = watch->thread_next;
    nt_watch_remove(watch);
    nt_slab_give(&slab, watch);
}

void nt_watch_end(struct nt_thread *self, const struct nt_watch *mark)
{
    // In a child that a handler forked there are none.
    while (self->watches != mark && self->watches != NULL)
        end_first(self);
}

void nt_watch_drop_file(struct nt_file *file)
{
    while (nt_load_acquire(&file->watches) != NULL)
        nt_epoll_drop_first(file);
    if (file->shared) {
        file->shared = 0;
        __atomic_sub_fetch(&nt_shared_sockets, 1u, __ATOMIC_SEQ_CST);
    }
}

void nt_watch_notify(struct nt_file *file)
{
    if (nt_load_acquire(&file->watches) == NULL)
        return;
    nt_lock(&file->watch_lock);
    for (const struct nt_watch *watch = file->watches; watch != NULL; watch = watch->next)
        if (watch->item != NULL)
            nt_store_release(&watch->item->kicks, watch->item->kicks + 1);
    tell_all(file);
    nt_unlock(&file->watch_lock);
}

void nt_watch_moved(struct nt_file *file)
{
    nt_lock(&file->watch_lock);
    int64_t number = fitting_queue(file);
    if (number >= 0)
        nt_sock_set_queue(&file->sock, (uint32_t)number);
    tell_all(file);
    nt_unlock(&file->watch_lock);
}

static void spread(struct nt_file *file)
{
    nt_lock(&file->watch_lock);
    tell_all(file);
    nt_unlock(&file->watch_lock);
}

void nt_shared_spread(void)
{
    struct nt_event_queue *shared = nt_event_queue_shared();
    struct nt_sock *sock[SPREAD_BATCH];
    uint32_t count;
    if (shared == NULL)
        return;
    while ((count = nt_queue_collect(&nt_context, &shared->queue, sock, SPREAD_BATCH)) != 0) {
        for (uint32_t i = 0; i < count; i++)
            spread(sock[i]->user);
    }
}

void nt_watches_child(void)
{
    nt_slab_child(&slab);
    nt_shared_sockets = 0;
}
