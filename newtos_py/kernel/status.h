// status.h: one page a server that everybody may read and only that server writes.
//
// It outlives the server: the next generation goes on with the same page. The sleeping flag stands
// alone on its cache line, because every producer looks at it once a batch. Counter names are the
// server's own (each Python face lists them).
#ifndef NT_KERNEL_STATUS_H
#define NT_KERNEL_STATUS_H

#include "newtos_py/kernel/base.h"

enum {
    NT_STATUS_MAGIC = 0x4e545354,
    NT_STATUS_VERSION = 3,
    NT_STATUS_COUNTERS = 128,
    NT_STATUS_FENCES = 16,
};

enum nt_server_state {
    NT_SERVER_DOWN = 0,
    NT_SERVER_STARTING = 1,
    NT_SERVER_RUNNING = 2,
    NT_SERVER_STOPPED = 3,
};

struct nt_status {
    uint32_t magic;
    uint32_t version;
    uint32_t pid;
    uint32_t generation; // counts starts; 1 is the first
    uint32_t state;      // enum nt_server_state
    uint32_t core;
    uint64_t started_ns; // CLOCK_MONOTONIC
    uint64_t pad0[4];
    uint64_t heartbeat; // grows with every turn of the loop that found work or woke up
    uint64_t steps_with_work;
    uint64_t sleeps;
    uint64_t wakes_sent;
    uint64_t pad1[4];
    uint32_t sleeping; // 1: ring my doorbell after publishing
    uint32_t pad2[15];
    uint64_t fence[16]; // drivers: highest fence number seen, by source (nt_fence_source)
    uint64_t counter[128];
    uint8_t group[2048]; // IP: the lane of each flow group, four bits each, the even ones low
};

// Sources of fences, as IP numbers its upper neighbours.
enum nt_fence_source {
    NT_FENCE_TCP = 0, // + lane
    NT_FENCE_UDP = 8,
    NT_FENCE_IP = 9, // frames that refer to the IP pool
};

// Formats a zeroed page; then generation 0 and NT_SERVER_DOWN.
void nt_status_format(struct nt_status *status);
// True if a mapped page is a status page of this version.
bool nt_status_valid(const struct nt_status *status);

#ifndef NT_CDEF
_Static_assert(offsetof(struct nt_status, heartbeat) == 64, "line of the loop");
_Static_assert(offsetof(struct nt_status, sleeping) == 128, "alone on its line");
_Static_assert(sizeof(struct nt_status) <= NT_PAGE, "one page");
#endif

#endif
