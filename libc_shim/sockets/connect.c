// connect.c: how connections come and go: bind, listen, connect, shutdown.
//
// Linux's struct socket has a state of its own (SS_UNCONNECTED, SS_CONNECTING, SS_CONNECTED) beside
// TCP's; it is what makes connect() answer EALREADY, then 0 once, then EISCONN. Here that is the
// phase, with NT_SOCKF_UNREPORTED for "connected, but nobody has been told".
#include "libc_shim/sockets/inner.h"

// -- bind and listen -------------------------------------------------------------------------

int nt_sock_bind_check(struct nt_sock *sock, const struct sockaddr *address, socklen_t length,
                       struct nt_endpoint *local)
{
    bool v6only = (nt_sock_options(sock) & NT_OPTION_V6ONLY) != 0;
    int result =
        nt_endpoint_from_sockaddr(local, sock->family, v6only, NT_ADDRESS_BIND, address, length);
    if (result == 0)
        result = nt_endpoint_can_be(local, NT_ADDRESS_BIND);
    if (result < 0)
        return result;
    nt_sock_lock(sock);
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    // inet_bind(): a fresh socket only. One that has a port, whoever chose it, is fresh no more.
    bool named = sock->bound != 0 || (nt_load_acquire(&sock->server->flags) & NT_SLOT_BOUND) != 0;
    if (sock->phase == NT_SOCK_SICK)
        result = -EIO;
    else if (sock->phase != NT_SOCK_IDLE || named)
        result = -EINVAL;
    nt_sock_unlock(sock);
    return result;
}

void nt_sock_bound(struct nt_sock *sock, const struct nt_endpoint *local)
{
    nt_sock_lock(sock);
    sock->bound = 1;
    sock->bound_to = *local;
    sock->flags &= ~(uint32_t)NT_SOCKF_UNBOUND;
    nt_sock_unlock(sock);
}

bool nt_sock_is_used_up(const struct nt_sock *sock)
{
    return (sock->flags & NT_SOCKF_USED_UP) != 0;
}

bool nt_sock_bound_name(const struct nt_sock *sock, struct nt_endpoint *local)
{
    *local = sock->bound_to;
    return sock->bound != 0;
}

int nt_sock_listen_check(struct nt_sock *sock)
{
    if (sock->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    nt_sock_lock(sock);
    int result = -EINVAL;
    if (sock->phase == NT_SOCK_IDLE)
        result = 0;
    else if (sock->phase == NT_SOCK_LISTENING)
        result = 1;
    else if (sock->phase == NT_SOCK_SICK)
        result = -EIO;
    nt_sock_unlock(sock);
    return result;
}

void nt_sock_listening(struct nt_sock *sock, struct nt_listener *listener)
{
    nt_sock_lock(sock);
    sock->listener = listener;
    nt_store_release(&sock->phase, (uint8_t)NT_SOCK_LISTENING);
    nt_sock_unlock(sock);
}

int nt_sock_joined(struct nt_sock_context *context, struct nt_sock *sock, int family, uint32_t area,
                   uint32_t slot, uint32_t generation)
{
    struct nt_sock_area *own = nt_sock_area_numbered(context, IPPROTO_TCP, area);
    if (own == NULL || slot >= own->view.slots || !nt_sock_slot_is_free(own, slot, generation))
        return -EBADF;
    nt_sock_enter_slot(sock, own, slot, generation, NULL);
    nt_sock_init(sock, family, SOCK_STREAM);
    nt_store_release(&sock->phase, (uint8_t)NT_SOCK_IDLE);
    return 0;
}

// -- connect ---------------------------------------------------------------------------------

static bool is_unspec(const struct sockaddr *address)
{
    sa_family_t family;
    memcpy(&family, address, sizeof family);
    return family == AF_UNSPEC;
}

static void post_request(struct nt_sock *sock, const struct nt_endpoint *target,
                         struct nt_sock_wake *wake)
{
    sock->program->target = *target;
    if (nt_load_relaxed(&sock->area->context->lanes) > 1)
        nt_store_relaxed(&sock->program->core, nt_sock_core(sock->area->context));
    sock->request = (((sock->request >> 8) + 1) << 8) | NT_MAIL_CONNECT;
    nt_store_release(&sock->program->request, sock->request);
    nt_sock_tell(sock, wake);
}

// AF_UNSPEC, and what a failed connect() ends with: back to a fresh socket.
static int disconnect(struct nt_sock_context *context, struct nt_sock *sock,
                      struct nt_sock_wake *wake)
{
    if (sock->phase != NT_SOCK_IDLE || (sock->flags & NT_SOCKF_USED_UP) != 0) {
        struct nt_sock_view view;
        nt_sock_look(sock, &view);
        int result = nt_sock_renew_slot(context, sock, wake);
        if (result < 0)
            return result;
        // tcp_disconnect(): a connection, or half of one, was broken off.
        if (view.state == NT_TCP_SYN_SENT ||
            (view.state == NT_TCP_ESTABLISHED && view.shutdown != NT_SHUT_BOTH))
            sock->left_error = ECONNRESET;
        else
            sock->left_error = nt_error_number(view.error);
    }
    nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_IDLE);
    return 0;
}

