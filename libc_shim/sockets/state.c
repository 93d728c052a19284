// state.c: sockets that several processes hold: leaving a slot to others, going on in another.
//
// A socket is a slot, which moves from one area to another (request.h), and what its program keeps
// beside it. That is in a child's memory anyway; behind exec and SCM_RIGHTS it comes as a struct
// nt_sock_state. What is in both (cursors, options, half-closes) is taken from the slot.
#include "libc_shim/sockets/inner.h"

void nt_sock_child(struct nt_sock *sock)
{
    nt_spin_reset(&sock->lock);
    if (sock->phase != NT_SOCK_CLOSED)
        sock->phase_before = sock->phase;
    nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_CLOSED);
    sock->server = NULL;
    sock->area = NULL;
    sock->program = NULL;
    sock->listener = NULL;
    sock->beside = NULL;
}

void nt_sock_share(struct nt_sock *sock)
{
    nt_sock_lock(sock);
    sock->flags |= NT_SOCKF_SHARED;
    nt_sock_unlock(sock);
}

bool nt_sock_was_moved(const struct nt_sock *sock)
{
    if (sock->phase == NT_SOCK_CLOSED || (sock->flags & NT_SOCKF_SHARED) == 0)
        return false;
    return (nt_load_relaxed(&sock->program->control) & NT_CONTROL_FROZEN) != 0 ||
           (nt_load_relaxed(&sock->server->generation) != sock->generation &&
            nt_load_relaxed(sock->cold_starts) == sock->cold_starts_then);
}

static void forget_slot(struct nt_sock *sock)
{
    sock->phase_before = sock->phase;
    nt_store_release(&sock->phase, (uint8_t)NT_SOCK_CLOSED);
    sock->listener = NULL;
}

void nt_sock_forget(struct nt_sock *sock)
{
    nt_sock_lock(sock);
    struct nt_sock *owner = sock;
    if (sock->phase != NT_SOCK_CLOSED) {
        (void)__atomic_compare_exchange_n(&sock->area->by_slot[sock->slot], &owner,
                                          (struct nt_sock *)NULL, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED);
        forget_slot(sock);
    }
    nt_sock_unlock(sock);
}

void nt_sock_abandon(struct nt_sock *sock, struct nt_sock_wake *wake)
{
    nt_sock_lock(sock);
    if (sock->phase != NT_SOCK_CLOSED) {
        nt_sock_leave_slot(sock, sock->area, sock->slot, 0, wake);
        forget_slot(sock);
    }
    nt_sock_unlock(sock);
}

void nt_sock_name(struct nt_sock *sock, const struct nt_endpoint *local)
{
    nt_sock_lock(sock);
    if (sock->server != NULL && (nt_load_acquire(&sock->server->flags) & NT_SLOT_PEER_SET) != 0)
        sock->peer = sock->server->remote;
    if (local->port != 0)
        sock->bound_to = *local;
    nt_sock_unlock(sock);
}

struct nt_sock_area *nt_sock_area_numbered(struct nt_sock_context *context, uint32_t protocol,
                                           uint32_t number)
{
    uint32_t count = nt_load_acquire(&context->area_count);
    for (uint32_t i = 0; i < count; i++)
        if (context->area[i].protocol == protocol && context->area[i].view.number == number)
            return &context->area[i];
    return NULL;
}

// What became of it while another process had it.
static uint8_t phase_in(const struct nt_sock *sock, uint8_t before)
{
    if (sock->type != SOCK_STREAM)
        return before == NT_SOCK_SICK                                            ? before
               : (nt_load_acquire(&sock->server->flags) & NT_SLOT_PEER_SET) != 0 ? NT_SOCK_CONNECTED
                                                                                 : NT_SOCK_IDLE;
    uint8_t state = nt_load_acquire(&sock->server->state);
    // A connect() that was posted when the slot was frozen already: it is made again.
    if (before == NT_SOCK_CONNECTING && state == NT_SLOT_GRANTED &&
        nt_load_relaxed(&sock->server->reply) == sock->request &&
        nt_load_relaxed(&sock->server->reply_errno) == 0)
        return NT_SOCK_IDLE;
    if (before == NT_SOCK_IDLE && state >= NT_SLOT_CONNECTING)
        return NT_SOCK_CONNECTED;
    return before;
}

// Datagrams that were not sent yet moved along, and with them whom the socket is connected to.
static void resume_datagrams(struct nt_sock *sock)
{
    uint32_t unsent = sock->tx_tail - nt_load_acquire(&sock->server->tx_head);
    sock->tx_offset = unsent == 0 ? (uint32_t)NT_DGRAM_DATA_OFFSET : nt_dgram_next_offset(sock);
    sock->flags &= ~(uint32_t)NT_SOCKF_POSTED;
    if ((nt_load_acquire(&sock->server->flags) & NT_SLOT_PEER_SET) != 0)
        sock->peer = sock->server->remote;
}

