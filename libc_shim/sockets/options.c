// options.c: getsockopt() and setsockopt() where the socket area knows the answer.
//
// Most options are a number somewhere: a bit or a field of the program block, which the server
// reads at each sweep; a bit that only this layer looks at; or a value that is kept and reported,
// because it asks for nothing that this stack does differently (a hint, a default that already
// holds). One table describes them, with Linux's ranges and defaults. The rest have a function
// each.
#include <limits.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/time.h>

#include "libc_shim/sockets/inner.h"

enum where {
    OPTION_BIT,  // of the program block's `options`; reported as 0 or 1
    PRIVATE_BIT, // of nt_sock.flags
    FIELD_8,     // of the program block, at offset `at`; 0 there means the default
    FIELD_16,
    FIELD_32,
    KEPT, // nt_sock.kept[at]
};

enum {
    STREAM = 1,
    DGRAM = 2,
    V6 = 4,      // AF_INET6 sockets only
    BYTE_OK = 8, // a value of one byte will do (ip(7))
    CUT = 16,    // out of range is cut down, not refused
};

enum kept { // indices of nt_sock.kept
    KEPT_OOBINLINE,
    KEPT_DONTROUTE,
    KEPT_PRIORITY,
    KEPT_SYNCNT,
    KEPT_LINGER2,
    KEPT_DEFER_ACCEPT,
    KEPT_NOTSENT_LOWAT,
    KEPT_WINDOW_CLAMP,
    KEPT_MTU_DISCOVER,
    KEPT_RECVERR,
    KEPT_FREEBIND,
    KEPT_BIND_NO_PORT,
    KEPT_MULTICAST_TTL,
    KEPT_MULTICAST_LOOP,
    KEPT_MTU_DISCOVER6,
    KEPT_RECVERR6,
    KEPT_MULTICAST_HOPS6,
    KEPT_MULTICAST_LOOP6,
    KEPT_COUNT,
};
_Static_assert((int)KEPT_COUNT <= (int)NT_SOCK_KEPT_MAX, "room");

struct option {
    int level;
    int name;
    enum where where;
    uint32_t at;
    uint32_t flags;
    int least;
    int most;
    int otherwise; // reported where the field says 0; what a kept value starts as
};

#define AT(field) (uint32_t) offsetof(struct nt_slot_program, field)
#define ANY       INT_MIN, INT_MAX

