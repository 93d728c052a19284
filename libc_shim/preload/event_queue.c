// event_queue.c: see event_queue.h.

#include "libc_shim/preload/event_queue.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/slab.h"

#include <errno.h>
#include <sys/eventfd.h>

static struct nt_slab slab = NT_SLAB(struct nt_event_queue, next_free);
static struct nt_spin lock;
static struct nt_event_queue *idle; // with eventfd, and known to the servers
static uint32_t next_number = 1;    // never given out so far
static struct nt_event_queue *shared;

static struct nt_event_queue *take_idle(uint32_t *number)
{
    nt_lock(&lock);
    struct nt_event_queue *queue = idle;
    if (queue != NULL)
        idle = queue->next_free;
    else
        *number = next_number < NT_AREA_QUEUES ? next_number++ : 0;
    nt_unlock(&lock);
    return queue;
}

static int tell_servers(uint32_t number, int fd)
{
    struct nt_control_call call;
    nt_control_prepare(&call, NT_CTL_QUEUE);
    call.message.arg = number;
    call.send_fd = fd;
    return nt_control_do(&call);
}

static struct nt_event_queue *make(uint32_t number, bool tell)
{
    nt_numbers_yield(1);
    int fd = nt_real.eventfd(0, EFD_CLOEXEC);
    if (fd < 0 && errno == EMFILE && nt_numbers_flush())
        fd = nt_real.eventfd(0, EFD_CLOEXEC);
    if (fd < 0) {
        nt_log(NT_LOG_ERROR, "no descriptor left to wait with: %s", strerror(errno));
        return NULL;
    }
    fd = nt_number_reserve(fd);
    struct nt_event_queue *queue = nt_slab_take(&slab);
    if (queue == NULL || (tell && tell_servers(number, fd) != 0)) {
        nt_number_release(fd);
        if (queue != NULL)
            nt_slab_give(&slab, queue);
        return NULL;
    }
    queue->fd = fd;
    queue->signalled = 0;
    if (tell)
        nt_queue_init(&nt_context, &queue->queue, number);
    else
        nt_queue_init_mute(&queue->queue);
    return queue;
}

struct nt_event_queue *nt_event_queue_take(void)
{
    uint32_t number = 0;
    int saved = errno;
    struct nt_event_queue *queue = take_idle(&number);
    if (queue == NULL)
        queue = make(number, number != 0);
    else if (!queue->queue.is_mute)
        nt_queue_init(&nt_context, &queue->queue, queue->queue.number);
    errno = saved;
    return queue;
}

void nt_event_queue_give(struct nt_event_queue *queue)
{
    queue->signalled = 0;
    nt_lock(&lock);
    queue->next_free = idle;
    idle = queue;
    nt_unlock(&lock);
}

void nt_event_queue_ring(struct nt_event_queue *queue)
{
    const uint64_t one = 1;
    int saved = errno;
    (void)nt_quiet_write(queue->fd, &one, sizeof one);
    errno = saved;
}

void nt_event_queue_drain(struct nt_event_queue *queue)
{
    uint64_t rung;
    int saved = errno;
    (void)nt_quiet_read_now(queue->fd, &rung, sizeof rung);
    errno = saved;
}

struct nt_event_queue *nt_event_queue_shared(void)
{
    struct nt_event_queue *queue = nt_load_acquire(&shared);
    if (queue != NULL)
        return queue;
    queue = make(0, true);
    struct nt_event_queue *none = NULL;
    if (queue != NULL && !__atomic_compare_exchange_n(&shared, &none, queue, false,
                                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        // Another thread was quicker; the servers ring the last that they were told.
        tell_servers(0, none->fd);
        nt_queue_init_mute(&queue->queue);
        nt_event_queue_give(queue);
        queue = none;
    }
    return queue;
}

// The eventfds are the parent's: a child that wrote to one would wake the parent.
void nt_event_queues_child(void)
{
    nt_spin_reset(&lock);
    nt_slab_child(&slab);
    idle = NULL;
    next_number = 1;
    shared = NULL;
}
