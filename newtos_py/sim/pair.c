// pair.c: the scheduler.
#include "newtos_py/sim/pair.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "newtos_py/net/addr.h"

enum { ACTORS = 5, CRASH_POINTS_AHEAD = 120, REQUEST_STEPS = 64 };

struct nt_sim_pair {
    struct nt_sim_pair_config config;
    struct nt_sim_random random;
    struct nt_sim_host *host[2];
    struct nt_sim_program *program[2];
    struct nt_sim_link link;
    struct sockaddr_in peer[2]; // [host]: whom its program connects to
    struct nt_sim_packet *packet;
    struct nt_sim_plan *plan;
    uint32_t plan_count;
    uint64_t now_ns;
    uint64_t steps;
    uint32_t crashes;
    bool armed[2];     // [host]: it will die
    const char *wrong; // NULL, or what an audit said
};

struct nt_sim_pair *nt_sim_pair_new(const struct nt_sim_pair_config *config)
{
    struct nt_sim_pair *pair = calloc(1, sizeof(*pair));
    nt_assert(pair != NULL);
    pair->config = *config;
    pair->random = (struct nt_sim_random){config->seed};
    pair->now_ns = config->start_ns;
    pair->packet = malloc(sizeof(*pair->packet));
    nt_sim_link_init(&pair->link, &config->link, nt_sim_next(&pair->random));
    for (uint32_t i = 0; i < 2; i++) {
        pair->host[i] = nt_sim_host_new(&config->host[i]);
        pair->program[i] = aligned_alloc(64, (sizeof(struct nt_sim_program) + 63) & ~(size_t)63);
        nt_assert(pair->program[i] != NULL && pair->packet != NULL);
        nt_sim_program_init(pair->program[i], pair->host[i], config->streams,
                            nt_sim_next(&pair->random));
        pair->program[i]->host = i;
        pair->program[i]->slow_ppm = config->slow_ppm;
    }
    return pair;
}

void nt_sim_pair_free(struct nt_sim_pair *pair)
{
    for (uint32_t i = 0; i < 2; i++) {
        nt_sim_program_free(pair->program[i]);
        free(pair->program[i]);
        nt_sim_host_free(pair->host[i]);
    }
    nt_sim_link_free(&pair->link);
    free(pair->packet);
    free(pair);
}

// -- Actors --------------------------------------------------------------------------------------

// An engine's step, with its crash, restart and audit.
static int64_t step_host(struct nt_sim_pair *pair, uint32_t i)
{
    struct nt_sim_host *host = pair->host[i];
    uint32_t budget = 1 + nt_sim_below(&pair->random, NT_ENGINE_BUDGET);
    if (!pair->armed[i] && nt_sim_chance(&pair->random, pair->config.crash_ppm)) {
        nt_sim_host_crash_at(host, 1 + nt_sim_below(&pair->random, CRASH_POINTS_AHEAD));
        pair->armed[i] = true;
    }
    int64_t done = nt_sim_host_step(host, pair->now_ns, budget);
    pair->steps++;
    if (done < 0) {
        pair->crashes++;
        pair->wrong = nt_sim_host_restart(host, false);
        pair->armed[i] = false;
        done = 1;
    }
    if (pair->wrong == NULL)
        pair->wrong = nt_sim_host_audit(host);
    return done;
}

static uint32_t carry_out(struct nt_sim_pair *pair, uint32_t i)
{
    uint32_t budget = pair->config.ip_budget != 0 ? pair->config.ip_budget : UINT32_MAX;
    uint32_t done = 0;
    while (done < budget && nt_sim_host_collect(pair->host[i], pair->packet)) {
        nt_sim_link_send(&pair->link, pair->now_ns, 1 - i, pair->packet);
        done++;
    }
    return done;
}

static uint32_t deliver(struct nt_sim_pair *pair)
{
    uint32_t done = 0;
    while (nt_sim_link_next_ns(&pair->link) <= pair->now_ns) {
        struct nt_sim_flight flight;
        nt_sim_link_take(&pair->link, &flight);
        (void)nt_sim_host_deliver(pair->host[flight.to], flight.data, flight.len, 0,
                                  NT_DESC_PACKET);
        free(flight.data);
        done++;
    }
    return done;
}

static uint32_t act(struct nt_sim_pair *pair, uint32_t actor)
{
    if (actor == 0)
        return deliver(pair);
    if (actor <= 2)
        return (uint32_t)step_host(pair, actor - 1) + carry_out(pair, actor - 1);
    return nt_sim_program_run(pair->program[actor - 3]);
}

static uint32_t turn(struct nt_sim_pair *pair)
{
    uint32_t done = 0, first = nt_sim_below(&pair->random, ACTORS);
    for (uint32_t i = 0; i < ACTORS && pair->wrong == NULL; i++)
        done += act(pair, (first + i) % ACTORS);
    pair->now_ns += 1000; // work takes time
    return done;
}

static bool anything_left(struct nt_sim_pair *pair)
{
    return nt_sim_host_has_work(pair->host[0]) || nt_sim_host_has_work(pair->host[1]);
}

