// socket.h: the life of a socket's record, and what its program is shown of it.
//
//     FREE --grant--> GRANTED --bind, connect, send--> OPEN --close--> DRAINING --fences--> FREE
//                        |                              |
//                        +---------- nonsense ----------+--> BROKEN --close--> ...
//
// A closed socket gives up its port at once. Its slot is granted anew only when no driver can read
// its datagrams any more.
#ifndef NT_UDP_SOCKET_H
#define NT_UDP_SOCKET_H

#include "servers/udp/state.h"

// Makes a record for a slot that is to be granted; NULL if all are in use.
struct nt_udp_socket *nt_udp_socket_grant(struct nt_udp *udp, uint32_t area, uint32_t slot);
// The socket of a slot, or NULL.
struct nt_udp_socket *nt_udp_socket_of(struct nt_udp *udp, uint32_t area, uint32_t slot);
// Every change of a record goes through this: journals it, and has it published after the commit.
void nt_udp_socket_touch(struct nt_udp *udp, struct nt_udp_socket *socket);
// The program is to be told: its event counter moves.
void nt_udp_socket_event(struct nt_udp *udp, struct nt_udp_socket *socket);
// A pending error, as the program finds it at its next call.
void nt_udp_socket_error(struct nt_udp *udp, struct nt_udp_socket *socket, int error);
// The program wrote what it cannot have meant: it loses this socket, and nothing else.
void nt_udp_socket_break(struct nt_udp *udp, struct nt_udp_socket *socket);
void nt_udp_socket_close(struct nt_udp *udp, struct nt_udp_socket *socket);
// Frees the record and slot of a draining socket that nothing refers to any more.
void nt_udp_socket_free_if_drained(struct nt_udp *udp, struct nt_udp_socket *socket);
// After the commit: copies what changed into the areas, then tells the programs.
void nt_udp_publish(struct nt_udp *udp);

#endif
