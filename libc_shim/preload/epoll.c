// epoll.c: what is registered in epoll instances, and epoll_ctl(). See epoll.h.

#include "libc_shim/preload/epoll.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/slab.h"

#include <errno.h>

// What may be asked for together with EPOLLEXCLUSIVE (fs/eventpoll.c).
#define EXCLUSIVE_OK \
    ((uint32_t)(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE))

static struct nt_slab items = NT_SLAB(struct nt_epoll_item, next_free);

#define ITEM_OF(link, member) \
    ((struct nt_epoll_item *)(void *)((uint8_t *)(link)-offsetof(struct nt_epoll_item, member)))

static void list_append(struct nt_link *head, struct nt_link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static void list_unlink(struct nt_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

void nt_epoll_push(struct nt_epoll_item *item)
{
    nt_store_relaxed(&item->epoll->news, nt_load_relaxed(&item->epoll->news) + 1);
    nt_epoll_keep_ready(item);
}

void nt_epoll_keep_ready(struct nt_epoll_item *item)
{
    struct nt_epoll *epoll = item->epoll;
    if (__atomic_exchange_n(&item->queued, 1u, __ATOMIC_SEQ_CST) != 0)
        return;
    nt_lock(&epoll->ready_lock);
    list_append(&epoll->ready, &item->ready);
    nt_store_relaxed(&epoll->ready_count, epoll->ready_count + 1);
    nt_unlock(&epoll->ready_lock);
}

static void unqueue(struct nt_epoll_item *item)
{
    struct nt_epoll *epoll = item->epoll;
    if (__atomic_exchange_n(&item->queued, 0u, __ATOMIC_SEQ_CST) == 0)
        return;
    nt_lock(&epoll->ready_lock);
    list_unlink(&item->ready);
    nt_store_relaxed(&epoll->ready_count, epoll->ready_count - 1);
    nt_unlock(&epoll->ready_lock);
}

// -- Registrations ---------------------------------------------------------------------------

// Under the instance's lock.
static struct nt_epoll_item *find_item(const struct nt_epoll *epoll, struct nt_file *file, int fd)
{
    struct nt_epoll_item *found = NULL;
    nt_lock(&file->watch_lock);
    for (struct nt_watch *watch = file->watches; watch != NULL && found == NULL;
         watch = watch->next)
        if (watch->item != NULL && watch->item->epoll == epoll && watch->item->fd == fd)
            found = watch->item;
    nt_unlock(&file->watch_lock);
    return found;
}

static void set_interest(struct nt_epoll_item *item, const struct epoll_event *event)
{
    item->events = event->events | EPOLLERR | EPOLLHUP;
    item->data = event->data.u64;
    item->was_reported = false;
    if (item->target != NULL)
        return;
    nt_fence();
    nt_epoll_push(item); // to be looked at
}

// Under the instance's lock.
static void remove_item(struct nt_epoll_item *item)
{
    nt_watch_remove(&item->watch); // nobody pushes it from here on
    if (item->target != NULL)
        nt_epoll_unnest(item->epoll, item);
    unqueue(item);
    list_unlink(&item->all);
    nt_slab_give(&items, item);
}

static int add_item(struct nt_epoll *epoll, struct nt_file *file, int fd,
                    const struct epoll_event *event)
{
    struct nt_epoll_item *item = nt_slab_take(&items);
    if (item == NULL)
        return -ENOMEM;
    item->target = file->epoll; // NULL for a socket
    item->epoll = epoll;
    item->fd = fd;
    item->queued = 0;
    item->events = 0;
    item->watch.item = item;
    // May ask the syscall server for everybody's queue, so not under the lock.
    nt_watch_add(&item->watch, file, epoll->queue);
    int result = 0;
    nt_lock(&epoll->lock);
    list_append(&epoll->all, &item->all);
    if (item->target != NULL)
        result = nt_epoll_nest(epoll, item);
    if (result == 0)
        set_interest(item, event);
    else
        remove_item(item);
    nt_unlock(&epoll->lock);
    return result;
}

static int change_item(struct nt_epoll *epoll, struct nt_file *file, int fd, int op,
                       const struct epoll_event *event)
{
    int result = -ENOENT;
    nt_lock(&epoll->lock);
    struct nt_epoll_item *item = find_item(epoll, file, fd);
    if (item != NULL) {
        result = 0;
        if (op == EPOLL_CTL_DEL)
            remove_item(item);
        else if ((item->events & EPOLLEXCLUSIVE) != 0 || (event->events & EPOLLEXCLUSIVE) != 0)
            result = -EINVAL; // as epoll_ctl(2) says
        else
            set_interest(item, event);
    }
    nt_unlock(&epoll->lock);
    return result;
}

// One that came over fork(), under its number then. It watches again, or goes.
static void revive_item(struct nt_epoll_item *item, int epfd)
{
    struct nt_epoll *epoll = item->epoll;
    struct epoll_event event = {.events = item->events, .data.u64 = item->data};
    struct nt_file *file;
    int fd = item->fd;
    int held = nt_file_hold_any(fd, &file);
    if (held == 0 && file == item->watch.file && file->kind == NT_FILE_EPOLL)
        held = nt_epoll_give_queue(file->epoll, fd);
    bool usable = held == 0 && (nt_file_is_socket(file) || file->kind == NT_FILE_EPOLL);
    if (usable && file == item->watch.file) {
        item->queued = 0;
        nt_watch_add(&item->watch, file, epoll->queue);
        nt_lock(&epoll->lock);
        list_append(&epoll->all, &item->all);
        if (item->target == NULL || nt_epoll_nest(epoll, item) == 0)
            set_interest(item, &event);
        else
            remove_item(item);
        nt_unlock(&epoll->lock);
    } else {
        if (held == NT_IS_KERNELS && nt_real.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) == 0)
            nt_epoll_kernel_added(epfd);
        nt_slab_give(&items, item);
    }
    if (file != NULL)
        nt_file_drop(file);
}

void nt_epoll_revive_all(struct nt_epoll *epoll, int epfd)
{
    struct nt_link old;
    nt_lock(&epoll->lock);
    bool ours = epoll->inherited;
    nt_store_relaxed(&epoll->inherited, false);
    if (ours) {
        old = epoll->all;
        old.next->prev = old.prev->next = &old;
        nt_link_init(&epoll->all);
    }
    nt_unlock(&epoll->lock);
    while (ours && old.next != &old) {
        struct nt_epoll_item *item = ITEM_OF(old.next, all);
        list_unlink(&item->all);
        revive_item(item, epfd);
    }
}

static int add_new(struct nt_epoll *epoll, int epfd, struct nt_file *file, int fd,
                   const struct epoll_event *event)
{
    if ((event->events & EPOLLEXCLUSIVE) != 0 && (event->events & ~EXCLUSIVE_OK) != 0)
        return -EINVAL;
    int result = nt_epoll_give_queue(epoll, epfd);
    if (result != 0)
        return result;
    nt_lock(&epoll->lock);
    bool exists = find_item(epoll, file, fd) != NULL;
    nt_unlock(&epoll->lock);
    return exists ? -EEXIST : add_item(epoll, file, fd, event);
}

static int ctl_socket(struct nt_epoll *epoll, int epfd, int op, struct nt_file *file, int fd,
                      const struct epoll_event *event)
{
    int result = -EINVAL;
    if (op == EPOLL_CTL_ADD)
        result = event == NULL ? -EFAULT : add_new(epoll, epfd, file, fd, event);
    else if (op == EPOLL_CTL_MOD)
        result = event == NULL ? -EFAULT : change_item(epoll, file, fd, op, event);
    else if (op == EPOLL_CTL_DEL)
        result = change_item(epoll, file, fd, op, event);
    if (result == 0 && op != EPOLL_CTL_DEL && nt_load_acquire(&epoll->waiters) != 0)
        nt_event_queue_ring(epoll->queue);
    return result;
}

// An epoll number that the shim has not seen being made (it came through exec, or from a library
// that went past the shim) is adopted with its first newtos socket: the kernel says EINVAL for what
// is no epoll instance, and ENOENT for the placeholder of `fd`, which is in none.
static int hold_instance(int epfd, int fd, struct nt_file **instance)
{
    *instance = NULL;
    if (nt_fd_get(epfd) == NULL) {
        if (nt_real.epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL) == 0 || errno != ENOENT)
            return -errno;
        int result = nt_epoll_adopt(epfd, false);
        if (result < 0)
            return result;
        nt_epoll_kernel_added(epfd); // perhaps
    }
    *instance = nt_file_hold(epfd);
    if (*instance == NULL)
        return -EBADF;
    if ((*instance)->kind == NT_FILE_EPOLL)
        return 0;
    nt_file_drop(*instance);
    *instance = NULL;
    return -EINVAL;
}

