// slab.h: the shim's own memory: objects of one size, handed out last in, first out.
//
// The shim lives in other people's programs, so it stays away from their malloc. Memory is mapped
// in blocks and never given back, and an object stays one of its type for ever: a thread that holds
// a pointer to an object that was freed meanwhile finds an object that says so, not a fault.
#ifndef NT_PRELOAD_SLAB_H
#define NT_PRELOAD_SLAB_H

#include "libc_shim/sockets/spin.h"

struct nt_slab {
    struct nt_spin lock;
    uint32_t object_bytes; // a multiple of the cache line; the first word links free objects
    uint32_t link_offset;  // where in the object that word is: one that means nothing when free
    void *free;
    uint8_t *block; // what is left of the last block
    uint64_t block_bytes;
};

#define NT_SLAB(type, link)                                               \
    {                                                                     \
        .object_bytes = sizeof(type), .link_offset = offsetof(type, link) \
    }

// NULL if there is no memory. The object is zeroed when it comes for the first time, and else as it
// was freed, but for its link.
void *nt_slab_take(struct nt_slab *slab);
void nt_slab_give(struct nt_slab *slab, void *object);

// In a child of fork(): what another thread of the parent was about to take or give is left alone.
void nt_slab_child(struct nt_slab *slab);

// sched_yield for whoever waits for a lock, and the lock itself for the shim's own.
void nt_yield(void);
static inline void nt_lock(struct nt_spin *spin) { nt_spin_lock(spin, nt_yield); }
static inline void nt_unlock(struct nt_spin *spin) { nt_spin_unlock(spin); }

#endif
