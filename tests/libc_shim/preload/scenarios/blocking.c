// blocking.c: calls that wait, and what ends the wait.
#include "scenario.h"

static void on_signal(int number) { (void)number; }

static void catch (int number, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    MUST(sigaction(number, &action, NULL));
}

struct later {
    pthread_t target;
    int tid;
    int signal; // 0: write instead
    int fd;
    int then_write; // after the signal
};

static void wait_asleep(int tid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    for (int i = 0, asleep = 0; i < 100000 && asleep < 20; i++) {
        char text[256] = {0};
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')') != NULL &&
            strrchr(text, ')')[2] == 'S')
            asleep++;
        else
            asleep = 0;
        close(fd);
        sched_yield();
    }
}

static void *do_later(void *arg)
{
    struct later *later = arg;
    wait_asleep(later->tid);
    if (later->signal != 0)
        pthread_kill(later->target, later->signal);
    if (later->signal != 0 && later->then_write)
        wait_asleep(later->tid);
    if (later->signal == 0 || later->then_write)
        (void)!write(later->fd, "data", 4);
    return NULL;
}

static pthread_t start(struct later *later)
{
    pthread_t thread;
    later->target = pthread_self();
    later->tid = (int)syscall(SYS_gettid);
    MUST(-pthread_create(&thread, NULL, do_later, later));
    return thread;
}

