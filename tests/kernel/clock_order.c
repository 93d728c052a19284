/* A time that one thread publishes is never ahead of what a thread that has seen it reads.
 *
 * Deadlines in shared memory are written by one process and compared by another, on another
 * core; that works only if the clock is ordered between cores. Exit status 0: it held. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "newtos_py/kernel/clock.h"

enum { READINGS = 200000 };

static _Atomic uint64_t published;

static void *publish(void *unused)
{
    (void)unused;
    for (int i = 0; i < READINGS; i++)
        atomic_store_explicit(&published, nt_now_ns(), memory_order_release);
    atomic_store_explicit(&published, UINT64_MAX, memory_order_release);
    return NULL;
}

int main(void)
{
    pthread_t publisher;
    if (pthread_create(&publisher, NULL, publish, NULL) != 0)
        return 2;
    for (;;) {
        uint64_t theirs = atomic_load_explicit(&published, memory_order_acquire);
        if (theirs == UINT64_MAX)
            break;
        uint64_t ours = nt_now_ns();
        if (ours < theirs) {
            fprintf(stderr, "read %llu, then %llu\n", (unsigned long long)theirs,
                    (unsigned long long)ours);
            return 1;
        }
        nt_cpu_relax();
    }
    return pthread_join(publisher, NULL) == 0 ? 0 : 2;
}
