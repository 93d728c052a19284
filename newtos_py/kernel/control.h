// control.h: messages between a program (its shim) and the syscall server.
//
// One SOCK_SEQPACKET connection a program, made when the shim is loaded and kept; admission by
// SO_PEERCRED. Requests and replies are one struct nt_control_message each, strictly in turn;
// descriptors travel beside it by SCM_RIGHTS. Errors are positive errno values in `error`.
//
//   kind       in (descriptors)                        out (descriptors)
//   HELLO      arg: the program's pid (a pidfd of it;   text: host name
//              both only from a token's holder)
//   ATTACH     protocol (6/17), lane, nth              area number, slots; lanes (program side
//                                                      rw, server side ro, hint side rw, server's
//                                                      doorbell, server's status page ro)
//   QUEUE      queue number (eventfd)                  known to every server of this program
//   BIND       protocol, area, slot, generation, local,      local: as chosen
//              options
//   LISTEN     area, slot, generation, backlog         entries (listener ring ro, claims rw)
//   UNLISTEN   area, slot, generation;                 this program no longer accepts there (the
//              arg: 1: shutdown(), for everybody       last one: the port is free)
//   RESOLVE    text: name; arg: address family         text: numeric addresses, one a line
//   IFADDRS    -                                       text: "name address/prefix flags mtu
//                                                      [mac]", one a line
//   TOKEN      text: struct nt_shared_socket, many;    no reply
//              arg: enum nt_token_flags; options: how
//              many of them, the first, are new
//              (placeholders of those, a connection,
//              and a memory file with more of the list)
//   LEAVE      text: one struct nt_shared_socket       arg: 1: nobody else holds it
//   STATE      text: one struct nt_shared_socket, and  -
//              what the shim wants to have kept; arg:
//              NT_STATE_SENT: it is in a message now
//   TAKE       (placeholder); arg: NT_TAKE_LOOK: the   arg: enum nt_taken; protocol, area, slot,
//              state only, the socket is not used yet  generation; or text: the state
//              (NT_TAKE_RECEIVED: it was in a message)
//              or NT_TAKE_PUMP: it has to be pumped;
//              NT_TAKE_READ: to read datagrams, so
//              for `options` ms not without any
//   JOIN       slot as TAKE                            entries; slot, generation: its own, taken
//              answered NT_TAKEN_LISTENER              (listener ring ro, claims rw): the program
//                                                      may accept from this socket
//   REFUSED    never asked for                         error: why this connection is closed
//   CALLS      arg: enum nt_calls                      (socket to its call server): the program's
//                                                      socket calls are done there, libc_shim/calls
//
// Areas. An area is the nth (from 0) of its program with the server of a protocol and lane; the
// program asks for the next one when the one before is nearly full. Asked for again, the same is
// answered. A socket's area stands beside its slot in every request that names a slot.
//   OPTION     (what stands for a pumped socket);         text: the value
//              arg: NT_OPTION_SET, slot: level,
//              generation: name, text: the value; or
//              NT_OPTION_GET, options: bytes at most
//
// Sockets that several processes hold. Each newtos socket has a placeholder in the kernel, whose
// inode is its name: it goes with fork, exec and SCM_RIGHTS wherever the socket goes. A program
// that is about to fork sends a TOKEN: one end of a SOCK_SEQPACKET pair, whose other end the child
// finds, and the sockets that this program opened since the last one, with their placeholders: a
// number alone would give a name to what another process has. The child holds all that the
// program holds then (NT_TOKEN_ONLY: just those named). The token is the child's control
// connection; when its last copy is closed, the child's references are gone. Where a program has
// too many children that never said who they are, or the host too many programs, a connection is
// answered by one REFUSED and closed. A socket that was sent
// to another process (SCM_RIGHTS) is held by the message, until it is received, or its sender has
// been gone for a while.
//
// TAKE says that a program uses a socket that it holds (it proves that with the placeholder). A
// connection moves into its area (request.h); whoever had it finds its slot's generation changed,
// and if it uses the socket again, takes it back. When two go on like this, it is pumped. A
// datagram socket goes to and fro.
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
    NT_CTL_TOKEN = 9,
    NT_CTL_LEAVE = 10,
    NT_CTL_STATE = 11,
    NT_CTL_TAKE = 12,
    NT_CTL_JOIN = 13,
    NT_CTL_CALLS = 14,
    NT_CTL_OPTION = 15,
    NT_CTL_REFUSED = 16,
};

enum nt_token_flags {
    NT_TOKEN_MORE = 1, // the list goes on in the next message, which brings the connection
    NT_TOKEN_ONLY = 2, // the child holds only the sockets that are listed
};

// How a program's calls go to its call server: by System V messages, or on channels.
enum nt_calls { NT_CALLS_SYSCALL = 1, NT_CALLS_CHANNEL = 2 };

enum { NT_STATE_SENT = 1 };
enum { NT_TAKE_LOOK = 1, NT_TAKE_RECEIVED = 2, NT_TAKE_PUMP = 3, NT_TAKE_READ = 4 };

// OPTION: of a socket that is pumped; the kernel's socket that stands for it proves that it is
// held.
enum { NT_OPTION_SET = 1, NT_OPTION_GET = 2 };

enum nt_taken {
    NT_TAKEN_SLOT = 1,     // it is in this slot of the program's area
    NT_TAKEN_LISTENER = 2, // a listening socket, there: JOIN it
    NT_TAKEN_PUMPED = 3,   // (a kernel socket) stands for it from now on
};

// A socket that several processes may hold: its placeholder's inode, and where its owner has it.
struct nt_shared_socket {
    uint64_t inode;
    uint32_t protocol;
    uint32_t area;
    uint32_t slot;
    uint32_t generation;
};

// What a listening socket is in a further lane; in the text of the replies to LISTEN and JOIN, with
// two descriptors each behind those of the lane that its own slot is in.
struct nt_beside {
    uint32_t area;
    uint32_t slot;
    uint32_t generation;
    uint32_t entries;
};

enum {
    NT_CTL_MAGIC = 0x4e544354,
    NT_CTL_VERSION = 3,
    NT_CTL_TEXT_BYTES = 3968,
    NT_CTL_FDS_MAX = 16,                        // of a reply: a listening socket of 8 lanes
    NT_TOKEN_NEW_MAX = 64,                      // sockets that one TOKEN registers
    NT_CTL_SENT_FDS_MAX = NT_TOKEN_NEW_MAX + 2, // of a request: their placeholders and a token's
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
    uint32_t lane;       // ATTACH: which of the protocol's servers
    uint32_t nth;        // ATTACH: which of the program's areas there
    uint32_t lanes;      // ATTACH, reply: how many servers the protocol has
    uint32_t pad[12];
    char text[3968]; // NT_CTL_TEXT_BYTES
};

#ifndef NT_CDEF
_Static_assert(sizeof(struct nt_shared_socket) == 24, "packed");
_Static_assert(sizeof(struct nt_control_message) == 4096, "one page");
#endif

#endif
