// world.h: whole hosts in one process: their memory, who steps when, what time it is.
//
// A *node* is whatever a scheduler of a real machine would run: an engine (wire driver, IP, UDP,
// TCP), or something that Python plays (a program, the syscall server's stand-in). A node that
// found nothing to do raises its sleeping flag, looks once more and sleeps, exactly as
// kernel/loop.h has it; it wakes when somebody rings it, or when its deadline comes. So a wake-up
// that an engine forgets is lost here too, and shows as a simulation that stands still.
//
// Everything that is not decided by the engines is drawn from one generator: who steps next, with
// what budget, how long a step takes, who is kept from running for a while, at which crash point of
// which step an engine dies and how long its restart takes. Two simulations with the same seed, the
// same calls and the same programs are the same, event by event.
//
// Death. The crash callback jumps out of the step; the engine's private memory is freed, its marked
// bells are forgotten, and after a while a new one is made over the same arena and channels. What
// it wrote up to the crash point stays, as it would after SIGKILL.
//
// Not part of it, so that runs are quick: mapping with protections (tests/kernel does that), and
// more than one thing at a time (TSan and Spin do).
#ifndef NT_WORLD_SIMULATION_H
#define NT_WORLD_SIMULATION_H

#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/channel.h"
#include "newtos_py/kernel/engine.h"
#include "newtos_py/kernel/listener.h"
#include "newtos_py/kernel/request.h"
#include "newtos_py/net/netconf.h"
#include "newtos_py/sim/memory.h"
#include "newtos_py/sim/trace.h"

enum {
    NT_WORLD_HOSTS_MAX = 16,
    NT_WORLD_NODES_MAX = 256,
    NT_WORLD_AREAS_MAX = 64,     // a host
    NT_WORLD_LISTENERS_MAX = 64, // a host
    NT_WORLD_LANES_MAX = 8,      // TCP servers a host
    NT_WORLD_QUEUES = 2,         // event queues a program: 0, and the one its sockets name
    NT_WORLD_WHY_BYTES = 512,
    NT_WORLD_NAME_BYTES = 48,
};

enum nt_world_role {
    NT_WORLD_WIRE = 0,
    NT_WORLD_IP = 1,
    NT_WORLD_UDP = 2,
    NT_WORLD_TCP = 3,
    NT_WORLD_SYSCALL = 4, // from here on: played by Python
    NT_WORLD_PROGRAM = 5,
    NT_WORLD_ROLES = 6,
};

// Chances are in parts per million of the steps of that kind.
struct nt_world_tuning {
    uint64_t seed;
    uint64_t start_ns;     // what the clock says first
    uint32_t budget_max;   // inputs a source and step: 1 to this
    uint32_t step_ns;      // a step takes up to so long
    uint32_t crash_ppm[6]; // by role: of the steps that have work
    uint64_t restart_ns;   // a new generation runs after at most so long
    uint64_t life_ns;      // ... and does not die sooner than so long afterwards
    uint32_t stall_ppm;    // a node is kept from running ...
    uint64_t stall_ns;     // ... for at most so long
    uint32_t cold_ppm;     // of the deaths of a wire or IP: those that take the arena along
    uint32_t audit_every;  // steps of an engine; 0: never
    uint32_t wrap;         // 1: channels' indices start shortly before they wrap
};

// The same as the wire driver's own (drivers/wire/engine.h), without the seed.
struct nt_world_link {
    uint64_t latency_ns;
    uint64_t rate_bits;
    uint32_t loss_ppb;
    uint32_t reorder_ppb;
    uint32_t duplicate_ppb;
    uint32_t corrupt_ppb;
};

enum nt_world_state {
    NT_WORLD_AWAKE = 0,
    NT_WORLD_ASLEEP = 1,
    NT_WORLD_DOWN = 2, // died; a new generation comes at `wake_ns`
    NT_WORLD_GONE = 3, // a program that is no more
};

