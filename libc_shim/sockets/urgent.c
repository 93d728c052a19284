// urgent.c: urgent data as Linux's programs know them (tcp(7), tcp_recv_urg(), tcp_ioctl()).
//
// The server marks one byte of the stream and says when it has come. The byte stays where it lies
// in the RX ring: with SO_OOBINLINE it is read in its turn; otherwise MSG_OOB reads it apart, once,
// and a read that begins with it passes it over. Either way a read ends before it, so that who
// looks between two reads (SIOCATMARK) finds the mark. What Linux keeps as urg_data follows from
// the mark, the read cursor, and which mark MSG_OOB was there for.
//
// All of this is behind one flag that recv and poll see where they look anyway.
#include <sys/socket.h>

#include "libc_shim/sockets/inner.h"

static bool oob_inline(const struct nt_sock *sock)
{
    return (sock->flags & NT_SOCKF_OOB_INLINE) != 0;
}

void nt_stream_urgent(const struct nt_sock *sock, struct nt_urgent_view *view)
{
    const struct nt_slot_server *server = sock->server;
    uint32_t again, head = nt_load_relaxed(&sock->rx_head);
    uint8_t flags;
    do { // the flags are those of the mark (area.h); marks only move on, so this ends
        view->mark = nt_load_acquire(&server->rx_urgent);
        flags = nt_load_acquire(&server->flags);
        again = nt_load_relaxed(&server->rx_urgent);
    } while (NT_UNLIKELY(view->mark != again));
    view->ahead = view->mark - head;
    view->gone = 0;
    view->passed = false;
    view->state = NT_URGENT_NONE;
    if ((flags & NT_SLOT_URGENT) == 0 || (int32_t)view->ahead < 0 || nt_sock_is_lost(sock))
        return;
    uint32_t gone = nt_load_relaxed(&server->rx_gone) - head;
    if (gone <= view->ahead && !oob_inline(sock)) { // else it is passed
        view->gone = gone;
        view->ahead -= gone;
    }
    view->passed = view->ahead == 0 && !oob_inline(sock);
    if ((flags & NT_SLOT_URGENT_HERE) == 0)
        view->state = NT_URGENT_AWAITED;
    else if ((sock->flags & NT_SOCKF_OOB_READ) != 0 && sock->urgent_read == view->mark)
        view->state = NT_URGENT_READ;
    else
        view->state = NT_URGENT_HERE;
}

uint32_t nt_urgent_limit(const struct nt_sock *sock, uint32_t unread, uint32_t *skip)
{
    struct nt_urgent_view view;
    nt_stream_urgent(sock, &view);
    if (view.state == NT_URGENT_NONE)
        return unread;
    *skip = nt_min_u32(unread, view.gone + view.passed);
    return view.ahead == 0 ? unread - *skip : nt_min_u32(unread - *skip, view.ahead);
}

// The marked byte, wherever it lies in the ring: perhaps beyond rx_tail.
static uint8_t marked_byte(const struct nt_sock *sock, uint32_t mark)
{
    uint64_t geometry = nt_load_acquire(&sock->server->rx_geometry);
    if (!nt_geometry_valid(geometry))
        return 0;
    return nt_area_rx_ring(&sock->area->view, sock->slot,
                           geometry)[nt_geometry_position(geometry, mark)];
}

ssize_t nt_urgent_recv(struct nt_sock *sock, const struct nt_sock_view *view,
                       const struct iovec *iov, int count, int flags,
                       struct nt_sock_received *received)
{
    struct nt_urgent_view urgent = {.state = NT_URGENT_NONE};
    if (nt_stream_has_mark(sock))
        nt_stream_urgent(sock, &urgent);
    if (urgent.state == NT_URGENT_NONE || urgent.state == NT_URGENT_READ || oob_inline(sock))
        return -EINVAL;
    if (view->state == NT_TCP_CLOSE && !view->done)
        return -ENOTCONN;
    if (urgent.state == NT_URGENT_AWAITED)
        return view->state == NT_TCP_CLOSE || (view->shutdown & NT_SHUT_RD) != 0 ? 0 : -EAGAIN;
    uint8_t byte = marked_byte(sock, urgent.mark);
    if ((flags & MSG_PEEK) == 0) {
        sock->urgent_read = urgent.mark;
        sock->flags |= NT_SOCKF_OOB_READ;
    }
    bool room = nt_iov_bytes(iov, count) > 0;
    if (received != NULL)
        received->flags |= MSG_OOB | (room ? 0 : MSG_TRUNC);
    if (room && (flags & MSG_TRUNC) == 0) {
        struct nt_iov walk = {iov, count, 0};
        nt_iov_scatter(&walk, &byte, 1);
    }
    return room ? 1 : 0;
}

// tcp_inq(): up to the mark, or all.
int64_t nt_urgent_inq(const struct nt_sock *sock, int64_t bytes)
{
    struct nt_urgent_view urgent;
    nt_stream_urgent(sock, &urgent);
    if (urgent.state == NT_URGENT_NONE || oob_inline(sock) || bytes < 0)
        return bytes;
    bytes -= urgent.gone;
    return urgent.ahead < bytes ? urgent.ahead : bytes;
}

int nt_sock_at_mark(const struct nt_sock *sock)
{
    struct nt_urgent_view urgent;
    if (sock->type != SOCK_STREAM)
        return -ENOTTY;
    uint8_t phase = nt_load_relaxed(&sock->phase);
    if ((phase != NT_SOCK_CONNECTED && phase != NT_SOCK_CONNECTING) || !nt_stream_has_mark(sock))
        return 0;
    nt_stream_urgent(sock, &urgent);
    return urgent.state != NT_URGENT_NONE && urgent.ahead == 0;
}