bool nt_sim_pair_done(const struct nt_sim_pair *pair)
{
    for (uint32_t i = 0; i < pair->plan_count; i++)
        for (uint32_t end = 0; end < 2; end++)
            if (!pair->plan[i].finished[end] && pair->plan[i].error[end] == 0)
                return false;
    return true;
}

const char *nt_sim_pair_run(struct nt_sim_pair *pair, uint64_t until_ns)
{
    bool was_done = nt_sim_pair_done(pair);
    while (pair->wrong == NULL && pair->now_ns < until_ns) {
        if (turn(pair) != 0 || pair->wrong != NULL || anything_left(pair)) {
            if (!was_done && nt_sim_pair_done(pair))
                break;
            continue;
        }
        uint64_t next = nt_sim_link_next_ns(&pair->link);
        for (uint32_t i = 0; i < 2; i++)
            next = nt_min_u64(next, nt_sim_host_deadline(pair->host[i]));
        if (next == NT_NEVER)
            break;
        if (next > pair->now_ns)
            pair->now_ns = next;
    }
    return pair->wrong;
}

// -- Setting up ----------------------------------------------------------------------------------

static const char *ask(struct nt_sim_pair *pair, uint32_t i, struct nt_request *request)
{
    if (!nt_sim_host_push_request(pair->host[i], request))
        return "the request channel is full";
    for (uint32_t n = 0; n < REQUEST_STEPS; n++) {
        (void)nt_sim_host_step(pair->host[i], pair->now_ns, NT_ENGINE_BUDGET);
        if (nt_sim_host_pop_reply(pair->host[i], request))
            return request->error == 0 ? NULL : "a request was refused";
    }
    return "a request was not answered";
}

static const char *listen_on(struct nt_sim_pair *pair, uint32_t i, const uint8_t addr[4],
                             uint16_t port, uint32_t backlog)
{
    struct nt_sim_program *program = pair->program[i];
    struct nt_request request = {.number = 1, .kind = NT_REQ_AREA_NEW, .arg = 1};
    const char *why = ask(pair, i, &request);
    if (why != NULL)
        return why;
    if (nt_sock_create(&program->context, &program->listening, AF_INET, SOCK_STREAM, 0,
                       &program->wake) != 0)
        return "no slot was granted";
    struct nt_sock_identity identity;
    nt_sock_identify(&program->listening, &identity);
    request = (struct nt_request){.number = 2,
                                  .kind = NT_REQ_BIND,
                                  .slot = identity.slot,
                                  .generation = identity.generation,
                                  .options = NT_OPTION_REUSEADDR,
                                  .endpoint = {.port = port}};
    nt_addr_from_v4(request.endpoint.addr, addr);
    why = ask(pair, i, &request);
    if (why != NULL)
        return why;
    nt_sock_bound(&program->listening, &request.endpoint);
    struct nt_listener *region = nt_sim_host_listener(pair->host[i], 0, backlog);
    request = (struct nt_request){.number = 3,
                                  .kind = NT_REQ_LISTEN,
                                  .slot = identity.slot,
                                  .generation = identity.generation};
    why = ask(pair, i, &request);
    nt_sock_listening(&program->listening, region);
    nt_sock_set_queue(&program->listening, NT_SIM_QUEUE);
    program->accept_awake = 1;
    return why;
}

const char *nt_sim_pair_listen(struct nt_sim_pair *pair, const uint8_t addr[8], uint16_t port,
                               uint32_t backlog)
{
    for (uint32_t i = 0; i < 2; i++) {
        const char *why = listen_on(pair, i, &addr[4 * (size_t)i], port, backlog);
        if (why != NULL)
            return why;
        struct sockaddr_in *peer = &pair->peer[1 - i];
        *peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&peer->sin_addr, &addr[4 * (size_t)i], 4);
        pair->program[1 - i]->peer = (struct sockaddr *)peer;
        pair->program[1 - i]->peer_bytes = sizeof(*peer);
    }
    return NULL;
}

void nt_sim_pair_set_plan(struct nt_sim_pair *pair, struct nt_sim_plan *plan, uint32_t count)
{
    pair->plan = plan;
    pair->plan_count = count;
    for (uint32_t i = 0; i < 2; i++) {
        pair->program[i]->plan = plan;
        pair->program[i]->plan_count = count;
        pair->program[i]->opened = 0;
    }
}

uint64_t nt_sim_pair_now_ns(const struct nt_sim_pair *pair) { return pair->now_ns; }

struct nt_sim_host *nt_sim_pair_host(struct nt_sim_pair *pair, uint32_t host)
{
    return pair->host[host];
}

const struct nt_sim_program *nt_sim_pair_program(const struct nt_sim_pair *pair, uint32_t host)
{
    return pair->program[host];
}

const struct nt_sim_link *nt_sim_pair_link(const struct nt_sim_pair *pair) { return &pair->link; }

uint32_t nt_sim_pair_crashes(const struct nt_sim_pair *pair) { return pair->crashes; }

uint64_t nt_sim_pair_steps(const struct nt_sim_pair *pair) { return pair->steps; }
