/* Two threads pass numbered slots through a small channel, in batches; each slot arrives once, in
 * order and whole. Under TSan: nothing but the indices orders the two.
 *
 * Exit status 0: it held. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "newtos_py/kernel/channel.h"

enum { CAPACITY = 16, SLOT_WORDS = 24, MESSAGES = 100000, BATCH = 7 };

static _Alignas(4096) uint8_t region[3 * 4096 + CAPACITY * SLOT_WORDS * 8];

static void *produce(void *unused)
{
    (void)unused;
    struct nt_producer p;
    if (nt_producer_open(&p, region, sizeof(region), SLOT_WORDS * 8) != 0)
        return "no channel";
    for (uint64_t number = 0; number < MESSAGES;) {
        uint32_t room = nt_min_u32(nt_producer_room(&p, BATCH), BATCH);
        for (uint32_t i = 0; i < room && number < MESSAGES; i++, number++) {
            uint64_t *slot = nt_producer_slot(&p);
            for (int word = 0; word < SLOT_WORDS; word++)
                slot[word] = number;
            nt_producer_advance(&p);
        }
        nt_producer_publish(&p);
        if (room == 0)
            sched_yield();
    }
    return p.bad_index == 0 ? NULL : "a head that cannot be";
}

static const char *consume(void)
{
    struct nt_consumer c;
    if (nt_consumer_open(&c, region, sizeof(region), SLOT_WORDS * 8) != 0)
        return "no channel";
    for (uint64_t number = 0; number < MESSAGES;) {
        uint32_t pending = nt_consumer_pending(&c);
        for (uint32_t i = 0; i < pending; i++, number++) {
            const uint64_t *slot = nt_consumer_slot(&c);
            for (int word = 0; word < SLOT_WORDS; word++)
                if (slot[word] != number)
                    return "a slot that is torn, lost or repeated";
            nt_consumer_advance(&c);
        }
        nt_consumer_publish(&c);
        if (pending == 0)
            sched_yield();
    }
    return c.bad_index == 0 ? NULL : "a tail that cannot be";
}

int main(void)
{
    nt_channel_format(region, CAPACITY, SLOT_WORDS * 8);
    pthread_t producer;
    if (pthread_create(&producer, NULL, produce, NULL) != 0)
        return 2;
    const char *wrong = consume();
    if (wrong != NULL) {
        fprintf(stderr, "consumer: %s\n", wrong);
        exit(1); // the producer would wait for ever
    }
    void *result;
    if (pthread_join(producer, &result) != 0)
        return 2;
    if (result != NULL)
        fprintf(stderr, "producer: %s\n", (const char *)result);
    return result == NULL ? 0 : 1;
}
