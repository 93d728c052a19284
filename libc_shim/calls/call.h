// call.h: a socket call as a message between a program and the server that does it for the program.
//
// The baselines of NewtOS's Table 5.1 (docs/decisions/0011): a program preloads a libnewtos.so in
// which each function of libc_shim/sockets that is a socket call sends one struct nt_call instead,
// and waits for the answer. A *call server*, one process a program, started by the host's syscall
// server, does it. It has the program's socket areas mapped, with the program's rights, and keeps
// nothing of a socket: the program's struct nt_sock goes along, and comes back as the call left it.
// Pointers in it mean nothing to the other side; the slot, and the area's index, say what they
// were.
//
// After the struct follow, both ways: `name_bytes` of a socket address, `control_bytes` of control
// data, `data_bytes` of data (of ACCEPT's answer: the new struct nt_sock). What the answer may have
// of each is its `_room` in the request.
#ifndef NT_CALLS_CALL_H
#define NT_CALLS_CALL_H

#include "libc_shim/sockets/socket.h"

enum nt_call_kind {
    NT_CALL_SETUP = 1, // the next message on the socket (nt_call_setup) is to be followed
    NT_CALL_CREATE,
    NT_CALL_CLOSE,
    NT_CALL_CONNECT,
    NT_CALL_ACCEPT,
    NT_CALL_SHUTDOWN,
    NT_CALL_GETSOCKNAME,
    NT_CALL_GETPEERNAME,
    NT_CALL_GETSOCKOPT,
    NT_CALL_SETSOCKOPT,
    NT_CALL_RECV,
    NT_CALL_RECVMSG,
    NT_CALL_SEND,
    NT_CALL_SENDMSG,
};

enum {
    NT_CALL_NAME_MAX = 128,     // sizeof(struct sockaddr_storage)
    NT_CALL_CONTROL_MAX = 1024, // all that a datagram of ours carries fits several times
    NT_CALL_DATA_MAX = 65536,   // the largest datagram; a stream's call does so much at most
    NT_CALL_NO_AREA = UINT32_MAX,
};

struct nt_call {
    uint32_t bytes; // of all
    uint32_t kind;  // enum nt_call_kind
    int64_t result; // or -errno
    int32_t arg[3];
    int32_t flags;
    uint32_t area; // index, or NT_CALL_NO_AREA
    uint32_t accepted_area;
    uint32_t name_bytes; // in an answer: the true length, perhaps more than there was room for
    uint32_t control_bytes;
    uint32_t data_bytes;
    uint32_t name_room;
    uint32_t control_room;
    uint32_t data_room;
    uint8_t has_name;    // the call names an address, or wants one
    uint8_t has_control; // there is room for control data, however little
    uint8_t pad[6];
    struct nt_sock_received received;
    struct nt_sock sock;
};

struct nt_call_message {
    struct nt_call call;
    uint8_t payload[NT_CALL_NAME_MAX + NT_CALL_CONTROL_MAX + NT_CALL_DATA_MAX];
};

// -- On the socket between the two -------------------------------------------------------------

enum nt_call_setup_kind {
    NT_SETUP_QUEUES = 1,   // to the program: System V queues
    NT_SETUP_CHANNELS = 2, // to the program (memory, server's doorbell, program's doorbell)
    NT_SETUP_AREA = 3,     // to the server, as the answer to NT_CTL_ATTACH has it, with descriptors
    NT_SETUP_LISTENER = 4, // the same of NT_CTL_LISTEN and NT_CTL_JOIN
};

struct nt_call_setup {
    uint32_t kind; // enum nt_call_setup_kind
    int32_t requests, replies;
    uint32_t protocol, lane, area, slot, count; // slots, or entries
};

enum { NT_SETUP_FDS_MAX = 5 };

#endif
