// fork.c: see fork.h.

#include "libc_shim/preload/fork.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/event_queue.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/stats.h"
#include "libc_shim/preload/watch.h"

#include <pthread.h>

// What other threads change in more than one step is whole while the process is copied. Socket,
// queue and epoll locks aren't taken: the child drops what they guard, and resets them.
static void before(void)
{
    nt_share_before_fork();
    nt_control_before_fork();
    nt_thread_before_fork();
    nt_numbers_before_fork();
}

static void in_parent(void)
{
    nt_numbers_after_fork();
    nt_thread_after_fork();
    nt_control_after_fork();
    nt_share_in_parent();
}

static bool is_kept(int fd) { return fd == nt_log_descriptor() || nt_control_is_kept(fd); }

static void in_child(void)
{
    nt_thread_child();
    nt_control_child(nt_share_token());
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

void nt_fork_open(void) { (void)pthread_atfork(before, in_parent, in_child); }
