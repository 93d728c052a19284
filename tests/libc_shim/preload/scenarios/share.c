// share.c: sockets that several processes hold, by fork.
#include "scenario.h"

#include <arpa/inet.h>
#include <grp.h>
#include <linux/sched.h>
#include <spawn.h>
#include <sys/resource.h>

// Runs `child` in a child; SAYs of it come before anything that the parent says afterwards.
static pid_t in_child(void (*child)(int ends[2]), int ends[2])
{
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        child(ends);
        fflush(stdout);
        _exit(3);
    }
    return pid;
}

static void say_end_of(pid_t pid)
{
    int status = 0;
    MUST(waitpid(pid, &status, 0));
    SAY(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void say_read(int fd, size_t bytes)
{
    char buf[64] = {0};
    SAY(read_all(fd, buf, bytes));
    printf("%s\n", buf);
}

static void serve(int ends[2])
{
    struct sockaddr_in name = {.sin_port = 0};
    socklen_t length = sizeof name;
    close(ends[0]);
    SAY(getpeername(ends[1], (struct sockaddr *)&name, &length));
    SAY(ntohl(name.sin_addr.s_addr) == INADDR_LOOPBACK);
    say_read(ends[1], 6);
    SAY(write(ends[1], "reply", 5));
}

// accept, fork, the parent closes: inetd, sshd, PostgreSQL.
static void child_serves(void)
{
    int ends[2];
    connected(ends);
    SAY(write(ends[0], "before", 6));
    pid_t pid = in_child(serve, ends);
    MUST(close(ends[1]));
    say_end_of(pid);
    say_read(ends[0], 5);
    char more;
    SAY(read(ends[0], &more, 1)); // the child's end was its last
    SAY(close(ends[0]));
}

enum { MANY = 300000 };

static uint8_t byte_at(size_t i) { return (uint8_t)(i * 7 + i / 251); }

static void fill(uint8_t *many, size_t from)
{
    for (size_t i = 0; i < MANY; i++)
        many[i] = byte_at(from + i);
}

static void write_many(int fd, size_t from)
{
    static uint8_t many[MANY];
    fill(many, from);
    for (size_t done = 0; done < MANY;)
        done += (size_t)MUST(write(fd, many + done, MANY - done));
}

static void write_second_half(int ends[2])
{
    close(ends[0]);
    fcntl(ends[1], F_SETFL, 0);
    write_many(ends[1], 1000000);
}

// What was not read and not acknowledged yet goes along.
static void child_goes_on(void)
{
    int ends[2];
    size_t first = 0, got = 0;
    connected(ends);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    for (;;) {
        uint8_t piece[1000];
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = byte_at(first + i);
        ssize_t sent = write(ends[1], piece, sizeof piece);
        if (sent < 0)
            break;
        first += (size_t)sent;
    }
    SAY(first > 10000);
    pid_t pid = in_child(write_second_half, ends);
    MUST(close(ends[1]));
    bool same = true;
    for (;;) {
        uint8_t piece[4096];
        ssize_t n = MUST(read(ends[0], piece, sizeof piece));
        if (n == 0)
            break;
        for (size_t i = 0; i < (size_t)n; i++, got++)
            same = same && piece[i] == byte_at(got < first ? got : 1000000 + got - first);
    }
    say_end_of(pid);
    SAY(got == first + MANY);
    SAY(same);
}

// Those who would use it are gone before the child begins.
static void parent_exits(void)
{
    int ends[2], alive[2], done[2];
    char byte;
    MUST(pipe(alive));
    MUST(pipe(done));
    fflush(stdout);
    pid_t parent = MUST(fork());
    if (parent == 0) {
        connected(ends);
        MUST(write(ends[0], "left", 4));
        if (MUST(fork()) != 0)
            _exit(0);
        close(alive[1]);
        if (read(alive[0], &byte, 1) != 0)
            _exit(1);
        say_read(ends[1], 4);
        SAY(write(ends[1], "by a daemon", 11));
        SAY(shutdown(ends[1], SHUT_WR));
        say_read(ends[0], 11);
        SAY(read(ends[0], &byte, 1));
        fflush(stdout);
        _exit(0);
    }
    close(done[1]);
    say_end_of(parent);
    MUST(close(alive[1])); // now nobody but the grandchild holds the pipe
    SAY(read(done[0], &byte, 1));
}

static void only_close(int ends[2])
{
    SAY(close(ends[0]));
    SAY(close(ends[0]));
    SAY(close(ends[1]));
}

static void both_ways(int ends[2])
{
    SAY(write(ends[0], "forth", 5));
    say_read(ends[1], 5);
    SAY(write(ends[1], "back", 4));
    say_read(ends[0], 4);
}

// A child that closes, or does nothing at all, takes nothing away.
static void child_closes(void)
{
    int ends[2];
    connected(ends);
    say_end_of(in_child(only_close, ends));
    both_ways(ends);
    SAY(close(ends[1]));
    char byte;
    SAY(read(ends[0], &byte, 1));
}

// One after the other: the child, then the parent again.
static void in_turn(void)
{
    int ends[2];
    connected(ends);
    for (int i = 0; i < 3; i++) {
        say_end_of(in_child(both_ways, ends));
        both_ways(ends);
    }
    SAY(close(ends[0]));
    char byte;
    SAY(read(ends[1], &byte, 1));
}

static void close_all_but_output(int ends[2])
{
    SAY(close_range(3, ~0u, 0));
    SAY(write(ends[0], "x", 1));
    connected(ends);
    both_ways(ends);
}

static void child_closes_all(void)
{
    int ends[2];
    connected(ends);
    say_end_of(in_child(close_all_but_output, ends));
    both_ways(ends);
}

static void shut(int ends[2]) { SAY(shutdown(ends[1], SHUT_WR)); }

static void child_shuts(void)
{
    int ends[2];
    char byte;
    connected(ends);
    say_end_of(in_child(shut, ends));
    SAY(read(ends[0], &byte, 1));
    SAY(write(ends[0], "half", 4));
    say_read(ends[1], 4);
}

static void as_nobody(int ends[2])
{
    if (geteuid() == 0) {
        MUST(chroot("/"));
        MUST(setgroups(0, NULL));
        MUST(setgid(65534));
        MUST(setuid(65534));
    }
    both_ways(ends);
    connected(ends);
    both_ways(ends);
}

// A child that has given up its privileges is admitted as its parent was.
static void child_drops(void)
{
    int ends[2];
    say_end_of(in_child(as_nobody, (int[2]){-1, -1})); // before there is any socket
    connected(ends);
    say_end_of(in_child(as_nobody, ends));
}

static void use_duplicate(int ends[2])
{
    int second = MUST(dup(ends[1]));
    SAY(close(ends[1]));
    ends[1] = second;
    both_ways(ends);
    SAY(dup2(ends[0], ends[1]));
    SAY(write(ends[1], "same", 4));
}

static void duplicates_inherited(void)
{
    int ends[2];
    connected(ends);
    int third = MUST(dup(ends[1]));
    pid_t pid = in_child(use_duplicate, ends);
    MUST(close(ends[1]));
    MUST(close(ends[0]));
    say_end_of(pid);
    say_read(third, 4);
    char byte;
    SAY(read(third, &byte, 1));
}

static void poll_first(int ends[2])
{
    SAY(wait_for(ends[1], POLLIN));
    say_read(ends[1], 4);
    int epfd = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, ends[1], &event));
    SAY(write(ends[0], "more", 4));
    SAY(epoll_wait(epfd, &event, 1, LIMIT_MS));
    say_read(ends[1], 4);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    SAY(select(ends[0] + 1, NULL, &set, NULL, NULL));
}

