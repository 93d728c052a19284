// connection.h: socket, bind, listen, accept, connect, shutdown, names and options.
//
// Each takes the number that the program named, and returns what the call does, or -errno.
#ifndef NT_PRELOAD_CONNECTION_H
#define NT_PRELOAD_CONNECTION_H

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/file.h"

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

#endif
