#include "servers/udp/ports.h"

#include <errno.h>

#include "servers/udp/socket.h"

static struct nt_udp_socket *at(struct nt_udp *udp, uint16_t index)
{
    return index == NT_UDP_NONE ? NULL : &udp->state->socket[index];
}

// -- The index -------------------------------------------------------------------------------

void nt_udp_port_index(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    uint16_t index = nt_udp_index(udp, socket);
    udp->next[index] = udp->port[socket->local_port];
    udp->port[socket->local_port] = index;
}

void nt_udp_port_release(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    if (socket->local_port == 0)
        return;
    uint16_t index = nt_udp_index(udp, socket);
    uint16_t *link = &udp->port[socket->local_port];
    while (*link != index)
        link = &udp->next[*link];
    *link = udp->next[index];
    nt_udp_socket_touch(udp, socket);
    socket->local_port = 0;
}

// -- Conflicts -------------------------------------------------------------------------------

static bool wildcard(const struct nt_udp_socket *socket)
{
    return nt_addr_is_unspecified(socket->local_addr);
}

// Sockets that only speak IPv6 and those that only speak IPv4 never meet.
static bool families_meet(const struct nt_udp_socket *a, const struct nt_udp_socket *b)
{
    bool a_v4 = nt_addr_is_v4(a->local_addr), b_v4 = nt_addr_is_v4(b->local_addr);
    return !((a->flags & NT_UDP_V6ONLY) && !a_v4 && b_v4) &&
           !((b->flags & NT_UDP_V6ONLY) && !b_v4 && a_v4);
}

// Linux's inet_rcv_saddr_equal and udp_lib_lport_inuse: both must agree to share.
static bool in_conflict(const struct nt_udp_socket *a, const struct nt_udp_socket *b)
{
    bool meet = wildcard(a) || wildcard(b) || nt_addr_equal(a->local_addr, b->local_addr);
    uint8_t both = a->flags & b->flags;
    return meet && families_meet(a, b) && (both & (NT_UDP_REUSEADDR | NT_UDP_REUSEPORT)) == 0;
}

static bool port_taken(struct nt_udp *udp, const struct nt_udp_socket *socket, uint16_t port)
{
    for (uint16_t i = udp->port[port]; i != NT_UDP_NONE; i = udp->next[i])
        if (in_conflict(socket, &udp->state->socket[i]))
            return true;
    return false;
}

// splitmix64: ports that a stranger can't guess from one it has seen (RFC 6056), as the seed is
// the host's secret.
static uint64_t random_number(struct nt_udp *udp)
{
    struct nt_udp_globals *globals = &udp->state->globals;
    NT_UDP_TOUCH(udp, globals);
    globals->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = globals->random ^ udp->seed;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

// A port nobody has at all, else 0.
static uint16_t choose_port(struct nt_udp *udp)
{
    const uint32_t count = NT_UDP_PORT_LAST - NT_UDP_PORT_FIRST + 1;
    uint32_t start = (uint32_t)(random_number(udp) % count);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t port = (uint16_t)(NT_UDP_PORT_FIRST + (start + i) % count);
        if (udp->port[port] == NT_UDP_NONE)
            return port;
    }
    nt_udp_count(udp, NT_UDP_COUNT_NO_PORT_FREE);
    return 0;
}

// -- Binding ---------------------------------------------------------------------------------

static bool may_bind_to(const struct nt_udp *udp, const uint8_t addr[16])
{
    return nt_addr_is_unspecified(addr) || nt_netconf_is_local(&udp->conf, addr) ||
           nt_netconf_is_broadcast(&udp->conf, addr) || nt_addr_is_multicast(addr);
}

