// socket_stress.c: several threads on the same sockets, to be run under TSan (or ASan and UBSan).
//
// One thread plays the TCP server for one area: it grants slots, offers connections, echoes what
// sockets send and ends them when they are closed. Four threads share everything else: they accept
// from one listening socket, and they all send on and receive from one socket, where each byte must
// come back exactly once. Prints nothing and exits with 0 if all adds up.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "libc_shim/sockets/socket.h"

enum { SLOTS = 64, THREADS = 4, CONNECTIONS = 1000, ENTRIES = 16, BYTES = 100000, PIECE = 700 };

static struct nt_area area; // the server's view; the program has its own copy in the context
static struct nt_listener listener;
static struct nt_sock_context *context;
static struct nt_sock *listening, *shared;
static uint32_t sleeping;
static uint32_t accepted_count;
static uint64_t sent_sum, received_sum;
static uint32_t sent_bytes, received_bytes;
static uint32_t stop;

#define CHECK(x)                                                    \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                \
        }                                                           \
    } while (0)

static void *memory(uint64_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

// -- The server ------------------------------------------------------------------------------

static uint32_t free_slots[SLOTS], free_count;
static uint32_t generation;
static bool in_use[SLOTS];

static bool hand_out(uint8_t state, uint32_t *slot)
{
    if (free_count == 0)
        return false;
    *slot = free_slots[--free_count];
    struct nt_slot_server *server = &area.slot_server[*slot];
    nt_store_relaxed(&server->rx_tail, 0u);
    nt_store_relaxed(&server->tx_head, 0u);
    nt_store_relaxed(&server->rx_geometry, nt_geometry(0, NT_RING_FIRST_LOG2));
    nt_store_relaxed(&server->flags, (uint8_t)0);
    nt_store_relaxed(&server->error, 0u);
    nt_store_relaxed(&server->tx_max_log2, (uint8_t)NT_RING_FIRST_LOG2);
    nt_store_release(&server->generation, ++generation);
    nt_store_release(&server->state, state);
    in_use[*slot] = true;
    return true;
}

static void grant(void)
{
    uint32_t slot;
    uint32_t tail = area.server->grant_tail;
    if (tail - nt_load_acquire(&area.program->grant_head) >= 2 || !hand_out(NT_SLOT_GRANTED, &slot))
        return;
    nt_store_relaxed(&area.server->grant[tail & (NT_AREA_SLOTS_MAX - 1)], slot);
    nt_store_release(&area.server->grant_tail, tail + 1);
}

static void offer(uint32_t *offered)
{
    uint32_t slot;
    if (*offered == CONNECTIONS || !nt_listener_reusable(&listener, *offered) ||
        !hand_out(NT_SLOT_ACCEPTABLE, &slot))
        return;
    struct nt_accept_entry entry = {
        .slot = slot, .generation = nt_load_relaxed(&area.slot_server[slot].generation)};
    nt_listener_fill(&listener, *offered, &entry);
    nt_listener_publish(&listener, ++*offered);
}

// Copies what is new in the TX ring to the RX ring, as far as there is room.
static void echo(uint32_t slot)
{
    struct nt_slot_server *server = &area.slot_server[slot];
    const struct nt_slot_program *program = &area.slot_program[slot];
    uint32_t end = nt_load_acquire(&program->tx_tail);
    uint32_t tail = server->rx_tail;
    uint32_t room = (1u << NT_RING_FIRST_LOG2) - (tail - nt_load_acquire(&program->rx_head));
    uint32_t bytes = nt_min_u32(end - server->tx_head, room);
    uint32_t mask = (1u << NT_RING_FIRST_LOG2) - 1;
    for (uint32_t i = 0; i < bytes; i++)
        nt_area_rx_ring(&area, slot, server->rx_geometry)[(tail + i) & mask] =
            nt_area_tx_ring(&area, slot, program->tx_geometry)[(server->tx_head + i) & mask];
    nt_store_release(&server->tx_head, server->tx_head + bytes);
    nt_store_release(&server->rx_tail, tail + bytes);
}

static void *serve(void *unused)
{
    (void)unused;
    uint32_t offered = 0;
    while (nt_load_relaxed(&stop) == 0) {
        grant();
        offer(&offered);
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            struct nt_slot_server *server = &area.slot_server[slot];
            const struct nt_slot_program *program = &area.slot_program[slot];
            if (!in_use[slot] || nt_load_acquire(&program->generation) != server->generation)
                continue;
            uint32_t request = nt_load_acquire(&program->request);
            if (request != server->reply) {
                nt_store_release(&server->reply, request);
                nt_store_release(&server->state, (uint8_t)NT_SLOT_CONNECTED);
            }
            if ((nt_load_acquire(&program->control) & NT_CONTROL_CLOSE) != 0) {
                in_use[slot] = false;
                nt_store_release(&server->state, (uint8_t)NT_SLOT_FREE);
                free_slots[free_count++] = slot;
            } else {
                echo(slot);
            }
        }
        sched_yield();
    }
    return NULL;
}

// -- The program -----------------------------------------------------------------------------

// The objects are never freed: another thread's sweep may still look at one.
static void accept_some(struct nt_sock *mine, struct nt_sock_wake *wake)
{
    int result = nt_sock_accept(context, listening, mine, NULL, NULL, wake);
    if (result == -EAGAIN)
        return;
    CHECK(result == 0);
    uint8_t byte = 7;
    struct iovec iov = {&byte, 1};
    CHECK(nt_sock_send(mine, &iov, 1, 0, NULL, 0, wake) == 1);
    CHECK(nt_sock_close(mine, wake) == 0);
    __atomic_fetch_add(&accepted_count, 1u, __ATOMIC_RELAXED);
}

