// SPDX-License-Identifier: MIT
// Timers.
//
// Each CPU has a queue under a lock, taken with interrupts off. The processor's timer is armed when
// a deadline is queued that is earlier than what it is armed for; taking the earliest timer off
// leaves it armed, and the interrupt that finds nothing to do arms it for what is first then. So
// arming and cancelling again, the life of most timeouts, costs at most one exit.
//
// A timer with slack is queued for the last moment at which it may fire, and fires earlier if an
// interrupt comes after its due time: sleeps that end at about the same time share one. It waits in
// the queue behind a timer that is not due yet, so what is looked at is always the first only.
//
//   I1  timer->cpu changes only under the lock of the queue that it named before, and only while
//       the timer is neither queued nor running there. Who has locked the queue and finds that cpu
//       still names it owns the timer.
//   I2  armed_ns <= deadline of the first timer whenever the lock is free, but for the time that
//       timer_interrupt() runs on that CPU: it looks at the queue again before it ends.
//   I3  running names the timer whose function is called on that CPU, until the function has
//       returned. Its memory is not touched after that.
#include "kernel/core/timer.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/core/counter.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/time.h"
#include "kernel/core/trace_points.h"
#include "pv/pv.h"

struct timer_cpu {
    struct spinlock lock;
    struct timer_queue queue;
    struct timer *running;          // I3
    uint64_t armed_ns;              // for when the processor's timer is armed plus 1, 0: not armed
    bool in_interrupt;              // timer_interrupt() runs and will arm
    const struct trap_frame *frame; // of what timer_interrupt() interrupted; NULL outside of it
};

static PERCPU(struct timer_cpu, timer_cpu) PERCPU_INITIAL({.lock = SPINLOCK_INIT("timer queue")});

COUNTER(timer, hardware_arms);
COUNTER(timer, interrupts);
COUNTER(timer, fired);
COUNTER(timer, coalesced); // fired before their deadline, with another one's interrupt

void timer_init(struct timer *timer, timer_function *function)
{
    *timer = (struct timer){.function = function};
}

static struct timer *timer_first(struct timer_cpu *base)
{
    struct timer_queue_node *node = timer_queue_first(&base->queue);
    return node != NULL ? container_of(node, struct timer, queue_node) : NULL;
}

// Locks the queue that the timer belongs to (I1). Interrupts off.
static struct timer_cpu *timer_lock_base(struct timer *timer)
{
    for (;;) {
        uint32_t cpu = atomic_load_relaxed(&timer->cpu);
        struct timer_cpu *base = percpu_of(timer_cpu, cpu);
        spin_lock(&base->lock);
        if (likely(atomic_load_relaxed(&timer->cpu) == cpu))
            return base;
        spin_unlock(&base->lock);
    }
}

// Arms the own CPU's processor timer if it isn't early enough. Under the lock.
static void timer_program(struct timer_cpu *base)
{
    const struct timer *first = timer_first(base);
    if (first == NULL || base->in_interrupt)
        return;
    uint64_t deadline_ns = first->queue_node.deadline_ns;
    if (base->armed_ns != 0 && base->armed_ns - 1 <= deadline_ns) {
        counter_add(pv, timer_arms_suppressed, 1);
        return;
    }
    base->armed_ns = deadline_ns + 1;
    counter_add(timer, hardware_arms, 1);
    pv_timer_arm(deadline_ns);
}

// Takes the timer off its queue and brings it to the running CPU's, unless its function runs
// elsewhere at this moment: then it stays there, where the end of timer_interrupt() will see it.
// Returns the locked queue.
static struct timer_cpu *timer_bring_here(struct timer *timer)
{
    uint32_t here = cpu_current();
    for (;;) {
        struct timer_cpu *base = timer_lock_base(timer);
        if (timer_queue_is_queued(&timer->queue_node))
            timer_queue_remove(&base->queue, &timer->queue_node);
        if (atomic_load_relaxed(&timer->cpu) == here || base->running == timer)
            return base;
        atomic_store_relaxed(&timer->cpu, here);
        spin_unlock(&base->lock);
    }
}

void timer_arm(struct timer *timer, uint64_t deadline_ns)
{
    timer_arm_within(timer, deadline_ns, 0);
}

