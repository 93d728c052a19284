// steering_flow_groups.c: Affinity-Accept §3.1: 4096 flow groups, each of which is one lane's.
//
// A flow's group is the low 12 bits of the client's port: many more groups than lanes, so that load
// can be moved in small steps, and few enough for a network card's table. Affinity-Accept serves
// passive connections only, where the client's port is an arriving segment's source port. Which end
// is the client is not in a segment; here it is the one with the higher port, which is right for
// all whose server's port lies below the ephemeral range, and the same for both directions.
#include "newtos_py/net/steering.h"

void nt_steering_flow_groups_init(struct nt_steering *steering)
{
    for (uint32_t i = 0; i < NT_STEERING_GROUPS; i++)
        steering->group[i] = (uint8_t)(i % steering->config.lanes);
}

uint32_t nt_steering_flow_group(const struct nt_flow *arriving)
{
    uint16_t client =
        arriving->src_port > arriving->dst_port ? arriving->src_port : arriving->dst_port;
    return client & (NT_STEERING_GROUPS - 1u);
}

uint32_t nt_steering_flow_groups(const struct nt_steering *steering, const struct nt_flow *arriving)
{
    return steering->group[nt_steering_flow_group(arriving)];
}