struct nt_world;
struct nt_world_host;
struct nt_world_node;

// What the scheduler needs to know of an engine; one table a role.
struct nt_world_engine_kind {
    const char *name;
    // Makes an engine over the node's memory, maps what it must, sets its bells, starts it; NULL
    // and why not. The scheduler rings all bells then, as a Python face does.
    struct nt_engine *(*make)(struct nt_world_node *node, char *why, uint64_t why_bytes);
    void (*free)(struct nt_world_node *node);
    void (*crash_at)(struct nt_world_node *node, uint64_t points, void (*crash)(void *), void *arg);
    uint64_t (*crash_points)(const struct nt_world_node *node);
    // What changed while it runs; NULL: it does not care. 0 or -1.
    int (*map_area)(struct nt_world_node *node, uint32_t area);
    void (*unmap_area)(struct nt_world_node *node, uint32_t area);
    int (*map_listener)(struct nt_world_node *node, uint32_t listener);
    void (*unmap_listener)(struct nt_world_node *node, uint32_t listener);
};

struct nt_world_node {
    struct nt_world *world;
    struct nt_world_host *host;
    const struct nt_world_engine_kind *kind; // NULL: Python plays it
    void *private;                           // the kind's
    struct nt_engine *engine;                // NULL: down, or played by Python
    struct nt_status *status;
    struct nt_world_span arena;
    uint32_t index;
    uint32_t role;         // enum nt_world_role
    uint32_t number;       // of a driver, a TCP server (its lane) or a program within its host
    uint32_t state;        // enum nt_world_state
    uint64_t wake_ns;      // ASLEEP: its deadline; DOWN: when it is back
    uint64_t safe_ns;      // does not die before
    uint64_t stalled_ns;   // does not run before
    uint32_t weight;       // of being chosen
    uint32_t crashes_left; // UINT32_MAX: no bound
    uint64_t steps;
    uint64_t crashes;
    uint64_t points; // crash points of the last step that had work: what a death is drawn from
    char name[48];
};

struct nt_world_driver { // one end of a wire
    struct nt_world_node *node;
    struct nt_world_span pool;
    struct nt_world_span to_ip;
    struct nt_world_span from_ip;
    struct nt_world_span returns_ip;
    struct nt_world_span returns_udp;
    struct nt_world_span returns_tcp[8]; // by lane
    struct nt_world_span tx;             // shared with the other end, as are the next three
    struct nt_world_span rx;
    struct nt_world_span grants_rx;
    struct nt_world_span grants_tx;
    struct nt_world_driver *peer;
    struct nt_world_link link;
    uint64_t seed;
    uint32_t traced;      // descriptors of tx that the trace has
    uint64_t counted[64]; // counters as the trace has them
};

struct nt_world_area {
    bool mapped;
    uint32_t protocol;
    uint32_t lane; // of TCP
    uint32_t slots;
    struct nt_world_node *program;
    struct nt_world_span part[3]; // program, server, hint
};

struct nt_world_listener {
    bool mapped;
    uint32_t lane;
    uint32_t entries;
    struct nt_world_span ring;
    struct nt_world_span claims;
};

struct nt_world_upper { // a transport server's memory
    struct nt_world_node *node;
    struct nt_world_span to_ip;
    struct nt_world_span from_ip;
    struct nt_world_span returns_ip;
    struct nt_world_span to_syscall;
    struct nt_world_span from_syscall;
    struct nt_producer requests; // the stand-in's ends
    struct nt_consumer replies;
};

struct nt_world_host {
    struct nt_world *world;
    char name[16];
    uint32_t index;
    uint64_t seed;
    struct nt_netconf netconf;
    struct nt_world_node *ip;
    struct nt_world_node *syscall;
    struct nt_world_span ip_pool;
    struct nt_world_upper udp;
    uint32_t lanes;
    struct nt_world_upper tcp[8];
    uint32_t driver_count;
    struct nt_world_driver *driver[8];
    uint32_t programs;
    struct nt_world_area area[64];
    struct nt_world_listener listener[64];
};

