// arena.c: the undo journal, the commit, and what a new generation makes of both.
//
// The journal is a stack of entries, each the old bytes followed by where they belong, so that it
// is read backwards from journal_bytes: an object journalled twice gets its oldest bytes last.
//     old bytes, padded to 8 | struct entry
// An entry counts from the store of journal_bytes on, and that store comes before the first change
// to the object. Rolling back stores nothing but old bytes until the journal is emptied, so dying
// in it and starting again ends the same.
//
// Only our own death is to be survived: another generation sees all stores of a dead process, so
// program order, kept by compiler barriers, is all that is needed.
#include "newtos_py/kernel/arena.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct entry {
    uint64_t offset; // of the object, from the arena's start
    uint64_t len;
};

enum {
    JOURNAL_OFFSET = NT_PAGE,
    // Room beyond the journal's capacity for the cursors of all ports, so that a commit cannot
    // fail.
    CURSOR_ENTRY_BYTES = 8 + sizeof(struct entry),
    CURSOR_RESERVE = NT_ARENA_PORTS * CURSOR_ENTRY_BYTES,
};
_Static_assert(sizeof(struct nt_arena_header) <= JOURNAL_OFFSET, "layout");
_Static_assert(NT_JOURNAL_ENTRY_BYTES == sizeof(struct entry) + 8, "layout");

static uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) & ~(unit - 1); }

static uint64_t body_offset(uint64_t journal_bytes)
{
    return round_up(JOURNAL_OFFSET + round_up(journal_bytes, 8) + CURSOR_RESERVE, NT_PAGE);
}

uint64_t nt_arena_bytes(uint64_t body_bytes, uint64_t journal_bytes)
{
    return body_offset(journal_bytes) + round_up(body_bytes, NT_PAGE);
}

void nt_arena_format(void *base, uint32_t kind, uint32_t layout, uint64_t body_bytes,
                     uint64_t journal_bytes)
{
    struct nt_arena_header *header = base;
    header->version = NT_ARENA_VERSION;
    header->layout = layout;
    header->kind = kind;
    header->bytes = nt_arena_bytes(body_bytes, journal_bytes);
    header->journal_offset = JOURNAL_OFFSET;
    header->journal_capacity = round_up(journal_bytes, 8);
    header->body_offset = body_offset(journal_bytes);
    nt_store_release(&header->magic, (uint32_t)NT_ARENA_MAGIC);
}

// 0 is the mark of an object that was never touched.
static uint32_t following(uint32_t number) { return number == UINT32_MAX ? 1 : number + 1; }

// After a commit, a rollback, or in a new generation: marks of earlier transactions mean nothing.
static void begin_next(struct nt_txn *txn)
{
    txn->number = following(txn->header->txn);
    txn->header->txn = txn->number;
    nt_compiler_barrier();
}

// Puts all journalled bytes back; -1 if an entry cannot be one of ours.
static int restore(struct nt_txn *txn)
{
    struct nt_arena_header *header = txn->header;
    uint64_t end = header->journal_bytes;
    if (end > txn->journal_capacity + CURSOR_RESERVE)
        return -1;
    while (end != 0) {
        if (end < sizeof(struct entry) || end % 8 != 0)
            return -1;
        struct entry entry;
        memcpy(&entry, txn->journal + end - sizeof(entry), sizeof(entry));
        end -= sizeof(entry);
        if (entry.len == 0 || entry.len > end || round_up(entry.len, 8) > end ||
            entry.offset > header->bytes - entry.len ||
            entry.offset < offsetof(struct nt_arena_header, cursor))
            return -1;
        end -= round_up(entry.len, 8);
        memcpy((uint8_t *)header + entry.offset, txn->journal + end, entry.len);
        nt_txn_crash_point(txn);
    }
    nt_compiler_barrier();
    header->journal_bytes = 0;
    nt_compiler_barrier();
    return 0;
}

static bool header_valid(const struct nt_arena_header *header, uint64_t body_bytes,
                         uint64_t journal_bytes)
{
    return header->version == NT_ARENA_VERSION &&
           header->bytes == nt_arena_bytes(body_bytes, journal_bytes) &&
           header->journal_offset == JOURNAL_OFFSET &&
           header->journal_capacity == round_up(journal_bytes, 8) &&
           header->body_offset == body_offset(journal_bytes);
}

int nt_arena_open(struct nt_txn *txn, void *base, uint64_t bytes, uint32_t kind, uint32_t layout,
                  uint64_t body_bytes, uint64_t journal_bytes)
{
    struct nt_arena_header *header = base;
    if (bytes < nt_arena_bytes(body_bytes, journal_bytes) ||
        (header->magic != 0 && header->magic != NT_ARENA_MAGIC))
        return NT_ARENA_BAD;
    int result = NT_ARENA_RECOVERED;
    if (header->magic == 0 || !header->formatted) {
        // An init that died half way left objects behind; a zeroed region is left untouched, so
        // that its pages are first used by whoever needs them.
        if (header->magic != 0)
            memset(base, 0, nt_arena_bytes(body_bytes, journal_bytes));
        nt_arena_format(base, kind, layout, body_bytes, journal_bytes);
        result = NT_ARENA_FRESH;
    }
    if (!header_valid(header, body_bytes, journal_bytes) || header->kind != kind ||
        header->layout != layout)
        return NT_ARENA_BAD;
    *txn = (struct nt_txn){
        .header = header,
        .journal = (uint8_t *)base + header->journal_offset,
        .journal_capacity = header->journal_capacity,
    };
    if (restore(txn) != 0)
        return NT_ARENA_BAD;
    begin_next(txn);
    return result;
}

