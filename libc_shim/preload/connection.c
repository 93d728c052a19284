// connection.c: see connection.h.

#include "libc_shim/preload/connection.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/interfaces.h"
#include "libc_shim/preload/listening.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/slab.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <netinet/in.h>

enum {
    GRANT_LOOK_NS = 10000000,   // another thread may take the ring meant for us: look again
    GRANT_WAIT_NS = 2000000000, // longer than a restart of the TCP server
    TYPE_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC,
};

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

static void called(struct nt_thread *self)
{
    self->count[NT_COUNT_USER]++;
    nt_process_flush(self);
}

// -- Making ----------------------------------------------------------------------------------

// The server gives out slots ahead of use; now all it gave are taken. Its next grant rings
// everybody's queue.
static int wait_for_grant(struct nt_thread *self, uint64_t deadline_ns)
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
                deadline_ns = nt_deadline(GRANT_WAIT_NS);
            result = wait_for_grant(self, deadline_ns);
            if (result != 0)
                return result;
        } else {
            if (result == 0)
                nt_process_look_at_room(&file->sock);
            return result;
        }
    }
}

// Gives a description its number.
static int publish(struct nt_file *file, int number, bool cloexec)
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
    int result = create(self, file, domain, type & ~TYPE_FLAGS, protocol);
    if (result < 0) {
        nt_fd_set(number, NT_FD_CLOSED);
        nt_number_give(number);
        if (result == -ESOCKTNOSUPPORT || result == -EPROTONOSUPPORT || result == -EPERM)
            nt_log_once("socket: type %d, protocol %d is not supported", type & ~TYPE_FLAGS,
                        protocol);
        return result;
    }
    called(self);
    return publish(file, number, (type & SOCK_CLOEXEC) != 0);
}

// Takes back a description that never became a socket.
static void discard(struct nt_file *file)
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
        discard(file);
    errno = saved;
    return result;
}

// -- Names and listening ---------------------------------------------------------------------

static void prepare(struct nt_control_call *call, enum nt_control_kind kind,
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

static int bind_to(struct nt_file *file, const struct nt_endpoint *local)
{
    struct nt_control_call call;
    nt_process_flush(nt_thread_self());
    prepare(&call, NT_CTL_BIND, file);
    call.message.endpoint = *local;
    int result = nt_control_do(&call);
    if (result == 0)
        nt_sock_bound(&file->sock, &call.message.endpoint);
    return result;
}

static int connect_held(struct nt_file *file, const struct sockaddr *address, socklen_t length);

// A socket whose connect() failed, or that listened no more, gets a slot like that of a fresh one.
static int freshen(struct nt_file *file)
{
    const struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct nt_endpoint local;
    if (!nt_sock_is_used_up(&file->sock))
        return 0;
    int result = connect_held(file, &none, sizeof none);
    if (result == 0 && nt_sock_bound_name(&file->sock, &local))
        result = bind_to(file, &local);
    return result;
}

static int bind_held(struct nt_file *file, const struct sockaddr *address, socklen_t length)
{
    struct nt_endpoint local = {.port = 0};
    int result = nt_sock_bind_check(&file->sock, address, length, &local);
    struct nt_endpoint bound;
    bool again = (result == 0 || result == -EINVAL) && nt_sock_is_used_up(&file->sock) &&
                 !nt_sock_bound_name(&file->sock, &bound);
    if (again)
        result = freshen(file);
    if (again && result == 0)
        result = nt_sock_bind_check(&file->sock, address, length, &local);
    // __inet_bind(): whether the address can be had comes before whether the socket can.
    if (result == -EINVAL && !nt_interface_has(&local))
        return -EADDRNOTAVAIL;
    return result != 0 ? result : bind_to(file, &local);
}

int nt_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct nt_file *file;
    int result = nt_socket_hold(fd, "bind", &file);
    if (result != 0)
        return result;
    result = address == NULL ? -EFAULT : bind_held(file, address, length);
    nt_file_drop(file);
    return result;
}

// listen() on a socket that was never bound takes a port, as on Linux.
static int bind_any(struct nt_file *file)
{
    struct sockaddr_storage any = {.ss_family = file->sock.family};
    struct nt_endpoint local;
    if (nt_sock_bound_name(&file->sock, &local))
        return 0;
    return bind_held(file, (const struct sockaddr *)&any,
                     file->sock.family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                   : sizeof(struct sockaddr_in));
}

