// listening.c: see listening.h.
//
// A part (libc_shim/sockets/lanes.c) is a socket object of its own, without a description: `user`
// says whose it is. Parts come from a slab, because a sweep of a ready bitmap may still look at one
// that was just freed.

#include "libc_shim/preload/listening.h"

#include "libc_shim/preload/process.h"
#include "libc_shim/preload/slab.h"
#include "newtos_py/kernel/map.h"

#include <errno.h>

struct part {
    struct nt_sock sock;
    struct nt_listener listener;
    struct part *next_free;
} NT_ALIGNED(64);

static struct nt_slab slab = NT_SLAB(struct part, next_free);

static int map_region(struct nt_listener *listener, uint32_t entries, const int fds[2])
{
    if (entries == 0 || entries > NT_LISTENER_ENTRIES_MAX)
        return -EPROTO;
    void *ring = nt_process_map(fds[0], nt_listener_ring_bytes(entries), false);
    void *claims = nt_process_map(fds[1], nt_listener_claims_bytes(), true);
    if (ring == NULL || claims == NULL)
        return -ENOMEM;
    return nt_listener_open(listener, ring, claims, entries) == 0 ? 0 : -EPROTO;
}

static void unmap_region(struct nt_listener *listener)
{
    if (listener->header != NULL)
        nt_unmap(listener->header, nt_listener_ring_bytes(listener->entries));
    if (listener->claims != NULL)
        nt_unmap(listener->claims, nt_listener_claims_bytes());
    memset(listener, 0, sizeof *listener);
}

int nt_listening_map(struct nt_file *file, const struct nt_control_call *call)
{
    if (call->fd_count < 2)
        return -EPROTO;
    return map_region(&file->listener, call->message.arg, call->fds);
}

static int add_part(struct nt_file *file, const struct nt_beside *where, const int fds[2])
{
    struct part *part = nt_slab_take(&slab);
    if (part == NULL)
        return -ENOMEM;
    part->sock.user = file;
    int result = map_region(&part->listener, where->entries, fds);
    if (result == 0)
        result = nt_sock_add_part(&nt_context, &file->sock, &part->sock, where, &part->listener);
    if (result != 0) {
        unmap_region(&part->listener);
        nt_slab_give(&slab, part);
    }
    return result;
}

int nt_listening_add_parts(struct nt_file *file, const struct nt_control_call *call)
{
    struct nt_beside where;
    uint32_t count = call->message.text_bytes / (uint32_t)sizeof where;
    int result = 0;
    if (call->fd_count != 2 + 2 * (int)count)
        return -EPROTO;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        memcpy(&where, call->message.text + i * sizeof where, sizeof where);
        result = add_part(file, &where, &call->fds[2 + 2 * i]);
    }
    if (result != 0)
        nt_listening_close_parts(file);
    return result;
}

void nt_listening_close_parts(struct nt_file *file)
{
    struct nt_sock *sock;
    while ((sock = nt_sock_take_part(&file->sock, &nt_thread_self()->wake)) != NULL) {
        struct part *part = (struct part *)sock;
        unmap_region(&part->listener);
        nt_slab_give(&slab, part);
    }
}

void nt_listening_close(struct nt_file *file)
{
    nt_listening_close_parts(file);
    unmap_region(&file->listener);
}

void nt_listening_child_all(void) { nt_slab_child(&slab); }

void nt_listening_child(struct nt_file *file)
{
    struct nt_sock *sock = file->sock.beside;
    while (sock != NULL) {
        struct part *part = (struct part *)sock;
        sock = sock->beside;
        memset(&part->listener, 0, sizeof part->listener); // not mapped here
        part->sock.phase = NT_SOCK_CLOSED;
        nt_spin_reset(&part->sock.lock);
        nt_slab_give(&slab, part);
    }
    memset(&file->listener, 0, sizeof file->listener);
}
