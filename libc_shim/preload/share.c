// share.c: see share.h. Using what other processes hold, too, and leaving it.

#include "libc_shim/preload/share.h"

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/token.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>

enum { WAIT_PATIENCE_MS = 30 }; // other descriptors of the call wait, too

static pthread_mutex_t use_lock = PTHREAD_MUTEX_INITIALIZER;

void nt_share_in_child(void)
{
    nt_share_no_token();
    (void)pthread_mutex_init(&use_lock, NULL);
}

// -- Using -----------------------------------------------------------------------------------

static uint32_t protocol_of(const struct nt_file *file)
{
    return file->sock.type == SOCK_DGRAM ? IPPROTO_UDP : IPPROTO_TCP;
}

// It was moved to a slot of ours.
static int go_on_in_slot(struct nt_file *file, const struct nt_control_message *taken)
{
    nt_sock_abandon(&file->sock, &nt_thread_self()->wake);
    nt_process_flush(nt_thread_self());
    int result = nt_sock_resume(&nt_context, &file->sock, taken->protocol, taken->area, taken->slot,
                                taken->generation);
    if (result != 0)
        return result;
    file->kind = NT_FILE_LENT;
    nt_watch_moved(file);
    nt_process_look_at_room(&file->sock);
    return 0;
}

static void close_fds(const struct nt_control_call *call)
{
    for (int i = 0; i < call->fd_count; i++)
        nt_real.close(call->fds[i]);
}

// It listens; this process accepts from it from now on.
static int join(struct nt_file *file, uint32_t listener)
{
    struct nt_control_call call;
    nt_control_prepare(&call, NT_CTL_JOIN);
    call.message.protocol = IPPROTO_TCP;
    call.message.slot = listener;
    nt_numbers_yield(2 * nt_load_relaxed(&nt_context.lanes));
    int result = nt_control_do(&call);
    if (result != 0)
        return result;
    result = nt_connection_join(file, &call);
    close_fds(&call);
    if (result == 0)
        file->kind = NT_FILE_LENT;
    return result;
}

// It is pumped: the kernel's socket takes the place of the placeholder, at all its numbers.
static int become_kernels(struct nt_file *file, const struct nt_control_call *call)
{
    int kernels = call->fds[0];
    if (file->nonblocking)
        (void)nt_real.fcntl(kernels, F_SETFL, (void *)O_NONBLOCK);
    nt_sock_name(&file->sock, &call->message.endpoint);
    nt_sock_abandon(&file->sock, &nt_thread_self()->wake);
    nt_process_flush(nt_thread_self());
    file->kind = NT_FILE_PUMPED;
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; fd <= highest; fd++)
        if (nt_fd_get(fd) == file)
            (void)nt_real.dup3(kernels, fd, O_CLOEXEC);
    nt_epoll_become_kernels(file);
    return (int)NT_IS_KERNELS;
}

bool nt_share_is_pumped(int fd)
{
    const struct nt_file *file = nt_fd_get(fd);
    return file >= NT_FD_FIRST && file->kind == NT_FILE_PUMPED;
}

static int take(int fd, struct nt_file *file, uint32_t how, uint32_t patience_ms)
{
    struct nt_control_call call;
    int result = how == NT_TAKE_PUMP ? 0 : nt_process_attach(protocol_of(file));
    if (result != 0)
        return result;
    nt_control_prepare(&call, NT_CTL_TAKE);
    call.message.arg = how;
    call.message.options = patience_ms;
    call.message.protocol = protocol_of(file);
    call.send_fd = fd;
    nt_share_put_image(&call, file); // for the pump
    nt_numbers_yield(1);
    result = nt_control_do(&call);
    if (result != 0)
        return result;
    result = -EPROTO;
    if (call.message.arg == NT_TAKEN_PUMPED && call.fd_count == 1)
        result = become_kernels(file, &call);
    else if (call.message.arg == NT_TAKEN_SLOT)
        result = go_on_in_slot(file, &call.message);
    else if (call.message.arg == NT_TAKEN_LISTENER)
        result = join(file, call.message.slot);
    close_fds(&call);
    return result;
}

