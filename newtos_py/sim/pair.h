// pair.h: two hosts and the link between them, in virtual time: the scheduler of the pair tests.
//
// Each turn, whoever has work is run in an order drawn from the seed: deliveries, the two engines
// (with a budget of 1 to 16), the two programs. When nobody has work, time moves to the next thing
// due. Engines are audited after each step. With a chance per step an engine dies at one of the
// next crash points, and is restarted at once, as rs would.
#ifndef NT_SIM_PAIR_H
#define NT_SIM_PAIR_H

#include "newtos_py/sim/link.h"
#include "newtos_py/sim/streams.h"

struct nt_sim_pair_config {
    uint64_t seed;
    struct nt_sim_host_config host[2];
    struct nt_sim_link_config link;
    uint32_t streams;   // open at once, a host
    uint32_t crash_ppm; // a step
    uint32_t slow_ppm;
    uint32_t ip_budget; // packets taken out of an engine's channel a turn; 0: all
    uint64_t start_ns;
};

struct nt_sim_pair;

struct nt_sim_pair *nt_sim_pair_new(const struct nt_sim_pair_config *config);
void nt_sim_pair_free(struct nt_sim_pair *pair);
// Both programs listen on a port of their own; `addr`: IPv4, host 0's and host 1's.
const char *nt_sim_pair_listen(struct nt_sim_pair *pair, const uint8_t addr[8], uint16_t port,
                               uint32_t backlog);
void nt_sim_pair_set_plan(struct nt_sim_pair *pair, struct nt_sim_plan *plan, uint32_t count);
// Runs until every stream is finished or failed, or `until_ns`, or nothing will ever happen again.
// NULL, or what is wrong with an engine.
const char *nt_sim_pair_run(struct nt_sim_pair *pair, uint64_t until_ns);
bool nt_sim_pair_done(const struct nt_sim_pair *pair);
uint64_t nt_sim_pair_now_ns(const struct nt_sim_pair *pair);
struct nt_sim_host *nt_sim_pair_host(struct nt_sim_pair *pair, uint32_t host);
const struct nt_sim_program *nt_sim_pair_program(const struct nt_sim_pair *pair, uint32_t host);
const struct nt_sim_link *nt_sim_pair_link(const struct nt_sim_pair *pair);
uint32_t nt_sim_pair_crashes(const struct nt_sim_pair *pair);
uint64_t nt_sim_pair_steps(const struct nt_sim_pair *pair);

#endif
