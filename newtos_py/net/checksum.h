// checksum.h: the Internet checksum (RFC 1071).
//
// Sums are taken over 16-bit words as they lie in memory: the one's complement sum is independent
// of byte order (RFC 1071 §2 B), so no word is swapped on the way and the result is stored as it
// is. A partial sum is 32 bits, not complemented; partial sums of pieces that start at even offsets
// of the packet are added with nt_csum_add, of others with nt_csum_add_at.
//
//     sum = nt_csum_pseudo(src, dst, protocol, l4_len);
//     sum = nt_csum(segment, l4_len, sum);
//     ok  = nt_csum_finish(sum) == 0;                     when the field was part of the segment
//     nt_csum_store(field, nt_csum_finish(sum));          when the field was zero
//
// NT_DESC_CSUM_PARTIAL means that the field holds nt_csum_fold(pseudo-header sum), uncomplemented:
// whoever completes it sums the whole segment with the field in it and stores the complement, as
// virtio-net does.
#ifndef NT_NET_CHECKSUM_H
#define NT_NET_CHECKSUM_H

#include "newtos_py/kernel/base.h"

// The sum of `len` bytes, added to a partial sum. An odd last byte counts as if a zero followed.
uint32_t nt_csum(const void *data, size_t len, uint32_t sum);
// Copies and sums in one pass; what nt_csum(from, ...) says.
uint32_t nt_csum_copy(void *to, const void *from, size_t len, uint32_t sum);
// The pseudo-header of TCP and UDP: RFC 9293 §3.1 for mapped IPv4, RFC 8200 §8.1 for IPv6.
uint32_t nt_csum_pseudo(const uint8_t src[16], const uint8_t dst[16], uint8_t protocol,
                        uint32_t l4_len);

#ifndef NT_CDEF
static inline uint32_t nt_csum_add(uint32_t a, uint32_t b)
{
    uint32_t sum = a + b;
    return sum + (sum < a);
}

// Adds the sum of a piece that lies `offset` bytes into the packet: at an odd one, each of its
// bytes counts in the other half of a word (RFC 1071 §2 B).
static inline uint32_t nt_csum_add_at(uint32_t sum, uint32_t piece, size_t offset)
{
    return nt_csum_add(sum, offset & 1 ? piece << 8 | piece >> 24 : piece);
}

// 16 bits, not complemented; memory order.
static inline uint16_t nt_csum_fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

// The checksum: folded and complemented; memory order.
static inline uint16_t nt_csum_finish(uint32_t sum) { return (uint16_t)~nt_csum_fold(sum); }

static inline void nt_csum_store(uint8_t *field, uint16_t sum) { memcpy(field, &sum, 2); }

// RFC 1624 equation 3: the checksum after a 16-bit word of the data changed, all memory order.
static inline uint16_t nt_csum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word)
{
    uint32_t sum = (uint32_t)(uint16_t)~checksum + (uint16_t)~old_word + new_word;
    return nt_csum_finish(sum);
}
#endif

#endif
