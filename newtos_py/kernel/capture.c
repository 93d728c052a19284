// capture.c: the capture ring's two ends.
//
// The ring is copied word by word with relaxed atomics on both sides: a reader may copy a record
// while it is overwritten, and throws such a copy away afterwards.
#include "newtos_py/kernel/capture.h"

#define HEADER_OFFSET NT_PAGE
#define RING_OFFSET   (2 * (size_t)NT_PAGE)

enum { WORD = 8 };

static uint64_t round_up_to_word(uint64_t bytes)
{
    return (bytes + WORD - 1) & ~(uint64_t)(WORD - 1);
}

static bool capacity_valid(uint64_t capacity)
{
    return capacity >= NT_PAGE && capacity <= UINT64_C(1) << 40 && (capacity & (capacity - 1)) == 0;
}

uint64_t nt_capture_bytes(uint64_t capacity) { return RING_OFFSET + capacity; }

void nt_capture_format(void *base, uint64_t capacity)
{
    nt_assert(capacity_valid(capacity));
    struct nt_capture_header *header = (void *)((uint8_t *)base + HEADER_OFFSET);
    header->version = NT_CAPTURE_VERSION;
    header->capacity = capacity;
    nt_store_release(&header->magic, (uint32_t)NT_CAPTURE_MAGIC);
}

// The ring's capacity, or 0 if this is no capture region.
static uint64_t checked_capacity(const struct nt_capture_header *header, uint64_t bytes)
{
    if (bytes < RING_OFFSET || nt_load_acquire(&header->magic) != NT_CAPTURE_MAGIC ||
        header->version != NT_CAPTURE_VERSION)
        return 0;
    uint64_t capacity = nt_load_relaxed(&header->capacity);
    return capacity_valid(capacity) && nt_capture_bytes(capacity) <= bytes ? capacity : 0;
}

// -- The driver --------------------------------------------------------------------------------

int nt_capture_open(struct nt_capture *capture, void *base, uint64_t bytes)
{
    struct nt_capture_header *header = (void *)((uint8_t *)base + HEADER_OFFSET);
    uint64_t capacity = checked_capacity(header, bytes);
    if (capacity == 0)
        return -1;
    *capture = (struct nt_capture){
        .control = base,
        .header = header,
        .ring = (uint8_t *)base + RING_OFFSET,
        .mask = capacity - 1,
    };
    return 0;
}

// Where the driver writes, and the bytes of a word that is not full yet.
struct writer {
    struct nt_capture *capture;
    uint64_t position;
    uint64_t left; // bytes that may still be written
    uint8_t word[WORD];
    uint32_t filled;
};

static void put_word(struct writer *writer, const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, WORD);
    uint8_t *slot = writer->capture->ring + (writer->position & writer->capture->mask);
    nt_store_relaxed((uint64_t *)(void *)slot, word);
    writer->position += WORD;
}

static void put(struct writer *writer, const void *bytes, uint64_t len)
{
    const uint8_t *from = bytes;
    len = nt_min_u64(len, writer->left);
    writer->left -= len;
    while (len != 0) {
        if (writer->filled == 0 && len >= WORD) {
            put_word(writer, from);
            from += WORD;
            len -= WORD;
            continue;
        }
        writer->word[writer->filled++] = *from++;
        len--;
        if (writer->filled == WORD) {
            put_word(writer, writer->word);
            writer->filled = 0;
        }
    }
}

static void put_padding(struct writer *writer)
{
    if (writer->filled == 0)
        return;
    memset(writer->word + writer->filled, 0, WORD - writer->filled);
    put_word(writer, writer->word);
}

static uint64_t bytes_to_capture(const struct nt_capture *capture, uint64_t original)
{
    // Half of the ring at most, so that a reader always has a whole record behind it.
    uint64_t most =
        nt_min_u64(NT_CAPTURE_SNAP_MAX, (capture->mask + 1) / 2 - sizeof(struct nt_capture_record));
    uint32_t snap = nt_load_relaxed(&capture->control->snap_bytes);
    if (snap != 0)
        most = nt_min_u64(most, snap);
    return nt_min_u64(original, most);
}

