// connect.c: names and peers: bind, connect, shutdown, getsockname, getpeername.
//
// bind() is the syscall server's; connect() a request in the socket's slot, and a wait.

#include "libc_shim/preload/connection.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/interfaces.h"
#include "libc_shim/preload/listening.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <netinet/in.h>

// -- bind ------------------------------------------------------------------------------------

static int bind_to(struct nt_file *file, const struct nt_endpoint *local)
{
    struct nt_control_call call;
    nt_process_flush(nt_thread_self());
    nt_connection_prepare(&call, NT_CTL_BIND, file);
    call.message.endpoint = *local;
    int result = nt_control_do(&call);
    if (result == 0)
        nt_sock_bound(&file->sock, &call.message.endpoint);
    return result;
}

static int connect_held(struct nt_file *file, const struct sockaddr *address, socklen_t length);

int nt_connection_freshen(struct nt_file *file)
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
        result = nt_connection_freshen(file);
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

int nt_connection_bind_any(struct nt_file *file)
{
    struct sockaddr_storage any = {.ss_family = file->sock.family};
    struct nt_endpoint local;
    if (nt_sock_bound_name(&file->sock, &local))
        return 0;
    return bind_held(file, (const struct sockaddr *)&any,
                     file->sock.family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                   : sizeof(struct sockaddr_in));
}

// -- connect and shutdown --------------------------------------------------------------------

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
        answer = stream ? nt_connection_wait_for_grant(self, nt_deadline(NT_GRANT_WAIT_NS))
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
            nt_listening_unlisten(file, true);
            nt_listening_close_parts(file);
            result = 0;
        }
        nt_connection_called(self);
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
        nt_connection_called(nt_thread_self());
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
        nt_connection_called(nt_thread_self());
    } while (nt_share_end_call(file, result));
    return result;
}