enum nt_world_stop {
    NT_WORLD_STOP_NODE = 1,   // one that Python plays is to run: nt_world_stopped_at()
    NT_WORLD_STOP_TIME = 2,   // the clock has come to where it was to stop
    NT_WORLD_STOP_IDLE = 3,   // everybody sleeps, and nobody has a deadline
    NT_WORLD_STOP_STEPS = 4,  // so many steps were made
    NT_WORLD_STOP_FAILED = 5, // nt_world_why()
};

// -- Building ----------------------------------------------------------------------------------

struct nt_world *nt_world_new(const struct nt_world_tuning *tuning, uint32_t trace_level);
void nt_world_free(struct nt_world *world);
struct nt_world_host *nt_world_host_new(struct nt_world *world, const char *name, uint32_t lanes);
// A wire between two hosts: their next driver each.
void nt_world_wire_new(struct nt_world_host *a, struct nt_world_host *b,
                       const struct nt_world_link *link);
// `bytes` of a struct nt_netconf. Makes all of a host's engines; 0, or -1: nt_world_why().
int nt_world_host_boot(struct nt_world_host *host, const void *netconf, uint64_t bytes);

// -- Programs and the syscall server's stand-in: between two calls of nt_world_run() --------------

// A program's node. It is awake.
uint32_t nt_world_program_new(struct nt_world_host *host);
void nt_world_program_end(struct nt_world_host *host, uint32_t node);
uint32_t nt_world_syscall_node(const struct nt_world_host *host);
// Makes a socket area and maps it into its server, IP and all drivers. Its number, or -1.
int nt_world_area_new(struct nt_world_host *host, uint32_t node, uint32_t protocol, uint32_t lane,
                      uint32_t slots);
void nt_world_area_end(struct nt_world_host *host, uint32_t area);
struct nt_world_span nt_world_area_part(const struct nt_world_host *host, uint32_t area,
                                        uint32_t part);
// Makes a listener region and maps it into a lane's TCP server. Its number, or -1.
int nt_world_listener_new(struct nt_world_host *host, uint32_t lane, uint32_t entries,
                          uint32_t backlog, uint32_t design);
void nt_world_listener_end(struct nt_world_host *host, uint32_t listener);
struct nt_world_span nt_world_listener_part(const struct nt_world_host *host, uint32_t listener,
                                            uint32_t part);
// The sleeping flag and the node of a protocol's server: what a program rings.
const uint32_t *nt_world_server_sleeping(const struct nt_world_host *host, uint32_t protocol,
                                         uint32_t lane);
uint32_t nt_world_server_node(const struct nt_world_host *host, uint32_t protocol, uint32_t lane);
void nt_world_wake(struct nt_world *world, uint32_t node);
// A node that Python plays goes to sleep until it is rung, or until then.
void nt_world_sleep(struct nt_world *world, uint32_t node, uint64_t deadline_ns);
// The channels of the syscall server's stand-in. False: no room; nothing there.
bool nt_world_request(struct nt_world_host *host, uint32_t protocol, uint32_t lane,
                      const struct nt_request *request);
bool nt_world_reply(struct nt_world_host *host, uint32_t protocol, uint32_t lane,
                    struct nt_request *reply);

// -- Running -----------------------------------------------------------------------------------

