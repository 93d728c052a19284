// face.h: what Python sees of the simulator, as the module newtos_py.sim._sim.
#ifndef NT_SIM_FACE_H
#define NT_SIM_FACE_H

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

#include "newtos_py/sim/link.h"
#include "newtos_py/sim/pair.h"
#include "newtos_py/sim/streams.h"
#include "newtos_py/sim/tcp_host.h"

#endif
