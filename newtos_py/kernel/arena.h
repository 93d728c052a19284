// arena.h: an engine's durable state, and the transaction that changes it.
//
// An arena is shared memory that survives its server. It holds the objects that cannot be rebuilt
// (TCBs, listen table, slot bindings, generator state) and the cursors of every channel and control
// input. Everything else (hash tables, timers, lists) is private and rebuilt by the engine's
// recover.
//
// A transaction covers a batch of inputs (architecture §9):
//   1. before an object is first changed, nt_txn_touch() copies its old bytes to the undo journal;
//   2. outputs are written beyond the published tails, data beyond the visible cursors;
//   3. nt_txn_commit(): the working indices of all ports go to the arena's cursor table (journalled
//      too), then one store (journal_bytes = 0) commits everything, then cursors are published:
//      tails first, then heads.
// Death before the store: recover rolls back from the journal, and inputs are read again; death
// after it: recover publishes again, which changes nothing the second time. So each message inside
// a host is passed on exactly once. Only our own death is to be survived, so compiler barriers
// order the stores.
//
// Crash points (nt_txn_crash_point) are counted in private memory; injection makes the n-th one
// fatal.
#ifndef NT_KERNEL_ARENA_H
#define NT_KERNEL_ARENA_H

#include "newtos_py/kernel/base.h"
#include "newtos_py/kernel/channel.h"

enum {
    NT_ARENA_MAGIC = 0x4e544152,
    NT_ARENA_VERSION = 1,
    NT_ARENA_PORTS = 64,
    NT_JOURNAL_ENTRY_BYTES = 24, // at most, that an entry takes beside the object's bytes
};

struct nt_arena_header {
    uint32_t magic;
    uint32_t version; // of this header
    uint32_t layout;  // the engine's own layout version
    uint32_t kind;    // the engine's own magic
    uint64_t bytes;   // of the whole region
    uint64_t journal_offset;
    uint64_t journal_capacity;
    uint64_t body_offset; // the engine's objects
    uint32_t formatted;   // 1 once the engine's init has finished: else cold start
    uint32_t pad0;
    uint64_t pad1[1];
    uint64_t journal_bytes; // 0: committed. Alone on its line with the transaction's number
    uint32_t txn;           // number of the open or last transaction
    uint32_t pad2;
    uint64_t pad3[6];
    uint32_t cursor[64]; // committed working indices, by port
};

// A port is one end of a channel that takes part in transactions; at most one of the two is set.
struct nt_port {
    struct nt_producer *producer;
    struct nt_consumer *consumer;
    // The index that the engine works with, which runs ahead of what the channel shows.
    const uint32_t *working;
    uint32_t published; // private copy of what the channel shows: unchanged ports are skipped
};

struct nt_txn {
    struct nt_arena_header *header;
    uint8_t *journal;
    uint64_t journal_capacity;
    uint32_t number; // current transaction: objects compare their mark with it
    uint32_t port_count;
    uint64_t producers; // bit i: port i is one
    struct nt_port port[64];
    uint64_t crash_points; // passed so far
    uint64_t crash_at;     // die at this one; 0: never
    void (*crash)(void *); // what dying means: kill ourselves, or the simulator's longjmp
    void *crash_arg;
};

enum nt_arena_open_result {
    NT_ARENA_FRESH = 0,     // zeroed or not formatted: engine must init
    NT_ARENA_RECOVERED = 1, // valid; uncommitted changes rolled back
    NT_ARENA_BAD = -1,      // magic, version, layout or size are wrong, or the journal is damaged
};

uint64_t nt_arena_bytes(uint64_t body_bytes, uint64_t journal_bytes);
// Formats a zeroed region up to, but not including, `formatted`.
void nt_arena_format(void *base, uint32_t kind, uint32_t layout, uint64_t body_bytes,
                     uint64_t journal_bytes);
// Opens (formats if zeroed), rolls back if needed, and readies `txn` with no ports.
int nt_arena_open(struct nt_txn *txn, void *base, uint64_t bytes, uint32_t kind, uint32_t layout,
                  uint64_t body_bytes, uint64_t journal_bytes);
void *nt_arena_body(const struct nt_txn *txn);
// Marks the arena as complete: from now on it is recovered, not initialised.
void nt_arena_set_formatted(struct nt_txn *txn);
// Registers an end as port `port` (fixed numbers, the same in every generation). After a recovery
// the end's working index is set from the arena's cursor and published again; otherwise the cursor
// is set from the end. Returns -1 if the cursor cannot be right for that channel.
// Ports are added before nt_arena_set_formatted().
int nt_txn_add_producer(struct nt_txn *txn, uint32_t port, struct nt_producer *producer,
                        bool recovered);
int nt_txn_add_consumer(struct nt_txn *txn, uint32_t port, struct nt_consumer *consumer,
                        bool recovered);
// Journals [object, object + len) of the arena's body. Asserts that the journal has room: an engine
// looks at nt_txn_room() before it begins with an input. The ports' cursors have room of their own.
void nt_txn_touch(struct nt_txn *txn, void *object, uint64_t len);
// Commits and publishes; costs next to nothing if nothing was touched and no port moved.
void nt_txn_commit(struct nt_txn *txn);
// Undoes the open transaction: objects, and the ports' working indices.
void nt_txn_rollback(struct nt_txn *txn);
void nt_txn_crash_now(struct nt_txn *txn);

#ifndef NT_CDEF
_Static_assert(offsetof(struct nt_arena_header, journal_bytes) == 64,
               "commit word on its own line");
_Static_assert(offsetof(struct nt_arena_header, cursor) == 128, "layout");

// Journals an object at its first change in this transaction; `mark` is a field of the object.
static inline void nt_txn_touch_once(struct nt_txn *txn, uint32_t *mark, void *object, uint64_t len)
{
    if (*mark == txn->number)
        return;
    nt_txn_touch(txn, object, len);
    *mark = txn->number;
}

static inline uint64_t nt_txn_room(const struct nt_txn *txn)
{
    return txn->journal_capacity - txn->header->journal_bytes;
}

static inline void nt_txn_crash_point(struct nt_txn *txn)
{
    if (NT_UNLIKELY(++txn->crash_points == txn->crash_at))
        nt_txn_crash_now(txn);
}
#endif

#endif
