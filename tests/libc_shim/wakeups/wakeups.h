// wakeups.h: a stress that stands still if a wake-up is lost, and then says where.
//
//     wakeups both PORT SECONDS SEED            servers and clients, over loopback
//     wakeups server PORT SECONDS SEED          until its input ends
//     wakeups client PORT SECONDS SEED ADDRESS
//
// Servers echo; each group of threads waits in its own way. Clients send and compare, and wait in
// all the ways, too. In between they sleep, close, reset, register anew, duplicate and signal each
// other at random. Every client's wait has a deadline; and a watchdog looks at all connections: one
// that has been readable for long without anybody looking at it was lost. Both print what the shim
// knows of the socket (newtos_describe), and the program fails.
#ifndef WAKEUPS_H
#define WAKEUPS_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MUST(call)                                                                  \
    ({                                                                              \
        long must = (long)(call);                                                   \
        if (must < 0) {                                                             \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #call, strerror(errno)); \
            _exit(1);                                                               \
        }                                                                           \
        (int)must;                                                                  \
    })

enum {
    LOST_MS = 30000, // longer than a restart of any server, and than a busy machine may take
    CONNECTIONS = 512,
    PENDING = 1 << 16, // bytes that a server keeps for a client that does not read
};

// A connection, or the listening socket, of this process.
struct link {
    pthread_mutex_t lock; // whoever serves it
    int fd;               // -1: the place is free
    struct group *group;
    uint64_t looked_ms; // when somebody last looked at it
    uint64_t ready_ms;  // since when the watchdog has seen it readable; 0: it was not
    bool at_end;        // its input has ended, so it is readable for good
    bool client;
    size_t pending;
    size_t sent;
    char *buffer;
};

enum way { LEVEL, EDGE, ONESHOT, EXCLUSIVE, NESTED, POLL, SELECT, BLOCKING, WAYS };
extern const char *const way_name[WAYS];

struct rng {
    uint64_t state;
};
static inline uint32_t draw(struct rng *rng) // splitmix64
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 16);
}
static inline bool chance(struct rng *rng, uint32_t in) { return draw(rng) % in == 0; }

extern struct link links[CONNECTIONS];
extern uint64_t end_ms;
extern uint64_t seed;
extern struct sockaddr_in address;
extern uint64_t echoed;    // messages that came back
extern uint64_t connected; // connections made

uint64_t now_ms(void);
static inline bool is_over(void) { return now_ms() >= end_ms; }
// A place for a connection; NULL if all are taken.
struct link *link_open(int fd, bool client);
void link_close(struct link *link); // closes its descriptor, too
static inline void looked(struct link *link)
{
    __atomic_store_n(&link->looked_ms, now_ms(), __ATOMIC_RELAXED);
    __atomic_store_n(&link->ready_ms, 0, __ATOMIC_RELAXED);
}
_Noreturn void lost(const struct link *link, const char *what);

void random_sleep(struct rng *rng);
pthread_t start(void *(*body)(void *), void *arg); // to be joined, and signalled meanwhile

void servers_start(void);
void servers_end(void);
void clients_run(void);

#endif
