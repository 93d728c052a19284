// face.c: what only Python calls.
#include "libc_shim/sockets/face.h"

#include <errno.h>

#include "newtos_py/kernel/clock.h"

void nt_face_accept_order(const struct nt_accept_lanes *lanes, struct nt_accept_order *order)
{
    order->count = 0;
    nt_accept_order(lanes, order);
}

uint64_t nt_face_empty_receives(struct nt_sock *sock, uint32_t calls)
{
    uint8_t buffer[64];
    const struct iovec iov = {buffer, sizeof buffer};
    struct nt_sock_wake wake = {0};
    uint64_t start = nt_cycles();
    for (uint32_t i = 0; i < calls; i++) {
        if (nt_sock_recv(sock, &iov, 1, MSG_DONTWAIT, NULL, &wake) != -EAGAIN)
            return 0;
    }
    return nt_cycles() - start;
}
