// scenario.h: programs whose every answer is printed, to be the same on Linux and on a host.
//
//     scenarios NAME     runs one scenario; SAY prints an expression, its result and its errno
//     scenarios          prints the names
//
// Nothing that differs between two runs may be printed: no port, no time, no address of memory.
// Waiting is for events, with a limit; nothing sleeps to let something happen.
#ifndef SCENARIO_H
#define SCENARIO_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAY(call)                                                  \
    do {                                                           \
        errno = 0;                                                 \
        long said = (long)(call);                                  \
        printf("%s = %ld%s%s\n", #call, said, said < 0 ? " " : "", \
               said < 0 ? strerrorname_np(errno) : "");            \
    } while (0)

// The same for what must not fail for the scenario to go on.
#define MUST(call)                                                                \
    ({                                                                            \
        long must = (long)(call);                                                 \
        if (must < 0) {                                                           \
            printf("line %d: %s failed: %s\n", __LINE__, #call, strerror(errno)); \
            exit(1);                                                              \
        }                                                                         \
        (int)must;                                                                \
    })

enum { LIMIT_MS = 30000 }; // of a machine that has other things to do

struct scenario {
    const char *name;
    void (*run)(void);
};
extern const struct scenario stream_scenarios[];
extern const struct scenario number_scenarios[];
extern const struct scenario event_scenarios[];
extern const struct scenario blocking_scenarios[];
extern const struct scenario process_scenarios[];
extern const struct scenario datagram_scenarios[];
extern const struct scenario storm_scenarios[];
extern const struct scenario calls_scenarios[];
extern const struct scenario nested_scenarios[];
extern const struct scenario levels_scenarios[];
extern const struct scenario crowd_scenarios[];
extern const struct scenario inherited_scenarios[];
extern const struct scenario leaving_scenarios[];
extern const struct scenario share_scenarios[];
extern const struct scenario share_exec_scenarios[];
extern const struct scenario share_pass_scenarios[];
extern const struct scenario share_listen_scenarios[];
extern const struct scenario shared_datagram_scenarios[];
extern const struct scenario contended_scenarios[];
extern const struct scenario urgent_scenarios[];

// A listening socket on a port of loopback that was free, in *name; the socket.
int listener(struct sockaddr_in *name, int flags);
// Two ends of a connection over loopback: ends[0] connected, ends[1] was accepted.
void connected(int ends[2]);
struct sockaddr_in loopback(in_port_t port);
// Waits until poll() says so: the events.
int wait_for(int fd, short events);
// Waits until so many threads of this process, this one not counted, are asleep, and stay so.
void wait_sleeping(int threads);
// Waits until the first thread of a process is asleep, and stays so.
void wait_process_sleeping(pid_t pid);
// Reads until there are `bytes`; false at an end or error before.
bool read_all(int fd, void *buf, size_t bytes);
// Writes to a nonblocking socket until there is no room, and none comes: how much.
long fill_up(int fd);
// Sends "x" with one control message beside it.
ssize_t send_beside(int fd, int level, int type, const void *value, size_t bytes);
// Prints a poll or epoll mask by names.
void say_events(const char *what, unsigned events);

#endif
