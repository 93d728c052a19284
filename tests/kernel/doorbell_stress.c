/* Two servers pass one number to and fro and sleep whenever they have nothing to do: each hand-over
 * goes through nt_loop_run's own ladder, its flags and real eventfds. A lost wake-up would leave
 * both asleep for ever (the test's deadline then ends it).
 *
 * Exit status 0: every number came, and somebody did sleep. */
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "newtos_py/kernel/channel.h"
#include "newtos_py/kernel/loop.h"

enum { ROUNDS = 20000, CAPACITY = 4 };

struct server {
    struct nt_producer out;
    struct nt_consumer into;
    struct nt_bells bells;
    struct nt_status status;
    struct nt_engine engine;
    struct nt_loop loop;
    uint64_t next; /* number that is to come */
    bool wrong;
};

static struct server server[2];
static _Alignas(4096) uint8_t region[2][3 * 4096];

static void send(struct server *self, uint64_t number)
{
    *(uint64_t *)nt_producer_slot(&self->out) = number;
    nt_producer_advance(&self->out);
    nt_producer_publish(&self->out);
    nt_bells_mark(&self->bells, 0);
}

/* Every second number goes back; server 0 gets the even ones. */
static uint32_t step(void *context, uint64_t now_ns, uint32_t budget)
{
    struct server *self = context;
    (void)now_ns;
    (void)budget;
    if (nt_consumer_pending(&self->into) == 0)
        return 0;
    uint64_t number = *(const uint64_t *)nt_consumer_slot(&self->into);
    nt_consumer_advance(&self->into);
    nt_consumer_publish(&self->into);
    self->wrong |= number != self->next;
    self->next += 2;
    if (number < ROUNDS)
        send(self, number + 1);
    if (number >= ROUNDS - 1 || self->wrong)
        self->loop.stop = 1;
    return 1;
}

static bool has_work(void *context)
{
    return nt_consumer_pending(&((struct server *)context)->into) != 0;
}

static uint64_t next_deadline(void *context)
{
    (void)context;
    return NT_NEVER;
}

static int set_up(int me)
{
    struct server *self = &server[me];
    const struct server *peer = &server[1 - me];
    self->next = (uint64_t)me;
    if (nt_producer_open(&self->out, region[me], sizeof(region[me]), 8) != 0 ||
        nt_consumer_open(&self->into, region[1 - me], sizeof(region[me]), 8) != 0)
        return -1;
    nt_bells_init(&self->bells);
    nt_bells_set(&self->bells, 0, &peer->status.sleeping, peer->loop.doorbell_fd);
    self->engine = (struct nt_engine){.context = self,
                                      .step = step,
                                      .has_work = has_work,
                                      .next_deadline = next_deadline,
                                      .bells = &self->bells,
                                      .status = &self->status,
                                      .device_fd = -1};
    self->loop.engine[0] = &self->engine;
    self->loop.engine_count = 1;
    self->loop.control_fd = -1;
    self->loop.status = &self->status;
    self->loop.tunables = (struct nt_loop_tunables){.budget = 16, .control_period_ns = UINT64_MAX};
    return 0;
}

static void *run(void *context)
{
    (void)nt_loop_run(&((struct server *)context)->loop);
    return NULL;
}

int main(void)
{
    for (int i = 0; i < 2; i++) {
        nt_channel_format(region[i], CAPACITY, 8);
        server[i].loop.doorbell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (server[i].loop.doorbell_fd < 0)
            return 2;
    }
    if (set_up(0) != 0 || set_up(1) != 0)
        return 2;
    send(&server[1], 0); /* before anybody sleeps: no bell to ring */
    pthread_t other;
    if (pthread_create(&other, NULL, run, &server[1]) != 0)
        return 2;
    run(&server[0]);
    if (pthread_join(other, NULL) != 0)
        return 2;
    uint64_t sleeps = server[0].status.sleeps + server[1].status.sleeps;
    if (server[0].wrong || server[1].wrong || sleeps == 0) {
        fprintf(stderr, "wrong: %d %d, sleeps: %llu\n", server[0].wrong, server[1].wrong,
                (unsigned long long)sleeps);
        return 1;
    }
    return 0;
}
