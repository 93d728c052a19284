// options_tcp.c: the options of level IPPROTO_TCP; see options.h, tcp(7), net/ipv4/tcp.c.
#include "libc_shim/sockets/options.h"

// Not in every libc: their numbers are Linux's (linux/tcp.h).
enum {
    NT_TCP_THIN_DUPACK = 17,
    NT_TCP_REPAIR = 19,
    NT_TCP_SAVED_SYN = 28,
    NT_TCP_IS_MPTCP = 43,
    MSS_DEFAULT = 536,   // RFC 9293 §3.7.1
    MSS_MIN = 88,        // TCP_MIN_MSS
    MSS_MAX = 32767,     // MAX_TCP_WINDOW
    CLAMP_MIN = 1152,    // SOCK_MIN_RCVBUF / 2
    LINGER2_MAX_S = 120, // TCP_FIN_TIMEOUT_MAX
    LINGER2_S = 60,
    RETRY_FIRST_S = 1, // TCP_DEFER_ACCEPT counts retransmissions of the SYN-ACK
    RETRY_LAST_S = 120,
    RETRIES_MAX = 255,
    HEADER_BYTES = 40, // of IPv4 and TCP
    TIMESTAMP_BYTES = 12,
    REORDERING = 3,
};

#define STREAM     NT_FOR_STREAM
#define NONE(most) NT_IN_NOTHING, ENOPROTOOPT, STREAM, 0, most, 0

static const struct nt_option rows[] = {
    {TCP_NODELAY, NT_IN_BIT, NT_OPTION_NODELAY, STREAM, NT_OPTION_ANY, 0},
    {TCP_KEEPIDLE, NT_IN_16, NT_OPTION_AT(keep_idle_s), STREAM, 1, 32767, 7200},
    {TCP_KEEPINTVL, NT_IN_16, NT_OPTION_AT(keep_interval_s), STREAM, 1, 32767, 75},
    {TCP_KEEPCNT, NT_IN_16, NT_OPTION_AT(keep_count), STREAM, 1, 127, 9},
    {TCP_USER_TIMEOUT, NT_IN_32, NT_OPTION_AT(user_timeout_ms), STREAM, 0, INT_MAX, 0},
    {TCP_SYNCNT, NT_IN_KEPT, NT_KEPT_SYNCNT, STREAM, 1, 127, 6},
    {TCP_NOTSENT_LOWAT, NT_IN_KEPT, NT_KEPT_NOTSENT_LOWAT, STREAM, NT_OPTION_ANY, 0},
    {TCP_THIN_LINEAR_TIMEOUTS, NT_IN_KEPT_BIT, NT_KEPT_THIN_LINEAR, STREAM, 0, 1, 0},
    {NT_TCP_THIN_DUPACK, NT_IN_NOTHING, 0, STREAM, 0, 1, 0},
    {NT_TCP_REPAIR, NT_IN_NOTHING, EPERM, STREAM, 0, 1, 0},
    {TCP_FASTOPEN, NONE(INT_MAX)},
    {TCP_FASTOPEN_CONNECT, NONE(1)},
    {TCP_FASTOPEN_NO_COOKIE, NONE(1)},
    {TCP_SAVE_SYN, NONE(1)},
    {TCP_INQ, NONE(1)},
    {TCP_TX_DELAY, NONE(INT_MAX)},
};
const struct nt_option_table nt_tcp_options = {IPPROTO_TCP, sizeof rows / sizeof rows[0], rows};

// -- TCP_INFO --------------------------------------------------------------------------------

