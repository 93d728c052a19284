// lifecycle.c: socket(), close(), and what concerns the object as a whole.
#include "libc_shim/sockets/inner.h"

static int protocol_of(int domain, int type, int protocol)
{
    if (domain != AF_INET && domain != AF_INET6)
        return -EAFNOSUPPORT;
    if (type < 0 || type >= 11) // SOCK_MAX
        return -EINVAL;
    if (protocol < 0 || protocol >= IPPROTO_MAX)
        return -EINVAL;
    // inet_create(): the type must exist, then it must have that protocol.
    int own = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    int icmp = domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    if (type == SOCK_RAW) // as without CAP_NET_RAW
        return -EPERM;
    if (type == SOCK_DGRAM && protocol == icmp) // as where net.ipv4.ping_group_range has nobody
        return -EACCES;
    if (type != SOCK_STREAM && type != SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    return protocol == 0 || protocol == own ? own : -EPROTONOSUPPORT;
}

void nt_sock_init(struct nt_sock *sock, int family, int type)
{
    sock->family = (uint8_t)family;
    sock->type = (uint8_t)type;
    sock->flags = 0;
    sock->tx_limit_log2 = 0;
    sock->sndbuf = 0;
    sock->rcvbuf = 0;
    sock->rcvtimeo_ns = 0;
    sock->sndtimeo_ns = 0;
    sock->linger_s = -1;
    sock->bound = 0;
    sock->phase_before = NT_SOCK_CLOSED;
    sock->left_error = 0;
    sock->listener = NULL;
    sock->beside = NULL;
    memset(&sock->bound_to, 0, sizeof sock->bound_to);
    memset(&sock->peer, 0, sizeof sock->peer);
    nt_sock_options_init(sock);
    nt_store_relaxed(&sock->shutdown, (uint8_t)0);
}

int nt_sock_create(struct nt_sock_context *context, struct nt_sock *sock, int domain, int type,
                   int protocol, struct nt_sock_wake *wake)
{
    int number = protocol_of(domain, type, protocol);
    if (number < 0)
        return number;
    int result = nt_sock_take_slot(context, sock, (uint32_t)number, NT_SOCK_ANY_LANE, NULL, wake);
    if (result < 0)
        return result;
    nt_sock_init(sock, domain, type);
    nt_store_release(&sock->phase, (uint8_t)NT_SOCK_IDLE);
    return 0;
}

int nt_sock_close(struct nt_sock *sock, struct nt_sock_wake *wake)
{
    nt_sock_lock(sock);
    int result = -EBADF;
    if (sock->phase != NT_SOCK_CLOSED) {
        uint32_t control = sock->linger_s == 0 && sock->type == SOCK_STREAM ? NT_CONTROL_RESET : 0;
        nt_store_release(&sock->phase, (uint8_t)NT_SOCK_CLOSED);
        nt_sock_leave_slot(sock, sock->area, sock->slot, control, wake);
        sock->listener = NULL;
        result = 0;
    }
    nt_sock_unlock(sock);
    return result;
}

uint32_t nt_sock_linger_ms(const struct nt_sock *sock)
{
    struct nt_sock_view view;
    if (sock->type != SOCK_STREAM || sock->linger_s <= 0 ||
        nt_load_relaxed(&sock->phase) == NT_SOCK_CLOSED)
        return 0;
    nt_sock_look(sock, &view);
    if (view.state != NT_TCP_ESTABLISHED)
        return 0;
    return sock->linger_s > INT32_MAX / 1000 ? INT32_MAX : (uint32_t)sock->linger_s * 1000;
}

bool nt_sock_drained(struct nt_sock *sock)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    return view.state != NT_TCP_ESTABLISHED ||
           (nt_load_acquire(&sock->server->flags) & NT_SLOT_TX_DONE) != 0;
}

void nt_sock_identify(const struct nt_sock *sock, struct nt_sock_identity *identity)
{
    identity->protocol = sock->area->protocol;
    identity->area = sock->area->view.number;
    identity->slot = sock->slot;
    identity->generation = sock->generation;
    identity->options = nt_sock_options(sock);
}
