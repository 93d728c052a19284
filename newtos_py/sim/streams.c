// streams.c: reading, writing and checking.
#include "newtos_py/sim/streams.h"

#include <errno.h>
#include <stdlib.h>

enum { PIECE_MAX = 20000, CALLS_A_TURN = 8, NUMBER_BYTES = 4 };

static uint8_t byte_of(uint32_t number, uint32_t direction, uint64_t offset)
{
    if (direction == 0 && offset < NUMBER_BYTES)
        return (uint8_t)(number >> 8 * offset); // tells the accepting end which connection it is
    uint64_t word = nt_sim_mix((uint64_t)number << 33 | (uint64_t)direction << 32 | offset >> 3);
    return (uint8_t)(word >> 8 * (offset & 7));
}

void nt_sim_program_init(struct nt_sim_program *program, struct nt_sim_host *host, uint32_t streams,
                         uint64_t seed)
{
    static const uint32_t awake = 0;
    memset(program, 0, sizeof(*program));
    nt_sock_context_init(&program->context, NULL);
    nt_assert(nt_sock_attach(&program->context, nt_sim_host_area(host, 0), 6, &awake, -1) == 0);
    nt_queue_init(&program->context, &program->queue, NT_SIM_QUEUE);
    program->random = (struct nt_sim_random){seed};
    program->stream_count = 2 * streams; // as many again for those that are accepted
    program->most = streams;
    size_t bytes = program->stream_count * sizeof(struct nt_sim_stream);
    program->stream = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    nt_assert(program->stream != NULL);
    memset(program->stream, 0, bytes);
}

void nt_sim_program_free(struct nt_sim_program *program) { free(program->stream); }

static struct nt_sim_stream *free_stream(struct nt_sim_program *program)
{
    for (uint32_t i = 0; i < program->stream_count; i++)
        if (!program->stream[i].open)
            return &program->stream[i];
    return NULL;
}

static void begin(struct nt_sim_program *program, struct nt_sim_stream *stream)
{
    stream->open = 1;
    stream->awake = 1;
    program->active += stream->connected;
    // What was told to another queue before is looked at once now.
    nt_sock_set_queue(&stream->sock, NT_SIM_QUEUE);
}

static void set_plan(struct nt_sim_program *program, struct nt_sim_stream *stream, uint32_t number)
{
    const struct nt_sim_plan *plan = &program->plan[number];
    stream->number = number;
    stream->tx_bytes = plan->bytes[stream->connected ? 0 : 1];
    stream->rx_bytes = plan->bytes[stream->connected ? 1 : 0];
}

static void end(struct nt_sim_program *program, struct nt_sim_stream *stream)
{
    (void)nt_sock_close(&stream->sock, &program->wake);
    stream->open = 0;
    stream->awake = 0;
    program->active -= stream->connected;
}

static enum nt_sim_end end_of(const struct nt_sim_stream *stream)
{
    return stream->connected ? NT_SIM_CONNECTING : NT_SIM_ACCEPTING;
}

static void fail(struct nt_sim_program *program, struct nt_sim_stream *stream, int error)
{
    if (stream->number == UINT32_MAX)
        program->stray++;
    else
        program->plan[stream->number].error[end_of(stream)] = error;
    end(program, stream);
}

// -- Making connections --------------------------------------------------------------------------

static uint32_t open_some(struct nt_sim_program *program)
{
    uint32_t done = 0;
    for (; program->opened < program->plan_count; program->opened++) {
        if (program->plan[program->opened].opens != program->host)
            continue;
        struct nt_sim_stream *stream = free_stream(program);
        if (program->active >= program->most || stream == NULL)
            break;
        memset(stream, 0, sizeof(*stream));
        if (nt_sock_create(&program->context, &stream->sock, AF_INET, SOCK_STREAM, 0,
                           &program->wake) != 0)
            break; // no slot is granted yet
        stream->connected = 1;
        set_plan(program, stream, program->opened);
        begin(program, stream);
        int result = nt_sock_connect(&program->context, &stream->sock, program->peer,
                                     program->peer_bytes, &program->wake);
        if (result != 0 && result != -EINPROGRESS)
            fail(program, stream, -result);
        done++;
    }
    return done;
}

static uint32_t accept_some(struct nt_sim_program *program)
{
    uint32_t done = 0;
    while (program->accept_awake) {
        struct nt_sim_stream *stream = free_stream(program);
        if (stream == NULL)
            break;
        memset(stream, 0, sizeof(*stream));
        if (nt_sock_accept(&program->context, &program->listening, &stream->sock, NULL, NULL,
                           &program->wake) != 0) {
            program->accept_awake = 0;
            break;
        }
        stream->number = UINT32_MAX;
        begin(program, stream);
        done++;
    }
    return done;
}

// -- Data ----------------------------------------------------------------------------------------

// The bytes of a piece that was read; false at the first wrong one.
static bool check(const struct nt_sim_stream *stream, const uint8_t *data, uint32_t len)
{
    uint32_t direction = stream->connected ? 1 : 0;
    for (uint32_t i = 0; i < len; i++) {
        uint64_t offset = stream->rx_done + i;
        if (data[i] != byte_of(stream->number, direction, offset) || offset >= stream->rx_bytes)
            return false;
    }
    return true;
}

