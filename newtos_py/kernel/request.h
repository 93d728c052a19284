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
    NT_REQ_UNLISTEN = 3, // area, slot, generation, arg = 1: for every acceptor -> arg = 1: others
                         // still hold the listener
    NT_REQ_AREA_DEAD =
        4, // area: its program is gone; reset or finish its connections. Answered when drained
    NT_REQ_AREA_NEW = 5,  // area, slot = whose it is, a number of the program (0: it has no other),
                          // arg = its pid, for observers: mapped now; grant slots
    NT_REQ_MOVE = 6,      // area, slot, generation, arg = to which area -> area, slot, generation
    NT_REQ_MOVED = 7,     // area, slot, generation (those that MOVE answered) -> error
    NT_REQ_JOIN = 8,      // area, arg = listener number -> area, slot, generation of its own
    NT_REQ_HOLD = 9,      // arg = listener number, options = 1: hold it, 0: no longer
    NT_REQ_MAY_BIND = 10, // endpoint, options -> endpoint, error: as BIND would answer
};

// Areas. A program may have several: what is offered to its listening socket is bound to a slot of
// any of them, and a listener knows it as one member.
//
// Listeners. A listener belongs to all its members: the slot that LISTEN named, and one slot a
// further area that JOINed (asked again for the same area, JOIN answers the same). A member leaves
// by UNLISTEN, by NT_CONTROL_CLOSE in its slot, or when its area dies. The listener ends with its
// last member, unless it is held: HOLD stands for processes that inherited the socket and have not
// looked at it yet. UNLISTEN is answered at once if others hold the listener (arg 1), else when
// nothing is left of it. With arg 1 (shutdown(2)) it ends for all: `closed` in the region's header
// says so, and each member's slot becomes GRANTED. The HOLD that lets go of one without members
// is answered when nothing is left, too.
//
// Lanes. With several TCP servers, a socket is bound in the lane that its slot is in, after the
// others were asked whether it MAY_BIND there, too; and it listens in all of them, as a listener of
// its own in each, with a member's slot each: JOIN with an endpoint makes one where there is none
// of that number (options: those of the slot).
//
// Errors: EBADF: no such slot, area or listener; ENOBUFS: no slot is left in the area.

// Moving a socket to another area, whoever of both programs does what meanwhile. Two steps, because
// a server cannot write the program side of an area; the requester, who can, writes it in between.
//
//   MOVE   takes a slot of area `arg` for the socket (a connection in any state, a listening or
//          bound socket) and freezes it: the old slot's server block shows another generation (and
//          `events` moves on, so that whoever sleeps on the old slot looks), its program block is
//          not read again; nothing is sent for the connection, and what arrives may be dropped.
//          The old slot stays the old program's, its memory as it is, until that sets
//          NT_CONTROL_CLOSE there (under the old generation) or its area dies.
//   then   the requester freezes the old program block (nt_slot_freeze), copies the program block
//   from the old slot to the new one (generation:
//          the new; queue: 0; cursors: as frozen) and the TX ring's bytes from tx_head to tx_tail
//          under the same geometry, at the same cursors.
//   MOVED  copies what lies unread in the RX ring from rx_head (of the new program block) on, and
//          what waits out of order; publishes the server block of the new slot, with the cursors,
//          names, state and flags that the old one had; and goes on from there. 0; EBADF: no such
//          slot is being moved (also if the connection ended meanwhile and the slot is free).
//
// If the new area dies in between, the connection goes as with any other area. ENOBUFS: no slot is
// left in area `arg`; EBADF: the old slot is free or of another generation. Both steps may be asked
// for twice, with another number: MOVE of what is being moved to the same area answers the same.

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