static const struct option table[] = {
    {SOL_SOCKET, SO_REUSEADDR, OPTION_BIT, NT_OPTION_REUSEADDR, STREAM | DGRAM, ANY, 0},
    {SOL_SOCKET, SO_REUSEPORT, OPTION_BIT, NT_OPTION_REUSEPORT, STREAM | DGRAM, ANY, 0},
    {SOL_SOCKET, SO_KEEPALIVE, OPTION_BIT, NT_OPTION_KEEPALIVE, STREAM | DGRAM, ANY, 0},
    {SOL_SOCKET, SO_BROADCAST, OPTION_BIT, NT_OPTION_BROADCAST, STREAM | DGRAM, ANY, 0},
    {SOL_SOCKET, SO_RCVLOWAT, FIELD_32, AT(rx_wake_bytes), STREAM | DGRAM | CUT, 0, INT_MAX, 1},
    {SOL_SOCKET, SO_OOBINLINE, KEPT, KEPT_OOBINLINE, STREAM | DGRAM, ANY, 0},
    {SOL_SOCKET, SO_DONTROUTE, KEPT, KEPT_DONTROUTE, STREAM | DGRAM, ANY, 0},
    {SOL_SOCKET, SO_PRIORITY, KEPT, KEPT_PRIORITY, STREAM | DGRAM, 0, 6, 0},

    {IPPROTO_TCP, TCP_NODELAY, OPTION_BIT, NT_OPTION_NODELAY, STREAM, ANY, 0},
    {IPPROTO_TCP, TCP_QUICKACK, OPTION_BIT, NT_OPTION_QUICKACK, STREAM, ANY, 0},
    {IPPROTO_TCP, TCP_KEEPIDLE, FIELD_16, AT(keep_idle_s), STREAM, 1, 32767, 7200},
    {IPPROTO_TCP, TCP_KEEPINTVL, FIELD_16, AT(keep_interval_s), STREAM, 1, 32767, 75},
    {IPPROTO_TCP, TCP_KEEPCNT, FIELD_16, AT(keep_count), STREAM, 1, 127, 9},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, FIELD_32, AT(user_timeout_ms), STREAM, 0, INT_MAX, 0},
    {IPPROTO_TCP, TCP_SYNCNT, KEPT, KEPT_SYNCNT, STREAM, 1, 127, 6},
    {IPPROTO_TCP, TCP_LINGER2, KEPT, KEPT_LINGER2, STREAM, ANY, 60},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, KEPT, KEPT_DEFER_ACCEPT, STREAM, ANY, 0},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, KEPT, KEPT_NOTSENT_LOWAT, STREAM, ANY, 0},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, KEPT, KEPT_WINDOW_CLAMP, STREAM, 0, INT_MAX, 0},

    {IPPROTO_IP, IP_TTL, FIELD_8, AT(ttl), STREAM | DGRAM | BYTE_OK, 1, 255, 64},
    {IPPROTO_IP, IP_TOS, FIELD_8, AT(tos), STREAM | DGRAM | BYTE_OK, 0, 255, 0},
    {IPPROTO_IP, IP_PKTINFO, PRIVATE_BIT, NT_SOCKF_PKTINFO, STREAM | DGRAM | BYTE_OK, ANY, 0},
    {IPPROTO_IP, IP_RECVTTL, PRIVATE_BIT, NT_SOCKF_RECVTTL, STREAM | DGRAM | BYTE_OK, ANY, 0},
    {IPPROTO_IP, IP_RECVTOS, PRIVATE_BIT, NT_SOCKF_RECVTOS, STREAM | DGRAM | BYTE_OK, ANY, 0},
    {IPPROTO_IP, IP_MTU_DISCOVER, KEPT, KEPT_MTU_DISCOVER, STREAM | DGRAM | BYTE_OK, 0, 5, 1},
    {IPPROTO_IP, IP_RECVERR, KEPT, KEPT_RECVERR, STREAM | DGRAM | BYTE_OK, ANY, 0},
    {IPPROTO_IP, IP_FREEBIND, KEPT, KEPT_FREEBIND, STREAM | DGRAM | BYTE_OK, ANY, 0},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, KEPT, KEPT_BIND_NO_PORT, STREAM | DGRAM | BYTE_OK, ANY,
     0},
    {IPPROTO_IP, IP_MULTICAST_TTL, KEPT, KEPT_MULTICAST_TTL, DGRAM | BYTE_OK, -1, 255, 1},
    {IPPROTO_IP, IP_MULTICAST_LOOP, KEPT, KEPT_MULTICAST_LOOP, DGRAM | BYTE_OK, ANY, 1},

    {IPPROTO_IPV6, IPV6_V6ONLY, OPTION_BIT, NT_OPTION_V6ONLY, STREAM | DGRAM | V6, ANY, 0},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, FIELD_8, AT(ttl), STREAM | DGRAM | V6, 1, 255, 64},
    {IPPROTO_IPV6, IPV6_TCLASS, FIELD_8, AT(tos), STREAM | DGRAM | V6, 0, 255, 0},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, PRIVATE_BIT, NT_SOCKF_PKTINFO6, STREAM | DGRAM | V6, ANY, 0},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, PRIVATE_BIT, NT_SOCKF_RECVHOPLIMIT, DGRAM | V6, ANY, 0},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, PRIVATE_BIT, NT_SOCKF_RECVTCLASS, DGRAM | V6, ANY, 0},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, KEPT, KEPT_MTU_DISCOVER6, STREAM | DGRAM | V6, 0, 5, 1},
    {IPPROTO_IPV6, IPV6_RECVERR, KEPT, KEPT_RECVERR6, STREAM | DGRAM | V6, ANY, 0},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, KEPT, KEPT_MULTICAST_HOPS6, DGRAM | V6, -1, 255, 1},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, KEPT, KEPT_MULTICAST_LOOP6, DGRAM | V6, 0, 1, 1},
};
enum { TABLE_ROWS = sizeof table / sizeof table[0] };

