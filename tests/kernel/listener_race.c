/* A server adds connections to a small listener, for each of three acceptors in turn and for one
 * that never comes, and withdraws some, while the acceptors claim what they can: each connection is
 * taken exactly once, each copy is whole, and each claim word says by whom.
 *
 * Then once more, where nobody takes what is another's before the server shares it, which it does
 * when it is in its way.
 *
 * Exit status 0: it held. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "newtos_py/kernel/listener.h"

enum {
    ENTRIES = 8,
    CONNECTIONS = 60000,
    STRICT_CONNECTIONS = 800,
    ACCEPTORS = 3,
    WITHDRAW_EVERY = 16
};

static _Alignas(4096) uint8_t ring[4096 + ENTRIES * sizeof(struct nt_accept_entry)];
static _Alignas(4096) struct nt_listener_claims claims;
static uint8_t taken[CONNECTIONS];
static uint32_t torn, not_theirs;
static enum nt_listener_scope scope;
static uint32_t connections = CONNECTIONS;

static void *accept_all(void *number)
{
    const uint32_t me = (uint32_t)(uintptr_t)number;
    struct nt_listener listener;
    if (nt_listener_open(&listener, ring, &claims, ENTRIES) != 0)
        return "no listener";
    for (;;) {
        bool closed = nt_load_acquire(&listener.header->closed) != 0;
        struct nt_accept_offer offer;
        if (!nt_listener_find_in(&listener, scope, me, &offer)) {
            if (closed)
                return NULL;
            sched_yield();
            continue;
        }
        if (!nt_listener_claim(&listener, &offer, me, offer.index % NT_AREA_SLOTS_MAX))
            continue;
        const struct nt_accept_entry *entry = &offer.entry;
        if (scope == NT_LISTENER_OWN && entry->offered_to != me &&
            !nt_listener_is_shared(&listener, offer.index))
            __atomic_fetch_add(&not_theirs, 1, __ATOMIC_RELAXED);
        if (entry->slot >= CONNECTIONS || entry->peer.scope != entry->slot ||
            entry->local.scope != ~entry->slot)
            __atomic_fetch_add(&torn, 1, __ATOMIC_RELAXED);
        else
            __atomic_fetch_add(&taken[entry->slot], 1, __ATOMIC_RELAXED);
    }
}

// Once it is not open any more, the word says who has it, or that it was withdrawn, until a lap
// later.
static void check_word(const struct nt_listener *listener, uint32_t index)
{
    uint32_t area, slot;
    if (nt_listener_is_open(listener, index))
        return;
    bool claimed = nt_listener_taken_by(listener, index, &area, &slot);
    if (claimed ? area >= ACCEPTORS || slot != index % NT_AREA_SLOTS_MAX
                : index % WITHDRAW_EVERY != 0)
        __atomic_fetch_add(&torn, 1, __ATOMIC_RELAXED);
}

static void serve(struct nt_listener *listener)
{
    enum { PATIENCE = 2 };
    for (uint32_t i = 0; i < connections; i++) {
        for (uint32_t looks = 0; !nt_listener_reusable(listener, i); looks++) {
            if (looks == PATIENCE)
                nt_listener_share(listener, i);
            sched_yield();
        }
        uint16_t to = (uint16_t)(i % (ACCEPTORS + 1));
        struct nt_accept_entry entry = {.area = to, .offered_to = to, .slot = i};
        entry.peer.scope = i;
        entry.local.scope = ~i;
        nt_listener_fill(listener, i, &entry);
        nt_listener_publish(listener, i + 1);
        // Withdrawn, as where its listener ends; or taken by nobody's area, as by a dead acceptor.
        if (i % WITHDRAW_EVERY == 0 && nt_listener_withdraw(listener, i))
            __atomic_fetch_add(&taken[i], 1, __ATOMIC_RELAXED);
        check_word(listener, i);
    }
    nt_listener_share(listener, connections);
    nt_store_release(&listener->header->closed, 1u);
}

static int race(void)
{
    memset(ring, 0, sizeof ring);
    memset(&claims, 0, sizeof claims);
    memset(taken, 0, sizeof taken);
    nt_listener_format(ring, &claims, ENTRIES, ENTRIES);
    struct nt_listener listener;
    if (nt_listener_open(&listener, ring, &claims, ENTRIES) != 0)
        return 2;
    pthread_t acceptor[ACCEPTORS];
    for (int i = 0; i < ACCEPTORS; i++)
        if (pthread_create(&acceptor[i], NULL, accept_all, (void *)(uintptr_t)i) != 0)
            return 2;
    serve(&listener);
    for (int i = 0; i < ACCEPTORS; i++) {
        void *wrong;
        if (pthread_join(acceptor[i], &wrong) != 0 || wrong != NULL)
            return 2;
    }
    uint32_t bad = torn + not_theirs;
    for (uint32_t i = 0; i < connections; i++)
        bad += taken[i] != 1;
    if (bad != 0)
        fprintf(stderr, "%u connections were lost, taken twice, torn, or another's\n", bad);
    return bad == 0 ? 0 : 1;
}

int main(void)
{
    int result = race();
    scope = NT_LISTENER_OWN;
    connections = STRICT_CONNECTIONS; // each lap waits for what nobody comes for
    return result != 0 ? result : race();
}
