/* face.h: what Python sees of the kernel's C code, as the module newtos_py.kernel._kernel.
 *
 * This is a list: a header is added here when its declarations are for Python too. Each
 * hides from NT_CDEF what cffi cannot parse (the top meson.build says what that is).
 *
 * The nt_face functions are what headers offer inline, for Python: tests and rare messages use
 * them, hot paths never. */
#ifndef NT_KERNEL_FACE_H
#define NT_KERNEL_FACE_H

#include "newtos_py/kernel/area.h"
#include "newtos_py/kernel/arena.h"
#include "newtos_py/kernel/base.h"
#include "newtos_py/kernel/capture.h"
#include "newtos_py/kernel/channel.h"
#include "newtos_py/kernel/clock.h"
#include "newtos_py/kernel/control.h"
#include "newtos_py/kernel/desc.h"
#include "newtos_py/kernel/doorbell.h"
#include "newtos_py/kernel/engine.h"
#include "newtos_py/kernel/listener.h"
#include "newtos_py/kernel/loop.h"
#include "newtos_py/kernel/map.h"
#include "newtos_py/kernel/pool.h"
#include "newtos_py/kernel/process.h"
#include "newtos_py/kernel/regions.h"
#include "newtos_py/kernel/request.h"
#include "newtos_py/kernel/sched.h"
#include "newtos_py/kernel/status.h"

// capture.h
bool nt_face_capture_wanted(const struct nt_capture *capture, uint64_t now_ns);
// channel.h
uint32_t nt_face_producer_room(struct nt_producer *p, uint32_t wanted);
void *nt_face_producer_slot(struct nt_producer *p);
void nt_face_producer_publish(struct nt_producer *p);
uint32_t nt_face_consumer_pending(struct nt_consumer *c);
const void *nt_face_consumer_slot(const struct nt_consumer *c);
void nt_face_consumer_publish(struct nt_consumer *c);
// desc.h
uint32_t nt_face_desc_check(uint32_t index);
// doorbell.h
void nt_face_bells_mark(struct nt_bells *bells, uint32_t index);
// arena.h
uint64_t nt_face_txn_room(const struct nt_txn *txn);
// area.h
uint64_t nt_face_geometry(uint32_t base, uint32_t size_log2);
bool nt_face_geometry_valid(uint64_t geometry);
uint32_t nt_face_geometry_position(uint64_t geometry, uint32_t cursor);
bool nt_face_geometry_can_double(uint64_t geometry, uint32_t tail);
uint64_t nt_face_geometry_doubled(uint64_t geometry, uint32_t tail);
uint64_t nt_face_ring_offset(uint32_t slot, uint64_t geometry);
void nt_face_set_activity(struct nt_area *area, uint32_t slot);
void nt_face_set_ready(struct nt_area *area, uint32_t queue, uint32_t slot);

#endif