enum { // Linux's defaults: net.ipv4.tcp_wmem[1], tcp_rmem[1], net.core.[rw]mem_default, [rw]mem_max
    TCP_SNDBUF = 16384,
    TCP_RCVBUF = 131072,
    UDP_BUF = 212992,
    BUF_MAX = 212992,
    SNDBUF_MIN = 4608,
    RCVBUF_MIN = 2304,
    MSS_DEFAULT = 536, // RFC 9293 §3.7.1

};

void nt_sock_options_init(struct nt_sock *sock)
{
    for (size_t i = 0; i < TABLE_ROWS; i++) {
        if (table[i].where == KEPT)
            sock->kept[table[i].at] = table[i].otherwise;
    }
}

static const struct option *find(const struct nt_sock *sock, int level, int name)
{
    uint32_t type = sock->type == SOCK_STREAM ? STREAM : DGRAM;
    for (size_t i = 0; i < TABLE_ROWS; i++) {
        const struct option *option = &table[i];
        if (option->level == level && option->name == name && (option->flags & type) != 0 &&
            ((option->flags & V6) == 0 || sock->family == AF_INET6))
            return option;
    }
    return NULL;
}

// -- The table's options ---------------------------------------------------------------------

static int get_number(const struct nt_sock *sock, const struct option *option)
{
    const uint8_t *field = (const uint8_t *)sock->program + option->at;
    uint32_t value = 0;
    switch (option->where) {
    case OPTION_BIT:
        return (nt_sock_options(sock) & option->at) != 0;
    case PRIVATE_BIT:
        return (sock->flags & option->at) != 0;
    case KEPT:
        return sock->kept[option->at];
    case FIELD_8:
        value = *field;
        break;
    case FIELD_16:
        value = nt_load_relaxed((const uint16_t *)(const void *)field);
        break;
    case FIELD_32:
        value = nt_load_relaxed((const uint32_t *)(const void *)field);
        break;
    }
    return value == 0 ? option->otherwise : (int)value;
}

static void set_bit(struct nt_sock *sock, uint32_t bit, bool on)
{
    uint32_t options = nt_sock_options(sock);
    nt_store_release(&sock->program->options, on ? options | bit : options & ~bit);
}

static void set_number(struct nt_sock *sock, const struct option *option, int value)
{
    uint8_t *field = (uint8_t *)sock->program + option->at;
    switch (option->where) {
    case OPTION_BIT:
        set_bit(sock, option->at, value != 0);
        break;
    case PRIVATE_BIT:
        sock->flags = value != 0 ? sock->flags | option->at : sock->flags & ~option->at;
        break;
    case KEPT:
        sock->kept[option->at] = value;
        break;
    case FIELD_8:
        *field = (uint8_t)value;
        break;
    case FIELD_16:
        nt_store_relaxed((uint16_t *)(void *)field, (uint16_t)value);
        break;
    case FIELD_32:
        nt_store_relaxed((uint32_t *)(void *)field, (uint32_t)value);
        break;
    }
}

static int read_number(const void *value, socklen_t length, bool byte_ok, int *number)
{
    if (length >= sizeof *number) {
        memcpy(number, value, sizeof *number);
        return 0;
    }
    if (!byte_ok || length == 0)
        return -EINVAL;
    *number = *(const uint8_t *)value;
    return 0;
}

static int set_from_table(struct nt_sock *sock, const struct option *option, const void *value,
                          socklen_t length, struct nt_sock_wake *wake)
{
    int number;
    int result = read_number(value, length, (option->flags & BYTE_OK) != 0, &number);
    if (result < 0)
        return result;
    bool hops = option->where == FIELD_8;
    if (hops && number == -1) // back to the default
        number = 0;
    else if ((option->flags & CUT) != 0 && number < option->least)
        number = option->most;
    else if (number < option->least || number > option->most)
        return -EINVAL;
    if (option->level == IPPROTO_IPV6 && option->name == IPV6_V6ONLY && sock->bound != 0)
        return -EINVAL;
    if (option->name == IP_TOS && option->level == IPPROTO_IP && sock->type == SOCK_STREAM)
        number &= ~3; // INET_ECN_MASK is TCP's
    set_number(sock, option, number);
    // What a server should act upon now: a small segment held back, a timer to arm.
    bool unsent = sock->type == SOCK_STREAM &&
                  nt_load_relaxed(&sock->server->tx_head) != nt_load_relaxed(&sock->tx_tail);
    bool timers = option->where == FIELD_16 ||
                  (option->where == OPTION_BIT && option->at == NT_OPTION_KEEPALIVE);
    if ((option->where == OPTION_BIT && option->at == NT_OPTION_NODELAY && unsent) ||
        (timers && sock->phase == NT_SOCK_CONNECTED && sock->type == SOCK_STREAM))
        nt_sock_tell(sock, wake);
    return 0;
}

