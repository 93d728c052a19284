// slab.c: see slab.h.

#include "libc_shim/preload/slab.h"

#include <sched.h>
#include <sys/mman.h>

enum {
    BLOCK_BYTES = 262144, // some hundred objects; untouched pages cost nothing
};

void nt_yield(void) { sched_yield(); }

static void **link_of(const struct nt_slab *slab, void *object)
{
    return (void **)(void *)((uint8_t *)object + slab->link_offset);
}

void *nt_slab_take(struct nt_slab *slab)
{
    nt_lock(&slab->lock);
    void *object = slab->free;
    if (object != NULL) {
        slab->free = *link_of(slab, object);
    } else {
        if (slab->block_bytes < slab->object_bytes) {
            void *block =
                mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            slab->block = block == MAP_FAILED ? NULL : block;
            slab->block_bytes = block == MAP_FAILED ? 0 : BLOCK_BYTES;
        }
        if (slab->block_bytes >= slab->object_bytes) {
            object = slab->block;
            slab->block += slab->object_bytes;
            slab->block_bytes -= slab->object_bytes;
        }
    }
    nt_unlock(&slab->lock);
    if (object != NULL)
        *link_of(slab, object) = NULL;
    return object;
}

void nt_slab_give(struct nt_slab *slab, void *object)
{
    nt_lock(&slab->lock);
    *link_of(slab, object) = slab->free;
    slab->free = object;
    nt_unlock(&slab->lock);
}

void nt_slab_child(struct nt_slab *slab)
{
    nt_spin_reset(&slab->lock);
    slab->free = NULL;
    slab->block_bytes = 0;
}
