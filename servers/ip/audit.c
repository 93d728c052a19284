// audit.c: every invariant of the arena, checked one after the other.
#include <stdio.h>

#include "servers/ip/fence.h"
#include "servers/ip/neighbour.h"
#include "servers/ip/reassembly.h"
#include "servers/ip/step.h"

// A held buffer stands in one place, and what stands in a place is held.
static int audit_held(const struct nt_ip *ip, const uint8_t held[NT_BUFFERS_MAX], char *why,
                      uint64_t why_bytes)
{
    for (uint32_t i = 0; i < ip->buffers.count; i++) {
        bool should = ip->buffers.record[i].state == NT_BUFFER_DELAYED;
        if (held[i] != (should ? 1 : 0)) {
            (void)snprintf(why, why_bytes, "buffer %u: held by %u, in state %u", i, held[i],
                           ip->buffers.record[i].state);
            return -1;
        }
    }
    return 0;
}

int nt_ip_audit(void *context, char *why, uint64_t why_bytes)
{
    struct nt_ip *ip = context;
    uint8_t held[NT_BUFFERS_MAX] = {0};
    if (nt_buffers_audit(&ip->buffers, why, why_bytes) != 0 ||
        nt_ip_neighbour_audit(ip, held, why, why_bytes) != 0 ||
        nt_ip_reassembly_audit(ip, held, why, why_bytes) != 0 ||
        nt_ip_fence_audit(ip, held, why, why_bytes) != 0)
        return -1;
    return audit_held(ip, held, why, why_bytes);
}
