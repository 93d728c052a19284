// control.h: messages between a program (its shim) and the syscall server.
//
// One SOCK_SEQPACKET connection a program, made when the shim is loaded and kept; admission by
// SO_PEERCRED. Requests and replies are one struct nt_control_message each, strictly in turn;
// descriptors travel beside it by SCM_RIGHTS. Errors are positive errno values in `error`.
//
//   kind       in (descriptors)                        out (descriptors)
//   HELLO      -                                       text: host name
//   ATTACH     protocol (6/17)                         area number, slots (program side rw, server
//   side ro,
//                                                      hint side rw, server's doorbell, server's
//                                                      status page ro)
//   QUEUE      queue number (eventfd)                  -            known to every server of this
//   program BIND       protocol, slot, generation, local,      local        as chosen
//              options
//   LISTEN     slot, generation, backlog               entries (listener ring ro, claims rw)
//   RESOLVE    text: name; arg: address family         text: numeric addresses, one a line
//   IFADDRS    -                                       text: "name address/prefix flags mtu", one a
//   line UNLISTEN   slot, generation                        -            the listening socket is
//   closed
#ifndef NT_KERNEL_CONTROL_H
#define NT_KERNEL_CONTROL_H

#include "newtos_py/kernel/area.h"

enum nt_control_kind {
    NT_CTL_HELLO = 1,
    NT_CTL_ATTACH = 2,
    NT_CTL_QUEUE = 3,
    NT_CTL_BIND = 4,
    NT_CTL_LISTEN = 5,
    NT_CTL_RESOLVE = 6,
    NT_CTL_IFADDRS = 7,
    NT_CTL_UNLISTEN = 8,
};

enum {
    NT_CTL_MAGIC = 0x4e544354,
    NT_CTL_VERSION = 1,
    NT_CTL_TEXT_BYTES = 3968,
    NT_CTL_FDS_MAX = 8,
};

struct nt_control_message {
    uint32_t magic;
    uint16_t version;
    uint16_t kind;     // enum nt_control_kind
    uint32_t number;   // of the request; the reply repeats it
    uint32_t error;    // reply: 0 or an errno
    uint32_t protocol; // 6 or 17
    uint32_t area;
    uint32_t slot;
    uint32_t generation;
    uint32_t arg;     // backlog, slots, queue, entries, family
    uint32_t options; // enum nt_slot_options
    struct nt_endpoint endpoint;
    uint32_t text_bytes; // of text, which follows
    uint32_t pad[15];
    char text[3968]; // NT_CTL_TEXT_BYTES
};

#ifndef NT_CDEF
_Static_assert(sizeof(struct nt_control_message) == 4096, "one page");
#endif

#endif
