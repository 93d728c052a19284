// message.c: the send and recv calls as programs know them: flags, names, control data.
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "libc_shim/sockets/inner.h"

// True if a nonblocking recv would certainly find nothing. A handful of loads of two cache lines
// that stay in the cache while nothing happens, and no lock: whoever calls recv in vain most often
// is an event loop that wants to know that it's done. Each load is of a word that only moves away
// from "nothing", and a change that comes just afterwards is one that came too late.
static inline bool nothing_there(const struct nt_sock *sock)
{
    const struct nt_slot_server *server = sock->server;
    if (server == NULL || nt_load_acquire(&server->rx_tail) != nt_load_relaxed(&sock->rx_head) ||
        nt_load_relaxed(&server->error) != nt_load_relaxed(&sock->error_taken) ||
        nt_load_relaxed(&sock->shutdown) != 0)
        return false;
    uint8_t phase = nt_load_relaxed(&sock->phase);
    if (sock->type == SOCK_DGRAM)
        return phase == NT_SOCK_IDLE || phase == NT_SOCK_CONNECTED;
    uint8_t state = nt_load_relaxed(&server->state); // ACCEPTABLE until the server sees us act
    return phase == NT_SOCK_CONNECTED &&
           (state == NT_SLOT_CONNECTED || state == NT_SLOT_ACCEPTABLE) &&
           (nt_load_relaxed(&server->flags) & NT_SLOT_RX_FIN) == 0 && !nt_sock_is_lost(sock);
}

static bool is_open(const struct nt_sock *sock)
{
    return nt_load_relaxed(&sock->phase) != NT_SOCK_CLOSED;
}

// connect() was asked for, and now it is done: from here on recv can take the short way.
static void note_connected(struct nt_sock *sock)
{
    if (sock->phase == NT_SOCK_CONNECTING &&
        nt_load_acquire(&sock->server->state) == NT_SLOT_CONNECTED && !nt_sock_is_lost(sock)) {
        sock->flags |= NT_SOCKF_UNREPORTED;
        nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_CONNECTED);
    }
}

ssize_t nt_sock_recv(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                     struct nt_sock_received *received, struct nt_sock_wake *wake)
{
    if (NT_LIKELY(nothing_there(sock)) && (flags & (MSG_OOB | MSG_ERRQUEUE)) == 0)
        return -EAGAIN;
    if (!is_open(sock))
        return -EBADF;
    if (received != NULL)
        memset(received, 0, sizeof *received);
    nt_sock_lock(sock);
    ssize_t result;
    if (!is_open(sock)) {
        result = -EBADF;
    } else if (sock->phase == NT_SOCK_SICK) {
        result = -EIO;
    } else if (sock->type == SOCK_STREAM) {
        note_connected(sock);
        result = nt_stream_recv(sock, iov, count, flags, received, wake);
    } else {
        result = nt_dgram_recv(sock, iov, count, flags, received, wake);
    }
    nt_sock_unlock(sock);
    return result;
}

// udpv6_sendmsg() takes AF_UNSPEC for no address at all.
static bool is_unspec(const struct sockaddr *address, socklen_t length)
{
    sa_family_t family = AF_INET;
    if (length >= sizeof family)
        memcpy(&family, address, sizeof family);
    return family == AF_UNSPEC;
}

static int destination(const struct nt_sock *sock, const struct sockaddr *address, socklen_t length,
                       struct nt_endpoint *to)
{
    bool v6only = (nt_sock_options(sock) & NT_OPTION_V6ONLY) != 0;
    int result =
        nt_endpoint_from_sockaddr(to, sock->family, v6only, NT_ADDRESS_SENDTO, address, length);
    if (result == 0 && to->port == 0)
        return -EINVAL; // udp_sendmsg(): no port 0
    return result == 0 ? nt_endpoint_can_be(to, NT_ADDRESS_SENDTO) : result;
}

// `control` has the messages attached to a datagram, or is NULL.
static ssize_t send_with(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                         const struct sockaddr *address, socklen_t length,
                         const struct msghdr *control, struct nt_sock_wake *wake)
{
    if (!is_open(sock))
        return -EBADF;
    struct nt_endpoint to;
    bool named = sock->type == SOCK_DGRAM && address != NULL &&
                 !(sock->family == AF_INET6 && is_unspec(address, length));
    if (named) {
        int result = destination(sock, address, length, &to);
        if (result < 0)
            return result;
    }
    if (sock->type == SOCK_DGRAM && (flags & MSG_OOB) != 0)
        return -EOPNOTSUPP;
    struct nt_dgram_marks marks;
    if (control != NULL) {
        bool ipv4 = nt_endpoint_is_v4(named ? &to : &sock->peer);
        int error = nt_dgram_read_marks(sock, control, ipv4 || sock->family == AF_INET, &marks);
        if (error != 0)
            return error;
    }
    nt_sock_lock(sock);
    ssize_t result;
    if (!is_open(sock)) {
        result = -EBADF;
    } else if (sock->phase == NT_SOCK_SICK) {
        result = -EIO;
    } else if (sock->type == SOCK_STREAM) {
        note_connected(sock);
        result = nt_stream_send(sock, iov, count, flags, wake);
    } else {
        result = nt_dgram_send(sock, iov, count, named ? &to : NULL,
                               control != NULL ? &marks : NULL, wake);
    }
    nt_sock_unlock(sock);
    return result;
}

ssize_t nt_sock_send(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                     const struct sockaddr *address, socklen_t length, struct nt_sock_wake *wake)
{
    return send_with(sock, iov, count, flags, address, length, NULL, wake);
}

// -- msghdr ----------------------------------------------------------------------------------

