// parsers.c: every wire format's parser, on exactly the bytes there are; what parses must survive
// being emitted and parsed again.
#include "newtos_py/net/tcp.h"
#include "tests/fuzz/packets.h"
#include "tests/fuzz/samples.h"

static void ethernet(const uint8_t *data, size_t size)
{
    struct nt_ethernet first, again;
    uint8_t out[NT_ETHERNET_HEADER_BYTES];
    if (!nt_ethernet_parse(&first, data, size))
        return;
    nt_ethernet_emit(&first, out);
    nt_assert(nt_ethernet_parse(&again, out, sizeof out));
    nt_assert(memcmp(&first, &again, sizeof first) == 0);
}

static void arp(const uint8_t *data, size_t size)
{
    struct nt_arp first, again;
    uint8_t out[NT_ARP_BYTES];
    if (!nt_arp_parse(&first, data, size))
        return;
    nt_arp_emit(&first, out);
    nt_assert(nt_arp_parse(&again, out, sizeof out));
    nt_assert(memcmp(&first, &again, sizeof first) == 0);
}

static void ipv4(const uint8_t *data, size_t size)
{
    struct nt_ipv4 first, again;
    uint8_t out[NT_IPV4_HEADER_BYTES];
    if (nt_ipv4_parse(&first, data, size) != NT_IPV4_OK)
        return;
    nt_assert(first.header_bytes <= first.total_bytes && first.total_bytes <= size);
    nt_ipv4_emit(&first, out);
    again = first;
    // Without its options, which are not emitted, and so claimed to be longer than it is.
    nt_assert(nt_ipv4_parse(&again, out, first.total_bytes) == NT_IPV4_OK);
    nt_assert(again.total_bytes == first.total_bytes && again.id == first.id &&
              again.fragment_offset == first.fragment_offset);
}

static void icmp(const uint8_t *data, size_t size)
{
    struct nt_icmp first;
    if (!nt_icmp_parse(&first, data, size))
        return;
    uint8_t *copy = malloc(size);
    nt_assert(copy != NULL);
    memcpy(copy, data, size);
    nt_icmp_emit(&first, copy, size);
    nt_assert(nt_icmp_checksum_ok(copy, size));
    free(copy);
}

static void udp(const uint8_t *data, size_t size)
{
    static const uint8_t addr[16];
    struct nt_udp_header first;
    if (!nt_udp_parse(&first, data, size))
        return;
    nt_assert(first.length <= size);
    (void)nt_udp_checksum_ok(data, first.length, addr, addr);
}

static void tcp(const uint8_t *data, size_t size)
{
    struct nt_tcp_header first = {0}, again = {0};
    uint8_t out[NT_TCP_HEADER_MAX_BYTES];
    if (!nt_tcp_parse(&first, data, size))
        return;
    nt_assert(first.header_bytes >= NT_TCP_HEADER_BYTES && first.header_bytes <= size &&
              first.wscale <= NT_TCP_WSCALE_MAX);
    uint32_t len = nt_tcp_emit(&first, out);
    nt_assert(len <= sizeof out && nt_tcp_parse(&again, out, len));
    nt_assert(again.seq == first.seq && again.ack == first.ack && again.flags == first.flags &&
              again.options == first.options && again.ts_value == first.ts_value);
}

static void parse(const uint8_t *data, size_t size)
{
    // In memory of its own, so that the sanitizer sees a read beyond it.
    uint8_t *exact = malloc(size - 1 + (size == 1));
    nt_assert(exact != NULL);
    memcpy(exact, data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        ethernet(exact, size - 1);
        break;
    case 1:
        arp(exact, size - 1);
        break;
    case 2:
        ipv4(exact, size - 1);
        break;
    case 3:
        icmp(exact, size - 1);
        break;
    case 4:
        udp(exact, size - 1);
        break;
    case 5:
        tcp(exact, size - 1);
        break;
    }
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {.at = data, .end = data + size}, one;
    while (fuzz_next(&in, &one))
        parse(one.at, (size_t)(one.end - one.at));
    return 0;
}

size_t fuzz_sample(uint32_t number, uint8_t out[FUZZ_SAMPLE_MAX])
{
    out[0] = (uint8_t)(number % 6);
    memset(out + 1, (int)(number >> 8), 64);
    uint8_t *packet = out + 1;
    switch (number % 6) {
    case 1: {
        struct nt_arp repr = {.operation = 1 + (number >> 16) % 2};
        nt_arp_emit(&repr, packet);
        return 1 + NT_ARP_BYTES + (number >> 20) % 3;
    }
    case 2:
        return 1 + fuzz_udp_packet(packet, 9, (number >> 16) % 64);
    case 3:
        (void)fuzz_icmp_packet(packet, 8, 0, (number >> 16) % 64);
        return 1 + NT_ICMP_HEADER_BYTES + (number >> 16) % 64;
    case 4:
        nt_put16(packet + NT_UDP_LENGTH, (uint16_t)(8 + (number >> 16) % 24));
        return 1 + 8 + (number >> 20) % 32;
    case 5:
        packet[12] = (uint8_t)((5 + (number >> 16) % 11) << 4);
        for (uint32_t i = 20; i < 60; i++) // options, whole ones and others
            packet[i] = (uint8_t)((number >> (i % 13)) % 12);
        return 1 + 20 + (number >> 20) % 44;
    default:
        return 1 + (number >> 16) % 20;
    }
}
