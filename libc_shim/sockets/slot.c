// slot.c: taking, entering and leaving a slot; what a socket looks like right now.
//
// A slot's program block belongs to its socket from the moment its generation is stored until CLOSE
// is. It is filled first and the generation stored last, because the server ignores a block whose
// generation is not the one it handed out.
#include "libc_shim/sockets/inner.h"

enum {
    // Grants that turn out to be none are skipped; as many in one call as no sane server makes.
    NT_GRANT_SKIPS = 16,
};

// A slot whose owner has another generation was taken from it by the server's cold start.
bool nt_sock_slot_is_free(const struct nt_sock_area *area, uint32_t slot, uint32_t generation)
{
    const struct nt_sock *owner = nt_load_acquire(&area->by_slot[slot]);
    return owner == NULL || nt_load_relaxed(&owner->generation) != generation;
}

bool nt_sock_wants_area(const struct nt_sock *sock)
{
    const struct nt_sock_area *area = sock->area;
    // A server begins with the lowest slots, and reuses those that were free last: a high one says
    // that so many were in use at once. What is left lasts for more than a full accept queue.
    const uint32_t slots = area->view.slots;
    return sock->slot >= slots / 2 && nt_load_relaxed(&area->is_newest) != 0;
}

static int try_to_take(struct nt_sock *sock, struct nt_sock_area *area,
                       const struct nt_slot_program *options)
{
    struct nt_area *view = &area->view;
    int result = -EAGAIN;
    uint32_t slot = 0, generation = 0;
    nt_spin_lock(&area->grants, area->context->yield);
    uint32_t head = view->program->grant_head;
    uint32_t granted = nt_load_acquire(&view->server->grant_tail) - head;
    if (granted > NT_AREA_SLOTS_MAX)
        result = -EIO;
    for (uint32_t i = 0; result == -EAGAIN && i < granted && i < NT_GRANT_SKIPS; i++) {
        slot = view->server->grant[head++ & (NT_AREA_SLOTS_MAX - 1)];
        if (slot >= view->slots)
            continue;
        generation = nt_load_acquire(&view->slot_server[slot].generation);
        if (nt_load_relaxed(&view->slot_server[slot].state) == NT_SLOT_GRANTED &&
            nt_sock_slot_is_free(area, slot, generation))
            result = 0;
    }
    nt_store_release(&view->program->grant_head, head);
    nt_spin_unlock(&area->grants);
    if (result == 0)
        nt_sock_enter_slot(sock, area, slot, generation, options);
    return result;
}

static bool is_of(const struct nt_sock_area *area, uint32_t protocol, uint32_t lane)
{
    return area->protocol == protocol && (lane == NT_SOCK_ANY_LANE || area->view.lane == lane);
}

// The areas of one lane, beginning with the one that had room last.
static int take_in_lane(struct nt_sock_context *context, struct nt_sock *sock, uint32_t protocol,
                        uint32_t lane, const struct nt_slot_program *options)
{
    uint32_t count = nt_load_acquire(&context->area_count);
    uint32_t *roomy = &context->roomy[protocol == IPPROTO_UDP][lane % NT_SOCK_LANES_MAX];
    uint32_t first = nt_load_relaxed(roomy);
    int result = -ENOTCONN;
    for (uint32_t i = 0; i < count && (result == -ENOTCONN || result == -EAGAIN); i++) {
        struct nt_sock_area *area = &context->area[(first + i) % count];
        if (!is_of(area, protocol, lane))
            continue;
        result = try_to_take(sock, area, options);
        if (result == 0 && area->index != first)
            nt_store_relaxed(roomy, area->index);
    }
    return result;
}

// A lane whose server wants the connections of programs on this core; `lanes`: there is none.
static uint32_t lane_of_core(const struct nt_sock_context *context, uint32_t lanes, uint32_t turn)
{
    uint32_t core = nt_sock_core(context), count = nt_load_acquire(&context->area_count);
    uint32_t found = lanes, distance = lanes;
    for (uint32_t i = 0; core != 0 && i < count; i++) {
        const struct nt_sock_area *area = &context->area[i];
        uint32_t behind = (area->view.lane + lanes - turn % lanes) % lanes;
        if (area->protocol == IPPROTO_TCP && behind < distance &&
            nt_load_relaxed(&area->view.server->core) == core) {
            distance = behind;
            found = area->view.lane;
        }
    }
    return found;
}