void timer_arm_within(struct timer *timer, uint64_t due_ns, uint64_t slack_ns)
{
    debug_assert(timer->function != NULL);
    due_ns = MIN(due_ns, UINT64_MAX - 1);
    slack_ns = MIN(slack_ns, UINT64_MAX - 1 - due_ns);
    uint64_t deadline_ns = due_ns + slack_ns;
    uint64_t flags = arch_irq_save();
    trace(hrtimer_start, .hrtimer = (uintptr_t)timer, .function = (uintptr_t)timer->function,
        .expires = (int64_t)deadline_ns, .softexpires = (int64_t)due_ns);
    struct timer_cpu *base = timer_bring_here(timer);
    timer->slack_ns = slack_ns;
    atomic_store_relaxed(&timer->queue_node.deadline_ns, deadline_ns);
    bool is_first = timer_queue_insert(&base->queue, &timer->queue_node);
    if (is_first && base == percpu_of(timer_cpu, cpu_current()))
        timer_program(base);
    spin_unlock_irqrestore(&base->lock, flags);
}

bool timer_cancel(struct timer *timer)
{
    uint64_t flags = arch_irq_save();
    struct timer_cpu *base = timer_lock_base(timer);
    bool was_queued = timer_queue_is_queued(&timer->queue_node);
    if (was_queued)
        timer_queue_remove(&base->queue, &timer->queue_node);
    spin_unlock_irqrestore(&base->lock, flags);
    return was_queued;
}

bool timer_cancel_sync(struct timer *timer)
{
    bool was_queued = false;
    for (;;) {
        uint64_t flags = arch_irq_save();
        struct timer_cpu *base = timer_lock_base(timer);
        if (timer_queue_is_queued(&timer->queue_node)) {
            timer_queue_remove(&base->queue, &timer->queue_node);
            was_queued = true;
        }
        bool runs = base->running == timer; // the function may also arm it again: look once more
        spin_unlock_irqrestore(&base->lock, flags);
        if (!runs)
            return was_queued;
        arch_pause();
    }
}

bool timer_is_queued(const struct timer *timer)
{
    return atomic_load_relaxed(&timer->queue_node.node.parent_color) != 0;
}

const struct trap_frame *timer_interrupted_frame(void)
{
    return this_cpu(timer_cpu).frame;
}

void timer_interrupt(const struct trap_frame *frame)
{
    struct timer_cpu *base = this_cpu_ptr(timer_cpu);
    counter_add(timer, interrupts, 1);
    base->frame = frame;
    spin_lock(&base->lock);
    base->in_interrupt = true;
    base->armed_ns = 0;
    uint64_t now_ns = time_monotonic_ns();
    for (;;) {
        struct timer *timer = timer_first(base);
        if (timer == NULL || timer->queue_node.deadline_ns - timer->slack_ns > now_ns)
            break;
        if (timer->queue_node.deadline_ns > now_ns)
            counter_add(timer, coalesced, 1);
        timer_queue_remove(&base->queue, &timer->queue_node);
        base->running = timer;
        spin_unlock_no_resched(&base->lock);
        counter_add(timer, fired, 1);
        trace(hrtimer_expire_entry, .hrtimer = (uintptr_t)timer, .now = (int64_t)now_ns,
            .function = (uintptr_t)timer->function);
        timer->function(timer);
        spin_lock(&base->lock);
        base->running = NULL; // I3
    }
    base->in_interrupt = false;
    base->frame = NULL;
    timer_program(base); // I2
    spin_unlock_no_resched(&base->lock);
}

uint64_t timer_next_deadline(void)
{
    struct timer_cpu *base = this_cpu_ptr(timer_cpu);
    uint64_t flags = spin_lock_irqsave(&base->lock);
    const struct timer *first = timer_first(base);
    uint64_t deadline_ns = first != NULL ? first->queue_node.deadline_ns : UINT64_MAX;
    spin_unlock_irqrestore(&base->lock, flags);
    return deadline_ns;
}

void timer_migrate(uint32_t from_cpu)
{
    struct timer_cpu *from = percpu_of(timer_cpu, from_cpu);
    uint64_t flags = arch_irq_save();
    struct timer_cpu *here = this_cpu_ptr(timer_cpu);
    struct timer *timer;
    spin_lock(&from->lock);
    spin_lock_nested(&here->lock,
        1); // only here two queues are locked, and never the other way round: `from` is off-line
    while ((timer = timer_first(from)) != NULL) {
        timer_queue_remove(&from->queue, &timer->queue_node);
        atomic_store_relaxed(&timer->cpu, cpu_current());
        (void)timer_queue_insert(&here->queue, &timer->queue_node);
    }
    from->armed_ns = 0;
    timer_program(here);
    spin_unlock(&here->lock);
    spin_unlock_irqrestore(&from->lock, flags);
}
