// steering_rfd.c: Fastsocket §3.3, Receive Flow Deliver.
//
// An active connection's lane is in the port that it chose: hash(port) = some of the port's bits.
// Passive segments stay where rss sends them. To tell them apart, in this order:
//   1. the source port is well known, and the destination port is one that connect() chooses:
//   active;
//   2. the destination port is well known: passive;
//   3. the destination port is listened on: passive; else active.
// The third rule needs a look at the listen tables, which are the TCP servers'; without one (a NULL
// bitmap), a port counts as listened on unless it is in the ephemeral range.
//
// Fastsocket's first rule does not ask for the destination: then all requests to one port that come
// from well-known ports, which a flood of them may, are one lane's.
//
// Fastsocket takes the lowest bits; as it suggests, they are chosen at random (from the key, so
// once a boot) against peers that would send all connections to one lane. With a number of lanes
// that is no power of two, some lanes get two values.
#include "newtos_py/net/steering.h"

void nt_steering_rfd_init(struct nt_steering *steering)
{
    uint32_t chosen = 0;
    while (1u << steering->rfd_bits < steering->config.lanes)
        steering->rfd_bits++;
    for (uint32_t i = 0; i < steering->rfd_bits; i++) {
        // A different one each time: the next that is not chosen yet.
        uint32_t bit = steering->config.key[i] % NT_STEERING_PORT_BITS;
        while (chosen & 1u << bit)
            bit = (bit + 1) % NT_STEERING_PORT_BITS;
        chosen |= 1u << bit;
        steering->rfd_bit[i] = (uint8_t)bit;
    }
}

static bool is_ephemeral(uint16_t port)
{
    return port >= NT_STEERING_EPHEMERAL_FIRST && port <= NT_STEERING_EPHEMERAL_LAST;
}

static bool listened_on(const struct nt_steering *steering, uint16_t port)
{
    if (steering->listens != NULL)
        return (steering->listens[port / 8] >> port % 8 & 1) != 0;
    return !is_ephemeral(port);
}

bool nt_steering_rfd_is_active(const struct nt_steering *steering, const struct nt_flow *arriving)
{
    if (arriving->src_port < NT_STEERING_WELL_KNOWN && is_ephemeral(arriving->dst_port))
        return true;
    if (arriving->dst_port < NT_STEERING_WELL_KNOWN)
        return false;
    return !listened_on(steering, arriving->dst_port);
}

uint32_t nt_steering_rfd(const struct nt_steering *steering, const struct nt_flow *arriving,
                         uint32_t hash)
{
    if (!nt_steering_rfd_is_active(steering, arriving))
        return nt_steering_rss(steering, hash);
    uint32_t value = 0;
    for (uint32_t i = 0; i < steering->rfd_bits; i++)
        value |= (arriving->dst_port >> steering->rfd_bit[i] & 1u) << i;
    return value % steering->config.lanes;
}
