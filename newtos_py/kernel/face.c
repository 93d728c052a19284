// face.c: the headers' inline functions, as functions that cffi can call.
#include "newtos_py/kernel/face.h"

bool nt_face_capture_wanted(const struct nt_capture *capture, uint64_t now_ns)
{
    return nt_capture_wanted(capture, now_ns);
}

uint32_t nt_face_producer_room(struct nt_producer *p, uint32_t wanted)
{
    return nt_producer_room(p, wanted);
}

void *nt_face_producer_slot(struct nt_producer *p) { return nt_producer_slot(p); }
void nt_face_producer_publish(struct nt_producer *p) { nt_producer_publish(p); }
uint32_t nt_face_consumer_pending(struct nt_consumer *c) { return nt_consumer_pending(c); }
const void *nt_face_consumer_slot(const struct nt_consumer *c) { return nt_consumer_slot(c); }
void nt_face_consumer_publish(struct nt_consumer *c) { nt_consumer_publish(c); }
uint32_t nt_face_desc_check(uint32_t index) { return nt_desc_check(index); }
void nt_face_bells_mark(struct nt_bells *bells, uint32_t index) { nt_bells_mark(bells, index); }
uint64_t nt_face_txn_room(const struct nt_txn *txn) { return nt_txn_room(txn); }

uint64_t nt_face_geometry(uint32_t base, uint32_t size_log2)
{
    return nt_geometry(base, size_log2);
}
bool nt_face_geometry_valid(uint64_t geometry) { return nt_geometry_valid(geometry); }

uint32_t nt_face_geometry_position(uint64_t geometry, uint32_t cursor)
{
    return nt_geometry_position(geometry, cursor);
}

bool nt_face_geometry_can_double(uint64_t geometry, uint32_t tail)
{
    return nt_geometry_can_double(geometry, tail);
}

uint64_t nt_face_geometry_doubled(uint64_t geometry, uint32_t tail)
{
    return nt_geometry_double(geometry, tail);
}

uint64_t nt_face_ring_offset(uint32_t slot, uint64_t geometry)
{
    return nt_area_ring_offset(slot, geometry);
}

void nt_face_set_activity(struct nt_area *area, uint32_t slot) { nt_area_set_activity(area, slot); }

void nt_face_set_ready(struct nt_area *area, uint32_t queue, uint32_t slot)
{
    nt_area_set_ready(area, queue, slot);
}
