// options_socket.c: the options of level SOL_SOCKET; see options.h, socket(7), net/core/sock.c.
#include <sys/time.h>

#include "libc_shim/sockets/options.h"

enum { // Linux's defaults: net.ipv4.tcp_wmem[1], tcp_rmem[1], net.core.[rw]mem_default
    TCP_SNDBUF = 16384,
    TCP_RCVBUF = 131072,
    UDP_BUF = 212992,
    BUF_MAX = NT_RING_RESERVE, // net.core.[rw]mem_max: 4 MB since Linux 6.17; no ring is larger
    SNDBUF_MIN = 4608,
    RCVBUF_MIN = 2304,
    RCVLOWAT_MAX = 16777216, // half of net.ipv4.tcp_rmem[2]
    BPF_EXTENSIONS = 64,
};

// Not in every libc: their numbers are Linux's (asm-generic/socket.h).
enum {
    NT_SO_NO_CHECK = 11,
    NT_SO_BSDCOMPAT = 14,
    NT_SO_RCVTIMEO_NEW = 66,
    NT_SO_SNDTIMEO_NEW = 67,
    NT_SO_PREFER_BUSY_POLL = 69,
    NT_SO_BUF_LOCK = 72,
    NT_SO_RESERVE_MEM = 73,
    NT_SO_TXREHASH = 74,
    NT_SO_RCVMARK = 75,
    NT_SO_PASSPIDFD = 76,
    NT_SO_PEERPIDFD = 77,
    NT_SO_PASSRIGHTS = 83,
    FILTER_BYTES = 16, // struct sock_fprog
    SNDBUF_LOCK = 1,
    RCVBUF_LOCK = 2,
};

#define BOTH       NT_FOR_BOTH, NT_OPTION_ANY, 0
#define KEPT(name) NT_IN_KEPT, NT_KEPT_##name
#define BITS(name) NT_IN_KEPT_BIT, NT_KEPT_##name, BOTH

static const struct nt_option rows[] = {
    {SO_REUSEADDR, NT_IN_BIT, NT_OPTION_REUSEADDR, BOTH},
    {SO_REUSEPORT, NT_IN_BIT, NT_OPTION_REUSEPORT, BOTH},
    {SO_KEEPALIVE, NT_IN_BIT, NT_OPTION_KEEPALIVE, BOTH},
    {SO_BROADCAST, NT_IN_BIT, NT_OPTION_BROADCAST, BOTH},
    {SO_DEBUG, BITS(DEBUG)},
    {SO_DONTROUTE, BITS(DONTROUTE)},
    {SO_OOBINLINE, NT_IN_PRIVATE, NT_SOCKF_OOB_INLINE, BOTH},
    {NT_SO_NO_CHECK, BITS(NO_CHECK)},
    {SO_RXQ_OVFL, BITS(RXQ_OVFL)}, // tells of drops, and no datagram is dropped that was queued
    {SO_WIFI_STATUS, BITS(WIFI_STATUS)},
    {SO_NOFCS, BITS(NOFCS)},
    {SO_LOCK_FILTER, BITS(LOCK_FILTER)},
    {SO_SELECT_ERR_QUEUE, BITS(SELECT_ERR_QUEUE)},
    {NT_SO_PREFER_BUSY_POLL, BITS(PREFER_BUSY_POLL)},
    {NT_SO_RCVMARK, BITS(RCVMARK)},
    {SO_PRIORITY, KEPT(PRIORITY), BOTH},
    {SO_MARK, KEPT(MARK), BOTH},
    {SO_INCOMING_CPU, KEPT(INCOMING_CPU), BOTH},
    {SO_BUSY_POLL, KEPT(BUSY_POLL), NT_FOR_BOTH, 0, INT_MAX, 0},
    {NT_SO_BINDTOIFINDEX, KEPT(DEVICE), NT_FOR_BOTH, 0, INT_MAX, 0},
    {NT_SO_BUF_LOCK, KEPT(BUF_LOCK), NT_FOR_BOTH, 0, 3, 0},
    {NT_SO_TXREHASH, KEPT(TXREHASH), NT_FOR_BOTH | NT_MINUS_ONE, 0, 1, 1},
    {NT_SO_BSDCOMPAT, NT_IN_NOTHING, 0, BOTH},
    {SO_ZEROCOPY, NT_IN_NOTHING, ENOPROTOOPT, NT_FOR_BOTH, 0, 1, 0},
    {SO_PEEK_OFF, NT_IN_NOTHING, ENOPROTOOPT, NT_FOR_BOTH, NT_OPTION_ANY, -1},
};
const struct nt_option_table nt_socket_options = {SOL_SOCKET, sizeof rows / sizeof rows[0], rows};