static int ctl_held(int epfd, int op, struct nt_file *target, int fd, struct epoll_event *event)
{
    struct nt_file *instance;
    if (!nt_file_is_socket(target))
        return -EPERM;
    int result = hold_instance(epfd, fd, &instance);
    if (instance == NULL)
        return result;
    nt_epoll_revive(instance->epoll, epfd);
    result = ctl_socket(instance->epoll, epfd, op, target, fd, event);
    nt_file_drop(instance);
    return result;
}

static int ctl_kernel(int epfd, int op, int fd, struct epoll_event *event)
{
    int result = nt_real.epoll_ctl(epfd, op, fd, event) == 0 ? 0 : -errno;
    if (result == 0 && op == EPOLL_CTL_ADD)
        nt_epoll_kernel_added(epfd);
    return result;
}

// The newtos half of an instance inside another; the kernel's is done (epoll_nested.c).
static int nest(struct nt_file *outer, int epfd, int op, struct nt_file *inner, int fd,
                const struct epoll_event *event)
{
    nt_epoll_revive(outer->epoll, epfd);
    if (op != EPOLL_CTL_ADD)
        return ctl_socket(outer->epoll, epfd, op, inner, fd, event);
    int result = nt_epoll_give_queue(inner->epoll, fd);
    if (result == 0)
        result = ctl_socket(outer->epoll, epfd, op, inner, fd, event);
    if (result != 0)
        (void)nt_real.epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);
    return result;
}

