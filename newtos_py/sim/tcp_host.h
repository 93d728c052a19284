// tcp_host.h: one TCP engine with everything it touches, in plain memory: its channels, a packet
// pool, its arena, socket areas and listener regions. Whoever drives it plays IP, the drivers and
// the syscall server: packets go in and come out as the bytes of IPv4 packets.
//
// A crash is what a kill is to a process: the step is left where it stands, the engine's private
// memory is thrown away, and nt_sim_host_restart() makes the next generation from what is shared.
#ifndef NT_SIM_TCP_HOST_H
#define NT_SIM_TCP_HOST_H

#include "servers/tcp/engine.h"

#ifndef NT_CDEF
#include <setjmp.h>
#endif

enum {
    NT_SIM_AREAS = 5,
    NT_SIM_STEERS = 1024,
    NT_SIM_WORDS = 64,
    NT_SIM_LISTENERS = 4,
    NT_SIM_SLOTS = 64, // an area
    NT_SIM_RING_SLOTS = 256,
    NT_SIM_POOL_SMALL = 160,
    NT_SIM_POOL_LARGE = 48,
    NT_SIM_POOL_REGION = 2, // NT_REGION_DRIVER_POOL
    NT_SIM_PACKET_BYTES = 65535,
    NT_SIM_QUEUE = 1, // event queue of the simulated programs
};

struct nt_sim_packet { // an IPv4 packet on its way
    uint32_t len;
    uint16_t gso_size;
    uint8_t data[65535];
};

struct nt_sim_host;

struct nt_sim_host_config {
    const void *netconf; // struct nt_netconf
    uint64_t netconf_bytes;
    uint64_t seed;
    struct nt_tcp_shape shape;
};

struct nt_sim_host *nt_sim_host_new(const struct nt_sim_host_config *config);
void nt_sim_host_free(struct nt_sim_host *host);

// -- The engine ----------------------------------------------------------------------------------

// How much a step did, or -1 if it crashed (see nt_sim_host_crash_at).
int64_t nt_sim_host_step(struct nt_sim_host *host, uint64_t now_ns, uint32_t budget);
// The same by another name, for a profiler that is to count some of the steps (bench/instructions).
int64_t nt_sim_host_step_counted(struct nt_sim_host *host, uint64_t now_ns, uint32_t budget);
bool nt_sim_host_has_work(struct nt_sim_host *host);
uint64_t nt_sim_host_deadline(struct nt_sim_host *host);
// NULL, or the invariant that fails.
const char *nt_sim_host_audit(struct nt_sim_host *host);
// Dies at the n-th crash point from now (0: never).
void nt_sim_host_crash_at(struct nt_sim_host *host, uint64_t points);
uint64_t nt_sim_host_crash_points(struct nt_sim_host *host);
// NULL, or why the arena could not be recovered. `cold`: with a zeroed arena.
const char *nt_sim_host_restart(struct nt_sim_host *host, bool cold);
uint64_t nt_sim_host_counter(const struct nt_sim_host *host, uint32_t counter);
const void *nt_sim_host_arena(const struct nt_sim_host *host, uint64_t *bytes);

// -- As IP and driver ----------------------------------------------------------------------------

// Hands a packet up; false if no buffer is free (it is lost). `flags`: enum nt_desc_flags.
bool nt_sim_host_deliver(struct nt_sim_host *host, const uint8_t *packet, uint32_t len,
                         uint8_t flags, uint8_t kind);
// What later packets' descriptors say in `arg`: the card's queue (desc.h).
void nt_sim_host_set_arg(struct nt_sim_host *host, uint32_t arg);
// How many packets have come back, because no connection has them (NT_PACKET_IF_YOURS).
uint32_t nt_sim_host_not_mine(const struct nt_sim_host *host);
// Pushes a descriptor as it is; `whole`: with the check word that its slot must have.
bool nt_sim_host_push_desc(struct nt_sim_host *host, const struct nt_desc *desc, bool whole);
// The next packet that goes out, gathered, checksums complete. False: none. Fences are passed.
bool nt_sim_host_collect(struct nt_sim_host *host, struct nt_sim_packet *packet);
// The next thing that IP was told of a connection's lane. False: none.
bool nt_sim_host_take_steer(struct nt_sim_host *host, struct nt_steer *steer);
// The next thing that IP was told of flow groups (GROUP, STOLEN); its flow_hash is how many things
// of connections were waiting to be taken when that was said. False: none.
bool nt_sim_host_take_word(struct nt_sim_host *host, struct nt_desc *desc);
// Holds fences back (true) or passes all there were (false).
void nt_sim_host_hold_fences(struct nt_sim_host *host, bool hold);
uint32_t nt_sim_host_buffers_out(struct nt_sim_host *host);
// How many descriptors wait in the channel to IP.
uint32_t nt_sim_host_unsent(const struct nt_sim_host *host);

// -- As syscall server ---------------------------------------------------------------------------

bool nt_sim_host_push_request(struct nt_sim_host *host, const struct nt_request *request);
bool nt_sim_host_pop_reply(struct nt_sim_host *host, struct nt_request *reply);
// The area's memory, both sides writable: for programs.
const struct nt_area *nt_sim_host_area(struct nt_sim_host *host, uint32_t number);
// The listen design (enum nt_listen_design) of regions made from now on.
void nt_sim_host_set_design(struct nt_sim_host *host, uint32_t design);
// The core that the engine takes itself to run on, before it listens.
void nt_sim_host_set_core(struct nt_sim_host *host, uint32_t core);
// Makes listener region `number` anew and maps it.
struct nt_listener *nt_sim_host_listener(struct nt_sim_host *host, uint32_t number,
                                         uint32_t backlog);

struct nt_listener *nt_sim_host_listener_view(struct nt_sim_host *host, uint32_t number);

enum nt_sim_part { NT_SIM_PROGRAM_SIDE = 0, NT_SIM_SERVER_SIDE = 1, NT_SIM_HINT_SIDE = 2 };

// The memory of one part of an area.
void *nt_sim_host_area_part(struct nt_sim_host *host, uint32_t number, uint32_t part,
                            uint64_t *bytes);

#endif
