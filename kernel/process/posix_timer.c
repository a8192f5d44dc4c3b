// SPDX-License-Identifier: MIT
// POSIX per-process timers (timer_create and its kin).
//
// The siginfo of a timer is part of the timer, so that an expiry never fails for want of memory and
// is queued at most once. A periodic timer is armed again when its signal is taken: what it missed
// meanwhile is its overrun. (A timer whose signal is ignored goes on by itself.) All state is
// protected by handlers->lock.
//
// Timers on CPU-time clocks wait for the earliest moment at which the CPU time may be reached,
// look, and wait on.
#include "kernel/core/time.h"
#include "kernel/process/process.h"
#include "mm/slab.h"
#include "sched/sched.h"
#include <linux/time.h>

#define CPU_RECHECK_MIN_NS NS_PER_MS
#define OVERRUN_MAX        INT32_MAX
#define IGNORED_MIN_NS     NS_PER_MS // shortest period of a timer whose signal nobody takes

struct posix_timer {
    struct list_node node; // in process->posix_timers
    int32_t id;
    int32_t clock;
    int32_t base; // the clock that it counts by: MONOTONIC for a relative time of REALTIME
    int notify;
    struct process *process; // the owner, which outlives the timer
    struct task *task;       // SIGEV_THREAD_ID and thread CPU clocks: with a reference, else NULL
    bool signals_task;       // the signal goes to `task`
    bool armed;              // waits for `expiry_ns`, or (periodic) for its signal to be taken
    uint64_t expiry_ns;      // of the clock
    uint64_t interval_ns;
    uint64_t overrun;     // since the signal was taken last
    int32_t overrun_last; // timer_getoverrun
    struct timer timer;
    struct queued_signal queued;
};

static uint64_t clock_now_locked(const struct posix_timer *posix)
{
    switch (posix->base) {
    case CLOCK_PROCESS_CPUTIME_ID:
        return process_cpu_ns_locked(posix->process);
    case CLOCK_THREAD_CPUTIME_ID:
        return sched_thread_cpu_ns(&posix->task->thread);
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_TAI:
        return (uint64_t)time_realtime_ns();
    default:
        return time_monotonic_ns();
    }
}

// Arms the kernel timer for the expiry.
static void start(struct posix_timer *posix)
{
    uint64_t now = clock_now_locked(posix);
    uint64_t left = posix->expiry_ns > now ? posix->expiry_ns - now : 0;
    if (clock_is_cpu_time(posix->clock)) {
        if (posix->clock == CLOCK_PROCESS_CPUTIME_ID)
            left /= MAX(posix->process->thread_count, UINT32_C(1));
        left = MAX(left, CPU_RECHECK_MIN_NS);
    }
    uint64_t monotonic = time_monotonic_ns();
    timer_arm(&posix->timer, monotonic + MIN(left, INT64_MAX - monotonic));
}

// Moves a periodic timer's expiry beyond now; how many were passed over.
static uint64_t advance(struct posix_timer *posix)
{
    uint64_t now = clock_now_locked(posix);
    uint64_t passed = 0;
    if (now >= posix->expiry_ns)
        passed = (now - posix->expiry_ns) / posix->interval_ns;
    posix->expiry_ns += (passed + 1) * posix->interval_ns;
    return passed;
}

// Interrupt context.
static void fire(struct timer *timer)
{
    struct posix_timer *posix = container_of(timer, struct posix_timer, timer);
    struct process *process = posix->process;
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(process, &flags);
    if (!posix->armed)
        goto out;
    if (clock_now_locked(posix) < posix->expiry_ns) {
        start(posix); // a CPU-time clock that is slower, or REALTIME was set back
        goto out;
    }
    bool taken_later = false;
    if (posix->notify != SIGEV_NONE) {
        if (signal_timer_is_queued(&posix->queued))
            posix->overrun++; // of an earlier setting
        taken_later =
            signal_queue_timer(process, posix->signals_task ? posix->task : NULL, &posix->queued);
    }
    if (posix->interval_ns == 0) {
        posix->armed = false;
    } else if (!taken_later) {
        (void)advance(posix);
        if (posix->interval_ns < IGNORED_MIN_NS)
            posix->expiry_ns += IGNORED_MIN_NS;
        start(posix);
    }
out:
    spin_unlock_irqrestore(&handlers->lock, flags);
}

void posix_timer_dequeued(struct posix_timer *posix, siginfo_t *info)
{
    if (posix->armed && posix->interval_ns != 0) {
        posix->overrun += advance(posix);
        start(posix);
    }
    posix->overrun_last = (int32_t)MIN(posix->overrun, (uint64_t)OVERRUN_MAX);
    posix->overrun = 0;
    info->si_overrun = posix->overrun_last;
}