static void send_some(uint32_t *seed, struct nt_sock_wake *wake)
{
    uint8_t buffer[PIECE];
    *seed = *seed * 1664525 + 1013904223;
    uint32_t wanted = 1 + *seed % PIECE;
    memset(buffer, (int)(*seed >> 24), wanted);
    if (nt_load_relaxed(&sent_bytes) > BYTES)
        return;
    struct iovec iov[2] = {{buffer, wanted / 2}, {buffer + wanted / 2, wanted - wanted / 2}};
    ssize_t sent = nt_sock_send(shared, iov, 2, 0, NULL, 0, wake);
    if (sent == -EAGAIN)
        return;
    CHECK(sent > 0);
    __atomic_fetch_add(&sent_bytes, (uint32_t)sent, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sent_sum, (uint64_t)sent * (*seed >> 24), __ATOMIC_RELAXED);
}

static void receive_some(struct nt_sock_wake *wake)
{
    uint8_t buffer[PIECE];
    struct iovec iov = {buffer, sizeof buffer};
    ssize_t got = nt_sock_recv(shared, &iov, 1, 0, NULL, wake);
    if (got == -EAGAIN)
        return;
    CHECK(got > 0);
    uint64_t sum = 0;
    for (ssize_t i = 0; i < got; i++)
        sum += buffer[i];
    __atomic_fetch_add(&received_sum, sum, __ATOMIC_RELAXED);
    __atomic_fetch_add(&received_bytes, (uint32_t)got, __ATOMIC_RELAXED);
}

static bool all_done(void)
{
    uint32_t sent = nt_load_relaxed(&sent_bytes);
    return nt_load_relaxed(&accepted_count) == CONNECTIONS && sent > BYTES &&
           nt_load_relaxed(&received_bytes) == sent;
}

static void *use(void *number)
{
    uint32_t seed = (uint32_t)(uintptr_t)number;
    struct nt_sock_wake wake = {0};
    struct nt_sock *mine = aligned_alloc(64, (sizeof *mine + 63) & ~(size_t)63);
    CHECK(mine != NULL);
    memset(mine, 0, sizeof *mine);
    struct nt_sock *found[8];
    struct nt_queue queue;
    nt_queue_init(context, &queue, 1 + seed);
    int fds[NT_SOCK_AREAS_MAX];
    while (!all_done()) {
        accept_some(mine, &wake);
        send_some(&seed, &wake);
        receive_some(&wake);
        (void)nt_sock_poll(shared);
        nt_sock_set_queue(shared, queue.number);
        (void)nt_queue_collect(context, &queue, found, 8);
        (void)nt_queue_sleep(context, &queue);
        nt_queue_wake(context, &queue);
        (void)nt_sock_flush(context, &wake, fds);
    }
    return mine;
}

static void yield(void) { sched_yield(); }

static struct nt_sock *create(struct nt_sock_wake *wake)
{
    struct nt_sock *sock = aligned_alloc(64, (sizeof *sock + 63) & ~(size_t)63);
    CHECK(sock != NULL);
    memset(sock, 0, sizeof *sock);
    int result;
    while ((result = nt_sock_create(context, sock, AF_INET, SOCK_STREAM, 0, wake)) == -EAGAIN)
        sched_yield();
    CHECK(result == 0);
    return sock;
}

int main(void)
{
    void *program = memory(nt_area_program_bytes(SLOTS));
    void *server = memory(nt_area_server_bytes(SLOTS));
    void *hint = memory(nt_area_hint_bytes());
    nt_area_format(program, server, hint, SLOTS, 6);
    CHECK(nt_area_open(&area, program, server, hint, SLOTS) == 0);
    void *ring = memory(nt_listener_ring_bytes(ENTRIES));
    void *claims = memory(nt_listener_claims_bytes());
    nt_listener_format(ring, claims, ENTRIES, ENTRIES);
    CHECK(nt_listener_open(&listener, ring, claims, ENTRIES) == 0);
    struct nt_listener theirs = listener;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        free_slots[free_count++] = slot;

    context = calloc(1, sizeof *context);
    CHECK(context != NULL);
    nt_sock_context_init(context, yield);
    CHECK(nt_sock_attach(context, &area, 6, &sleeping, 1) == 0);
    pthread_t thread[THREADS + 1];
    CHECK(pthread_create(&thread[THREADS], NULL, serve, NULL) == 0);

    struct nt_sock_wake wake = {0};
    listening = create(&wake);
    nt_sock_listening(listening, &theirs);
    shared = create(&wake);
    struct sockaddr address = {.sa_family = AF_INET};
    CHECK(nt_sock_connect(context, shared, &address, 16, &wake) == -EINPROGRESS);
    int result;
    while ((result = nt_sock_connect(context, shared, &address, 16, &wake)) == -EALREADY)
        sched_yield();
    CHECK(result == 0);

    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, use, (void *)i) == 0);
    void *object[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(thread[i], &object[i]) == 0);
    nt_store_relaxed(&stop, 1u);
    CHECK(pthread_join(thread[THREADS], NULL) == 0);
    CHECK(accepted_count == CONNECTIONS);
    CHECK(sent_bytes == received_bytes);
    CHECK(sent_sum == received_sum);
    for (uintptr_t i = 0; i < THREADS; i++)
        free(object[i]);
    free(listening);
    free(shared);
    free(context);
    return 0;
}