void nt_capture_frame(struct nt_capture *capture, uint64_t now_ns, uint32_t direction,
                      const struct nt_capture_piece *pieces, uint32_t count)
{
    struct nt_capture_header *header = capture->header;
    uint64_t original = 0;
    for (uint32_t i = 0; i < count; i++)
        original += pieces[i].len;
    uint64_t captured = bytes_to_capture(capture, original);
    struct nt_capture_record record = {
        .position = header->head,
        .number = header->records,
        .time_ns = now_ns,
        .captured_bytes = (uint32_t)captured,
        .original_bytes = (uint32_t)nt_min_u64(original, UINT32_MAX),
        .direction = direction,
    };
    uint64_t end = record.position + sizeof(record) + round_up_to_word(captured);
    nt_store_relaxed(&header->reserved, end);
    nt_fence();
    struct writer writer = {
        .capture = capture,
        .position = record.position,
        .left = sizeof(record) + captured,
    };
    put(&writer, &record, sizeof(record));
    for (uint32_t i = 0; i < count; i++)
        put(&writer, pieces[i].bytes, pieces[i].len);
    put_padding(&writer);
    nt_store_relaxed(&header->records, record.number + 1);
    nt_store_release(&header->head, end);
}

// -- An observer -------------------------------------------------------------------------------

int nt_capture_reader_open(struct nt_capture_reader *reader, void *base, uint64_t bytes)
{
    const struct nt_capture_header *header = (void *)((uint8_t *)base + HEADER_OFFSET);
    uint64_t capacity = checked_capacity(header, bytes);
    if (capacity == 0)
        return -1;
    *reader = (struct nt_capture_reader){
        .control = base,
        .header = header,
        .ring = (const uint8_t *)base + RING_OFFSET,
        .mask = capacity - 1,
    };
    // Loaded after the head, so it may be that of a later record, but never of an earlier one:
    // then nothing counts as lost that was written before this call.
    reader->position = nt_load_acquire(&header->head);
    reader->number = nt_load_relaxed(&header->records);
    return 0;
}

void nt_capture_renew(struct nt_capture_reader *reader, uint64_t now_ns, uint64_t until_ns,
                      uint32_t snap_bytes)
{
    struct nt_capture_control *control = reader->control;
    uint64_t others_until = nt_load_relaxed(&control->until_ns);
    if (now_ns < others_until) {
        uint32_t snap = nt_load_relaxed(&control->snap_bytes);
        snap_bytes = snap == 0 || snap_bytes == 0 ? 0 : nt_max_u32(snap, snap_bytes);
        until_ns = until_ns > others_until ? until_ns : others_until;
    }
    nt_store_relaxed(&control->snap_bytes, snap_bytes);
    nt_store_relaxed(&control->until_ns, until_ns);
}

static void get(const struct nt_capture_reader *reader, uint64_t position, void *out, uint64_t len)
{
    uint8_t *to = out;
    for (uint64_t done = 0; done < len; done += WORD) {
        const uint8_t *slot = reader->ring + ((position + done) & reader->mask);
        uint64_t word = nt_load_relaxed((const uint64_t *)(const void *)slot);
        memcpy(to + done, &word, nt_min_u64(WORD, len - done));
    }
}

// Copies the record at the reader's position, if it is one and stayed whole; its end, or 0.
static uint64_t copy_record(const struct nt_capture_reader *reader, uint64_t head,
                            struct nt_capture_record *record, void *out, uint64_t out_bytes)
{
    get(reader, reader->position, record, sizeof(*record));
    uint64_t end = reader->position + sizeof(*record) + round_up_to_word(record->captured_bytes);
    if (record->position != reader->position || end > head)
        return 0;
    get(reader, reader->position + sizeof(*record), out,
        nt_min_u64(record->captured_bytes, out_bytes));
    nt_fence();
    uint64_t reserved = nt_load_relaxed(&reader->header->reserved);
    return reserved - reader->position <= reader->mask + 1 ? end : 0;
}

bool nt_capture_next(struct nt_capture_reader *reader, struct nt_capture_record *record, void *out,
                     uint64_t out_bytes)
{
    uint64_t head = nt_load_acquire(&reader->header->head);
    if (head == reader->position)
        return false;
    uint64_t end = copy_record(reader, head, record, out, out_bytes);
    if (end == 0) {
        // Lapped. How many records that cost shows in the number of the next one.
        reader->position = head;
        return false;
    }
    if (record->number > reader->number)
        reader->lost += record->number - reader->number;
    reader->number = record->number + 1;
    reader->position = end;
    return true;
}
