// face.h: what Python sees of the socket layer, as the module newtos_py.libc_shim.sockets._sockets:
// for the simulator's programs, and for tests.
#ifndef NT_SHIM_FACE_H
#define NT_SHIM_FACE_H

#ifdef NT_CDEF
// The system's, as cffi needs to be told them (64-bit Linux).
typedef unsigned int socklen_t;
struct sockaddr {
    unsigned short sa_family;
    char sa_data[14];
};
struct iovec {
    void *iov_base;
    size_t iov_len;
};
struct msghdr {
    void *msg_name;
    socklen_t msg_namelen;
    struct iovec *msg_iov;
    size_t msg_iovlen;
    void *msg_control;
    size_t msg_controllen;
    int msg_flags;
};
#endif

#include "libc_shim/sockets/accept_order.h"
#include "libc_shim/sockets/address.h"
#include "libc_shim/sockets/context.h"
#include "libc_shim/sockets/queue.h"
#include "libc_shim/sockets/socket.h"
#include "libc_shim/sockets/spin.h"
#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/base.h"
#include "newtos_py/kernel/listener.h"

// Processor ticks of `calls` nonblocking receives in a row, each of which found nothing; 0 if one
// found something. For bench/channel.py.
uint64_t nt_face_empty_receives(struct nt_sock *sock, uint32_t calls);
// nt_accept_order(), for tests.
void nt_face_accept_order(const struct nt_accept_lanes *lanes, struct nt_accept_order *order);

#endif
