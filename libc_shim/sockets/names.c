// names.c: what a socket and its peer are called: getsockname, getpeername.
//
// The server writes a socket's own name, where it chose it; the program knows the others.
#include "libc_shim/sockets/inner.h"

// The server writes a name once or twice in a slot's life, at connect; a copy that was torn by
// that is seen by copying again.
static void copy_name(struct nt_endpoint *to, const struct nt_endpoint *from)
{
    struct nt_endpoint again;
    for (int tries = 0; tries < 4; tries++) {
        *to = *from;
        nt_fence();
        again = *from;
        if (memcmp(to, &again, sizeof again) == 0)
            break;
    }
}

static int local_name(struct nt_sock *sock, struct nt_endpoint *local)
{
    const struct nt_slot_server *server = sock->server;
    memset(local, 0, sizeof *local);
    bool named = (nt_load_acquire(&server->flags) & NT_SLOT_BOUND) != 0 &&
                 nt_load_relaxed(&server->generation) == sock->generation;
    if ((sock->flags & NT_SOCKF_NAMED) != 0 || (!named && sock->bound != 0)) {
        *local = sock->bound_to;
    } else if (named) {
        copy_name(local, &server->local);
        if ((sock->flags & NT_SOCKF_USED_UP) != 0) // a port is kept, an address is not
            memset(local->addr + 12, 0, 4);
        if (sock->family == AF_INET6 && sock->bound == 0 && nt_endpoint_is_any(local))
            memset(local->addr, 0, sizeof local->addr); // ::, whatever was spoken to first
    } else if (sock->type == SOCK_STREAM) {
        struct nt_sock_view view;
        nt_sock_look(sock, &view);
        if (view.state == NT_TCP_SYN_SENT)
            return -EAGAIN;
    } else if (sock->tx_tail != 0) {
        return -EAGAIN;
    }
    return 0;
}

int nt_sock_getsockname(struct nt_sock *sock, struct sockaddr *address, socklen_t *length)
{
    struct nt_endpoint local;
    nt_sock_lock(sock);
    int result = local_name(sock, &local);
    nt_sock_unlock(sock);
    if (result == 0 && *length > INT32_MAX)
        result = -EINVAL;
    if (result == 0)
        nt_endpoint_to_sockaddr(&local, sock->family, address, length);
    return result;
}

int nt_sock_getpeername(struct nt_sock *sock, struct sockaddr *address, socklen_t *length)
{
    nt_sock_lock(sock);
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    struct nt_endpoint peer = sock->peer;
    nt_sock_unlock(sock);
    if (view.state != NT_TCP_ESTABLISHED)
        return -ENOTCONN;
    if (*length > INT32_MAX)
        return -EINVAL;
    nt_endpoint_to_sockaddr(&peer, sock->family, address, length);
    return 0;
}
