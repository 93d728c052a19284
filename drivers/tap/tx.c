// tx.c: from IP to the device. Why C: it runs for every packet.
#include "drivers/tap/tap.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/ipv4.h"

#include <errno.h>
#include <sys/uio.h>

enum {
    TCP_CHECKSUM = 16, // offsets in the transport header (RFC 9293 §3.1, RFC 768)
    UDP_CHECKSUM = 6,
    TCP_FLAGS = 13,
    CWR = 0x80,
    TCP_MIN_BYTES = 20,
    UDP_BYTES = 8,
};

// The protocol above IPv4 if the frame's inline bytes reach that far and agree with its l4_offset.
static bool transport_of(const struct nt_desc *frame, uint8_t *protocol)
{
    const uint8_t *ip = frame->data + NT_ETHERNET_HEADER_BYTES;
    if (frame->inline_len < NT_ETHERNET_HEADER_BYTES + NT_IPV4_HEADER_BYTES ||
        nt_ethernet_type(frame->data) != NT_ETHERTYPE_IPV4 ||
        frame->l4_offset != NT_ETHERNET_HEADER_BYTES + nt_ipv4_header_bytes(ip))
        return false;
    *protocol = nt_ipv4_protocol(ip);
    uint32_t least = *protocol == NT_IPPROTO_TCP ? TCP_MIN_BYTES : UDP_BYTES;
    return frame->l4_offset + least <= frame->inline_len;
}

// The offload header that says what the descriptor's flags say; false if they cannot be meant.
static bool make_header(const struct nt_desc *frame, struct nt_virtio_header *header)
{
    *header = (struct nt_virtio_header){0};
    if ((frame->flags & NT_DESC_CSUM_PARTIAL) == 0)
        return frame->gso_size == 0;
    uint8_t protocol;
    if (!transport_of(frame, &protocol) ||
        (protocol != NT_IPPROTO_TCP && protocol != NT_IPPROTO_UDP))
        return false;
    header->flags = NT_VIRTIO_NEEDS_CSUM;
    header->csum_start = frame->l4_offset;
    header->csum_offset = protocol == NT_IPPROTO_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
    header->hdr_len = frame->inline_len;
    if (frame->gso_size == 0)
        return true;
    if (protocol != NT_IPPROTO_TCP)
        return false;
    bool cwr = (frame->data[frame->l4_offset + TCP_FLAGS] & CWR) != 0;
    header->gso_type = NT_VIRTIO_GSO_TCPV4 | (cwr ? NT_VIRTIO_GSO_ECN : 0);
    header->gso_size = frame->gso_size;
    return true;
}

// Names the frame's pieces; how many, or -1 if a reference is bad.
static int make_vector(struct nt_tap *tap, struct nt_virtio_header *header, struct iovec *piece)
{
    struct nt_desc *frame = &tap->uplink.frame;
    int pieces = 0;
    piece[pieces++] = (struct iovec){.iov_base = header, .iov_len = sizeof(*header)};
    piece[pieces++] = (struct iovec){.iov_base = frame->data, .iov_len = frame->inline_len};
    for (uint32_t i = 0; i < frame->ref_count; i++) {
        const uint8_t *bytes = nt_regions_resolve(&tap->uplink.regions, &frame->ref[i]);
        if (bytes == NULL)
            return -1;
        // writev only reads; its interface does not say so.
        piece[pieces++] = (struct iovec){.iov_base = (void *)bytes, .iov_len = frame->ref[i].len};
    }
    return pieces;
}

static void observe(struct nt_uplink *uplink, const struct iovec *piece, uint32_t count)
{
    struct nt_capture_piece pieces[3];
    for (uint32_t i = 0; i < count; i++)
        pieces[i] = (struct nt_capture_piece){piece[i].iov_base, piece[i].iov_len};
    nt_uplink_observe(uplink, NT_CAPTURE_OUT, pieces, count);
}

enum send_result {
    SENT,    // or dropped for good
    BLOCKED, // the device takes nothing now: keep it
};

static enum send_result send_frame(struct nt_tap *tap)
{
    struct nt_uplink *uplink = &tap->uplink;
    struct nt_virtio_header header;
    struct iovec piece[4];
    if (!make_header(&uplink->frame, &header)) {
        nt_uplink_count(uplink, NT_UPLINK_BAD_DESC, 1);
        return SENT;
    }
    int pieces = make_vector(tap, &header, piece);
    if (pieces < 0) {
        nt_uplink_count(uplink, NT_UPLINK_BAD_REF, 1);
        return SENT;
    }
    ssize_t written = writev(tap->fd, piece, pieces);
    if (written < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM)
            return BLOCKED;
        nt_uplink_count(uplink, NT_TAP_REFUSED, 1);
        return SENT;
    }
    observe(uplink, piece + 1, (uint32_t)pieces - 1);
    nt_uplink_count(uplink, NT_UPLINK_TX_FRAMES, 1);
    nt_uplink_count(uplink, NT_UPLINK_TX_BYTES, uplink->frame_bytes);
    if (header.gso_size != 0)
        nt_uplink_count(uplink, NT_TAP_TX_SUPERS, 1);
    return SENT;
}

// The device took nothing. True if the frame has waited long enough to be dropped.
static bool give_up(struct nt_tap *tap, uint64_t now_ns)
{
    if (tap->blocked_since_ns == 0)
        tap->blocked_since_ns = now_ns;
    tap->retry_ns = now_ns + NT_TAP_RETRY_NS;
    return now_ns - tap->blocked_since_ns >= NT_TAP_BLOCKED_NS;
}

uint32_t nt_tap_send(struct nt_tap *tap, uint64_t now_ns, uint32_t budget)
{
    struct nt_uplink *uplink = &tap->uplink;
    uint32_t work = 0;
    if (tap->blocked_since_ns != 0 && now_ns < tap->retry_ns)
        return 0;
    for (; work < budget && nt_uplink_has_room(uplink); work++) {
        enum nt_uplink_input input = nt_uplink_peek(uplink);
        if (input == NT_UPLINK_NONE)
            break;
        if (input == NT_UPLINK_OTHER)
            continue;
        if (send_frame(tap) == SENT)
            tap->blocked_since_ns = 0;
        else if (give_up(tap, now_ns))
            nt_uplink_count(uplink, NT_TAP_BLOCKED, 1);
        else
            break;
        nt_uplink_done(uplink);
    }
    return work;
}
