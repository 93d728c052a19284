/* A child is killed at its n-th crash point, by the real SIGKILL, for every n; each next child
 * recovers and goes on. In the end every input has been passed on exactly once.
 *
 * Exit status 0: it held. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "newtos_py/kernel/arena.h"

enum { KIND = 0x43525348, INPUTS = 40, CAPACITY = 64, JOURNAL = 1024, GENERATIONS_MAX = 5000 };

struct body {
    uint64_t sum;
    uint64_t count;
};

static uint8_t *shared; /* arena, then two channels */
static uint64_t arena_bytes, channel_bytes;

static uint8_t *channel(int which)
{
    return shared + arena_bytes + (uint64_t)which * channel_bytes;
}

static void handle(struct nt_txn *txn, struct body *body, uint64_t input, struct nt_producer *out)
{
    nt_txn_touch(txn, body, sizeof(*body));
    body->sum += input;
    nt_txn_crash_point(txn);
    body->count++;
    *(uint64_t *)nt_producer_slot(out) = body->sum * 1000 + body->count;
    nt_producer_advance(out);
    nt_txn_crash_point(txn);
}

/* One generation; dies at crash point `crash_at` if it gets there, else exits when all is done. */
static void generation(uint64_t crash_at)
{
    struct nt_txn txn;
    int opened = nt_arena_open(&txn, shared, arena_bytes, KIND, 1, sizeof(struct body), JOURNAL);
    txn.crash_at = crash_at;
    struct nt_consumer into;
    struct nt_producer out;
    bool recovered = opened == NT_ARENA_RECOVERED;
    if (opened == NT_ARENA_BAD || nt_consumer_open(&into, channel(0), channel_bytes, 8) != 0 ||
        nt_producer_open(&out, channel(1), channel_bytes, 8) != 0 ||
        nt_txn_add_consumer(&txn, 0, &into, recovered) != 0 ||
        nt_txn_add_producer(&txn, 1, &out, recovered) != 0)
        _exit(2);
    if (!recovered)
        nt_arena_set_formatted(&txn);
    while (nt_consumer_pending(&into) != 0) {
        for (int i = 0; i < 3 && nt_consumer_pending(&into) != 0; i++) {
            handle(&txn, nt_arena_body(&txn), *(const uint64_t *)nt_consumer_slot(&into), &out);
            nt_consumer_advance(&into);
        }
        nt_txn_commit(&txn);
    }
    _exit(0);
}

/* True once a generation has lived to the end; exits if one failed. */
static bool run_generation(uint64_t crash_at)
{
    pid_t pid = fork();
    if (pid == 0)
        generation(crash_at);
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status)))
        exit(2);
    return WIFEXITED(status);
}

static bool all_passed_on_once(void)
{
    struct nt_consumer answers;
    if (nt_consumer_open(&answers, channel(1), channel_bytes, 8) != 0)
        return false;
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= INPUTS; i++) {
        uint64_t answer;
        sum += i;
        if (!nt_consumer_pop(&answers, &answer) || answer != sum * 1000 + i)
            return false;
    }
    uint64_t more;
    return !nt_consumer_pop(&answers, &more);
}

int main(void)
{
    arena_bytes = nt_arena_bytes(sizeof(struct body), JOURNAL);
    channel_bytes = nt_channel_bytes(CAPACITY, 8);
    shared = mmap(NULL, arena_bytes + 2 * channel_bytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 2;
    nt_channel_format(channel(0), CAPACITY, 8);
    nt_channel_format(channel(1), CAPACITY, 8);
    struct nt_producer inputs;
    if (nt_producer_open(&inputs, channel(0), channel_bytes, 8) != 0)
        return 2;
    for (uint64_t i = 1; i <= INPUTS; i++)
        if (!nt_producer_push(&inputs, &i))
            return 2;
    /* The n-th point moves through every place of a transaction, and so does where the next
     * generation starts. A generation lives at least to its first commit from time to time. */
    uint64_t generations = 0;
    uint64_t crash_at = 1;
    while (!run_generation(crash_at)) {
        if (++generations == GENERATIONS_MAX)
            return 3;
        crash_at = crash_at % 23 + 1;
    }
    if (!all_passed_on_once()) {
        fprintf(stderr, "lost, repeated or changed, after %llu deaths\n",
                (unsigned long long)generations);
        return 1;
    }
    return generations >= 20 ? 0 : 4; /* else it did not try */
}
