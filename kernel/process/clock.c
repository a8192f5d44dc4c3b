// SPDX-License-Identifier: MIT
// The clocks of clock_gettime(2) and sleeping on them.
//
// BOOTTIME and TAI are MONOTONIC and REALTIME: the machine is not suspended without its clock, and
// leap seconds are not known. Negative numbers name CPU-time clocks of a process or task: ~pid << 3
// | 4 if it is a task's | what is counted.
#include "kernel/core/time.h"
#include "kernel/core/timespec.h"
#include "kernel/process/process.h"
#include "sched/sched.h"
#include <linux/time.h>

#define CPU_CLOCK_TASK  4 // bit: of a task, not of a process
#define CPU_CLOCK_WHAT  3 // mask
#define CPU_CLOCK_PROF  0
#define CPU_CLOCK_VIRT  1
#define CPU_CLOCK_SCHED 2

#define CPU_RECHECK_MIN_NS NS_PER_MS

bool clock_is_cpu_time(int32_t clock)
{
    return clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID;
}

static uint64_t part_of(uint32_t what, uint64_t user_ns, uint64_t system_ns)
{
    return what == CPU_CLOCK_VIRT ? user_ns : user_ns + system_ns;
}

static int cpu_clock_read(int32_t clock, uint64_t *ns)
{
    int32_t id = ~(clock >> 3);
    uint32_t what = (uint32_t)clock & CPU_CLOCK_WHAT;
    bool of_task = (clock & CPU_CLOCK_TASK) != 0;
    uint64_t user_ns, system_ns;
    if (what > CPU_CLOCK_SCHED || id < 0)
        return -EINVAL;
    struct task *task = task_current();
    if (id == 0)
        task_get(task);
    else
        task = task_find_get(id);
    int error = -EINVAL;
    if (task == NULL)
        return error;
    if (of_task && task->process == process_current()) {
        task_cpu_times(task, &user_ns, &system_ns);
        error = 0;
    } else if (!of_task && (task == task->process->leader || id == 0)) {
        process_cpu_times(task->process, &user_ns, &system_ns);
        error = 0;
    }
    task_put(task);
    if (error == 0)
        *ns = part_of(what, user_ns, system_ns);
    return error;
}

int clock_read(int32_t clock, uint64_t *ns)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_TAI:
        *ns = (uint64_t)time_realtime_ns();
        return 0;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
        *ns = time_monotonic_ns();
        return 0;
    case CLOCK_MONOTONIC_RAW:
        *ns = time_raw_ns();
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        *ns = process_cpu_ns(process_current());
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *ns = sched_thread_cpu_ns(thread_current());
        return 0;
    default:
        return clock < 0 ? cpu_clock_read(clock, ns) : -EINVAL;
    }
}

// Until the monotonic time; 0 or -EINTR.
static int sleep_until(uint64_t deadline_ns)
{
    int error;
    do {
        thread_prepare_sleep(THREAD_INTERRUPTIBLE);
        error = sched_block(deadline_ns);
    } while (error == 0);
    return error == -ETIMEDOUT ? 0 : error;
}

// A CPU clock advances at most as fast as real time on every thread: sleep that long, look again.
static int sleep_on_cpu_clock(int32_t clock, uint64_t until_ns)
{
    for (;;) {
        uint64_t now;
        int error = clock_read(clock, &now);
        if (error != 0 || now >= until_ns)
            return error;
        error = sleep_until(deadline_after(MAX(until_ns - now, CPU_RECHECK_MIN_NS)));
        if (error != 0)
            return error;
    }
}

// ---- REALTIME may be set -----------------------------------------------------------------------

static struct wait_queue realtime_changed = WAIT_QUEUE_INIT(realtime_changed, "realtime_changed");
static uint32_t realtime_changes; // atomic: how often it was set

static void realtime_was_set(void)
{
    atomic_fetch_add(&realtime_changes, 1u);
    wait_wake_all(&realtime_changed);
    posix_timers_realtime_changed();
}

void clocks_init(void)
{
    time_on_change(realtime_was_set);
}

// Until REALTIME shows `ns`, however it gets there. 0 or -EINTR.
static int sleep_until_realtime(uint64_t ns)
{
    for (;;) {
        uint32_t seen = atomic_load_acquire(&realtime_changes);
        int64_t offset = time_realtime_offset_ns();
        uint64_t deadline_ns = (int64_t)ns > offset ? ns - (uint64_t)offset : 0;
        int error = wait_event_interruptible_until(
            &realtime_changed, atomic_load_acquire(&realtime_changes) != seen, deadline_ns);
        if (error != 0)
            return error == -ETIMEDOUT ? 0 : error;
    }
}

static int64_t restart_sleep(struct task_restart *restart);

// The rest of a relative sleep that a signal interrupted: reported to the program, and slept if no
// handler runs.
static int interrupted(uint64_t deadline_ns, uintptr_t remaining)
{
    uint64_t now = time_monotonic_ns();
    if (deadline_ns <= now)
        return 0;
    if (remaining != 0 && timespec_to_user(remaining, deadline_ns - now) != 0)
        return -EFAULT;
    struct task_restart *restart = &task_current()->restart;
    restart->function = restart_sleep;
    restart->sleep.deadline_ns = deadline_ns;
    restart->sleep.remaining_user = remaining;
    return -ERESTART_RESTARTBLOCK;
}

static int64_t restart_sleep(struct task_restart *restart)
{
    uint64_t deadline_ns = restart->sleep.deadline_ns;
    uintptr_t remaining = restart->sleep.remaining_user;
    return sleep_until(deadline_ns) == 0 ? 0 : interrupted(deadline_ns, remaining);
}

int clock_sleep(int32_t clock, bool absolute, uint64_t ns, uintptr_t remaining)
{
    uint64_t now;
    int error = clock_read(clock, &now);
    if (error != 0)
        return error;
    if (clock == CLOCK_THREAD_CPUTIME_ID)
        return -EINVAL; // it would never end
    if (clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_MONOTONIC_COARSE ||
        clock == CLOCK_REALTIME_COARSE)
        return -EOPNOTSUPP;
    if (clock_is_cpu_time(clock)) {
        error = sleep_on_cpu_clock(clock, absolute ? ns : now + ns);
        return error == -EINTR ? -ERESTARTNOHAND : error;
    }
    if (absolute) {
        bool realtime =
            clock == CLOCK_REALTIME || clock == CLOCK_TAI || clock == CLOCK_REALTIME_ALARM;
        error = realtime ? sleep_until_realtime(ns) : sleep_until(ns);
        return error == -EINTR ? -ERESTARTNOHAND : error;
    }
    uint64_t deadline_ns = deadline_after(ns);
    return sleep_until(deadline_ns) == 0 ? 0 : interrupted(deadline_ns, remaining);
}
