// thread.c: see thread.h.

#include "libc_shim/preload/thread.h"

#include "libc_shim/preload/event_queue.h"
#include "libc_shim/preload/slab.h"

#include <pthread.h>

__thread struct nt_thread *nt_thread_object __attribute__((tls_model("initial-exec")));

struct nt_loop_tunables nt_idle_tunables = {
    .budget = NT_ENGINE_BUDGET,
    .yields = 20, // architecture §6: more make latency, fewer make switches
};

static struct nt_slab slab = NT_SLAB(struct nt_thread, watches);
uint32_t nt_thread_forks;

static struct nt_spin registry_lock;
static struct nt_thread *registry; // all there ever were
static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;
// For a thread that gets no memory: it shares this one, and its counts may be wrong.
static struct nt_thread spare;

static void at_end(void *object)
{
    struct nt_thread *self = object;
    if (self->queue != NULL)
        nt_event_queue_give(self->queue);
    self->queue = NULL;
    nt_thread_object = NULL;
    nt_store_release(&self->in_use, 0u);
}

static void make_key(void) { (void)pthread_key_create(&end_key, at_end); }

struct nt_thread *nt_thread_register(void)
{
    (void)pthread_once(&end_once, make_key);
    nt_lock(&registry_lock);
    struct nt_thread *self = registry;
    while (self != NULL && nt_load_acquire(&self->in_use) != 0)
        self = self->next;
    if (self == NULL) {
        self = nt_slab_take(&slab);
        if (self != NULL) {
            self->next = registry;
            registry = self;
        }
    }
    if (self != NULL) {
        self->in_use = 1;
        self->idle.yields = nt_idle_tunables.yields;
        self->idle.used = 0;
        self->wake.areas = 0;
        self->depth = 0;
        self->bell = NULL;
        self->signalled = 0;
        self->critical = 0;
        self->kept_signals = 0;
    }
    nt_unlock(&registry_lock);
    if (self == NULL)
        return &spare;
    nt_thread_object = self;
    (void)pthread_setspecific(end_key, self);
    return self;
}

uint64_t nt_thread_total(enum nt_count what)
{
    uint64_t sum = spare.count[what];
    nt_lock(&registry_lock);
    for (struct nt_thread *thread = registry; thread != NULL; thread = thread->next)
        sum += nt_load_relaxed(&thread->count[what]);
    nt_unlock(&registry_lock);
    return sum;
}

void nt_thread_before_fork(void) { nt_lock(&registry_lock); }

void nt_thread_after_fork(void) { nt_unlock(&registry_lock); }

void nt_thread_child(void)
{
    nt_thread_forks++;
    nt_spin_reset(&registry_lock);
    nt_slab_child(&slab);
    for (struct nt_thread *thread = registry; thread != NULL; thread = thread->next) {
        if (thread != nt_thread_object)
            thread->in_use = 0;
        thread->queue = NULL;
        thread->watches = NULL;
        thread->bell = NULL;
        thread->wake.areas = 0;
        memset(thread->count, 0, sizeof thread->count);
    }
}
