// connection.c: see connection.h. Making sockets, and ending them.

#include "libc_shim/preload/connection.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/listening.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <netinet/in.h>

enum { GRANT_LOOK_NS = 10000000 }; // another thread may take the ring meant for us: look again

// Any kind but NT_FILE_SOCKET.
static int hold_other(int fd, struct nt_file *file)
{
    if (file->kind == NT_FILE_LENT &&
        (file->sock.phase == NT_SOCK_LISTENING || !nt_sock_was_moved(&file->sock)))
        return 0;
    int result = file->kind == NT_FILE_EPOLL ? -ENOTSOCK : nt_share_use(fd, file);
    if (result != 0)
        nt_file_drop(file);
    return result;
}

int nt_socket_hold(int fd, const char *call, struct nt_file **file)
{
    *file = nt_file_hold(fd);
    if (NT_UNLIKELY(*file == NULL))
        return -EBADF;
    if (NT_LIKELY((*file)->kind == NT_FILE_SOCKET))
        return 0;
    int result = hold_other(fd, *file);
    if (result == -EOPNOTSUPP)
        nt_log_once("%s: this socket of the parent cannot be used here", call);
    return result;
}

int nt_socket_family(int domain)
{
    switch (domain) {
    case AF_INET:
    case AF_INET6:
        return 1;
    case AF_PACKET:
    case AF_XDP:
        nt_log_once("socket: AF_PACKET and AF_XDP would reach the kernel's network: refused");
        return -EPERM;
    default:
        return 0;
    }
}

// -- Making ----------------------------------------------------------------------------------

// The server gives out slots ahead of use; now all it gave are taken. Its next grant rings
// everybody's queue.
int nt_connection_wait_for_grant(struct nt_thread *self, uint64_t deadline_ns)
{
    if (nt_idle_again(self))
        return 0;
    struct nt_event_queue *shared = nt_event_queue_shared();
    if (shared == NULL || nt_now_ns() >= deadline_ns)
        return -ENOBUFS;
    bool may_block = nt_queue_sleep(&nt_context, &shared->queue);
    nt_process_flush(self);
    if (may_block) {
        struct pollfd bell = {.fd = shared->fd, .events = POLLIN};
        const struct timespec limit = {.tv_nsec = GRANT_LOOK_NS};
        (void)nt_real.ppoll(&bell, 1, &limit, NULL);
        nt_event_queue_drain(shared);
    }
    nt_queue_wake(&nt_context, &shared->queue);
    nt_shared_spread();
    return 0;
}

static int create(struct nt_thread *self, struct nt_file *file, int domain, int type, int protocol)
{
    const uint32_t server = type == SOCK_DGRAM ? IPPROTO_UDP : IPPROTO_TCP;
    uint64_t deadline_ns = 0;
    bool attached = false;
    for (;;) {
        int result = nt_sock_create(&nt_context, &file->sock, domain, type, protocol, &self->wake);
        if (result == -ENOTCONN && !attached) {
            attached = true;
            result = nt_process_attach(server);
            if (result != 0)
                return result;
        } else if (result == -EAGAIN) {
            if (deadline_ns == 0)
                deadline_ns = nt_deadline(NT_GRANT_WAIT_NS);
            result = nt_connection_wait_for_grant(self, deadline_ns);
            if (result != 0)
                return result;
        } else {
            if (result == 0)
                nt_process_look_at_room(&file->sock);
            return result;
        }
    }
}

int nt_connection_publish(struct nt_file *file, int number, bool cloexec)
{
    nt_fd_install(number, file, cloexec);
    return number;
}

static int create_at(struct nt_file *file, int domain, int type, int protocol)
{
    struct nt_thread *self = nt_thread_self();
    int number = nt_number_take();
    if (number < 0)
        return number;
    int result = create(self, file, domain, type & ~NT_TYPE_FLAGS, protocol);
    if (result < 0) {
        nt_fd_set(number, NT_FD_CLOSED);
        nt_number_give(number);
        if (result == -ESOCKTNOSUPPORT || result == -EPROTONOSUPPORT || result == -EPERM)
            nt_log_once("socket: type %d, protocol %d is not supported", type & ~NT_TYPE_FLAGS,
                        protocol);
        return result;
    }
    nt_connection_called(self);
    return nt_connection_publish(file, number, (type & SOCK_CLOEXEC) != 0);
}

void nt_connection_discard(struct nt_file *file)
{
    file->kind = NT_FILE_FREE;
    nt_file_drop(file);
}

int nt_socket(int domain, int type, int protocol)
{
    int saved = errno;
    if (nt_load_relaxed(&nt_host_gone))
        return -ENETDOWN;
    struct nt_file *file = nt_file_new(NT_FILE_SOCKET);
    if (file == NULL)
        return -ENOMEM;
    file->nonblocking = (type & SOCK_NONBLOCK) != 0;
    int result = create_at(file, domain, type, protocol);
    if (result < 0)
        nt_connection_discard(file);
    errno = saved;
    return result;
}

void nt_connection_prepare(struct nt_control_call *call, enum nt_control_kind kind,
                           const struct nt_file *file)
{
    struct nt_sock_identity identity;
    nt_sock_identify(&file->sock, &identity);
    nt_control_prepare(call, kind);
    call->message.protocol = identity.protocol;
    call->message.area = identity.area;
    call->message.slot = identity.slot;
    call->message.generation = identity.generation;
    call->message.options = identity.options;
}

// -- Ending ----------------------------------------------------------------------------------

// SO_LINGER: close waits until all is sent and acknowledged, whatever O_NONBLOCK says.
static void linger(struct nt_thread *self, struct nt_file *file)
{
    uint32_t linger_ms = nt_sock_linger_ms(&file->sock);
    if (linger_ms == 0)
        return;
    uint64_t deadline_ns = nt_deadline((uint64_t)linger_ms * 1000000);
    (void)nt_sock_shutdown(&file->sock, SHUT_WR, &self->wake);
    int result = 0;
    file->refs = 1; // a thread that is cancelled here drops its hold
    while (result == 0) {
        uint32_t events_before = nt_sock_events(&file->sock);
        if (nt_sock_drained(&file->sock))
            break;
        result = nt_wait_for_news(file, events_before, deadline_ns);
    }
    file->refs = 0;
}

// Another process holds it, too, or has it.
static void end_here_only(struct nt_thread *self, struct nt_file *file)
{
    if (nt_sock_was_moved(&file->sock))
        nt_sock_abandon(&file->sock, &self->wake);
    else
        nt_sock_forget(&file->sock);
}

void nt_connection_end(struct nt_file *file)
{
    struct nt_thread *self = nt_thread_self();
    if (file->inode != 0) {
        nt_process_flush(self); // what was sent is the server's before the others'
        if (!nt_share_leave(file) && file->sock.phase != NT_SOCK_LISTENING) {
            end_here_only(self, file);
            nt_connection_called(self);
            return;
        }
    }
    if (file->sock.phase == NT_SOCK_LISTENING)
        nt_listening_unlisten(file, false);
    linger(self, file);
    nt_listening_close_parts(file);
    (void)nt_sock_close(&file->sock, &self->wake);
    nt_listening_close(file);
    nt_connection_called(self);
}
