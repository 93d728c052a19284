// client.c: threads that send, and compare what comes back, with a deadline; see wakeups.h.
#include "wakeups.h"

#include <sys/uio.h>

enum {
    OPEN = 5, // connections of a thread
    BLOCKING_CLIENTS = 4,
    PIECE = 1 << 16,
};

struct conversation {
    struct link *link; // NULL: to be opened
    uint64_t text;     // of the message: byte i is byte_at(text, i)
    uint32_t length;
    uint32_t sent;
    uint32_t got;
    bool leaving; // shut down: the end of the other side is awaited
    uint64_t progress_ms;
};

struct client {
    enum way way;
    struct rng rng;
    int epfd;
    int outer;
    struct conversation talk[OPEN];
    char piece[PIECE];
};

static uint8_t byte_at(uint64_t text, uint32_t i)
{
    return (uint8_t)((text + i) * 0x9d + (i >> 8));
}

static void fill(char *at, uint64_t text, uint32_t from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        at[i] = (char)byte_at(text, from + i);
}

static bool same(const char *at, uint64_t text, uint32_t from, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        if ((uint8_t)at[i] != byte_at(text, from + i))
            return false;
    return true;
}

static void next_message(struct client *client, struct conversation *talk)
{
    uint32_t most = chance(&client->rng, 64) ? 200000 : chance(&client->rng, 8) ? 20000 : 200;
    talk->text = draw(&client->rng);
    talk->length = 1 + draw(&client->rng) % most;
    talk->sent = talk->got = 0;
    talk->leaving = false;
    talk->progress_ms = now_ms();
}

_Noreturn static void broken(const struct conversation *talk, const char *what)
{
    char text[200];
    snprintf(text, sizeof text, "%s (%s) at %u of %u sent, %u received", what, strerror(errno),
             talk->sent, talk->length, talk->got);
    lost(talk->link, text);
}

// -- Registrations ---------------------------------------------------------------------------

static uint32_t interest(const struct client *client, const struct conversation *talk)
{
    uint32_t wanted = EPOLLIN | (talk->sent < talk->length ? EPOLLOUT : 0u);
    if (client->way == EDGE)
        return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    return client->way == ONESHOT ? wanted | EPOLLONESHOT : wanted;
}

static bool polls(const struct client *client)
{
    return client->way == POLL || client->way == SELECT;
}

static void control(struct client *client, int op, struct conversation *talk)
{
    struct epoll_event event = {.events = interest(client, talk), .data.ptr = talk};
    if (!polls(client))
        MUST(epoll_ctl(client->epfd, op, talk->link->fd, &event));
}

// -- Conversations ---------------------------------------------------------------------------

static void open_conversation(struct client *client, struct conversation *talk)
{
    int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    bool early = chance(&client->rng, 2); // registered before it connects
    next_message(client, talk);
    talk->link = link_open(fd, true);
    if (early)
        control(client, EPOLL_CTL_ADD, talk);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        broken(talk, "connect");
    __atomic_add_fetch(&connected, 1, __ATOMIC_RELAXED);
    if (!early)
        control(client, EPOLL_CTL_ADD, talk);
}

