// SPDX-License-Identifier: MIT
// I/O scheduler; scheduler.h has the theory.
#include "kernel/block/scheduler.h"
#include "kernel/base/assert.h"
#include "kernel/base/hash.h"
#include "kernel/base/string.h"
#include "kernel/block/internal.h"
#include <linux/ioprio.h>

#define NS_PER_SECOND_   UINT64_C(1000000000)
#define DEFAULT_DEPTH    16
#define WEIGHT_BASE      64                    // virtual time is bytes * WEIGHT_BASE / weight
#define BURST_NS         (NS_PER_SECOND_ / 20) // what a limited class may save up
#define IDLE_DEADLINE_NS (2 * NS_PER_SECOND_)

void block_scheduler_init(struct block_scheduler *scheduler, const struct block_limits *limits)
{
    static const uint64_t read_ms[BLOCK_CLASSES] = {50, 500, 2000};
    static const uint64_t write_ms[BLOCK_CLASSES] = {500, 5000, 20000};
    memset(scheduler, 0, sizeof(*scheduler));
    spin_lock_init(&scheduler->lock);
    scheduler->limits = limits;
    scheduler->depth = DEFAULT_DEPTH;
    for (unsigned i = 0; i < BLOCK_CLASSES; i++) {
        struct block_class *class = &scheduler->classes[i];
        class->deadline_read_ns = read_ms[i] * (NS_PER_SECOND_ / 1000);
        class->deadline_write_ns = write_ms[i] * (NS_PER_SECOND_ / 1000);
        for (unsigned j = 0; j < BLOCK_OWNERS_MAX; j++)
            list_init(&class->owners[j].requests);
    }
}

uint32_t block_class_of(const struct block_request *request)
{
    switch (IOPRIO_PRIO_CLASS(request->priority)) {
    case IOPRIO_CLASS_RT:
        return BLOCK_CLASS_REAL_TIME;
    case IOPRIO_CLASS_IDLE:
        return BLOCK_CLASS_IDLE;
    default:
        return BLOCK_CLASS_BEST_EFFORT;
    }
}

// Level 0 gets eight times what level 7 gets.
uint32_t block_weight_of(const struct block_request *request)
{
    const uint32_t class = IOPRIO_PRIO_CLASS(request->priority);
    if (class != IOPRIO_CLASS_RT && class != IOPRIO_CLASS_BE)
        return IOPRIO_NR_LEVELS - IOPRIO_BE_NORM;
    return IOPRIO_NR_LEVELS - MIN(IOPRIO_PRIO_DATA(request->priority), IOPRIO_NR_LEVELS - 1);
}

static struct block_owner *owner_of(struct block_class *class, const struct block_request *request)
{
    return &class->owners[hash_u64(request->owner) % BLOCK_OWNERS_MAX];
}

static uint64_t bit_of(const struct block_class *class, const struct block_owner *owner)
{
    return UINT64_C(1) << (owner - class->owners);
}

bool block_scheduler_add(struct block_scheduler *scheduler, struct block_request *request)
{
    struct block_class *class = &scheduler->classes[block_class_of(request)];
    struct block_owner *owner = owner_of(class, request);
    const bool is_read = request->operation == BLOCK_READ;
    spin_lock(&scheduler->lock);
    request->scheduled =
        request->start_ns + (is_read ? class->deadline_read_ns : class->deadline_write_ns);
    if (!(class->active & bit_of(class, owner))) {
        class->active |= bit_of(class, owner);
        owner->virtual_time = MAX(owner->virtual_time, class->virtual_time);
    }
    const bool merged = block_add_or_merge(scheduler->limits, &owner->requests, request);
    if (!merged) {
        class->waiting++;
        scheduler->waiting++;
    }
    spin_unlock(&scheduler->lock);
    return merged;
}

// The owner that goes first: one with a request past its deadline, else the one farthest behind.
static struct block_owner *choose_owner(struct block_class *class, uint64_t now_ns)
{
    struct block_owner *best = NULL, *late = NULL;
    uint64_t least_deadline = now_ns;
    for (uint64_t active = class->active; active != 0; active &= active - 1) {
        struct block_owner *owner = &class->owners[__builtin_ctzll(active)];
        const struct block_request *first =
            list_first_entry(&owner->requests, struct block_request, node);
        if (first->scheduled < least_deadline) {
            least_deadline = first->scheduled;
            late = owner;
        }
        if (best == NULL || owner->virtual_time < best->virtual_time)
            best = owner;
    }
    if (best != NULL)
        class->virtual_time = best->virtual_time;
    return late != NULL ? late : best;
}

static bool idle_has_waited(const struct block_class *class, uint64_t now_ns)
{
    for (uint64_t active = class->active; active != 0; active &= active - 1) {
        const struct block_owner *owner = &class->owners[__builtin_ctzll(active)];
        const struct block_request *first =
            list_first_entry(&owner->requests, struct block_request, node);
        if (first->start_ns + IDLE_DEADLINE_NS <= now_ns)
            return true;
    }
    return false;
}

