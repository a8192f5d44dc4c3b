// SPDX-License-Identifier: MIT
// Hybrid completion: an interrupt when the device is idle most of the time, looking when it is
// busy.
//
// Theory. An interrupt costs an exit or two and the way through the kernel; looking costs a few
// instructions, but somebody has to do it. Each queue measures the mean time between two ends
// (gap_ns) and from submission to end (service_ns).
//
//   A thread that waits for a request, where nothing else wants the CPU, looks itself if service_ns
//   is short (POLL_SERVICE_NS), for at most twice that time; then it sleeps. Interrupts are off
//   while somebody looks.
//
//   If requests end faster than one in BUSY_GAP_NS while more are under way, interrupts are
//   switched off, and a timer looks once in several gaps. When it has found nothing IDLE_POLLS
//   times, or nothing is under way any more, interrupts come back.
//
// Switching interrupts on can race with an end: the driver says so, and the core looks once more.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/block/internal.h"
#include "kernel/core/option.h"
#include "kernel/core/preempt.h"
#include "kernel/core/time.h"
#include "kernel/core/upcall.h"

#define POLL_SERVICE_NS (50 * NS_PER_US)  // sleeping and being woken costs about as much
#define BUSY_GAP_NS     (20 * NS_PER_US)  // an interrupt each would be most of the work
#define TIMER_GAPS      8                 // the timer looks once in so many gaps
#define TIMER_MAX_NS    (100 * NS_PER_US) // but a request never waits longer than this for it
#define IDLE_POLLS      2

static uint64_t poll_mode = 1;
BOOT_OPTION_U64(poll_mode, "block.poll",
    "How ends of block requests are noticed: 0 by interrupts only, 1 (default) also by looking, "
    "where measurements say that it is cheaper.");

COUNTER(block, interrupts_off); // times that a queue went from interrupts to looking
COUNTER(block, timer_polls);

// Interrupts as pollers and `polling` want them. Queue locked.
static void set_interrupts(struct block_queue *queue, bool on)
{
    const struct block_device_ops *ops = queue->device->ops;
    if (ops->interrupts == NULL)
        return;
    // What ended meanwhile would raise no interrupt.
    if (ops->interrupts(queue, on) && on)
        timer_arm(&queue->poll_timer, 0);
}

static uint64_t timer_time(const struct block_queue *queue, uint64_t now)
{
    return now + MIN((uint64_t)queue->gap_ns * TIMER_GAPS, TIMER_MAX_NS);
}

static void timer_polls(struct timer *timer)
{
    struct block_queue *queue = container_of(timer, struct block_queue, poll_timer);
    counter_add(block, timer_polls, 1);
    const bool any = block_queue_poll(queue);
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    queue->idle_polls = any ? 0 : queue->idle_polls + 1;
    if (queue->polling && (queue->idle_polls >= IDLE_POLLS || queue->started == 0)) {
        queue->polling = false;
        if (queue->pollers == 0)
            set_interrupts(queue, true);
    }
    if (queue->polling)
        timer_arm(&queue->poll_timer, timer_time(queue, time_monotonic_ns()));
    spin_unlock_irqrestore(&queue->lock, flags);
}

void block_completion_init(struct block_queue *queue)
{
    timer_init(&queue->poll_timer, timer_polls);
    queue->gap_ns = UINT32_MAX;
    queue->service_ns = UINT32_MAX;
}

void block_completion_found(struct block_queue *queue, uint32_t count, uint64_t now)
{
    assert_lock_held(&queue->lock);
    const uint64_t gap = (now - queue->last_ns) / count;
    queue->last_ns = now;
    queue->gap_ns = (uint32_t)(((uint64_t)queue->gap_ns * 7 + MIN(gap, UINT64_C(0xffffffff))) / 8);
    if (poll_mode == 0 || queue->polling || queue->device->ops->interrupts == NULL)
        return;
    if (queue->gap_ns < BUSY_GAP_NS && queue->started > 1) {
        queue->polling = true;
        queue->idle_polls = 0;
        counter_add(block, interrupts_off, 1);
        set_interrupts(queue, false);
        timer_arm(&queue->poll_timer, timer_time(queue, now));
    }
}

static void poller_enter(struct block_queue *queue)
{
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    if (queue->pollers++ == 0 && !queue->polling)
        set_interrupts(queue, false);
    spin_unlock_irqrestore(&queue->lock, flags);
}

static void poller_leave(struct block_queue *queue)
{
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    assert(queue->pollers != 0);
    if (--queue->pollers == 0 && !queue->polling)
        set_interrupts(queue, true);
    spin_unlock_irqrestore(&queue->lock, flags);
}

bool block_volume_wait_poll(struct block_volume *volume, const uint32_t *pending, bool must)
{
    if (__atomic_load_n(pending, __ATOMIC_ACQUIRE) == 0)
        return true;
    preempt_disable();
    struct block_queue *queue = block_queue_of_cpu(volume->device, cpu_current());
    preempt_enable();
    if (queue->device->ops->poll == NULL || (!must && poll_mode == 0))
        return false;
    const uint64_t expected = __atomic_load_n(&queue->service_ns, __ATOMIC_RELAXED);
    if (!must && expected > POLL_SERVICE_NS)
        return false;
    poller_enter(queue);
    const uint64_t end = time_monotonic_ns() + 2 * expected;
    bool over = false;
    for (;;) {
        (void)block_queue_poll(queue);
        over = __atomic_load_n(pending, __ATOMIC_ACQUIRE) == 0;
        if (over || (!must && (this_cpu_read(need_resched) || time_monotonic_ns() > end)))
            break;
        if (must && this_cpu_read(need_resched))
            sched_yield();
        arch_pause();
    }
    poller_leave(queue);
    return over;
}