// struct tcp_info as far as it is filled in: libc's may end at `tcpi_total_retrans`.
struct info {
    struct tcp_info old;
    uint64_t pacing_rate;
    uint64_t max_pacing_rate;
    uint64_t bytes_acked;
    uint64_t bytes_received;
    uint32_t segs_out;
    uint32_t segs_in;
    uint32_t notsent_bytes;
    uint32_t min_rtt;
    uint32_t data_segs_in;
    uint32_t data_segs_out;
    uint64_t delivery_rate;
    uint64_t busy_time;
    uint64_t rwnd_limited;
    uint64_t sndbuf_limited;
    uint32_t delivered;
    uint32_t delivered_ce;
    uint64_t bytes_sent;
    uint64_t bytes_retrans;
    uint32_t dsack_dups;
    uint32_t reord_seen;
    uint32_t rcv_ooopack;
    uint32_t snd_wnd;
};
_Static_assert(offsetof(struct info, pacing_rate) == 104, "linux/tcp.h");

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

static uint32_t segment_bytes(const struct nt_sock *sock)
{
    uint32_t mss = nt_load_relaxed(&sock->server->mss);
    return mss == 0 ? MSS_DEFAULT : mss;
}

static int get_tcp_info(struct nt_sock *sock, void *value, socklen_t *length)
{
    const struct nt_slot_server *server = sock->server;
    struct info info;
    memset(&info, 0, sizeof info);
    uint32_t mss = segment_bytes(sock);
    uint32_t head = nt_load_relaxed(&server->tx_head);
    info.old.tcpi_state = linux_state(sock);
    info.old.tcpi_rto = nt_load_relaxed(&server->rto_us);
    info.old.tcpi_snd_mss = mss;
    info.old.tcpi_rcv_mss = mss;
    info.old.tcpi_advmss = mss;
    info.old.tcpi_pmtu = mss + HEADER_BYTES + TIMESTAMP_BYTES;
    info.old.tcpi_rtt = nt_load_relaxed(&server->srtt_us);
    info.old.tcpi_rttvar = nt_load_relaxed(&server->rttvar_us);
    info.old.tcpi_snd_cwnd = nt_load_relaxed(&server->cwnd_bytes) / mss;
    info.old.tcpi_snd_ssthresh = INT32_MAX;
    info.old.tcpi_reordering = REORDERING;
    info.old.tcpi_total_retrans = nt_load_relaxed(&server->retransmits);
    info.old.tcpi_unacked = (sock->tx_tail - head + mss - 1) / mss;
    info.old.tcpi_rcv_space = nt_geometry_size(nt_load_relaxed(&server->rx_geometry));
    info.pacing_rate = info.max_pacing_rate = UINT64_MAX;
    info.bytes_acked = head; // their low 32 bits: what the cursors hold
    info.bytes_received = nt_load_relaxed(&server->rx_tail);
    return nt_option_put(&info, sizeof info, value, length);
}

// -- The rest --------------------------------------------------------------------------------

// secs_to_retrans() and retrans_to_secs(): a time as a number of retransmissions, and back.
static int seconds_to_retries(int seconds)
{
    int period = RETRY_FIRST_S;
    int timeout = RETRY_FIRST_S;
    if (seconds <= 0)
        return 0;
    int retries = 1;
    while (seconds > period && retries < RETRIES_MAX) {
        timeout = timeout * 2 > RETRY_LAST_S ? RETRY_LAST_S : timeout * 2;
        period += timeout;
        retries++;
    }
    return retries;
}

static int retries_to_seconds(int retries)
{
    int period = 0;
    int timeout = RETRY_FIRST_S;
    for (int i = 0; i < retries; i++) {
        period += timeout;
        timeout = timeout * 2 > RETRY_LAST_S ? RETRY_LAST_S : timeout * 2;
    }
    return period;
}

static bool is_closed(const struct nt_sock *sock) { return sock->phase == NT_SOCK_IDLE; }

static int get_max_segment(const struct nt_sock *sock)
{
    uint32_t asked = nt_load_relaxed(&sock->program->max_segment);
    bool fresh = is_closed(sock) || sock->phase == NT_SOCK_LISTENING;
    return (int)(fresh && asked != 0 ? asked : segment_bytes(sock));
}

static int set_congestion(const void *value, socklen_t length)
{
    if (length < 1)
        return -EINVAL;
    bool reno = length >= 4 && memcmp(value, "reno", 4) == 0 &&
                (length == 4 || ((const char *)value)[4] == '\0');
    return reno ? 0 : -ENOENT;
}

