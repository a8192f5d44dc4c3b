// SPDX-License-Identifier: MIT
// Interval timers: ITIMER_REAL (also alarm), ITIMER_VIRTUAL and ITIMER_PROF. The latter two live in
// cpu_time.c.
#include "kernel/core/time.h"
#include "kernel/process/process.h"
#include "sched/sched.h"
#include <linux/time.h>

#define INTERVAL_MIN_NS                                                                            \
    (20 * NS_PER_US) // a shorter one would leave the CPU no time for anything else

void itimer_real_fire(struct timer *timer)
{
    struct process *process = container_of(timer, struct process, real_timer);
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(process, &flags);
    (void)signal_send_locked(process, NULL, SIGALRM, NULL);
    uint64_t interval_ns = process->real_timer_interval_ns;
    if (interval_ns != 0 && process->thread_count != 0) {
        uint64_t now = time_monotonic_ns();
        uint64_t next = timer_deadline_ns(timer) + interval_ns;
        timer_arm(timer, MAX(next, now + MIN(interval_ns, INTERVAL_MIN_NS)));
    }
    spin_unlock_irqrestore(&handlers->lock, flags);
}

static void exchange_real(
    struct process *process, const struct itimer_value *fresh, struct itimer_value *old)
{
    uint64_t now = time_monotonic_ns();
    struct timer *timer = &process->real_timer;
    old->interval_ns = process->real_timer_interval_ns;
    old->value_ns = 0;
    if (timer_is_queued(timer))
        old->value_ns = timer_deadline_ns(timer) > now ? timer_deadline_ns(timer) - now : NS_PER_US;
    if (fresh == NULL)
        return;
    timer_cancel(timer);
    process->real_timer_interval_ns = fresh->value_ns != 0 ? fresh->interval_ns : 0;
    if (fresh->value_ns != 0)
        timer_arm(timer, now + MIN(fresh->value_ns, INT64_MAX - now));
}

// A CPU-time timer: `*expiry_ns` in CPU time `now_ns`, 0: off.
static void exchange_cpu(uint64_t *expiry_ns, uint64_t *interval_ns, uint64_t now_ns,
    const struct itimer_value *fresh, struct itimer_value *old)
{
    old->interval_ns = *interval_ns;
    old->value_ns = *expiry_ns == 0 ? 0 : *expiry_ns > now_ns ? *expiry_ns - now_ns : NS_PER_US;
    if (fresh == NULL)
        return;
    *expiry_ns = fresh->value_ns != 0 ? now_ns + fresh->value_ns : 0;
    *interval_ns = fresh->interval_ns;
}

int itimer_exchange(int which, const struct itimer_value *fresh, struct itimer_value *old)
{
    struct process *process = process_current();
    if (which != ITIMER_REAL && which != ITIMER_VIRTUAL && which != ITIMER_PROF)
        return -EINVAL;
    uint64_t user_ns = 0;
    uint64_t system_ns = 0;
    if (which != ITIMER_REAL)
        process_cpu_times(process, &user_ns, &system_ns);
    uint64_t flags = spin_lock_irqsave(&process->handlers->lock);
    if (which == ITIMER_REAL)
        exchange_real(process, fresh, old);
    else if (which == ITIMER_VIRTUAL)
        exchange_cpu(
            &process->itimer_virtual_ns, &process->itimer_virtual_interval_ns, user_ns, fresh, old);
    else
        exchange_cpu(&process->itimer_prof_ns, &process->itimer_prof_interval_ns,
            user_ns + system_ns, fresh, old);
    if (fresh != NULL && which != ITIMER_REAL)
        cpu_timer_start(process);
    spin_unlock_irqrestore(&process->handlers->lock, flags);
    return 0;
}
