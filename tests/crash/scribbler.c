// scribbler.c: a program that ruins its own socket area, as far as it may write there.
//
// It opens sockets of all kinds, so that it is attached, has connections up and has slots granted;
// then it finds the shared mappings that it may write (its program sides, its hint sides, claim
// words of its listeners) and fills them, again and again, from a seed:
//     random     every byte, random
//     kept       the same, but the generations of slots stay, so that servers go on listening
//     ones       every byte 0xff
//     zeros      every byte 0
//     words      slot blocks only: cursors, geometries, generations, control flags, queue numbers
//                and mailboxes, each from a few nasty values, so that checks beyond the first see
//                them, too
// TX data are touched in their first pages only: a whole area is gigabytes of address space.
// Its last act proves that what it may only read cannot be written: it dies by SIGSEGV there.
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "newtos_py/kernel/area.h"

enum {
    MAPPINGS_MAX = 64,
    // Of a mapping's front: headers, queues, slot blocks, and the data of the first slots.
    FRONT_BYTES = 2 * 1024 * 1024,
    SLOTS_TOUCHED = 64,
    SOCKETS = 8,
};

struct mapping {
    uint8_t *base;
    uint64_t bytes;
    bool writable;
};

static struct mapping mappings[MAPPINGS_MAX];
static unsigned mapping_count;
static uint64_t state;

static uint64_t draw(void) // splitmix64
{
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// Shared mappings of memfds and of nothing else: no library, no file.
static void find_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    if (maps == NULL)
        exit(2);
    while (fgets(line, sizeof line, maps) != NULL && mapping_count < MAPPINGS_MAX) {
        uintptr_t from = 0;
        uintptr_t to = 0;
        char mode[5] = "";
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, mode) != 3)
            continue;
        if (mode[3] != 's' || mode[0] != 'r' || strstr(line, "memfd:") == NULL)
            continue;
        mappings[mapping_count++] =
            (struct mapping){(uint8_t *)from, to - from, mode[1] == 'w'}; // NOLINT
    }
    fclose(maps);
}

static uint64_t front_of(const struct mapping *m)
{
    return m->bytes < FRONT_BYTES ? m->bytes : FRONT_BYTES;
}

static void fill_random(uint8_t *at, uint64_t bytes)
{
    for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t value = draw();
        memcpy(at + i, &value, 8);
    }
}

static void fill_but_generations(uint8_t *side, uint64_t bytes)
{
    static uint32_t kept[NT_AREA_SLOTS_MAX];
    if (bytes < FRONT_BYTES) {
        fill_random(side, bytes); // the hint side, or a listener's claims
        return;
    }
    struct nt_slot_program *slots = (void *)(side + NT_AREA_PROGRAM_SLOTS_OFFSET);
    for (uint32_t i = 0; i < NT_AREA_SLOTS_MAX; i++)
        kept[i] = slots[i].generation;
    fill_random(side, bytes);
    for (uint32_t i = 0; i < NT_AREA_SLOTS_MAX; i++)
        slots[i].generation = kept[i];
}

static uint32_t nasty(void)
{
    static const uint32_t values[] = {0,        1,       2,          63,         64,        255,
                                      256,      8191,    8192,       0x3fff,     0x4000,    0x4001,
                                      0x3fffff, 0x40000, 0x7fffffff, 0x80000000, 0xffffffff};
    uint64_t choice = draw();
    uint32_t value = values[choice % (sizeof values / sizeof *values)];
    return choice >> 62 == 0 ? (uint32_t)draw() : value;
}

// The fields of slots, one at a time, with values at the edges of what is valid.
static void spoil_words(uint8_t *side)
{
    struct nt_area_program_header *header = (void *)side;
    if (header->magic != NT_AREA_MAGIC)
        return; // the hint side, or a listener's claims
    struct nt_slot_program *slots = (void *)(side + NT_AREA_PROGRAM_SLOTS_OFFSET);
    for (unsigned i = 0; i < 4 * SLOTS_TOUCHED; i++) {
        struct nt_slot_program *slot = &slots[draw() % SLOTS_TOUCHED];
        switch (draw() % 8) {
        case 0:
            slot->tx_tail = nasty();
            break;
        case 1:
            slot->rx_head = nasty();
            break;
        case 2:
            slot->tx_geometry = (uint64_t)nasty() << 8 | draw() % 64;
            break;
        case 3:
            slot->options = nasty();
            break;
        case 4:
            slot->queue = (uint16_t)nasty();
            break;
        case 5:
            slot->request = nasty() << 8 | NT_MAIL_CONNECT;
            break;
        case 6:
            header->grant_head = nasty();
            break;
        case 7: // seldom: each ends what a server would hear from this slot
            if (draw() % 1024 == 0)
                slot->control = nasty();
            else if (draw() % 1024 == 0)
                slot->generation += (uint32_t)(draw() % 3);
            break;
        }
    }
}

// So that servers look: every slot is worth it.
static void call_servers(void)
{
    for (unsigned i = 0; i < mapping_count; i++)
        if (mappings[i].writable && mappings[i].bytes == NT_AREA_HINT_BYTES)
            memset(mappings[i].base, 0xff, sizeof(struct nt_area_hints));
}

static void spoil(const char *pattern, const struct mapping *m)
{
    if (strcmp(pattern, "random") == 0)
        fill_random(m->base, front_of(m));
    else if (strcmp(pattern, "kept") == 0)
        fill_but_generations(m->base, front_of(m));
    else if (strcmp(pattern, "ones") == 0)
        memset(m->base, 0xff, front_of(m));
    else if (strcmp(pattern, "zeros") == 0)
        memset(m->base, 0, front_of(m));
    else
        spoil_words(m->base);
}

static void open_sockets(const char *address, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in own = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &to.sin_addr);
    for (unsigned i = 0; i < SOCKETS; i++) {
        int stream = socket(AF_INET, SOCK_STREAM, 0);
        int datagram = socket(AF_INET, SOCK_DGRAM, 0);
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(stream, (void *)&to, sizeof to) != 0 || send(stream, "GET ", 4, 0) != 4 ||
            connect(datagram, (void *)&to, sizeof to) != 0 || send(datagram, "x", 1, 0) != 1 ||
            bind(listener, (void *)&own, sizeof own) != 0 || listen(listener, 8) != 0) {
            perror("sockets");
            exit(2);
        }
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// scribbler ADDRESS PORT PATTERN SEED MILLISECONDS, or with PATTERN "fault": which mapping
int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    open_sockets(argv[1], (uint16_t)atoi(argv[2]));
    find_mappings();
    unsigned writable = 0;
    for (unsigned i = 0; i < mapping_count; i++)
        writable += mappings[i].writable;
    printf("%u writable, %u read-only\n", writable, mapping_count - writable);
    fflush(stdout);
    if (strcmp(argv[3], "fault") == 0) {
        unsigned wanted = (unsigned)atoi(argv[4]);
        for (unsigned i = 0; i < mapping_count; i++)
            if (!mappings[i].writable && wanted-- == 0)
                *(volatile uint8_t *)mappings[i].base = 1;
        return 0; // there is no such mapping, or it could be written
    }
    state = strtoull(argv[4], NULL, 0);
    uint64_t end = now_ms() + strtoull(argv[5], NULL, 0);
    unsigned rounds = 0;
    for (; now_ms() < end; rounds++) {
        for (unsigned i = 0; i < mapping_count; i++)
            if (mappings[i].writable)
                spoil(argv[3], &mappings[i]);
        call_servers();
    }
    printf("%u rounds\n", rounds);
    fflush(stdout);
    _exit(0); // not through the shim's own end: its memory is ruined
}
