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

uint32_t nt_steering_lane_hashed(const struct nt_steering *steering, const struct nt_flow *arriving,
                                 uint32_t hash)
{
    if (steering->config.lanes == 1)
        return 0;
    switch ((enum nt_steering_kind)steering->config.kind) {
    case NT_STEERING_RSS:
        return nt_steering_rss(steering, hash);
    case NT_STEERING_FLOW_GROUPS:
        return nt_steering_flow_groups(steering, arriving);
    case NT_STEERING_RFD:
    case NT_STEERING_TWENTY:
        return nt_steering_rfd(steering, arriving, hash);
    }
    return 0; // a kind of another version
}

uint32_t nt_steering_lane(const struct nt_steering *steering, const struct nt_flow *arriving)
{
    uint32_t kind = steering->config.kind;
    bool needless = steering->config.lanes == 1 || kind == NT_STEERING_FLOW_GROUPS ||
                    (kind != NT_STEERING_RSS && nt_steering_rfd_is_active(steering, arriving));
    uint32_t hash = needless ? 0 : nt_steering_rss_flow_hash(steering, arriving);
    return nt_steering_lane_hashed(steering, arriving, hash);
}
