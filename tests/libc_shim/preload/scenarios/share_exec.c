// share_exec.c: sockets that go along to another program, and to children of other calls than
// fork().
#include "sharing.h"

#include <linux/sched.h>
#include <spawn.h>

// -- exec ------------------------------------------------------------------------------------

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

const struct scenario share_exec_scenarios[] = {
    {"exec_on_stdin", exec_on_stdin},
    {"raw_forks", raw_forks},
    {"unseen_fork", unseen_fork},
    {"exec_self", exec_self},
    {"exec_many", exec_many},
    {"exec_fails", exec_fails},
    {"spawned", spawned},
    {"shell_on_socket", shell_on_socket},
    {"system_on_socket", system_on_socket},
    {NULL, NULL},
};