// -- Buffers ---------------------------------------------------------------------------------

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
    uint32_t asked = number <= 0 ? 1u : (uint32_t)number;
    if (number < 0)
        asked = BUF_MAX; // negative is huge to Linux, then cut
    if (name == SO_SNDBUF || name == SO_SNDBUFFORCE) {
        sock->sndbuf = asked;
        sock->kept[NT_KEPT_BUF_LOCK] |= SNDBUF_LOCK;
        sock->tx_limit_log2 = size_class(asked);
        return 0;
    }
    sock->rcvbuf = asked;
    sock->kept[NT_KEPT_BUF_LOCK] |= RCVBUF_LOCK;
    nt_store_relaxed(&sock->program->rx_want_log2, (uint16_t)size_class(asked));
    if (sock->phase == NT_SOCK_CONNECTED)
        nt_sock_tell(sock, wake);
    return 0;
}

// sock_setsockopt(), then tcp_set_rcvlowat(): never more than could be queued.
static int set_rcvlowat(struct nt_sock *sock, int number)
{
    int most = INT_MAX;
    if (sock->type == SOCK_STREAM)
        most = sock->rcvbuf != 0 ? reported_rcvbuf(sock) / 2 : RCVLOWAT_MAX;
    if (number < 0 || number > most)
        number = most;
    nt_store_relaxed(&sock->program->rx_wake_bytes, (uint32_t)number);
    return 0;
}

// SK_MEMINFO_*: bytes received, their limit, bytes to send, their limit, and no more.
static int get_meminfo(struct nt_sock *sock, void *value, socklen_t *length)
{
    uint32_t info[9] = {0};
    int unread = nt_sock_rx_bytes(sock);
    info[0] = unread < 0 ? 0 : (uint32_t)unread;
    info[1] = (uint32_t)reported_rcvbuf(sock);
    info[3] = (uint32_t)reported_sndbuf(sock);
    return nt_option_put(info, sizeof info, value, length);
}

// -- Times -----------------------------------------------------------------------------------

static int get_timeout(uint64_t ns, void *value, socklen_t *length)
{
    struct timeval time = {.tv_sec = (time_t)(ns / 1000000000),
                           .tv_usec = (suseconds_t)(ns / 1000 % 1000000)};
    return nt_option_put(&time, sizeof time, value, length);
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

// sock_set_timestamp(): one of the two forms, or none.
static int set_timestamp(struct nt_sock *sock, uint32_t form, bool on)
{
    sock->flags &= ~(uint32_t)(NT_SOCKF_TIMESTAMP | NT_SOCKF_TIMESTAMPNS);
    if (on)
        sock->flags |= form;
    return 0;
}

// -- The rest --------------------------------------------------------------------------------

static int get_cookie(const struct nt_sock *sock, void *value, socklen_t *length)
{
    uint64_t cookie = ((uint64_t)sock->generation << 32) | (uint64_t)sock->area->view.number << 16 |
                      (uint64_t)sock->slot << 1 | (sock->type == SOCK_DGRAM);
    if (*length < sizeof cookie)
        return -EINVAL;
    return nt_option_put(&cookie, sizeof cookie, value, length);
}

static int get_peer_name(struct nt_sock *sock, void *value, socklen_t *length)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    if (view.state != NT_TCP_ESTABLISHED)
        return -ENOTCONN;
    struct sockaddr_storage name;
    socklen_t bytes = sizeof name;
    nt_endpoint_to_sockaddr(&sock->peer, sock->family, (struct sockaddr *)&name, &bytes);
    return bytes < *length ? -EINVAL : nt_option_put(&name, *length, value, length);
}

static int get_pacing_rate(void *value, socklen_t *length)
{
    const uint64_t none = UINT64_MAX;
    return nt_option_put(&none, *length >= sizeof none ? sizeof none : sizeof(uint32_t), value,
                         length);
}

static int set_pacing_rate(const void *value, socklen_t length)
{
    uint64_t rate = 0;
    memcpy(&rate, value, length < sizeof rate ? sizeof(uint32_t) : sizeof rate);
    bool none = rate == UINT64_MAX || (length < sizeof rate && rate == UINT32_MAX);
    return none ? 0 : -ENOPROTOOPT;
}

// Programs for the packet filter: none can be run here.
static int set_filter(int name, socklen_t length)
{
    if (name == SO_DETACH_FILTER)
        return -ENOENT;
    return length != FILTER_BYTES ? -EINVAL : -ENOPROTOOPT;
}

