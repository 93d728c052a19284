// stream.c: TCP's bytes, in and out of the rings of a slot.
//
// Receiving: load the tail, then the geometry (area.h says why that is right while the ring grows),
// copy, then publish the head. The server reads the head whenever it has a segment for the
// connection, so it is told of new room only where the peer may have come to a halt for want of it:
// when what it last heard of left at most half of the ring, and a quarter has become free since.
//
// Sending: what fits, in at most two pieces; where the tail reaches the ring's end, and room is
// short, and the server says that the connection could use more, the ring doubles instead of going
// round. The geometry is published before the tail that needs it.
//
// The other side's cursors are input: more than a ring apart, or a geometry that is none, makes the
// socket sick.
#include <poll.h>

#include "libc_shim/sockets/inner.h"

int64_t nt_stream_unread(const struct nt_sock *sock)
{
    uint32_t tail = nt_load_acquire(&sock->server->rx_tail);
    uint32_t bytes = tail - nt_load_relaxed(&sock->rx_head);
    if (bytes == 0)
        return 0;
    uint64_t geometry = nt_load_acquire(&sock->server->rx_geometry);
    if (!nt_geometry_valid(geometry) || bytes > nt_geometry_size(geometry))
        return -1;
    return bytes;
}

// SO_RCVLOWAT; a ring that is half full counts as enough, or the peer could not go on. Of `bytes`,
// no read would give `lost`.
static bool is_enough(const struct nt_sock *sock, int64_t bytes, uint32_t lost)
{
    if (bytes <= 0)
        return bytes != 0;
    int64_t enough = nt_load_relaxed(&sock->program->rx_wake_bytes);
    if (NT_UNLIKELY(lost != 0))
        enough = (enough == 0 ? 1 : enough) + lost;
    return bytes >= enough ||
           bytes >= nt_geometry_size(nt_load_relaxed(&sock->server->rx_geometry)) / 2;
}

static __attribute__((noinline)) uint32_t poll_marked(const struct nt_sock *sock, int64_t bytes)
{
    struct nt_urgent_view urgent;
    nt_stream_urgent(sock, &urgent);
    bool marked = urgent.state != NT_URGENT_NONE;
    bool readable = is_enough(sock, bytes, marked ? urgent.gone + urgent.passed : 0);
    return (readable ? (uint32_t)(POLLIN | POLLRDNORM) : 0) |
           (urgent.state == NT_URGENT_HERE ? POLLPRI : 0);
}

uint32_t nt_stream_poll_in(const struct nt_sock *sock)
{
    int64_t bytes = nt_stream_unread(sock);
    if (nt_stream_has_mark(sock))
        return poll_marked(sock, bytes);
    return is_enough(sock, bytes, 0) ? POLLIN | POLLRDNORM : 0;
}

// Copies `bytes` at `head` to the walk, in one or two pieces.
static void copy_out(const struct nt_sock *sock, uint64_t geometry, uint32_t head, uint32_t bytes,
                     struct nt_iov *walk)
{
    const uint8_t *ring = nt_area_rx_ring(&sock->area->view, sock->slot, geometry);
    uint32_t position = nt_geometry_position(geometry, head);
    uint32_t first = nt_min_u32(bytes, nt_geometry_size(geometry) - position);
    nt_iov_scatter(walk, ring + position, first);
    nt_iov_scatter(walk, ring, bytes - first);
}

static bool give_room(struct nt_sock *sock, uint32_t tail, uint64_t geometry, uint32_t head,
                      struct nt_sock_wake *wake)
{
    if (!nt_sock_advance_rx(sock, head))
        return false;
    uint32_t size = nt_geometry_size(geometry);
    uint32_t heard_of = sock->rx_noted;
    if ((int32_t)(tail - size - heard_of) > 0)
        heard_of = tail - size; // it has read a later head, or these bytes had no room
    if (head - heard_of >= size / 4 && heard_of + size - tail <= size / 2) {
        sock->rx_noted = head;
        nt_sock_tell(sock, wake);
    }
    return true;
}

// What a read of no bytes answers; the order is tcp_recvmsg()'s.
static ssize_t nothing_to_read(struct nt_sock *sock, const struct nt_sock_view *view)
{
    if (view->done)
        return 0;
    int error = nt_sock_take_error(sock, view);
    if (error != 0)
        return -error;
    if ((view->shutdown & NT_SHUT_RD) != 0)
        return 0;
    return view->state == NT_TCP_CLOSE ? -ENOTCONN : -EAGAIN;
}