// Runs until one of the reasons comes up.
enum nt_world_stop nt_world_run(struct nt_world *world, uint64_t until_ns, uint64_t steps);
uint32_t nt_world_stopped_at(const struct nt_world *world);
const char *nt_world_why(const struct nt_world *world);
uint64_t nt_world_now(const struct nt_world *world);
uint64_t nt_world_steps(const struct nt_world *world);
// Time that a node played by Python used.
void nt_world_spend(struct nt_world *world, uint64_t ns);
// No more deaths and stalls from now on: for the end of a scenario.
void nt_world_calm(struct nt_world *world);
// Takes a server down now, at a step's end: as kill does. With `cold` its arena is lost, too.
void nt_world_kill(struct nt_world *world, uint32_t node, bool cold);
// Keeps a node from running for so long.
void nt_world_stall(struct nt_world *world, uint32_t node, uint64_t ns);
// Takes it down until it is brought back.
void nt_world_take_down(struct nt_world *world, uint32_t node);
void nt_world_bring_back(struct nt_world *world, uint32_t node);
// Audits every engine; 0, or -1: nt_world_why().
int nt_world_audit(struct nt_world *world);
// Steps every engine that has input, asleep or not, until none has: what waits for company (returns
// that are not worth a wake-up) comes home.
void nt_world_settle(struct nt_world *world);
// 0 if no host has a packet buffer in use or a connection left (rest.c); else -1: nt_world_why().
int nt_world_at_rest(struct nt_world *world);

// -- Looking -----------------------------------------------------------------------------------

uint32_t nt_world_nodes(const struct nt_world *world);
const struct nt_world_node *nt_world_node_at(const struct nt_world *world, uint32_t node);
uint64_t nt_world_counter(const struct nt_world *world, uint32_t node, uint32_t counter);
void nt_world_note(struct nt_world *world, const char *line); // into the trace
const char *nt_world_trace_text(const struct nt_world *world);
uint64_t nt_world_trace_bytes(const struct nt_world *world);

// -- Between the C files -------------------------------------------------------------------------

#ifndef NT_CDEF
#include <setjmp.h>

struct nt_world {
    struct nt_world_tuning tuning;
    struct nt_world_memory memory;
    struct nt_world_trace trace;
    uint64_t random;
    uint64_t now_ns;
    uint64_t steps;
    uint64_t next_weights; // step at which they are drawn again
    uint32_t node_count;
    uint32_t host_count;
    uint32_t stopped_at;
    bool calm;
    jmp_buf crash; // out of the step that is running
    struct nt_world_node *node[256];
    struct nt_world_host *host[16];
    char why[512];
};

extern const struct nt_world_engine_kind nt_world_kind_wire;
extern const struct nt_world_engine_kind nt_world_kind_ip;
extern const struct nt_world_engine_kind nt_world_kind_udp;
extern const struct nt_world_engine_kind nt_world_kind_tcp;

// host.c
struct nt_world_node *nt_world_node_new(struct nt_world *world, struct nt_world_host *host,
                                        uint32_t role, uint32_t number);
struct nt_world_span nt_world_channel(struct nt_world *world, uint32_t slot_bytes);
// Makes a node's engine anew; 0 or -1 with world->why.
int nt_world_node_make(struct nt_world_node *node);
void nt_world_free_hosts(struct nt_world *world);
// Sets a bell that rings a node.
void nt_world_set_bell(struct nt_bells *bells, uint32_t index, const struct nt_world_node *target);
// The bell of a program's event queue; sets it.
uint32_t nt_world_set_queue_bell(struct nt_bells *bells, const struct nt_world_host *host,
                                 uint32_t area, uint32_t queue);
// True if this area is one that a server of that protocol and lane has.
bool nt_world_area_of(const struct nt_world_host *host, uint32_t area, uint32_t protocol,
                      uint32_t lane);

// wire_trace.c: what a driver has put on its wire, and what became of what it received.
void nt_world_trace_wire(struct nt_world *world, struct nt_world_driver *driver);

// scheduler.c
uint64_t nt_world_draw(struct nt_world *world);
uint64_t nt_world_draw_below(struct nt_world *world, uint64_t bound); // bound > 0
bool nt_world_chance(struct nt_world *world, uint32_t ppm);
void nt_world_fail(struct nt_world *world, const char *name, const char *what);
#endif

#endif
