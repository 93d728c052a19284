// listener.c: filling, claiming and withdrawing accept entries.
//
// The claim word orders everything else. The server fills entry i while its word does not say open,
// then opens it; an acceptor copies the entry, then claims it. If the entry was reused while it was
// copied, the word says another index and the claim fails, so a torn copy is never used. The copy
// is made of single relaxed loads, because it may race with the server on purpose.
#include "newtos_py/kernel/listener.h"

typedef uint32_t __attribute__((may_alias)) word;
enum { ENTRY_WORDS = sizeof(struct nt_accept_entry) / sizeof(word) };

uint64_t nt_listener_ring_bytes(uint32_t entries)
{
    uint64_t bytes =
        NT_LISTENER_ENTRIES_OFFSET + (uint64_t)entries * sizeof(struct nt_accept_entry);
    return (bytes + NT_PAGE - 1) & ~(uint64_t)(NT_PAGE - 1);
}

uint64_t nt_listener_claims_bytes(void)
{
    return (sizeof(struct nt_listener_claims) + NT_PAGE - 1) & ~(uint64_t)(NT_PAGE - 1);
}

static bool entries_valid(uint32_t entries)
{
    return entries != 0 && entries <= NT_LISTENER_ENTRIES_MAX && (entries & (entries - 1)) == 0;
}

void nt_listener_format(void *ring, void *claims, uint32_t entries, uint32_t backlog)
{
    nt_assert(entries_valid(entries));
    (void)claims; // no entry is open when zero
    struct nt_listener_header *header = ring;
    header->version = NT_LISTENER_VERSION;
    header->entries = entries;
    header->backlog = backlog;
    nt_store_release(&header->magic, (uint32_t)NT_LISTENER_MAGIC);
}

int nt_listener_open(struct nt_listener *listener, void *ring, void *claims, uint32_t entries)
{
    struct nt_listener_header *header = ring;
    if (!entries_valid(entries) || nt_load_acquire(&header->magic) != NT_LISTENER_MAGIC ||
        header->version != NT_LISTENER_VERSION || header->entries != entries)
        return -1;
    *listener = (struct nt_listener){
        .header = header,
        .entry = (void *)((uint8_t *)ring + NT_LISTENER_ENTRIES_OFFSET),
        .claims = claims,
        .entries = entries,
        .design = header->design,
    };
    return 0;
}

static uint64_t *claim_word(const struct nt_listener *listener, uint32_t index)
{
    return &listener->claims->claim[index & (listener->entries - 1)];
}

static void copy_entry(struct nt_accept_entry *to, const struct nt_accept_entry *from)
{
    word *out = (word *)to;
    const word *in = (const word *)from;
    for (int i = 0; i < ENTRY_WORDS; i++)
        nt_store_relaxed(&out[i], nt_load_relaxed(&in[i]));
}

bool nt_listener_is_open(const struct nt_listener *listener, uint32_t index)
{
    return nt_load_acquire(claim_word(listener, index)) == nt_claim_word(NT_CLAIM_IS_OPEN, index);
}

bool nt_listener_reusable(const struct nt_listener *listener, uint32_t index)
{
    // Acceptors can write any word here; all but "open" frees the entry, at their own cost.
    return !nt_listener_is_open(listener, index - listener->entries);
}

void nt_listener_fill(struct nt_listener *listener, uint32_t index,
                      const struct nt_accept_entry *entry)
{
    copy_entry(&listener->entry[index & (listener->entries - 1)], entry);
    nt_store_release(claim_word(listener, index), nt_claim_word(NT_CLAIM_IS_OPEN, index));
}

void nt_listener_publish(struct nt_listener *listener, uint32_t tail)
{
    nt_store_release(&listener->header->tail, tail);
}

void nt_listener_share(struct nt_listener *listener, uint32_t until)
{
    nt_store_release(&listener->header->shared_until, until);
}