static int start_connect(struct nt_sock_context *context, struct nt_sock *sock,
                         const struct sockaddr *address, socklen_t length,
                         struct nt_sock_wake *wake)
{
    struct nt_endpoint target;
    bool v6only = (nt_sock_options(sock) & NT_OPTION_V6ONLY) != 0;
    int result = nt_endpoint_from_sockaddr(&target, sock->family, v6only, NT_ADDRESS_CONNECT,
                                           address, length);
    if (result == 0)
        result = nt_endpoint_can_be(&target, NT_ADDRESS_CONNECT);
    if (result < 0)
        return result;
    if ((sock->flags & NT_SOCKF_USED_UP) != 0 || nt_sock_is_lost(sock)) {
        result = nt_sock_renew_slot(context, sock, wake);
        if (result < 0)
            return result;
    }
    if ((sock->flags & NT_SOCKF_UNBOUND) != 0)
        return -EDESTADDRREQ;
    sock->peer = target;
    sock->left_error = 0; // tcp_connect_init()
    post_request(sock, &target, wake);
    nt_store_release(&sock->phase, (uint8_t)NT_SOCK_CONNECTING);
    return -EINPROGRESS;
}

// __inet_stream_connect() with SS_CONNECTING.
static int go_on_connecting(struct nt_sock *sock)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    if (view.state == NT_TCP_SYN_SENT)
        return -EALREADY;
    if (view.state == NT_TCP_CLOSE) {
        int error = nt_sock_take_error(sock, &view);
        sock->flags |= NT_SOCKF_USED_UP;
        nt_store_relaxed(&sock->shutdown, (uint8_t)0);
        nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_IDLE);
        return error == 0 ? -ECONNABORTED : -error;
    }
    nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_CONNECTED);
    return 0;
}

static int connect_stream(struct nt_sock_context *context, struct nt_sock *sock,
                          const struct sockaddr *address, socklen_t length,
                          struct nt_sock_wake *wake)
{
    if (is_unspec(address))
        return disconnect(context, sock, wake);
    if ((sock->flags & NT_SOCKF_DISCONNECTING) != 0)
        return -EINVAL;
    switch ((enum nt_sock_phase)sock->phase) {
    case NT_SOCK_IDLE:
        return start_connect(context, sock, address, length, wake);
    case NT_SOCK_CONNECTING:
        return go_on_connecting(sock);
    case NT_SOCK_CONNECTED:
        if ((sock->flags & NT_SOCKF_UNREPORTED) == 0)
            return -EISCONN;
        sock->flags &= ~(uint32_t)NT_SOCKF_UNREPORTED;
        return go_on_connecting(sock);
    case NT_SOCK_LISTENING:
        return -EISCONN;
    case NT_SOCK_SICK:
        return -EIO;
    case NT_SOCK_CLOSED:
        break;
    }
    return -EBADF;
}