// -- Options with a function of their own ----------------------------------------------------

static int put(const void *from, socklen_t bytes, void *value, socklen_t *length)
{
    socklen_t fits = *length < bytes ? *length : bytes;
    memcpy(value, from, fits);
    *length = fits;
    return 0;
}

static int put_number(int number, void *value, socklen_t *length)
{
    return put(&number, sizeof number, value, length);
}

static uint32_t size_class(uint32_t bytes)
{
    uint32_t log2 = NT_RING_FIRST_LOG2;
    while (log2 < NT_RING_LAST_LOG2 && (1u << log2) < bytes)
        log2++;
    return log2;
}

// Linux cuts the number to rmem_max and doubles it, for its own overhead, and reports that.
static int doubled(uint32_t asked, int least)
{
    int twice = 2 * (int)nt_min_u32(asked, BUF_MAX);
    return twice < least ? least : twice;
}

static int reported_sndbuf(const struct nt_sock *sock)
{
    if (sock->sndbuf != 0)
        return doubled(sock->sndbuf, SNDBUF_MIN);
    if (sock->type == SOCK_DGRAM)
        return UDP_BUF;
    return (int)nt_max_u32(TCP_SNDBUF, nt_geometry_size(sock->program->tx_geometry));
}

static int reported_rcvbuf(const struct nt_sock *sock)
{
    if (sock->rcvbuf != 0)
        return doubled(sock->rcvbuf, RCVBUF_MIN);
    return sock->type == SOCK_DGRAM ? UDP_BUF : TCP_RCVBUF;
}

static int set_buffer(struct nt_sock *sock, int name, int number, struct nt_sock_wake *wake)
{
    uint32_t asked = number <= 0 ? 1u : (uint32_t)number; // negative is huge to Linux, then cut
    if (number < 0)
        asked = BUF_MAX;
    if (name == SO_SNDBUF || name == SO_SNDBUFFORCE) {
        sock->sndbuf = asked;
        sock->tx_limit_log2 = size_class(asked);
        return 0;
    }
    sock->rcvbuf = asked;
    nt_store_relaxed(&sock->program->rx_want_log2, (uint16_t)size_class(asked));
    if (sock->phase == NT_SOCK_CONNECTED)
        nt_sock_tell(sock, wake);
    return 0;
}

static int get_timeout(uint64_t ns, void *value, socklen_t *length)
{
    struct timeval time = {.tv_sec = (time_t)(ns / 1000000000),
                           .tv_usec = (suseconds_t)(ns / 1000 % 1000000)};
    return put(&time, sizeof time, value, length);
}

// sock_set_timeout(): zero is for ever, negative is not at all.
static int set_timeout(uint64_t *ns, const void *value, socklen_t length)
{
    struct timeval time;
    if (length < sizeof time)
        return -EINVAL;
    memcpy(&time, value, sizeof time);
    if (time.tv_usec < 0 || time.tv_usec >= 1000000)
        return -EDOM;
    if (time.tv_sec < 0)
        *ns = 1;
    else if (time.tv_sec >= INT32_MAX)
        *ns = 0;
    else
        *ns = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
    return 0;
}

static int set_linger(struct nt_sock *sock, const void *value, socklen_t length)
{
    struct linger linger;
    if (length < sizeof linger)
        return -EINVAL;
    memcpy(&linger, value, sizeof linger);
    sock->linger_s = linger.l_onoff == 0 ? -1 : linger.l_linger < 0 ? INT32_MAX : linger.l_linger;
    sock->program->linger_ms = linger.l_onoff == 0 || sock->linger_s > INT32_MAX / 1000
                                   ? 0
                                   : (uint32_t)sock->linger_s * 1000;
    return 0;
}