static bool replace_open(struct nt_listener *listener, uint32_t index, uint64_t by, uint64_t *found)
{
    *found = nt_claim_word(NT_CLAIM_IS_OPEN, index);
    return __atomic_compare_exchange_n(claim_word(listener, index), found, by, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

bool nt_listener_take(struct nt_listener *listener, uint32_t index, uint32_t area, uint32_t slot)
{
    uint64_t found;
    return replace_open(listener, index, nt_claim_taken(index, area, slot), &found);
}

bool nt_listener_withdraw(struct nt_listener *listener, uint32_t index)
{
    uint64_t found, ours = nt_claim_word(NT_CLAIM_IS_WITHDRAWN, index);
    return replace_open(listener, index, ours, &found) || found == ours;
}

bool nt_listener_is_withdrawn(const struct nt_listener *listener, uint32_t index)
{
    return nt_load_acquire(claim_word(listener, index)) ==
           nt_claim_word(NT_CLAIM_IS_WITHDRAWN, index);
}

bool nt_listener_taken_by(const struct nt_listener *listener, uint32_t index, uint32_t *area,
                          uint32_t *slot)
{
    uint64_t claim = nt_load_acquire(claim_word(listener, index));
    *area = (uint32_t)(claim >> NT_CLAIM_AREA_SHIFT) & 0xffff;
    *slot = (uint32_t)(claim >> NT_CLAIM_SLOT_SHIFT) & 0x1fff;
    return claim == nt_claim_taken(index, *area, *slot);
}

// Where to start looking: the shared hint, unless it cannot be.
static uint32_t scan_start(const struct nt_listener *listener, uint32_t tail)
{
    uint32_t scan = nt_load_relaxed(&listener->claims->scan);
    return tail - scan <= listener->entries ? scan : tail - listener->entries;
}

static void copy_offer(const struct nt_listener *listener, uint32_t index,
                       struct nt_accept_offer *out)
{
    out->index = index;
    copy_entry(&out->entry, &listener->entry[index & (listener->entries - 1)]);
}

// The first open entry; `tail`: there is none.
static uint32_t first_open(const struct nt_listener *listener, uint32_t tail)
{
    uint32_t i = scan_start(listener, tail);
    while (i != tail && !nt_listener_is_open(listener, i))
        i++;
    return i;
}

bool nt_listener_find(const struct nt_listener *listener, uint32_t area,
                      struct nt_accept_offer *out)
{
    uint32_t tail = nt_load_acquire(&listener->header->tail);
    uint32_t i = first_open(listener, tail);
    if (i == tail)
        return false;
    out->oldest = i;
    copy_offer(listener, i, out);
    for (uint32_t ahead = 1; out->entry.offered_to != area && ahead < NT_LISTENER_LOOK_AHEAD;
         ahead++) {
        uint32_t next = i + ahead;
        if (next == tail)
            break;
        const struct nt_accept_entry *entry = &listener->entry[next & (listener->entries - 1)];
        if (nt_listener_is_open(listener, next) && nt_load_relaxed(&entry->offered_to) == area)
            copy_offer(listener, next, out);
    }
    return true;
}

// The first open entry that is shared; `tail`: there is none. Without a look at any entry where
// none is.
static uint32_t first_shared(const struct nt_listener *listener, uint32_t tail, uint32_t until)
{
    uint32_t i = scan_start(listener, tail);
    while (i != tail && (int32_t)(i - until) < 0)
        if (nt_listener_is_open(listener, i++))
            return i - 1;
    return tail;
}

// The first open entry that is offered to who listens in `area`; `tail`: there is none. To whom an
// entry is offered never changes, so each acceptor looks at each entry once.
static uint32_t first_own(struct nt_listener *listener, uint32_t tail, uint32_t area)
{
    uint64_t seen = nt_load_relaxed(&listener->seen);
    uint32_t i = scan_start(listener, tail);
    if (seen >> 32 == area && (int32_t)((uint32_t)seen - i) > 0 &&
        (int32_t)(tail - (uint32_t)seen) >= 0)
        i = (uint32_t)seen;
    for (; i != tail; i++) {
        const struct nt_accept_entry *entry = &listener->entry[i & (listener->entries - 1)];
        if (nt_listener_is_open(listener, i) && nt_load_relaxed(&entry->offered_to) == area)
            break;
    }
    nt_store_relaxed(&listener->seen, (uint64_t)area << 32 | i);
    return i;
}

static uint32_t first_in(struct nt_listener *listener, enum nt_listener_scope scope, uint32_t area,
                         uint32_t tail)
{
    if (scope == NT_LISTENER_ANY)
        return first_open(listener, tail);
    uint32_t until = nt_load_acquire(&listener->header->shared_until);
    uint32_t i = first_shared(listener, tail, until);
    return scope == NT_LISTENER_SHARED || i != tail ? i : first_own(listener, tail, area);
}

bool nt_listener_find_in(struct nt_listener *listener, enum nt_listener_scope scope, uint32_t area,
                         struct nt_accept_offer *out)
{
    if (scope == NT_LISTENER_ANY)
        return nt_listener_find(listener, area, out);
    uint32_t tail = nt_load_acquire(&listener->header->tail);
    uint32_t i = first_in(listener, scope, area, tail);
    if (i == tail)
        return false;
    // Others' entries were passed over that may be open: a few at a time keep the hint going.
    out->oldest = scan_start(listener, tail);
    for (uint32_t ahead = 0; ahead < NT_LISTENER_LOOK_AHEAD && out->oldest != i &&
                             !nt_listener_is_open(listener, out->oldest);
         ahead++)
        out->oldest++;
    copy_offer(listener, i, out);
    return true;
}

bool nt_listener_claim(struct nt_listener *listener, const struct nt_accept_offer *offer,
                       uint32_t area, uint32_t slot)
{
    if (!nt_listener_take(listener, offer->index, area, slot))
        return false;
    // All before `oldest` were seen taken, and none of them opens again under its index.
    uint32_t taken = offer->index == offer->oldest ? offer->oldest + 1 : offer->oldest;
    nt_store_relaxed(&listener->claims->scan, taken);
    return true;
}

bool nt_listener_has_open(const struct nt_listener *listener)
{
    uint32_t tail = nt_load_acquire(&listener->header->tail);
    return first_open(listener, tail) != tail;
}

bool nt_listener_has_open_in(struct nt_listener *listener, enum nt_listener_scope scope,
                             uint32_t area)
{
    uint32_t tail = nt_load_acquire(&listener->header->tail);
    return first_in(listener, scope, area, tail) != tail;
}

bool nt_listener_oldest(const struct nt_listener *listener, uint32_t *offered_us)
{
    uint32_t tail = nt_load_acquire(&listener->header->tail);
    uint32_t i = first_open(listener, tail);
    *offered_us = nt_load_relaxed(&listener->entry[i & (listener->entries - 1)].offered_us);
    return i != tail;
}
