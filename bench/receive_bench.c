// receive_bench.c: the kernel's side of bench/receive.py.
#include "bench/receive_bench.h"

#include <errno.h>
#include <sys/socket.h>

#include "newtos_py/kernel/clock.h"

uint64_t nt_bench_kernel_receives(int fd, uint32_t calls)
{
    uint8_t buffer[64];
    uint64_t start = nt_cycles();
    for (uint32_t i = 0; i < calls; i++) {
        if (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) != -1 || errno != EAGAIN)
            return 0;
    }
    return nt_cycles() - start;
}

uint64_t nt_bench_ticks_a_second(uint32_t ms)
{
    uint64_t start_ns = nt_now_ns(), start = nt_cycles(), now_ns;
    do {
        now_ns = nt_now_ns();
    } while (now_ns - start_ns < (uint64_t)ms * 1000000);
    return (nt_cycles() - start) * 1000000000 / (now_ns - start_ns);
}