static int listen_held(struct nt_file *file, int backlog)
{
    struct nt_control_call call;
    int again = nt_sock_listen_check(&file->sock);
    if (again < 0)
        return again;
    int result = nt_process_attach(IPPROTO_TCP); // in all lanes: another thread may be about to
    if (result == 0 && !again)
        result = freshen(file);
    if (result == 0 && !again)
        result = bind_any(file);
    if (result != 0)
        return result;
    nt_process_flush(nt_thread_self());
    nt_numbers_yield(2 * nt_load_relaxed(&nt_context.lanes));
    prepare(&call, NT_CTL_LISTEN, file);
    (void)nt_sock_bound_name(&file->sock, &call.message.endpoint); // for the other lanes
    // What Linux makes of it: net.core.somaxconn is the limit, and so a negative one.
    call.message.arg =
        (uint32_t)(backlog < 0 || backlog > NT_LISTENER_ENTRIES_MAX ? NT_LISTENER_ENTRIES_MAX
                                                                    : backlog);
    result = nt_control_do(&call);
    if (result != 0)
        return result;
    if (!again)
        result = nt_listening_map(file, &call);
    if (result == 0 && !again)
        result = nt_listening_add_parts(file, &call);
    for (int i = 0; i < call.fd_count; i++)
        nt_real.close(call.fds[i]);
    if (result != 0)
        nt_log(NT_LOG_ERROR, "listen: cannot map the accept ring: %s", strerror(-result));
    else if (!again)
        nt_sock_listening(&file->sock, &file->listener);
    nt_watch_notify(file);
    return result;
}

int nt_listen(int fd, int backlog)
{
    struct nt_file *file;
    int saved = errno;
    int result;
    do {
        result = nt_socket_hold(fd, "listen", &file);
        if (result != 0)
            return result;
        result = listen_held(file, backlog);
    } while (nt_share_end_call(file, result));
    errno = saved;
    return result;
}

int nt_connection_join(struct nt_file *file, const struct nt_control_call *call)
{
    const struct nt_control_message *own = &call->message;
    int result = nt_listening_map(file, call);
    if (result == 0)
        result = nt_sock_resume_listening(&nt_context, &file->sock, own->area, own->slot,
                                          own->generation, &file->listener);
    if (result == 0)
        result = nt_listening_add_parts(file, call);
    if (result != 0)
        nt_listening_close(file);
    return result;
}

static void unlisten(const struct nt_file *file, bool for_everybody)
{
    struct nt_control_call call;
    prepare(&call, NT_CTL_UNLISTEN, file);
    call.message.arg = for_everybody;
    (void)nt_control_do(&call);
}

// -- Accepting -------------------------------------------------------------------------------

struct accepting {
    struct nt_file *listener;
    struct nt_file *file; // what is accepted, and its number
    int number;
};

static void take_back(const struct accepting *accepting)
{
    nt_fd_set(accepting->number, NT_FD_CLOSED);
    nt_number_give(accepting->number);
}

// The thread never comes back from its wait.
static void give_up_accepting(void *held)
{
    const struct accepting *accepting = held;
    take_back(accepting);
    discard(accepting->file);
    nt_file_drop(accepting->listener);
}

static int accept_into(struct accepting *accepting, struct sockaddr *address, socklen_t *length)
{
    struct nt_file *listener = accepting->listener;
    struct nt_file *file = accepting->file;
    struct nt_thread *self = nt_thread_self();
    uint64_t deadline_ns = 0;
    for (;;) {
        int result =
            nt_sock_accept(&nt_context, &listener->sock, &file->sock, address, length, &self->wake);
        if (result != -EAGAIN) {
            self->fruitless = 0;
            self->count[NT_COUNT_ACCEPT] += result == 0;
            if (result == 0)
                nt_process_look_at_room(&file->sock);
            called(self);
            return result;
        }
        if (listener->nonblocking) {
            self->count[NT_COUNT_ACCEPT_EMPTY]++;
            called(self);
            return nt_fruitless(self);
        }
        if (deadline_ns == 0)
            deadline_ns = nt_deadline_option(listener->sock.rcvtimeo_ns);
        result = nt_wait_holding(listener, POLLIN, deadline_ns, give_up_accepting, accepting);
        if (result != 0)
            return result;
    }
}

static int accept_held(struct nt_file *listener, struct sockaddr *address, socklen_t *length,
                       int flags)
{
    struct nt_file *file = nt_file_new(NT_FILE_SOCKET);
    if (file == NULL)
        return -ENOMEM;
    int number = nt_number_take();
    int result = number;
    if (number >= 0) {
        file->nonblocking = (flags & SOCK_NONBLOCK) != 0;
        struct accepting accepting = {.listener = listener, .file = file, .number = number};
        result = accept_into(&accepting, address, length);
        if (result >= 0)
            return publish(file, number, (flags & SOCK_CLOEXEC) != 0);
        take_back(&accepting);
    }
    discard(file);
    return result;
}

int nt_accept(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    struct nt_file *listener;
    if ((flags & ~TYPE_FLAGS) != 0)
        return -EINVAL;
    if (address != NULL && length == NULL)
        return -EFAULT;
    int result = nt_socket_hold(fd, "accept", &listener);
    if (result != 0)
        return result;
    int saved = errno;
    result = accept_held(listener, address, length, flags);
    nt_file_drop(listener);
    errno = saved;
    return result;
}

// -- Connecting ------------------------------------------------------------------------------

