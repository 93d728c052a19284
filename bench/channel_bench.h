// channel_bench.h: descriptors through a channel, for bench/channel.py.
//
// What a server does with each: fill a descriptor's first line and its check word, publish once a
// batch; read and check the same, publish once a batch.
#ifndef NT_BENCH_CHANNEL_BENCH_H
#define NT_BENCH_CHANNEL_BENCH_H

#include "newtos_py/kernel/base.h"

// Each works on a formatted channel of 192-byte slots and returns the nanoseconds that `count`
// descriptors took, or 0 if one did not arrive as it was sent. A batch is never more than the
// channel holds.
//
// Both ends in turn, on one core.
uint64_t nt_bench_both(void *channel, uint64_t bytes, uint32_t batch, uint64_t count);
// One end each, for two processes on two cores.
uint64_t nt_bench_produce(void *channel, uint64_t bytes, uint32_t batch, uint64_t count);
uint64_t nt_bench_consume(void *channel, uint64_t bytes, uint32_t batch, uint64_t count);

#endif