// The accepting end learns its number from the first bytes; none has been counted before.
static bool learn_number(struct nt_sim_program *program, struct nt_sim_stream *stream)
{
    uint8_t raw[NUMBER_BYTES];
    struct iovec iov = {raw, sizeof(raw)};
    ssize_t got = nt_sock_recv(&stream->sock, &iov, 1, MSG_PEEK, NULL, &program->wake);
    if (got < NUMBER_BYTES) {
        if (got < 0 && got != -EAGAIN)
            fail(program, stream, (int)-got);
        else if (got == 0)
            fail(program, stream, ENODATA);
        return false;
    }
    uint32_t number =
        (uint32_t)raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24;
    if (number >= program->plan_count) {
        program->wrong++;
        fail(program, stream, EPROTO);
        return false;
    }
    set_plan(program, stream, number);
    return true;
}

// False: would block, or nothing more will come.
static bool read_piece(struct nt_sim_program *program, struct nt_sim_stream *stream)
{
    static _Thread_local uint8_t buffer[PIECE_MAX];
    struct iovec iov = {buffer, 1 + nt_sim_below(&program->random, PIECE_MAX)};
    ssize_t got = nt_sock_recv(&stream->sock, &iov, 1, MSG_DONTWAIT, NULL, &program->wake);
    if (got == -EAGAIN)
        return false;
    if (got < 0 || (got == 0 && stream->rx_done != stream->rx_bytes)) {
        fail(program, stream, got < 0 ? (int)-got : ENODATA);
        return false;
    }
    if (got == 0)
        return false;
    if (!check(stream, buffer, (uint32_t)got)) {
        program->wrong++;
        fail(program, stream, EPROTO);
        return false;
    }
    stream->rx_done += (uint64_t)got;
    return true;
}

static bool write_piece(struct nt_sim_program *program, struct nt_sim_stream *stream)
{
    static _Thread_local uint8_t buffer[PIECE_MAX];
    uint64_t left = stream->tx_bytes - stream->tx_done;
    uint32_t len = 1 + nt_sim_below(&program->random, PIECE_MAX);
    len = (uint32_t)nt_min_u64(len, left);
    if (len == 0)
        return false;
    for (uint32_t i = 0; i < len; i++)
        buffer[i] = byte_of(stream->number, stream->connected ? 0 : 1, stream->tx_done + i);
    struct iovec iov = {buffer, len};
    ssize_t sent = nt_sock_send(&stream->sock, &iov, 1, MSG_DONTWAIT, NULL, 0, &program->wake);
    if (sent == -EAGAIN)
        return false;
    if (sent < 0) {
        fail(program, stream, (int)-sent);
        return false;
    }
    stream->tx_done += (uint64_t)sent;
    return true;
}

// A connect() that failed, or an error that no read or write would meet.
static bool broken(struct nt_sim_program *program, struct nt_sim_stream *stream)
{
    int error = 0;
    socklen_t bytes = sizeof(error);
    if (!(nt_sock_poll(&stream->sock) & 8)) // POLLERR
        return false;
    (void)nt_sock_getsockopt(&stream->sock, SOL_SOCKET, SO_ERROR, &error, &bytes);
    fail(program, stream, error != 0 ? error : EIO);
    return true;
}

static void run_stream(struct nt_sim_program *program, struct nt_sim_stream *stream)
{
    if (stream->number == UINT32_MAX && !learn_number(program, stream)) {
        stream->awake = 0;
        return;
    }
    bool progress = false;
    for (uint32_t i = 0; i < CALLS_A_TURN && stream->open; i++) {
        bool more = read_piece(program, stream);
        more = (stream->open && write_piece(program, stream)) || more;
        progress = more;
        if (!more)
            break;
    }
    if (!stream->open || broken(program, stream))
        return;
    if (!stream->shut && stream->tx_done == stream->tx_bytes) {
        stream->shut = 1;
        if (nt_sim_chance(&program->random, 500000)) // else close() will say it
            (void)nt_sock_shutdown(&stream->sock, SHUT_WR, &program->wake);
    }
    if (stream->tx_done == stream->tx_bytes && stream->rx_done == stream->rx_bytes) {
        program->plan[stream->number].finished[end_of(stream)] = 1;
        end(program, stream);
    } else if (!progress) {
        stream->awake = 0;
    }
}

static struct nt_sim_stream *stream_of(struct nt_sim_program *program, const struct nt_sock *sock)
{
    for (uint32_t i = 0; i < program->stream_count; i++)
        if (&program->stream[i].sock == sock)
            return &program->stream[i];
    return NULL;
}

static uint32_t collect(struct nt_sim_program *program)
{
    struct nt_sock *found[64];
    uint32_t count = nt_queue_collect(&program->context, &program->queue, found, 64);
    for (uint32_t i = 0; i < count; i++) {
        struct nt_sim_stream *stream = stream_of(program, found[i]);
        if (stream != NULL)
            stream->awake = stream->open;
        else if (found[i] == &program->listening)
            program->accept_awake = 1;
    }
    return count;
}

uint32_t nt_sim_program_run(struct nt_sim_program *program)
{
    uint32_t done = collect(program) + accept_some(program) + open_some(program);
    for (uint32_t i = 0; i < program->stream_count; i++) {
        struct nt_sim_stream *stream = &program->stream[i];
        if (!stream->open || !stream->awake)
            continue;
        done++;
        if (!nt_sim_chance(&program->random, program->slow_ppm))
            run_stream(program, stream);
    }
    int bells[NT_SOCK_AREAS_MAX];
    (void)nt_sock_flush(&program->context, &program->wake, bells);
    return done;
}