static int use(int fd, struct nt_file *file, uint32_t how, uint32_t patience_ms)
{
    int result = 0;
    int saved = errno;
    if (file->kind == NT_FILE_PUMPED)
        return (int)NT_IS_KERNELS;
    (void)pthread_mutex_lock(&use_lock);
    switch ((enum nt_file_kind)file->kind) {
    case NT_FILE_SOCKET:
        break;
    case NT_FILE_LENT: // another thread was quicker, or its server lost it
        if (file->sock.phase != NT_SOCK_LISTENING && nt_sock_was_moved(&file->sock))
            result = take(fd, file, how, patience_ms);
        break;
    case NT_FILE_INHERITED:
        result = file->inode != 0 ? take(fd, file, how, patience_ms) : -EOPNOTSUPP;
        break;
    case NT_FILE_PUMPED:
        result = (int)NT_IS_KERNELS;
        break;
    case NT_FILE_EPOLL:
    case NT_FILE_FREE:
        result = -ENOTSOCK;
        break;
    }
    (void)pthread_mutex_unlock(&use_lock);
    errno = saved;
    return result;
}

int nt_share_use(int fd, struct nt_file *file) { return use(fd, file, 0, 0); }

int nt_share_use_to_read(int fd, struct nt_file *file, uint32_t patience_ms)
{
    return use(fd, file, NT_TAKE_READ, patience_ms);
}

int nt_share_use_to_wait(int fd, struct nt_file *file)
{
    return file->sock.type == SOCK_DGRAM ? nt_share_use_to_read(fd, file, WAIT_PATIENCE_MS)
                                         : nt_share_use(fd, file);
}

// A connection that this process can go on with in a sandbox: not one that nobody connected.
static bool is_connection(const struct nt_file *file)
{
    uint8_t phase = file->kind == NT_FILE_INHERITED ? file->sock.phase_before : file->sock.phase;
    return file->sock.type == SOCK_STREAM && phase == NT_SOCK_CONNECTED;
}

void nt_share_before_sandbox(void)
{
    int saved = errno;
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; nt_fd_limit != 0 && fd <= highest; fd++) {
        struct nt_file *file = nt_fd_get(fd) < NT_FD_FIRST ? NULL : nt_file_hold(fd);
        if (file == NULL)
            continue;
        if (nt_file_may_be_shared(file) && is_connection(file)) {
            nt_share_register(fd, file);
            nt_process_flush(nt_thread_self());
            (void)pthread_mutex_lock(&use_lock);
            (void)take(fd, file, NT_TAKE_PUMP, 0);
            (void)pthread_mutex_unlock(&use_lock);
        }
        nt_file_drop(file);
    }
    errno = saved;
}

int nt_file_hold_any(int fd, struct nt_file **file)
{
    *file = nt_file_hold(fd);
    if (*file == NULL)
        return -EBADF;
    if ((*file)->kind == NT_FILE_SOCKET || (*file)->kind == NT_FILE_EPOLL)
        return 0;
    if (nt_share_use(fd, *file) != NT_IS_KERNELS)
        return 0; // what cannot be used says so when it is
    nt_file_drop(*file);
    *file = NULL;
    return (int)NT_IS_KERNELS;
}

// -- Leaving ---------------------------------------------------------------------------------

bool nt_share_leave(const struct nt_file *file)
{
    struct nt_control_call call;
    struct nt_shared_socket named;
    if (file->inode == 0)
        return true;
    nt_share_identify(file, &named);
    nt_control_prepare(&call, NT_CTL_LEAVE);
    nt_share_append(&call, &named);
    return nt_control_do(&call) != 0 || call.message.arg == 1;
}

void nt_share_drop(const struct nt_file *file)
{
    struct nt_control_call call;
    struct nt_shared_socket named;
    if (file->inode == 0)
        return;
    nt_share_identify(file, &named);
    nt_control_prepare(&call, NT_CTL_LEAVE);
    nt_share_append(&call, &named);
    (void)nt_control_tell(&call);
}
