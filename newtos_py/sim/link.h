// link.h: the way between two simulated hosts: delay, loss, reordering, duplication, corruption.
//
// Everything is drawn from one seed, and a packet's fate when it is sent, so that a run is a
// function of its seed. Super-segments travel whole or are cut into wire segments. A corrupted
// packet keeps its IP header: what is tested here is the transport.
#ifndef NT_SIM_LINK_H
#define NT_SIM_LINK_H

#include "newtos_py/sim/random.h"
#include "newtos_py/sim/tcp_host.h"

struct nt_sim_link_config {
    uint64_t delay_ns;
    uint64_t jitter_ns; // added at most: packets overtake each other
    uint32_t loss_ppm;
    uint32_t duplicate_ppm;
    uint32_t corrupt_ppm;
    uint32_t cut;   // 1: super-segments become wire segments
    uint32_t trace; // 1: keep what was sent, for whoever looks for a bug
};

enum nt_sim_fate { NT_SIM_SENT = 0, NT_SIM_LOST = 1, NT_SIM_CORRUPTED = 2 };

struct nt_sim_trace { // of one packet that was sent
    uint64_t at_ns;
    uint32_t to;
    uint32_t seq;
    uint32_t ack;
    uint32_t len; // payload
    uint16_t src_port;
    uint16_t dst_port;
    uint16_t window;
    uint8_t flags; // of TCP
    uint8_t fate;  // enum nt_sim_fate
};

struct nt_sim_flight { // a packet under way
    uint64_t due_ns;
    uint64_t order; // of equals: first in, first out
    uint32_t to;    // host
    uint32_t len;
    uint8_t *data;
    uint8_t flags; // enum nt_desc_flags
};

struct nt_sim_link {
    struct nt_sim_link_config config;
    struct nt_sim_random random;
    struct nt_sim_flight *heap; // by due_ns
    uint32_t count;
    uint32_t room;
    uint64_t sent;
    uint64_t lost;
    uint64_t corrupted;
    uint64_t order;
    struct nt_sim_trace *trace;
    uint64_t trace_count;
    uint64_t trace_room;
};

void nt_sim_link_init(struct nt_sim_link *link, const struct nt_sim_link_config *config,
                      uint64_t seed);
void nt_sim_link_free(struct nt_sim_link *link);
void nt_sim_link_send(struct nt_sim_link *link, uint64_t now_ns, uint32_t to,
                      const struct nt_sim_packet *packet);
// When the next packet arrives; NT_NEVER if none is under way.
uint64_t nt_sim_link_next_ns(const struct nt_sim_link *link);
// Takes it; the caller frees flight->data.
void nt_sim_link_take(struct nt_sim_link *link, struct nt_sim_flight *flight);

#endif