static bool class_may_go(const struct block_scheduler *scheduler, uint32_t index, uint64_t now_ns)
{
    const struct block_class *class = &scheduler->classes[index];
    if (class->waiting == 0 || class->next_ns > now_ns)
        return false;
    if (index != BLOCK_CLASS_IDLE)
        return true;
    const bool others =
        scheduler->waiting != class->waiting || scheduler->started != class->started;
    return !others || idle_has_waited(class, now_ns);
}

static struct block_request *take_from(
    struct block_scheduler *scheduler, struct block_class *class, uint64_t now_ns)
{
    struct block_owner *owner = choose_owner(class, now_ns);
    struct block_request *request =
        list_pop_head_entry_or_null(&owner->requests, struct block_request, node);
    assert(request != NULL);
    // Discards transfer nothing; they are charged as a page. Transfers are of a few MiB at most.
    uint64_t bytes = (uint64_t)request->total_sectors << BLOCK_SECTOR_SHIFT;
    if (request->operation > BLOCK_WRITE)
        bytes = PAGE_SIZE;
    owner->virtual_time += bytes * WEIGHT_BASE / block_weight_of(request);
    if (list_is_empty(&owner->requests))
        class->active &= ~bit_of(class, owner);
    const uint64_t limit = __atomic_load_n(&class->limit_bytes, __ATOMIC_RELAXED);
    if (limit != 0 && now_ns != UINT64_MAX) {
        const uint64_t earliest = now_ns > BURST_NS ? now_ns - BURST_NS : 0;
        class->next_ns = MAX(class->next_ns, earliest) + bytes * NS_PER_SECOND_ / limit;
    }
    class->bytes += bytes;
    class->waiting--;
    class->started++;
    scheduler->waiting--;
    scheduler->started++;
    return request;
}

struct block_request *block_scheduler_take(struct block_scheduler *scheduler, uint64_t now_ns)
{
    struct block_request *request = NULL;
    spin_lock(&scheduler->lock);
    const bool all = now_ns == UINT64_MAX;
    const uint32_t depth = __atomic_load_n(&scheduler->depth, __ATOMIC_RELAXED);
    if (scheduler->waiting != 0 && (scheduler->started < depth || all)) {
        for (uint32_t i = 0; i < BLOCK_CLASSES && request == NULL; i++) {
            if (class_may_go(scheduler, i, now_ns))
                request = take_from(scheduler, &scheduler->classes[i], now_ns);
        }
    }
    spin_unlock(&scheduler->lock);
    return request;
}

void block_scheduler_done(struct block_scheduler *scheduler, const struct block_request *request)
{
    spin_lock(&scheduler->lock);
    struct block_class *class = &scheduler->classes[block_class_of(request)];
    assert(class->started != 0);
    assert(scheduler->started != 0);
    class->started--;
    scheduler->started--;
    spin_unlock(&scheduler->lock);
}

uint64_t block_scheduler_next_ns(struct block_scheduler *scheduler)
{
    uint64_t next = UINT64_MAX;
    spin_lock(&scheduler->lock);
    if (scheduler->started < scheduler->depth) {
        for (uint32_t i = 0; i < BLOCK_CLASSES; i++) {
            const struct block_class *class = &scheduler->classes[i];
            if (class->waiting == 0)
                continue;
            uint64_t at = class->next_ns;
            // Idle requests behind others that don't go by themselves: at the latest then.
            if (i == BLOCK_CLASS_IDLE && scheduler->waiting != class->waiting) {
                for (uint64_t active = class->active; active != 0; active &= active - 1) {
                    const struct block_owner *owner = &class->owners[__builtin_ctzll(active)];
                    const struct block_request *first =
                        list_first_entry(&owner->requests, struct block_request, node);
                    at = MAX(at, first->start_ns + IDLE_DEADLINE_NS);
                }
            }
            next = MIN(next, at);
        }
    }
    spin_unlock(&scheduler->lock);
    return next;
}

bool block_scheduler_is_valid(const struct block_scheduler *scheduler)
{
    uint32_t waiting = 0, started = 0;
    for (uint32_t i = 0; i < BLOCK_CLASSES; i++) {
        const struct block_class *class = &scheduler->classes[i];
        size_t count = 0;
        for (uint32_t j = 0; j < BLOCK_OWNERS_MAX; j++) {
            const bool empty = list_is_empty(&class->owners[j].requests);
            if (empty == (class->active >> j & 1))
                return false;
            count += list_length(&class->owners[j].requests);
        }
        if (count != class->waiting)
            return false;
        waiting += class->waiting;
        started += class->started;
    }
    return waiting == scheduler->waiting && started == scheduler->started;
}
