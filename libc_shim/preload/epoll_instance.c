// epoll_instance.c: epoll instances: how they come, get a queue, go, and what fork() leaves of
// them. See epoll.h.

#include "libc_shim/preload/epoll.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/slab.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

static struct nt_slab epolls = NT_SLAB(struct nt_epoll, next_free);

static struct nt_epoll *new_epoll(void)
{
    struct nt_epoll *epoll = nt_slab_take(&epolls);
    if (epoll == NULL)
        return NULL;
    nt_link_init(&epoll->ready);
    nt_link_init(&epoll->all);
    nt_link_init(&epoll->inner);
    epoll->inner_count = 0;
    epoll->ready_count = 0;
    epoll->waiters = 0;
    epoll->in_kernel = 0;
    epoll->both = -1;
    epoll->kept = -1;
    epoll->kernel_fds = 0;
    epoll->told_gone = false;
    epoll->inherited = false;
    nt_store_release(&epoll->queue, (struct nt_event_queue *)NULL);
    return epoll;
}

int nt_epoll_adopt(int epfd, bool cloexec)
{
    if ((unsigned)epfd >= nt_fd_limit)
        return epfd;
    struct nt_file *file = nt_file_new(NT_FILE_EPOLL);
    if (file != NULL)
        file->epoll = new_epoll();
    if (file == NULL || file->epoll == NULL) {
        if (file != NULL)
            nt_file_drop(file);
        nt_quiet_close(epfd);
        return -ENOMEM;
    }
    nt_fd_install(epfd, file, cloexec);
    return epfd;
}

// Threads that sleep in the kernel's instance alone come out, and find the event queue: something
// readable is put into that instance until they have.
static void call_out_of_kernel(struct nt_epoll *epoll, int epfd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = epoll};
    int readable = nt_real.eventfd(1, EFD_CLOEXEC);
    if (readable < 0 || nt_real.epoll_ctl(epfd, EPOLL_CTL_ADD, readable, &event) != 0) {
        nt_log(NT_LOG_ERROR, "epoll: cannot wake other waiters: %s", strerror(errno));
    } else {
        while (nt_load_acquire(&epoll->in_kernel) != 0)
            nt_yield();
        nt_real.epoll_ctl(epfd, EPOLL_CTL_DEL, readable, NULL);
    }
    if (readable >= 0)
        nt_quiet_close(readable);
}

static int make_both(int epfd, int eventfd)
{
    struct epoll_event bell = {.events = EPOLLIN | EPOLLET, .data.fd = NT_EPOLL_BELL};
    struct epoll_event kernel = {.events = EPOLLIN, .data.fd = NT_EPOLL_KERNEL};
    struct epoll_event end = {.events = EPOLLRDHUP | EPOLLET, .data.fd = NT_EPOLL_END};
    const struct nt_event_queue *shared = nt_event_queue_shared();
    int control = nt_control_descriptor();
    nt_numbers_yield(1);
    int both = nt_real.epoll_create1(EPOLL_CLOEXEC);
    if (both < 0)
        return -errno;
    if (nt_real.epoll_ctl(both, EPOLL_CTL_ADD, eventfd, &bell) != 0 ||
        (shared != NULL && nt_real.epoll_ctl(both, EPOLL_CTL_ADD, shared->fd, &bell) != 0) ||
        nt_real.epoll_ctl(both, EPOLL_CTL_ADD, epfd, &kernel) != 0) {
        int error = -errno;
        nt_quiet_close(both);
        return error;
    }
    if (control >= 0)
        (void)nt_real.epoll_ctl(both, EPOLL_CTL_ADD, control, &end);
    return nt_number_reserve(both);
}

static int give_queue(struct nt_epoll *epoll, int epfd)
{
    if (nt_load_acquire(&epoll->queue) != NULL)
        return 0;
    struct nt_event_queue *queue = nt_event_queue_take();
    if (queue == NULL)
        return nt_load_relaxed(&nt_host_gone) ? -ENETDOWN : -ENOMEM;
    int both = make_both(epfd, queue->fd);
    struct nt_event_queue *none = NULL;
    nt_lock(&epoll->lock);
    if (both >= 0 && epoll->queue == NULL) {
        epoll->both = both;
        nt_store_release(&epoll->queue, queue);
        queue = none;
    }
    nt_unlock(&epoll->lock);
    if (queue != NULL) { // it failed, or another thread was quicker
        nt_event_queue_give(queue);
        if (both >= 0)
            nt_number_release(both);
        return both < 0 ? both : 0;
    }
    nt_fence();
    if (nt_load_acquire(&epoll->in_kernel) != 0)
        call_out_of_kernel(epoll, epfd);
    return 0;
}

int nt_epoll_give_queue(struct nt_epoll *epoll, int epfd)
{
    int result = give_queue(epoll, epfd);
    if (result == 0 && NT_UNLIKELY(nt_load_relaxed(&epoll->inherited)))
        nt_epoll_revive_all(epoll, epfd);
    return result;
}

void nt_epoll_kernel_added(int epfd)
{
    struct nt_file *file = nt_file_hold(epfd);
    if (file == NULL)
        return;
    if (file->kind == NT_FILE_EPOLL)
        __atomic_add_fetch(&file->epoll->kernel_fds, 1u, __ATOMIC_SEQ_CST);
    nt_file_drop(file);
}

// -- Ending ----------------------------------------------------------------------------------

// A call that is in the instance goes on with it, as on Linux.
void nt_epoll_keep(struct nt_file *file, int epfd)
{
    struct nt_epoll *epoll = file->epoll;
    if (nt_load_acquire(&file->refs) < 2 || nt_load_acquire(&epoll->queue) == NULL ||
        nt_load_relaxed(&epoll->kept) >= 0)
        return;
    int kept = nt_real.fcntl(epfd, F_DUPFD_CLOEXEC, 0);
    if (kept >= 0)
        nt_store_release(&epoll->kept, nt_number_reserve(kept));
}

void nt_epoll_end(struct nt_file *file)
{
    struct nt_epoll *epoll = file->epoll;
    if (epoll == NULL)
        return;
    nt_epoll_drop_all(epoll);
    if (epoll->both >= 0)
        nt_number_release(epoll->both);
    if (epoll->kept >= 0)
        nt_number_release(epoll->kept);
    if (epoll->queue != NULL)
        nt_event_queue_give(epoll->queue);
    file->epoll = NULL;
    nt_slab_give(&epolls, epoll);
}

void nt_epolls_child(void)
{
    nt_slab_child(&epolls);
    nt_epoll_items_child();
}

void nt_epoll_child(struct nt_file *file)
{
    struct nt_epoll *epoll = file->epoll;
    // Where another thread was just changing the list, nothing is known of it.
    if (epoll->lock.held != 0)
        nt_link_init(&epoll->all);
    nt_spin_reset(&epoll->lock);
    nt_spin_reset(&epoll->ready_lock);
    nt_link_init(&epoll->ready);
    nt_link_init(&epoll->inner);
    epoll->inherited = epoll->all.next != &epoll->all;
    epoll->inner_count = 0;
    epoll->ready_count = 0;
    epoll->waiters = 0;
    epoll->in_kernel = 0;
    epoll->both = -1; // closed with the rest of the shim's own descriptors
    epoll->kept = -1;
    epoll->queue = NULL;
}
