// listener.h: the region of one listening socket, shared by its TCP server and every process that
// accepts.
//
// Two sealed memfds:
//   ring    written by the TCP server, read-only to programs: header and entries
//   claims  written by both: one claim word an entry, and the acceptors' shared scan hint
//
// Entry i (free-running index, slot i & (entries - 1)) is filled, its claim word set to
// NT_CLAIM_OPEN(i), then `tail` published. An acceptor takes it by compare-and-swap of the claim
// word from OPEN(i) to TAKEN(i, area, slot): exactly one wins. An index never opens twice.
//
// Every entry's connection is bound to a slot already, of the acceptor that the server chose and
// told (docs/decisions/0008); an acceptor is known by the area that its listening slot is in, the
// connection may be in another one of its areas. That acceptor claims it with just this slot, which
// is all: with a single acceptor no claim needs a message. Another acceptor may take it as well: it
// takes a granted slot of its own area first, names it in the claim word, and asks for the
// connection with NT_MAIL_ACCEPT in that slot; the server then moves it there. Until then the new
// slot looks like a connection on which nothing has arrived.
//
// The server withdraws an entry whose listener ends, or whose acceptor leaves, with a claim of its
// own, and reuses an entry only when its claim word does not say that the one a lap before is open.
// Entries that a process claimed and died over, before its claim was seen, and those whose acceptor
// has left, are entered again under a new index.
//
// A claim word is input: who writes a wrong one, naming a slot that is not granted, costs the
// connection, and nothing else. One of a program that is not a member is void.
#ifndef NT_KERNEL_LISTENER_H
#define NT_KERNEL_LISTENER_H

#include "newtos_py/kernel/area.h"

enum {
    NT_LISTENER_MAGIC = 0x4e544c53,
    NT_LISTENER_VERSION = 5,
    NT_LISTENER_ENTRIES_MAX = 4096,
    NT_LISTENER_ENTRIES_OFFSET = 4096,
    // How far beyond the oldest open entry an acceptor looks for one that is bound to it: entries
    // are overtaken by so many at most, and a claim costs no more however many are open.
    NT_LISTENER_LOOK_AHEAD = 8,
};

// Where accept() looks, and in which order (libc_shim/sockets/accept_order.h); whom the TCP server
// offers a connection to and wakes (servers/tcp/choose.h).
enum nt_listen_design {
    NT_LISTEN_FINE = 0,
    NT_LISTEN_AFFINITY = 1,
    NT_LISTEN_STOCK = 2,
    NT_LISTEN_REUSEPORT = 3,
    NT_LISTEN_FASTSOCKET = 4,
};

enum nt_listener_scope { // which entries an acceptor looks at
    NT_LISTENER_ANY = 0,
    NT_LISTENER_SHARED = 1, // those before `shared_until`
    NT_LISTENER_OWN = 2,    // and those that are offered to it
};

// A listening socket's word `accepting` (area.h): where its program accepts. 0: nowhere yet.
enum nt_accepting {
    NT_ACCEPTING = 1,
    NT_ACCEPTING_BUSY = 2,       // the lane of its core was busy when it looked last
    NT_ACCEPTING_CORE_SHIFT = 2, // then its core + 1; 0: it does not know
};

struct nt_accept_entry {
    uint16_t area;       // whose slot it is bound to
    uint16_t offered_to; // the area that listens, of the program whose slot it is
    uint32_t slot;
    uint32_t generation; // of the slot
    uint32_t offered_us; // when, by the server's clock: tells which of two lanes' is older
    struct nt_endpoint peer;
    struct nt_endpoint local;
};

struct nt_listener_header {
    uint32_t magic;
    uint32_t version;
    uint32_t entries; // a power of two
    uint32_t backlog; // as listen() asked, capped
    uint32_t number;  // of the listener, once it listens
    uint32_t design;  // enum nt_listen_design
    uint32_t core;    // that the TCP server runs on, once it listens
    uint32_t pad[9];
    uint32_t tail;   // entries published
    uint32_t closed; // 1: the socket is gone
    uint32_t busy;   // 1: its accept queue has been long (servers/tcp/busy.h)
    // Entries before it are anybody's, also where the design says that others are not.
    uint32_t shared_until;
    uint32_t pad2[12];
};

struct nt_listener_claims {
    uint32_t scan; // hint: entries before it are taken
    uint32_t pad[15];
    // By processes of other lanes, while this one was busy; by the thief's lane. For counting.
    uint32_t stolen_by[16];
    uint64_t claim[4096];
};

