// streams.h: programs that exchange byte streams over the shim's socket layer, and check every
// byte.
//
// One program a host. Each connection carries a number of bytes each way, made from its number and
// their offset, so that whoever reads knows what must come. A program runs only when it was woken,
// as a sleeping one would: it collects its event queue (libc_shim/sockets/queue.h) and does what it
// can with the sockets it found, until they would block. So a wake-up that is missing shows as a
// stream that stands still.
#ifndef NT_SIM_STREAMS_H
#define NT_SIM_STREAMS_H

#include "libc_shim/sockets/socket.h"
#include "newtos_py/sim/random.h"
#include "newtos_py/sim/tcp_host.h"

struct nt_sim_stream {
    struct nt_sock sock;
    uint32_t number; // of the connection; UINT32_MAX: accepted, and not yet told which
    uint32_t awake;
    uint32_t open;
    uint32_t connected; // made by connect(), as against accept()
    uint64_t tx_bytes;  // to be sent in all
    uint64_t tx_done;
    uint64_t rx_bytes; // expected
    uint64_t rx_done;
    uint32_t shut;
};

enum nt_sim_end { NT_SIM_CONNECTING = 0, NT_SIM_ACCEPTING = 1 };

struct nt_sim_plan {      // of one connection, and what became of it
    uint64_t bytes[2];    // sent by the connecting end, by the accepting end
    uint32_t opens;       // which host connects
    uint32_t finished[2]; // by end: everything was sent and received, and the socket closed
    int32_t error[2];     // by end: what a call failed with
};

struct nt_sim_program {
    struct nt_sock_context context;
    struct nt_queue queue;
    struct nt_sock_wake wake;
    struct nt_sock listening;
    struct nt_sim_random random;
    struct nt_sim_plan *plan; // of all connections
    uint32_t plan_count;
    uint32_t host; // 0 or 1
    uint32_t accept_awake;
    uint32_t opened;              // connections of the plan that were looked at
    uint32_t active;              // open streams that connected
    uint32_t most;                // of them at once
    struct nt_sim_stream *stream; // of this program, `stream_count`
    uint32_t stream_count;
    struct sockaddr *peer; // whom to connect to
    uint32_t peer_bytes;
    uint32_t stray;    // accepted connections that ended before they said which they are
    uint32_t wrong;    // bytes that were not what they had to be
    uint32_t slow_ppm; // chance that an awake stream does nothing this turn
};

// Attaches to area 0 of a host whose engine has been told of it. `streams` is how many it
// has connect() open at once.
void nt_sim_program_init(struct nt_sim_program *program, struct nt_sim_host *host, uint32_t streams,
                         uint64_t seed);
void nt_sim_program_free(struct nt_sim_program *program);
// One turn; how much was done.
uint32_t nt_sim_program_run(struct nt_sim_program *program);

#endif