static int ctl_epoll(int epfd, int op, struct nt_file *target, int fd, struct epoll_event *event)
{
    int result = ctl_kernel(epfd, op, fd, event);
    struct nt_file *instance = result == 0 ? nt_file_hold(epfd) : NULL;
    if (instance == NULL)
        return result;
    if (instance->kind == NT_FILE_EPOLL)
        result = nest(instance, epfd, op, target, fd, event);
    nt_file_drop(instance);
    return result;
}

static bool is_taken(int fd)
{
    const struct nt_file *file = nt_fd_get(fd);
    return file == NT_FD_CLOSED || file == NT_FD_OURS;
}

int nt_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    if (is_taken(epfd) || is_taken(fd))
        return -EBADF;
    struct nt_file *target = NULL;
    int saved = errno;
    if (nt_fd_get(fd) != NULL)
        (void)nt_file_hold_any(fd, &target);
    int result;
    if (target == NULL)
        result = ctl_kernel(epfd, op, fd, event);
    else if (target->kind == NT_FILE_EPOLL)
        result = ctl_epoll(epfd, op, target, fd, event);
    else
        result = ctl_held(epfd, op, target, fd, event);
    if (target != NULL)
        nt_file_drop(target);
    errno = saved;
    return result;
}

// -- Pumped sockets --------------------------------------------------------------------------

static int number_of(const struct nt_epoll *epoll)
{
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; fd <= highest; fd++) {
        const struct nt_file *file = nt_fd_get(fd);
        if (file >= NT_FD_FIRST && file->kind == NT_FILE_EPOLL && file->epoll == epoll)
            return fd;
    }
    return -1;
}

void nt_epoll_become_kernels(struct nt_file *file)
{
    for (;;) {
        struct nt_epoll *epoll = NULL;
        struct epoll_event event = {.events = 0};
        int fd = -1;
        nt_lock(&file->watch_lock);
        for (struct nt_watch *watch = file->watches; watch != NULL; watch = watch->next) {
            if (watch->item == NULL)
                continue;
            epoll = watch->item->epoll;
            fd = watch->item->fd;
            event.events = watch->item->events;
            event.data.u64 = watch->item->data;
        }
        nt_unlock(&file->watch_lock);
        if (epoll == NULL || change_item(epoll, file, fd, EPOLL_CTL_DEL, NULL) != 0)
            return;
        int epfd = number_of(epoll);
        if (epfd >= 0 && nt_real.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) == 0)
            nt_epoll_kernel_added(epfd);
    }
}

// -- Ending ----------------------------------------------------------------------------------

void nt_epoll_drop_first(struct nt_file *file)
{
    nt_lock(&file->watch_lock);
    struct nt_watch *first = file->watches;
    struct nt_epoll *epoll = first != NULL && first->item != NULL ? first->item->epoll : NULL;
    nt_unlock(&file->watch_lock);
    if (epoll == NULL)
        return;
    // The instance may be ending in another thread: its memory stays an instance's, and under its
    // lock the registration is still there or is not.
    nt_lock(&epoll->lock);
    bool there = false;
    nt_lock(&file->watch_lock);
    for (struct nt_watch *watch = file->watches; watch != NULL; watch = watch->next)
        there = there || (watch == first && watch->item->epoll == epoll);
    nt_unlock(&file->watch_lock);
    if (there)
        remove_item(first->item);
    nt_unlock(&epoll->lock);
}

void nt_epoll_drop_all(struct nt_epoll *epoll)
{
    nt_lock(&epoll->lock);
    while (epoll->all.next != &epoll->all && !epoll->inherited)
        remove_item(ITEM_OF(epoll->all.next, all));
    while (epoll->all.next != &epoll->all) {
        struct nt_epoll_item *item = ITEM_OF(epoll->all.next, all);
        list_unlink(&item->all);
        nt_slab_give(&items, item);
    }
    nt_unlock(&epoll->lock);
}

void nt_epoll_items_child(void) { nt_slab_child(&items); }
