// sharing.c: see sharing.h.
#include "sharing.h"

// Runs `child` in a child; SAYs of it come before anything that the parent says afterwards.
pid_t in_child(void (*child)(int ends[2]), int ends[2])
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

void say_end_of(pid_t pid)
{
    int status = 0;
    MUST(waitpid(pid, &status, 0));
    SAY(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

void say_read(int fd, size_t bytes)
{
    char buf[64] = {0};
    SAY(read_all(fd, buf, bytes));
    printf("%s\n", buf);
}

uint8_t byte_at(size_t i) { return (uint8_t)(i * 7 + i / 251); }

static void fill(uint8_t *many, size_t from)
{
    for (size_t i = 0; i < MANY; i++)
        many[i] = byte_at(from + i);
}

void write_many(int fd, size_t from)
{
    static uint8_t many[MANY];
    fill(many, from);
    for (size_t done = 0; done < MANY;)
        done += (size_t)MUST(write(fd, many + done, MANY - done));
}

void both_ways(int ends[2])
{
    SAY(write(ends[0], "forth", 5));
    say_read(ends[1], 5);
    SAY(write(ends[1], "back", 4));
    say_read(ends[0], 4);
}

ssize_t send_numbers(int to, const int *fds, int count)
{
    return send_beside(to, SOL_SOCKET, SCM_RIGHTS, fds, (size_t)count * sizeof(int));
}

int receive_numbers(int from, int *fds)
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

bool is_second(void) { return getenv("SECOND") != NULL; }

void start_again(const char *scenario)
{
    fflush(stdout);
    MUST(setenv("SECOND", "1", 1));
    MUST(execl("/proc/self/exe", "scenarios", scenario, (char *)NULL));
}