// The clock was set: timers for a certain time of it wait for another moment now. All processes are
// looked at, which is what makes setting the clock the slow side.
void posix_timers_realtime_changed(void)
{
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct process *process;
    list_for_each_entry (process, &process_list, process_node) {
        uint64_t inner;
        struct signal_handlers *handlers = process_signals_lock(process, &inner);
        struct posix_timer *posix;
        list_for_each_entry (posix, &process->posix_timers, node) {
            if (posix->armed && (posix->base == CLOCK_REALTIME || posix->base == CLOCK_TAI) &&
                !signal_timer_is_queued(&posix->queued))
                start(posix);
        }
        spin_unlock_irqrestore(&handlers->lock, inner);
    }
    spin_unlock_irqrestore(&task_list_lock, flags);
}

// ---- calls -------------------------------------------------------------------------------------

static struct posix_timer *find_locked(struct process *process, int32_t id)
{
    struct posix_timer *posix;
    list_for_each_entry (posix, &process->posix_timers, node) {
        if (posix->id == id)
            return posix;
    }
    return NULL;
}

static bool clock_has_timers(int32_t clock)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
    case CLOCK_PROCESS_CPUTIME_ID:
    case CLOCK_THREAD_CPUTIME_ID:
        return true;
    default:
        return false;
    }
}

// CPU-time clocks by number (clock.c), as C libraries ask for them: the own process's and those of
// its tasks. *tid: which task,
// 0: the running one. What can't be timed stays as it is.
static int32_t own_cpu_clock(int32_t clock, int32_t *tid)
{
    const int32_t of_task = 4;
    int32_t id = ~(clock >> 3);
    *tid = 0;
    if (clock >= 0 || id < 0)
        return clock;
    if ((clock & of_task) != 0) {
        *tid = id;
        return CLOCK_THREAD_CPUTIME_ID;
    }
    return id == 0 || id == process_current()->pid ? CLOCK_PROCESS_CPUTIME_ID : clock;
}

// A task of the running process, with a reference; NULL: there is none.
static struct task *own_task_get(int32_t tid)
{
    struct task *task = task_find_get(tid);
    if (task != NULL && task->process != process_current()) {
        task_put(task);
        return NULL;
    }
    return task;
}

// The task that a timer is bound to, with a reference: whom it signals, or whose time it counts. 0
// or -EINVAL.
static int find_task(
    const struct posix_timer_request *request, int32_t counted_tid, struct task **result)
{
    *result = NULL;
    int32_t tid = request->notify == (SIGEV_SIGNAL | SIGEV_THREAD_ID) ? request->tid : counted_tid;
    if (request->notify != (SIGEV_SIGNAL | SIGEV_THREAD_ID) &&
        request->clock != CLOCK_THREAD_CPUTIME_ID)
        return 0;
    *result = own_task_get(tid != 0 ? tid : task_current()->tid);
    return *result != NULL ? 0 : -EINVAL;
}

static int request_check(const struct posix_timer_request *request)
{
    if (!clock_has_timers(request->clock)) {
        uint64_t ns;
        return clock_read(request->clock, &ns) == 0 ? -EOPNOTSUPP : -EINVAL;
    }
    switch (request->notify) {
    case SIGEV_SIGNAL | SIGEV_THREAD_ID:
    case SIGEV_SIGNAL:
    case SIGEV_THREAD:
        return request->signal < 1 || request->signal > SIGNAL_COUNT ? -EINVAL : 0;
    case SIGEV_NONE:
        return 0;
    default:
        return -EINVAL;
    }
}

int posix_timer_create(const struct posix_timer_request *asked)
{
    struct process *process = process_current();
    struct user_account *user = credentials_current()->user;
    int32_t counted_tid;
    struct posix_timer_request own = *asked;
    own.clock = own_cpu_clock(asked->clock, &counted_tid);
    const struct posix_timer_request *request = &own;
    int error = request_check(request);
    if (error != 0)
        return error;
    if (atomic_load_relaxed(&user->signal_count) >= process_limit(RLIMIT_SIGPENDING))
        return -EAGAIN;
    struct posix_timer *posix = kzalloc(sizeof(*posix));
    if (posix == NULL)
        return -EAGAIN;
    error = find_task(request, counted_tid, &posix->task);
    if (error != 0) {
        kfree(posix);
        return error;
    }
    posix->clock = request->clock;
    posix->base = request->clock;
    posix->notify = request->notify;
    posix->signals_task = request->notify == (SIGEV_SIGNAL | SIGEV_THREAD_ID);
    posix->process = process;
    timer_init(&posix->timer, fire);
    posix->queued.timer = posix;
    posix->queued.owned = true;
    posix->queued.user = user_account_reference(user);
    atomic_fetch_add_relaxed(&user->signal_count, 1u);
    siginfo_t *info = &posix->queued.base.info;
    info->si_signo = request->signal;
    info->si_code = SI_TIMER;
    uint64_t flags = spin_lock_irqsave(&process->handlers->lock);
    while (find_locked(process, process->next_posix_timer) != NULL)
        process->next_posix_timer = (process->next_posix_timer + 1) & INT32_MAX;
    int32_t id = process->next_posix_timer;
    process->next_posix_timer = (id + 1) & INT32_MAX;
    posix->id = id;
    info->si_tid = id;
    info->si_ptr = (void *)(uintptr_t)(request->value_is_id ? (uint64_t)id : request->value);
    list_add_tail(&process->posix_timers, &posix->node);
    spin_unlock_irqrestore(&process->handlers->lock, flags);
    return id;
}