static void receiving(void)
{
    int ends[2];
    char buf[8];
    connected(ends);
    struct later later = {.fd = ends[0]};
    pthread_t thread = start(&later);
    SAY(read(ends[1], buf, 8));
    pthread_join(thread, NULL);
    thread = start(&later);
    SAY(recv(ends[1], buf, 4, MSG_WAITALL));
    pthread_join(thread, NULL);
    struct timeval limit = {.tv_usec = 30000};
    SAY(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SAY(read(ends[1], buf, 8));
    SAY(recv(ends[1], buf, 8, MSG_WAITALL));
    struct sockaddr_in name;
    int fd = listener(&name, 0);
    SAY(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SAY(accept(fd, NULL, NULL));
    static char data[1 << 20];
    SAY(setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    ssize_t sent = 1;
    while (sent > 0)
        sent = write(ends[0], data, sizeof data);
    SAY(sent);
    SAY(errno == EAGAIN);
}

static void interrupted(void)
{
    int ends[2];
    char buf[8];
    connected(ends);
    catch (SIGUSR1, 0);
    catch (SIGUSR2, SA_RESTART);
    struct later later = {.fd = ends[0], .signal = SIGUSR1};
    pthread_t thread = start(&later);
    SAY(read(ends[1], buf, 8));
    pthread_join(thread, NULL);
    later = (struct later){.fd = ends[0], .signal = SIGUSR2, .then_write = 1};
    thread = start(&later);
    SAY(read(ends[1], buf, 8)); // goes on
    pthread_join(thread, NULL);
    struct pollfd wanted = {.fd = ends[1], .events = POLLIN};
    later.then_write = 0;
    thread = start(&later);
    SAY(poll(&wanted, 1, LIMIT_MS)); // never restarts
    pthread_join(thread, NULL);
    int epfd = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    MUST(epoll_ctl(epfd, EPOLL_CTL_ADD, ends[1], &event));
    thread = start(&later);
    SAY(epoll_wait(epfd, &event, 1, LIMIT_MS));
    pthread_join(thread, NULL);
    // A signal that only the wait lets in.
    sigset_t blocked;
    sigset_t none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    pthread_kill(pthread_self(), SIGUSR1);
    SAY(ppoll(&wanted, 1, NULL, &none));
    pthread_kill(pthread_self(), SIGUSR1);
    SAY(epoll_pwait(epfd, &event, 1, LIMIT_MS, &none));
    struct timeval limit = {.tv_sec = 5};
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    SAY(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    thread = start(&later);
    SAY(read(ends[1], buf, 8)); // with a limit no call restarts
    pthread_join(thread, NULL);
}

static void *accept_one(void *arg)
{
    int fd = accept(*(int *)arg, NULL, NULL);
    return (void *)(long)(fd >= 0 ? 1 : -errno);
}

static void accepting(void)
{
    struct sockaddr_in name;
    pthread_t threads[4];
    int fd = listener(&name, 0);
    for (int i = 0; i < 4; i++)
        MUST(-pthread_create(&threads[i], NULL, accept_one, &fd));
    for (int i = 0; i < 4; i++) {
        int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
        MUST(connect(client, (struct sockaddr *)&name, sizeof name));
    }
    long accepted = 0;
    for (int i = 0; i < 4; i++) {
        void *one;
        pthread_join(threads[i], &one);
        accepted += (long)one;
    }
    SAY(accepted);
}

static void *read_one(void *arg)
{
    char buf[8];
    ssize_t got = read(*(int *)arg, buf, sizeof buf);
    return (void *)(long)(got >= 0 ? got : -errno);
}

// On Linux the reader keeps the connection, though its number is gone.
static void closing(void)
{
    int ends[2];
    pthread_t thread;
    void *got;
    connected(ends);
    struct later later = {.fd = ends[0]};
    MUST(-pthread_create(&thread, NULL, read_one, &ends[1]));
    for (int i = 0; i < 1000; i++)
        sched_yield();
    // Not before it reads: data would come too late for a reader that finds EBADF.
    SAY(write(ends[0], "data", 4));
    pthread_join(thread, &got);
    SAY((long)got);
    MUST(-pthread_create(&thread, NULL, read_one, &ends[1]));
    SAY(shutdown(ends[1], SHUT_RD));
    pthread_join(thread, &got);
    SAY((long)got);
    (void)later;
    MUST(-pthread_create(&thread, NULL, read_one, &ends[0]));
    SAY(close(ends[1]));
    pthread_join(thread, &got);
    SAY((long)got);
}

// A handler that uses the very socket whose call it may have interrupted.
static int handled_fd;
static volatile int handled;

static void use_socket(int number)
{
    (void)number;
    int saved = errno;
    char c = 'h';
    struct pollfd wanted = {.fd = handled_fd, .events = POLLOUT};
    if (poll(&wanted, 1, 0) == 1 && write(handled_fd, &c, 1) == 1)
        handled++;
    errno = saved;
}

static void *pester(void *arg)
{
    const struct later *later = arg;
    for (int i = 0; i < 500; i++) {
        pthread_kill(later->target, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

static void handlers(void)
{
    int ends[2];
    char buf[256];
    connected(ends);
    handled_fd = ends[0];
    struct sigaction action = {.sa_handler = use_socket, .sa_flags = SA_RESTART};
    struct sigaction old;
    SAY(sigaction(SIGUSR1, &action, NULL));
    SAY(sigaction(SIGUSR1, NULL, &old));
    SAY(old.sa_handler == use_socket);
    SAY((old.sa_flags & ~0x04000000) == SA_RESTART); // SA_RESTORER is libc's
    SAY(signal(SIGUSR2, on_signal) == SIG_DFL);
    SAY(signal(SIGUSR2, SIG_IGN) == on_signal);
    SAY(signal(SIGKILL, on_signal) == SIG_ERR);
    struct later later = {.target = pthread_self()};
    pthread_t thread;
    MUST(-pthread_create(&thread, NULL, pester, &later));
    int written = 0;
    int got = 0;
    for (int i = 0; i < 2000; i++) {
        written += write(ends[0], "w", 1) == 1;
        ssize_t more = recv(ends[1], buf, sizeof buf, MSG_DONTWAIT);
        got += more > 0 ? (int)more : 0;
    }
    pthread_join(thread, NULL);
    sigset_t blocked;
    sigfillset(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    SAY(written);
    SAY(handled > 0);
    while (got < written + handled)
        got += MUST(recv(ends[1], buf, sizeof buf, 0));
    SAY(got == written + handled);
    SAY(recv(ends[1], buf, sizeof buf, MSG_DONTWAIT));
}

// As PostgreSQL's postmaster did: a handler that forks, while select() waits with a timeout. Each
// thread waits for the first time in its life, which is when the shim has most to do.
enum { SELECTORS = 4, TURNS = 7 };

static int park[2];

static void fork_once(int number)
{
    (void)number;
    int saved = errno;
    int status = 1;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child > 0 && waitpid(child, &status, 0) == child && status == 0)
        handled++;
    errno = saved;
}

static void *select_once(void *arg)
{
    fd_set readable;
    struct timeval timeout = {.tv_usec = 3000};
    char byte;
    FD_ZERO(&readable);
    FD_SET(handled_fd, &readable);
    int ready = select(handled_fd + 1, &readable, NULL, NULL, &timeout);
    __atomic_store_n((int *)arg, 1, __ATOMIC_SEQ_CST);
    MUST(read(park[0], &byte, 1));
    return (void *)(long)(ready == 0 || (ready < 0 && errno == EINTR));
}

static void forking_handlers(void)
{
    static pthread_t threads[SELECTORS];
    int ends[2];
    long good = 0;
    connected(ends);
    handled_fd = ends[0];
    handled = 0;
    MUST(pipe(park));
    struct sigaction action = {.sa_handler = fork_once, .sa_flags = SA_RESTART};
    MUST(sigaction(SIGUSR1, &action, NULL));
    for (int i = 0; i < SELECTORS; i++) {
        int is_done = 0;
        MUST(-pthread_create(&threads[i], NULL, select_once, &is_done));
        for (int n = 0; __atomic_load_n(&is_done, __ATOMIC_SEQ_CST) == 0; n++) {
            if (n % TURNS == 0)
                pthread_kill(threads[i], SIGUSR1);
            sched_yield();
        }
    }
    for (int i = 0; i < SELECTORS; i++)
        MUST(write(park[1], "x", 1));
    for (int i = 0; i < SELECTORS; i++) {
        void *one;
        pthread_join(threads[i], &one);
        good += (long)one;
    }
    SAY(good);
    SAY(handled > 0);
}

const struct scenario blocking_scenarios[] = {
    {"receiving", receiving},
    {"interrupted", interrupted},
    {"accepting", accepting},
    {"closing", closing},
    {"handlers", handlers},
    {"forking_handlers", forking_handlers},
    {NULL, NULL},
};