void *nt_arena_body(const struct nt_txn *txn)
{
    return (uint8_t *)txn->header + txn->header->body_offset;
}

void nt_arena_set_formatted(struct nt_txn *txn)
{
    nt_compiler_barrier();
    txn->header->formatted = 1;
    nt_compiler_barrier();
}

static void add_port(struct nt_txn *txn, uint32_t port, struct nt_port end)
{
    nt_assert(port < NT_ARENA_PORTS);
    static const uint32_t nothing = 0;
    while (txn->port_count <= port) // numbers that are never given out don't move
        txn->port[txn->port_count++] = (struct nt_port){.working = &nothing};
    txn->port[port] = end;
    if (end.producer != NULL)
        txn->producers |= UINT64_C(1) << port;
}

int nt_txn_add_producer(struct nt_txn *txn, uint32_t port, struct nt_producer *producer,
                        bool recovered)
{
    nt_assert(port < NT_ARENA_PORTS);
    if (!recovered) {
        txn->header->cursor[port] = producer->tail;
    } else {
        uint32_t cursor = txn->header->cursor[port];
        if (cursor - producer->page->tail > producer->mask + 1)
            return -1;
        producer->tail = cursor;
        producer->cached_head = cursor - (producer->mask + 1);
        nt_producer_publish(producer);
    }
    add_port(txn, port,
             (struct nt_port){
                 .producer = producer, .working = &producer->tail, .published = producer->tail});
    return 0;
}

int nt_txn_add_consumer(struct nt_txn *txn, uint32_t port, struct nt_consumer *consumer,
                        bool recovered)
{
    nt_assert(port < NT_ARENA_PORTS);
    if (!recovered) {
        txn->header->cursor[port] = consumer->head;
    } else {
        uint32_t cursor = txn->header->cursor[port];
        if (cursor - consumer->page->head > consumer->mask + 1)
            return -1;
        consumer->head = cursor;
        consumer->cached_tail = cursor;
        nt_consumer_publish(consumer);
    }
    add_port(txn, port,
             (struct nt_port){
                 .consumer = consumer, .working = &consumer->head, .published = consumer->head});
    return 0;
}

static void push_entry(struct nt_txn *txn, const void *object, uint64_t len)
{
    struct nt_arena_header *header = txn->header;
    struct entry entry = {.offset = (uint64_t)((const uint8_t *)object - (const uint8_t *)header),
                          .len = len};
    uint64_t at = header->journal_bytes;
    uint64_t padded = round_up(len, 8);
    memcpy(txn->journal + at, object, len);
    memcpy(txn->journal + at + padded, &entry, sizeof(entry));
    nt_txn_crash_point(txn);
    nt_compiler_barrier();
    header->journal_bytes = at + padded + sizeof(entry);
    nt_compiler_barrier();
    nt_txn_crash_point(txn);
}

void nt_txn_touch(struct nt_txn *txn, void *object, uint64_t len)
{
    const struct nt_arena_header *header = txn->header;
    uint64_t offset = (uint64_t)((const uint8_t *)object - (const uint8_t *)header);
    nt_assert(len != 0 && len <= header->bytes && offset >= header->body_offset &&
              offset <= header->bytes - len);
    nt_assert(round_up(len, 8) + sizeof(struct entry) <= nt_txn_room(txn));
    push_entry(txn, object, len);
}

// Returns the ports that moved, a bit each.
static uint64_t journal_cursors(struct nt_txn *txn)
{
    uint64_t moved = 0;
    for (uint32_t i = 0; i < txn->port_count; i++) {
        uint32_t working = *txn->port[i].working;
        if (NT_LIKELY(working == txn->port[i].published))
            continue;
        moved |= UINT64_C(1) << i;
        push_entry(txn, &txn->header->cursor[i], sizeof(uint32_t));
        txn->header->cursor[i] = working;
    }
    return moved;
}

// Tails before heads: a peer that reuses the room which a head gives it must be able to find what
// came of the inputs it freed.
static void publish(struct nt_txn *txn, uint64_t moved)
{
    for (uint64_t left = moved & txn->producers; left != 0; left &= left - 1) {
        struct nt_port *port = &txn->port[__builtin_ctzll(left)];
        nt_producer_publish(port->producer);
        port->published = port->producer->tail;
        nt_txn_crash_point(txn);
    }
    for (uint64_t left = moved & ~txn->producers; left != 0; left &= left - 1) {
        struct nt_port *port = &txn->port[__builtin_ctzll(left)];
        nt_consumer_publish(port->consumer);
        port->published = port->consumer->head;
        nt_txn_crash_point(txn);
    }
}

void nt_txn_commit(struct nt_txn *txn)
{
    nt_txn_crash_point(txn);
    uint64_t moved = journal_cursors(txn);
    if (txn->header->journal_bytes == 0)
        return; // nothing was touched and no port moved
    nt_compiler_barrier();
    txn->header->journal_bytes = 0; // the commit
    nt_compiler_barrier();
    nt_txn_crash_point(txn);
    begin_next(txn);
    publish(txn, moved);
}

void nt_txn_rollback(struct nt_txn *txn)
{
    nt_assert(restore(txn) == 0);
    begin_next(txn);
    for (uint32_t i = 0; i < txn->port_count; i++) {
        struct nt_port *port = &txn->port[i];
        if (port->producer != NULL)
            port->producer->tail = port->published;
        else if (port->consumer != NULL)
            port->consumer->head = port->published;
    }
}

void nt_txn_crash_now(struct nt_txn *txn)
{
    if (txn->crash != NULL) {
        txn->crash(txn->crash_arg);
        return; // only where a test merely looks at what a death here would leave
    }
    (void)kill(getpid(), SIGKILL);
    abort();
}