static void read_locked(const struct posix_timer *posix, struct itimer_value *value)
{
    uint64_t now = clock_now_locked(posix);
    value->interval_ns = posix->interval_ns;
    value->value_ns = 0;
    if (!posix->armed)
        return;
    uint64_t expiry = posix->expiry_ns;
    if (expiry <= now && posix->interval_ns != 0) // its signal was not taken yet
        expiry += ((now - expiry) / posix->interval_ns + 1) * posix->interval_ns;
    value->value_ns = expiry > now ? expiry - now : 1;
    if (expiry <= now && posix->notify == SIGEV_NONE)
        value->value_ns = 0;
}

int posix_timer_set(
    int32_t id, bool absolute, const struct itimer_value *fresh, struct itimer_value *old)
{
    struct process *process = process_current();
    uint64_t flags = spin_lock_irqsave(&process->handlers->lock);
    struct posix_timer *posix = find_locked(process, id);
    if (posix == NULL) {
        spin_unlock_irqrestore(&process->handlers->lock, flags);
        return -EINVAL;
    }
    read_locked(posix, old);
    timer_cancel(&posix->timer);
    posix->armed = fresh->value_ns != 0;
    posix->interval_ns = fresh->interval_ns;
    posix->overrun = 0;
    posix->overrun_last = 0;
    if (posix->armed) {
        bool realtime = posix->clock == CLOCK_REALTIME || posix->clock == CLOCK_TAI;
        posix->base = realtime && !absolute ? CLOCK_MONOTONIC : posix->clock;
        uint64_t now = clock_now_locked(posix);
        posix->expiry_ns = absolute ? fresh->value_ns : now + MIN(fresh->value_ns, INT64_MAX - now);
        start(posix);
    }
    spin_unlock_irqrestore(&process->handlers->lock, flags);
    return 0;
}

int posix_timer_get(int32_t id, struct itimer_value *value)
{
    struct process *process = process_current();
    uint64_t flags = spin_lock_irqsave(&process->handlers->lock);
    struct posix_timer *posix = find_locked(process, id);
    if (posix != NULL)
        read_locked(posix, value);
    spin_unlock_irqrestore(&process->handlers->lock, flags);
    return posix != NULL ? 0 : -EINVAL;
}

int posix_timer_overrun(int32_t id)
{
    struct process *process = process_current();
    uint64_t flags = spin_lock_irqsave(&process->handlers->lock);
    struct posix_timer *posix = find_locked(process, id);
    int overrun = posix != NULL ? posix->overrun_last : -EINVAL;
    spin_unlock_irqrestore(&process->handlers->lock, flags);
    return overrun;
}

// Takes the timer out of everything; handlers->lock held. Its kernel timer may still be running.
static void unlink_locked(struct process *process, struct posix_timer *posix)
{
    list_remove(&posix->node);
    posix->armed = false;
    signal_unqueue_timer(
        posix->signals_task ? &posix->task->pending : &process->pending, &posix->queued);
}

static void release(struct posix_timer *posix)
{
    timer_cancel_sync(&posix->timer);
    atomic_fetch_sub_relaxed(&posix->queued.user->signal_count, 1u);
    user_account_put(posix->queued.user);
    if (posix->task != NULL)
        task_put(posix->task);
    kfree(posix);
}

int posix_timer_delete(int32_t id)
{
    struct process *process = process_current();
    uint64_t flags = spin_lock_irqsave(&process->handlers->lock);
    struct posix_timer *posix = find_locked(process, id);
    if (posix != NULL)
        unlink_locked(process, posix);
    spin_unlock_irqrestore(&process->handlers->lock, flags);
    if (posix == NULL)
        return -EINVAL;
    release(posix);
    return 0;
}

void posix_timers_release(struct process *process)
{
    while (!list_is_empty(&process->posix_timers)) {
        uint64_t flags = spin_lock_irqsave(&process->handlers->lock);
        struct posix_timer *posix =
            list_first_entry(&process->posix_timers, struct posix_timer, node);
        unlink_locked(process, posix);
        spin_unlock_irqrestore(&process->handlers->lock, flags);
        release(posix);
    }
}