static void child_polls(void)
{
    int ends[2];
    connected(ends);
    SAY(write(ends[0], "news", 4));
    say_end_of(in_child(poll_first, ends));
}

static void grand(int ends[2]) { say_end_of(in_child(both_ways, ends)); }

static void grandchild(void)
{
    int ends[2];
    connected(ends);
    say_end_of(in_child(grand, ends));
    both_ways(ends);
}

// -- exec ------------------------------------------------------------------------------------

// What follows is what a scenario does when it is started again by itself.
static bool is_second(void) { return getenv("SECOND") != NULL; }

static void start_again(const char *scenario)
{
    fflush(stdout);
    MUST(setenv("SECOND", "1", 1));
    MUST(execl("/proc/self/exe", "scenarios", scenario, (char *)NULL));
}

static void become_cat(int ends[2])
{
    MUST(dup2(ends[1], 0));
    MUST(dup2(ends[1], 1));
    close(ends[0]);
    close(ends[1]);
    execlp("cat", "cat", (char *)NULL);
}

static void say_echo(int ends[2], pid_t pid)
{
    char byte;
    MUST(close(ends[1]));
    SAY(write(ends[0], "later", 5));
    SAY(shutdown(ends[0], SHUT_WR));
    say_read(ends[0], 10);
    SAY(read(ends[0], &byte, 1));
    say_end_of(pid);
}

// inetd: a program that knows nothing of sockets has one as its input and output.
static void exec_on_stdin(void)
{
    int ends[2];
    connected(ends);
    SAY(write(ends[0], "early", 5));
    say_echo(ends, in_child(become_cat, ends));
}

// A program that becomes another: sshd, nginx's upgrade.
// -- Children of other calls than fork() --------------------------------------------------------

