// virtio.h: the virtio-net header before each frame on a TAP device opened with IFF_VNET_HDR
// (Virtual I/O Device 1.2, §5.1.6), ten bytes in this machine's byte order.
#ifndef NT_TAP_VIRTIO_H
#define NT_TAP_VIRTIO_H

#include "newtos_py/kernel/base.h"

enum {
    NT_VIRTIO_NEEDS_CSUM = 1, // flags: checksum from csum_start on, to csum_start + csum_offset
    NT_VIRTIO_DATA_VALID = 2, // flags: the checksum has been verified
    NT_VIRTIO_GSO_NONE = 0,
    NT_VIRTIO_GSO_TCPV4 = 1,
    NT_VIRTIO_GSO_ECN = 0x80, // with TCPV4: the first segment has CWR
};

struct nt_virtio_header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len; // bytes of all headers
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};
_Static_assert(sizeof(struct nt_virtio_header) == 10, "layout");

#endif
