// delay.h: frames on their way: received, and due later.
//
// A binary heap in private memory, ordered by (due time, order of arrival), over records that stand
// in the arena, one for each of our buffers. It needs no bound of its own: a frame in it occupies a
// buffer. After a restart it is rebuilt from the buffers that are DELAYED.
//
// A record is written only while its buffer is not yet DELAYED, and read only while it is, so it
// needs no journal: if the change of state is rolled back, nobody looks at the record.
#ifndef NT_WIRE_DELAY_H
#define NT_WIRE_DELAY_H

#include "newtos_py/net/uplink.h"

struct nt_delayed_frame { // in the arena
    uint64_t due_ns;
    uint64_t order;
    struct nt_uplink_frame frame;
};

struct nt_delay_queue {
    const struct nt_delayed_frame *record;
    uint32_t count;
    uint32_t heap[1024]; // buffer indices
};

void nt_delay_init(struct nt_delay_queue *queue, const struct nt_delayed_frame *record);
// The buffer's record has been filled.
void nt_delay_push(struct nt_delay_queue *queue, uint32_t buffer);
// The buffer with the earliest frame, which stays; -1 if the queue is empty.
int64_t nt_delay_first(const struct nt_delay_queue *queue);
void nt_delay_pop(struct nt_delay_queue *queue);
// True if every parent comes before its children.
bool nt_delay_ordered(const struct nt_delay_queue *queue);

#endif