static pid_t by_clone(void) { return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); }
static pid_t by_clone3(void)
{
    struct clone_args args = {.exit_signal = SIGCHLD};
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static void serve_once(int end)
{
    char word[5] = {0};
    if (read(end, word, 4) != 4 || strcmp(word, "ping") != 0 || write(end, "pong", 4) != 4)
        _exit(1);
    _exit(0);
}

static int served_end;
static int in_clone(void *unused)
{
    (void)unused;
    serve_once(served_end);
    return 1;
}
static pid_t by_function(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    return clone(in_clone, stack + sizeof stack, SIGCHLD, NULL);
}

static void say_status(pid_t child)
{
    int status = -1;
    SAY(waitpid(child, &status, 0) == child);
    SAY(status);
}

static void raw_forks(void)
{
    pid_t (*const ways[])(void) = {by_clone, by_clone3, _Fork, by_function};
    for (int i = 0; i < 4; i++) {
        int ends[2];
        connected(ends);
        served_end = ends[1];
        fflush(stdout);
        pid_t child = MUST(ways[i]());
        if (child == 0)
            serve_once(ends[1]);
        MUST(close(ends[1]));
        SAY(write(ends[0], "ping", 4));
        say_read(ends[0], 4);
        say_status(child);
        say_read(ends[0], 1);
        MUST(close(ends[0]));
    }
}

// A child that no function of libc's made: it has sockets of its own, and harms nobody's.
static void unseen_fork(void)
{
    int ends[2], own[2];
    connected(ends);
    fflush(stdout);
#ifdef __x86_64__
    long child;
    __asm__ volatile("syscall"
                     : "=a"(child)
                     : "a"(SYS_clone), "D"(SIGCHLD), "S"(0), "d"(0)
                     : "rcx", "r11", "memory");
#else
    long child = MUST(fork());
#endif
    if (child == 0) {
        connected(own);
        bool good = write(own[0], "x", 1) == 1 && read(own[1], ends, 1) == 1;
        _exit(good ? 0 : 1);
    }
    SAY(write(ends[0], "x", 1));
    say_read(ends[1], 1);
    say_status((pid_t)child);
    SAY(write(ends[1], "y", 1));
    say_read(ends[0], 1);
}

// More than one message can name, and one at a number that few programs use.
static void exec_many(void)
{
    enum { PAIRS = 100, FIRST = 100, HIGH = 1500 };
    if (!is_second()) {
        struct rlimit limit;
        MUST(getrlimit(RLIMIT_NOFILE, &limit));
        limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
        MUST(setrlimit(RLIMIT_NOFILE, &limit));
        for (int i = 0; i < PAIRS; i++) {
            int own[2];
            connected(own);
            for (int end = 0; end < 2; end++) {
                MUST(dup2(own[end], FIRST + 2 * i + end));
                MUST(close(own[end]));
            }
        }
        MUST(dup2(FIRST + 2 * PAIRS - 1, HIGH));
        MUST(close(FIRST + 2 * PAIRS - 1));
        start_again("exec_many");
    }
    int good = 0;
    for (int i = 0; i < PAIRS; i++) {
        int to = i == PAIRS - 1 ? HIGH : FIRST + 2 * i + 1;
        char byte = 0;
        good += write(FIRST + 2 * i, "x", 1) == 1 && read(to, &byte, 1) == 1 && byte == 'x';
    }
    SAY(good);
}

static void exec_self(void)
{
    int ends[2] = {10, 11};
    if (!is_second()) {
        int own[2], on = 1;
        connected(own);
        MUST(setsockopt(own[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
        fcntl(own[1], F_SETFL, O_NONBLOCK);
        MUST(dup2(own[0], ends[0]));
        MUST(dup2(own[1], ends[1]));
        int away = MUST(dup2(own[0], 12));
        MUST(fcntl(away, F_SETFD, FD_CLOEXEC));
        MUST(close(own[0]));
        MUST(close(own[1]));
        MUST(write(ends[0], "over", 4));
        start_again("exec_self");
    }
    int on = 0;
    struct sockaddr_in name;
    socklen_t length = sizeof on, name_length = sizeof name;
    say_read(ends[1], 4);
    SAY(read(ends[1], &on, 4)); // O_NONBLOCK is the description's
    SAY(fcntl(12, F_GETFD));
    SAY(fcntl(ends[0], F_GETFD));
    SAY(fcntl(ends[0], F_GETFL) == O_RDWR);
    SAY(getsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &on, &length));
    SAY(on != 0);
    SAY(getpeername(ends[0], (struct sockaddr *)&name, &name_length));
    SAY(write(ends[1], "back", 4));
    say_read(ends[0], 4);
    SAY(close(ends[0]));
    char byte;
    SAY(wait_for(ends[1], POLLIN) > 0);
    SAY(read(ends[1], &byte, 1));
}

static void exec_fails(void)
{
    int ends[2];
    connected(ends);
    SAY(execl("/nowhere/at/all", "x", (char *)NULL));
    both_ways(ends);
    SAY(close(ends[0]));
    char byte;
    SAY(read(ends[1], &byte, 1));
}

extern char **environ;

static void spawned(void)
{
    int ends[2];
    pid_t pid;
    posix_spawn_file_actions_t actions;
    char *const argv[] = {"cat", NULL};
    connected(ends);
    MUST(fcntl(ends[0], F_SETFD, FD_CLOEXEC));
    MUST(fcntl(ends[1], F_SETFD, FD_CLOEXEC));
    MUST(posix_spawn_file_actions_init(&actions));
    SAY(posix_spawn_file_actions_adddup2(&actions, ends[1], 0));
    SAY(posix_spawn_file_actions_adddup2(&actions, ends[1], 1));
    SAY(write(ends[0], "early", 5));
    SAY(posix_spawnp(&pid, "cat", &actions, NULL, argv, environ));
    say_echo(ends, pid);
}

// A child that runs others on its standard input and output: a shell on a socket.
static void shell(int ends[2])
{
    MUST(dup2(ends[1], 0));
    MUST(dup2(ends[1], 1));
    close(ends[0]);
    close(ends[1]);
    execl("/bin/sh", "sh", "-c", "echo one; cat; echo two; /bin/echo three", (char *)NULL);
}

static void shell_on_socket(void)
{
    int ends[2];
    char byte;
    connected(ends);
    pid_t pid = in_child(shell, ends);
    MUST(close(ends[1]));
    SAY(write(ends[0], "text\n", 5));
    SAY(shutdown(ends[0], SHUT_WR));
    say_read(ends[0], 4 + 5 + 4 + 6);
    SAY(read(ends[0], &byte, 1));
    say_end_of(pid);
}

static void run_system(int ends[2])
{
    MUST(dup2(ends[1], 1));
    close(ends[1]);
    close(ends[0]);
    int status = system("echo by system");
    FILE *tube = popen("cat", "w");
    fputs("by popen", tube);
    _exit(status + pclose(tube));
}

static void system_on_socket(void)
{
    int ends[2];
    char byte;
    connected(ends);
    pid_t pid = in_child(run_system, ends);
    MUST(close(ends[1]));
    say_read(ends[0], 10 + 8);
    SAY(read(ends[0], &byte, 1));
    say_end_of(pid);
}

// -- SCM_RIGHTS ------------------------------------------------------------------------------

static ssize_t send_numbers(int to, const int *fds, int count)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(4 * sizeof(int))];
    } control = {.room = {0}};
    const size_t bytes = (size_t)count * sizeof(int);
    struct iovec iov = {"x", 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = CMSG_SPACE(bytes)};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(&control.header), fds, bytes);
    return sendmsg(to, &message, 0);
}