// Lanes take turns, unless their servers say that they are local to cores.
static uint32_t first_lane(struct nt_sock_context *context, uint32_t protocol, uint32_t lanes)
{
    if (lanes == 1 || protocol != IPPROTO_TCP)
        return 0;
    uint32_t turn = __atomic_fetch_add(&context->next_lane, 1u, __ATOMIC_RELAXED);
    uint32_t local = lane_of_core(context, lanes, turn);
    return local < lanes ? local : turn;
}

int nt_sock_take_slot(struct nt_sock_context *context, struct nt_sock *sock, uint32_t protocol,
                      uint32_t lane, const struct nt_slot_program *options,
                      struct nt_sock_wake *wake)
{
    uint32_t lanes = lane == NT_SOCK_ANY_LANE ? nt_load_relaxed(&context->lanes) : 1;
    uint32_t turn = lane;
    if (lane == NT_SOCK_ANY_LANE)
        turn = first_lane(context, protocol, lanes);
    int result = -ENOTCONN;
    for (uint32_t i = 0; i < lanes && (result == -ENOTCONN || result == -EAGAIN); i++) {
        uint32_t next = lane == NT_SOCK_ANY_LANE ? (turn + i) % lanes : lane;
        int answer = take_in_lane(context, sock, protocol, next, options);
        if (answer != -ENOTCONN) // UDP has one server
            result = answer;
    }
    uint32_t count = nt_load_acquire(&context->area_count);
    for (uint32_t i = 0; result == -EAGAIN && i < count; i++) {
        struct nt_sock_area *area = &context->area[i];
        if (!is_of(area, protocol, lane))
            continue;
        nt_store_release(&area->view.hints->activity, 1u); // more grants, please
        wake->areas |= 1u << area->index;
    }
    return result;
}

void nt_sock_enter_slot(struct nt_sock *sock, struct nt_sock_area *area, uint32_t slot,
                        uint32_t generation, const struct nt_slot_program *options)
{
    struct nt_slot_program *program = &area->view.slot_program[slot];
    const struct nt_slot_server *server = &area->view.slot_server[slot];
    struct nt_slot_program fresh;
    memset(&fresh, 0, sizeof fresh);
    if (options != NULL) {
        fresh.options = options->options & ~(uint32_t)NT_OPTION_URGENT;
        fresh.rx_want_log2 = options->rx_want_log2;
        fresh.rx_wake_bytes = options->rx_wake_bytes;
        fresh.user_timeout_ms = options->user_timeout_ms;
        fresh.keep_idle_s = options->keep_idle_s;
        fresh.keep_interval_s = options->keep_interval_s;
        fresh.keep_count = options->keep_count;
        fresh.ttl = options->ttl;
        fresh.tos = options->tos;
        fresh.max_segment = options->max_segment;
        fresh.linger_ms = options->linger_ms;
    }
    fresh.tx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2);
    fresh.control = NT_CONTROL_TAKEN;
    fresh.request = server->reply; // none is open
    fresh.core = nt_sock_core(area->context);
    // Around the generation, which the server may be looking at.
    enum { WORD = offsetof(struct nt_slot_program, generation), REST = WORD + sizeof(uint32_t) };
    memcpy(program, &fresh, WORD);
    memcpy((uint8_t *)program + REST, (uint8_t *)&fresh + REST, sizeof fresh - REST);
    nt_store_release(&program->generation, generation);

    sock->area = area;
    sock->slot = slot;
    sock->generation = generation;
    sock->program = program;
    sock->server = server;
    sock->cold_starts = &area->view.server->cold_starts;
    sock->cold_starts_then = nt_load_relaxed(sock->cold_starts);
    sock->rx_head = 0;
    sock->rx_noted = 0;
    sock->tx_tail = 0;
    sock->tx_offset = NT_DGRAM_DATA_OFFSET;
    sock->error_taken = 0;
    sock->request = fresh.request;
    sock->flags &= ~(uint32_t)NT_SOCKF_OOB_READ;
    nt_store_release(&area->by_slot[slot], sock);
}

