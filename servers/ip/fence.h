// fence.h: fences on their way to the drivers (docs/decisions/0004-fences.md), and our own.
//
// A fence is passed to every driver, behind all frames that came before it. IP refers to nothing
// of a program's memory beyond the step in which it read a segment (what waits or loops back is a
// copy), so a fence can always be passed on at once; unless a driver's channel is full, because it
// hangs and is being given up on: then the highest number by driver and source stays in the arena
// until there is room. Frames that came before it were dropped or are in the channel already.
//
// Frames that refer to the IP pool are followed by a fence of our own to that driver; the buffer is
// free once the driver has passed it.
#ifndef NT_IP_FENCE_H
#define NT_IP_FENCE_H

#include "servers/ip/state.h"

// The source that an upper server's fences carry.
static inline uint32_t nt_ip_fence_source(uint32_t upper)
{
    return upper == NT_IP_UPPER_UDP ? NT_FENCE_UDP : NT_FENCE_TCP + upper;
}

void nt_ip_fence(struct nt_ip *ip, uint32_t source, uint32_t number);
// Passes on what had to wait for room; true if anything was.
bool nt_ip_fence_flush(struct nt_ip *ip);
bool nt_ip_in_flight_room(const struct nt_ip *ip);
// The held buffer is the driver's to read until our next fence has passed it.
void nt_ip_in_flight_add(struct nt_ip *ip, uint32_t driver, uint32_t buffer);
// Frees what drivers have gathered; arms nt_ip_timer while something is left.
void nt_ip_in_flight_collect(struct nt_ip *ip);
int nt_ip_fence_audit(const struct nt_ip *ip, uint8_t held[NT_BUFFERS_MAX], char *why,
                      uint64_t why_bytes);

#endif
