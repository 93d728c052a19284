// client.h: what the files of the program's side share; nobody else includes it.
#ifndef NT_CALLS_CLIENT_H
#define NT_CALLS_CLIENT_H

#include "libc_shim/calls/transport.h"

// Defines __wrap_NAME, to which the linker leads all calls of NAME, beside __real_NAME. The linker
// knows no types: that all three are NAME's own holds the compiler.
#define WRAP(type, name, ...)       \
    __typeof__(name) __real_##name; \
    __typeof__(name) __wrap_##name; \
    type __wrap_##name(__VA_ARGS__)

// Guarded by the mutex that nt_call_begin() takes.
struct nt_client {
    struct nt_transport transport;
    bool is_open;
    bool is_gone; // the call server was there, and is no more
    struct nt_call_message message;
};
extern struct nt_client nt_client;

// A call from its start to its end; nobody else makes one in between.
struct nt_call *nt_call_begin(enum nt_call_kind kind);
void nt_call_end(void);
// Sends the message and waits for the answer, which is then in its place: 0 or -ENETDOWN.
int nt_call_exchange(void);
// In a child of fork(): there is no call under way.
void nt_call_child(void);

#endif