static int set_socket_level(struct nt_sock *sock, int name, const void *value, socklen_t length,
                            struct nt_sock_wake *wake)
{
    int number;
    int result = read_number(value, length, false, &number);
    if (result < 0)
        return result;
    switch (name) {
    case SO_SNDBUF:
    case SO_RCVBUF:
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
        return set_buffer(sock, name, number, wake);
    case SO_LINGER:
        return set_linger(sock, value, length);
    case SO_RCVTIMEO:
        return set_timeout(&sock->rcvtimeo_ns, value, length);
    case SO_SNDTIMEO:
        return set_timeout(&sock->sndtimeo_ns, value, length);
    default: // SO_ERROR, SO_TYPE and the like can't be set
        return -ENOPROTOOPT;
    }
}

static int get_socket_level(struct nt_sock *sock, int name, void *value, socklen_t *length)
{
    struct nt_sock_view view;
    struct linger linger = {sock->linger_s >= 0, sock->linger_s < 0 ? 0 : sock->linger_s};
    switch (name) {
    case SO_ERROR:
        nt_sock_look(sock, &view);
        return put_number(nt_sock_take_error(sock, &view), value, length);
    case SO_TYPE:
        return put_number(sock->type, value, length);
    case SO_DOMAIN:
        return put_number(sock->family, value, length);
    case SO_PROTOCOL:
        return put_number((int)sock->area->protocol, value, length);
    case SO_ACCEPTCONN:
        return put_number(sock->phase == NT_SOCK_LISTENING, value, length);
    case SO_SNDBUF:
        return put_number(reported_sndbuf(sock), value, length);
    case SO_RCVBUF:
        return put_number(reported_rcvbuf(sock), value, length);
    case SO_SNDLOWAT:
        return put_number(1, value, length);
    case SO_LINGER:
        return put(&linger, sizeof linger, value, length);
    case SO_RCVTIMEO:
        return get_timeout(sock->rcvtimeo_ns, value, length);
    case SO_SNDTIMEO:
        return get_timeout(sock->sndtimeo_ns, value, length);
    default:
        return -ENOPROTOOPT;
    }
}

// Linux's numbers of TCP's states (include/net/tcp_states.h), as far as the view tells them apart.
static uint8_t linux_state(const struct nt_sock *sock)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    bool acknowledged = (nt_load_relaxed(&sock->server->flags) & NT_SLOT_TX_DONE) != 0;
    switch (view.state) {
    case NT_TCP_CLOSE:
        return TCP_CLOSE;
    case NT_TCP_SYN_SENT:
        return TCP_SYN_SENT;
    case NT_TCP_LISTEN:
        return TCP_LISTEN;
    case NT_TCP_ESTABLISHED:
        break;
    }
    bool ours = (view.shutdown & NT_SHUT_WR) != 0;
    if (view.done)
        return ours ? TCP_LAST_ACK : TCP_CLOSE_WAIT;
    if (!ours)
        return TCP_ESTABLISHED;
    return acknowledged ? TCP_FIN_WAIT2 : TCP_FIN_WAIT1;
}

static int get_tcp_info(struct nt_sock *sock, void *value, socklen_t *length)
{
    const struct nt_slot_server *server = sock->server;
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    info.tcpi_state = linux_state(sock);
    info.tcpi_snd_mss = nt_load_relaxed(&server->mss);
    info.tcpi_rcv_mss = info.tcpi_snd_mss;
    info.tcpi_rtt = nt_load_relaxed(&server->srtt_us);
    info.tcpi_total_retrans = nt_load_relaxed(&server->retransmits);
    uint32_t mss = nt_max_u32(info.tcpi_snd_mss, 1);
    info.tcpi_snd_cwnd = nt_load_relaxed(&server->cwnd_bytes) / mss;
    info.tcpi_unacked = (sock->tx_tail - nt_load_relaxed(&server->tx_head)) / mss;
    return put(&info, sizeof info, value, length);
}

