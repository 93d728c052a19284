// process.c: children, and calls that go past the names.
#include "scenario.h"

#include <dlfcn.h>

static void children(void)
{
    int ends[2];
    int status = 0;
    connected(ends);
    fflush(stdout);
    SAY(system("echo from a shell; exec true"));
    FILE *tube = popen("echo through popen", "r");
    char line[64] = {0};
    SAY(fgets(line, sizeof line, tube) != NULL);
    printf("%s", line);
    SAY(pclose(tube));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int own[2];
        char buf[8] = {0};
        connected(own);
        SAY(write(own[0], "child", 5));
        SAY(read(own[1], buf, 8));
        printf("%s\n", buf);
        SAY(close(ends[0]));
        fflush(stdout);
        _exit(7);
    }
    SAY(waitpid(child, &status, 0) == child);
    SAY(WEXITSTATUS(status));
    child = vfork();
    if (child == 0) {
        execl("/bin/echo", "echo", "after vfork", (char *)NULL);
        _exit(1);
    }
    SAY(waitpid(child, &status, 0) == child);
    SAY(WEXITSTATUS(status));
    char buf[8] = {0};
    SAY(write(ends[0], "mine", 4)); // untouched by all of them
    SAY(read(ends[1], buf, 8));
}

static void unix_sockets(void)
{
    int pair[2];
    char buf[8];
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    SAY(write(pair[0], "unix", 4));
    SAY(recv(pair[1], buf, 8, 0));
    int tube[2];
    MUST(pipe(tube));
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec iov = {"x", 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &tube[0], sizeof(int));
    SAY(sendmsg(pair[0], &message, 0));
    SAY(recvmsg(pair[1], &message, 0));
    SAY(message.msg_controllen == CMSG_LEN(sizeof(int)) ||
        message.msg_controllen == sizeof control.room);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 3};
    int epfd = MUST(epoll_create1(0));
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, pair[0], &event));
    SAY(epoll_wait(epfd, &event, 1, 0));
    MUST(write(pair[1], "x", 1));
    SAY(epoll_wait(epfd, &event, 1, LIMIT_MS));
    SAY(event.data.u32);
}

static void by_number(void)
{
    struct sockaddr_in name;
    char buf[8] = {0};
    int fd = listener(&name, 0);
    long client = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    SAY(client);
    SAY(syscall(SYS_connect, client, &name, sizeof name));
    long server = syscall(SYS_accept4, fd, NULL, NULL, SOCK_CLOEXEC);
    SAY(server);
    SAY(syscall(SYS_write, client, "hello", 5));
    SAY(syscall(SYS_read, server, buf, 8));
    printf("%s\n", buf);
    SAY(syscall(SYS_shutdown, client, SHUT_WR));
    SAY(syscall(SYS_recvfrom, server, buf, 8, 0, NULL, NULL));
    SAY(syscall(SYS_close, client));
    SAY(syscall(SYS_close, client));
    SAY(syscall(SYS_getppid) > 0);
    // Looked up at run time, as sockperf does.
    ssize_t (*by_dlsym)(int, const void *, size_t, int) =
        (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_DEFAULT, "send");
    SAY(by_dlsym((int)server, "x", 1, MSG_NOSIGNAL));
}

ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);

static void fortified(void)
{
    int ends[2];
    char buf[8];
    connected(ends);
    MUST(write(ends[0], "abcd", 4));
    struct pollfd wanted = {.fd = ends[1], .events = POLLIN};
    SAY(__poll_chk(&wanted, 1, LIMIT_MS, sizeof wanted));
    SAY(__read_chk(ends[1], buf, 2, sizeof buf));
    SAY(__recv_chk(ends[1], buf, 2, sizeof buf, 0));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        connected(ends);
        close(2);
        __read_chk(ends[1], buf, 9, 8);
        _exit(0);
    }
    int status = 0;
    MUST(waitpid(child, &status, 0));
    SAY(WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}

static void *shell(void *command)
{
    (void)system(command);
    return NULL;
}

// Two shells at once, the first of which ends first: the environment is what it was.
static void shells(void)
{
    pthread_t threads[2];
    char commands[2][64];
    int started[2], ending[2][2], ends[2];
    char byte;
    connected(ends);
    char **before = environ;
    MUST(pipe(started));
    for (int i = 0; i < 2; i++) {
        MUST(pipe(ending[i]));
        snprintf(commands[i], sizeof commands[i], "echo >&%d; read line <&%d", started[1],
                 ending[i][0]);
        MUST(pthread_create(&threads[i], NULL, shell, commands[i]));
        MUST(read(started[0], &byte, 1));
    }
    SAY(environ == before);
    for (int i = 0; i < 2; i++) {
        MUST(write(ending[i][1], "\n", 1));
        (void)pthread_join(threads[i], NULL);
    }
    SAY(environ == before);
    SAY(getenv("NO_SUCH_VARIABLE") == NULL);
}

const struct scenario process_scenarios[] = {
    {"children", children},   {"unix_sockets", unix_sockets},
    {"by_number", by_number}, {"fortified", fortified},
    {"shells", shells},       {NULL, NULL},
};