static void close_conversation(struct client *client, struct conversation *talk, bool reset)
{
    const struct linger now = {.l_onoff = 1};
    if (reset)
        MUST(setsockopt(talk->link->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    if (!polls(client) && chance(&client->rng, 2))
        control(client, EPOLL_CTL_DEL, talk);
    link_close(talk->link);
    talk->link = NULL;
}

static void after_message(struct client *client, struct conversation *talk)
{
    __atomic_add_fetch(&echoed, 1, __ATOMIC_RELAXED);
    switch (draw(&client->rng) % 40) {
    case 0:
    case 1:
        close_conversation(client, talk, true);
        return;
    case 2:
        close_conversation(client, talk, false);
        return;
    case 3:
        MUST(shutdown(talk->link->fd, SHUT_WR));
        talk->leaving = true;
        return;
    case 4:
    case 5:
        random_sleep(&client->rng);
        break;
    default:
        break;
    }
    next_message(client, talk);
}

static bool send_some(struct client *client, struct conversation *talk)
{
    uint32_t bytes = talk->length - talk->sent;
    if (bytes == 0)
        return false;
    if (bytes > PIECE)
        bytes = PIECE;
    fill(client->piece, talk->text, talk->sent, bytes);
    ssize_t sent = send(talk->link->fd, client->piece, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
        return true;
    if (sent < 0 && errno != EAGAIN)
        broken(talk, "send");
    if (sent <= 0)
        return false;
    talk->sent += (uint32_t)sent;
    return true;
}

static bool receive_some(struct client *client, struct conversation *talk)
{
    ssize_t got = recv(talk->link->fd, client->piece, PIECE, 0);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && errno != EAGAIN)
        broken(talk, "recv");
    if (got < 0)
        return false;
    if (got == 0 && talk->leaving) {
        close_conversation(client, talk, false);
        return false;
    }
    if (got == 0 || talk->got + (uint32_t)got > talk->length ||
        !same(client->piece, talk->text, talk->got, (uint32_t)got))
        broken(talk, got == 0 ? "an early end" : "other bytes than were sent");
    talk->got += (uint32_t)got;
    if (talk->got == talk->length)
        after_message(client, talk);
    return talk->link != NULL && !talk->leaving;
}

// All that can be done without waiting.
static void advance(struct client *client, struct conversation *talk)
{
    bool more = true;
    looked(talk->link);
    while (more && talk->link != NULL && !is_over()) {
        uint32_t before = talk->sent + talk->got;
        bool sending = send_some(client, talk);
        more = receive_some(client, talk) || (sending && talk->link != NULL);
        if (talk->sent + talk->got != before)
            talk->progress_ms = now_ms();
        // A level may be left as it is.
        if (!polls(client) && client->way != EDGE && chance(&client->rng, 4))
            break;
    }
    if (talk->link == NULL)
        return;
    looked(talk->link);
    if (client->way != EDGE || chance(&client->rng, 64))
        control(client, EPOLL_CTL_MOD, talk);
}

// -- Waiting ---------------------------------------------------------------------------------

static int time_left(struct client *client)
{
    uint64_t now = now_ms();
    uint64_t left = LOST_MS;
    for (int i = 0; i < OPEN; i++) {
        uint64_t late = now - client->talk[i].progress_ms;
        if (late >= LOST_MS)
            broken(&client->talk[i], "no answer");
        if (LOST_MS - late < left)
            left = LOST_MS - late;
    }
    return (int)left + 1;
}

static void wait_in_epoll(struct client *client)
{
    struct epoll_event events[OPEN];
    int max = 1 + (int)(draw(&client->rng) % OPEN);
    int count = epoll_wait(client->outer, events, max, time_left(client));
    if (client->way == NESTED && count > 0)
        count = epoll_wait(client->epfd, events, max, 0);
    for (int i = 0; i < count; i++) {
        struct conversation *talk = events[i].data.ptr;
        if (talk->link != NULL)
            advance(client, talk);
    }
}

static void wait_in_poll(struct client *client)
{
    struct pollfd fds[OPEN];
    for (int i = 0; i < OPEN; i++)
        fds[i] = (struct pollfd){.fd = client->talk[i].link->fd,
                                 .events = (short)interest(client, &client->talk[i])};
    if (poll(fds, OPEN, time_left(client)) <= 0)
        return;
    for (int i = 0; i < OPEN; i++)
        if (fds[i].revents != 0)
            advance(client, &client->talk[i]);
}

static void wait_in_select(struct client *client)
{
    fd_set r;
    fd_set w;
    int top = 0;
    int left_ms = time_left(client);
    struct timeval limit = {.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};
    FD_ZERO(&r);
    FD_ZERO(&w);
    for (int i = 0; i < OPEN; i++) {
        int fd = client->talk[i].link->fd;
        FD_SET(fd, &r);
        if ((interest(client, &client->talk[i]) & EPOLLOUT) != 0)
            FD_SET(fd, &w);
        top = fd > top ? fd : top;
    }
    if (select(top + 1, &r, &w, NULL, &limit) <= 0)
        return;
    for (int i = 0; i < OPEN; i++) {
        int fd = client->talk[i].link->fd;
        if (FD_ISSET(fd, &r) || FD_ISSET(fd, &w))
            advance(client, &client->talk[i]);
    }
}

static void *talk_in_events(void *arg)
{
    struct client *client = arg;
    while (!is_over()) {
        for (int i = 0; i < OPEN; i++)
            if (client->talk[i].link == NULL)
                open_conversation(client, &client->talk[i]);
        if (client->way == POLL)
            wait_in_poll(client);
        else if (client->way == SELECT)
            wait_in_select(client);
        else
            wait_in_epoll(client);
    }
    for (int i = 0; i < OPEN; i++)
        if (client->talk[i].link != NULL)
            close_conversation(client, &client->talk[i], true);
    return NULL;
}

// -- Blocking --------------------------------------------------------------------------------

static void transfer(struct client *client, struct conversation *talk, bool out)
{
    uint32_t *done = out ? &talk->sent : &talk->got;
    while (*done < talk->length) {
        uint32_t bytes = talk->length - *done;
        ssize_t some;
        if (out) {
            fill(client->piece, talk->text, *done, bytes);
            some = send(talk->link->fd, client->piece, bytes, MSG_NOSIGNAL);
        } else {
            some = recv(talk->link->fd, client->piece, bytes,
                        chance(&client->rng, 2) ? MSG_WAITALL : 0);
        }
        if (some < 0 && errno == EINTR && now_ms() - talk->progress_ms < LOST_MS)
            continue;
        if (some <= 0)
            broken(talk, out ? "a blocking send" : "a blocking recv");
        if (!out && !same(client->piece, talk->text, *done, (uint32_t)some))
            broken(talk, "other bytes than were sent");
        *done += (uint32_t)some;
        talk->progress_ms = now_ms();
        looked(talk->link);
    }
}

static void open_blocking(struct client *client, struct conversation *talk)
{
    struct sockaddr_in name = address;
    const struct timeval limit = {.tv_sec = LOST_MS / 1000};
    name.sin_port = htons((uint16_t)(ntohs(name.sin_port) + 1));
    next_message(client, talk);
    talk->link = link_open(MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), true);
    MUST(setsockopt(talk->link->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    MUST(setsockopt(talk->link->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
    while (connect(talk->link->fd, (struct sockaddr *)&name, sizeof name) != 0)
        if (errno == EISCONN)
            break;
        else if ((errno != EINTR && errno != EALREADY) || now_ms() - talk->progress_ms > LOST_MS)
            broken(talk, "connect");
    __atomic_add_fetch(&connected, 1, __ATOMIC_RELAXED);
}

static void *talk_blocking(void *arg)
{
    struct client *client = arg;
    struct conversation *talk = &client->talk[0];
    while (!is_over()) {
        if (talk->link == NULL)
            open_blocking(client, talk);
        next_message(client, talk);
        if (talk->length > 8000)
            talk->length = 8000; // what fits into the rings without being read
        transfer(client, talk, true);
        transfer(client, talk, false);
        __atomic_add_fetch(&echoed, 1, __ATOMIC_RELAXED);
        if (chance(&client->rng, 20))
            random_sleep(&client->rng);
        if (chance(&client->rng, 20)) {
            link_close(talk->link);
            talk->link = NULL;
        }
    }
    if (talk->link != NULL)
        link_close(talk->link);
    return NULL;
}

void clients_run(void)
{
    static struct client clients[BLOCKING + BLOCKING_CLIENTS];
    pthread_t threads[BLOCKING + BLOCKING_CLIENTS];
    struct epoll_event inner = {.events = EPOLLIN};
    for (int i = 0; i < BLOCKING + BLOCKING_CLIENTS; i++) {
        struct client *client = &clients[i];
        client->way = i < BLOCKING ? (enum way)i : BLOCKING;
        client->rng.state = seed * 1000 + (uint64_t)i;
        client->epfd = client->outer = MUST(epoll_create1(EPOLL_CLOEXEC));
        if (client->way == NESTED) {
            client->outer = MUST(epoll_create1(EPOLL_CLOEXEC));
            MUST(epoll_ctl(client->outer, EPOLL_CTL_ADD, client->epfd, &inner));
        }
        threads[i] = start(i < BLOCKING ? talk_in_events : talk_blocking, client);
    }
    while (!is_over()) {
        struct timespec pause = {.tv_nsec = 100000000};
        nanosleep(&pause, NULL);
    }
    (void)threads;
}
