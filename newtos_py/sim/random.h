// random.h: the simulator's randomness: splitmix64 (Steele, Lea and Flood, 2014), from a seed.
#ifndef NT_SIM_RANDOM_H
#define NT_SIM_RANDOM_H

#include "newtos_py/kernel/base.h"

struct nt_sim_random {
    uint64_t state;
};

#ifndef NT_CDEF
static inline uint64_t nt_sim_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}
static inline uint64_t nt_sim_next(struct nt_sim_random *random)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    return nt_sim_mix(random->state);
}
// Below `bound`, which is not 0.
static inline uint32_t nt_sim_below(struct nt_sim_random *random, uint32_t bound)
{
    return (uint32_t)((nt_sim_next(random) >> 32) * bound >> 32);
}
static inline bool nt_sim_chance(struct nt_sim_random *random, uint32_t ppm)
{
    return nt_sim_below(random, 1000000) < ppm;
}
#endif

#endif