int nt_udp_port_bind(struct nt_udp *udp, struct nt_udp_socket *socket, const uint8_t addr[16],
                     uint16_t port, uint32_t options)
{
    if (socket->local_port != 0)
        return EINVAL;
    if (!may_bind_to(udp, addr))
        return EADDRNOTAVAIL;
    nt_udp_socket_touch(udp, socket);
    nt_addr_copy(socket->local_addr, addr);
    socket->flags = (uint8_t)(((options & NT_OPTION_REUSEADDR) ? NT_UDP_REUSEADDR : 0) |
                              ((options & NT_OPTION_REUSEPORT) ? NT_UDP_REUSEPORT : 0) |
                              ((options & NT_OPTION_V6ONLY) ? NT_UDP_V6ONLY : 0) |
                              (nt_addr_is_unspecified(addr) ? NT_UDP_ANY_ADDRESS : 0) |
                              (port == 0 ? NT_UDP_AUTO_PORT : 0));
    bool taken = port != 0 && port_taken(udp, socket, port);
    if (port == 0)
        port = choose_port(udp);
    if (taken || port == 0) {
        memset(socket->local_addr, 0, sizeof socket->local_addr);
        return taken ? EADDRINUSE : EAGAIN;
    }
    socket->local_port = port;
    socket->state = NT_UDP_OPEN;
    nt_udp_port_index(udp, socket);
    nt_udp_count(udp, NT_UDP_COUNT_BINDS);
    return 0;
}

int nt_udp_port_autobind(struct nt_udp *udp, struct nt_udp_socket *socket, const uint8_t dst[16],
                         uint32_t options)
{
    static const uint8_t any[16] = {[10] = 0xff, [11] = 0xff}, any6[16];
    if (socket->local_port != 0)
        return 0;
    if (!nt_addr_is_v4(dst))
        return nt_udp_port_bind(udp, socket, any6, 0, options);
    return nt_udp_port_bind(udp, socket, any, 0, options & ~(uint32_t)NT_OPTION_V6ONLY);
}

// -- Finding ---------------------------------------------------------------------------------

// How well a socket fits a datagram, as Linux's compute_score: 0 not at all.
static uint32_t score(const struct nt_udp_socket *socket, const uint8_t dst[16],
                      const uint8_t src[16], uint16_t src_port)
{
    uint32_t points = 1;
    const bool v4 = nt_addr_is_v4(dst), socket_v4 = nt_addr_is_v4(socket->local_addr);
    if ((socket_v4 && !v4) || (!socket_v4 && v4 && (socket->flags & NT_UDP_V6ONLY)))
        return 0;
    if (!wildcard(socket)) {
        if (!nt_addr_equal(socket->local_addr, dst))
            return 0;
        points += 4;
    }
    if (socket->flags & NT_UDP_CONNECTED) {
        if (socket->peer_port != src_port || !nt_addr_equal(socket->peer_addr, src))
            return 0;
        points += 8;
    }
    return points;
}

struct nt_udp_socket *nt_udp_port_find(struct nt_udp *udp, const uint8_t dst[16], uint16_t dst_port,
                                       const uint8_t src[16], uint16_t src_port, uint32_t hash)
{
    struct nt_udp_socket *best = NULL;
    uint32_t best_score = 0, equals = 0;
    for (uint16_t i = udp->port[dst_port]; i != NT_UDP_NONE; i = udp->next[i]) {
        struct nt_udp_socket *socket = &udp->state->socket[i];
        uint32_t points = score(socket, dst, src, src_port);
        if (points == 0 || points < best_score)
            continue;
        if (points > best_score) {
            best = socket;
            best_score = points;
            equals = 1;
        } else if (socket->flags & NT_UDP_REUSEPORT) {
            // One of a group of equals, by the flow's hash, so that a flow stays with one.
            equals++;
            if (((uint64_t)(hash * 0x9e3779b1u + equals) * equals) >> 32 == 0)
                best = socket;
        }
    }
    return best;
}

struct nt_udp_socket *nt_udp_port_next(struct nt_udp *udp, const struct nt_udp_socket *last,
                                       const uint8_t dst[16], uint16_t dst_port,
                                       const uint8_t src[16], uint16_t src_port)
{
    uint16_t i = last == NULL ? udp->port[dst_port] : udp->next[nt_udp_index(udp, last)];
    for (; i != NT_UDP_NONE; i = udp->next[i])
        if (score(&udp->state->socket[i], dst, src, src_port) != 0)
            return at(udp, i);
    return NULL;
}