static int receive_numbers(int from, int *fds)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(4 * sizeof(int))];
    } control = {.room = {0}};
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    MUST(recvmsg(from, &message, MSG_CMSG_CLOEXEC));
    size_t bytes = control.header.cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(&control.header), bytes);
    return (int)(bytes / sizeof(int));
}

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

static void answer(int fd);

static void accept_received(int ends[2])
{
    int got[4];
    SAY(receive_numbers(ends[1], got));
    answer(got[0]);
}

static void ask(const struct sockaddr_in *name);

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

// -- Listening sockets -----------------------------------------------------------------------

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

const struct scenario share_scenarios[] = {
    {"child_serves", child_serves},
    {"child_goes_on", child_goes_on},
    {"parent_exits", parent_exits},
    {"child_closes", child_closes},
    {"in_turn", in_turn},
    {"child_closes_all", child_closes_all},
    {"child_shuts", child_shuts},
    {"child_drops", child_drops},
    {"duplicates_inherited", duplicates_inherited},
    {"child_polls", child_polls},
    {"grandchild", grandchild},
    {"exec_on_stdin", exec_on_stdin},
    {"raw_forks", raw_forks},
    {"unseen_fork", unseen_fork},
    {"exec_self", exec_self},
    {"exec_many", exec_many},
    {"exec_fails", exec_fails},
    {"spawned", spawned},
    {"shell_on_socket", shell_on_socket},
    {"system_on_socket", system_on_socket},
    {"passed", passed},
    {"passed_to_oneself", passed_to_oneself},
    {"both_write", both_write},
    {"both_read", both_read},
    {"workers", workers},
    {"workers_listen", workers_listen},
    {"listener_left_behind", listener_left_behind},
    {"listener_over_exec", listener_over_exec},
    {"listener_passed", listener_passed},
    {NULL, NULL},
};
