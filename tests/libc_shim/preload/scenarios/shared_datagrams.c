// shared_datagrams.c: UDP sockets that several processes hold, by fork, exec and SCM_RIGHTS.
#include "sharing.h"

#include <stdint.h>

static int bound(struct sockaddr_in *name)
{
    socklen_t length = sizeof *name;
    int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    *name = loopback(0);
    MUST(bind(fd, (struct sockaddr *)name, sizeof *name));
    MUST(getsockname(fd, (struct sockaddr *)name, &length));
    return fd;
}

static void tell(int fd, const char *text, const struct sockaddr_in *to)
{
    MUST(sendto(fd, text, strlen(text), 0, (const struct sockaddr *)to, sizeof *to));
}

// The next datagram, and whether it came from `from`.
static void say_next(int fd, const struct sockaddr_in *from)
{
    char buf[100] = {0};
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    SAY(recvfrom(fd, buf, sizeof buf - 1, 0, (struct sockaddr *)&peer, &length));
    printf("%s, %s\n", buf, peer.sin_port == from->sin_port ? "from there" : "from elsewhere");
}

// As in.tftpd, and as programs do that become daemons.
static void child_answers(void)
{
    struct sockaddr_in server, client;
    int one = bound(&server), other = bound(&client);
    tell(other, "first", &server);
    tell(other, "second", &server);
    MUST(wait_for(one, POLLIN));
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        close(other);
        say_next(one, &client);
        tell(one, "answer", &client);
        struct sockaddr_in name;
        socklen_t length = sizeof name;
        SAY(getsockname(one, (struct sockaddr *)&name, &length));
        SAY(memcmp(&name, &server, sizeof name));
        fflush(stdout);
        _exit(0);
    }
    say_end_of(pid);
    say_next(other, &server);
    say_next(one, &client);
    tell(other, "third", &server);
    say_next(one, &client);
    close(one);
    close(other);
}

// The parent reads, a child for each request answers (socketserver.ForkingUDPServer).
static void child_for_each(void)
{
    enum { REQUESTS = 8 };
    struct sockaddr_in server, client;
    int one = bound(&server), other = bound(&client);
    for (int i = 0; i < REQUESTS; i++) {
        char text[] = "request 0";
        text[8] = (char)('0' + i);
        tell(other, text, &server);
        say_next(one, &client);
        fflush(stdout);
        pid_t pid = MUST(fork());
        if (pid == 0) {
            tell(one, text + 2, &client);
            _exit(0);
        }
        say_next(other, &server);
        say_end_of(pid);
    }
}

// Both wait in recv(), each datagram is one's.
static void both_receive(void)
{
    enum { DATAGRAMS = 40 };
    struct sockaddr_in server, client;
    int one = bound(&server), other = bound(&client), tube[2];
    MUST(pipe(tube));
    fflush(stdout);
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
        pid[i] = MUST(fork());
        if (pid[i] != 0)
            continue;
        close(other);
        uint8_t number;
        while (MUST(recv(one, &number, 1, 0)) == 1 && number != UINT8_MAX)
            MUST(write(tube[1], &number, 1));
        _exit(0);
    }
    uint32_t seen[DATAGRAMS] = {0}, wrong = 0;
    for (uint8_t i = 0; i < DATAGRAMS; i++) {
        uint8_t got;
        MUST(sendto(other, &i, 1, 0, (struct sockaddr *)&server, sizeof server));
        MUST(wait_for(tube[0], POLLIN));
        MUST(read(tube[0], &got, 1));
        wrong += got != i || seen[got]++ != 0;
    }
    SAY(wrong);
    for (int i = 0; i < 2; i++) {
        const uint8_t end = UINT8_MAX;
        MUST(sendto(other, &end, 1, 0, (struct sockaddr *)&server, sizeof server));
    }
    say_end_of(pid[0]);
    say_end_of(pid[1]);
}

// Both send, in turn with the reader, which is the third.
static void both_send(void)
{
    enum { EACH = 20 };
    struct sockaddr_in server, client;
    int one = bound(&server), other = bound(&client);
    int turn[2][2];
    MUST(pipe(turn[0]));
    MUST(pipe(turn[1]));
    fflush(stdout);
    pid_t child = MUST(fork());
    uint8_t me = child == 0, token = 0;
    if (child == 0 || MUST(fork()) == 0) {
        for (uint8_t i = 0; i < EACH; i++) {
            const uint8_t said[2] = {me, i};
            MUST(sendto(other, said, sizeof said, 0, (struct sockaddr *)&server, sizeof server));
            MUST(read(turn[me][0], &token, 1));
        }
        _exit(0);
    }
    uint8_t next[2] = {0, 0}, said[2];
    int wrong = 0;
    for (int i = 0; i < 2 * EACH; i++) {
        MUST(recv(one, said, sizeof said, 0));
        wrong += said[0] > 1 || said[1] != next[said[0]]++;
        MUST(write(turn[said[0]][1], &token, 1));
    }
    SAY(wrong);
    int status;
    MUST(wait(&status));
    MUST(wait(&status));
}

// What one of them does to the socket, the other finds.
static void connected_by_child(void)
{
    struct sockaddr_in server, client, name;
    socklen_t length = sizeof name;
    int one = bound(&server), other = bound(&client);
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        SAY(connect(other, (struct sockaddr *)&server, sizeof server));
        SAY(send(other, "hello", 5, 0));
        fflush(stdout);
        _exit(0);
    }
    say_end_of(pid);
    say_next(one, &client);
    SAY(send(other, "again", 5, 0));
    say_next(one, &client);
    SAY(getpeername(other, (struct sockaddr *)&name, &length));
    SAY(memcmp(&name, &server, sizeof name));
    tell(one, "answer", &client);
    say_next(other, &server);
    SAY(shutdown(other, SHUT_RD));
}