static int get_tcp_level(struct nt_sock *sock, int name, void *value, socklen_t *length)
{
    char name_of_control[16] = "reno"; // RFC 5681, what the TCP server does
    uint32_t mss = nt_load_relaxed(&sock->server->mss);
    switch (name) {
    case TCP_CORK:
        return put_number((sock->flags & NT_SOCKF_CORK) != 0, value, length);
    case TCP_MAXSEG:
        return put_number(mss == 0 ? MSS_DEFAULT : (int)mss, value, length);
    case TCP_INFO:
        return get_tcp_info(sock, value, length);
    case TCP_CONGESTION:
        return put(name_of_control, sizeof name_of_control, value, length);
    default:
        return -ENOPROTOOPT;
    }
}

static int set_tcp_level(struct nt_sock *sock, int name, const void *value, socklen_t length,
                         struct nt_sock_wake *wake)
{
    if (name == TCP_CONGESTION) {
        if (length < 1)
            return -EINVAL;
        bool reno = length >= 4 && memcmp(value, "reno", 4) == 0 &&
                    (length == 4 || ((const char *)value)[4] == '\0');
        return reno ? 0 : -ENOENT;
    }
    int number;
    int result = read_number(value, length, false, &number);
    if (result < 0)
        return result;
    switch (name) {
    case TCP_CORK:
        sock->flags =
            number != 0 ? sock->flags | NT_SOCKF_CORK : sock->flags & ~(uint32_t)NT_SOCKF_CORK;
        set_bit(sock, NT_OPTION_CORK, number != 0);
        if (number == 0 && nt_load_relaxed(&sock->server->tx_head) != sock->tx_tail)
            nt_sock_tell(sock, wake);
        return 0;
    case TCP_MAXSEG:
        if (number != 0 && (number < 88 || number > 32767)) // TCP_MIN_MSS, MAX_TCP_WINDOW
            return -EINVAL;
        nt_store_relaxed(&sock->program->max_segment, (uint32_t)number);
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

// -- The calls -------------------------------------------------------------------------------

static int get_locked(struct nt_sock *sock, int level, int name, void *value, socklen_t *length)
{
    const struct option *option = find(sock, level, name);
    if (option != NULL) {
        int number = get_number(sock, option);
        // do_ip_getsockopt(): one byte where no more was asked for.
        if ((option->flags & BYTE_OK) != 0 && *length > 0 && *length < sizeof number &&
            number >= 0 && number <= 255) {
            uint8_t byte = (uint8_t)number;
            return put(&byte, 1, value, length);
        }
        return put_number(number, value, length);
    }
    if (level == SOL_SOCKET)
        return get_socket_level(sock, name, value, length);
    if (level == IPPROTO_TCP && sock->type == SOCK_STREAM)
        return get_tcp_level(sock, name, value, length);
    // do_ip_getsockopt() has an errno of its own for a foreign level.
    bool foreign = level != IPPROTO_IP && (level != IPPROTO_UDP || sock->type == SOCK_STREAM);
    return foreign && sock->family == AF_INET ? -EOPNOTSUPP : -ENOPROTOOPT;
}

int nt_sock_getsockopt(struct nt_sock *sock, int level, int name, void *value, socklen_t *length)
{
    if (*length > INT_MAX)
        return -EINVAL;
    nt_sock_lock(sock);
    int result =
        sock->phase == NT_SOCK_CLOSED ? -EBADF : get_locked(sock, level, name, value, length);
    nt_sock_unlock(sock);
    return result;
}

static int set_locked(struct nt_sock *sock, int level, int name, const void *value,
                      socklen_t length, struct nt_sock_wake *wake)
{
    const struct option *option = find(sock, level, name);
    if (option != NULL)
        return set_from_table(sock, option, value, length, wake);
    if (level == SOL_SOCKET)
        return set_socket_level(sock, name, value, length, wake);
    if (level == IPPROTO_TCP && sock->type == SOCK_STREAM)
        return set_tcp_level(sock, name, value, length, wake);
    return -ENOPROTOOPT;
}

int nt_sock_setsockopt(struct nt_sock *sock, int level, int name, const void *value,
                       socklen_t length, struct nt_sock_wake *wake)
{
    if (length > INT_MAX)
        return -EINVAL;
    if (value == NULL)
        return -EFAULT;
    nt_sock_lock(sock);
    int result =
        sock->phase == NT_SOCK_CLOSED ? -EBADF : set_locked(sock, level, name, value, length, wake);
    nt_sock_unlock(sock);
    return result;
}
