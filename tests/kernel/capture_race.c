// One driver and two observers share a capture ring that is far too small for the pace.
//
// Whatever an observer gets must be one whole frame, made from the number that it carries, and what
// it got and what it lost must add up to what was written. The driver goes on until both observers
// have got enough.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "newtos_py/kernel/capture.h"

enum {
    RING_BYTES = 16384,
    FRAMES_MAX = 20000000,
    FRAMES_WANTED = 2000,
    FRAME_MAX = 3000,
    OBSERVERS = 2,
};

static uint8_t *region;
static uint64_t written;   // set once, at the end
static uint32_t satisfied; // observers that have got enough

// Frames of all lengths, in two pieces that split at no particular place.
static uint32_t frame_len(uint64_t number) { return (uint32_t)(number * 7919 % FRAME_MAX); }
static uint8_t frame_byte(uint64_t number, uint32_t i) { return (uint8_t)(number * 31 + i); }

static void *drive(void *unused)
{
    (void)unused;
    struct nt_capture capture;
    if (nt_capture_open(&capture, region, nt_capture_bytes(RING_BYTES)) != 0)
        abort();
    uint8_t frame[FRAME_MAX];
    uint64_t number = 0;
    for (; number < FRAMES_MAX && nt_load_relaxed(&satisfied) < OBSERVERS; number++) {
        uint32_t len = frame_len(number);
        for (uint32_t i = 0; i < len; i++)
            frame[i] = frame_byte(number, i);
        uint32_t split = len / 3;
        struct nt_capture_piece pieces[] = {{frame, split}, {frame + split, len - split}};
        nt_capture_frame(&capture, number, NT_CAPTURE_OUT, pieces, 2);
    }
    nt_store_release(&written, number);
    return NULL;
}

static bool frame_is_whole(const struct nt_capture_record *record, const uint8_t *frame)
{
    if (record->time_ns != record->number || record->captured_bytes != frame_len(record->number))
        return false;
    for (uint32_t i = 0; i < record->captured_bytes; i++)
        if (frame[i] != frame_byte(record->number, i))
            return false;
    return true;
}

static void *observe(void *arg)
{
    struct nt_capture_reader *reader = arg;
    struct nt_capture_record record;
    uint8_t frame[FRAME_MAX];
    uint64_t seen = 0;
    for (;;) {
        uint64_t total = nt_load_acquire(&written);
        if (nt_capture_next(reader, &record, frame, sizeof(frame))) {
            if (!frame_is_whole(&record, frame)) {
                fprintf(stderr, "frame %llu is torn\n", (unsigned long long)record.number);
                return (void *)1;
            }
            if (++seen == FRAMES_WANTED)
                __atomic_fetch_add(&satisfied, 1u, __ATOMIC_RELAXED);
        } else if (total != 0) {
            // What was overwritten after the last frame read shows in no later number.
            uint64_t unseen = total - reader->number;
            if (seen >= FRAMES_WANTED && seen + reader->lost + unseen == total)
                return NULL;
            fprintf(stderr, "%llu seen, %llu lost, %llu unseen\n", (unsigned long long)seen,
                    (unsigned long long)reader->lost, (unsigned long long)unseen);
            return (void *)1;
        }
    }
}

int main(void)
{
    region = calloc(1, nt_capture_bytes(RING_BYTES));
    if (region == NULL)
        return 2;
    nt_capture_format(region, RING_BYTES);
    struct nt_capture_reader reader[OBSERVERS];
    pthread_t driver;
    pthread_t observer[OBSERVERS];
    for (int i = 0; i < OBSERVERS; i++)
        if (nt_capture_reader_open(&reader[i], region, nt_capture_bytes(RING_BYTES)) != 0 ||
            pthread_create(&observer[i], NULL, observe, &reader[i]) != 0)
            return 2;
    if (pthread_create(&driver, NULL, drive, NULL) != 0)
        return 2;
    int status = 0;
    for (int i = 0; i < OBSERVERS; i++) {
        void *failed;
        pthread_join(observer[i], &failed);
        status |= failed != NULL;
    }
    pthread_join(driver, NULL);
    free(region);
    return status;
}
