// queue.c: sweeping the ready bitmaps, and going to sleep without missing anything.
//
// A sweep clears the summary bit of a word, then swaps the word out. The server sets the slot's bit
// and then the summary's, so whatever it sets after the swap has its summary bit set after the
// clearing, and is found by the next sweep.
#include "libc_shim/sockets/inner.h"

void nt_queue_init(struct nt_sock_context *context, struct nt_queue *queue, uint32_t number)
{
    memset(queue, 0, sizeof *queue);
    queue->number = number;
    uint32_t count = nt_load_acquire(&context->area_count);
    for (uint32_t i = 0; i < count; i++) {
        struct nt_area_ready *ready = &context->area[i].view.ready[number];
        for (uint32_t word = 0; word < NT_SUMMARY_WORDS; word++)
            nt_store_relaxed(&ready->summary[word], UINT64_C(0));
        for (uint32_t word = 0; word < NT_BITMAP_WORDS; word++)
            nt_store_relaxed(&ready->bitmap[word], UINT64_C(0));
    }
}

void nt_queue_init_mute(struct nt_queue *queue)
{
    memset(queue, 0, sizeof *queue);
    queue->is_mute = 1;
}

static bool anything_set(struct nt_sock_context *context, const struct nt_queue *queue)
{
    if (queue->left_bits != 0)
        return true;
    uint32_t count = nt_load_acquire(&context->area_count);
    for (uint32_t i = 0; i < count; i++) {
        const struct nt_area_ready *ready = &context->area[i].view.ready[queue->number];
        for (uint32_t word = 0; word < NT_SUMMARY_WORDS; word++) {
            if (nt_load_acquire(&ready->summary[word]) != 0)
                return true;
        }
    }
    return false;
}

// Swaps out the next word with anything in it, starting where the last sweep ended and going round
// everything once.
static bool next_word(struct nt_sock_context *context, struct nt_queue *queue)
{
    if (!anything_set(context, queue))
        return false; // most calls end here, as each sweep does
    uint32_t count = nt_load_acquire(&context->area_count);
    // One summary word more than there are, because the first is entered in its middle; and no more
    // words than there are, whatever somebody keeps writing into the summaries.
    uint32_t empty_left = count * NT_SUMMARY_WORDS + 1;
    uint32_t words_left = count * NT_BITMAP_WORDS;
    while (count != 0 && empty_left != 0 && words_left != 0) {
        if (queue->next_word >= NT_BITMAP_WORDS) {
            queue->next_word = 0;
            queue->next_area++;
        }
        if (queue->next_area >= count)
            queue->next_area = 0;
        struct nt_area_ready *ready = &context->area[queue->next_area].view.ready[queue->number];
        uint64_t *summary = &ready->summary[queue->next_word >> 6];
        uint64_t ahead = nt_load_acquire(summary) & (UINT64_MAX << (queue->next_word & 63));
        if (ahead == 0) {
            queue->next_word = (queue->next_word | 63) + 1;
            empty_left--;
            continue;
        }
        uint32_t bit = (uint32_t)__builtin_ctzll(ahead);
        uint32_t word = (queue->next_word & ~63u) + bit;
        __atomic_fetch_and(summary, ~(UINT64_C(1) << bit), __ATOMIC_ACQ_REL);
        queue->left_bits = __atomic_exchange_n(&ready->bitmap[word], 0, __ATOMIC_ACQ_REL);
        queue->left_area = queue->next_area;
        queue->left_word = word;
        queue->next_word = word + 1;
        words_left--;
        if (queue->left_bits != 0)
            return true;
    }
    return false;
}

// Sockets of the bits left over, which are asked for before anybody looks at them: with thousands
// of them active they are in no cache. A bit without a socket is nobody's.
static uint32_t hand_over(struct nt_sock_context *context, struct nt_queue *queue,
                          struct nt_sock **out, uint32_t max)
{
    struct nt_sock_area *area = &context->area[queue->left_area];
    uint32_t found = 0;
    while (queue->left_bits != 0 && found < max) {
        uint32_t slot = queue->left_word * 64 + (uint32_t)__builtin_ctzll(queue->left_bits);
        queue->left_bits &= queue->left_bits - 1;
        if (slot >= area->view.slots)
            continue;
        struct nt_sock *sock = nt_load_acquire(&area->by_slot[slot]);
        if (sock == NULL)
            continue;
        nt_prefetch(sock);
        nt_prefetch(&sock->user);
        nt_prefetch(&area->view.slot_server[slot]);
        nt_prefetch(&area->view.slot_program[slot]);
        out[found++] = sock;
    }
    return found;
}

// Leaves out those that are closed, and says how many are left. A lost socket is worth a look,
// whatever the generation: it has an error to report.
static uint32_t keep_open(struct nt_sock **sock, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (nt_load_relaxed(&sock[i]->phase) != NT_SOCK_CLOSED)
            sock[kept++] = sock[i];
    return kept;
}

// What was left over may have been told again since: taken now, it comes once.
static void merge_left(struct nt_sock_context *context, struct nt_queue *queue)
{
    if (queue->left_bits == 0)
        return;
    struct nt_area_ready *ready = &context->area[queue->left_area].view.ready[queue->number];
    queue->left_bits |= __atomic_exchange_n(&ready->bitmap[queue->left_word], 0, __ATOMIC_ACQ_REL);
}

uint32_t nt_queue_collect(struct nt_sock_context *context, struct nt_queue *queue,
                          struct nt_sock **out, uint32_t max)
{
    uint32_t found = 0, taken;
    if (NT_UNLIKELY(queue->is_mute))
        return 0;
    nt_spin_lock(&queue->lock, context->yield);
    merge_left(context, queue);
    do {
        for (taken = found; taken < max && (queue->left_bits != 0 || next_word(context, queue));)
            taken += hand_over(context, queue, out + taken, max - taken);
        found += keep_open(out + found, taken - found);
    } while (taken == max && found < max);
    nt_spin_unlock(&queue->lock);
    return found;
}

static void set_flags(struct nt_sock_context *context, uint32_t number, uint32_t value)
{
    nt_store_relaxed(&context->asleep[number], value);
    nt_fence(); // nt_sock_attach() sees `asleep`, or we see its area
    uint32_t count = nt_load_acquire(&context->area_count);
    for (uint32_t i = 0; i < count; i++)
        nt_store_relaxed(&context->area[i].view.queue[number].sleeping, value);
}

bool nt_queue_sleep(struct nt_sock_context *context, struct nt_queue *queue)
{
    if (queue->is_mute)
        return true;
    nt_spin_lock(&queue->lock, context->yield);
    if (queue->sleepers++ == 0)
        set_flags(context, queue->number, 1);
    nt_fence(); // the flags, before the last look (doorbell.h)
    bool nothing = !anything_set(context, queue);
    nt_spin_unlock(&queue->lock);
    return nothing;
}

void nt_queue_wake(struct nt_sock_context *context, struct nt_queue *queue)
{
    if (queue->is_mute)
        return;
    nt_spin_lock(&queue->lock, context->yield);
    if (queue->sleepers > 0 && --queue->sleepers == 0)
        set_flags(context, queue->number, 0);
    nt_spin_unlock(&queue->lock);
}

void nt_queue_child(struct nt_queue *queue)
{
    nt_spin_reset(&queue->lock);
    queue->sleepers = 0;
    queue->left_bits = 0;
}
