// receive_bench.h: nonblocking receives that find nothing, for bench/receive.py.
#ifndef NT_BENCH_RECEIVE_BENCH_H
#define NT_BENCH_RECEIVE_BENCH_H

#include "newtos_py/kernel/base.h"

// Processor ticks of `calls` system calls recv(MSG_DONTWAIT) on a kernel socket; 0 if one of them
// found something. The socket layer's counterpart is nt_face_empty_receives().
uint64_t nt_bench_kernel_receives(int fd, uint32_t calls);
// Processor ticks in a second, measured against the clock for `ms` milliseconds.
uint64_t nt_bench_ticks_a_second(uint32_t ms);

#endif