static void exec_datagrams(void)
{
    struct sockaddr_in server, client;
    int one = bound(&server), other = bound(&client);
    MUST(connect(one, (struct sockaddr *)&client, sizeof client));
    tell(other, "a line\n", &server);
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        MUST(dup2(one, 0));
        MUST(dup2(one, 1));
        execlp("dd", "dd", "bs=4096", "count=1", "status=none", NULL);
        _exit(1);
    }
    say_next(other, &server);
    say_end_of(pid);
}

static void passed_datagrams(void)
{
    struct sockaddr_in server, client;
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        close(pair[0]);
        int got[4];
        MUST(receive_numbers(pair[1], got));
        int one = got[0];
        MUST(write(pair[1], "x", 1));
        char buf[20] = {0};
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        SAY(wait_for(one, POLLIN) & POLLIN);
        SAY(recvfrom(one, buf, sizeof buf, 0, (struct sockaddr *)&peer, &length));
        printf("%s\n", buf);
        SAY(sendto(one, "back", 4, 0, (struct sockaddr *)&peer, length));
        fflush(stdout);
        _exit(0);
    }
    close(pair[1]);
    int one = bound(&server), other = bound(&client);
    char byte;
    tell(other, "early", &server);
    MUST(wait_for(one, POLLIN));
    MUST(send_numbers(pair[0], &one, 1));
    MUST(read(pair[0], &byte, 1));
    close(one);
    say_end_of(pid);
    say_next(other, &server);
}

// A datagram socket in two event loops: what is ready is found by one of them.
static void both_poll(void)
{
    enum { DATAGRAMS = 10 };
    struct sockaddr_in server, client;
    int one = bound(&server), other = bound(&client), tube[2];
    MUST(pipe(tube));
    MUST(fcntl(one, F_SETFL, O_NONBLOCK));
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        if (MUST(fork()) != 0)
            continue;
        close(other);
        int epoll = MUST(epoll_create1(0));
        struct epoll_event event = {.events = EPOLLIN};
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, one, &event));
        for (uint8_t got = 0; got != UINT8_MAX;) {
            MUST(epoll_wait(epoll, &event, 1, -1));
            ssize_t bytes = recv(one, &got, 1, 0);
            MUST(bytes < 0 && errno != EAGAIN ? -1 : 0);
            if (bytes == 1 && got != UINT8_MAX)
                MUST(write(tube[1], &got, 1));
        }
        _exit(0);
    }
    int wrong = 0;
    for (uint8_t i = 0; i < DATAGRAMS; i++) {
        uint8_t got;
        MUST(sendto(other, &i, 1, 0, (struct sockaddr *)&server, sizeof server));
        MUST(wait_for(tube[0], POLLIN));
        MUST(read(tube[0], &got, 1));
        wrong += got != i;
    }
    SAY(wrong);
    for (int i = 0; i < 2; i++) {
        const uint8_t end = UINT8_MAX;
        int status;
        MUST(sendto(other, &end, 1, 0, (struct sockaddr *)&server, sizeof server));
        MUST(wait(&status));
        SAY(status);
    }
}

static int polled_by_poll(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, LIMIT_MS);
}

static int polled_by_epoll(int fd, uint32_t flags)
{
    static int epoll = -1;
    struct epoll_event event = {.events = EPOLLIN | flags};
    if (epoll < 0) {
        epoll = MUST(epoll_create1(0));
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    }
    return epoll_wait(epoll, &event, 1, LIMIT_MS);
}

static int polled_by_level(int fd) { return polled_by_epoll(fd, 0); }
static int polled_by_edge(int fd) { return polled_by_epoll(fd, EPOLLET); }

// One waits while its children send through the socket: what it hears is there, is
// (socketserver.ForkingUDPServer).
static void polled_by(int (*wait_at)(int fd))
{
    enum { REQUESTS = 8 };
    struct sockaddr_in server, client;
    int one = bound(&server), other = bound(&client);
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        int empty = 0;
        for (int got = 0; got < REQUESTS;) {
            char byte;
            MUST(wait_at(one) == 1 ? 0 : -1);
            int bytes = 0;
            MUST(ioctl(one, FIONREAD, &bytes));
            if (bytes == 0) {
                empty++;
                continue;
            }
            MUST(recv(one, &byte, 1, 0));
            got++;
            if (MUST(fork()) != 0)
                continue;
            wait_process_sleeping(getppid());
            MUST(sendto(one, &byte, 1, 0, (struct sockaddr *)&client, sizeof client));
            _exit(0);
        }
        SAY(empty);
        fflush(stdout);
        while (wait(NULL) > 0) {
        }
        _exit(0);
    }
    for (int i = 0; i < REQUESTS; i++) {
        tell(other, "r", &server);
        MUST(wait_for(other, POLLIN));
        say_next(other, &server);
        fflush(stdout);
    }
    say_end_of(pid);
}

static void polled(void) { polled_by(polled_by_poll); }
static void level(void) { polled_by(polled_by_level); }
static void edge(void) { polled_by(polled_by_edge); }

const struct scenario shared_datagram_scenarios[] = {
    {"datagrams_child_answers", child_answers},
    {"datagrams_child_for_each", child_for_each},
    {"datagrams_both_receive", both_receive},
    {"datagrams_both_send", both_send},
    {"datagrams_both_poll", both_poll},
    {"datagrams_polled", polled},
    {"datagrams_level", level},
    {"datagrams_edge", edge},
    {"datagrams_connected_by_child", connected_by_child},
    {"datagrams_exec", exec_datagrams},
    {"datagrams_passed", passed_datagrams},
    {NULL, NULL},
};