void nt_sock_leave_slot(struct nt_sock *sock, struct nt_sock_area *area, uint32_t slot,
                        uint32_t control, struct nt_sock_wake *wake)
{
    struct nt_slot_program *program = &area->view.slot_program[slot];
    struct nt_sock *owner = sock;
    // Not ours any more if a cold start gave it to another socket.
    if (!__atomic_compare_exchange_n(&area->by_slot[slot], &owner, (struct nt_sock *)NULL, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return;
    nt_store_release(&program->control,
                     nt_load_relaxed(&program->control) | NT_CONTROL_CLOSE | control);
    nt_area_set_activity(&area->view, slot);
    wake->areas |= 1u << area->index;
}

int nt_sock_renew_slot(struct nt_sock_context *context, struct nt_sock *sock,
                       struct nt_sock_wake *wake)
{
    struct nt_sock_area *area = sock->area;
    uint32_t old_slot = sock->slot;
    struct nt_slot_program old = *sock->program;
    int result = nt_sock_take_slot(context, sock, area->protocol, NT_SOCK_ANY_LANE, &old, wake);
    if (result < 0)
        return result;
    nt_store_release(&sock->program->queue, old.queue);
    if (area != sock->area || old_slot != sock->slot)
        nt_sock_leave_slot(sock, area, old_slot, NT_CONTROL_RESET, wake);
    sock->flags &= ~(uint32_t)(NT_SOCKF_USED_UP | NT_SOCKF_UNREPORTED | NT_SOCKF_NAMED |
                               NT_SOCKF_DISCONNECTING);
    if (sock->bound != 0)
        sock->flags |= NT_SOCKF_UNBOUND;
    nt_store_relaxed(&sock->shutdown, (uint8_t)0); // tcp_disconnect()
    return 0;
}

static void look_at_stream(const struct nt_sock *sock, struct nt_sock_view *view)
{
    const struct nt_slot_server *server = sock->server;
    uint8_t state = nt_load_acquire(&server->state);
    uint8_t flags = nt_load_acquire(&server->flags);
    uint32_t error = 0;
    bool broken = state == NT_SLOT_BROKEN;
    if (nt_sock_is_lost(sock)) {
        broken = true;
        error = NT_ERROR_COLD_START;
        flags = 0;
    } else if (broken) {
        error = nt_load_relaxed(&server->error);
        if (nt_error_number(error) == 0)
            error = nt_load_relaxed(&server->reply_errno);
        if (nt_error_number(error) == 0)
            error = ECONNRESET;
    } else if (state <= NT_SLOT_GRANTED) {
        // connect() was refused at once: no such route, no free port.
        if (nt_load_acquire(&server->reply) == sock->request)
            error = nt_load_relaxed(&server->reply_errno);
        broken = nt_error_number(error) != 0;
    }
    view->done = (flags & NT_SLOT_RX_FIN) != 0;
    if (view->done)
        view->shutdown |= NT_SHUT_RD;
    if (broken) {
        view->state = NT_TCP_CLOSE;
        view->shutdown = NT_SHUT_BOTH; // tcp_done()
        view->error = error == nt_load_relaxed(&sock->error_taken) ? 0 : error;
    } else if (state <= NT_SLOT_CONNECTING && (sock->flags & NT_SOCKF_NAMED) == 0) {
        view->state = NT_TCP_SYN_SENT; // one that was accepted is on its way here
    } else {
        bool over = view->done && (flags & NT_SLOT_TX_DONE) != 0;
        view->state = over ? NT_TCP_CLOSE : NT_TCP_ESTABLISHED;
    }
}

void nt_sock_look(const struct nt_sock *sock, struct nt_sock_view *view)
{
    uint8_t phase = nt_load_relaxed(&sock->phase);
    view->state = NT_TCP_CLOSE;
    view->shutdown = nt_load_relaxed(&sock->shutdown);
    view->error = 0;
    view->done = false;
    if (sock->type == SOCK_DGRAM) {
        uint32_t error = nt_load_relaxed(&sock->server->error);
        view->error = error == nt_load_relaxed(&sock->error_taken) ? 0 : error;
        if (NT_UNLIKELY(sock->flags & NT_SOCKF_SHARED) && nt_sock_was_moved(sock))
            view->error = NT_ERROR_MOVED;
        if (phase == NT_SOCK_CONNECTED)
            view->state = NT_TCP_ESTABLISHED;
    } else if (phase == NT_SOCK_LISTENING) {
        view->state = NT_TCP_LISTEN;
    } else if (phase == NT_SOCK_CONNECTING || phase == NT_SOCK_CONNECTED) {
        look_at_stream(sock, view);
    } else {
        view->error = sock->left_error;
    }
    if (phase == NT_SOCK_SICK)
        view->error = EIO;
}

int nt_sock_take_error(struct nt_sock *sock, const struct nt_sock_view *view)
{
    if (nt_load_relaxed(&sock->phase) == NT_SOCK_SICK)
        return EIO;
    if (sock->left_error != 0)
        sock->left_error = 0;
    else if (view->error != 0 && view->error != NT_ERROR_MOVED)
        nt_store_relaxed(&sock->error_taken, view->error);
    return (int)nt_error_number(view->error);
}
