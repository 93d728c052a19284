// server.c: groups of threads that echo, each waiting in its own way; see wakeups.h.
#include "wakeups.h"

enum {
    EVENTS = 4, // of a wait: few, so that others have to be woken for the rest
    GROUPS = 9,
    MEMBERS = 128, // of a group that polls
    BLOCKING_THREADS = 7,
    SPREAD_IN = 48, // one in so many looks registers anew, moves, duplicates or spreads
};

struct group {
    enum way way;
    int threads;
    int epfd;          // where connections are
    int outer;         // where the threads wait
    struct link *tick; // an eventfd: the kernel's among newtos's
    struct link *member[MEMBERS];
    int members;
    int number;
};

// The listening socket is in all of them, so it is everybody's; one has threads enough to race.
static struct group groups[GROUPS] = {
    {.way = LEVEL, .threads = 3},     {.way = EDGE, .threads = 2},
    {.way = ONESHOT, .threads = 3},   {.way = EDGE, .threads = 1},
    {.way = EXCLUSIVE, .threads = 1}, {.way = EXCLUSIVE, .threads = 2},
    {.way = NESTED, .threads = 2},    {.way = POLL, .threads = 1},
    {.way = SELECT, .threads = 1},
};
static struct link *listening;
static int blocking_listener;
static bool ending;

static bool polls(const struct group *group) { return group->way == POLL || group->way == SELECT; }

static uint32_t interest(const struct group *group, const struct link *link)
{
    uint32_t wanted = link->pending > link->sent ? EPOLLOUT : EPOLLIN;
    if (group->way == EDGE)
        return EPOLLIN | EPOLLOUT | EPOLLET;
    return group->way == ONESHOT ? wanted | EPOLLONESHOT : wanted | EPOLLRDHUP;
}

static void control(struct group *group, int op, struct link *link, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = link};
    MUST(epoll_ctl(group->epfd, op, link->fd, &event));
}

// -- One connection --------------------------------------------------------------------------

