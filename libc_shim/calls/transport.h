// transport.h: how the messages of call.h pass: System V queues, or channels in shared memory.
//
// Both pass a message in fragments, copied in and out, and both ends see that the other one is
// gone: a queue is removed, a socket between the two hangs up.
//
//   queues     msgsnd(2), msgrcv(2): one system call a fragment on either side, and a switch
//   channels   two rings of fragments (channel.h), each with a sleeping flag and a doorbell; who
//              finds nothing polls if the other end runs on another core, yields if not, then
//              sleeps (architecture §6)
#ifndef NT_CALLS_TRANSPORT_H
#define NT_CALLS_TRANSPORT_H

#include "libc_shim/calls/call.h"
#include "newtos_py/kernel/channel.h"

enum {
    NT_FRAGMENT_BYTES = 8000, // msgmax(5) is 8192 where nobody changed it
    NT_CHANNEL_FRAGMENTS = 16,
};

enum nt_transport_end { NT_END_SERVER = 0, NT_END_PROGRAM = 1 };

// One of the two lines of the channels' first page, written by its end.
struct nt_transport_line {
    uint32_t sleeping;
    uint32_t core; // where it last looked for something
    uint32_t pad[14];
};

struct nt_transport {
    enum nt_transport_end end;
    int hang_up; // the socket to the other end
    // Queues.
    int out_queue, in_queue; // -1: channels
    // Channels.
    struct nt_producer out;
    struct nt_consumer in;
    struct nt_transport_line *own;
    const struct nt_transport_line *peer;
    int bell, peer_bell;
};

// In a program, libc's own: not our interposed symbol.
extern long (*nt_transport_syscall)(long number, ...);

// Bytes of the region for channels; formats and opens it. 0, or -1: it is none.
uint64_t nt_transport_bytes(void);
void nt_transport_format(void *base);
int nt_transport_open(struct nt_transport *transport, void *base);

// Sends a whole message; receives one. 0, or -ENETDOWN: the other end is gone.
int nt_transport_send(struct nt_transport *transport, const struct nt_call_message *message);
int nt_transport_receive(struct nt_transport *transport, struct nt_call_message *message);

// With descriptors, on the socket. Receiving blocks: bytes, or -1; at most NT_SETUP_FDS_MAX come.
int nt_setup_send(int socket, const struct nt_call_setup *setup, const int *fds, int count);
int nt_setup_receive(int socket, struct nt_call_setup *setup, int *fds, int *count);

#endif