// What the urgent byte leaves of a read; `head` moves past it where the read begins with it. Its
// place goes as if it had been read. -ERESTART.
static int64_t up_to_mark(struct nt_sock *sock, uint32_t tail, uint64_t geometry, uint32_t *head,
                          int flags, struct nt_sock_wake *wake)
{
    uint32_t skip = 0;
    uint32_t bytes = nt_urgent_limit(sock, tail - *head, &skip);
    *head += skip;
    bool passes = skip != 0 && (flags & MSG_PEEK) == 0;
    return passes && !give_room(sock, tail, geometry, *head, wake) ? -ERESTART : (int64_t)bytes;
}

ssize_t nt_stream_recv(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                       struct nt_sock_received *received, struct nt_sock_wake *wake)
{
    if ((flags & MSG_ERRQUEUE) != 0)
        return -EAGAIN;
    ssize_t wanted = nt_iov_bytes(iov, count);
    if (wanted < 0)
        return wanted;
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    if (view.state == NT_TCP_LISTEN)
        return -ENOTCONN;
    if ((flags & MSG_OOB) != 0)
        return nt_urgent_recv(sock, &view, iov, count, flags, received);
    uint8_t phase = sock->phase;
    if (phase != NT_SOCK_CONNECTED && phase != NT_SOCK_CONNECTING)
        return nothing_to_read(sock, &view);

    uint32_t tail = nt_load_acquire(&sock->server->rx_tail);
    uint64_t geometry = nt_load_acquire(&sock->server->rx_geometry);
    uint32_t head = sock->rx_head;
    uint32_t unread = tail - head;
    if (unread == 0 || nt_sock_is_lost(sock))
        return nothing_to_read(sock, &view);
    if (!nt_geometry_valid(geometry) || unread > nt_geometry_size(geometry))
        return nt_sock_sick(sock);
    int64_t may = unread;
    if (nt_stream_has_mark(sock) && wanted > 0) {
        may = up_to_mark(sock, tail, geometry, &head, flags, wake);
        if (may <= 0)
            return may == 0 ? nothing_to_read(sock, &view) : may;
        unread = tail - head;
    }
    uint32_t bytes = (uint32_t)nt_min_u64((uint64_t)may, (uint64_t)wanted);
    if ((flags & MSG_TRUNC) == 0) {
        struct nt_iov walk = {iov, count, 0};
        copy_out(sock, geometry, head, bytes, &walk);
    }
    if ((flags & MSG_PEEK) == 0 && bytes > 0) {
        if (!give_room(sock, tail, geometry, head + bytes, wake))
            return -ERESTART;
        bool asked = (nt_load_relaxed(&sock->server->flags) & NT_SLOT_ACK_ON_READ) != 0;
        if (asked && bytes == unread)
            nt_sock_tell(sock, wake);
    }
    return (ssize_t)bytes;
}

// -- Sending ---------------------------------------------------------------------------------

static uint32_t largest_log2(const struct nt_sock *sock)
{
    uint32_t log2 = nt_load_relaxed(&sock->server->tx_max_log2);
    if (sock->tx_limit_log2 != 0)
        log2 = nt_min_u32(log2, sock->tx_limit_log2);
    return nt_min_u32(log2, NT_RING_LAST_LOG2);
}

static bool may_double(const struct nt_sock *sock, uint64_t geometry, uint32_t tail)
{
    return nt_geometry_can_double(geometry, tail) &&
           nt_geometry_log2(geometry) < largest_log2(sock);
}

bool nt_stream_writable(const struct nt_sock *sock)
{
    uint64_t geometry = nt_load_relaxed(&sock->program->tx_geometry);
    uint32_t tail = nt_load_relaxed(&sock->tx_tail);
    uint32_t used = tail - nt_load_acquire(&sock->server->tx_head);
    uint32_t size = nt_geometry_size(geometry);
    if (used > size)
        return true; // impossible: let it find out
    return nt_ring_writable(size, used) || may_double(sock, geometry, tail);
}

// The answer where nothing may be sent; 0 if something may. The order is tcp_sendmsg()'s.
static int cannot_send(struct nt_sock *sock)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    int error = nt_sock_take_error(sock, &view);
    if (error != 0)
        return -error;
    if (view.state == NT_TCP_SYN_SENT)
        return -EAGAIN;
    if (view.state != NT_TCP_ESTABLISHED || (view.shutdown & NT_SHUT_WR) != 0)
        return -EPIPE;
    return 0;
}