// Sends what is pending: false if some is left.
static bool flush(struct link *link)
{
    while (link->sent < link->pending) {
        ssize_t sent =
            send(link->fd, link->buffer + link->sent, link->pending - link->sent, MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        link->sent += (size_t)sent;
    }
    return true;
}

// False: it has ended. A level is left as it may be; an edge is used up.
static bool echo(struct link *link, bool all)
{
    bool again = true;
    while (again && flush(link)) {
        ssize_t got = recv(link->fd, link->buffer, PENDING, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (got > 0) {
            link->pending = (size_t)got;
            link->sent = 0;
        }
        again = got > 0 ? all : errno == EINTR;
        if (!again)
            flush(link);
    }
    return link->sent == link->pending || errno == EAGAIN || errno == EINTR;
}

// Registrations change while data come.
static void stir(struct group *group, struct link *link, struct rng *rng)
{
    struct group *to = &groups[draw(rng) % 7];
    if (link->group != group)
        return;
    switch (draw(rng) % 3) {
    case 0: // anew
        control(group, EPOLL_CTL_DEL, link, 0);
        control(group, EPOLL_CTL_ADD, link, interest(group, link));
        break;
    case 1: // to another instance
        control(group, EPOLL_CTL_DEL, link, 0);
        link->group = to;
        control(to, EPOLL_CTL_ADD, link, interest(to, link));
        break;
    case 2: { // by another number
        control(group, EPOLL_CTL_DEL, link, 0);
        int copy = MUST(dup(link->fd));
        close(link->fd);
        link->fd = copy;
        control(group, EPOLL_CTL_ADD, link, interest(group, link));
        break;
    }
    }
}

// False: the connection is gone.
static bool serve(struct group *group, struct link *link, struct rng *rng)
{
    bool there = true;
    pthread_mutex_lock(&link->lock);
    if (link->fd >= 0 && link->group == group) {
        looked(link);
        uint32_t before = interest(group, link);
        there = echo(link, group->way == EDGE || chance(rng, 2));
        if (!there)
            link_close(link);
        else if (!polls(group) && (group->way == ONESHOT || interest(group, link) != before))
            control(group, EPOLL_CTL_MOD, link, interest(group, link));
        if (there && !polls(group) && chance(rng, SPREAD_IN))
            stir(group, link, rng);
    }
    pthread_mutex_unlock(&link->lock);
    return there;
}

static void join_group(struct group *group, struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->group = group;
    if (polls(group))
        group->member[group->members++] = link;
    else
        control(group, EPOLL_CTL_ADD, link, interest(group, link));
    pthread_mutex_unlock(&link->lock);
}

static void take_connections(struct group *group)
{
    looked(listening);
    while (!polls(group) || group->members < MEMBERS) {
        int fd = accept4(listening->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            break;
        struct link *link = link_open(fd, false);
        if (link == NULL)
            close(fd); // the client makes another
        else
            join_group(group, link);
        if (group->way == LEVEL) // one at a time
            break;
    }
    looked(listening);
    if (group->way == ONESHOT)
        control(group, EPOLL_CTL_MOD, listening, EPOLLIN | EPOLLONESHOT);
}

static void take_tick(struct group *group)
{
    uint64_t ticks;
    (void)!read(group->tick->fd, &ticks, sizeof ticks);
    looked(group->tick);
}

static void handle(struct group *group, struct link *link, struct rng *rng)
{
    if (link == listening)
        take_connections(group);
    else if (link == group->tick)
        take_tick(group);
    else
        serve(group, link, rng);
}

// -- Waiting ---------------------------------------------------------------------------------

static bool is_ending(void) { return __atomic_load_n(&ending, __ATOMIC_RELAXED); }

static void wait_in_epoll(struct group *group, struct rng *rng)
{
    struct epoll_event events[EVENTS];
    int max = 1 + (int)(draw(rng) % EVENTS);
    int count = epoll_wait(group->outer, events, max, chance(rng, 8) ? 0 : -1);
    if (group->way == NESTED && count > 0)
        count = epoll_wait(group->epfd, events, max, 0);
    for (int i = 0; i < count; i++)
        handle(group, events[i].data.ptr, rng);
}

static void forget(struct group *group, struct link *link)
{
    for (int i = 0; i < group->members; i++)
        if (group->member[i] == link)
            group->member[i--] = group->member[--group->members];
}

static void wait_in_poll(struct group *group, struct rng *rng)
{
    struct link *link[MEMBERS + 2] = {listening, group->tick};
    struct pollfd fds[MEMBERS + 2];
    int count = 2;
    for (int i = 0; i < group->members; i++)
        link[count++] = group->member[i];
    for (int i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = link[i]->fd, .events = (short)interest(group, link[i])};
    if (group->members == MEMBERS)
        fds[0].fd = -1;
    if (poll(fds, (nfds_t)count, -1) <= 0)
        return;
    for (int i = 0; i < count; i++) {
        if (fds[i].revents == 0)
            continue;
        if (i < 2)
            handle(group, link[i], rng);
        else if (!serve(group, link[i], rng))
            forget(group, link[i]);
    }
}

static void wait_in_select(struct group *group, struct rng *rng)
{
    struct link *link[MEMBERS + 2] = {listening, group->tick};
    fd_set sets[2];
    int count = 2;
    int top = 0;
    FD_ZERO(&sets[0]);
    FD_ZERO(&sets[1]);
    for (int i = 0; i < group->members; i++)
        link[count++] = group->member[i];
    for (int i = group->members == MEMBERS; i < count; i++) {
        FD_SET(link[i]->fd, &sets[(interest(group, link[i]) & EPOLLOUT) != 0]);
        top = link[i]->fd > top ? link[i]->fd : top;
    }
    struct timeval limit = {.tv_sec = 1000};
    if (select(top + 1, &sets[0], &sets[1], NULL, chance(rng, 2) ? NULL : &limit) <= 0)
        return;
    for (int i = 0; i < count; i++) {
        if (!FD_ISSET(link[i]->fd, &sets[0]) && !FD_ISSET(link[i]->fd, &sets[1]))
            continue;
        if (i < 2)
            handle(group, link[i], rng);
        else if (!serve(group, link[i], rng))
            forget(group, link[i]);
    }
}

static void *serve_group(void *arg)
{
    struct group *group = arg;
    static uint32_t threads;
    struct rng rng = {.state = seed * 31 + __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED)};
    while (!is_ending()) {
        if (group->way == POLL)
            wait_in_poll(group, &rng);
        else if (group->way == SELECT)
            wait_in_select(group, &rng);
        else
            wait_in_epoll(group, &rng);
        if (chance(&rng, 32))
            random_sleep(&rng);
        if (chance(&rng, 16)) { // another group has something of the kernel's to see
            const uint64_t one = 1;
            (void)!write(groups[draw(&rng) % GROUPS].tick->fd, &one, sizeof one);
        }
    }
    // Whoever sleeps beside this one is to end, too.
    const uint64_t one = 1;
    (void)!write(group->tick->fd, &one, sizeof one);
    return NULL;
}

// -- Blocking --------------------------------------------------------------------------------

static void echo_blocking(int fd, char *buffer)
{
    ssize_t got;
    for (;;) {
        got = read(fd, buffer, PENDING);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return;
        for (ssize_t sent = 0; sent < got;) {
            ssize_t more = write(fd, buffer + sent, (size_t)(got - sent));
            if (more < 0 && errno != EINTR)
                return;
            sent += more < 0 ? 0 : more;
        }
    }
}

static void *serve_blocking(void *arg)
{
    char *buffer = malloc(PENDING);
    (void)arg;
    while (!is_ending()) {
        int fd = accept(blocking_listener, NULL, NULL);
        if (fd < 0)
            continue;
        echo_blocking(fd, buffer);
        close(fd);
    }
    free(buffer);
    return NULL;
}

// -- All -------------------------------------------------------------------------------------

static int listen_on(int port, int flags)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1;
    int fd = MUST(socket(AF_INET, SOCK_STREAM | flags, 0));
    MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes));
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    MUST(listen(fd, 256));
    return fd;
}