struct nt_listener {
    struct nt_listener_header *header;
    struct nt_accept_entry *entry;
    struct nt_listener_claims *claims;
    uint32_t entries; // private copies
    uint32_t design;  // enum nt_listen_design
    // Acceptor, scope OWN: area << 32 | index; what lies before is taken, or not that area's.
    uint64_t seen;
};

struct nt_accept_offer { // what an acceptor found
    struct nt_accept_entry entry;
    uint32_t index;
    uint32_t oldest; // the first open entry when it looked
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
// Server: entries before `until` are anybody's.
void nt_listener_share(struct nt_listener *listener, uint32_t until);
// Takes entry `index` for a slot, as an acceptor does: true for exactly one.
bool nt_listener_take(struct nt_listener *listener, uint32_t index, uint32_t area, uint32_t slot);
// Server: withdraws it; true also if it has been withdrawn before (by an earlier generation).
bool nt_listener_withdraw(struct nt_listener *listener, uint32_t index);
// True while nobody has taken entry `index`.
bool nt_listener_is_open(const struct nt_listener *listener, uint32_t index);
// True if the server has withdrawn entry `index`.
bool nt_listener_is_withdrawn(const struct nt_listener *listener, uint32_t index);
// Who has taken entry `index`: true, with area and slot as the claim word says; false if it is
// open, withdrawn, or its word says something else.
bool nt_listener_taken_by(const struct nt_listener *listener, uint32_t index, uint32_t *area,
                          uint32_t *slot);

// Acceptor: finds an open entry for who listens in `area`: one of the oldest that is offered to it,
// or else the oldest. False: there is none. Never blocks.
bool nt_listener_find(const struct nt_listener *listener, uint32_t area,
                      struct nt_accept_offer *out);
// The oldest open entry of a scope.
bool nt_listener_find_in(struct nt_listener *listener, enum nt_listener_scope scope, uint32_t area,
                         struct nt_accept_offer *out);
// Acceptor: claims it; false: somebody else was faster, so look again. `slot` is the entry's own
// where that is of `area`, else a granted slot.
bool nt_listener_claim(struct nt_listener *listener, const struct nt_accept_offer *offer,
                       uint32_t area, uint32_t slot);
// True if an unclaimed entry exists (level for poll).
bool nt_listener_has_open(const struct nt_listener *listener);
bool nt_listener_has_open_in(struct nt_listener *listener, enum nt_listener_scope scope,
                             uint32_t area);
// True if there is an unclaimed entry: since when, in the server's microseconds.
bool nt_listener_oldest(const struct nt_listener *listener, uint32_t *offered_us);

#ifndef NT_CDEF
// Whether entry `index` is anybody's.
static inline bool nt_listener_is_shared(const struct nt_listener *listener, uint32_t index)
{
    return (int32_t)(index - nt_load_acquire(&listener->header->shared_until)) < 0;
}

enum nt_claim_kind { // low two bits of a claim word
    NT_CLAIM_NONE = 0,
    NT_CLAIM_IS_OPEN = 1,
    NT_CLAIM_IS_TAKEN = 2,
    NT_CLAIM_IS_WITHDRAWN = 3,
};
// Then 32 bits of index, 16 of area, 13 of slot.
enum { NT_CLAIM_INDEX_SHIFT = 2, NT_CLAIM_AREA_SHIFT = 34, NT_CLAIM_SLOT_SHIFT = 50 };
static inline uint64_t nt_claim_word(enum nt_claim_kind kind, uint32_t index)
{
    return (uint64_t)index << NT_CLAIM_INDEX_SHIFT | (uint64_t)kind;
}
static inline uint64_t nt_claim_taken(uint32_t index, uint32_t area, uint32_t slot)
{
    return nt_claim_word(NT_CLAIM_IS_TAKEN, index) |
           (uint64_t)(area & 0xffff) << NT_CLAIM_AREA_SHIFT |
           (uint64_t)(slot & 0x1fff) << NT_CLAIM_SLOT_SHIFT;
}
_Static_assert(sizeof(struct nt_accept_entry) == 64, "one line");
_Static_assert(NT_AREA_SLOTS_MAX == 0x2000, "slots fit a claim word");
_Static_assert(offsetof(struct nt_listener_header, tail) == 64, "tail on its own line");
#endif

#endif
