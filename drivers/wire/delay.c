// delay.c: see delay.h. Why C: it runs for every frame of a wire with latency.
#include "drivers/wire/delay.h"

void nt_delay_init(struct nt_delay_queue *queue, const struct nt_delayed_frame *record)
{
    queue->record = record;
    queue->count = 0;
}

static bool before(const struct nt_delay_queue *queue, uint32_t a, uint32_t b)
{
    const struct nt_delayed_frame *left = &queue->record[queue->heap[a]];
    const struct nt_delayed_frame *right = &queue->record[queue->heap[b]];
    if (left->due_ns != right->due_ns)
        return left->due_ns < right->due_ns;
    return left->order < right->order;
}

static void swap(struct nt_delay_queue *queue, uint32_t a, uint32_t b)
{
    uint32_t buffer = queue->heap[a];
    queue->heap[a] = queue->heap[b];
    queue->heap[b] = buffer;
}

void nt_delay_push(struct nt_delay_queue *queue, uint32_t buffer)
{
    nt_assert(queue->count < NT_BUFFERS_MAX);
    uint32_t at = queue->count++;
    queue->heap[at] = buffer;
    while (at != 0 && before(queue, at, (at - 1) / 2)) {
        swap(queue, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

int64_t nt_delay_first(const struct nt_delay_queue *queue)
{
    return queue->count == 0 ? INT64_C(-1) : (int64_t)queue->heap[0];
}

void nt_delay_pop(struct nt_delay_queue *queue)
{
    nt_assert(queue->count != 0);
    queue->heap[0] = queue->heap[--queue->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < queue->count; child++)
            if (before(queue, child, least))
                least = child;
        if (least == at)
            return;
        swap(queue, at, least);
        at = least;
    }
}

bool nt_delay_ordered(const struct nt_delay_queue *queue)
{
    for (uint32_t at = 1; at < queue->count; at++)
        if (before(queue, at, (at - 1) / 2))
            return false;
    return true;
}