static void open_group(struct group *group)
{
    struct epoll_event inner = {.events = EPOLLIN, .data.ptr = group};
    group->tick = link_open(MUST(eventfd(0, EFD_NONBLOCK)), false);
    if (polls(group))
        return;
    group->epfd = group->outer = MUST(epoll_create1(EPOLL_CLOEXEC));
    control(group, EPOLL_CTL_ADD, group->tick, EPOLLIN);
    control(group, EPOLL_CTL_ADD, listening,
            EPOLLIN | (group->way == EDGE        ? EPOLLET
                       : group->way == ONESHOT   ? EPOLLONESHOT
                       : group->way == EXCLUSIVE ? EPOLLEXCLUSIVE
                                                 : 0u));
    if (group->way == NESTED) {
        group->outer = MUST(epoll_create1(EPOLL_CLOEXEC));
        MUST(epoll_ctl(group->outer, EPOLL_CTL_ADD, group->epfd, &inner));
    }
}

void servers_start(void)
{
    listening = link_open(listen_on(ntohs(address.sin_port), SOCK_NONBLOCK), false);
    blocking_listener = listen_on(ntohs(address.sin_port) + 1, 0);
    for (int i = 0; i < GROUPS; i++)
        open_group(&groups[i]);
    for (int i = 0; i < GROUPS; i++)
        for (int j = 0; j < groups[i].threads; j++)
            start(serve_group, &groups[i]);
    for (int i = 0; i < BLOCKING_THREADS; i++)
        start(serve_blocking, NULL);
}

void servers_end(void)
{
    const uint64_t one = 1;
    __atomic_store_n(&ending, true, __ATOMIC_RELAXED);
    for (int i = 0; i < GROUPS; i++)
        (void)!write(groups[i].tick->fd, &one, sizeof one);
    MUST(shutdown(blocking_listener, SHUT_RDWR));
}