static int connect_dgram(struct nt_sock *sock, const struct sockaddr *address, socklen_t length,
                         struct nt_sock_wake *wake)
{
    struct nt_endpoint target;
    memset(&target, 0, sizeof target);
    bool away = is_unspec(address);
    bool v6only = (nt_sock_options(sock) & NT_OPTION_V6ONLY) != 0;
    if (!away) {
        int result = nt_endpoint_from_sockaddr(&target, sock->family, v6only,
                                               NT_ADDRESS_CONNECT_DGRAM, address, length);
        if (result == 0)
            result = nt_endpoint_can_be(&target, NT_ADDRESS_CONNECT_DGRAM);
        if (result < 0)
            return result;
    }
    if ((sock->flags & NT_SOCKF_POSTED) == 0) {
        sock->flags |= NT_SOCKF_POSTED;
        sock->peer = target;
        post_request(sock, &target, wake);
        return -EAGAIN;
    }
    if (nt_load_acquire(&sock->server->reply) != sock->request)
        return -EAGAIN;
    sock->flags &= ~(uint32_t)NT_SOCKF_POSTED;
    if (memcmp(&sock->peer, &target, sizeof target) != 0) { // an earlier call was broken off
        sock->flags |= NT_SOCKF_POSTED;
        sock->peer = target;
        post_request(sock, &target, wake);
        return -EAGAIN;
    }
    uint32_t error = nt_load_relaxed(&sock->server->reply_errno);
    bool peerless = away || error != 0;
    nt_store_relaxed(&sock->phase, (uint8_t)(peerless ? NT_SOCK_IDLE : NT_SOCK_CONNECTED));
    return -(int)nt_error_number(error);
}

int nt_sock_connect(struct nt_sock_context *context, struct nt_sock *sock,
                    const struct sockaddr *address, socklen_t length, struct nt_sock_wake *wake)
{
    if (length < sizeof(sa_family_t))
        return -EINVAL;
    nt_sock_lock(sock);
    int result = sock->type == SOCK_STREAM ? connect_stream(context, sock, address, length, wake)
                                           : connect_dgram(sock, address, length, wake);
    nt_sock_unlock(sock);
    return result;
}

// -- shutdown --------------------------------------------------------------------------------

// inet_shutdown(), last branches.
static int shutdown_stream(struct nt_sock_context *context, struct nt_sock *sock, uint32_t bits,
                           const struct nt_sock_view *view, struct nt_sock_wake *wake)
{
    if (view->state == NT_TCP_LISTEN) {
        if ((bits & NT_SHUT_RD) == 0)
            return 0;
        sock->flags |= NT_SOCKF_USED_UP;
        nt_store_relaxed(&sock->shutdown, (uint8_t)0); // tcp_disconnect()
        nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_IDLE);
        return 1;
    }
    if (view->state == NT_TCP_SYN_SENT)
        return disconnect(context, sock, wake);
    // SS_CONNECTING ends here, one way or the other.
    bool unreported = sock->phase == NT_SOCK_CONNECTING || (sock->flags & NT_SOCKF_UNREPORTED) != 0;
    if (unreported && view->state == NT_TCP_CLOSE)
        sock->flags |= NT_SOCKF_DISCONNECTING;
    else if (sock->phase == NT_SOCK_CONNECTING)
        nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_CONNECTED);
    sock->flags &= ~(uint32_t)NT_SOCKF_UNREPORTED;
    nt_store_relaxed(&sock->shutdown, (uint8_t)(sock->shutdown | bits));
    if (view->state == NT_TCP_CLOSE)
        return -ENOTCONN;
    uint32_t control = ((bits & NT_SHUT_RD) != 0 ? NT_CONTROL_SHUT_RD : 0u) |
                       ((bits & NT_SHUT_WR) != 0 ? NT_CONTROL_SHUT_WR : 0u);
    uint32_t before = __atomic_fetch_or(&sock->program->control, control, __ATOMIC_SEQ_CST);
    if ((before & NT_CONTROL_FROZEN) != 0)
        return -ERESTART;
    nt_sock_tell(sock, wake);
    return 0;
}

int nt_sock_shutdown(struct nt_sock *sock, int how, struct nt_sock_wake *wake)
{
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return -EINVAL;
    uint32_t bits = (uint32_t)how + 1; // SHUT_RD, SHUT_WR, SHUT_RDWR: 1, 2, 3
    nt_sock_lock(sock);
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    int result;
    if (sock->phase == NT_SOCK_CLOSED) {
        result = -EBADF;
    } else if (sock->type == SOCK_STREAM) {
        result = shutdown_stream(sock->area->context, sock, bits, &view, wake);
    } else {
        nt_store_relaxed(&sock->shutdown, (uint8_t)(sock->shutdown | bits));
        (void)__atomic_fetch_or(&sock->program->control, bits,
                                __ATOMIC_SEQ_CST); // for who takes it
        result = view.state == NT_TCP_ESTABLISHED ? 0 : -ENOTCONN;
    }
    nt_sock_unlock(sock);
    return result;
}