int nt_set_socket_level(struct nt_sock *sock, int name, const void *value, socklen_t length,
                        struct nt_sock_wake *wake)
{
    int number;
    if (name == SO_BINDTODEVICE) { // with a name: the caller's, who knows the interfaces
        sock->kept[NT_KEPT_DEVICE] = 0;
        return length == 0 || *(const char *)value == '\0' ? 0 : -ENODEV;
    }
    int result = nt_option_number(value, length, &number);
    if (result < 0)
        return result;
    switch (name) {
    case SO_SNDBUF:
    case SO_RCVBUF:
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
        return set_buffer(sock, name, number, wake);
    case SO_RCVLOWAT:
        return set_rcvlowat(sock, number);
    case SO_LINGER:
        return set_linger(sock, value, length);
    case SO_RCVTIMEO:
    case NT_SO_RCVTIMEO_NEW:
        return set_timeout(&sock->rcvtimeo_ns, value, length);
    case SO_SNDTIMEO:
    case NT_SO_SNDTIMEO_NEW:
        return set_timeout(&sock->sndtimeo_ns, value, length);
    case SO_TIMESTAMP:
        return set_timestamp(sock, NT_SOCKF_TIMESTAMP, number != 0);
    case SO_TIMESTAMPNS:
        return set_timestamp(sock, NT_SOCKF_TIMESTAMPNS, number != 0);
    case SO_TIMESTAMPING:
        return number == 0 ? 0 : -ENOPROTOOPT;
    case SO_MAX_PACING_RATE:
        return set_pacing_rate(value, length);
    case SO_CNX_ADVICE:
        return 0;
    case SO_ATTACH_FILTER:
    case SO_DETACH_FILTER:
        return set_filter(name, length);
    case NT_SO_RESERVE_MEM:
        return number < 0 ? -EINVAL : -EOPNOTSUPP;
    case SO_PASSCRED:
    case SO_PASSSEC:
    case NT_SO_PASSPIDFD:
    case NT_SO_PASSRIGHTS:
        return -EOPNOTSUPP; // AF_UNIX's
    default:                // SO_ERROR, SO_TYPE and the like can't be set
        return -ENOPROTOOPT;
    }
}

// What says that there is nothing to say.
static int get_constant(int name, void *value, socklen_t *length)
{
    const struct {
        uint32_t pid;
        uint32_t uid;
        uint32_t gid;
    } nobody = {0, UINT32_MAX, UINT32_MAX};
    const uint64_t no_timestamping = 0;
    switch (name) {
    case SO_SNDLOWAT:
        return nt_option_put_number(1, value, length);
    case SO_BPF_EXTENSIONS:
        return nt_option_put_number(BPF_EXTENSIONS, value, length);
    case SO_INCOMING_NAPI_ID:
    case NT_SO_RESERVE_MEM:
        return nt_option_put_number(0, value, length);
    case SO_PEERCRED:
        return nt_option_put(&nobody, sizeof nobody, value, length);
    case SO_TIMESTAMPING:
        return nt_option_put(&no_timestamping, sizeof no_timestamping, value, length);
    case SO_MAX_PACING_RATE:
        return get_pacing_rate(value, length);
    case SO_BINDTODEVICE: // with a name: the caller's
    case SO_GET_FILTER:
        *length = 0;
        return 0;
    case SO_PASSCRED:
    case SO_PASSSEC:
    case NT_SO_PASSPIDFD:
    case NT_SO_PASSRIGHTS:
        return -EOPNOTSUPP;
    case SO_PEERGROUPS:
    case NT_SO_PEERPIDFD:
        return -ENODATA;
    default:
        return -ENOPROTOOPT;
    }
}

int nt_get_socket_level(struct nt_sock *sock, int name, void *value, socklen_t *length)
{
    struct nt_sock_view view;
    struct linger linger = {sock->linger_s >= 0, sock->linger_s < 0 ? 0 : sock->linger_s};
    uint32_t lowat;
    switch (name) {
    case SO_ERROR:
        nt_sock_look(sock, &view);
        return nt_option_put_number(nt_sock_take_error(sock, &view), value, length);
    case SO_TYPE:
        return nt_option_put_number(sock->type, value, length);
    case SO_DOMAIN:
        return nt_option_put_number(sock->family, value, length);
    case SO_PROTOCOL:
        return nt_option_put_number((int)sock->area->protocol, value, length);
    case SO_ACCEPTCONN:
        return nt_option_put_number(sock->phase == NT_SOCK_LISTENING, value, length);
    case SO_SNDBUF:
        return nt_option_put_number(reported_sndbuf(sock), value, length);
    case SO_RCVBUF:
        return nt_option_put_number(reported_rcvbuf(sock), value, length);
    case SO_RCVLOWAT:
        lowat = nt_load_relaxed(&sock->program->rx_wake_bytes);
        return nt_option_put_number(lowat == 0 ? 1 : (int)lowat, value, length);
    case SO_LINGER:
        return nt_option_put(&linger, sizeof linger, value, length);
    case SO_RCVTIMEO:
    case NT_SO_RCVTIMEO_NEW:
        return get_timeout(sock->rcvtimeo_ns, value, length);
    case SO_SNDTIMEO:
    case NT_SO_SNDTIMEO_NEW:
        return get_timeout(sock->sndtimeo_ns, value, length);
    case SO_TIMESTAMP:
        return nt_option_put_number((sock->flags & NT_SOCKF_TIMESTAMP) != 0, value, length);
    case SO_TIMESTAMPNS:
        return nt_option_put_number((sock->flags & NT_SOCKF_TIMESTAMPNS) != 0, value, length);
    case SO_PEERNAME:
        return get_peer_name(sock, value, length);
    case SO_MEMINFO:
        return get_meminfo(sock, value, length);
    case SO_COOKIE:
        return get_cookie(sock, value, length);
    default:
        return get_constant(name, value, length);
    }
}
