// buffers.c: see buffers.h. Why C: a record changes with every packet.
#include "newtos_py/net/buffers.h"

#include <stdio.h>

static void set(struct nt_buffers *buffers, uint32_t buffer, uint16_t use,
                enum nt_buffer_state state)
{
    struct nt_buffer_record *record = &buffers->record[buffer];
    uint32_t class = nt_buffers_class(buffers, buffer);
    nt_txn_touch(buffers->txn, record, sizeof(*record));
    buffers->in_state[record->state][class] -= 1;
    buffers->in_state[state][class] += 1;
    record->use = use;
    record->state = (uint8_t)state;
}

// Makes the pool's counts say what the records say: what was taken or given back by a transaction
// that has been rolled back is undone with it.
static int restore_use_counts(struct nt_buffers *buffers, const struct nt_pool *pool)
{
    for (uint32_t i = 0; i < buffers->count; i++) {
        const struct nt_buffer_record *record = &buffers->record[i];
        bool out = record->state != NT_BUFFER_FREE;
        if (record->state >= NT_BUFFER_STATES || (record->use & 1) != out)
            return -1;
        nt_store_release(&pool->use[i], record->use);
    }
    return 0;
}

// A cold start: nobody above can tell a buffer's last life from its next unless the count moves on.
static void reset_use_counts(struct nt_buffers *buffers, const struct nt_pool *pool)
{
    for (uint32_t i = 0; i < buffers->count; i++) {
        uint16_t use = (uint16_t)(pool->use[i] + (pool->use[i] & 1));
        nt_store_release(&pool->use[i], use);
        buffers->record[i] = (struct nt_buffer_record){.use = use, .state = NT_BUFFER_FREE};
    }
}

int nt_buffers_open(struct nt_buffers *buffers, struct nt_txn *txn, struct nt_buffer_record *record,
                    void *pool, uint64_t pool_bytes, uint16_t region, bool recovered)
{
    struct nt_pool view;
    if (nt_pool_open(&view, pool, pool_bytes, region) != 0 || view.small_count > NT_BUFFERS_MAX ||
        view.large_count > NT_BUFFERS_MAX - view.small_count)
        return -1;
    buffers->txn = txn;
    buffers->record = record;
    buffers->count = view.small_count + view.large_count;
    if (!recovered)
        reset_use_counts(buffers, &view);
    else if (restore_use_counts(buffers, &view) != 0)
        return -1;
    if (nt_pool_own(&buffers->owner, pool, pool_bytes, region, buffers->stack) != 0)
        return -1;
    memset(buffers->in_state, 0, sizeof(buffers->in_state));
    for (uint32_t i = 0; i < buffers->count; i++)
        buffers->in_state[record[i].state][nt_buffers_class(buffers, i)] += 1;
    return 0;
}

int64_t nt_buffers_take(struct nt_buffers *buffers, uint32_t len, enum nt_buffer_state state)
{
    int64_t buffer = nt_pool_take(&buffers->owner, len);
    if (buffer >= 0)
        set(buffers, (uint32_t)buffer, buffers->owner.view.use[buffer], state);
    return buffer;
}

int64_t nt_buffers_peek(const struct nt_buffers *buffers, uint32_t len)
{
    const struct nt_pool_owner *owner = &buffers->owner;
    bool small = len <= NT_POOL_SMALL_BYTES - NT_POOL_HEADROOM;
    const uint32_t *list = small ? owner->free_small : owner->free_large;
    uint32_t count = small ? owner->free_small_count : owner->free_large_count;
    if (count == 0 || len > NT_POOL_LARGE_BYTES - NT_POOL_HEADROOM)
        return -1;
    return list[count - 1];
}

void nt_buffers_set_state(struct nt_buffers *buffers, uint32_t buffer, enum nt_buffer_state state)
{
    nt_assert(buffers->record[buffer].state != NT_BUFFER_FREE && state != NT_BUFFER_FREE);
    set(buffers, buffer, buffers->record[buffer].use, state);
}

void nt_buffers_free(struct nt_buffers *buffers, uint32_t buffer)
{
    struct nt_return ret = {
        .buffer = buffer, .use = buffers->record[buffer].use, .region = buffers->owner.view.region};
    nt_assert(buffers->record[buffer].state != NT_BUFFER_FREE);
    bool given_back = nt_pool_give_back(&buffers->owner, ret);
    nt_assert(given_back);
    set(buffers, buffer, buffers->owner.view.use[buffer], NT_BUFFER_FREE);
}

bool nt_buffers_give_back(struct nt_buffers *buffers, struct nt_return ret)
{
    if (ret.buffer < buffers->count && buffers->record[ret.buffer].state != NT_BUFFER_UP) {
        buffers->owner.stale_returns++;
        return false;
    }
    if (!nt_pool_give_back(&buffers->owner, ret))
        return false;
    set(buffers, ret.buffer, buffers->owner.view.use[ret.buffer], NT_BUFFER_FREE);
    return true;
}

static int fail(char *why, uint64_t why_bytes, const char *what, uint32_t buffer)
{
    (void)snprintf(why, why_bytes, "buffer %u: %s", buffer, what);
    return -1;
}

static int audit_free_list(const struct nt_buffers *buffers, const uint32_t *list, uint32_t count,
                           uint32_t class, char *why, uint64_t why_bytes)
{
    uint64_t seen[NT_BUFFERS_MAX / 64] = {0};
    if (count != buffers->in_state[NT_BUFFER_FREE][class])
        return fail(why, why_bytes,
                    "the free list of this class (0 small, 1 large) is too short or too long",
                    class);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t buffer = list[i];
        uint64_t bit = UINT64_C(1) << (buffer % 64);
        if (buffer >= buffers->count || nt_buffers_class(buffers, buffer) != class)
            return fail(why, why_bytes, "on the wrong free list", buffer);
        if (buffers->record[buffer].state != NT_BUFFER_FREE)
            return fail(why, why_bytes, "on a free list, but out", buffer);
        if (seen[buffer / 64] & bit)
            return fail(why, why_bytes, "twice on a free list", buffer);
        seen[buffer / 64] |= bit;
    }
    return 0;
}

int nt_buffers_audit(const struct nt_buffers *buffers, char *why, uint64_t why_bytes)
{
    const struct nt_pool_owner *owner = &buffers->owner;
    uint32_t in_state[4][2] = {{0}};
    for (uint32_t i = 0; i < buffers->count; i++) {
        const struct nt_buffer_record *record = &buffers->record[i];
        if (record->state >= NT_BUFFER_STATES)
            return fail(why, why_bytes, "in no state that there is", i);
        if (record->use != owner->view.use[i])
            return fail(why, why_bytes, "pool and record disagree about its use count", i);
        if ((record->use & 1) != (record->state != NT_BUFFER_FREE))
            return fail(why, why_bytes, "use count does not fit its state", i);
        in_state[record->state][nt_buffers_class(buffers, i)] += 1;
    }
    if (memcmp(in_state, buffers->in_state, sizeof(in_state)) != 0)
        return fail(why, why_bytes, "the numbers of buffers by state are wrong, up to", 0);
    if (audit_free_list(buffers, owner->free_small, owner->free_small_count, 0, why, why_bytes))
        return -1;
    return audit_free_list(buffers, owner->free_large, owner->free_large_count, 1, why, why_bytes);
}
