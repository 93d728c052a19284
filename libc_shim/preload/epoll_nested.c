// epoll_nested.c: epoll instances inside others.
//
// The program's own instances are nested in the kernel, as it asked: so the kernel checks for
// loops, depth and doubles, and reports the kernel's descriptors of the inner one. What is added
// here is the newtos half: a registration of the inner instance in the outer one, and the inner
// `both` in the outer `both`, so that whoever sleeps on the outer wakes for the inner's news.
//
// Inner instances are asked, not told: a look at the outer sweeps each. While an instance is inside
// another its queue's flag stays up, so that its eventfd is rung for everything, whoever sleeps
// where. There are few of them, so the list is walked.
//
// An inner instance that both halves have something for comes once a call: as the program sees it,
// it is one descriptor. Locks: the outer instance's before the inner's; the kernel has made sure
// that there are no circles.

#include "libc_shim/preload/epoll.h"

#include "libc_shim/preload/process.h"

#include <errno.h>

enum {
    HARVEST = 8,
    // Events of an epoll descriptor are those of a pipe to read from.
    READABLE = EPOLLIN | EPOLLRDNORM,
};

#define ITEM_OF(link) \
    ((struct nt_epoll_item *)(void *)((uint8_t *)(link)-offsetof(struct nt_epoll_item, inner)))

int nt_epoll_nest(struct nt_epoll *outer, struct nt_epoll_item *item)
{
    struct nt_epoll *inner = item->target;
    struct epoll_event bell = {.events = EPOLLIN | EPOLLET, .data.fd = NT_EPOLL_BELL};
    if (nt_real.epoll_ctl(outer->both, EPOLL_CTL_ADD, inner->both, &bell) != 0 && errno != EEXIST)
        return -errno;
    __atomic_add_fetch(&inner->waiters, 1u, __ATOMIC_SEQ_CST);
    (void)nt_queue_sleep(&nt_context, &inner->queue->queue);
    item->inner.next = &outer->inner;
    item->inner.prev = outer->inner.prev;
    outer->inner.prev->next = &item->inner;
    outer->inner.prev = &item->inner;
    nt_store_relaxed(&outer->inner_count, outer->inner_count + 1);
    return 0;
}

void nt_epoll_unnest(struct nt_epoll *outer, struct nt_epoll_item *item)
{
    struct nt_epoll *inner = item->target;
    bool again = false; // the same instance by another number
    item->inner.prev->next = item->inner.next;
    item->inner.next->prev = item->inner.prev;
    nt_store_relaxed(&outer->inner_count, outer->inner_count - 1);
    for (struct nt_link *link = outer->inner.next; link != &outer->inner; link = link->next)
        again = again || ITEM_OF(link)->target == inner;
    if (!again)
        (void)nt_real.epoll_ctl(outer->both, EPOLL_CTL_DEL, inner->both, NULL);
    nt_queue_wake(&nt_context, &inner->queue->queue);
    __atomic_sub_fetch(&inner->waiters, 1u, __ATOMIC_SEQ_CST);
}

bool nt_epoll_inner_readable(struct nt_epoll *outer)
{
    for (struct nt_link *link = outer->inner.next; link != &outer->inner; link = link->next) {
        const struct nt_epoll_item *item = ITEM_OF(link);
        if ((item->events & READABLE) != 0 && nt_epoll_readable(item->target))
            return true;
    }
    return false;
}

static bool is_among(uint64_t data, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++)
        if (events[i].data.u64 == data && (events[i].events & READABLE) != 0)
            return true;
    return false;
}

static uint32_t look(struct nt_epoll_item *item)
{
    if ((item->events & READABLE) == 0 || !nt_epoll_readable(item->target))
        return 0;
    uint32_t seen = nt_load_relaxed(&item->target->news);
    if ((item->events & EPOLLET) != 0 && item->was_reported && item->seen.events == seen)
        return 0;
    item->seen.events = seen;
    item->was_reported = true;
    return item->events & READABLE;
}

int nt_epoll_collect_inner(struct nt_epoll *outer, int epfd, struct epoll_event *events,
                           int from_kernel, int count, int max)
{
    for (struct nt_link *link = outer->inner.next; link != &outer->inner; link = link->next) {
        struct nt_epoll_item *item = ITEM_OF(link);
        struct epoll_event off = {.data.u64 = item->data};
        bool reported = is_among(item->data, events, from_kernel);
        uint32_t ready = reported || count < max ? look(item) : 0;
        if (ready != 0 && !reported)
            events[count++] = (struct epoll_event){.events = ready, .data.u64 = item->data};
        if ((ready == 0 && !reported) || (item->events & EPOLLONESHOT) == 0)
            continue;
        item->events = 0;
        off.events = EPOLLONESHOT;
        (void)nt_real.epoll_ctl(epfd, EPOLL_CTL_MOD, item->fd, &off);
    }
    return count;
}

int nt_epoll_bell(const struct nt_epoll *epoll)
{
    return nt_load_relaxed(&epoll->inner_count) != 0 ? epoll->both : epoll->queue->fd;
}

void nt_epoll_drain(struct nt_epoll *epoll)
{
    struct epoll_event event[HARVEST];
    nt_event_queue_drain(epoll->queue);
    if (nt_load_relaxed(&epoll->inner_count) != 0)
        while (nt_quiet_epoll_look(epoll->both, event, HARVEST, NULL) == HARVEST) {
        }
}