static int set_cork(struct nt_sock *sock, bool on, struct nt_sock_wake *wake)
{
    sock->flags = on ? sock->flags | NT_SOCKF_CORK : sock->flags & ~(uint32_t)NT_SOCKF_CORK;
    nt_option_set_bit(sock, NT_OPTION_CORK, on);
    if (!on && nt_load_relaxed(&sock->server->tx_head) != sock->tx_tail)
        nt_sock_tell(sock, wake);
    return 0;
}

// tcp_set_window_clamp()
static int set_window_clamp(struct nt_sock *sock, int number)
{
    if (number == 0 && !is_closed(sock))
        return -EINVAL;
    sock->kept[NT_KEPT_WINDOW_CLAMP] = number == 0 ? 0 : number < CLAMP_MIN ? CLAMP_MIN : number;
    return 0;
}

static int set_linger2(struct nt_sock *sock, int number)
{
    sock->kept[NT_KEPT_LINGER2] = number < 0               ? -1
                                  : number > LINGER2_MAX_S ? LINGER2_MAX_S
                                  : number == 0            ? LINGER2_S
                                                           : number;
    return 0;
}

int nt_set_tcp_level(struct nt_sock *sock, int name, const void *value, socklen_t length,
                     struct nt_sock_wake *wake)
{
    if (name == TCP_CONGESTION)
        return set_congestion(value, length);
    if (name == TCP_ULP) // no module is there
        return length < 1 ? -EINVAL : -ENOENT;
    int number;
    int result = nt_option_number(value, length, &number);
    if (result < 0)
        return result;
    switch (name) {
    case TCP_CORK:
        return set_cork(sock, number != 0, wake);
    case TCP_QUICKACK:
        sock->kept[NT_KEPT_QUICKACK] = number != 0;
        nt_option_set_bit(sock, NT_OPTION_QUICKACK, number != 0);
        return 0;
    case TCP_DEFER_ACCEPT:
        sock->kept[NT_KEPT_DEFER_ACCEPT] = seconds_to_retries(number);
        return 0;
    case TCP_LINGER2:
        return set_linger2(sock, number);
    case TCP_WINDOW_CLAMP:
        return set_window_clamp(sock, number);
    case TCP_MAXSEG:
        if (number != 0 && (number < MSS_MIN || number > MSS_MAX))
            return -EINVAL;
        nt_store_relaxed(&sock->program->max_segment, (uint32_t)number);
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int nt_get_tcp_level(struct nt_sock *sock, int name, void *value, socklen_t *length)
{
    char name_of_control[16] = "reno"; // RFC 5681, what the TCP server does
    int retries = sock->kept[NT_KEPT_DEFER_ACCEPT];
    switch (name) {
    case TCP_CORK:
        return nt_option_put_number((sock->flags & NT_SOCKF_CORK) != 0, value, length);
    case TCP_QUICKACK:
        return nt_option_put_number(sock->kept[NT_KEPT_QUICKACK], value, length);
    case TCP_DEFER_ACCEPT:
        return nt_option_put_number(retries_to_seconds(retries), value, length);
    case TCP_LINGER2:
        return nt_option_put_number(sock->kept[NT_KEPT_LINGER2], value, length);
    case TCP_WINDOW_CLAMP:
        return nt_option_put_number(sock->kept[NT_KEPT_WINDOW_CLAMP], value, length);
    case TCP_MAXSEG:
        return nt_option_put_number(get_max_segment(sock), value, length);
    case TCP_INFO:
        return get_tcp_info(sock, value, length);
    case TCP_CONGESTION:
        return nt_option_put(name_of_control, sizeof name_of_control, value, length);
    case NT_TCP_IS_MPTCP:
        return nt_option_put_number(0, value, length);
    case TCP_ULP:
    case TCP_CC_INFO:
    case TCP_FASTOPEN_KEY:
    case NT_TCP_SAVED_SYN:
        *length = 0;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}
