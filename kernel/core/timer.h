// SPDX-License-Identifier: MIT
// Timers: one queue a CPU, ordered by deadline; the earliest is given to pv_timer_arm() only when
// it is earlier than what is armed. No periodic tick: the scheduler arms a timer while it needs
// one.
#pragma once

#include "kernel/base/timer_queue.h"
#include "kernel/base/types.h"

struct timer;
// Interrupt context on the CPU where the timer was armed, interrupts off, no lock held; may arm the
// timer again.
typedef void timer_function(struct timer *timer);

struct timer {
    struct timer_queue_node
        queue_node;           // place and deadline, under the lock of the queue that cpu names
    timer_function *function; // fixed while the timer is in use
    uint32_t cpu;             // whose queue it is or was last on; atomic, see timer.c
    uint64_t slack_ns;        // how much earlier than its deadline it may fire; under the same lock
    bool running;             // its function runs; under the same lock
};

// The absolute monotonic time for which it is or was armed last.
static inline uint64_t timer_deadline_ns(const struct timer *timer)
{
    return __atomic_load_n(&timer->queue_node.deadline_ns, __ATOMIC_RELAXED);
}

void timer_init(struct timer *timer, timer_function *function);
// (Re-)arms on the running CPU. A deadline in the past fires as soon as interrupts are on. Any
// context but NMI.
void timer_arm(struct timer *timer, uint64_t deadline_ns);
// The same, for who does not need it exactly: it fires between `due_ns` and due_ns + slack_ns, with
// an interrupt that comes then for another timer if there is one. timer_deadline_ns() is the end.
void timer_arm_within(struct timer *timer, uint64_t due_ns, uint64_t slack_ns);
// Takes it off its queue. Returns whether it was queued. The function may still be running on
// another CPU.
bool timer_cancel(struct timer *timer);
// Also waits until the function is not running anywhere. Not from the function itself, nor with
// interrupts off, nor under a lock that it takes.
bool timer_cancel_sync(struct timer *timer);
bool timer_is_queued(const struct timer *timer);
// From the timer interrupt, with what it interrupted.
struct trap_frame;
void timer_interrupt(const struct trap_frame *frame);
// For a timer's function: what its interrupt interrupted on this CPU.
const struct trap_frame *timer_interrupted_frame(void);
// Earliest deadline of this CPU (UINT64_MAX: none), for idle.
uint64_t timer_next_deadline(void);
// Moves all timers of a CPU that goes off-line to the running one.
void timer_migrate(uint32_t from_cpu);