ssize_t nt_sock_sendmsg(struct nt_sock *sock, const struct msghdr *message, int flags,
                        struct nt_sock_wake *wake)
{
    if (message->msg_iovlen > INT32_MAX)
        return -EMSGSIZE;
    const struct sockaddr *name = message->msg_name;
    bool control = sock->type == SOCK_DGRAM && message->msg_control != NULL &&
                   message->msg_controllen >= sizeof(struct cmsghdr);
    return send_with(sock, message->msg_iov, (int)message->msg_iovlen, flags,
                     message->msg_namelen == 0 ? NULL : name, message->msg_namelen,
                     control ? message : NULL, wake);
}

// put_cmsg(): what doesn't fit is left out, and MSG_CTRUNC says so.
static void put_control(struct msghdr *message, size_t *used, int level, int type, const void *data,
                        size_t bytes)
{
    size_t room = message->msg_controllen - *used;
    if (message->msg_control == NULL || room < CMSG_LEN(bytes)) {
        message->msg_flags |= MSG_CTRUNC;
        return;
    }
    struct cmsghdr *header = (struct cmsghdr *)(void *)((uint8_t *)message->msg_control + *used);
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(header), data, bytes);
    size_t space = CMSG_SPACE(bytes);
    *used += space < room ? space : room;
}

// __sock_recv_timestamp(), for a datagram that came before the option was set: the time is now.
static void put_timestamp(const struct nt_sock *sock, struct msghdr *message, size_t *used)
{
    if (sock->area->context->realtime_ns == NULL)
        return;
    uint64_t ns = sock->area->context->realtime_ns();
    const struct timespec time = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    const struct timeval coarse = {time.tv_sec, time.tv_nsec / 1000};
    if ((sock->flags & NT_SOCKF_TIMESTAMPNS) != 0)
        put_control(message, used, SOL_SOCKET, SO_TIMESTAMPNS, &time, sizeof time);
    else
        put_control(message, used, SOL_SOCKET, SO_TIMESTAMP, &coarse, sizeof coarse);
}

// Loopback is the first; which of the others it was, nobody tells.
static int interface_of(const uint8_t local[16])
{
    static const uint8_t v6[16] = {[15] = 1};
    struct nt_endpoint endpoint = {.port = 0};
    memcpy(endpoint.addr, local, sizeof endpoint.addr);
    bool v4 = nt_endpoint_is_v4(&endpoint) && local[12] == IN_LOOPBACKNET;
    return v4 || memcmp(local, v6, sizeof v6) == 0 ? 1 : 0;
}

// ip_cmsg_recv_offset()
static void put_ipv4_controls(const struct nt_sock *sock, struct msghdr *message, size_t *used,
                              const struct nt_sock_received *received)
{
    if ((sock->flags & NT_SOCKF_PKTINFO) != 0) {
        struct in_pktinfo info = {.ipi_ifindex = interface_of(received->local_addr)};
        memcpy(&info.ipi_addr, received->local_addr + 12, 4);
        info.ipi_spec_dst = info.ipi_addr;
        put_control(message, used, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    }
    if ((sock->flags & NT_SOCKF_RECVTTL) != 0) {
        int ttl = received->ttl;
        put_control(message, used, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    }
    if ((sock->flags & NT_SOCKF_RECVTOS) != 0)
        put_control(message, used, IPPROTO_IP, IP_TOS, &received->tos, 1);
}

// ip6_datagram_recv_specific_ctl()
static void put_ipv6_controls(const struct nt_sock *sock, struct msghdr *message, size_t *used,
                              const struct nt_sock_received *received)
{
    if ((sock->flags & NT_SOCKF_RECVHOPLIMIT) != 0) {
        int ttl = received->ttl;
        put_control(message, used, IPPROTO_IPV6, IPV6_HOPLIMIT, &ttl, sizeof ttl);
    }
    if ((sock->flags & NT_SOCKF_RECVTCLASS) != 0) {
        int tos = received->tos;
        put_control(message, used, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos);
    }
}

// udpv6_recvmsg(): both families' addresses are told in IPv6's words, the rest in their own.
static void put_controls(const struct nt_sock *sock, struct msghdr *message,
                         const struct nt_sock_received *received)
{
    size_t used = 0;
    if ((sock->flags & (NT_SOCKF_TIMESTAMP | NT_SOCKF_TIMESTAMPNS)) != 0)
        put_timestamp(sock, message, &used);
    if ((sock->flags & NT_SOCKF_PKTINFO6) != 0) {
        struct in6_pktinfo info = {.ipi6_ifindex = (unsigned)interface_of(received->local_addr)};
        memcpy(&info.ipi6_addr, received->local_addr, 16);
        put_control(message, &used, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
    if (nt_endpoint_is_v4(&received->peer))
        put_ipv4_controls(sock, message, &used, received);
    else
        put_ipv6_controls(sock, message, &used, received);
    message->msg_controllen = used;
}

ssize_t nt_sock_recvmsg(struct nt_sock *sock, struct msghdr *message, int flags,
                        struct nt_sock_wake *wake)
{
    if (message->msg_iovlen > INT32_MAX)
        return -EMSGSIZE;
    struct nt_sock_received received;
    ssize_t result =
        nt_sock_recv(sock, message->msg_iov, (int)message->msg_iovlen, flags, &received, wake);
    if (result < 0)
        return result;
    message->msg_flags = received.flags;
    if (sock->type == SOCK_STREAM) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        return result;
    }
    if (message->msg_name != NULL)
        nt_endpoint_to_sockaddr(&received.peer, sock->family, (struct sockaddr *)message->msg_name,
                                &message->msg_namelen);
    put_controls(sock, message, &received);
    return result;
}
