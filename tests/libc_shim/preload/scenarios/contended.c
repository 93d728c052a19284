// contended.c: two processes that go on with one connection in the very moment in which it moves
// from one to the other: each byte is sent once and read once, and in order.
#include "scenario.h"

#include <stdint.h>

enum {
    ROUNDS = 6,
    RECORDS = 3000,
    BYTES = 400000,
    VALUES = 251, // prime: no piece that is lost or repeated goes unnoticed
};

struct record {
    uint32_t who;
    uint32_t number;
    uint64_t check;
};

static uint64_t check_of(uint32_t who, uint32_t number)
{
    return (who * UINT64_C(0x9e3779b97f4a7c15)) ^ (number * UINT64_C(0xff51afd7ed558ccd));
}

static void write_records(int fd, uint32_t who, int flags)
{
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct record record = {.who = who, .number = i, .check = check_of(who, i)};
        ssize_t sent = send(fd, &record, sizeof record, flags);
        if (sent < 0 && errno == EAGAIN) {
            MUST(wait_for(fd, POLLOUT));
            i--;
            continue;
        }
        if (sent != sizeof record) {
            printf("record %u of %u: %zd\n", i, who, sent);
            exit(1);
        }
    }
}

// How many records came of whom, each in its turn; what is not one ends it.
static void read_records(int fd)
{
    uint32_t next[2] = {0, 0};
    struct record record;
    while (read_all(fd, &record, sizeof record)) {
        if (record.who > 1 || record.check != check_of(record.who, record.number) ||
            record.number != next[record.who]) {
            printf("record %u of %u, but %u and %u were next\n", record.number, record.who, next[0],
                   next[1]);
            exit(1);
        }
        next[record.who]++;
    }
    if (next[0] != RECORDS || next[1] != RECORDS) {
        printf("%u and %u records\n", next[0], next[1]);
        exit(1);
    }
}

static void await_all(int children)
{
    for (int i = 0; i < children; i++) {
        int status;
        MUST(wait(&status));
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            printf("a child ended with %d\n", status);
    }
}

static void write_at_once(int flags)
{
    for (int round = 0; round < ROUNDS; round++) {
        int ends[2];
        connected(ends);
        fflush(stdout);
        if (MUST(fork()) == 0) {
            close(ends[1]);
            read_records(ends[0]);
            exit(0);
        }
        close(ends[0]);
        if (MUST(fork()) == 0) {
            write_records(ends[1], 1, flags);
            exit(0);
        }
        write_records(ends[1], 0, flags);
        close(ends[1]);
        await_all(2);
    }
    SAY(ROUNDS);
}

static void writers_collide(void) { write_at_once(0); }
static void writers_collide_nonblocking(void) { write_at_once(MSG_DONTWAIT); }

static void count_values(int fd, uint32_t counts[VALUES], size_t size)
{
    uint8_t buf[5000];
    for (ssize_t got; (got = MUST(recv(fd, buf, size, 0))) > 0;)
        for (ssize_t i = 0; i < got; i++)
            counts[buf[i]]++;
}

static void write_values(int fd)
{
    uint8_t buf[1000];
    for (uint32_t sent = 0; sent < BYTES;) {
        uint32_t piece = BYTES - sent < sizeof buf ? BYTES - sent : sizeof buf;
        for (uint32_t i = 0; i < piece; i++)
            buf[i] = (uint8_t)((sent + i) % VALUES);
        sent += (uint32_t)MUST(write(fd, buf, piece));
    }
}

static void readers_collide(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t mine[VALUES] = {0}, theirs[VALUES] = {0};
        int ends[2], tube[2];
        connected(ends);
        MUST(pipe(tube));
        fflush(stdout);
        if (MUST(fork()) == 0) {
            close(ends[1]);
            write_values(ends[0]);
            exit(0);
        }
        close(ends[0]);
        if (MUST(fork()) == 0) {
            count_values(ends[1], mine, 700);
            MUST(write(tube[1], mine, sizeof mine));
            exit(0);
        }
        count_values(ends[1], mine, 300);
        MUST(read_all(tube[0], theirs, sizeof theirs));
        close(ends[1]);
        close(tube[0]);
        close(tube[1]);
        await_all(2);
        for (uint32_t value = 0; value < VALUES; value++) {
            uint32_t wanted = BYTES / VALUES + (value < BYTES % VALUES);
            if (mine[value] + theirs[value] != wanted)
                printf("%u: %u and %u of %u\n", value, mine[value], theirs[value], wanted);
        }
    }
    SAY(ROUNDS);
}

// The parent sends a file, the child says a word.
static void a_file_and_a_word(void)
{
    static uint8_t content[60000], got[60004];
    FILE *file = tmpfile();
    if (file == NULL)
        exit(1);
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i % VALUES);
    for (int round = 0; round < ROUNDS; round++) {
        int ends[2];
        off_t at = 0;
        connected(ends);
        MUST(pwrite(fileno(file), content, sizeof content, 0));
        fflush(stdout);
        if (MUST(fork()) == 0) {
            MUST(write(ends[1], "\xff\xff\xff\xff", 4));
            exit(0);
        }
        if (MUST(fork()) == 0) {
            while (at < (off_t)sizeof content)
                MUST(sendfile(ends[1], fileno(file), &at, sizeof content - (size_t)at));
            exit(0);
        }
        MUST(read_all(ends[0], got, sizeof got));
        close(ends[0]);
        close(ends[1]);
        await_all(2);
        size_t words = 0, next = 0;
        for (size_t i = 0; i < sizeof got; i++) {
            if (got[i] == 0xff)
                words++;
            else if (next == sizeof content || got[i] != content[next++])
                exit(1);
        }
        if (words != 4 || next != sizeof content)
            printf("%zu of the file, %zu of the word\n", next, words);
    }
    fclose(file);
    SAY(ROUNDS);
}

