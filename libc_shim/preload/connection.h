// connection.h: socket, bind, listen, accept, connect, shutdown, names and options.
//
// Each takes the number that the program named, and returns what the call does, or -errno.
#ifndef NT_PRELOAD_CONNECTION_H
#define NT_PRELOAD_CONNECTION_H

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/file.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/thread.h"

// The description behind `fd` if it is a socket: 0 with *file held, or -EBADF, -ENOTSOCK, or
// -EOPNOTSUPP for one that a child inherited. `call` is named in the log line about that.
int nt_socket_hold(int fd, const char *call, struct nt_file **file);

// Whether AF_x sockets are ours; -errno for families that would reach the kernel's network.
int nt_socket_family(int domain);

int nt_socket(int domain, int type, int protocol);
int nt_bind(int fd, const struct sockaddr *address, socklen_t length);
int nt_listen(int fd, int backlog);
int nt_accept(int fd, struct sockaddr *address, socklen_t *length, int flags);
int nt_connect(int fd, const struct sockaddr *address, socklen_t length);
int nt_shutdown(int fd, int how);
int nt_getsockname(int fd, struct sockaddr *address, socklen_t *length);
int nt_getpeername(int fd, struct sockaddr *address, socklen_t *length);
int nt_getsockopt(int fd, int level, int name, void *value, socklen_t *length);
int nt_setsockopt(int fd, int level, int name, const void *value, socklen_t length);

// The last reference to a socket is gone.
void nt_connection_end(struct nt_file *file);

// A listening socket of another process's goes on here (share.h); `call` is the answer to JOIN.
int nt_connection_join(struct nt_file *file, const struct nt_control_call *call);

// -- Between the files that do these calls: connection.c, connect.c, accept.c, listening.c ------

enum {
    NT_TYPE_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC,
    NT_GRANT_WAIT_NS = 2000000000, // for a slot: longer than a restart of the TCP server
};

// The end of a call: counts it, and rings whom it has work for.
static inline void nt_connection_called(struct nt_thread *self)
{
    self->count[NT_COUNT_USER]++;
    nt_process_flush(self);
}

// Gives a description its number.
int nt_connection_publish(struct nt_file *file, int number, bool cloexec);
// Takes back a description that never became a socket.
void nt_connection_discard(struct nt_file *file);
// All granted slots are taken: waits a moment for more. 0: look again; or -errno.
int nt_connection_wait_for_grant(struct nt_thread *self, uint64_t deadline_ns);
// A request about a socket of this process's.
void nt_connection_prepare(struct nt_control_call *call, enum nt_control_kind kind,
                           const struct nt_file *file);
// A socket whose connect() failed, or that listened no more, gets a slot like that of a fresh one.
int nt_connection_freshen(struct nt_file *file);
// listen() on a socket that was never bound takes a port, as on Linux.
int nt_connection_bind_any(struct nt_file *file);

#endif