int nt_sock_resume(struct nt_sock_context *context, struct nt_sock *sock, uint32_t protocol,
                   uint32_t number, uint32_t slot, uint32_t generation)
{
    struct nt_sock_area *area = nt_sock_area_numbered(context, protocol, number);
    if (area == NULL || slot >= area->view.slots)
        return -EBADF;
    const struct nt_slot_program *program = &area->view.slot_program[slot];
    uint32_t control = nt_load_acquire(&program->control);
    nt_sock_lock(sock);
    sock->area = area;
    sock->slot = slot;
    sock->generation = generation;
    sock->program = &area->view.slot_program[slot];
    sock->server = &area->view.slot_server[slot];
    sock->cold_starts = &area->view.server->cold_starts;
    sock->cold_starts_then = nt_load_relaxed(sock->cold_starts);
    sock->rx_head = nt_load_relaxed(&program->rx_head);
    sock->rx_noted = sock->rx_head;
    sock->tx_tail = nt_load_relaxed(&program->tx_tail);
    sock->request = nt_load_relaxed(&program->request);
    sock->flags |= NT_SOCKF_SHARED;
    if (sock->type == SOCK_DGRAM)
        resume_datagrams(sock);
    else
        sock->error_taken = 0;
    if ((control & NT_CONTROL_SHUT_RD) != 0)
        sock->shutdown |= NT_SHUT_RD;
    if ((control & NT_CONTROL_SHUT_WR) != 0)
        sock->shutdown |= NT_SHUT_WR;
    uint8_t phase = phase_in(sock, sock->phase_before);
    sock->phase_before = NT_SOCK_CLOSED;
    nt_store_release(&area->by_slot[slot], sock);
    nt_store_release(&sock->phase, phase);
    nt_sock_unlock(sock);
    return 0;
}

int nt_sock_resume_listening(struct nt_sock_context *context, struct nt_sock *sock, uint32_t number,
                             uint32_t slot, uint32_t generation, struct nt_listener *listener)
{
    struct nt_sock_area *area = nt_sock_area_numbered(context, IPPROTO_TCP, number);
    if (area == NULL || slot >= area->view.slots || !nt_sock_slot_is_free(area, slot, generation))
        return -EBADF;
    nt_sock_enter_slot(sock, area, slot, generation, NULL);
    sock->phase_before = NT_SOCK_CLOSED;
    nt_sock_listening(sock, listener);
    return 0;
}

void nt_sock_save(const struct nt_sock *sock, struct nt_sock_image *state)
{
    memset(state, 0, sizeof *state);
    state->magic = NT_SOCK_IMAGE_MAGIC;
    state->bytes = sizeof *state;
    state->phase = sock->phase != NT_SOCK_CLOSED ? sock->phase : sock->phase_before;
    state->type = sock->type;
    state->family = sock->family;
    state->shutdown = sock->shutdown;
    state->flags = sock->flags;
    state->urgent_read = sock->urgent_read;
    state->tx_limit_log2 = sock->tx_limit_log2;
    state->sndbuf = sock->sndbuf;
    state->rcvbuf = sock->rcvbuf;
    state->linger_s = sock->linger_s;
    state->bound = sock->bound;
    state->rcvtimeo_ns = sock->rcvtimeo_ns;
    state->sndtimeo_ns = sock->sndtimeo_ns;
    state->bound_to = sock->bound_to;
    state->peer = sock->peer;
    state->error_taken = sock->error_taken;
    memcpy(state->kept, sock->kept, sizeof state->kept);
}

bool nt_sock_restore(struct nt_sock *sock, const struct nt_sock_image *state, uint32_t bytes)
{
    if (bytes < sizeof *state || state->magic != NT_SOCK_IMAGE_MAGIC ||
        state->bytes != sizeof *state)
        return false;
    nt_sock_init(sock, state->family, state->type);
    sock->phase_before = state->phase;
    sock->shutdown = state->shutdown;
    sock->flags = state->flags;
    sock->urgent_read = state->urgent_read;
    sock->tx_limit_log2 = state->tx_limit_log2;
    sock->sndbuf = state->sndbuf;
    sock->rcvbuf = state->rcvbuf;
    sock->linger_s = state->linger_s;
    sock->bound = state->bound;
    sock->rcvtimeo_ns = state->rcvtimeo_ns;
    sock->sndtimeo_ns = state->sndtimeo_ns;
    sock->bound_to = state->bound_to;
    sock->peer = state->peer;
    sock->error_taken = state->error_taken;
    memcpy(sock->kept, state->kept, sizeof sock->kept);
    return true;
}
