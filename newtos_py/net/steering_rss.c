// steering_rss.c: receive side scaling, as network cards do it.
//
// The Toeplitz hash of source and destination address and port, as they stand in the packet, picks
// one of 128 entries by its low bits; entries name lanes round robin. IPv4 is hashed as IPv4: 12
// bytes of input, not 36. Whoever doesn't know the key can't aim at a lane.
#include "newtos_py/net/addr.h"
#include "newtos_py/net/bytes.h"
#include "newtos_py/net/steering.h"

void nt_steering_rss_init(struct nt_steering *steering)
{
    for (uint32_t i = 0; i < NT_STEERING_INDIRECTION; i++)
        steering->indirection[i] = (uint8_t)(i % steering->config.lanes);
}

// Microsoft, "RSS hashing functions": each set bit of the input, from the left, adds the 32 bits of
// the key that begin at its place.
uint32_t nt_steering_rss_hash(const uint8_t key[40], const uint8_t *input, uint32_t bytes)
{
    uint32_t hash = 0;
    nt_assert(bytes + 4 <= NT_STEERING_KEY_BYTES);
    for (uint32_t i = 0; i < bytes; i++) {
        uint64_t window = (uint64_t)nt_get32(key + i) << 8 | key[i + 4];
        for (uint32_t bit = 0; bit < 8; bit++)
            if (input[i] & 0x80u >> bit)
                hash ^= (uint32_t)(window >> (8 - bit));
    }
    return hash;
}

uint32_t nt_steering_rss_flow_hash(const struct nt_steering *steering,
                                   const struct nt_flow *arriving)
{
    uint8_t input[36];
    bool v4 = nt_addr_is_v4(arriving->src) && nt_addr_is_v4(arriving->dst);
    uint32_t skip = v4 ? 12 : 0, bytes = 16 - skip;
    memcpy(input, arriving->src + skip, bytes);
    memcpy(input + bytes, arriving->dst + skip, bytes);
    nt_put16(input + (size_t)2 * bytes, arriving->src_port);
    nt_put16(input + (size_t)2 * bytes + 2, arriving->dst_port);
    return nt_steering_rss_hash(steering->config.key, input, 2 * bytes + 4);
}

uint32_t nt_steering_rss(const struct nt_steering *steering, uint32_t hash)
{
    return steering->indirection[hash & (NT_STEERING_INDIRECTION - 1)];
}
