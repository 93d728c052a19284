// main.c: the watchdog, the noise, and what all share; see wakeups.h.
#include "wakeups.h"

#include <dlfcn.h>

enum { THREADS = 64, WATCH_MS = 250 };

const char *const way_name[WAYS] = {"epoll, level",     "epoll, edge",   "epoll, one-shot",
                                    "epoll, exclusive", "nested epoll",  "poll",
                                    "select",           "blocking calls"};

struct link links[CONNECTIONS];
uint64_t end_ms;
uint64_t seed;
struct sockaddr_in address;
uint64_t echoed;
uint64_t connected;

static pthread_t threads[THREADS];
static int thread_count;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; // of links and threads
static bool stopping;

uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct link *link_open(int fd, bool client)
{
    struct link *found = NULL;
    pthread_mutex_lock(&table);
    for (int i = 0; i < CONNECTIONS && found == NULL; i++)
        if (links[i].fd < 0)
            found = &links[i];
    if (found != NULL) {
        found->group = NULL;
        found->client = client;
        found->at_end = false;
        found->pending = found->sent = 0;
        looked(found);
        found->fd = fd;
    }
    pthread_mutex_unlock(&table);
    return found;
}

void link_close(struct link *link)
{
    pthread_mutex_lock(&table);
    int fd = link->fd;
    link->fd = -1;
    pthread_mutex_unlock(&table);
    close(fd);
}

static void describe(const struct link *link)
{
    static char *(*known)(int, char *, size_t);
    char text[8192] = "";
    int unread = -1;
    struct pollfd level = {.fd = link->fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    poll(&level, 1, 0);
    ioctl(link->fd, FIONREAD, &unread);
    if (known == NULL)
        known = (char *(*)(int, char *, size_t))dlsym(RTLD_DEFAULT, "newtos_describe");
    fprintf(stderr, "%s %d: polls %x, unread %d, pending %zu of %zu, looked at %llu ms ago\n%s",
            link->client ? "client" : "server", link->fd, level.revents, unread, link->sent,
            link->pending, (unsigned long long)(now_ms() - link->looked_ms),
            known == NULL ? "" : known(link->fd, text, sizeof text));
}

void lost(const struct link *link, const char *what)
{
    pthread_mutex_lock(&table); // one of them; the others stand still
    fprintf(stderr, "LOST: %s; seed %llu, %llu messages so far\n", what, (unsigned long long)seed,
            (unsigned long long)echoed);
    describe(link);
    for (int i = 0; i < CONNECTIONS; i++)
        if (links[i].fd >= 0 && &links[i] != link)
            describe(&links[i]);
    _exit(1);
}

void random_sleep(struct rng *rng)
{
    static const uint32_t limit_us[] = {1, 20, 200, 3000};
    const struct timespec time = {.tv_nsec = (draw(rng) % limit_us[draw(rng) % 4]) * 1000l};
    nanosleep(&time, NULL);
}

pthread_t start(void *(*body)(void *), void *arg)
{
    pthread_mutex_lock(&table);
    if (thread_count == THREADS)
        abort();
    MUST(-pthread_create(&threads[thread_count], NULL, body, arg));
    pthread_t thread = threads[thread_count++];
    pthread_mutex_unlock(&table);
    return thread;
}

// A connection is lost if it is readable, nobody looks at it, and this for long.
static void watch(struct link *link)
{
    int fd = link->fd;
    if (fd < 0)
        return;
    uint64_t looked_ms = __atomic_load_n(&link->looked_ms, __ATOMIC_RELAXED);
    struct pollfd level = {.fd = fd, .events = POLLIN};
    bool ready = poll(&level, 1, 0) == 1 && (level.revents & POLLNVAL) == 0 && !link->at_end &&
                 link->pending == link->sent;
    if (!ready || fd != link->fd) {
        __atomic_store_n(&link->ready_ms, 0, __ATOMIC_RELAXED);
        return;
    }
    uint64_t since = __atomic_load_n(&link->ready_ms, __ATOMIC_RELAXED);
    uint64_t now = now_ms();
    if (since == 0)
        __atomic_store_n(&link->ready_ms, now, __ATOMIC_RELAXED);
    else if (now - since > LOST_MS && now - looked_ms > LOST_MS)
        lost(link, "readable, and nobody looks");
}

static void *watchdog(void *arg)
{
    const struct timespec pause = {.tv_nsec = WATCH_MS * 1000000l};
    while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
        for (int i = 0; i < CONNECTIONS; i++)
            watch(&links[i]);
        nanosleep(&pause, NULL);
    }
    return arg;
}

// Signals, with and without SA_RESTART, to whoever: each call goes on as its loop says.
static void *noise(void *arg)
{
    struct rng rng = {.state = seed + 1};
    while (!__atomic_load_n(&stopping, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&table);
        if (thread_count > 0)
            pthread_kill(threads[draw(&rng) % (uint32_t)thread_count],
                         chance(&rng, 2) ? SIGUSR1 : SIGUSR2);
        pthread_mutex_unlock(&table);
        random_sleep(&rng);
        random_sleep(&rng);
    }
    return arg;
}

static void on_signal(int number) { (void)number; }

static void open_all(int argc, char **argv)
{
    const pthread_mutex_t unlocked = PTHREAD_MUTEX_INITIALIZER;
    struct sigaction restarts = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction interrupts = {.sa_handler = on_signal};
    MUST(sigaction(SIGUSR1, &restarts, NULL));
    MUST(sigaction(SIGUSR2, &interrupts, NULL));
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < CONNECTIONS; i++) {
        links[i].fd = -1;
        links[i].lock = unlocked;
        links[i].buffer = malloc(PENDING);
    }
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    end_ms = now_ms() + (uint64_t)atoi(argv[3]) * 1000;
    seed = strtoull(argv[4], NULL, 0);
    if (argc > 5)
        MUST(inet_pton(AF_INET, argv[5], &address.sin_addr) - 1);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    open_all(argc, argv);
    const bool serves = strcmp(argv[1], "client") != 0;
    pthread_t dog;
    pthread_t noisy;
    MUST(-pthread_create(&dog, NULL, watchdog, NULL));
    MUST(-pthread_create(&noisy, NULL, noise, NULL));
    if (serves)
        servers_start();
    if (strcmp(argv[1], "server") == 0) {
        char c;
        printf("listening\n");
        fflush(stdout);
        while (read(0, &c, 1) != 0) {
        }
    } else {
        clients_run();
    }
    if (serves)
        servers_end();
    __atomic_store_n(&stopping, true, __ATOMIC_RELAXED);
    pthread_join(noisy, NULL);
    for (int i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    pthread_join(dog, NULL);
    printf("%llu messages over %llu connections\n", (unsigned long long)echoed,
           (unsigned long long)connected);
    return 0;
}