// What to do about an answer of nt_sock_connect(): 1: call it again; else the call's result.
static int connect_step(struct nt_thread *self, struct nt_file *file, int answer,
                        uint32_t events_before, uint64_t deadline_ns)
{
    struct nt_endpoint local;
    bool stream = file->sock.type == SOCK_STREAM;
    switch (answer) {
    case -EINPROGRESS:
    case -EALREADY:
        if (file->nonblocking)
            return answer;
        answer = nt_wait_for(file, POLLOUT, deadline_ns);
        return answer == 0 ? 1 : answer == -EAGAIN ? -EINPROGRESS : answer;
    case -EAGAIN:
        answer = stream ? wait_for_grant(self, nt_deadline(GRANT_WAIT_NS))
                        : nt_wait_for_news(file, events_before, deadline_ns);
        return answer == 0 ? 1 : answer;
    case -EDESTADDRREQ:
        if (!nt_sock_bound_name(&file->sock, &local))
            return -EADDRNOTAVAIL;
        answer = bind_to(file, &local);
        return answer == 0 ? 1 : answer;
    default:
        return answer;
    }
}

static int connect_held(struct nt_file *file, const struct sockaddr *address, socklen_t length)
{
    struct nt_thread *self = nt_thread_self();
    uint64_t deadline_ns = 0;
    if (nt_load_relaxed(&nt_host_gone))
        return -ENETDOWN;
    for (;;) {
        if (nt_share_is_elsewhere(file))
            return -ERESTART;
        uint32_t events_before = nt_sock_events(&file->sock);
        int answer = nt_sock_connect(&nt_context, &file->sock, address, length, &self->wake);
        nt_process_flush(self);
        if (answer == -EINPROGRESS)
            nt_watch_notify(file); // an idle socket polls as hung up, a connecting one does not
        if (answer == 0 || answer == -EISCONN)
            return answer;
        if (deadline_ns == 0)
            deadline_ns = nt_deadline_option(file->sock.sndtimeo_ns);
        answer = connect_step(self, file, answer, events_before, deadline_ns);
        if (answer != 1)
            return answer;
    }
}

int nt_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    struct nt_file *file;
    struct nt_thread *self = nt_thread_self();
    int result;
    self->count[NT_COUNT_CONNECT]++;
    do {
        result = nt_socket_hold(fd, "connect", &file);
        if (result != 0)
            return result;
        self->count[NT_COUNT_USER]++;
        result = address == NULL ? -EFAULT : connect_held(file, address, length);
    } while (nt_share_end_call(file, result));
    return result;
}

int nt_shutdown(int fd, int how)
{
    struct nt_file *file;
    struct nt_thread *self = nt_thread_self();
    int result;
    do {
        result = nt_socket_hold(fd, "shutdown", &file);
        if (result != 0)
            return result;
        result = nt_sock_shutdown(&file->sock, how, &self->wake);
        if (result == 1) {
            unlisten(file, true);
            nt_listening_close_parts(file);
            result = 0;
        }
        called(self);
        nt_watch_notify(file);
    } while (nt_share_end_call(file, result));
    return result;
}

// -- Names -----------------------------------------------------------------------------------

// Of a pumped socket: what it was called.
static int pumped_name(int fd, const struct nt_endpoint *name, struct sockaddr *address,
                       socklen_t *length)
{
    if (address == NULL || length == NULL)
        return -EFAULT;
    nt_endpoint_to_sockaddr(name, nt_fd_get(fd)->sock.family, address, length);
    return 0;
}

// While a connection is being made, its name is not known yet.
static int await_name(struct nt_file *file, struct sockaddr *address, socklen_t *length)
{
    for (;;) {
        uint32_t events_before = nt_sock_events(&file->sock);
        int result = nt_sock_getsockname(&file->sock, address, length);
        if (result != -EAGAIN || nt_share_is_elsewhere(file) ||
            nt_wait_for_news(file, events_before, NT_FOREVER) != 0)
            return result;
    }
}

int nt_getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
    struct nt_file *file;
    if (nt_share_is_pumped(fd))
        return pumped_name(fd, &nt_fd_get(fd)->sock.bound_to, address, length);
    int result;
    do {
        result = nt_socket_hold(fd, "getsockname", &file);
        if (result != 0)
            return result;
        result = address == NULL || length == NULL ? -EFAULT : await_name(file, address, length);
        called(nt_thread_self());
    } while (nt_share_end_call(file, result));
    return result;
}

int nt_getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
    struct nt_file *file;
    if (nt_share_is_pumped(fd))
        return pumped_name(fd, &nt_fd_get(fd)->sock.peer, address, length);
    int result;
    do {
        result = nt_socket_hold(fd, "getpeername", &file);
        if (result != 0)
            return result;
        result = address == NULL || length == NULL
                     ? -EFAULT
                     : nt_sock_getpeername(&file->sock, address, length);
        called(nt_thread_self());
    } while (nt_share_end_call(file, result));
    return result;
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
            called(self);
            return;
        }
    }
    if (file->sock.phase == NT_SOCK_LISTENING)
        unlisten(file, false);
    linger(self, file);
    nt_listening_close_parts(file);
    (void)nt_sock_close(&file->sock, &self->wake);
    nt_listening_close(file);
    called(self);
}