static void say_option(int fd, int level, int name)
{
    int value = 0;
    socklen_t length = sizeof value;
    SAY(getsockopt(fd, level, name, &value, &length));
    printf("%d, %u bytes\n", value, length);
}

static int used_by_both(int ends[2], int tube[2])
{
    char byte;
    connected(ends);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, tube));
    fflush(stdout);
    pid_t pid = MUST(fork());
    int own = pid == 0;
    for (int turn = 0; turn < 3; turn++) { // child, parent, child, ...
        if (!own)
            MUST(read(tube[0], &byte, 1));
        MUST(write(ends[1], "x", 1));
        MUST(write(tube[own], "x", 1));
        if (own)
            MUST(read(tube[1], &byte, 1));
    }
    if (!own) {
        char six[6];
        MUST(read_all(ends[0], six, sizeof six));
    } else {
        close(ends[0]);
    }
    return pid;
}

// Options of a socket that two processes use are those of the socket, whoever sets them.
static void options_of_both(void)
{
    int ends[2], tube[2];
    const int on = 1, idle = 77;
    const struct timeval short_time = {.tv_usec = 20000};
    pid_t pid = used_by_both(ends, tube);
    if (pid == 0) {
        SAY(setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
        SAY(setsockopt(ends[1], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
        SAY(setsockopt(ends[1], IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle));
        SAY(setsockopt(ends[1], IPPROTO_TCP, 9999, &idle, sizeof idle));
        SAY(setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &on, 1));
        fflush(stdout);
        _exit(0);
    }
    await_all(1);
    say_option(ends[1], IPPROTO_TCP, TCP_NODELAY);
    say_option(ends[1], IPPROTO_TCP, TCP_KEEPIDLE);
    say_option(ends[1], IPPROTO_TCP, TCP_KEEPCNT);
    say_option(ends[1], IPPROTO_TCP, 9999);
    say_option(ends[1], SOL_SOCKET, SO_KEEPALIVE);
    say_option(ends[1], SOL_SOCKET, SO_TYPE);
    say_option(ends[1], SOL_SOCKET, SO_DOMAIN);
    say_option(ends[1], SOL_SOCKET, SO_PROTOCOL);
    say_option(ends[1], SOL_SOCKET, SO_ACCEPTCONN);
    say_option(ends[1], SOL_SOCKET, SO_ERROR);
    struct tcp_info info;
    socklen_t length = sizeof info;
    SAY(getsockopt(ends[1], IPPROTO_TCP, TCP_INFO, &info, &length));
    SAY(info.tcpi_state == TCP_ESTABLISHED);
    char byte;
    SAY(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &short_time, sizeof short_time));
    SAY(recv(ends[1], &byte, 1, 0));
    SAY(setsockopt(-1, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    SAY(setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, NULL, sizeof on));
}

// Both have closed it: SO_LINGER's reset, as with any socket.
static void reset_by_both(void)
{
    int ends[2], tube[2];
    char byte;
    const struct linger reset = {.l_onoff = 1};
    struct linger read_back;
    socklen_t length = sizeof read_back;
    pid_t pid = used_by_both(ends, tube);
    if (pid == 0) {
        MUST(read(tube[1], &byte, 1));
        _exit(0);
    }
    SAY(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
    SAY(getsockopt(ends[1], SOL_SOCKET, SO_LINGER, &read_back, &length));
    SAY(read_back.l_onoff == 1 && read_back.l_linger == 0);
    MUST(write(tube[0], "x", 1));
    await_all(1);
    SAY(close(ends[1]));
    SAY(read(ends[0], &byte, 1));
}

// One direction after the other: what comes after SHUT_RD is thrown away, and disturbs nothing.
static void shut_by_both(void)
{
    int ends[2], tube[2];
    char text[10] = {0};
    pid_t pid = used_by_both(ends, tube);
    if (pid == 0) {
        SAY(shutdown(ends[1], SHUT_RD));
        fflush(stdout);
        _exit(0);
    }
    await_all(1);
    SAY(read(ends[1], text, 1));
    SAY(write(ends[0], "thrown away", 11));
    SAY(write(ends[1], "all fine", 8));
    SAY(read_all(ends[0], text, 8));
    printf("%s\n", text);
    SAY(shutdown(ends[1], SHUT_WR));
    SAY(read(ends[0], text, 1));
}

const struct scenario contended_scenarios[] = {
    {"options_of_both", options_of_both},
    {"reset_by_both", reset_by_both},
    {"shut_by_both", shut_by_both},
    {"writers_collide", writers_collide},
    {"writers_collide_nonblocking", writers_collide_nonblocking},
    {"readers_collide", readers_collide},
    {"a_file_and_a_word", a_file_and_a_word},
    {NULL, NULL},
};
