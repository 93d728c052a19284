// describe.c: what the shim knows of a descriptor, in words, for a test that waits in vain.
//
// Programs find the one symbol with dlsym(). It takes no lock that a stuck thread could hold and
// changes nothing, so what it says of a busy socket may be torn.

#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/process.h"

#include <stdarg.h>

struct text {
    char *at;
    size_t left;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang 14 is wrong about va_start
    int bytes = vsnprintf(text->at, text->left, format, args);
    va_end(args);
    if (bytes < 0 || (size_t)bytes >= text->left)
        return;
    text->at += bytes;
    text->left -= (size_t)bytes;
}

static int bit_of(const uint64_t *bitmap, uint32_t number)
{
    return (int)(nt_load_relaxed(&bitmap[number >> 6]) >> (number & 63) & 1);
}

static void say_queue(struct text *text, const struct nt_sock *sock, uint32_t number)
{
    const struct nt_area *area = &sock->area->view;
    const struct nt_area_ready *ready = &area->ready[number];
    say(text, "  queue %u: sleeping %u, ready bit %d, summary %d\n", number,
        area->queue[number].sleeping, bit_of(ready->bitmap, sock->slot),
        bit_of(ready->summary, sock->slot >> 6));
}

static void say_socket(struct text *text, const struct nt_sock *sock)
{
    const struct nt_slot_program *ours = sock->program;
    const struct nt_slot_server *theirs = sock->server;
    const struct nt_area_hints *hints = sock->area->view.hints;
    say(text, "  phase %u, shut %u, generation %u here, %u in the program's block, %u there\n",
        sock->phase, sock->shutdown, sock->generation, ours->generation, theirs->generation);
    say(text, "  slot %u: state %u, flags %u, error %u, events %u, control %u, tcp %u\n",
        sock->slot, theirs->state, theirs->flags, theirs->error, theirs->events, ours->control,
        theirs->tcp_state);
    say(text, "  rx: head %u (published %u), tail %u; tx: head %u, tail %u (published %u)\n",
        sock->rx_head, ours->rx_head, theirs->rx_tail, theirs->tx_head, sock->tx_tail,
        ours->tx_tail);
    say(text, "  rings: rx %u, tx %u; to the server: activity %u, bit %d; it sleeps: %u\n",
        1u << nt_geometry_log2(theirs->rx_geometry), 1u << nt_geometry_log2(ours->tx_geometry),
        hints->activity, bit_of(hints->bitmap, sock->slot), *sock->area->sleeping);
    say_queue(text, sock, ours->queue);
    if (ours->queue != 0)
        say_queue(text, sock, 0);
}

static void say_watches(struct text *text, const struct nt_file *file)
{
    for (const struct nt_watch *watch = file->watches; watch != NULL; watch = watch->next) {
        const struct nt_event_queue *queue = watch->queue;
        say(text, "  watched by %s, queue %u%s: eventfd %d, sleepers %u, signalled %u\n",
            watch->item != NULL ? "an epoll instance" : "a thread", queue->queue.number,
            queue->queue.is_mute ? " (mute)" : "", queue->fd, queue->queue.sleepers,
            queue->signalled);
        const struct nt_epoll_item *item = watch->item;
        if (item != NULL)
            say(text,
                "    as %d for %x, reported %d at %u, queued %u; of the instance: ready %u, "
                "waiters %u\n",
                item->fd, item->events, item->was_reported, item->seen.events, item->queued,
                item->epoll->ready_count, item->epoll->waiters);
    }
}

// Writes lines about `fd` into `at`, ended by a zero; returns `at`.
__attribute__((visibility("default"))) char *newtos_describe(int fd, char *at, size_t room);

char *newtos_describe(int fd, char *at, size_t room)
{
    struct text text = {.at = at, .left = room};
    const struct nt_file *file = nt_fd_get(fd);
    if (file < NT_FD_FIRST) {
        say(&text, "%d: not of newtos\n", fd);
        return at;
    }
    say(&text, "%d: kind %u, refs %u%s%s\n", fd, file->kind, file->refs,
        file->nonblocking ? ", nonblocking" : "", file->shared ? ", shared" : "");
    if (file->kind == NT_FILE_SOCKET && file->sock.area != NULL)
        say_socket(&text, &file->sock);
    say_watches(&text, file);
    return at;
}
