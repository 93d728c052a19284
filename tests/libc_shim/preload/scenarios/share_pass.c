// share_pass.c: sockets in messages (SCM_RIGHTS), and sockets that two processes use at once.
#include "sharing.h"

// -- SCM_RIGHTS ------------------------------------------------------------------------------

static void receiver(int ends[2])
{
    int got[4];
    close(ends[0]);
    SAY(receive_numbers(ends[1], got));
    SAY(fcntl(got[0], F_GETFD));
    SAY(fcntl(got[0], F_GETFL) == (O_RDWR | O_NONBLOCK));
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    SAY(getpeername(got[0], (struct sockaddr *)&name, &length));
    SAY(name.sin_family == AF_INET);
    SAY(wait_for(got[0], POLLIN) > 0);
    say_read(got[0], 5);
    SAY(write(got[0], "reply", 5));
    MUST(send_numbers(ends[1], got, 1)); // and back
    SAY(close(got[0]));
}

// To a process that never had it, and back again.
static void passed(void)
{
    int pair[2], ends[2], back[4];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t pid = in_child(receiver, pair);
    MUST(close(pair[1]));
    connected(ends);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    MUST(write(ends[0], "early", 5));
    MUST(send_numbers(pair[0], &ends[1], 1));
    MUST(close(ends[1]));
    say_end_of(pid);
    say_read(ends[0], 5);
    SAY(receive_numbers(pair[0], back)); // its sender is gone
    fcntl(back[0], F_SETFL, 0);
    both_ways((int[2]){ends[0], back[0]});
    MUST(close(back[0]));
    char byte;
    SAY(read(ends[0], &byte, 1));
}

// To oneself: a duplicate.
static void passed_to_oneself(void)
{
    int pair[2], ends[2], got[4];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    connected(ends);
    MUST(send_numbers(pair[0], ends, 2));
    SAY(receive_numbers(pair[1], got));
    both_ways(got);
    both_ways(ends);
    MUST(close(ends[0]));
    both_ways(got);
    MUST(close(got[0]));
    char byte;
    SAY(read(ends[1], &byte, 1));
    SAY(send_numbers(pair[0], &ends[0], 1)); // closed
}

// -- Two at once -----------------------------------------------------------------------------

enum { TURNS = 200 };

// Waits for its turn on a pipe, so that both really use it, in an order that is known.
static void take_turns(int fd, const char *word, int wait_on, int then)
{
    char byte;
    for (int i = 0; i < TURNS; i++) {
        MUST(read(wait_on, &byte, 1));
        MUST(write(fd, word, 1));
        MUST(write(then, "x", 1));
    }
}

static void both_write(void)
{
    int ends[2], to_child[2], to_parent[2];
    MUST(pipe(to_child));
    MUST(pipe(to_parent));
    connected(ends);
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        close(ends[0]);
        take_turns(ends[1], "c", to_child[0], to_parent[1]);
        _exit(0);
    }
    MUST(write(to_parent[1], "x", 1));
    take_turns(ends[1], "p", to_parent[0], to_child[1]);
    say_end_of(pid);
    struct sockaddr_in name, peer;
    socklen_t length = sizeof name;
    SAY(getpeername(ends[1], (struct sockaddr *)&peer, &length));
    SAY(getsockname(ends[0], (struct sockaddr *)&name, &length));
    SAY(memcmp(&name, &peer, sizeof name));
    SAY(getsockname(ends[1], (struct sockaddr *)&peer, &length));
    SAY(getpeername(ends[0], (struct sockaddr *)&name, &length));
    SAY(memcmp(&name, &peer, sizeof name));
    SAY(shutdown(ends[1], SHUT_WR));
    size_t got = 0;
    for (char two[2]; read_all(ends[0], two, 2); got++)
        if (two[0] == two[1])
            SAY(-1);
    SAY(got);
    SAY(write(ends[0], "last", 4));
    say_read(ends[1], 4);
    SAY(close(ends[0]));
    char byte;
    SAY(read(ends[1], &byte, 1));
}

static size_t read_until_end(int fd)
{
    char buf[100];
    size_t total = 0;
    for (ssize_t got; (got = MUST(read(fd, buf, sizeof buf))) > 0; total += (size_t)got) {
    }
    return total;
}

// Each byte is read by one of them, and both see the end.
static void both_read(void)
{
    int ends[2], tube[2];
    connected(ends);
    MUST(pipe(tube));
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        close(ends[0]);
        size_t mine = read_until_end(ends[1]);
        MUST(write(tube[1], &mine, sizeof mine));
        _exit(0);
    }
    if (MUST(fork()) == 0) {
        close(ends[1]);
        write_many(ends[0], 0);
        _exit(0);
    }
    MUST(close(ends[0]));
    size_t mine = read_until_end(ends[1]), theirs = 0;
    MUST(read(tube[0], &theirs, sizeof theirs));
    SAY(mine + theirs == MANY);
    say_end_of(pid);
    MUST(wait(NULL));
}

const struct scenario share_pass_scenarios[] = {
    {"passed", passed},
    {"passed_to_oneself", passed_to_oneself},
    {"both_write", both_write},
    {"both_read", both_read},
    {NULL, NULL},
};
