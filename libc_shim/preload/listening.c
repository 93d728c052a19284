// listening.c: see listening.h. Listening, and listening no more.
//
// A part (libc_shim/sockets/lanes.c) is a socket object of its own, without a description: `user`
// says whose it is. Parts come from a slab, because a sweep of a ready bitmap may still look at one
// that was just freed.

#include "libc_shim/preload/listening.h"

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/slab.h"
#include "libc_shim/preload/watch.h"
#include "newtos_py/kernel/map.h"

#include <errno.h>
#include <netinet/in.h>

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

// -- The calls -------------------------------------------------------------------------------

static int listen_held(struct nt_file *file, int backlog)
{
    struct nt_control_call call;
    int again = nt_sock_listen_check(&file->sock);
    if (again < 0)
        return again;
    int result = nt_process_attach(IPPROTO_TCP); // in all lanes: another thread may be about to
    if (result == 0 && !again)
        result = nt_connection_freshen(file);
    if (result == 0 && !again)
        result = nt_connection_bind_any(file);
    if (result != 0)
        return result;
    nt_process_flush(nt_thread_self());
    nt_numbers_yield(2 * nt_load_relaxed(&nt_context.lanes));
    nt_connection_prepare(&call, NT_CTL_LISTEN, file);
    (void)nt_sock_bound_name(&file->sock, &call.message.endpoint); // for the other lanes
    // What Linux makes of it: net.core.somaxconn is the limit, and so a negative one.
    call.message.arg =
        (uint32_t)(backlog < 0 || backlog > NT_LISTENER_ENTRIES_MAX ? NT_LISTENER_ENTRIES_MAX
                                                                    : backlog);
    result = nt_control_do(&call);
    if (result != 0)
        return result;
    if (!again)
        result = nt_listening_map(file, &call);
    if (result == 0 && !again)
        result = nt_listening_add_parts(file, &call);
    for (int i = 0; i < call.fd_count; i++)
        nt_real.close(call.fds[i]);
    if (result != 0)
        nt_log(NT_LOG_ERROR, "listen: cannot map the accept ring: %s", strerror(-result));
    else if (!again)
        nt_sock_listening(&file->sock, &file->listener);
    nt_watch_notify(file);
    return result;
}

int nt_listen(int fd, int backlog)
{
    struct nt_file *file;
    int saved = errno;
    int result;
    do {
        result = nt_socket_hold(fd, "listen", &file);
        if (result != 0)
            return result;
        result = listen_held(file, backlog);
    } while (nt_share_end_call(file, result));
    errno = saved;
    return result;
}

int nt_connection_join(struct nt_file *file, const struct nt_control_call *call)
{
    const struct nt_control_message *own = &call->message;
    int result = nt_listening_map(file, call);
    if (result == 0)
        result = nt_sock_resume_listening(&nt_context, &file->sock, own->area, own->slot,
                                          own->generation, &file->listener);
    if (result == 0)
        result = nt_listening_add_parts(file, call);
    if (result != 0)
        nt_listening_close(file);
    return result;
}

void nt_listening_unlisten(const struct nt_file *file, bool for_everybody)
{
    struct nt_control_call call;
    nt_connection_prepare(&call, NT_CTL_UNLISTEN, file);
    call.message.arg = for_everybody;
    (void)nt_control_do(&call);
}
