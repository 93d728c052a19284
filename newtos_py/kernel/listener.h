// listener.h: the region of one listening socket, shared by its TCP server and every process that
// accepts.
//
// Two sealed memfds:
//   ring    written by the TCP server, read-only to programs: header and entries
//   claims  written by both: one claim word an entry, and the acceptors' shared scan hint
//
// Entry i (free-running index, slot i & (entries - 1)) is filled, its claim word set to
// NT_CLAIM_OPEN(i), then `tail` published. An acceptor takes it by compare-and-swap of the claim
// word from OPEN(i) to TAKEN(i): exactly one wins. The server withdraws an entry whose connection
// died in the same way, and reuses an entry only when its claim word says TAKEN. Where a listener
// has exactly one acceptor the connection is already bound to a slot of its area (`slot`); claiming
// it needs no message at all.
#ifndef NT_KERNEL_LISTENER_H
#define NT_KERNEL_LISTENER_H

#include "newtos_py/kernel/area.h"

enum {
    NT_LISTENER_MAGIC = 0x4e544c53,
    NT_LISTENER_VERSION = 1,
    NT_LISTENER_ENTRIES_MAX = 4096,
    NT_LISTENER_ENTRIES_OFFSET = 4096,
};

struct nt_accept_entry {
    uint32_t area; // whose slot it is bound to
    uint32_t slot;
    uint32_t generation; // of the slot
    uint32_t pad;
    struct nt_endpoint peer;
    struct nt_endpoint local;
};

struct nt_listener_header {
    uint32_t magic;
    uint32_t version;
    uint32_t entries; // a power of two
    uint32_t backlog; // as listen() asked, capped
    uint32_t pad[12];
    uint32_t tail;   // entries published
    uint32_t closed; // 1: the socket is gone
    uint32_t pad2[14];
};

struct nt_listener_claims {
    uint32_t scan; // hint: entries before it are taken
    uint32_t pad[15];
    uint64_t claim[4096];
};

struct nt_listener {
    struct nt_listener_header *header;
    struct nt_accept_entry *entry;
    struct nt_listener_claims *claims;
    uint32_t entries; // private copy
};

uint64_t nt_listener_ring_bytes(uint32_t entries);
uint64_t nt_listener_claims_bytes(void);
void nt_listener_format(void *ring, void *claims, uint32_t entries, uint32_t backlog);
int nt_listener_open(struct nt_listener *listener, void *ring, void *claims, uint32_t entries);

// Server: entry `index` (free-running) may be filled: its claim word does not say that the entry a
// lap before is still open.
bool nt_listener_reusable(const struct nt_listener *listener, uint32_t index);
// Server: fills entry `index` and opens it; acceptors see it once the tail is published beyond it.
// To be repeated after a restart only for entries at or after the published tail.
void nt_listener_fill(struct nt_listener *listener, uint32_t index,
                      const struct nt_accept_entry *entry);
void nt_listener_publish(struct nt_listener *listener, uint32_t tail);
// Takes entry `index`, as an acceptor does or as the server does to withdraw it: true for exactly
// one.
bool nt_listener_take(struct nt_listener *listener, uint32_t index);
// True while nobody has taken entry `index`.
bool nt_listener_is_open(const struct nt_listener *listener, uint32_t index);

// Acceptor: claims the oldest open entry; true with a copy of it in *out. Never blocks, never spins
// long: each step either wins, or passes an entry that somebody else has taken.
bool nt_listener_claim(struct nt_listener *listener, struct nt_accept_entry *out);
// True if an unclaimed entry exists (level for poll).
bool nt_listener_has_open(const struct nt_listener *listener);

#ifndef NT_CDEF
#define NT_CLAIM_OPEN(i)  (((uint64_t)(uint32_t)(i) << 1) + 2)
#define NT_CLAIM_TAKEN(i) (((uint64_t)(uint32_t)(i) << 1) + 3)
_Static_assert(sizeof(struct nt_accept_entry) == 64, "one line");
#endif

#endif
