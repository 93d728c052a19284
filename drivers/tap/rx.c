// rx.c: from the device to IP. Why C: it runs for every packet.
#include "drivers/tap/tap.h"
#include "newtos_py/net/ethernet.h"

#include <sys/uio.h>

enum {
    ANY_SMALL = 1,                  // as a length: asks for a small buffer
    ANY_LARGE = NT_POOL_SMALL_BYTES // for a large one
};

// Where a frame is read to: the free buffers that would be taken next.
struct landing {
    int64_t small; // buffer, or -1
    int64_t large;
    uint32_t head_bytes; // bytes that the first piece holds
    uint8_t *head;       // the first piece: small buffer, large buffer, or scratch memory
    uint8_t *large_frame;
};

static uint8_t *frame_of(const struct nt_pool *pool, int64_t buffer)
{
    return pool->base + nt_buffers_frame_offset(pool, (uint32_t)buffer);
}

// Fills the vector's pieces after the header; how many.
static int choose_landing(struct nt_tap *tap, struct landing *landing, struct iovec *piece)
{
    const struct nt_buffers *buffers = &tap->uplink.buffers;
    const struct nt_pool *pool = &buffers->owner.view;
    int pieces = 0;
    landing->small = nt_buffers_peek(buffers, ANY_SMALL);
    landing->large = nt_buffers_peek(buffers, ANY_LARGE);
    landing->head = tap->scratch;
    landing->head_bytes = 0;
    landing->large_frame = NULL;
    if (landing->small >= 0) {
        landing->head = frame_of(pool, landing->small);
        landing->head_bytes = nt_buffers_frame_capacity(pool, (uint32_t)landing->small);
        piece[pieces++] = (struct iovec){.iov_base = landing->head, .iov_len = landing->head_bytes};
    }
    if (landing->large >= 0) {
        landing->large_frame = frame_of(pool, landing->large);
        uint32_t capacity = nt_buffers_frame_capacity(pool, (uint32_t)landing->large);
        piece[pieces++] = (struct iovec){.iov_base = landing->large_frame + landing->head_bytes,
                                         .iov_len = capacity - landing->head_bytes};
    } else {
        piece[pieces++] = (struct iovec){.iov_base = tap->scratch, .iov_len = sizeof(tap->scratch)};
    }
    return pieces;
}

// The buffer that holds all of a frame of `len` bytes, or -1 if part of it is in scratch memory.
static int64_t landed_in(const struct landing *landing, uint32_t len)
{
    if (landing->small >= 0 && len <= landing->head_bytes)
        return landing->small;
    if (landing->large < 0)
        return -1;
    if (landing->small >= 0)
        memcpy(landing->large_frame, landing->head, landing->head_bytes);
    return landing->large;
}

// What the offload header says, in our terms; false if it makes no sense.
static bool read_header(const struct nt_virtio_header *header, struct nt_uplink_frame *frame)
{
    uint8_t gso_type = header->gso_type & (uint8_t)~NT_VIRTIO_GSO_ECN;
    if (frame->len < NT_ETHERNET_HEADER_BYTES)
        return false;
    if (header->flags & NT_VIRTIO_NEEDS_CSUM) {
        if ((uint32_t)header->csum_start + header->csum_offset + 2 > frame->len)
            return false;
        frame->flags = NT_DESC_CSUM_PARTIAL | NT_DESC_CSUM_VALID;
        frame->l4_offset = header->csum_start;
    } else if (header->flags & NT_VIRTIO_DATA_VALID) {
        frame->flags = NT_DESC_CSUM_VALID;
    }
    if (gso_type == NT_VIRTIO_GSO_NONE)
        return true;
    // No other kind was asked for (device.py).
    frame->gso_size = header->gso_size;
    return gso_type == NT_VIRTIO_GSO_TCPV4 && header->gso_size != 0 &&
           (frame->flags & NT_DESC_CSUM_PARTIAL) != 0;
}

static void hand_up(struct nt_tap *tap, int64_t buffer, struct nt_uplink_frame *frame)
{
    struct nt_uplink *uplink = &tap->uplink;
    struct nt_buffers *buffers = &uplink->buffers;
    bool small = nt_buffers_class(buffers, (uint32_t)buffer) == 0;
    // Takes exactly the buffer that was peeked at: nothing was taken or freed since.
    int64_t taken = nt_buffers_take(buffers, small ? ANY_SMALL : ANY_LARGE, NT_BUFFER_UP);
    nt_assert(taken == buffer);
    frame->offset = nt_buffers_frame_offset(&buffers->owner.view, (uint32_t)buffer);
    nt_uplink_hand_up(uplink, (uint32_t)buffer, frame);
    if (frame->gso_size != 0)
        nt_uplink_count(uplink, NT_TAP_RX_SUPERS, 1);
}

// Reads one frame; false if there is none.
static bool receive_one(struct nt_tap *tap)
{
    struct nt_virtio_header header;
    struct landing landing;
    struct iovec piece[3];
    piece[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
    int pieces = 1 + choose_landing(tap, &landing, piece + 1);
    ssize_t got = readv(tap->fd, piece, pieces);
    if (got <= (ssize_t)sizeof(header))
        return false; // EAGAIN mostly; a device that is gone is seen when sending
    struct nt_uplink_frame frame = {.len = (uint32_t)got - (uint32_t)sizeof(header)};
    nt_txn_crash_point(&tap->uplink.txn);
    if (!read_header(&header, &frame)) {
        nt_uplink_count(&tap->uplink, NT_TAP_BAD_HEADER, 1);
        return true;
    }
    int64_t buffer = landed_in(&landing, frame.len);
    if (buffer < 0)
        nt_uplink_count(&tap->uplink, NT_TAP_NO_BUFFER, 1);
    else
        hand_up(tap, buffer, &frame);
    return true;
}

uint32_t nt_tap_receive(struct nt_tap *tap, uint32_t budget)
{
    uint32_t work = 0;
    while (work < budget && nt_uplink_has_room(&tap->uplink) &&
           nt_uplink_can_hand_up(&tap->uplink) && receive_one(tap))
        work++;
    return work;
}
