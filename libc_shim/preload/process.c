// process.c: see process.h.

#include "libc_shim/preload/process.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/event_queue.h"
#include "libc_shim/preload/exec.h"
#include "libc_shim/preload/fork.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/slab.h"
#include "libc_shim/preload/stats.h"
#include "newtos_py/kernel/map.h"
#include "newtos_py/kernel/status.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

struct nt_sock_context nt_context;

static pthread_once_t start_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t realtime_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// Without a system call, by the vDSO or rseq.
static uint32_t core(void)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? UINT32_MAX : (uint32_t)cpu;
}

static void start(void)
{
    nt_real_resolve();
    if (!nt_control_configured())
        return;
    if (!nt_fd_open())
        return;
    nt_log_open();
    nt_stats_open();
    nt_sock_context_init(&nt_context, nt_yield);
    nt_context.realtime_ns = realtime_ns;
    nt_context.core = core;
    nt_fork_open();
    nt_exec_open();
    (void)nt_control_open(); // what it means that the host is gone, the first socket() says
    if (nt_control_has_token())
        nt_share_adopt();
}

void nt_process_start(void) { (void)pthread_once(&start_once, start); }

// Early, so that the constructors of other libraries find it done; a call from one that ran before
// passes to the kernel unless it is socket(), which starts the shim itself.
__attribute__((constructor(101))) static void construct(void) { nt_process_start(); }

__attribute__((destructor(101))) static void destruct(void) { nt_stats_write(); }

// -- Attaching -------------------------------------------------------------------------------

enum { GROW_AGAIN_NS = 1000000000 };

enum { // descriptors beside the reply to ATTACH
    FD_PROGRAM,
    FD_SERVER,
    FD_HINT,
    FD_DOORBELL,
    FD_STATUS,
    FD_ATTACH_COUNT,
};

void *nt_process_map(int fd, uint64_t bytes, bool writable)
{
    void *base = nt_map(fd, bytes, writable);
    if (base == NULL)
        return NULL;
    (void)madvise(base, bytes, MADV_DONTFORK);
    (void)madvise(base, bytes, MADV_DONTDUMP);
    return base;
}

static int open_area(const struct nt_control_call *call, struct nt_area *area,
                     const struct nt_status **status)
{
    uint32_t slots = call->message.arg;
    if (call->fd_count != FD_ATTACH_COUNT || slots == 0 || slots > NT_AREA_SLOTS_MAX)
        return -EPROTO;
    const int *fds = call->fds;
    void *program = nt_process_map(fds[FD_PROGRAM], nt_area_program_bytes(slots), true);
    void *server = nt_process_map(fds[FD_SERVER], nt_area_server_bytes(slots), false);
    void *hint = nt_process_map(fds[FD_HINT], nt_area_hint_bytes(), true);
    *status = nt_process_map(fds[FD_STATUS], NT_PAGE, false);
    if (program == NULL || server == NULL || hint == NULL || *status == NULL)
        return -ENOMEM;
    if (nt_area_open(area, program, server, hint, slots) != 0)
        return -EPROTO;
    area->number = (uint16_t)call->message.area;
    return 0;
}

static uint32_t tcp_lanes = 1; // as the host said

static int attach_locked(uint32_t protocol, uint32_t lane, uint32_t nth)
{
    struct nt_control_call call;
    struct nt_area area;
    const struct nt_status *status;
    if (nt_sock_count_areas(&nt_context, protocol, lane) > nth)
        return 0;
    if (nt_context.area_count == NT_SOCK_AREAS_MAX)
        return -ENOSPC;
    nt_numbers_yield(FD_ATTACH_COUNT);
    nt_control_prepare(&call, NT_CTL_ATTACH);
    call.message.protocol = protocol;
    call.message.lane = lane;
    call.message.nth = nth;
    int result = nt_control_do(&call);
    if (result != 0)
        return result;
    if (protocol == IPPROTO_TCP)
        tcp_lanes = nt_min_u32(call.message.lanes, NT_SOCK_LANES_MAX);
    result = open_area(&call, &area, &status);
    if (result == 0) {
        area.lane = (uint16_t)lane;
        int doorbell = nt_number_reserve(call.fds[FD_DOORBELL]);
        call.fds[FD_DOORBELL] = -1;
        result = nt_sock_attach(&nt_context, &area, protocol, &status->sleeping, doorbell);
    }
    for (int i = 0; i < call.fd_count; i++)
        if (call.fds[i] >= 0)
            nt_real.close(call.fds[i]);
    if (result < 0)
        nt_log(NT_LOG_ERROR, "cannot map the socket area of protocol %u: %s", protocol,
               strerror(-result));
    else
        nt_log(NT_LOG_DEBUG, "attached area %u of protocol %u: %u slots", area.number, protocol,
               area.slots);
    return result < 0 ? result : 0;
}

int nt_process_attach(uint32_t protocol)
{
    int saved = errno;
    (void)pthread_mutex_lock(&attach_lock);
    int result = attach_locked(protocol, 0, 0);
    uint32_t lanes = protocol == IPPROTO_TCP ? tcp_lanes : 1;
    for (uint32_t lane = 1; lane < lanes && result == 0; lane++)
        result = attach_locked(protocol, lane, 0);
    // While there are descriptors: socket() may have to wait on it when there are none left. Under
    // the lock: while a second one is made, the servers would ring it instead of the first.
    if (result == 0)
        (void)nt_event_queue_shared();
    (void)pthread_mutex_unlock(&attach_lock);
    errno = saved;
    return result;
}

void nt_process_grow(const struct nt_sock *sock)
{
    const struct nt_sock_area *newest = sock->area;
    static uint64_t again_ns; // after a refusal: not for every socket
    int saved = errno;
    (void)pthread_mutex_lock(&attach_lock);
    uint64_t now_ns = nt_now_ns();
    if (now_ns >= again_ns) {
        int result = attach_locked(newest->protocol, newest->view.lane, newest->nth + 1);
        again_ns = result == 0 ? 0 : now_ns + GROW_AGAIN_NS;
        if (result != 0)
            nt_log_once("no more than %u socket areas: %s", nt_context.area_count,
                        strerror(-result));
    }
    (void)pthread_mutex_unlock(&attach_lock);
    errno = saved;
}

void nt_process_child(void) { (void)pthread_mutex_init(&attach_lock, NULL); }

void nt_process_ring(struct nt_thread *self)
{
    int fds[NT_SOCK_AREAS_MAX];
    const uint64_t one = 1;
    int saved = errno;
    uint32_t count = nt_sock_flush(&nt_context, &self->wake, fds);
    for (uint32_t i = 0; i < count; i++)
        (void)nt_quiet_write(fds[i], &one, sizeof one);
    self->count[NT_COUNT_RING] += count;
    errno = saved;
}