// A piece of the ring at `tail` for up to `wanted` bytes; 0: full, -1: sick. Doubles the ring.
static int64_t next_piece(struct nt_sock *sock, uint32_t tail, uint64_t wanted, uint8_t **piece)
{
    struct nt_slot_program *program = sock->program;
    uint64_t geometry = nt_load_relaxed(&program->tx_geometry);
    uint32_t size = nt_geometry_size(geometry);
    uint32_t used = tail - nt_load_acquire(&sock->server->tx_head);
    if (used > size)
        return -1;
    if (size - used < wanted && may_double(sock, geometry, tail)) {
        uint64_t before = geometry;
        geometry = nt_geometry_double(before, tail);
        size = nt_geometry_size(geometry);
        nt_area_ring_doubled(sock->area->view.tx_data, sock->slot, before, geometry);
        nt_store_release(&program->tx_geometry, geometry);
    }
    uint32_t position = nt_geometry_position(geometry, tail);
    *piece = nt_area_tx_ring(&sock->area->view, sock->slot, geometry) + position;
    return (int64_t)nt_min_u64(nt_min_u32(size - used, size - position), wanted);
}

// There was no room. Says so to who looks for edges (nt_sock_is_edge), then looks once more: room
// that came before they could know has been no edge to them.
static int64_t missed(struct nt_sock *sock, uint32_t tail, uint64_t wanted, uint8_t **piece)
{
    nt_store_release(&sock->tx_full, sock->tx_full + 1);
    nt_fence();
    return next_piece(sock, tail, wanted, piece);
}

// MSG_MORE corks the socket until a send without it (tcp_push()).
static void set_more(struct nt_sock *sock, int flags)
{
    if ((sock->flags & NT_SOCKF_CORK) != 0)
        return;
    uint32_t options = nt_sock_options(sock);
    uint32_t wanted =
        (flags & MSG_MORE) != 0 ? options | NT_OPTION_CORK : options & ~(uint32_t)NT_OPTION_CORK;
    if (options != wanted)
        nt_store_release(&sock->program->options, wanted);
}

// tcp_mark_urg(): the last byte is the urgent one. Before the tail that covers it.
static void set_urgent(const struct nt_sock *sock, uint32_t tail)
{
    nt_store_relaxed(&sock->program->tx_urgent, tail);
    nt_store_release(&sock->program->options, nt_sock_options(sock) | NT_OPTION_URGENT);
}

static bool publish(struct nt_sock *sock, uint32_t tail, int flags, struct nt_sock_wake *wake)
{
    set_more(sock, flags);
    if (NT_UNLIKELY((flags & MSG_OOB) != 0))
        set_urgent(sock, tail);
    if (!nt_sock_advance_tx(sock, tail))
        return false;
    nt_sock_tell(sock, wake);
    return true;
}

ssize_t nt_stream_send(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                       struct nt_sock_wake *wake)
{
    ssize_t wanted = nt_iov_bytes(iov, count);
    if (wanted < 0)
        return wanted;
    // No Fast Open, which Linux says in these words where it is turned off.
    if ((flags & MSG_FASTOPEN) != 0)
        return -EOPNOTSUPP;
    int result = cannot_send(sock);
    if (result != 0)
        return result;
    struct nt_iov walk = {iov, count, 0};
    uint32_t tail = sock->tx_tail;
    uint64_t left = (uint64_t)wanted;
    while (left > 0) {
        uint8_t *piece;
        int64_t bytes = next_piece(sock, tail, left, &piece);
        if (bytes == 0)
            bytes = missed(sock, tail, left, &piece);
        if (bytes < 0)
            return nt_sock_sick(sock);
        if (bytes == 0)
            break;
        nt_iov_gather(&walk, piece, (size_t)bytes);
        tail += (uint32_t)bytes;
        left -= (uint64_t)bytes;
    }
    if (wanted > 0 && tail == sock->tx_tail)
        return -EAGAIN;
    if (wanted > 0 && !publish(sock, tail, flags, wake))
        return -ERESTART;
    return wanted - (ssize_t)left;
}

ssize_t nt_sock_reserve(struct nt_sock *sock, size_t wanted, void **piece)
{
    if (sock->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    nt_sock_lock(sock);
    ssize_t result = cannot_send(sock);
    uint8_t *at = NULL;
    if (result == 0 && wanted > 0) {
        int64_t bytes = next_piece(sock, sock->tx_tail, wanted, &at);
        if (bytes == 0)
            bytes = missed(sock, sock->tx_tail, wanted, &at);
        result = bytes < 0 ? nt_sock_sick(sock) : bytes == 0 ? -EAGAIN : (ssize_t)bytes;
    }
    if (result <= 0)
        nt_sock_unlock(sock);
    *piece = at;
    return result;
}

int nt_sock_commit(struct nt_sock *sock, size_t bytes, int flags, struct nt_sock_wake *wake)
{
    bool done = bytes == 0 || publish(sock, sock->tx_tail + (uint32_t)bytes, flags, wake);
    nt_sock_unlock(sock);
    return done ? 0 : -ERESTART;
}
