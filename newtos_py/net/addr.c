#include "newtos_py/net/addr.h"

bool nt_addr_in_prefix(const uint8_t addr[16], const uint8_t prefix[16], uint32_t bits)
{
    uint32_t bytes = bits / 8;
    if (bits > NT_ADDR_BITS || memcmp(addr, prefix, bytes) != 0)
        return false;
    uint32_t rest = bits % 8;
    if (rest == 0)
        return true;
    uint8_t mask = (uint8_t)(0xff << (8 - rest));
    return ((addr[bytes] ^ prefix[bytes]) & mask) == 0;
}

uint32_t nt_addr_hash(const uint8_t addr[16])
{
    uint64_t high, low;
    memcpy(&high, addr, 8);
    memcpy(&low, addr + 8, 8);
    uint64_t mixed = (high * UINT64_C(0x9e3779b97f4a7c15)) ^ low;
    mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(mixed ^ (mixed >> 32));
}
