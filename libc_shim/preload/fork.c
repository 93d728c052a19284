// fork.c: see fork.h.

#include "libc_shim/preload/fork.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/event_queue.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"
#include "libc_shim/preload/stats.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

// What other threads change in more than one step is whole while the process is copied. Socket,
// queue and epoll locks aren't taken: the child drops what they guard, and resets them.
// Nor do handlers of signals run: they may make calls that take what is locked.
void nt_fork_before(void)
{
    (void)nt_enter();
    nt_share_before_fork();
    nt_control_before_fork();
    nt_thread_before_fork();
    nt_numbers_before_fork();
}

static void in_parent(void)
{
    struct nt_thread *self = nt_thread_self();
    nt_numbers_after_fork();
    nt_thread_after_fork();
    nt_control_after_fork();
    nt_share_in_parent();
    nt_leave(self);
}

static bool is_kept(int fd) { return fd == nt_log_descriptor() || nt_control_is_kept(fd); }

static void start_over(int token)
{
    nt_fork_page.is_ours = 1;
    nt_thread_child();
    nt_control_child(token);
    nt_share_in_child();
    nt_process_child();
    nt_numbers_child(is_kept);
    nt_watches_child();
    nt_event_queues_child();
    nt_epolls_child();
    nt_files_child();
    nt_sock_context_child(&nt_context);
    nt_stats_child();
}

static void in_child(void)
{
    struct nt_thread *self = nt_thread_self();
    self->kept_signals = 0; // they came to the parent
    start_over(nt_share_token());
    nt_leave(self);
}

void nt_fork_after(pid_t child)
{
    int saved = errno;
    if (child == 0)
        in_child();
    else
        in_parent();
    errno = saved;
}

union nt_fork_page nt_fork_page __attribute__((aligned(NT_PAGE)));
static bool is_open;

void nt_fork_unseen(void)
{
    if (!is_open)
        return;
    int saved = errno;
    start_over(-1);
    nt_log(NT_LOG_DEBUG, "made by a clone() that libc knows nothing of: without inherited sockets");
    errno = saved;
}

void nt_fork_open(void)
{
    (void)pthread_atfork(nt_fork_before, in_parent, in_child);
    (void)madvise(&nt_fork_page, sizeof nt_fork_page, MADV_WIPEONFORK);
    nt_fork_page.is_ours = 1;
    is_open = true;
}
