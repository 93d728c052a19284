// connections_bench.h: programs of the `connections` experiment, as C would have them.
//
// Both are ordinary programs with epoll over many connections; the same on Linux and on newtos.
#ifndef NT_BENCH_CONNECTIONS_H
#define NT_BENCH_CONNECTIONS_H

#include <stdint.h>

enum {
    NT_BENCH_REQUEST_BYTES = 64, // and so long is the answer
    NT_BENCH_DESCRIPTORS_MAX = 1 << 20,
};

// Accepts on a nonblocking listening socket and echoes whatever comes. Returns only if something
// goes wrong: -errno.
int nt_bench_echo(int listener);

// Keeps `window` requests under way for `ns`, each on a connection of the first `among` of `fds`
// that has none: the one just answered if `among` is the window, else one chosen at random. `epoll`
// has all of them, by descriptor. How many were answered, or -errno; `pause_ns`: the longest time
// without an answer.
int64_t nt_bench_ask(int epoll, const int *fds, uint32_t among, uint32_t window, uint64_t ns,
                     uint64_t seed, uint64_t *pause_ns);

#endif
