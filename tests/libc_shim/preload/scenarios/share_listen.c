// share_listen.c: listening sockets that several processes accept from.
#include "sharing.h"

#include <arpa/inet.h>

enum { WORKERS = 3, CLIENTS = 30 };

static void ask(const struct sockaddr_in *name)
{
    char buf[3] = {0};
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(fd, (const struct sockaddr *)name, sizeof *name));
    MUST(write(fd, "ask", 3));
    if (!read_all(fd, buf, 2) || memcmp(buf, "ok", 2) != 0 || read(fd, buf, 1) != 0)
        SAY(-1);
    close(fd);
}

static void answer(int fd)
{
    char buf[3];
    int one = accept(fd, NULL, NULL);
    if (one < 0)
        _exit(9);
    if (!read_all(one, buf, 3))
        _exit(8);
    MUST(write(one, "ok", 2));
    close(one);
}

static void work(int ends[2])
{
    for (int i = 0; i < CLIENTS / WORKERS; i++)
        answer(ends[0]);
    MUST(close(ends[0]));
}

// The last one has closed. The host may hear of a process's end a moment after its parent does.
static void say_refused(const struct sockaddr_in *name)
{
    struct timespec start, now;
    int refused;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
        refused = connect(fd, (const struct sockaddr *)name, sizeof *name) != 0 ? errno : 0;
        MUST(close(fd));
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (refused == 0 && (now.tv_sec - start.tv_sec) * 1000 < LIMIT_MS);
    SAY(refused == ECONNREFUSED);
}

// A master that binds, and workers that accept.
static void workers(void)
{
    struct sockaddr_in name;
    pid_t pids[WORKERS];
    int fd = listener(&name, 0);
    for (int i = 0; i < WORKERS; i++)
        pids[i] = in_child(work, (int[2]){fd, -1});
    MUST(close(fd));
    for (int i = 0; i < CLIENTS; i++)
        ask(&name);
    for (int i = 0; i < WORKERS; i++)
        say_end_of(pids[i]);
    say_refused(&name);
}

static void listen_and_work(int ends[2])
{
    if (listen(ends[0], CLIENTS) != 0)
        _exit(7);
    MUST(write(ends[1], "l", 1));
    work(ends);
}

// A master that only binds, and workers that all listen: Node.js's cluster.
static void workers_listen(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    char listening[WORKERS];
    pid_t pids[WORKERS];
    int tube[2];
    MUST(pipe(tube));
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    MUST(getsockname(fd, (struct sockaddr *)&name, &length));
    for (int i = 0; i < WORKERS; i++)
        pids[i] = in_child(listen_and_work, (int[2]){fd, tube[1]});
    SAY(read_all(tube[0], listening, WORKERS));
    MUST(close(fd));
    for (int i = 0; i < CLIENTS; i++)
        ask(&name);
    for (int i = 0; i < WORKERS; i++)
        say_end_of(pids[i]);
    say_refused(&name);
}

// Who made it listen is gone before anybody accepts.
static void listener_left_behind(void)
{
    struct sockaddr_in name;
    int tube[2];
    MUST(pipe(tube));
    fflush(stdout);
    pid_t parent = MUST(fork());
    if (parent == 0) {
        int fd = listener(&name, 0);
        MUST(write(tube[1], &name, sizeof name));
        if (MUST(fork()) != 0)
            _exit(0);
        answer(fd);
        _exit(0);
    }
    say_end_of(parent);
    SAY(read_all(tube[0], &name, sizeof name));
    ask(&name);
}

// Socket activation, and a server that replaces itself.
static void listener_over_exec(void)
{
    if (!is_second()) {
        struct sockaddr_in name;
        int fd = listener(&name, 0);
        fflush(stdout);
        if (MUST(fork()) == 0) {
            close(fd);
            ask(&name);
            _exit(0);
        }
        MUST(dup2(fd, 20));
        MUST(close(fd));
        start_again("listener_over_exec");
    }
    int on = 0, status = 0;
    socklen_t length = sizeof on;
    SAY(wait_for(20, POLLIN));
    SAY(getsockopt(20, SOL_SOCKET, SO_ACCEPTCONN, &on, &length));
    SAY(on);
    answer(20);
    MUST(wait(&status));
    SAY(status);
}

static void accept_received(int ends[2])
{
    int got[4];
    SAY(receive_numbers(ends[1], got));
    answer(got[0]);
}

static void listener_passed(void)
{
    struct sockaddr_in name;
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t pid = in_child(accept_received, pair);
    int fd = listener(&name, 0);
    MUST(send_numbers(pair[0], &fd, 1));
    MUST(close(fd));
    ask(&name);
    say_end_of(pid);
}

const struct scenario share_listen_scenarios[] = {
    {"workers", workers},
    {"workers_listen", workers_listen},
    {"listener_left_behind", listener_left_behind},
    {"listener_over_exec", listener_over_exec},
    {"listener_passed", listener_passed},
    {NULL, NULL},
};
