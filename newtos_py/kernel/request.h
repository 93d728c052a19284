// request.h: requests of the syscall server to a TCP or UDP server, inline in
// NT_DESC_REQUEST/REPLY.
//
// Each is numbered; a server keeps the last reply a requester got (in its arena), so that a request
// repeated after a restart of either is answered and not done twice. `generation` is the slot's, so
// that a request about a slot that has been reused meanwhile is refused (EBADF).
#ifndef NT_KERNEL_REQUEST_H
#define NT_KERNEL_REQUEST_H

#include "newtos_py/kernel/area.h"

enum nt_server_request_kind {
    NT_REQ_BIND = 1, // area, slot, generation, endpoint, options -> endpoint, error
    NT_REQ_LISTEN =
        2, // area, slot, generation, arg = listener number; region already mapped -> error
    NT_REQ_UNLISTEN = 3, // area, slot, generation
    NT_REQ_AREA_DEAD =
        4, // area: its program is gone; reset or finish its connections. Answered when drained
    NT_REQ_AREA_NEW = 5, // area, arg = the program's pid, for observers: mapped now; grant slots
};

struct nt_request {
    uint32_t number;
    uint16_t kind; // enum nt_server_request_kind
    uint16_t area;
    uint32_t slot;
    uint32_t generation;
    uint32_t arg;
    uint32_t options; // enum nt_slot_options
    uint32_t error;   // reply: 0 or an errno
    uint32_t pad;
    struct nt_endpoint endpoint;
};

#ifndef NT_CDEF
_Static_assert(sizeof(struct nt_request) == 56, "fits a descriptor's inline bytes");
#endif

#endif
