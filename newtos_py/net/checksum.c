#include "newtos_py/net/checksum.h"

#include "newtos_py/net/addr.h"

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

// Folds a 64-bit sum with end-around carry to 32 bits.
static inline uint32_t fold64(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    return (uint32_t)((sum & 0xffffffff) + (sum >> 32));
}

// The last 0 to 7 bytes as one little piece, zero-padded.
static inline uint64_t load_rest(const uint8_t *p, size_t len)
{
    uint64_t word = 0;
    memcpy(&word, p, len);
    return word;
}

// Two accumulators of 32-bit halves: no carry can be lost within 2^32 words, and the compiler makes
// vector code of it.
uint32_t nt_csum(const void *data, size_t len, uint32_t sum)
{
    const uint8_t *p = data;
    uint64_t low = sum, high = 0;
    for (; len >= 32; p += 32, len -= 32) {
        for (int i = 0; i < 32; i += 8) {
            uint64_t word = load64(p + i);
            low += word & 0xffffffff;
            high += word >> 32;
        }
    }
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word = load64(p);
        low += word & 0xffffffff;
        high += word >> 32;
    }
    uint64_t word = load_rest(p, len);
    low += word & 0xffffffff;
    high += word >> 32;
    return fold64((uint64_t)fold64(low) + fold64(high));
}

uint32_t nt_csum_copy(void *to, const void *from, size_t len, uint32_t sum)
{
    // Two passes over pieces that stay in the first-level cache, so the copy is libc's own.
    enum { PIECE = 4096 };
    uint8_t *out = to;
    const uint8_t *in = from;
    while (len > PIECE) {
        memcpy(out, in, PIECE);
        sum = nt_csum(out, PIECE, sum);
        out += PIECE;
        in += PIECE;
        len -= PIECE;
    }
    memcpy(out, in, len);
    return nt_csum(out, len, sum);
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

// The sum of 8 bytes in two halves, so that it can be added to others without losing a carry.
static inline uint64_t halves(const uint8_t *p) { return (uint64_t)load32(p) + load32(p + 4); }

// Once for each segment, so without a loop or a call.
uint32_t nt_csum_pseudo(const uint8_t src[16], const uint8_t dst[16], uint8_t protocol,
                        uint32_t l4_len)
{
    const uint8_t tail[8] = {(uint8_t)(l4_len >> 24),
                             (uint8_t)(l4_len >> 16),
                             (uint8_t)(l4_len >> 8),
                             (uint8_t)l4_len,
                             0,
                             0,
                             0,
                             protocol};
    uint64_t sum = halves(tail);
    if (nt_addr_is_v4(dst))
        return fold64(sum + load32(nt_addr_v4(src)) + load32(nt_addr_v4(dst)));
    return fold64(sum + halves(src) + halves(src + 8) + halves(dst) + halves(dst + 8));
}
