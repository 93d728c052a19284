// steering.c: the choice among the designs.
#include "newtos_py/net/steering.h"

void nt_steering_init(struct nt_steering *steering, const struct nt_steering_config *config)
{
    memset(steering, 0, sizeof *steering);
    steering->config = *config;
    steering->config.lanes =
        nt_max_u32(1, nt_min_u32(config->lanes, (uint32_t)NT_STEERING_LANES_MAX));
    // rfd sends passive segments by rss.
    nt_steering_rss_init(steering);
    nt_steering_flow_groups_init(steering);
    nt_steering_rfd_init(steering);
}

uint32_t nt_steering_lane(const struct nt_steering *steering, const struct nt_flow *arriving)
{
    if (steering->config.lanes == 1)
        return 0;
    switch ((enum nt_steering_kind)steering->config.kind) {
    case NT_STEERING_RSS:
        return nt_steering_rss(steering, arriving);
    case NT_STEERING_FLOW_GROUPS:
        return nt_steering_flow_groups(steering, arriving);
    case NT_STEERING_RFD:
        return nt_steering_rfd(steering, arriving);
    }
    return 0; // a kind of another version
}
