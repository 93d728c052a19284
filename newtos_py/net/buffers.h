// buffers.h: a packet pool whose ownership takes part in transactions.
//
// The pool itself (kernel/pool.h) says by its use counts which buffers are out. That is not enough
// to survive a crash in the middle of a batch: a buffer may have been taken for a descriptor that
// was never published. So the owner keeps one record a buffer in its arena, journalled like every
// other object there, and the records are the truth: recovery copies their use counts back to the
// pool and rebuilds the free lists from them.
//
// Invariants (nt_buffers_audit):
//   - a FREE buffer has an even use count and stands on its class's free list exactly once;
//   - any other has an odd use count and stands on none;
//   - pool and record agree about the use count.
//
// For the pool's owner only.
#ifndef NT_NET_BUFFERS_H
#define NT_NET_BUFFERS_H

#include "newtos_py/kernel/arena.h"
#include "newtos_py/kernel/pool.h"

enum {
    NT_BUFFERS_MAX = 1024, // as many as a return channel has slots: it can never be full
};

enum nt_buffer_state {
    NT_BUFFER_FREE = 0,
    NT_BUFFER_UP = 1,      // handed to the consumers above; comes back as struct nt_return
    NT_BUFFER_GRANTED = 2, // lent to another host to be filled
    NT_BUFFER_DELAYED = 3, // filled, and kept for a while
    NT_BUFFER_STATES = 4,
};

struct nt_buffer_record { // in the arena
    uint16_t use;         // what the pool's use count is, or must be again
    uint8_t state;        // enum nt_buffer_state
    uint8_t pad;
};

struct nt_buffers {
    struct nt_txn *txn;
    struct nt_buffer_record *record;
    uint32_t count;
    struct nt_pool_owner owner;
    uint32_t in_state[4][2]; // buffers by state and class (0 small, 1 large)
    uint32_t stack[1024];    // memory of the free lists
};

// `record` is NT_BUFFERS_MAX records of the transaction's arena. After a recovery they are taken as
// they are; otherwise every buffer becomes free, whatever the pool says. 0, or -1 if the memory is
// no pool, is too large, or does not fit the records.
int nt_buffers_open(struct nt_buffers *buffers, struct nt_txn *txn, struct nt_buffer_record *record,
                    void *pool, uint64_t pool_bytes, uint16_t region, bool recovered);
// Takes a free buffer for `len` bytes after the headroom; -1 if there is none.
int64_t nt_buffers_take(struct nt_buffers *buffers, uint32_t len, enum nt_buffer_state state);
// The buffer that nt_buffers_take would choose, left where it is; -1 if there is none. The owner
// may fill it: nobody else knows of it.
int64_t nt_buffers_peek(const struct nt_buffers *buffers, uint32_t len);
// From one state that is not FREE to another.
void nt_buffers_set_state(struct nt_buffers *buffers, uint32_t buffer, enum nt_buffer_state state);
// Frees a buffer whose owner this process is in name and in fact (not from an outside message).
void nt_buffers_free(struct nt_buffers *buffers, uint32_t buffer);
// A consumer gives back a buffer that is UP. False (and counted in the pool) if it is stale.
bool nt_buffers_give_back(struct nt_buffers *buffers, struct nt_return ret);
// 0, or -1 and the first invariant that does not hold in `why`.
int nt_buffers_audit(const struct nt_buffers *buffers, char *why, uint64_t why_bytes);

#ifndef NT_CDEF
_Static_assert(sizeof(struct nt_buffer_record) == 4, "layout");

static inline uint32_t nt_buffers_class(const struct nt_buffers *buffers, uint32_t buffer)
{
    return buffer < buffers->owner.view.small_count ? 0 : 1;
}
// Where a frame starts: so far into the buffer that the IP header after its Ethernet header is
// aligned.
static inline uint64_t nt_buffers_frame_offset(const struct nt_pool *pool, uint32_t buffer)
{
    return nt_pool_offset(pool, buffer) + NT_POOL_HEADROOM - 14;
}
static inline uint32_t nt_buffers_frame_capacity(const struct nt_pool *pool, uint32_t buffer)
{
    return nt_pool_capacity(pool, buffer) - (NT_POOL_HEADROOM - 14);
}
#endif

#endif
